"""Recorded conversations with the sandbox, replayed without one: the client asks for what it asked for, as often.

`make record` records them anew. What a cassette must not hold is scrubbed while it is written: the pair, every token
(a fake takes its place), the `Authorization` header, the request's `Content-Length`, which tells the length of the
password. What may differ from one recording to the next (port, date) is replaced as well, so that a new recording of
the same conversation is the same file, byte by byte.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus, urlencode

import attrs
import httpx
import pytest
import vcr
import yaml
from vcr.serializers import yamlserializer

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_client.sandbox import LOGIN_PATH, RESOURCE_PATH, Sandbox
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource
from tests.support.colours import COLOURS, Colour

if TYPE_CHECKING:
    from vcr.cassette import Cassette
    from vcr.request import Request

CASSETTES = Path(__file__).parent / "cassettes"
# Where a cassette says that it was recorded. Nothing needs to listen there.
BASE_URL = "http://127.0.0.1:8000"
FAKE = Credentials("fake-login", "fake-password")
# A token that never rots: it expires in 2100, and was issued an hour before (the sandbox's default lifetime), as `Date`
# tells. The client reckons with the hour between the two, and not with the clock of the machine that replays.
EXPIRY = datetime(2100, 1, 1, tzinfo=UTC)
DATE = format_datetime(datetime(2099, 12, 31, 23, tzinfo=UTC), usegmt=True)


def fake_token(number: int) -> str:
    """A JWT that says what it is: the token that the login with this number brings, counted in each cassette from 1."""
    payload = {"sub": "fake", "exp": int(EXPIRY.timestamp()), "login": number}
    parts = ({"alg": "none", "typ": "JWT"}, payload)
    header, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    return f"{header}.{body}.fake-signature"


FAKE_TOKENS = [fake_token(number) for number in range(1, 10)]


# Scrubbing


@attrs.define
class Scrubber:
    """Takes out of one conversation what no cassette may hold. Whatever is scrubbed already stays as it is.

    Headers are kept by name: one that nobody has thought of does not get into a cassette.
    """

    secrets: tuple[str, ...] = ()
    _tokens: list[str] = attrs.field(factory=list, init=False)

    def request(self, request: Request) -> Request:
        """The `before_record_request` of vcrpy: for what is written, and for what is looked up."""
        request.uri = re.sub(r"^http://127\.0\.0\.1:\d+", BASE_URL, request.uri)
        request.headers = {name: value for name, value in request.headers.items() if name.lower() == "content-type"}
        if request.body:
            form = {name: values[0] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
            fakes = {"username": FAKE.username, "password": FAKE.password}
            # An empty field stays empty: that is what its conversation is about.
            request.body = urlencode({name: value and fakes.get(name, value) for name, value in form.items()}).encode()
        return request

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """The `before_record_response` of vcrpy: for what is written, and for what is read."""
        text = response["body"]["string"].decode()
        for secret in self.secrets:
            for spelling in (quote_plus(secret), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, FAKE.username)
        body = json.loads(text)
        if "access_token" in body:
            body["access_token"] = self._fake(body["access_token"])
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = {name.lower(): values for name, values in response["headers"].items()}
        return {
            # Without the phrase, which is the server's Python's: that of a 422 changed with Python 3.13.
            "status": {"code": response["status"]["code"], "message": ""},
            "headers": {
                "content-type": headers["content-type"],
                "content-length": [str(len(content))],
                "date": [DATE],
            },
            "body": {"string": content},
        }

    def _fake(self, token: str) -> str:
        if token in FAKE_TOKENS:
            return token
        if token not in self._tokens:
            self._tokens.append(token)
        return fake_token(self._tokens.index(token) + 1)


def cassette(path: Path, *, record: bool = False, secrets: tuple[str, ...] = ()) -> Any:
    """A cassette, as a context manager: to record a conversation into a new file, or to replay one and nothing else."""
    scrubber = Scrubber(secrets)
    return vcr.use_cassette(
        path,
        record_mode=vcr.mode.ONCE if record else vcr.mode.NONE,
        record_on_exception=False,
        match_on=["method", "uri", "raw_body"],
        before_record_request=scrubber.request,
        before_record_response=scrubber.response,
    )


# The conversations


@attrs.frozen
class Api:
    """Whom a conversation is with: the sandbox while it is recorded, nobody while it is replayed."""

    base_url: str = BASE_URL
    active: Credentials = FAKE
    unverified: Credentials = FAKE
    revoke_all: Callable[[], None] = lambda: None


Conversation = Callable[[Api, Colour], None]


def call(api: Api, colour: Colour, auth: Any) -> httpx.Response:
    """One call of the protected resource."""
    return colour.send("GET", api.base_url + RESOURCE_PATH, client={"auth": auth})


def happy_path(api: Api, colour: Colour) -> None:
    """One login serves a generated operation and another call."""
    client = connect(api.base_url, credentials=api.active)
    auth = client.get_httpx_client().auth
    resource = colour.operation(get_resource, client)
    assert isinstance(resource, Resource)
    assert "user" in resource
    assert call(api, colour, auth).status_code == 200


def bad_credentials(api: Api, colour: Colour) -> None:
    """The login is refused once, and known to be refused after that."""
    auth = LoginAuth(api.base_url, credentials=Credentials(api.active.username, "fake-and-wrong"))
    for cached in (False, True):
        with pytest.raises(kyc_client.BadCredentialsError) as caught:
            call(api, colour, auth)
        assert (caught.value.status_code, caught.value.code) == (400, "LOGIN_BAD_CREDENTIALS")
        assert caught.value.cached is cached


def user_not_verified(api: Api, colour: Colour) -> None:
    """As before, for the other code."""
    auth = LoginAuth(api.base_url, credentials=api.unverified)
    for cached in (False, True):
        with pytest.raises(kyc_client.UserNotVerifiedError) as caught:
            call(api, colour, auth)
        assert (caught.value.status_code, caught.value.code) == (400, "LOGIN_USER_NOT_VERIFIED")
        assert caught.value.cached is cached


class _EmptiesThePassword(httpx.HTTPTransport):
    """Something between us and the server that empties a field of the form: the client itself sends no empty one."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = re.sub(rb"password=[^&]*", b"password=", request.content)
        headers = {**request.headers, "content-length": str(len(content))}
        return super().handle_request(httpx.Request(request.method, request.url, headers=headers, content=content))


