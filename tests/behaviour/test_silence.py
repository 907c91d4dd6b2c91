"""Canaries: a password and a token that are searched for wherever a service, its logs or its crash reports may look.

Each error that the library can raise is provoked over a real socket, in every colour, and turned inside out.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import functools
import io
import json
import logging
import pickle
import pprint
import re
import ssl
import threading
import time
import traceback
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import attrs
import httpx
import pytest
import trustme
import vcr

import kyc_client
from kyc_client import Credentials, KYCClientError, LoginAuth, LoginError, connect
from kyc_client._login.tls import shared_context
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from tests.behaviour.test_cassettes import Scrubber
from tests.core.test_secret import rendered
from tests.support.colours import COLOURS
from tests.support.fault_server import FaultServer, answer, check, drip, hang, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange

# With all loggers at DEBUG, pytest writes what they say into a file, on whatever loop that is.
pytestmark = pytest.mark.blocks_the_loop

MARK = "canary-b37d"
# With signs that are written differently in a form, in JSON and in `repr`, around a part that is the same everywhere.
PAIR = Credentials(f"{MARK}-login+tag@example.com", f'{MARK}-password &"\\\u00fc')
CLAIMS = base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000, "sub": "fake"}).encode()).decode().rstrip("=")
TOKEN = f"{MARK}-token.{CLAIMS}.fake-signature"


def spellings() -> Iterator[str]:
    """How the canaries may be written: as they are, in forms, in JSON, in `repr`, in base64, and in pieces."""
    yield MARK
    yield CLAIMS
    for secret in (PAIR.username, PAIR.password, TOKEN):
        yield from (
            secret,
            quote(secret),
            quote_plus(secret),
            escape(secret),
            json.dumps(secret)[1:-1],
            repr(secret)[1:-1],
        )
        # At each of the three offsets that base64 may have.
        for offset in range(3):
            yield base64.b64encode(b" " * offset + secret.encode()).decode()[4:-4]


def found_in(text: str) -> list[str]:
    """Which of them are in a text."""
    return [spelling for spelling in spellings() if spelling in text]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that issues the canary for a token, and tells all that it was told, wherever an answer has room."""
    with FaultServer() as server:
        server._valid.add(TOKEN)
        server.on_login(good)
        yield server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, long_cooldown: None) -> None:
    """There is no pause between the attempts of a login, and a long one after a failed login."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)


class Notes(logging.Handler):
    """Keeps what is logged as text, and with all that a record carries, since a log may be written as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name.partition(".")[0])
        if record.name.startswith("httpcore") and "receive_response_headers.complete" in record.getMessage():
            return  # The headers that the server sent, here with what it was told: not promised, as documented.
        self.text += f"{self.format(record)}\n{vars(record)!r}\n"


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    """H7: with all loggers at DEBUG, and asyncio in its debug mode, no test here logs a canary."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    notes, root = Notes(), logging.getLogger()
    before = root.level
    # Not by its attribute: loggers remember what they were enabled for until a level is set.
    root.setLevel(logging.DEBUG)
    root.addHandler(notes)
    yield notes
    root.removeHandler(notes)
    root.setLevel(before)
    assert found_in(notes.text) == []


def good(exchange: Exchange) -> None:
    """A login as it should be."""
    exchange.answer(200, {"access_token": TOKEN, "token_type": "bearer"})


def echo(exchange: Exchange) -> str:
    """What the server was sent."""
    return exchange.body.decode()


def refusal(code: str) -> Behaviour:
    """A 400 with this code, and with what was submitted beside it."""
    return lambda exchange: exchange.answer(400, {"detail": code, "input": echo(exchange)})


def unprocessable(exchange: Exchange) -> None:
    """A validation error that tells what was submitted in each of its parts."""
    told = f"{PAIR.username} {PAIR.password} {echo(exchange)} {escape(PAIR.password)}"
    exchange.answer(422, {"detail": [{"loc": ["body", told], "msg": told, "type": told, "input": told, "ctx": told}]})


def elsewhere(exchange: Exchange) -> None:
    """A redirect whose target holds the password, as the user of the URL and in its path and query."""
    password = quote(PAIR.password)
    exchange.answer(307, b"", {"Location": f"https://{password}@portal.example/{password}?{password}#{password}"})


def half(exchange: Exchange) -> None:
    """An answer with the token, which breaks off."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + json.dumps({"access_token": TOKEN}).encode())
    exchange.close()


