"""`kyc_client.testing`: the fake does what it says, in memory as over a socket, and what the API itself does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import socket
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import h11
import httpx
import pytest

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_client._login.tls import shared_context
from kyc_client.sandbox import LOGIN_PATH, RESOURCE_PATH, Sandbox
from kyc_client.testing import FakeKYC
from kyc_client.testing._server import LoopbackServer
from kyc_client.testing._sources import living_sources
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource
from tests.support.colours import Asyncio, Threads, Trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kyc_openapi import AuthenticatedClient
    from tests.support.colours import Colour

    Calling = Callable[..., Callable[[], Any]]

LONG = 60.0  # seconds; what takes that long is never waited for
PATIENCE = 20.0  # seconds, for what takes a moment
# Kept, since to load the certificates takes longer than most of these tests.
CONTEXT, _ = shared_context()
RIGHT = {"username": "fake-user@example.com", "password": "fake-password-for-tests"}


def in_time(condition: Callable[[], bool]) -> bool:
    """Whether something comes true before our patience ends."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def serving(fake: FakeKYC, where: str) -> contextlib.AbstractContextManager[FakeKYC]:
    """The fake in one of its two forms."""
    return fake.serve() if where == "socket" else contextlib.nullcontext(fake)


@pytest.fixture(params=["memory", "socket"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeKYC]:
    """The same fake in memory and over a socket."""
    with serving(FakeKYC(), request.param) as fake:
        yield fake


@pytest.fixture
def client(fake: FakeKYC) -> Iterator[httpx.Client]:
    """A plain client of the fake, without a login."""
    transport = fake.transport if fake.base_url.startswith("https") else None
    with httpx.Client(base_url=fake.base_url, transport=transport, timeout=PATIENCE, verify=CONTEXT) as client:
        yield client


@pytest.fixture
def calling(fake: FakeKYC) -> Iterator[Calling]:
    """Makes calls of the resource, each of them through one client of the fake's."""
    with contextlib.ExitStack() as clients:

        def calling(**more: Any) -> Callable[[], Any]:
            client = clients.enter_context(fake.connect(**more))
            return lambda: get_resource.sync(client=client)

        yield calling


def arguments(fake: FakeKYC) -> dict[str, Any]:
    """What an httpx client of one's own needs."""
    transport: dict[str, Any] = {"verify": CONTEXT}
    if fake.base_url.startswith("https"):
        transport["transport"] = fake.transport
    auth = kyc_client.LoginAuth(fake.base_url, credentials=fake.credentials, **transport)
    return {"base_url": fake.base_url, "auth": auth, **transport}


def statuses(fake: FakeKYC) -> list[tuple[str, int | None]]:
    """What came, in short."""
    return [("login" if call.path == LOGIN_PATH else call.path, call.status) for call in fake.requests]


def auth_of(client: AuthenticatedClient) -> LoginAuth:
    """The login of a connected client."""
    auth = client.get_httpx_client().auth
    assert isinstance(auth, LoginAuth)
    return auth


def bearer(client: httpx.Client) -> dict[str, str]:
    """A login by hand."""
    return {"Authorization": f"Bearer {client.post(LOGIN_PATH, data=RIGHT).json()['access_token']}"}


# The token's life


def test_first_call_logs_in(fake: FakeKYC, colour: Colour) -> None:
    """A generated operation gets the resource after one login, in each colour."""
    resource = colour.operation(get_resource, fake.connect())
    assert isinstance(resource, Resource)
    assert resource["user"] == fake.credentials.username
    assert statuses(fake) == [("login", 200), (RESOURCE_PATH, 200)]
    assert (fake.logins, fake.login_attempts) == (1, 1)


def test_login_auth_of_an_own_client(fake: FakeKYC, colour: Colour) -> None:
    """`LoginAuth` on an httpx client of the service's own works likewise."""
    assert colour.send("GET", RESOURCE_PATH, client=arguments(fake)).status_code == 200
    assert fake.logins == 1


def test_crowd_makes_one_login(fake: FakeKYC, colour: Colour) -> None:
    """A1: twenty calls at once while the login is slow cost one login; no event loop stands still meanwhile."""
    fake.slow_login(LONG)
    opened = threading.Thread(target=lambda: in_time(lambda: fake.login_attempts == 1) and fake.restore_login())
    opened.start()
    results = colour.send_many(20, "GET", RESOURCE_PATH, client=arguments(fake))
    opened.join()
    assert [getattr(result, "status_code", result) for result in results] == [200] * 20
    assert (fake.logins, fake.login_attempts) == (1, 1)


@pytest.mark.parametrize("loop", [Asyncio(), Trio()], ids=str)
def test_slow_answer_does_not_block_the_loop(loop: Any) -> None:
    """In memory, while one task waits for a slow login of its own, another one of the same loop ends the wait."""
    fake = FakeKYC()
    fake.slow_login(LONG)
    answers: list[int] = []

    async def main() -> None:
        async with httpx.AsyncClient(base_url=fake.base_url, transport=fake.transport, timeout=PATIENCE) as client:

            async def log_in() -> None:
                answers.append((await client.post(LOGIN_PATH, data=RIGHT)).status_code)

            async def open_up() -> None:
                while not fake.login_attempts:
                    await (asyncio.sleep(0) if loop.name == "asyncio" else loop_checkpoint())
                assert answers == []
                fake.restore_login()

            await loop.gather([log_in, open_up])

    loop.run(main)
    assert answers == [200]


async def loop_checkpoint() -> None:
    """Let trio's other tasks run."""
    import trio  # noqa: PLC0415 - the tests' own

    await trio.lowlevel.checkpoint()


def test_expired_token_is_replaced_before_a_call(calling: Calling, fake: FakeKYC) -> None:
    """After `expire()`, a client on the fake's clock logs in first: no call ever gets a 401."""
    call = calling()
    call()
    fake.expire()
    call()
    assert statuses(fake) == [("login", 200), (RESOURCE_PATH, 200)] * 2


def test_expired_token_is_refused(fake: FakeKYC) -> None:
    """After `expire()`, a client with a clock of its own learns it by a 401, and logs in."""
    with httpx.Client(**arguments(fake)) as client:
        client.get(RESOURCE_PATH)
        fake.expire()
        assert client.get(RESOURCE_PATH).status_code == 200
    assert [status for _, status in statuses(fake)] == [200, 200, 401, 200, 200]
    assert fake.logins == 2


def test_expiry_is_exact(fake: FakeKYC, client: httpx.Client) -> None:
    """A token is valid for its lifetime, and not longer."""
    fake.token_lifetime = 60
    header = bearer(client)
    fake.advance(59.9)
    assert client.get(RESOURCE_PATH, headers=header).status_code == 200
    fake.advance(0.1)
    assert client.get(RESOURCE_PATH, headers=header).status_code == 401


def test_renewal_in_the_background(calling: Calling, fake: FakeKYC) -> None:
    """In the last fifth of its life the token is used and renewed, when the test moves the clock there; no jitter."""
    fake.token_lifetime = 1000
    call = calling()
    call()
    fake.advance(799)
    call()
    assert fake.logins == 1
    fake.advance(2)
    call()
    assert in_time(lambda: fake.logins == 2)
    assert 401 not in [status for _, status in statuses(fake)]


def test_revoked_token_costs_a_401(fake: FakeKYC, colour: Colour) -> None:
    """After `revoke()` the next call meets a 401, logs in once and is sent again; the route counts it once."""
    settings = arguments(fake)
    colour.send("GET", RESOURCE_PATH, client=settings)
    fake.revoke()
    assert colour.send("GET", RESOURCE_PATH, client=settings).status_code == 200
    assert [status for _, status in statuses(fake)] == [200, 200, 401, 200, 200]
    assert len(fake.route("GET", RESOURCE_PATH).calls) == 2


def test_token_without_an_end() -> None:
    """Without a lifetime, tokens have no `exp` and last for ever; `expire()` says so, if there is one."""
    fake = FakeKYC(token_lifetime=None)
    fake.expire()
    with fake.connect() as client:
        get_resource.sync(client=client)
        auth = client.get_httpx_client().auth
        assert isinstance(auth, kyc_client.LoginAuth)
        assert auth.get_token().expires_at is None
        fake.advance(1e9)
        get_resource.sync(client=client)
    assert fake.logins == 1
    with pytest.raises(ValueError, match="does not expire"):
        fake.expire()


def test_time_only_goes_on() -> None:
    """There is no way back."""
    with pytest.raises(ValueError, match="not negative"):
        FakeKYC().advance(-1)


# Failing logins


def test_two_503_go_unnoticed(fake: FakeKYC, colour: Colour) -> None:
    """A login is tried three times, and what would be 18 s of waiting costs nothing."""
    fake.fail_login(503, times=2, retry_after=9)
    began = time.monotonic()
    assert isinstance(colour.operation(get_resource, fake.connect()), Resource)
    assert time.monotonic() - began < 9
    assert statuses(fake) == [("login", 503), ("login", 503), ("login", 200), (RESOURCE_PATH, 200)]
    assert (fake.logins, fake.login_attempts) == (1, 3)


def test_api_that_is_down(calling: Calling, fake: FakeKYC) -> None:
    """Three attempts, then an error for a while, which is over when the test says so; and then the API is back."""
    call = calling()
    fake.fail_login()
    with pytest.raises(kyc_client.LoginUnavailableError) as first:
        call()
    with pytest.raises(kyc_client.LoginUnavailableError) as second:
        call()
    assert (first.value.status_code, first.value.cached, second.value.cached) == (503, False, True)
    assert fake.login_attempts == 3
    fake.restore_login()
    fake.advance(second.value.retry_after or 0)
    assert isinstance(call(), Resource)
    assert fake.login_attempts == 4


@pytest.mark.parametrize("code", ["LOGIN_BAD_CREDENTIALS", "LOGIN_USER_NOT_VERIFIED", None])
def test_refused_credentials(calling: Calling, fake: FakeKYC, code: str | None) -> None:
    """One attempt, remembered for a minute of the fake's time; bad credentials are what a 400 means by default."""
    call = calling()
    fake.fail_login(400, times=1, code=code)
    kinds = {"LOGIN_USER_NOT_VERIFIED": kyc_client.UserNotVerifiedError}
    for cached in (False, True):
        with pytest.raises(kinds.get(code or "", kyc_client.BadCredentialsError)) as error:
            call()
        assert error.value.cached is cached
        assert error.value.code == (code or "LOGIN_BAD_CREDENTIALS")
    assert fake.login_attempts == 1
    fake.advance(60)
    assert isinstance(call(), Resource)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ({"status": 422}, kyc_client.LoginValidationError),
        ({"status": 404}, kyc_client.LoginRefusedError),
        ({"status": 200, "content": "<html>Captive portal</html>"}, kyc_client.LoginResponseError),
        ({"status": 302}, kyc_client.LoginResponseError),
        ({"status": 500}, kyc_client.LoginUnavailableError),
        ({"status": 599}, kyc_client.LoginUnavailableError),
    ],
    ids=lambda value: str(value.get("status")) if isinstance(value, dict) else value.__name__,
)
def test_each_error_can_be_provoked(
    calling: Calling, fake: FakeKYC, failure: dict[str, Any], kind: type[Exception]
) -> None:
    """Every error of the library has its failure."""
    fake.fail_login(**failure)
    with pytest.raises(kind) as error:
        calling()()
    assert type(error.value) is kind
    assert isinstance(error.value, kyc_client.LoginError)
    assert error.value.status_code == failure["status"]
    assert kind is not kyc_client.LoginValidationError or error.value.errors[0][0] == ("body", "password")  # type: ignore[attr-defined]