def validation_error(api: Api, colour: Colour) -> None:
    """The server does not accept the form: field, message and type of its answer reach the caller."""
    with _EmptiesThePassword() as transport:
        auth = LoginAuth(api.base_url, credentials=api.active, transport=transport)
        for cached in (False, True):
            with pytest.raises(kyc_client.LoginValidationError) as caught:
                call(api, colour, auth)
            assert caught.value.errors == ((("body", "password"), "Field required", "missing"),)
            assert caught.value.cached is cached


def login_again_after_401(api: Api, colour: Colour) -> None:
    """A revoked token: the call is answered 401, logs in, and is sent again with the new token."""
    auth = LoginAuth(api.base_url, credentials=api.active)
    first = colour.token(auth)
    assert call(api, colour, auth).request.headers["Authorization"] == f"Bearer {first.value}"
    api.revoke_all()
    response = call(api, colour, auth)
    second = colour.token(auth)
    assert first.value != second.value
    assert (response.status_code, response.request.headers["Authorization"]) == (200, f"Bearer {second.value}")


LOGIN, RESOURCE = ("POST", LOGIN_PATH), ("GET", RESOURCE_PATH)
CONVERSATIONS: Mapping[Conversation, list[tuple[tuple[str, str], int]]] = {
    happy_path: [(LOGIN, 200), (RESOURCE, 200), (RESOURCE, 200)],
    bad_credentials: [(LOGIN, 400)],
    user_not_verified: [(LOGIN, 400)],
    validation_error: [(LOGIN, 422)],
    login_again_after_401: [(LOGIN, 200), (RESOURCE, 200), (RESOURCE, 401), (LOGIN, 200), (RESOURCE, 200)],
}
"""What is said in each of them, in this order."""