# Each error, provoked


Provoke = "Callable[[FaultServer, Colour], None]"


def by_login(*behaviours: Behaviour, deadline: float | None = None, again: bool = False) -> Any:
    """A call whose login goes like this."""

    def provoke(server: FaultServer, colour: Colour) -> None:
        server.on_login(*behaviours)
        auth = LoginAuth(server.base_url, credentials=PAIR)
        auth._source._deadline = deadline or auth._source._deadline
        if again:
            with pytest.raises(LoginError):
                auth.get_token()
        colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, json={"name": "fake"})

    return provoke


def after_a_401(*behaviours: Behaviour) -> Any:
    """A call whose token, the canary, is refused, and whose second login goes like this."""

    def provoke(server: FaultServer, colour: Colour) -> None:
        auth = LoginAuth(server.base_url, credentials=PAIR)
        colour.token(auth)
        server.revoke()
        server.on_login(*behaviours)
        colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, json={"name": "fake"})

    return provoke


def by_operation(*behaviours: Behaviour) -> Any:
    """A generated operation whose login goes like this."""

    def provoke(server: FaultServer, colour: Colour) -> None:
        server.on_login(*behaviours)
        colour.operation(get_resource, connect(server.base_url, credentials=PAIR))

    return provoke


def with_nobody_there(server: FaultServer, colour: Colour) -> None:
    """A login to a port where nobody listens."""
    with FaultServer() as gone:
        pass
    colour.token(LoginAuth(gone.base_url, credentials=PAIR))


def by_tls(server: FaultServer, colour: Colour) -> None:
    """A login to a server whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FaultServer(context=context) as other:
        colour.token(LoginAuth(other.base_url, credentials=PAIR))


class Broken(httpx.HTTPTransport):
    """A transport of the caller's that complains about what it was given."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError(request.content.decode() + PAIR.password)


def by_transport(server: FaultServer, colour: Colour) -> None:
    """A login over a transport that raises."""
    with Broken(verify=shared_context()[0]) as transport:
        colour.token(LoginAuth(server.base_url, credentials=PAIR, transport=transport))


def by_fault_of_ours(server: FaultServer, colour: Colour) -> None:
    """A login in which we stumble ourselves, at the worst place: an exception whose frames and message hold it all."""
    auth = LoginAuth(server.base_url, credentials=PAIR)

    def stumble(credentials: Credentials, **_: object) -> None:
        password = credentials.password
        raise RuntimeError(password)

    auth._source._endpoint.attempt = stumble
    colour.token(auth)


def by_callable(function: Any) -> Any:
    """A login whose credentials come from this function."""
    return lambda server, colour: colour.token(LoginAuth(server.base_url, credentials=function))


def vault_is_sealed() -> Credentials:
    """A credentials callable that fails, with what it was fetching in its message and its cause."""
    raise RuntimeError(f"{PAIR.username}:{PAIR.password}") from ValueError(PAIR.password)


def by_environment(**variables: str) -> Any:
    """A login with these variables."""

    def provoke(server: FaultServer, colour: Colour) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            colour.token(LoginAuth(server.base_url))

    return provoke


def by_making(make: Any, *arguments: Any, **options: Any) -> Any:
    """An object that cannot be made from these arguments."""
    return lambda _, __: make(*arguments, **{"credentials": PAIR, **options})