def test_too_many_logins(calling: Calling, fake: FakeKYC) -> None:
    """A 429 with a long `Retry-After` fails at once, and for as long."""
    fake.fail_login(429, times=1, retry_after=300)
    call = calling()
    with pytest.raises(kyc_client.LoginUnavailableError) as error:
        call()
    assert error.value.retry_after == pytest.approx(300, abs=1)
    assert fake.login_attempts == 1
    fake.advance(300)
    assert isinstance(call(), Resource)


def test_second_failure_replaces_the_first(calling: Calling, fake: FakeKYC) -> None:
    """What `fail_login()` said last is what holds."""
    fake.fail_login(503)
    fake.fail_login(400)
    with pytest.raises(kyc_client.BadCredentialsError):
        calling()()


@pytest.mark.parametrize("wrong", [{"status": 100}, {"status": 600}, {"times": 0}], ids=str)
def test_impossible_failures(wrong: dict[str, Any]) -> None:
    """What no server could answer is refused where it is asked for."""
    with pytest.raises(ValueError, match="fail_login"):
        FakeKYC().fail_login(**wrong)


def test_slow_login_runs_into_the_timeout(calling: Calling, fake: FakeKYC) -> None:
    """A login that takes longer than the client waits is no login, in memory too."""
    fake.slow_login(LONG)
    with pytest.raises(kyc_client.LoginUnavailableError, match="no answer in time"):
        calling(timeout=0.2)()
    assert fake.login_attempts == 3
    fake.restore_login()
    fake.advance(30)
    assert isinstance(calling()(), Resource)


