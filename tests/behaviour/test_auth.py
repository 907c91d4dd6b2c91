"""`LoginAuth` over a real socket: which requests carry the token, and what a 401 leads to."""

from __future__ import annotations

import asyncio
import contextvars
import io
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import trio

import kyc_client
from kyc_client import LoginAuth, connect
from kyc_client._clock import Clock, Moment
from kyc_client._token.lease import Lease
from kyc_client.testing._sources import start_over
from tests.behaviour.test_bodies import Pipe
from tests.support.colours import Asyncio, Trio
from tests.support.fault_server import FaultServer, after, answer, check, hang, issue
from tests.support.gate import Gate, settles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange

REFUSED = answer(401, {"detail": "Unauthorized"})


# Which requests carry the token


def test_first_request_logs_in_and_the_next_ones_use_the_token(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """A13: no login before the first request, one for many, and the token on each; in threads, asyncio and trio."""
    assert server.login_count == 0
    for _ in range(3):
        assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert server.login_count == 1


def test_get_token_gives_the_token_that_requests_carry(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """get_token() and aget_token() log in if they must, and share the token with requests."""
    token = colour.token(auth)
    echoed = colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).json()["token"]
    assert (token.value, colour.token(auth).value, server.login_count) == (echoed, echoed, 1)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        pytest.param("https://API.example.com", "https://api.example.com:443/x", id="default port, letter case"),
        pytest.param("https://api.example.com:8443/kyc", "https://api.example.com:8443/other", id="other path"),
        pytest.param("https://münchen.example", "https://xn--mnchen-3ya.example/x", id="IDN"),
    ],
)
def test_same_origin_is_ours(credentials: kyc_client.Credentials, base: str, url: str) -> None:
    """D3: the token goes to the scheme, host and port of the base URL, however they are written."""
    seen = []
    transport = _fake_api(seen)
    auth = LoginAuth(base, credentials=credentials, transport=transport)
    with httpx.Client(auth=auth, transport=transport) as client:
        client.get(url)
    assert [request.headers.get("authorization") for request in seen] == [None, "Bearer fake.token"]


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example.com/x",
        "http://api.example.com/x",
        "https://api.example.com:8443/x",
        "https://api.example.com./x",
        "https://sub.api.example.com/x",
    ],
)
def test_other_origins_get_nothing(credentials: kyc_client.Credentials, url: str) -> None:
    """D3: an absolute URL to another scheme, host or port gets no token and causes no login."""
    seen: list[httpx.Request] = []
    transport = _fake_api(seen)
    auth = LoginAuth("https://api.example.com", credentials=credentials, transport=transport)
    with httpx.Client(auth=auth, transport=transport) as client:
        client.get(url)
    assert [(request.url, "authorization" in request.headers) for request in seen] == [(httpx.URL(url), False)]


def _fake_api(seen: list[httpx.Request]) -> httpx.MockTransport:
    """For what concerns URLs only, and hosts that no test can own."""

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})

    return httpx.MockTransport(handle)


def test_redirect_to_another_origin_takes_no_token_along(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """D4: a redirect of a call may be followed, but the token stays, and the other host's 401 means nothing to us."""
    with FaultServer() as other:
        server.on_resource(answer(302, b"", {"Location": f"{other.base_url}/elsewhere"}))
        response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth, "follow_redirects": True})
        assert (response.status_code, response.url.port) == (401, other.port)
        assert [exchange.token for exchange in other.hits] == [None]
    assert (server.login_count, other.login_count, len(server.hits)) == (1, 0, 1)


def test_redirect_within_our_origin_keeps_the_token_and_its_401_counts(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """D4: a 401 after a redirect on our own origin is answered like any other."""
    auth.get_token()
    server.revoke()
    moved = answer(307, b"", {"Location": "/moved"})
    server.on_resource(moved, check, moved, check)
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth, "follow_redirects": True})
    assert (response.status_code, server.login_count) == (200, 2)


def test_callers_authorization_is_left_alone(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A request with an Authorization header of the caller's: no login, no token, and its 401 means nothing to us."""
    headers = {"authorization": "Bearer callers-own-fake"}
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth}, headers=headers)
    assert response.status_code == 401
    assert [exchange.token for exchange in server.hits] == ["callers-own-fake"]
    assert server.login_count == 0


def test_other_headers_of_the_caller_do_not_keep_the_token_away(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """Only Authorization is the caller's word, not a header whose name is as long: a conditional GET is authorized."""
    headers = {"If-None-Match": '"fake"', "Proxy-Connection": "close"}
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth}, headers=headers)
    assert (response.status_code, server.login_count) == (200, 1)