URL = "https://kyc.example.com"
HIDDEN = f"http://fake:{MARK}@proxy.example.com"
SCENES: dict[str, tuple[type[Exception], Any]] = {
    "bad credentials": (kyc_client.BadCredentialsError, by_login(refusal("LOGIN_BAD_CREDENTIALS"))),
    "bad credentials, known": (kyc_client.BadCredentialsError, by_login(refusal("LOGIN_BAD_CREDENTIALS"), again=True)),
    "bad credentials after a 401": (kyc_client.BadCredentialsError, after_a_401(refusal("LOGIN_BAD_CREDENTIALS"))),
    "bad credentials in an operation": (kyc_client.BadCredentialsError, by_operation(refusal("LOGIN_BAD_CREDENTIALS"))),
    "not verified": (kyc_client.UserNotVerifiedError, by_login(refusal("LOGIN_USER_NOT_VERIFIED"))),
    "not verified after a 401": (kyc_client.UserNotVerifiedError, after_a_401(refusal("LOGIN_USER_NOT_VERIFIED"))),
    "validation": (kyc_client.LoginValidationError, by_login(unprocessable)),
    "validation, known": (kyc_client.LoginValidationError, by_login(unprocessable, again=True)),
    "validation after a 401": (kyc_client.LoginValidationError, after_a_401(unprocessable)),
    "validation in an operation": (kyc_client.LoginValidationError, by_operation(unprocessable)),
    "refused": (
        kyc_client.LoginRefusedError,
        by_login(lambda exchange: exchange.answer(403, {"detail": echo(exchange)})),
    ),
    "refused in its own words": (kyc_client.LoginRefusedError, by_login(answer(400, {"detail": PAIR.password}))),
    "refused after a 401": (kyc_client.LoginRefusedError, after_a_401(answer(404, PAIR.password.encode()))),
    "unavailable": (kyc_client.LoginUnavailableError, by_login(lambda exchange: exchange.answer(503, exchange.body))),
    "unavailable, known": (kyc_client.LoginUnavailableError, by_login(answer(503), again=True)),
    "unavailable after a 401": (kyc_client.LoginUnavailableError, after_a_401(answer(429, PAIR.password))),
    "unavailable in an operation": (kyc_client.LoginUnavailableError, by_operation(reset)),
    "reset": (kyc_client.LoginUnavailableError, by_login(reset)),
    "half an answer": (kyc_client.LoginUnavailableError, by_login(half)),
    "no answer": (kyc_client.LoginUnavailableError, by_login(hang, deadline=0.3)),
    "slow answer": (
        kyc_client.LoginUnavailableError,
        by_login(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + TOKEN.encode(), 0.05), deadline=0.3),
    ),
    "nobody there": (kyc_client.LoginUnavailableError, with_nobody_there),
    "no trust": (kyc_client.LoginUnavailableError, by_tls),
    "transport that raises": (kyc_client.LoginUnavailableError, by_transport),
    "fault of ours": (kyc_client.LoginUnavailableError, by_fault_of_ours),
    "no token": (kyc_client.LoginResponseError, by_login(lambda exchange: exchange.answer(200, exchange.body))),
    "token that cannot be one": (
        kyc_client.LoginResponseError,
        by_login(answer(200, {"access_token": f"{TOKEN}\n", "token_type": "bearer"})),
    ),
    "token of another type": (
        kyc_client.LoginResponseError,
        by_login(answer(200, {"access_token": TOKEN, "token_type": PAIR.password})),
    ),
    "token in another answer": (
        kyc_client.LoginResponseError,
        by_login(answer(201, {"access_token": TOKEN, "token_type": "bearer"})),
    ),
    "token after a 401": (kyc_client.LoginResponseError, after_a_401(answer(200, {"access_token": TOKEN}))),
    "redirect": (kyc_client.LoginResponseError, by_login(elsewhere)),
    "content type": (
        kyc_client.LoginResponseError,
        by_login(answer(200, b"", {"Content-Type": f"text/{quote(PAIR.password)}"})),
    ),
    "callable that fails": (kyc_client.ConfigurationError, by_callable(vault_is_sealed)),
    "callable of something else": (kyc_client.ConfigurationError, by_callable(lambda: (PAIR.username, PAIR.password))),
    "password with a newline": (
        kyc_client.ConfigurationError,
        by_environment(API_LOGIN=PAIR.username, API_PASSWORD=f"{PAIR.password}\n"),
    ),
    "no login": (kyc_client.ConfigurationError, by_environment(API_PASSWORD=PAIR.password)),
    "no password": (kyc_client.ConfigurationError, by_environment(API_LOGIN=PAIR.username)),
    "no password, read by hand": (
        kyc_client.ConfigurationError,
        lambda _, __: Credentials.from_env({"API_LOGIN": PAIR.username, "OTHER": PAIR.password}),
    ),
    "password for a path": (
        kyc_client.ConfigurationError,
        by_environment(API_LOGIN=PAIR.username, API_PASSWORD_FILE=PAIR.password),
    ),
    "password in the base URL": (
        kyc_client.ConfigurationError,
        by_making(LoginAuth, f"https://fake:{MARK}@example.com"),
    ),
    "password in connect's base URL": (
        kyc_client.ConfigurationError,
        by_making(connect, f"https://fake:{MARK}@example.com"),
    ),
    "proxy that is none": (kyc_client.ConfigurationError, by_making(connect, URL, proxy=f"gopher://fake:{MARK}@proxy")),
    "proxy beside a bad base URL": (kyc_client.ConfigurationError, by_making(LoginAuth, "ftp://x", proxy=HIDDEN)),
    "proxy beside a bad base URL of connect": (
        kyc_client.ConfigurationError,
        by_making(connect, "ftp://x", proxy=HIDDEN),
    ),
    "password of a key": (
        kyc_client.ConfigurationError,
        by_making(connect, URL, cert=("/nowhere", "/nowhere", MARK), proxy=HIDDEN),
    ),
    "credentials that are none": (
        kyc_client.ConfigurationError,
        lambda _, __: Credentials(PAIR.username, f"{PAIR.password}\udc80"),
    ),
    "a pair of texts": (TypeError, by_making(LoginAuth, URL, credentials=(PAIR.username, PAIR.password))),
    "a pair of texts to connect": (TypeError, by_making(connect, URL, credentials=(PAIR.username, PAIR.password))),
    "unknown argument": (TypeError, by_making(LoginAuth, URL, proxy=HIDDEN, fake=MARK)),
    "unknown argument of connect": (TypeError, by_making(connect, URL, proxy=HIDDEN, auth=PAIR.password)),
    "timeout that is none": (TypeError, by_making(LoginAuth, URL, proxy=HIDDEN, timeout="fake")),
    "timeout of connect that is none": (TypeError, by_making(connect, URL, proxy=HIDDEN, timeout="fake")),
    "on_event that is none": (TypeError, by_making(connect, URL, proxy=HIDDEN, on_event="fake")),
}