def record_all(folder: Path) -> list[Path]:
    """Hold each conversation with a sandbox, and write them down."""
    paths = []
    for conversation in CONVERSATIONS:
        path = folder / f"{conversation.__name__}.yaml"
        with Sandbox() as sandbox:
            api = Api(sandbox.base_url, sandbox.active, sandbox.unverified, sandbox.revoke_all)
            with cassette(path, record=True, secrets=secrets_of(sandbox)):
                conversation(api, COLOURS[0])
        paths.append(path)
    return paths


def secrets_of(sandbox: Sandbox) -> tuple[str, ...]:
    """What a sandbox's users log in with."""
    users = (sandbox.active, sandbox.inactive, sandbox.unverified)
    return tuple({secret for user in users for secret in (user.username, user.password)})


@pytest.fixture(scope="module", autouse=True)
def _recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With `--record`, new cassettes, before the tests look at them. Old ones stay if a conversation goes wrong."""
    if request.config.getoption("--record"):
        for path in record_all(tmp_path_factory.mktemp("recorded")):
            CASSETTES.mkdir(exist_ok=True)
            shutil.copyfile(path, CASSETTES / path.name)


# Replaying


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is made, not even to this machine itself."""

    def refuse(*_: object) -> None:
        raise AssertionError("a replay has used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


@contextlib.contextmanager
def replay(conversation: Conversation) -> Iterator[Cassette]:
    """The conversation's cassette; what is not in it is not to be had."""
    with cassette(CASSETTES / f"{conversation.__name__}.yaml") as tape:
        yield tape


def each_conversation(test: Callable[..., None]) -> Callable[..., None]:
    """The test, for each conversation."""
    return pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.__name__)(test)


def logins_of(tape: Cassette) -> int:
    """How many logins have been played."""
    requests = enumerate(tape.requests)
    return sum(tape.play_counts[index] for index, request in requests if request.path == LOGIN_PATH)


@each_conversation
@pytest.mark.usefixtures("no_network")
def test_replays_in_every_colour(conversation: Conversation, colour: Colour) -> None:
    """Recorded through threads, replayed through all: the same requests, each once, and exactly as many logins."""
    with replay(conversation) as tape:
        conversation(Api(), colour)
    expected = CONVERSATIONS[conversation]
    assert tape.all_played
    assert tape.play_count == len(expected)
    assert logins_of(tape) == [request for request, _ in expected].count(LOGIN)


@each_conversation
def test_cassette_holds_the_conversation_and_nothing_else(conversation: Conversation) -> None:
    """Request by request, as the sandbox was asked and has answered."""
    document = yaml.safe_load((CASSETTES / f"{conversation.__name__}.yaml").read_text())
    assert [
        ((turn["request"]["method"], turn["request"]["uri"].removeprefix(BASE_URL)), turn["response"]["status"]["code"])
        for turn in document["interactions"]
    ] == CONVERSATIONS[conversation]


def test_no_cassette_is_left_over() -> None:
    """Each file in the folder is replayed by a test."""
    assert {path.name for path in CASSETTES.glob("*.yaml")} == {f"{name.__name__}.yaml" for name in CONVERSATIONS}