def test_header_that_a_hook_replaces_is_not_taken_for_ours(server: FaultServer, auth: LoginAuth) -> None:
    """What was sent counts: the 401 for another token than ours means nothing to us."""

    def replace(request: httpx.Request) -> None:
        request.headers["Authorization"] = "Bearer callers-own-fake"

    with httpx.Client(auth=auth, event_hooks={"request": [replace]}) as client:
        assert client.get(f"{server.base_url}/api").status_code == 401
    assert [exchange.token for exchange in server.hits] == ["callers-own-fake"]
    assert auth._source.fresh() is not None


def test_401_of_another_origin_that_got_our_token_means_nothing(
    credentials: kyc_client.Credentials, colour: Colour
) -> None:
    """Clients keep the header in a redirect from http to https of the same host; still that is not our API."""
    base, elsewhere = "http://api.example.com", "https://api.example.com/x"
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers.get("Authorization")))
        if request.url.path == "/auth/jwt/login":
            return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})
        return httpx.Response(401) if request.url == elsewhere else httpx.Response(307, headers={"Location": elsewhere})

    transport = httpx.MockTransport(handle)
    auth = LoginAuth(base, credentials=credentials, transport=transport, allow_insecure_http=True)
    auth.get_token()
    client = {"auth": auth, "transport": transport, "follow_redirects": True}
    assert colour.send("GET", f"{base}/x", client=client).status_code == 401
    ours = "Bearer fake.token"
    assert seen == [(f"{base}/auth/jwt/login", None), (f"{base}/x", ours), (elsewhere, ours)]
    assert auth._source.fresh() is not None


def test_auth_none_is_left_alone(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A request sent with auth=None goes out without a token and without a login."""
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth}, auth=None)
    assert (response.status_code, server.hits[0].token, server.login_count) == (401, None, 0)


def test_header_that_we_put_is_not_taken_for_the_callers(server: FaultServer, auth: LoginAuth) -> None:
    """A request object sent a second time gets the current token; one whose header the caller replaced keeps it."""
    with httpx.Client(auth=auth) as client:
        request = client.build_request("GET", f"{server.base_url}/api")
        first = client.send(request).json()["token"]
        server.revoke()
        auth.reset()
        second = client.send(request)
        assert second.status_code == 200
        assert second.json()["token"] != first
        request.headers["Authorization"] = "Bearer callers-own-fake"
        assert client.send(request).status_code == 401
    assert (server.login_count, server.hits[-1].token) == (2, "callers-own-fake")


def test_header_that_a_hook_has_written_anew_is_still_ours(server: FaultServer, auth: LoginAuth) -> None:
    """Hooks that add a header often do so by making all of them anew, of text."""

    def add_header(request: httpx.Request) -> None:
        request.headers = httpx.Headers({**request.headers, "X-Trace": "fake"})

    with httpx.Client(auth=auth, event_hooks={"request": [add_header]}) as client:
        request = client.build_request("GET", f"{server.base_url}/api")
        for _ in range(2):
            assert client.send(request).status_code == 200
            server.revoke()
            auth.reset()
    assert server.login_count == 2


def test_header_copied_to_another_request_is_the_callers(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """Whoever takes it from one request for another has chosen the token."""
    client = {"auth": auth}
    first = colour.send("GET", f"{server.base_url}/api", client=client)
    server.revoke()
    auth.reset()
    second = colour.send("GET", f"{server.base_url}/api", client=client, headers=first.request.headers)
    assert (second.status_code, server.login_count) == (401, 1)
    assert server.hits[0].token == server.hits[1].token


# After a 401


def test_401_is_mended_by_one_login_and_one_more_try(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A revoked token costs the first call that meets it one login; the caller sees the 200."""
    colour.token(auth)
    server.revoke()
    response = colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, json={"name": "fake"})
    assert (response.status_code, server.login_count) == (200, 2)
    assert [exchange.body for exchange in server.hits] == [b'{"name":"fake"}'] * 2