@functools.cache
def leaves() -> set[type[Exception]]:
    """Every class of ours that is raised, the bases being there to be caught."""
    return {
        kind
        for name in kyc_client.errors.__all__
        if (kind := getattr(kyc_client.errors, name)) not in {KYCClientError, LoginError}
    }


def test_every_error_has_a_scene() -> None:
    """H3, H4: no class of errors is without one, also not one that is added to the tree later."""
    assert leaves() == {kind for kind, _ in SCENES.values() if issubclass(kind, KYCClientError)}


@pytest.mark.parametrize(("kind", "provoke"), SCENES.values(), ids=SCENES)
def test_error(server: FaultServer, colour: Colour, kind: type[Exception], provoke: Any) -> None:
    """H1, H3, H4, H7: no look at an error shows a canary: its text, attributes, frames, causes, contexts or pickle.

    The frames come with their locals, as crash reporters send them.
    """
    with pytest.raises(kind) as caught:
        provoke(server, colour)
    error = caught.value
    assert type(error) is kind
    looks = {
        "message": f"{error} {error!r} {error.args}",
        "attributes": pprint.pformat(vars(error)),
        "notes": str(getattr(error, "__notes__", "")),
        "crash report": rendered(error),
        "causes": f"{error.__cause__!r} {error.__context__!r}",
    }
    if isinstance(error, KYCClientError):
        pickled = pickle.dumps(error)
        twin = pickle.loads(pickled)  # noqa: S301 - our own pickle
        assert (type(twin), str(twin), vars(twin)) == (kind, str(error), vars(error))
        looks |= {"pickle": pickled.decode("latin-1"), "copy": rendered(copy.deepcopy(error))}
        assert (error.__cause__, error.__context__) == (None, None)
    assert {name: found_in(look) for name, look in looks.items() if found_in(look)} == {}