@pytest.mark.parametrize("loop", [Threads(), Asyncio(), Trio()], ids=str)
def test_slow_call_runs_into_the_timeout(fake: FakeKYC, loop: Colour) -> None:
    """The same for a call: what the client raises is what it raises over a connection."""
    fake.on("GET", "/slow", json=1, delay=LONG, public=True)
    with pytest.raises(httpx.ReadTimeout):
        loop.send("GET", "/slow", client={**arguments(fake), "timeout": 0.2})


def test_slow_call_in_time(fake: FakeKYC, client: httpx.Client) -> None:
    """A delay shorter than the time-out is only a delay."""
    fake.on("GET", "/slow", json=1, delay=0.01, public=True)
    assert client.get("/slow").json() == 1


def test_rotated_password(calling: Calling, fake: FakeKYC) -> None:
    """A client of the fake follows its credentials; one with the old ones is refused."""
    old = fake.credentials
    fake.credentials = kyc_client.Credentials("fake-user@example.com", "fake-password-rotated")
    assert isinstance(calling()(), Resource)
    with pytest.raises(kyc_client.BadCredentialsError):
        calling(credentials=old)()


# What the API itself does


@pytest.fixture(scope="module")
def real() -> Iterator[httpx.Client]:
    """The API's own server software, whose user has the fake's credentials."""
    with Sandbox() as sandbox, httpx.Client(base_url=sandbox.base_url) as client:
        client.headers["X-User"] = sandbox.active.username
        client.headers["X-Password"] = sandbox.active.password
        yield client


def outline(response: httpx.Response) -> Any:
    """Status and body, without what is free text, or differs from login to login."""
    body = response.json()
    if response.status_code == 422:
        return 422, sorted((error["type"], *error["loc"]) for error in body["detail"])
    return response.status_code, {**body, "access_token": "*"} if "access_token" in body else body


LOGINS: dict[str, dict[str, Any]] = {
    "right": {"data": {"username": "USER", "password": "PASSWORD"}},
    "with grant_type": {"data": {"username": "USER", "password": "PASSWORD", "grant_type": "password"}},
    "empty grant_type": {"data": {"username": "USER", "password": "PASSWORD", "grant_type": ""}},
    "another grant_type": {"data": {"username": "USER", "password": "PASSWORD", "grant_type": "refresh"}},
    "unknown field": {"data": {"username": "USER", "password": "PASSWORD", "scope": "all"}},
    "wrong password": {"data": {"username": "USER", "password": "fake-and-wrong"}},
    "unknown user": {"data": {"username": "nobody@example.com", "password": "PASSWORD"}},
    "no password": {"data": {"username": "USER"}},
    "empty password": {"data": {"username": "USER", "password": ""}},
    "empty user": {"data": {"username": "", "password": "PASSWORD"}},
    "nothing": {"data": {}},
    "JSON": {"json": {"username": "USER", "password": "PASSWORD"}},
}