def test_one_revocation_after_the_other_is_mended(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A3: three revocations, one soon after the other, cost one login each. No caller notices them."""
    colour.token(auth)
    for _ in range(3):
        server.revoke()
        assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert server.login_count == 4


@pytest.mark.usefixtures("three_drops")
def test_budget_of_drops_on_a_clock_that_stands_still(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """B2: on a coarse clock (Windows has ticks of 16 ms), a 401 and its login have the same time. The budget holds."""
    colour.token(auth)
    now = time.monotonic()
    auth._source.use(Clock(monotonic=lambda: now))
    server.on_resource(REFUSED)
    for _ in range(5):
        assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 401
    assert (server.login_count, len(server.hits)) == (1 + 3, 3 * 2 + 2)


def renewed_meanwhile(auth: LoginAuth) -> Behaviour:
    """While this request is under way with token 1, another one obtains token 2."""

    def behaviour(exchange: Exchange) -> None:
        exchange.server.revoke()
        with httpx.Client(auth=auth) as client:
            client.get(f"{exchange.server.base_url}/other")
        check(exchange)

    return behaviour


def test_late_401_of_an_old_token_leaves_the_newer_one_alone(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B1: a 401 for token 1 that arrives after token 2 was obtained is retried with token 2, without another login."""
    first = auth.get_token().value
    server.on_resource(renewed_meanwhile(auth), check)
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth})
    assert response.status_code == 200
    assert response.json()["token"] != first
    assert server.login_count == 2