# What a call's own failure shows


def cut(exchange: Exchange) -> None:
    """Half an answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    exchange.close()


def not_http(exchange: Exchange) -> None:
    """The greeting of another protocol."""
    exchange.send(b"220 mail.example ESMTP\r\n")
    exchange.close()


CALLS: dict[str, tuple[type[Exception], Behaviour]] = {
    "reset": (httpx.ReadError, reset),
    "half an answer": (httpx.RemoteProtocolError, cut),
    "no answer": (httpx.ReadTimeout, hang),
    "not HTTP": (httpx.RemoteProtocolError, not_http),
    "status that is not documented": (UnexpectedStatus, answer(500, {"detail": "fake"})),
    "broken JSON": (ValueError, answer(200, b"{")),
}


@pytest.mark.parametrize(("kind", "behaviour"), CALLS.values(), ids=CALLS)
def test_call_that_fails(server: FaultServer, colour: Colour, kind: type[Exception], behaviour: Behaviour) -> None:
    """H3: an error of httpx or of the generated code, with all its frames, does not show the token either."""
    server.on_resource(behaviour)
    client = connect(server.base_url, credentials=PAIR, timeout=httpx.Timeout(10, read=0.5))
    with pytest.raises(kind) as caught:
        colour.operation(get_resource, client)
    assert server.hits[0].token == TOKEN
    assert found_in(rendered(caught.value)) == []


@pytest.mark.parametrize("how", ["connect", "call"])
def test_call_with_a_header_that_cannot_be_sent(server: FaultServer, colour: Colour, how: str) -> None:
    """H3: httpx's dependencies handle all headers in the frames of such an error; the token's is masked there."""
    auth = LoginAuth(server.base_url, credentials=PAIR)
    bad = {"X-Reference": "fake\nfake"}
    client, request = ({"headers": bad}, {}) if how == "connect" else ({}, {"headers": bad})
    with pytest.raises(httpx.LocalProtocolError) as caught:
        colour.send("GET", f"{server.base_url}/api", client={"auth": auth, **client}, **request)
    assert server.login_count == 1
    assert found_in(rendered(caught.value)) == []


def test_call_through_a_forward_proxy_that_fails(server: FaultServer, colour: Colour) -> None:
    """H3: nor does the token show where a proxy for http:// forwards the call itself, and does not answer."""
    auth = LoginAuth("http://kyc.invalid", credentials=PAIR, allow_insecure_http=True, proxy=server.base_url)
    server.on_resource(hang)
    client = {"auth": auth, "proxy": server.base_url, "timeout": httpx.Timeout(10, read=0.5)}
    with pytest.raises(httpx.ReadTimeout) as caught:
        colour.send("GET", "http://kyc.invalid/api", client=client)
    assert server.hits[0].token == TOKEN
    assert found_in(rendered(caught.value)) == []