@pytest.mark.parametrize("name", LOGINS)
def test_login_is_the_apis(fake: FakeKYC, client: httpx.Client, real: httpx.Client, name: str) -> None:
    """J7: the same login gets the same answer from the fake as from the API's own server software."""

    def filled(user: str, password: str) -> dict[str, Any]:
        text = json.dumps(LOGINS[name]).replace("USER", user).replace("PASSWORD", password)
        filled: dict[str, Any] = json.loads(text)
        return filled

    ours = client.post(LOGIN_PATH, **filled(*RIGHT.values()))
    theirs = real.post(LOGIN_PATH, **filled(real.headers["X-User"], real.headers["X-Password"]))
    assert outline(ours) == outline(theirs)
    assert ours.headers["Content-Type"] == theirs.headers["Content-Type"]


def test_letter_case_of_the_login(client: httpx.Client, real: httpx.Client) -> None:
    """J7: it does not matter in an e-mail address, as at the API."""
    user, password = real.headers["X-User"], real.headers["X-Password"]
    assert real.post(LOGIN_PATH, data={"username": user.upper(), "password": password}).status_code == 200
    assert client.post(LOGIN_PATH, data={**RIGHT, "username": RIGHT["username"].upper()}).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Basic", "none", "wrong"])
def test_protected_route_is_the_apis(fake: FakeKYC, client: httpx.Client, real: httpx.Client, scheme: str) -> None:
    """J7: with a token, with none and with a wrong one, the status and the words of a refusal are the API's."""
    answers = []
    for http, (user, password) in (
        (client, RIGHT.values()),
        (real, (real.headers["X-User"], real.headers["X-Password"])),
    ):
        token = http.post(LOGIN_PATH, data={"username": user, "password": password}).json()["access_token"]
        header = {"none": {}, "wrong": {"Authorization": "Bearer fake.and.wrong"}}.get(
            scheme, {"Authorization": f"{scheme} {token}"}
        )
        answer = http.get(RESOURCE_PATH, headers=header)
        answers.append((answer.status_code, sorted(answer.json()), answer.json().get("detail")))
        assert "WWW-Authenticate" not in answer.headers
    assert answers[0] == answers[1]


def test_token_looks_like_the_apis(client: httpx.Client, real: httpx.Client) -> None:
    """J7: three parts, with the claims of the API's tokens and one more, which makes each unique."""

    def claims(http: httpx.Client, user: str, password: str) -> dict[str, Any]:
        token = http.post(LOGIN_PATH, data={"username": user, "password": password}).json()["access_token"]
        _, payload, _ = token.split(".")
        import base64  # noqa: PLC0415 - only here

        decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
        return decoded

    ours = claims(client, *RIGHT.values())
    theirs = claims(real, real.headers["X-User"], real.headers["X-Password"])
    assert ours.keys() - {"jti"} == theirs.keys()
    assert (type(ours["exp"]), ours["aud"]) == (type(theirs["exp"]), theirs["aud"])
    assert ours["jti"] != claims(client, *RIGHT.values())["jti"]


# Routes


def test_route_with_parameters(fake: FakeKYC) -> None:
    """A route answers with its JSON, and tells what came: parameters, query, body; two routes do not mix."""
    route = fake.on("post", "/api/v1/applicants/{id}/documents/{kind}", json={"id": 7}, status=201)
    other = fake.on("GET", "/api/v1/applicants/{id}", json={})
    with fake.connect() as client:
        http = client.get_httpx_client()
        answer = http.post("/api/v1/applicants/a%2Fb/documents/passport?side=front", json={"page": 1})
    assert (answer.status_code, answer.json(), answer.headers["Content-Type"]) == (201, {"id": 7}, "application/json")
    (call,) = route.calls
    assert (call.path_params, call.status) == ({"id": "a/b", "kind": "passport"}, 201)
    assert (call.request.url.params["side"], json.loads(call.request.content)) == ("front", {"page": 1})
    assert other.calls == []
    assert fake.requests[-1] is call


def test_route_with_a_function(fake: FakeKYC, client: httpx.Client) -> None:
    """A function sees the request and decides: JSON, or a response of its own."""

    def answer(request: httpx.Request) -> Any:
        if request.url.params:
            return httpx.Response(409, text="taken", headers={"X-Fake": "1"})
        return {"name": request.extensions["path_params"]["name"], "sent": request.content.decode()}

    fake.on("PUT", "/names/{name}", answer, public=True)
    assert client.put("/names/ann", content=b"x").json() == {"name": "ann", "sent": "x"}
    taken = client.put("/names/ann?again", content=b"x")
    assert (taken.status_code, taken.text, taken.headers["X-Fake"]) == (409, "taken", "1")


def test_newest_route_wins(fake: FakeKYC, client: httpx.Client) -> None:
    """A route made later takes over, also from one that is only more general."""
    fake.on("GET", "/a/{id}", json="first", public=True)
    fake.on("GET", "/a/7", json="second", public=True)
    assert [client.get(f"/a/{id_}").json() for id_ in (7, 8)] == ["second", "first"]
    fake.on("GET", "/a/{any}", json="third", public=True)
    assert client.get("/a/7").json() == "third"
    assert client.get("/a/").status_code == 404