@pytest.mark.usefixtures("three_drops")
def test_endpoint_that_always_refuses_costs_three_logins_not_one_per_call(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B2: three calls drop the token and are sent twice. Then the caller gets the 401 itself, and the token stays."""
    colour.token(auth)
    server.on_resource(REFUSED)
    statuses = [colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code for _ in range(10)]
    assert statuses == [401] * 10
    assert (server.login_count, len(server.hits)) == (1 + 3, 10 + 3)
    assert auth.get_token().value == server.hits[-1].token
    assert server.login_count == 1 + 3


def test_late_401_of_a_token_that_the_request_had_waited_for(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B1, A3: likewise for the request that waited for the first login. The next revocation is mended as well."""
    server.on_resource(renewed_meanwhile(auth), check)
    for logins in (2, 3):
        assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
        assert server.login_count == logins
        server.revoke()


def test_budget_of_drops_is_refilled(server: FaultServer, credentials: kyc_client.Credentials, colour: Colour) -> None:
    """B2: one drop comes back every 10 s, and all of them with a reset()."""
    auth = LoginAuth(server.base_url, credentials=credentials)
    passed = 0.0
    began = time.monotonic()
    start_over(auth._source, Clock(monotonic=lambda: began + passed))

    def status() -> int:
        return colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code

    colour.token(auth)
    server.on_resource(REFUSED)
    assert [status() for _ in range(4)] == [401] * 4
    assert server.login_count == 1 + 3
    for seconds, logins in ((9.9, 4), (0.1, 5), (10, 6)):
        passed += seconds
        assert [status() for _ in range(2)] == [401] * 2
        assert server.login_count == logins
    server.on_resource(check)
    server.revoke()
    assert (status(), server.login_count) == (401, 6)
    auth.reset()
    for logins in (7, 8):
        assert (status(), server.login_count) == (200, logins)
        server.revoke()


@pytest.mark.usefixtures("three_drops")
def test_response_hook_that_raises_hides_no_401(
    server: FaultServer, credentials: kyc_client.Credentials, colour: Colour
) -> None:
    """Httpx's recipe, a hook that raises at 4xx, comes before the auth flow. The token is dropped even so.

    This spends the budget of drops like any other 401.
    """

    def raise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    async def araise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    hook = raise_for_status if colour.name == "sync" else araise_for_status
    connected = connect(server.base_url, credentials=credentials, event_hooks={"response": [hook]})
    http = connected.get_httpx_client()
    client = {"auth": http.auth, "event_hooks": http.event_hooks}
    colour.token(http.auth)
    for logins in (2, 3, 4):
        server.revoke()
        with pytest.raises(httpx.HTTPStatusError):
            colour.send("GET", f"{server.base_url}/api", client=client)
        assert colour.send("GET", f"{server.base_url}/api", client=client).status_code == 200
        assert server.login_count == logins
    server.revoke()
    for _ in range(2):
        with pytest.raises(httpx.HTTPStatusError):
            colour.send("GET", f"{server.base_url}/api", client=client)
    assert server.login_count == 4


@pytest.mark.usefixtures("three_drops")
def test_response_hook_that_looks_on_changes_nothing(
    server: FaultServer, credentials: kyc_client.Credentials, colour: Colour
) -> None:
    """B2: with a hook that does not raise, a revocation is mended at once, and a request spends one drop at most."""
    seen: list[int] = []

    def note(response: httpx.Response) -> None:
        seen.append(response.status_code)

    async def anote(response: httpx.Response) -> None:
        seen.append(response.status_code)

    hook = note if colour.name == "sync" else anote
    http = connect(server.base_url, credentials=credentials, event_hooks={"response": [hook]}).get_httpx_client()
    client = {"auth": http.auth, "event_hooks": http.event_hooks}
    colour.token(http.auth)
    server.revoke()
    assert colour.send("GET", f"{server.base_url}/api", client=client).status_code == 200
    server.on_resource(REFUSED)
    for _ in range(3):
        assert colour.send("GET", f"{server.base_url}/api", client=client).status_code == 401
    assert seen == [401, 200, *[401, 401] * 2, 401]
    assert server.login_count == 1 + 3
    headers = {"Authorization": "Bearer fake-token-of-the-callers"}
    assert colour.send("GET", f"{server.base_url}/api", client=client, headers=headers).status_code == 401
    assert server.login_count == 1 + 3


@pytest.mark.usefixtures("three_drops")
def test_response_hook_spends_no_drop_for_a_second_sending(
    server: FaultServer, credentials: kyc_client.Credentials, colour: Colour
) -> None:
    """B2: also with a hook, an endpoint that always refuses costs three logins: the hook does not count a 401 twice."""

    async def note(_: httpx.Response) -> None:
        pass

    hook = note if colour.name != "sync" else lambda _: None
    http = connect(server.base_url, credentials=credentials, event_hooks={"response": [hook]}).get_httpx_client()
    server.on_resource(REFUSED)
    client = {"auth": http.auth, "event_hooks": http.event_hooks}
    for _ in range(5):
        assert colour.send("GET", f"{server.base_url}/api", client=client).status_code == 401
    assert (server.login_count, len(server.hits)) == (1 + 3, 3 * 2 + 2)


def test_response_hook_passes_over_a_401_for_the_token_of_another(
    server: FaultServer, auth: LoginAuth, credentials: kyc_client.Credentials
) -> None:
    """A request that another client has put a token on says nothing about ours."""
    with httpx.Client(auth=auth) as other:
        request = other.build_request("GET", f"{server.base_url}/api")
        other.send(request)
    with connect(server.base_url, credentials=credentials, event_hooks={"response": [lambda _: None]}) as client:
        http = client.get_httpx_client()
        ours = http.auth.get_token()
        server.on_resource(REFUSED)
        assert http.send(request, auth=None).status_code == 401
        assert http.auth.get_token() is ours
    assert server.login_count == 2


def test_request_that_waited_for_the_login_is_sent_again(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A3: a token may be revoked right after its login. The request that waited for it is mended like any other."""

    def revoked_at_once(exchange: Exchange) -> None:
        exchange.server.revoke()
        check(exchange)

    server.on_resource(revoked_at_once, check)
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert (server.login_count, len(server.hits)) == (2, 2)


def test_403_is_no_reason_to_log_in(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """B5: a valid token without the right is answered 403, which goes to the caller; the token stays."""
    server.on_resource(answer(403, {"detail": "Forbidden"}))
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 403
    colour.token(auth)
    assert (server.login_count, len(server.hits)) == (1, 1)


@pytest.mark.parametrize(
    "headers", [{}, {"WWW-Authenticate": "Basic realm=fake"}, {"Content-Type": "text/html"}], ids=str
)
def test_any_401_of_our_origin_counts(
    server: FaultServer, auth: LoginAuth, colour: Colour, headers: dict[str, str]
) -> None:
    """B6: with or without WWW-Authenticate, JSON or HTML: one login, one more try, nothing sent but the token."""
    colour.token(auth)
    server.revoke()
    server.on_resource(answer(401, b"<html>", headers), check)
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert server.login_count == 2
    assert all(exchange.token for exchange in server.hits)


def test_refused_login_after_a_401_reaches_every_caller(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """B7: an account deactivated in mid-life: one login, the same error for all, none in a second wave."""
    auth.get_token()
    server.revoke()
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    for cached in (False, True):
        errors = colour.send_many(20, "GET", f"{server.base_url}/api", client={"auth": auth})
        assert {type(error) for error in errors} == {kyc_client.BadCredentialsError}
        assert len({id(error) for error in errors}) == 20
        if cached:
            assert all(error.cached for error in errors)
    assert server.login_count == 2


def test_unread_401_does_not_block_a_pool_of_one(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """C6: the 401 is read before the wait for the login, so it gives back the only connection."""
    colour.token(auth)
    server.revoke()
    server.on_resource(answer(401, b"x" * 500_000), check)
    client: dict[str, Any] = {"auth": auth, "limits": httpx.Limits(max_connections=1), "timeout": 5}
    assert colour.send("GET", f"{server.base_url}/api", client=client).status_code == 200


def test_accepted_post_is_not_sent_again_for_the_401_of_its_redirect(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """C9: POST, 303, GET, 401: the POST was accepted, and a second one would file the same applicant twice."""
    colour.token(auth)
    server.on_resource(answer(303, b"", {"Location": "/status"}), REFUSED)
    response = colour.send(
        "POST", f"{server.base_url}/api", client={"auth": auth, "follow_redirects": True}, json={"name": "fake"}
    )
    assert response.status_code == 401
    assert [exchange.method for exchange in server.hits] == ["POST", "GET"]
    server.on_resource(check)
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert server.login_count == 2


@pytest.mark.usefixtures("three_drops")
def test_slow_bodies_of_401s_do_not_hide_that_logins_are_useless(
    server: FaultServer, credentials: kyc_client.Credentials
) -> None:
    """B2: an endpoint says 401 each time, slowly, beside other traffic that logs in meanwhile. Three logins pay it."""
    auth = LoginAuth(server.base_url, credentials=credentials)
    auth.get_token()

    def refuse_slowly(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 401 \r\nContent-Length: 2\r\n\r\n")
        auth.get_token()  # Another caller, which logs in if the token has been dropped.
        exchange.send(b"{}")

    server.on_resource(refuse_slowly)
    with httpx.Client(auth=auth) as client:
        assert {client.get(f"{server.base_url}/api").status_code for _ in range(20)} == {401}
    assert server.login_count <= 1 + 3


# What can be sent again


def _chunks() -> Iterator[bytes]:
    yield b"MARK" * 10


async def _async_chunks() -> AsyncIterator[bytes]:
    yield b"MARK" * 10


class _FalsePromise(io.BytesIO):
    """It says that it can be rewound, and cannot."""

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


class _NoFile:
    """Not even a file: it has no seekable()."""

    def read(self, size: int = -1) -> bytes:
        return b""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(dict, id="none"),
        pytest.param(lambda: {"json": {"a": "MARK"}}, id="json"),
        pytest.param(lambda: {"data": {"a": "MARK"}}, id="form"),
        pytest.param(lambda: {"content": b"MARK" * 10}, id="bytes"),
        pytest.param(lambda: {"files": {"f": ("f", b"MARK" * 10)}, "data": {"a": "b"}}, id="multipart of bytes"),
        pytest.param(lambda: {"files": {"f": ("f", io.BytesIO(b"MARK" * 10))}}, id="multipart of a file"),
    ],
)
def test_what_can_be_sent_again_is_sent_again_unchanged(
    server: FaultServer, auth: LoginAuth, colour: Colour, body: Any
) -> None:
    """C4: after a 401 the same bytes arrive a second time, and the caller sees the 200."""
    colour.token(auth)
    server.revoke()
    assert colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, **body()).status_code == 200
    first, second = server.hits
    assert first.body == second.body
    assert first.headers["content-length"] == second.headers["content-length"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: {"files": {"f": ("f", Pipe(b"MARK" * 10))}}, id="multipart of a pipe"),
        pytest.param(lambda: {"files": {"f": ("f", _NoFile())}}, id="multipart of something that reads"),
        pytest.param(lambda: {"files": {"f": ("f", _FalsePromise(b"MARK" * 10))}}, id="multipart of a false promise"),
        pytest.param("generator", id="generator"),
    ],
)
def test_what_can_not_be_sent_again_is_never_truncated(
    server: FaultServer, auth: LoginAuth, colour: Colour, body: Any
) -> None:
    """C1, C3: the caller gets the 401, and the server one whole copy. The token is dropped: the next call logs in."""
    colour.token(auth)
    server.revoke()
    generator = {"content": _chunks() if colour.name == "sync" else _async_chunks()}
    arguments = generator if body == "generator" else body()
    assert colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, **arguments).status_code == 401
    assert len(server.hits) == 1
    assert server.login_count == 1
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert server.login_count == 2


def _near_its_end(server: FaultServer, auth: LoginAuth) -> str:
    """Give it a token in its soft phase: 100 s left of 1000."""
    value = server.new_token(exp=int(time.time()) + 100)
    began = Moment(time.monotonic() - 900, time.time() - 900)
    auth._source._policy.lease = Lease(value, issued_at=began.wall, began=began, arrived=began, jitter=0)
    return value


@pytest.mark.parametrize("kind", ["json", "stream"])
def test_soft_token_is_used_at_once(server: FaultServer, auth: LoginAuth, colour: Colour, kind: str) -> None:
    """C5: in the soft phase a request goes out at once, with the token that there is, whatever its body.

    The renewal in the background waits for the server meanwhile.
    """
    gate = Gate()
    server.on_login(gate)
    token = _near_its_end(server, auth)
    stream = {"content": _chunks() if colour.name == "sync" else _async_chunks()}
    body = stream if kind == "stream" else {"json": {"name": "fake"}}
    response = colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, **body)
    assert gate.arrived.wait(10)
    gate.opened.set()
    assert response.json()["token"] == token
    assert settles(lambda: auth.get_token().value != token)
    assert server.login_count == 1


def test_open_file_as_content_is_not_sent_again(server: FaultServer, auth: LoginAuth, tmp_path: Any) -> None:
    """C2: a file is at its end after the first sending; the caller gets the 401, not a protocol error."""
    path = tmp_path / "document"
    path.write_bytes(b"MARK" * 10)
    auth.get_token()
    server.revoke()
    with path.open("rb") as file, httpx.Client(auth=auth) as client:
        assert client.post(f"{server.base_url}/api", content=file).status_code == 401
    assert [exchange.body for exchange in server.hits] == [b"MARK" * 10]


def test_closed_file_is_not_sent_again(server: FaultServer, auth: LoginAuth, tmp_path: Any) -> None:
    """C3: a multipart file closed while the answer was under way cannot be rewound; that is no error of its own."""
    path = tmp_path / "document"
    path.write_bytes(b"MARK" * 10)
    auth.get_token()
    server.revoke()
    with path.open("rb") as file:

        def close_then_check(exchange: Exchange) -> None:
            file.close()
            check(exchange)

        server.on_resource(close_then_check)
        with httpx.Client(auth=auth) as client:
            assert client.post(f"{server.base_url}/api", files={"f": file}).status_code == 401
    assert len(server.hits) == 1


def test_streamed_download_reaches_the_caller_as_a_stream(server: FaultServer, auth: LoginAuth) -> None:
    """C8: the answer is not read by us."""
    server.on_resource(answer(200, b"x" * 1_000_000))
    with httpx.Client(auth=auth) as client, client.stream("GET", f"{server.base_url}/api") as response:
        assert not response.is_stream_consumed
        assert len(response.read()) == 1_000_000


# The object itself


def test_repr_names_the_base_url_only(auth: LoginAuth, server: FaultServer) -> None:
    """H1: a LoginAuth with a token shows neither the token nor the credentials."""
    token = auth.get_token().value
    assert repr(auth) == f"LoginAuth('{server.base_url}/')"
    assert token not in repr(auth)


def test_repr_works_before_the_object_is_complete() -> None:
    """A crash reporter may ask for it in the middle of the construction."""
    assert repr(LoginAuth.__new__(LoginAuth)) == "LoginAuth('?')"


def test_pickling_is_refused_with_a_reason(auth: LoginAuth) -> None:
    """H1: it holds a token and a lock; each process makes its own."""
    with pytest.raises(TypeError) as caught:
        pickle.dumps(auth)
    text = "A LoginAuth is not pickled, because it holds a token and a lock. Make one in each process."
    assert str(caught.value) == text


def test_unknown_argument_is_refused_by_name(credentials: kyc_client.Credentials) -> None:
    """A typing mistake, or an argument that has nothing to do with connections, is told at once."""
    with pytest.raises(TypeError) as caught:
        LoginAuth("https://api.example.com", credentials=credentials, limit=1, follow_redirects=True)
    assert str(caught.value) == (
        "LoginAuth() takes no follow_redirects, limit. "
        "Of httpx's arguments it takes cert, mounts, proxy, transport, trust_env, verify."
    )


def test_credentials_of_another_type_are_refused() -> None:
    """A tuple is no Credentials; the message says what is."""
    for wrong in (("fake-user", "fake-password"), kyc_client.Credentials):
        with pytest.raises(TypeError) as caught:
            LoginAuth("https://api.example.com", credentials=wrong)  # type: ignore[arg-type]
        text = "credentials= takes kyc_client.Credentials, or a callable without arguments that returns them."
        assert str(caught.value) == text


@pytest.mark.parametrize("wrong", ["30", ("5", 5, 5, 5)], ids=repr)
def test_timeout_that_is_no_number_is_refused(credentials: kyc_client.Credentials, wrong: Any) -> None:
    """At once; httpx would find out in the middle of a call."""
    with pytest.raises(TypeError) as caught:
        LoginAuth("https://api.example.com", credentials=credentials, timeout=wrong)
    assert str(caught.value) == "timeout= takes seconds, an httpx.Timeout, or None."
    assert LoginAuth("https://api.example.com", credentials=credentials, timeout=None)


@pytest.mark.parametrize("timeout", [0.1, httpx.Timeout(5, read=0.1)], ids=["seconds", "httpx.Timeout"])
def test_timeout_holds_for_each_read_of_a_login(
    server: FaultServer, credentials: kyc_client.Credentials, timeout: float | httpx.Timeout
) -> None:
    """A login that is not answered fails after three such times, and not only at its deadline."""
    server.on_login(hang)
    auth = LoginAuth(server.base_url, credentials=credentials, timeout=timeout)
    start_over(auth._source, Clock(pause=lambda *_: False))
    with pytest.raises(kyc_client.LoginUnavailableError, match="no answer in time"):
        auth.get_token()


def test_proxy_that_can_not_be_one_is_refused(credentials: kyc_client.Credentials) -> None:
    """With an example of a good one, and beside whatever else is wrong."""
    with pytest.raises(kyc_client.ConfigurationError) as caught:
        LoginAuth(credentials=credentials, proxy="gopher://proxy.example.com")
    _, missing, last = str(caught.value).split("\n")
    assert "API_BASE_URL is not set" in missing
    assert last == "The proxy= cannot be used. A good one looks like http://proxy.example.com:3128."


def test_password_is_not_sent_in_clear_unless_asked_for(credentials: kyc_client.Credentials) -> None:
    """http:// to another machine is refused by default, and accepted by those who say so."""
    with pytest.raises(kyc_client.ConfigurationError, match="would send the password in the clear"):
        LoginAuth("http://kyc.example.com", credentials=credentials)
    auth = LoginAuth("http://kyc.example.com", credentials=credentials, allow_insecure_http=True)
    assert repr(auth) == "LoginAuth('http://kyc.example.com/')"


def test_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without base_url=, API_BASE_URL is read; if that is missing, the error names it and nothing else."""
    with pytest.raises(kyc_client.ConfigurationError, match="API_BASE_URL is not set") as caught:
        LoginAuth()
    assert "API_LOGIN" not in str(caught.value)
    monkeypatch.setenv("API_BASE_URL", "https://api.example.com")
    assert repr(LoginAuth()) == "LoginAuth('https://api.example.com/')"


def test_credentials_come_from_the_environment_at_each_login(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E5: what the variables hold at the time of the login counts, so a rotated password needs no restart."""
    auth = LoginAuth(server.base_url)
    with pytest.raises(kyc_client.ConfigurationError, match=r"API_LOGIN is not set.*\n.*API_PASSWORD is not set"):
        auth.get_token()
    monkeypatch.setenv("API_LOGIN", "fake-user")
    monkeypatch.setenv("API_PASSWORD", "fake-password-1")
    auth.get_token()
    monkeypatch.setenv("API_PASSWORD", "fake-password-2")
    auth.reset()
    auth.get_token()
    sent = [httpx.QueryParams(exchange.body.decode())["password"] for exchange in server.logins]
    assert sent == ["fake-password-1", "fake-password-2"]


def test_credentials_callable_is_asked_at_each_login(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """E5: a secret store is asked when a login needs it, and not before."""
    asked: list[int] = []

    def ask() -> kyc_client.Credentials:
        asked.append(server.login_count)
        return credentials

    auth = LoginAuth(server.base_url, credentials=ask)
    assert asked == []
    auth.get_token()
    auth.reset()
    auth.get_token()
    assert asked == [0, 1]


def test_reset_forgets_the_token(server: FaultServer, auth: LoginAuth) -> None:
    """After reset() the next call logs in, even though the old token was good."""
    first = auth.get_token().value
    auth.reset()
    assert auth.get_token().value != first
    assert server.login_count == 2


# Event loops


@pytest.mark.blocks_the_loop
def test_sync_call_on_the_thread_of_a_loop_that_waits_for_the_login(server: FaultServer, auth: LoginAuth) -> None:
    """A10: a task waits for the login, and a sync call blocks its loop with the same wait: both get the token."""
    arrived, gate = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        arrived.set()
        after(gate, issue())(exchange)

    server.on_login(slow)

    async def main() -> tuple[str, str]:
        task = asyncio.create_task(auth.aget_token())
        await asyncio.to_thread(arrived.wait)
        threading.Timer(0.05, gate.set).start()
        blocking = auth.get_token()
        return blocking.value, (await task).value

    first, second = asyncio.run(main())
    assert first == second
    assert server.login_count == 1


def _this_loop() -> int:
    return id(trio.lowlevel.current_trio_token() if trio.lowlevel.in_trio_run() else asyncio.get_running_loop())


class _LoopOnly(httpx.AsyncBaseTransport):
    """An async transport, which counts the loops it is used on. It keeps no connections, which would belong to one."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        self.loops: set[int] = set()
        self.closed = 0
        self.running = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.loops.add(_this_loop())
        self.running += 1
        try:
            return await self._exchange(request)
        finally:
            self.running -= 1

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        self.closed += 1
        await self.inner.aclose()


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_async_transport_carries_the_login_on_a_loop_of_the_logins_own(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """A login never runs on the caller's loop, and leaves the transport open."""

    async def main() -> None:
        of_logins, of_calls = _LoopOnly(), _LoopOnly()
        auth = LoginAuth(server.base_url, credentials=credentials, transport=of_logins)
        statuses = []

        async def call() -> None:
            statuses.append((await client.get(f"{server.base_url}/api")).status_code)

        async with httpx.AsyncClient(auth=auth, transport=of_calls) as client:
            await loops.gather([call] * 10)
            assert statuses == [200] * 10
            server.revoke()
            await call()
            assert statuses == [200] * 11
            assert of_calls.loops == {_this_loop()}
            assert of_logins.loops
            assert _this_loop() not in of_logins.loops
            assert of_logins.closed == 0

    loops.run(main)
    assert server.login_count == 2


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_login_over_an_async_transport_that_hangs_is_ended_in_time(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """The deadline holds on the login's own loop as well. The task gets the error, and its loop is free."""
    server.on_login(hang)

    async def main() -> None:
        transport = _LoopOnly()
        auth = LoginAuth(server.base_url, credentials=credentials, transport=transport)
        auth._source._deadline = 0.1
        with pytest.raises(kyc_client.LoginUnavailableError):
            await auth.aget_token()
        assert await anyio.to_thread.run_sync(settles, lambda: not transport.running)
        await transport.aclose()

    loops.run(main)


@pytest.mark.blocks_the_loop
@pytest.mark.parametrize("reset", [False, True], ids=["", "after a reset"])
@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_sync_call_beside_a_login_over_an_async_transport(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio, *, reset: bool
) -> None:
    """A10: a sync call blocks the loop whose task waits for the login. The login needs no caller's loop, so it goes on.

    After a reset, both wait for one more login.
    """
    gate = Gate()
    server.on_login(gate, issue())
    tokens = []

    async def main() -> None:
        transport = _LoopOnly()
        auth = LoginAuth(server.base_url, credentials=credentials, transport=transport)

        async def wait() -> None:
            tokens.append(await auth.aget_token())

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.to_thread.run_sync(gate.arrived.wait)
            if reset:
                auth.reset()
            threading.Timer(0.05, gate.opened.set).start()
            tokens.append(auth.get_token())
        assert transport.closed == 0

    loops.run(main)
    first, second = tokens
    assert first is second
    assert server.accepts(first.value)
    assert server.login_count == 1 + reset


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_sync_login_leaves_no_connection_in_an_async_transport(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """It runs on a loop of its own, which ends with it. A call on another loop must not find its connection."""
    transport = httpx.AsyncHTTPTransport()
    auth = LoginAuth(server.base_url, credentials=credentials, transport=transport)
    auth.get_token()

    async def main() -> list[int]:
        async with httpx.AsyncClient(auth=auth, transport=transport) as client:
            return [(await client.get(f"{server.base_url}/api")).status_code for _ in range(2)]

    assert loops.run(main) == [200, 200]
    assert server.login_count == 1


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_mock_transport_with_an_async_handler_carries_the_login(
    credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """J8: it has the methods of both kinds of transport, and works as one of them only."""
    seen: list[str] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        await anyio.lowlevel.checkpoint()
        seen.append(request.url.path)
        return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})

    async def main() -> int:
        transport = httpx.MockTransport(handler)
        auth = LoginAuth("https://api.example.com", credentials=credentials, transport=transport)
        async with httpx.AsyncClient(auth=auth, transport=transport) as client:
            return (await client.get("https://api.example.com/x")).status_code

    assert loops.run(main) == 200
    assert seen == ["/auth/jwt/login", "/x"]


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_login_on_a_loop_sees_no_context_of_its_first_caller(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """A16: a login is for all callers, so it does not see the context of the task that happens to be the first."""
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    class Looking(_LoopOnly):
        async def _exchange(self, request: httpx.Request) -> httpx.Response:
            seen.append(tenant.get())
            return await super()._exchange(request)

    async def main() -> None:
        tenant.set("first caller")
        await LoginAuth(server.base_url, credentials=credentials, transport=Looking()).aget_token()

    loops.run(main)
    assert seen == ["nobody"]