@pytest.mark.parametrize("make", [connect, LoginAuth])
def test_settings_of_a_wrong_type(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """H3: the error comes after the variables have been read, and they are in none of its frames."""
    for name, value in {"API_BASE_URL": URL, "API_LOGIN": PAIR.username, "API_PASSWORD": PAIR.password}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kyc_client.ConfigurationError, match="verify= takes") as caught:
        make(verify=5)
    assert found_in(rendered(caught.value)) == []


def test_status_for_raise_for_status(server: FaultServer, colour: Colour) -> None:
    """H4: nor does `raise_for_status()`, whose error holds the request, in any look but a pickle."""
    server.on_resource(answer(403, {"detail": "Forbidden"}))
    auth = LoginAuth(server.base_url, credentials=PAIR)
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth})
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    assert found_in(rendered(caught.value)) == []


def test_cancelled_wait(server: FaultServer) -> None:
    """H3: a task that is cancelled while it waits for the login, which has the password in hand, shows nothing."""
    server.on_login(hang)
    auth = LoginAuth(server.base_url, credentials=PAIR)
    auth._source._deadline = 1.0

    async def main() -> None:
        async with httpx.AsyncClient(auth=auth, base_url=server.base_url) as client, asyncio.timeout(0.2):
            await client.post("/api", json={"name": "fake"})

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert found_in(rendered(caught.value)) == []


def test_documented_body_stays_out_of_the_message(server: FaultServer, colour: Colour) -> None:
    """H2: the body of an answer that is not documented may be a passport: it is in `content`, and in no message."""
    server.on_resource(answer(500, f"{MARK} passport"))
    with pytest.raises(UnexpectedStatus) as caught:
        colour.operation(get_resource, connect(server.base_url, credentials=PAIR))
    error = caught.value
    assert MARK in error.content.decode()
    lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert found_in(f"{error} {error!r} {error.args} {''.join(lines)}") == []


# Objects at rest


def test_objects(server: FaultServer, colour: Colour) -> None:
    """H1, H10: with a token in hand, no object of the library shows it, or the pair, however it is looked at."""
    client = connect(server.base_url, credentials=PAIR, headers={"Authorization-Fake": "fake"})
    derived = client.with_headers({"X-Fake": "1"}).with_timeout(httpx.Timeout(3))
    auth = client.get_httpx_client().auth
    assert isinstance(auth, LoginAuth)
    assert derived.get_httpx_client().auth is auth
    assert colour.token(auth).value == TOKEN
    holders = {
        "client": client,
        "derived client": derived,
        "auth": auth,
        "source": auth._source,
        "policy": auth._source._policy,
        "endpoint": auth._source._endpoint,
        "lease": auth._source.fresh(),
        "token": auth.get_token(),
        "credentials": PAIR,
    }
    for name, holder in holders.items():
        looks = [repr(holder), str(holder), f"{holder}", "%r" % (holder,), pprint.pformat({"x": [holder]})]  # noqa: UP031 - one of the ways
        looks += [repr(getattr(holder, "__dict__", None)), pprint.pformat(getattr(holder, "__dict__", None))]
        assert {name: found_in("\n".join(looks))} == {name: []}
        for take in (pickle.dumps, copy.deepcopy, attrs.asdict, json.dumps):
            shown = ""
            try:
                shown = repr(take(holder))
            except Exception as error:  # noqa: BLE001 - a refusal is as good as a mask
                shown = rendered(error)
            assert {name: found_in(shown)} == {name: []}


def test_detailed_answer(server: FaultServer) -> None:
    """H1: the detailed answer of an operation shows neither its body as it came nor its headers, a cookie say."""
    server.on_resource(answer(200, {}, {"Set-Cookie": f"session={MARK}"}))
    with connect(server.base_url, credentials=PAIR) as client:
        detailed = get_resource.sync_detailed(client=client)
    assert MARK in str(detailed.headers)
    assert found_in(repr(detailed)) == []