@pytest.mark.parametrize("body", [None, False, 0, [], "text"], ids=repr)
def test_any_json(fake: FakeKYC, client: httpx.Client, body: Any) -> None:
    """What is falsy is JSON too."""
    fake.on("GET", "/x", json=body, public=True)
    fake.on("GET", "/y", lambda _: body, public=True)
    assert (client.get("/x").json(), client.get("/y").json()) == (body, body)


def test_answers_that_are_not_json(fake: FakeKYC, client: httpx.Client) -> None:
    """Bytes go as they are, with a length; HEAD and 204 have no body, and the connection goes on."""
    fake.on("GET", "/file", content=b"\0\1", headers={"Content-Type": "image/fake"}, public=True)
    fake.on("HEAD", "/file", content=b"\0\1", public=True)
    fake.on("HEAD", "/stream", lambda _: httpx.Response(200, content=iter([b"1"])), public=True)
    fake.on("DELETE", "/file", status=204, public=True)
    fake.on("GET", "/empty", public=True)
    for _ in range(2):
        file = client.get("/file")
        assert (file.content, file.headers["Content-Type"], file.headers["Content-Length"]) == (
            b"\0\1",
            "image/fake",
            "2",
        )
        assert file.headers["Date"].endswith("GMT")
        head = client.head("/file")
        assert (head.content, head.headers["Content-Length"]) == (b"", "2")
        assert client.head("/stream").content == b""
        gone = client.delete("/file")
        assert (gone.status_code, gone.content, "Content-Length" in gone.headers) == (204, b"", False)
        assert client.get("/empty").headers["Content-Length"] == "0"


def test_unknown_route_lists_the_known(fake: FakeKYC, client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """A 404 names what was asked for and what there is, and so does a warning, which pytest shows."""
    fake.on("GET", "/api/v1/applicants/{id}", json={})
    with caplog.at_level(logging.WARNING, "kyc_client.testing"):
        answer = client.get("/api/v1/applicant/7")
    assert answer.status_code == 404
    text = f"no route GET /api/v1/applicant/7. It has: GET {RESOURCE_PATH}, GET /api/v1/applicants/{{id}}."
    assert text in answer.json()["detail"]
    assert text in caplog.text
    with pytest.raises(LookupError, match="GET /api/v1/applicants"):
        fake.route("GET", "/api/v1/applicant/7")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("api", r"starts with / and has no query: 'api'"),
        ("/a?b=1", r"starts with / and has no query: '/a\?b=1'"),
        (LOGIN_PATH, r"fail_login\(\)"),
        ("/a/{b-c}", r"not '{b-c}'"),
        ("/a/{id}.pdf", r"not '{id}\.pdf'"),
        ("/a/{id", r"not '{id'"),
    ],
)
def test_path_that_is_none(path: str, complaint: str) -> None:
    """A route that could never be met is refused, as is one in the login's place."""
    with pytest.raises(ValueError, match=complaint):
        FakeKYC().on("GET", path)


def test_answer_that_is_no_function() -> None:
    """The likeliest slip, a fixed answer in the place of the function, is told from where it is."""
    with pytest.raises(TypeError, match="For a fixed answer, use json="):
        FakeKYC().on("GET", "/x", {"name": "A. N. Example"})  # type: ignore[arg-type]  # the slip


@pytest.mark.parametrize("fixed", [{"json": 1}, {"content": b""}, {"headers": {}}, {"status": 201}], ids=str)
def test_route_has_one_answer(fixed: dict[str, Any]) -> None:
    """A function and a fixed answer together would leave open which holds."""
    with pytest.raises(TypeError, match="not both"):
        FakeKYC().on("GET", "/x", lambda _: 1, **fixed)


def test_body_is_one() -> None:
    """JSON and bytes together would leave open which is sent."""
    with pytest.raises(TypeError, match="not both"):
        FakeKYC().on("GET", "/x", json=1, content=b"1")


def test_answer_that_cannot_be_sent() -> None:
    """What is not JSON is noticed at once, where the test wrote it."""
    with pytest.raises(TypeError):
        FakeKYC().on("GET", "/x", json=object())


# As on a connection


@pytest.mark.parametrize("loop", [Threads(), Asyncio(), Trio()], ids=str)
def test_consumed_body_is_consumed(fake: FakeKYC, loop: Any) -> None:
    """J8: a generator, sent a second time, fails in memory as it does over a socket."""
    fake.on("POST", "/x", lambda request: request.content.decode(), public=True)
    transport = {key: value for key, value in arguments(fake).items() if key != "auth"}

    def body() -> Iterator[bytes]:
        yield b"once"

    async def abody() -> Any:
        yield b"once"

    if loop.name == "sync":
        with httpx.Client(**transport) as client:
            request = client.build_request("POST", "/x", content=body())
            assert client.send(request).json() == "once"
            with pytest.raises(httpx.StreamConsumed):
                client.send(request)
        return

    async def main() -> None:
        async with httpx.AsyncClient(**transport) as client:
            request = client.build_request("POST", "/x", content=abody())
            assert (await client.send(request)).json() == "once"
            with pytest.raises(httpx.StreamConsumed):
                await client.send(request)

    loop.run(main)