@pytest.mark.usefixtures("no_network")
def test_one_login_too_many_is_an_error(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that the count counts: a second client logs in once more than was recorded, and gets no answer."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)
    with replay(happy_path):
        assert call(Api(), colour, LoginAuth(BASE_URL, credentials=FAKE)).status_code == 200
        with pytest.raises(kyc_client.LoginUnavailableError, match="CannotOverwriteExistingCassette"):
            call(Api(), colour, LoginAuth(BASE_URL, credentials=FAKE))


@pytest.mark.usefixtures("no_network")
def test_login_form_is_the_guides(colour: Colour) -> None:
    """The form is part of what is looked up: the fields of the guide, in its order, and no other."""
    with replay(happy_path) as tape:
        colour.token(LoginAuth(BASE_URL, credentials=FAKE))
    (form,) = (request.body for request in tape.requests if request.path == LOGIN_PATH)
    assert form == b"username=fake-login&password=fake-password&grant_type=password"


@pytest.mark.usefixtures("no_network")
def test_client_made_before_the_cassette_replays_too(colour: Colour) -> None:
    """A service's own tests may open a cassette around a client that exists already."""
    client = connect(BASE_URL, credentials=FAKE)
    client.get_httpx_client()
    with replay(happy_path):
        assert isinstance(colour.operation(get_resource, client), Resource)


@pytest.mark.usefixtures("no_network")
def test_fake_token_does_not_rot(colour: Colour) -> None:
    """The fake is read like a real token; its lifetime is the recorded hour, whatever the clock of this machine."""
    auth = LoginAuth(BASE_URL, credentials=FAKE)
    with replay(happy_path):
        token = colour.token(auth)
    assert (token.value, token.expires_at) == (fake_token(1), EXPIRY)
    lease = auth._source.fresh()
    assert lease is not None
    assert lease._life == 3600


def test_fake_tokens_say_that_they_are_fakes() -> None:
    """Decodable, distinct, and plain: whoever finds one in a cassette need not worry."""
    assert len(set(FAKE_TOKENS)) == len(FAKE_TOKENS)
    for token in FAKE_TOKENS:
        header, payload, signature = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["alg"] == "none"
        assert (claims["sub"], signature) == ("fake", "fake-signature")


# Nothing secret in any of them


def findings(text: str) -> set[str]:
    """What is in a cassette and must not be."""
    found = findings_in_text(text)
    for turn in yaml.safe_load(text)["interactions"]:
        found |= findings_in_turn(turn["request"], turn["response"])
    return found


def findings_in_text(text: str) -> set[str]:
    """Wherever in the file it may stand."""
    found = set()
    if any(secret in text or quote_plus(secret) in text for secret in secrets_of(Sandbox())):
        found.add("a login or a password")
    if not {*re.findall(r"eyJ[\w.-]*", text)} <= {*FAKE_TOKENS}:
        found.add("a token")
    if re.search(r"authorization|bearer [\w.-]{20}", text, re.IGNORECASE):
        found.add("an Authorization header")
    if re.search(r"set-cookie|^ *cookie", text, re.IGNORECASE | re.MULTILINE):
        found.add("a cookie")
    return found


def findings_in_turn(request: dict[str, Any], response: dict[str, Any]) -> set[str]:
    """Where it is known to stand, whatever its value."""
    found = set()
    form = parse_qs(request["body"] or "")
    if not {*form.get("username", []), *form.get("password", [])} <= {FAKE.username, FAKE.password}:
        found.add("a login or a password")
    if "content-length" in {name.lower() for name in request["headers"]}:
        found.add("the length of the form")
    if not request["uri"].startswith(f"{BASE_URL}/"):
        found.add("another address")
    if response["headers"]["date"] != [DATE]:
        found.add("another date")
    return found


@each_conversation
def test_nothing_secret_is_in_a_cassette(conversation: Conversation) -> None:
    """H8: no login, no password, no token but our fakes, no header or length that would tell of one."""
    assert findings((CASSETTES / f"{conversation.__name__}.yaml").read_text()) == set()


def raw_turn(**changes: Any) -> str:
    """A login as vcrpy would have written it without scrubbing, with parts that hold no secret, apart from changes."""
    request = {"method": "POST", "uri": BASE_URL + LOGIN_PATH, "body": None, "headers": {}}
    response = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"content-type": ["application/json"], "date": [DATE]},
        "body": {"string": json.dumps({"access_token": fake_token(1), "token_type": "bearer"})},
    }
    for name, value in changes.items():
        part = response if name in {"string", "response_headers"} else request
        if name == "string":
            response["body"] = {"string": value}
        elif name == "response_headers":
            part["headers"] = {**response["headers"], **value}
        else:
            part[name] = value
    return yamlserializer.serialize({"version": 1, "interactions": [{"request": request, "response": response}]})