def test_refused_credentials_are_remembered_masked(server: FaultServer, colour: Colour) -> None:
    """H1: what is remembered of a refusal is keyed by the credentials, which stay masked as a key too."""
    server.on_login(refusal("LOGIN_BAD_CREDENTIALS"))
    auth = LoginAuth(server.base_url, credentials=PAIR)
    with pytest.raises(kyc_client.BadCredentialsError):
        colour.token(auth)
    assert len(auth._source._policy._refusals) == 1
    assert found_in(repr(vars(auth._source)) + repr(vars(auth._source._policy))) == []


def test_login_in_the_middle(server: FaultServer) -> None:
    """H3: a profiler or watchdog may print the stacks of all threads with their locals. They show no password.

    While the login runs, frames of ours hold its form and the spellings of the password. Their `repr` masks both.
    """
    arrived, gate = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        arrived.set()
        gate.wait(10)
        good(exchange)

    server.on_login(slow)
    auth = LoginAuth(server.base_url, credentials=PAIR)
    waiting = threading.Thread(target=auth.get_token)
    waiting.start()
    assert arrived.wait(10)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = [
        frame
        for ident, top in __import__("sys")._current_frames().items()
        if names.get(ident) == "kyc-client-login"
        for frame, _ in traceback.walk_stack(top)
    ]
    ours = [frame for frame in frames if "kyc_client" in frame.f_code.co_filename]
    shown = {frame.f_code.co_name for frame in ours if found_in(repr(frame.f_locals))}
    gate.set()
    waiting.join(10)
    assert len(ours) >= 4
    assert shown <= {"_exchange"}  # The form, whose `repr` shows the login and masks the password.
    assert not any(PAIR.password in repr(frame.f_locals) for frame in ours)


# What the caller's own code gets to see


def test_event_hooks_and_history(server: FaultServer, colour: Colour) -> None:
    """H5, H6: hooks and histories see the calls, the 401 included, and never a login; headers are masked in `repr`."""
    seen: list[httpx.Request | httpx.Response] = []

    async def note_async(message: httpx.Request | httpx.Response) -> None:
        seen.append(message)

    hook = seen.append if colour.name == "sync" else note_async
    auth = LoginAuth(server.base_url, credentials=PAIR)
    server.on_resource(answer(401, {"detail": "Unauthorized"}), answer(307, b"", {"Location": "/moved"}), check)
    auth.get_token()
    hooks = {"request": [hook], "response": [hook]}
    client: dict[str, Any] = {"auth": auth, "event_hooks": hooks, "follow_redirects": True}
    response = colour.send("GET", f"{server.base_url}/api", client=client)
    assert response.status_code == 200
    assert server.login_count == 2
    chain = [*response.history, response]
    assert [one.status_code for one in chain] == [401, 307, 200]
    assert [one.url.path for one in chain] == ["/api", "/api", "/moved"]
    assert len(seen) == 6
    assert "/auth/jwt/login" not in {message.url.path for message in seen}
    for message in (*seen, *chain):
        request = getattr(message, "request", message) if isinstance(message, httpx.Response) else message
        looks = (repr(message), repr(message.headers), repr(message.extensions), repr(request.extensions))
        assert found_in("\n".join((*looks, repr(vars(request))))) == []


def test_hooks_of_connect(server: FaultServer) -> None:
    """H5: hooks given to `connect()` are for the calls too."""
    seen: list[str] = []
    hooks = {"request": [lambda request: seen.append(request.url.path)], "response": []}
    with connect(server.base_url, credentials=PAIR, event_hooks=hooks) as client:
        get_resource.sync(client=client)
    assert (seen, server.login_count) == (["/api/v1/resource"], 1)