def test_body_that_cannot_be_sent_again_gets_the_401(fake: FakeKYC) -> None:
    """B5: after a revocation, the upload of a stream gets the 401, in memory too; the next call logs in."""
    route = fake.on("POST", "/uploads", json={})
    with httpx.Client(**arguments(fake)) as client:
        client.get(RESOURCE_PATH)
        fake.revoke()
        assert client.post("/uploads", content=iter([b"1", b"2"])).status_code == 401
        assert client.post("/uploads", content=iter([b"1", b"2"])).status_code == 200
    assert [call.request.content for call in route.calls] == [b"12"]


def test_body_shorter_than_declared(fake: FakeKYC, client: httpx.Client) -> None:
    """J8: a file that is at its end raises what it raises over a socket, as does a length that is too small."""
    fake.on("POST", "/x", lambda request: request.content.decode(), public=True)
    with tempfile.TemporaryFile() as file:
        file.write(b"once")
        file.seek(0)
        request = client.build_request("POST", "/x", content=file)
        assert client.send(request).json() == "once"
        with pytest.raises(h11.LocalProtocolError, match="Too little data for declared Content-Length"):
            client.send(request)
    with pytest.raises(h11.LocalProtocolError, match="Too much data for declared Content-Length"):
        client.post("/x", content=b"twice", headers={"Content-Length": "1"})


def test_stream_stays_a_stream(fake: FakeKYC, client: httpx.Client) -> None:
    """J8: the second chunk is made only after the client has had the first."""
    had_first = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"1"
        yield b""
        yield b"2" if had_first.wait(PATIENCE) else b"too late"

    fake.on("GET", "/x", lambda _: httpx.Response(200, content=chunks()), public=True)
    with client.stream("GET", "/x") as answer:
        assert not answer.is_stream_consumed
        read = answer.iter_raw()
        assert next(read) == b"1"
        had_first.set()
        assert b"".join(read) == b"2"
        with pytest.raises(httpx.StreamConsumed):
            next(answer.iter_raw())
    assert answer.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("loop", [Asyncio(), Trio()], ids=str)
def test_stream_left_halfway(fake: FakeKYC, loop: Any) -> None:
    """J8: a task may leave a stream before its end, and nothing complains."""
    fake.on("GET", "/x", lambda _: httpx.Response(200, content=iter([b"1"] * 3)))

    async def main() -> None:
        async with httpx.AsyncClient(**arguments(fake)) as client, client.stream("GET", "/x") as answer:
            assert not answer.is_stream_consumed
        async with httpx.AsyncClient(**arguments(fake)) as client, client.stream("GET", "/x") as answer:
            assert await answer.aread() == b"111"

    loop.run(main)
    gc.collect()


def test_stream_without_a_length(fake: FakeKYC, client: httpx.Client) -> None:
    """A response made of a bare stream is chunked; one of bytes gets its length."""

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"12"

    fake.on("GET", "/x", lambda _: httpx.Response(200, stream=Stream()), public=True)
    fake.on("GET", "/y", lambda _: httpx.Response(200, stream=httpx.ByteStream(b"12")), public=True)
    assert (client.get("/x").content, client.get("/y").headers["Content-Length"]) == (b"12", "2")
    assert client.get("/x").headers["Transfer-Encoding"] == "chunked"


def test_no_answer(fake: FakeKYC, client: httpx.Client) -> None:
    """A function that raises an error of httpx's leaves the call without an answer; the record says so."""

    def answer(request: httpx.Request) -> Any:
        raise httpx.ReadError("gone", request=request)

    route = fake.on("GET", "/x", answer, public=True)
    with pytest.raises(httpx.TransportError):
        client.get("/x")
    assert [call.status for call in route.calls] == [None]
    assert client.get(RESOURCE_PATH).status_code == 401


def test_answer_breaks_off(client: httpx.Client, fake: FakeKYC) -> None:
    """A stream that raises an error of httpx's in the middle breaks off."""

    def chunks() -> Iterator[bytes]:
        yield b"1"
        raise httpx.ReadError("gone")

    fake.on("GET", "/x", lambda _: httpx.Response(200, content=chunks()), public=True)
    with pytest.raises(httpx.TransportError):
        client.get("/x")


def test_other_hosts_are_out_of_reach() -> None:
    """The transport leads nowhere else: neither to another host, nor to another port or scheme."""
    fake = FakeKYC()
    with httpx.Client(transport=fake.transport) as client:
        for url in ("https://example.com/", f"{fake.base_url}:444/", fake.base_url.replace("https", "http")):
            with pytest.raises(httpx.ConnectError, match="cannot reach"):
                client.get(url)
    assert fake.requests == []


# Mistakes of the test's own


def boom(_request: httpx.Request) -> Any:
    """An answer that finds fault with its request."""
    raise AssertionError("the test's own words")


def late_boom(_request: httpx.Request) -> httpx.Response:
    """The same in the middle of its answer."""

    def chunks() -> Iterator[bytes]:
        yield b"1"
        raise AssertionError("the test's own words")

    return httpx.Response(200, content=chunks())


@pytest.mark.parametrize("answer", [boom, late_boom])
def test_error_in_memory_is_the_callers(answer: Any) -> None:
    """What a function raises comes out of the call."""
    fake = FakeKYC()
    fake.on("GET", "/x", answer, public=True)
    with (
        httpx.Client(base_url=fake.base_url, transport=fake.transport) as client,
        pytest.raises(AssertionError, match="own words"),
    ):
        client.get("/x")


def fail(_request: httpx.Request) -> Any:
    """The same in pytest's words, which are no `Exception`."""
    pytest.fail("the test's own words")