REAL_LOOKING_TOKEN = fake_token(1).replace("fake-signature", "c2lnbmVkLWJ5LWEtc2VydmVy")
PAIR = urlencode({"username": Sandbox().active.username, "password": Sandbox().active.password})
LEAKS = [
    pytest.param({"body": PAIR}, "a login or a password", id="form"),
    pytest.param({"body": "username=fake-login&password=canary"}, "a login or a password", id="password of another"),
    pytest.param({"string": json.dumps({"user": Sandbox().active.username})}, "a login or a password", id="echo"),
    pytest.param({"string": json.dumps({"access_token": REAL_LOOKING_TOKEN})}, "a token", id="token"),
    pytest.param(
        {"headers": {"Authorization": ["Bearer fake"]}, "method": "GET"}, "an Authorization header", id="Authorization"
    ),
    pytest.param({"headers": {"Content-Length": ["93"]}}, "the length of the form", id="length"),
    pytest.param({"response_headers": {"set-cookie": ["session=canary"]}}, "a cookie", id="cookie"),
    pytest.param({"response_headers": {"date": ["Tue, 24 Nov 2026 04:00:00 GMT"]}}, "another date", id="date"),
    pytest.param({"uri": f"http://127.0.0.1:43210{LOGIN_PATH}"}, "another address", id="port"),
]


def test_scan_finds_nothing_where_nothing_is() -> None:
    """The scan is not alarmed by a scrubbed cassette: the next tests change one thing in this one."""
    assert findings(raw_turn()) == set()


@pytest.mark.parametrize(("changes", "leak"), LEAKS)
def test_scan_finds_each_kind_of_secret(changes: dict[str, Any], leak: str) -> None:
    """H8: the scan can fail: put into a cassette by hand, each secret is found, and only that one."""
    assert findings(raw_turn(**changes)) == {leak}


@pytest.mark.parametrize(("changes", "leak"), LEAKS)
def test_scrubber_takes_out_each_kind_of_secret(changes: dict[str, Any], leak: str, tmp_path: Path) -> None:
    """H8: what the scan finds is gone after scrubbing; scrubbing again changes nothing more, as it runs on replay."""
    path = tmp_path / "raw.yaml"
    path.write_text(raw_turn(**changes))
    once = scrubbed(path)
    assert findings(once) == set()
    path.write_text(once)
    assert scrubbed(path) == once


def scrubbed(path: Path) -> str:
    """A cassette after a reading, which scrubs, and a writing."""
    with cassette(path, secrets=secrets_of(Sandbox())) as tape:
        tape._save(force=True)
    return path.read_text()


def test_recording_anew_gives_the_same_files(tmp_path: Path) -> None:
    """The sandbox still says what the cassettes say, to the byte; a new recording is no noise in a diff."""
    for path in record_all(tmp_path):
        assert path.read_text() == (CASSETTES / path.name).read_text(), "run `make record` and look at the difference"


def test_recording_that_fails_leaves_no_cassette(tmp_path: Path, credentials: Credentials) -> None:
    """Half a conversation is not written down."""
    path = tmp_path / "half.yaml"
    with Sandbox() as sandbox, pytest.raises(kyc_client.BadCredentialsError), cassette(path, record=True):
        LoginAuth(sandbox.base_url, credentials=credentials).get_token()
    assert not path.exists()