def test_events(server: FaultServer, colour: Colour) -> None:
    """H1: what `on_event` is told of logins, failures and rejected tokens holds no canary, nor does its pickle."""
    events: list[Any] = []
    auth = LoginAuth(server.base_url, credentials=PAIR, on_event=events.append)
    server.on_login(good, unprocessable)
    colour.token(auth)
    server.revoke()
    with pytest.raises(kyc_client.LoginValidationError):
        colour.send("GET", f"{server.base_url}/api", client={"auth": auth})
    until = time.monotonic() + 10
    while len(events) < 5:  # A failure is reported only after those who wait for it have been woken.
        assert time.monotonic() < until
        time.sleep(0.01)
    assert found_in(repr(events) + repr(pickle.dumps(events))) == []


# Logs


def test_logs(server: FaultServer, colour: Colour, log: Notes) -> None:
    """H7: logins, calls, a 401, its cure and a refusal at DEBUG: there are lines of each logger, and no canary."""
    auth = LoginAuth(server.base_url, credentials=PAIR)
    client: dict[str, Any] = {"auth": auth}
    colour.send("POST", f"{server.base_url}/api?page=1", client=client, json={"name": "fake"})
    server.revoke()
    server.on_login(unprocessable)
    with pytest.raises(kyc_client.LoginValidationError):
        colour.send("GET", f"{server.base_url}/api", client=client)
    assert {"kyc_client", "httpx", "httpcore"} <= log.names
    assert colour.name != "asyncio" or "asyncio" in log.names
    assert "/auth/jwt/login" in log.text
    assert found_in(log.text) == []


# Cassettes


def test_cassette(server: FaultServer, colour: Colour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """H8: recorded with this project's scrubber, a login, a call and a refusal leave no canary in the file."""
    path = tmp_path / "cassette.yaml"
    scrubber = Scrubber((PAIR.username, PAIR.password))
    # vcrpy's own log shows answers as they were before scrubbing, as documented.
    monkeypatch.setattr(logging.getLogger("vcr"), "propagate", False)
    server.on_login(good, refusal("LOGIN_BAD_CREDENTIALS"))
    with vcr.use_cassette(
        path, before_record_request=scrubber.request, before_record_response=scrubber.response, record_mode="all"
    ):
        auth = LoginAuth(server.base_url, credentials=PAIR)
        token = colour.token(auth)
        assert token.value == TOKEN
        auth.reset()
        with pytest.raises(kyc_client.BadCredentialsError):
            colour.token(auth)
    text = path.read_text()
    assert text.count("access_token") == 1
    assert found_in(text) == []


# What is not promised, so that the documentation stays true


def test_what_is_not_promised(server: FaultServer) -> None:
    """H4, H7: a pickled response holds the token, and httpcore's DEBUG log shows headers of answers, as documented."""
    auth = LoginAuth(server.base_url, credentials=PAIR)
    with httpx.Client(auth=auth) as client:
        response = client.get(f"{server.base_url}/api")
    assert TOKEN.encode() in pickle.dumps(response)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("httpcore.http11")
    server.on_resource(answer(200, {}, {"Set-Cookie": "session=fake-cookie"}))
    logger.addHandler(handler)
    try:
        with httpx.Client(auth=auth) as client:
            client.get(f"{server.base_url}/api")
    finally:
        logger.removeHandler(handler)
    assert "fake-cookie" in stream.getvalue()


# The tools themselves


@pytest.mark.parametrize("secret", [PAIR.username, PAIR.password, TOKEN], ids=["login", "password", "token"])
@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        json.dumps,
        quote,
        quote_plus,
        lambda secret: base64.b64encode(f"fake:{secret}".encode()).decode(),
        lambda secret: base64.b64encode(f"x{secret}".encode()).decode(),
        lambda secret: re.sub(".", r"\g<0>", secret),
    ],
)
def test_search_finds(secret: str, write: Callable[[str], str]) -> None:
    """The search can fail: it finds each canary, however it is written."""
    assert found_in(f"before {write(secret)} after") != []


def test_search_finds_nothing_where_nothing_is() -> None:
    """And it does not cry wolf."""
    assert found_in(repr([COLOURS, time.time(), URL])) == []