@pytest.mark.parametrize(("answer_", "kind"), [(boom, AssertionError), (fail, pytest.fail.Exception)])
def test_error_over_the_socket_is_raised_at_the_end(
    caplog: pytest.LogCaptureFixture, answer_: Any, kind: type[BaseException]
) -> None:
    """The client sees a 500; the test sees the error when the fake ends, and in the log."""
    fake = FakeKYC()
    fake.on("GET", "/x", answer_, public=True)
    with pytest.raises(kind, match="own words"), fake.serve():
        answer = httpx.get(f"{fake.base_url}/x")
    assert answer.status_code == 500
    assert "own words" in caplog.text


def test_late_error_over_the_socket_is_raised_at_the_end() -> None:
    """The answer breaks off; the test sees the error when the fake ends."""
    fake = FakeKYC()
    fake.on("GET", "/x", late_boom, public=True)
    with pytest.raises(AssertionError, match="own words"), fake.serve(), pytest.raises(httpx.TransportError):
        httpx.get(f"{fake.base_url}/x")


def test_failure_of_the_block_comes_first() -> None:
    """An error of the test itself is not hidden by that of an answer."""
    fake = FakeKYC()
    fake.on("GET", "/x", boom, public=True)
    with pytest.raises(ZeroDivisionError), fake.serve():
        1 / (httpx.get(f"{fake.base_url}/x").status_code - 500)


@pytest.mark.parametrize("loop", [Threads(), Asyncio(), Trio()], ids=str)
def test_async_answers_are_refused(loop: Colour) -> None:
    """Neither a coroutine function nor an async stream can answer; the message says so."""
    fake = FakeKYC()

    async def answer(_request: httpx.Request) -> Any:
        return 1

    async def chunks() -> Any:
        yield b"1"

    fake.on("GET", "/x", answer)
    fake.on("GET", "/y", lambda _: httpx.Response(200, content=chunks()))
    for path, message in (("/x", "must not be async"), ("/y", "not async")):
        with pytest.raises(TypeError, match=message):
            loop.send("GET", path, client=arguments(fake))


# The socket


def test_server_ends_with_its_block() -> None:
    """After the block nobody answers, not even on a connection that a client has kept; slow answers end."""
    fake = FakeKYC()
    fake.on("GET", "/slow", json=1, delay=LONG, public=True)
    ended = threading.Event()

    def wait_for_slow() -> None:
        # Whether the answer still gets out before the connection ends is open.
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/slow", timeout=LONG)
        ended.set()

    with httpx.Client(timeout=PATIENCE, verify=CONTEXT) as client:
        with fake.serve():
            url = fake.base_url
            client.get(f"{url}/x")
            waiting = threading.Thread(target=wait_for_slow)
            waiting.start()
            assert in_time(lambda: len(fake.requests) == 2)
        assert ended.wait(PATIENCE)
        waiting.join()
        with pytest.raises(httpx.TransportError):
            client.get(f"{url}/x")
    assert fake.base_url.startswith("https://")


def test_idle_connections_end_with_the_server() -> None:
    """A connection on which nothing happens is closed at the end, and no thread of the server's stays behind."""
    with FakeKYC().serve() as fake:
        url = httpx.URL(fake.base_url)
        with_others = threading.active_count()
        peer = socket.create_connection((url.host, url.port or 0), timeout=PATIENCE)
        assert in_time(lambda: threading.active_count() == with_others + 1)
    with peer:
        assert peer.recv(1) == b""
    assert in_time(lambda: threading.active_count() < with_others)


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /x HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nshort",
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"GET",
    ],
    ids=["length", "chunk", "end", "head"],
)
def test_request_that_breaks_off(raw: bytes) -> None:
    """Half a request is none: it is not answered by a route, and disturbs nobody."""
    fake = FakeKYC()
    route = fake.on("POST", "/x", json=1, public=True)
    with fake.serve():
        with socket.create_connection((httpx.URL(fake.base_url).host, httpx.URL(fake.base_url).port or 0)) as peer:
            peer.sendall(raw)
            peer.shutdown(socket.SHUT_WR)
            peer.settimeout(PATIENCE)
            while peer.recv(1024):
                pass
        assert httpx.post(f"{fake.base_url}/x", content=iter([b"1", b"2"])).json() == 1
    assert [call.request.content for call in route.calls] == [b"12"]


def test_client_that_goes_away() -> None:
    """A client that does not wait for its answer disturbs nobody, and is no error of the test's."""
    fake = FakeKYC()
    fake.on("GET", "/big", lambda _: httpx.Response(200, content=iter([b"0" * 65536] * 500)), public=True)
    with fake.serve():
        with httpx.stream("GET", f"{fake.base_url}/big"):
            pass
        assert httpx.get(f"{fake.base_url}{RESOURCE_PATH}").status_code == 401


# Time under control


def test_time_of_clients_that_exist_and_of_new_ones() -> None:
    """Inside of `control_time()`, both tell the time by the fake's clock; those that exist forget at both ends."""
    fake = FakeKYC()
    with httpx.Client(**arguments(fake)) as existing, httpx.Client(**arguments(fake)) as idle:
        existing.get(RESOURCE_PATH)
        with fake.control_time(), httpx.Client(**arguments(fake)) as new:
            for client in (existing, idle, new):
                logins = fake.logins
                client.get(RESOURCE_PATH)
                fake.expire()
                client.get(RESOURCE_PATH)
                assert fake.logins == logins + 2
                fake.expire()
                fake.fail_login(400, times=1)
                for _ in range(2):
                    with pytest.raises(kyc_client.BadCredentialsError):
                        client.get(RESOURCE_PATH)
                fake.advance(60)
                assert client.get(RESOURCE_PATH).status_code == 200
            logins = fake.logins
        existing.get(RESOURCE_PATH)
        assert fake.logins == logins + 1
    assert 401 not in [status for _, status in statuses(fake)]


def test_time_goes_back_to_what_it_was() -> None:
    """After the block each LoginAuth has the clock that it had, and those that were made in it the machine's."""
    fake = FakeKYC()
    before = fake.connect().get_httpx_client().auth
    other = FakeKYC()
    with other.control_time():
        inside = kyc_client.LoginAuth(fake.base_url, credentials=fake.credentials)
        assert inside._source._clock is other._time.clock()
        assert before._source._clock is other._time.clock()  # type: ignore[union-attr]
    assert before._source._clock is fake._time.clock()  # type: ignore[union-attr]
    assert inside._source._clock.monotonic is time.monotonic
    assert kyc_client.LoginAuth(fake.base_url)._source._clock.monotonic is time.monotonic
    assert inside._source in living_sources()


def test_clock_is_later_at_each_look() -> None:
    """However many threads look: no two see the same time, and each sees it go on, by less than a second in all."""
    clock = FakeKYC()._time.clock()
    seen: list[list[float]] = []

    def look() -> None:
        seen.append([clock.monotonic() for _ in range(1000)])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(looks == sorted(looks) for looks in seen)
    everything = sorted(reading for looks in seen for reading in looks)
    assert len(set(everything)) == 4000
    assert everything[-1] - everything[0] < 1


# What it shows


def test_nothing_shows_the_password(calling: Calling, fake: FakeKYC) -> None:
    """Records, routes and the variables tell what is needed, and the records show neither password nor token."""
    calling()()
    shown = f"{fake.requests} {fake.route('GET', RESOURCE_PATH)!r} {fake.route('GET', RESOURCE_PATH)}"
    assert "POST" in shown
    assert "fake-password" not in shown
    assert "Bearer" not in shown
    assert fake.environ == {
        "API_BASE_URL": fake.base_url,
        "API_LOGIN": RIGHT["username"],
        "API_PASSWORD": RIGHT["password"],
    }


# One test after the other, at one address


@pytest.fixture
def place() -> Iterator[LoopbackServer]:
    """An address for several fakes in a row, as the pytest fixture has it."""
    with LoopbackServer() as server:
        yield server


@contextlib.contextmanager
def turn(place: LoopbackServer) -> Iterator[FakeKYC]:
    """What a test has of it."""
    fake = FakeKYC()
    with fake.serve(place), fake.control_time():
        yield fake


def test_renewal_under_way_ends_with_its_test(place: LoopbackServer) -> None:
    """A login that a test has left in the background does not come to the next one."""
    with connect(place.url, credentials=Credentials(*RIGHT.values()), verify=CONTEXT) as client:
        with turn(place) as first:
            get_resource.sync(client=client)
            first.slow_login(LONG)
            first.advance(3400)
            get_resource.sync(client=client)
            assert in_time(lambda: first.login_attempts == 2)
        with turn(place) as second:
            get_resource.sync(client=client)
        assert statuses(second) == [("login", 200), (RESOURCE_PATH, 200)]


def test_further_attempts_end_with_their_test(place: LoopbackServer) -> None:
    """Nor do the attempts that a login would have gone on to make."""
    with connect(place.url, credentials=Credentials(*RIGHT.values()), verify=CONTEXT) as client:

        async def impatient(fake: FakeKYC) -> None:
            call = asyncio.create_task(auth_of(client).aget_token())
            assert await asyncio.to_thread(in_time, lambda: fake.login_attempts == 1)
            call.cancel()

        with turn(place) as first:
            first.fail_login(503)
            first.slow_login(LONG)
            asyncio.run(impatient(first))
        with turn(place) as second:
            get_resource.sync(client=client)
        assert statuses(second) == [("login", 200), (RESOURCE_PATH, 200)]
    assert first.login_attempts == 1


def test_connection_belongs_to_its_test(place: LoopbackServer) -> None:
    """A request on a connection of an earlier test is not answered by a later one."""
    with turn(place), socket.create_connection(("127.0.0.1", int(place.url.rpartition(":")[2]))) as old:
        old.sendall(b"GET /api/v1/resource HTTP/1.1\r\nHost: x\r\n\r\n")
        assert old.recv(1000).startswith(b"HTTP/1.1 401")
        kept = old.dup()
    with turn(place) as second, kept, contextlib.suppress(OSError):
        kept.settimeout(PATIENCE)
        kept.sendall(b"GET /api/v1/resource HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(1000) == b""
    assert second.requests == []


def test_slow_answers_of_a_fake_that_serves_again() -> None:
    """What is slow is slow in each of its turns, not in the first alone."""
    fake = FakeKYC()
    for _ in range(2):
        with fake.serve(), fake.connect(timeout=0.2) as client:
            fake.on("GET", RESOURCE_PATH, json={}, delay=LONG)
            with pytest.raises(httpx.ReadTimeout):
                get_resource.sync(client=client)
