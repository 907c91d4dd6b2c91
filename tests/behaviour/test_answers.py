"""What a service sees of a bad login, over real sockets and in every colour: one typed error, in time, and no more.

`test_login.py` goes through the answers one by one at the level of a single attempt; here they pass all the way.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import Credentials, LoginAuth
from kyc_client._clock import Clock
from kyc_client._login.answer import Failure
from kyc_client._login.connection import make_connection
from kyc_client._login.endpoint import LoginEndpoint
from tests.core.test_secret import rendered
from tests.support.fault_server import FaultServer, answer, drip, hang, issue, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange

CANARY = "canary-70aa"
PAIR = Credentials(f"{CANARY}-login@example.com", f"{CANARY}-password")
TOKEN = f"{CANARY}-token"
GOOD = {"access_token": TOKEN, "token_type": "bearer"}
HTML = b"<!DOCTYPE html><title>Welcome to the Wi-Fi, canary-70aa</title>"
MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between the attempts of a login is tested elsewhere."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)


@pytest.fixture
def auth(server: FaultServer, long_cooldown: None) -> LoginAuth:
    """A LoginAuth with a long cool-down."""
    return LoginAuth(server.base_url, credentials=PAIR)


def half(exchange: Exchange) -> None:
    """Half of a good answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + json.dumps(GOOD).encode())
    exchange.close()


def echo_input(exchange: Exchange) -> None:
    """A validation error as Pydantic writes it, with all that was submitted."""
    submitted = exchange.body.decode()
    entry = {"type": "missing", "loc": ["body", "password"], "msg": "Field required", "input": submitted}
    exchange.answer(422, {"detail": [{**entry, "ctx": {"given": submitted}}]})


UNAVAILABLE, UNUSABLE, REFUSED = (
    kyc_client.LoginUnavailableError,
    kyc_client.LoginResponseError,
    kyc_client.LoginRefusedError,
)
BAD: dict[str, tuple[Behaviour, type[kyc_client.LoginError], int | None, int]] = {
    "E6: HTML": (answer(200, HTML, {"Content-Type": "text/html"}), UNUSABLE, 200, 1),
    "E6: empty": (answer(200, b""), UNUSABLE, 200, 1),
    "E6: null": (answer(200, None), UNUSABLE, 200, 1),
    "E6: UTF-16": (answer(200, json.dumps(GOOD).encode("utf-16")), UNUSABLE, 200, 1),
    "E6: cut off": (answer(200, json.dumps(GOOD).encode()[:-1]), UNUSABLE, 200, 1),
    "E6: nested": (answer(200, b'{"a":' * 12_000), UNUSABLE, 200, 1),
    "E6: no token": (answer(200, {"token_type": "bearer"}), UNUSABLE, 200, 1),
    "E6: number": (answer(200, {**GOOD, "access_token": 1}), UNUSABLE, 200, 1),
    "E6: mac": (answer(200, {**GOOD, "token_type": "mac"}), UNUSABLE, 200, 1),
    "E6: no type": (answer(200, {"access_token": TOKEN}), UNUSABLE, 200, 1),
    "E6: 201": (answer(201, GOOD), UNUSABLE, 201, 1),
    "E6: 206": (answer(206, GOOD), UNUSABLE, 206, 1),
    "E7: newline": (answer(200, {**GOOD, "access_token": f"{TOKEN}\n"}), UNUSABLE, 200, 1),
    "E7: CRLF": (answer(200, {**GOOD, "access_token": f"{TOKEN}\r\nX-Injected: 1"}), UNUSABLE, 200, 1),
    "E7: NUL": (answer(200, {**GOOD, "access_token": f"{TOKEN}\0"}), UNUSABLE, 200, 1),
    "E7: not ASCII": (answer(200, {**GOOD, "access_token": f"{TOKEN}-\u00e4"}), UNUSABLE, 200, 1),
    "E7: blank": (answer(200, {**GOOD, "access_token": f"{TOKEN} x"}), UNUSABLE, 200, 1),
    "E7: 16 KiB and one": (answer(200, {**GOOD, "access_token": TOKEN.ljust(16_385, "x")}), UNUSABLE, 200, 1),
    "E8: gzip": (
        answer(200, gzip.compress(json.dumps(GOOD).encode()), {"Content-Encoding": "gzip"}),
        UNUSABLE,
        200,
        1,
    ),
    "E10: bad credentials": (
        answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}),
        kyc_client.BadCredentialsError,
        400,
        1,
    ),
    "E10: not verified": (
        answer(400, {"detail": "LOGIN_USER_NOT_VERIFIED"}),
        kyc_client.UserNotVerifiedError,
        400,
        1,
    ),
    "E10: object": (answer(400, {"detail": {"code": "X_1", "reason": PAIR.password}}), REFUSED, 400, 1),
    "E10: 400 HTML": (answer(400, HTML), REFUSED, 400, 1),
    "E10: 422": (echo_input, kyc_client.LoginValidationError, 422, 1),
    "E10: 422 text": (answer(422, {"detail": PAIR.password}), kyc_client.LoginValidationError, 422, 1),
    "E11: 401": (answer(401, {"detail": "Unauthorized"}), REFUSED, 401, 1),
    "E11: 403": (answer(403, {"detail": "Forbidden"}), REFUSED, 403, 1),
    "E11: 404": (answer(404, HTML), REFUSED, 404, 1),
    "E11: 405": (answer(405, b""), REFUSED, 405, 1),
    "E11: 415": (answer(415, b""), REFUSED, 415, 1),
    "E12: 500": (answer(500, b"Internal Server Error"), UNAVAILABLE, 500, 3),
    "E12: 502 HTML": (answer(502, HTML), UNAVAILABLE, 502, 3),
    "E12: reset": (reset, UNAVAILABLE, None, 3),
    "E12: half a body": (half, UNAVAILABLE, 200, 3),
    "E13: 429": (answer(429, {"detail": "slow down"}, {"Retry-After": "600"}), UNAVAILABLE, 429, 1),
    "E13: 503": (answer(503, b"", {"Retry-After": "600"}), UNAVAILABLE, 503, 1),
}


@pytest.mark.parametrize(("behaviour", "kind", "status", "attempts"), BAD.values(), ids=BAD)
def test_bad_answer(
    server: FaultServer,
    auth: LoginAuth,
    colour: Colour,
    behaviour: Behaviour,
    kind: type[kyc_client.LoginError],
    status: int | None,
    attempts: int,
) -> None:
    """E6, E7, E8, E10, E11, E12, E13: one error of our own, without the body; few logins; and the call is not sent.

    The next caller gets the same at once, as another object, and after `reset()` a good answer is good.
    """
    server.on_login(behaviour)
    errors = []
    for _ in range(2):
        with pytest.raises(kind) as caught:
            colour.send("GET", f"{server.base_url}/api", client={"auth": auth})
        errors.append(caught.value)
        assert type(caught.value) is kind
        assert caught.value.status_code == status
        assert CANARY not in rendered(caught.value)
        assert "X-Injected" not in rendered(caught.value)
    assert [error.cached for error in errors] == [False, True]
    assert errors[0] is not errors[1]
    assert (server.login_count, server.hits) == (attempts, [])
    auth.reset()
    server.on_login(issue())
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200


# Large and slow


def pour(head: bytes, piece: bytes) -> Behaviour:
    """Send the head, and then pieces until the client goes away."""

    def behaviour(exchange: Exchange) -> None:
        exchange.send(head)
        with contextlib.suppress(OSError):
            while not exchange.server.stopping.is_set():
                exchange.send(piece)

    return behaviour


def bomb() -> Behaviour:
    """A good answer that unpacks to 256 MB."""
    compressor = gzip.compress(bytes(MEGABYTE), 9)
    return answer(200, compressor * 60, {"Content-Encoding": "gzip"})


ENDLESS: dict[str, Callable[[], Behaviour]] = {
    "gzip bomb": bomb,
    "1 GB": lambda: pour(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b" " * 65536),
    "endless chunks": lambda: pour(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
    ),
}
# The colour makes no difference to what a login's own thread does, so these come once.
MORE_ENDLESS: dict[str, Callable[[], Behaviour]] = {
    "bomb that says nothing of gzip": lambda: answer(200, gzip.compress(bytes(64 * MEGABYTE), 1)),
    "endless small chunks": lambda: pour(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 10_000
    ),
    "one chunk without end": lambda: pour(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", b" " * 65536
    ),
    "endless head": lambda: pour(b"HTTP/1.1 200 OK\r\nX-Fake: ", b"x" * 65536),
    "endless headers": lambda: pour(b"HTTP/1.1 200 OK\r\n", b"X-Fake: fake\r\n" * 1000),
    "endless 100 Continue": lambda: pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_endless_answer(server: FaultServer, auth: LoginAuth, colour: Colour, make: Callable[[], Behaviour]) -> None:
    """E8: an answer without end is one that cannot be used, found out in less than 5 MB, and not tried again."""
    server.on_login(make())
    with pytest.raises(UNUSABLE), in_little_memory():
        colour.token(auth)
    assert server.login_count == 1


@pytest.mark.parametrize("make", MORE_ENDLESS.values(), ids=MORE_ENDLESS)
def test_whatever_is_poured_at_us(server: FaultServer, auth: LoginAuth, make: Callable[[], Behaviour]) -> None:
    """E8: whatever is poured at us, the login ends in our error, in time, and in less than 5 MB."""
    server.on_login(make())
    auth._source._deadline = 1.0
    with pytest.raises((UNUSABLE, UNAVAILABLE)), in_little_memory():
        auth.get_token()


@contextlib.contextmanager
def in_little_memory() -> Iterator[None]:
    """Fails if the block takes more than 5 MB at any time."""
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5 * MEGABYTE


DRIPS = {
    "head": b"HTTP/1.1 200 OK\r\nX-Fake: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    "before the head": b"",
}


@pytest.mark.parametrize("head", DRIPS.values(), ids=DRIPS)
def test_dripping_answer(server: FaultServer, auth: LoginAuth, head: bytes) -> None:
    """E8: a byte every 150 ms passes any timeout of a read; the login's deadline ends it, wherever it drips."""
    server.on_login(drip(head, 0.15))
    auth._source._deadline = 0.5
    with pytest.raises(UNAVAILABLE, match=r"within 0\.5 s"):
        auth.get_token()
    for thread in auth._source._hanging:
        thread.join(10)
        assert not thread.is_alive()


def test_crowd_at_a_dripping_answer(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """E8: the deadline ends it for all who wait, and the thread of the login ends with it."""
    server.on_login(drip(DRIPS["body"], 0.15))
    auth._source._deadline = 1.0
    began = time.monotonic()
    errors = colour.send_many(10, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert time.monotonic() - began < 10
    assert [type(error) for error in errors] == [UNAVAILABLE] * 10
    assert server.login_count == 1


# Timeouts


@pytest.fixture
def full() -> Any:
    """A listener that accepts nothing, and whose queue is full: a connection to it is never made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                one.connect(listener.getsockname())
            waiting.append(one)
        yield listener
        for one in waiting:
            one.close()


@pytest.fixture
def deaf() -> Any:
    """A server that takes a connection, and reads nothing from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The connections that it accepts take little, so that a form of a few MiB is stuck.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        accepted = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for one in accepted:
            one.close()


def attempt(listener: socket.socket, pair: Credentials, **timeout: float) -> Failure:
    """One attempt with these timeouts, all others being too long for a test."""
    url = httpx.URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
    limits = httpx.Timeout(**{"connect": 100, "read": 100, "write": 100, "pool": 100, **timeout})
    connection, _ = make_connection(url, {"trust_env": False})
    result = LoginEndpoint(url, limits, connection).attempt(pair, within=100, clock=Clock(), on_open=lambda _: None)
    assert isinstance(result, Failure)
    assert result.kind is UNAVAILABLE
    return result


def test_connect_timeout(full: socket.socket) -> None:
    """E9: a connection that is not made in time."""
    assert "no answer in time" in attempt(full, PAIR, connect=0.2).message


def test_read_timeout(server: FaultServer) -> None:
    """E9: an answer that does not come in time."""
    server.on_login(hang)
    assert "no answer in time" in attempt(server._listener, PAIR, read=0.2).message


def test_write_timeout(deaf: socket.socket) -> None:
    """E9: a form that the server does not take in time."""
    long = Credentials("fake-user", "fake" * 2 * MEGABYTE)
    assert "no answer in time" in attempt(deaf, long, write=0.2).message


def test_pool_is_its_own(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """E9: a caller's pool that is full does not hold up the login, which has a connection of its own."""
    arrived, gate = threading.Event(), threading.Event()

    def hold(exchange: Exchange) -> None:
        arrived.set()
        gate.wait(10)
        exchange.answer(200, {})

    server.on_resource(hold)
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(limits=limits, timeout=10) as client:
        thread = threading.Thread(target=client.get, args=(f"{server.base_url}/held",))
        thread.start()
        assert arrived.wait(10)
        client.auth = auth
        colour.token(auth)
        gate.set()
        thread.join(10)
    assert server.login_count == 1


def test_followers_share_one_timeout(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """E12: twenty callers on a login that never answers wait for it once, together, and not one after the other."""
    server.on_login(hang)
    auth._source._deadline = 1.0
    began = time.monotonic()
    errors = colour.send_many(20, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert time.monotonic() - began < 10
    assert {type(error) for error in errors} == {UNAVAILABLE}
    assert len({id(error) for error in errors}) == 20
    assert server.login_count == 1


def test_retry_after_holds_for_everybody(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """E13: while the server wants to be left alone, calls fail at once, and say how long that will be."""
    server.on_login(answer(429, b"", {"Retry-After": "600"}))
    for crowd in ("first", "second"):
        errors = colour.send_many(20, "GET", f"{server.base_url}/api", client={"auth": auth})
        assert {type(error) for error in errors} == {UNAVAILABLE}
        assert all(500 < error.retry_after <= 600 for error in errors)
        # Of the first crowd, who comes late meets what the others have learnt.
        assert crowd == "first" or all(error.cached for error in errors)
    assert (server.login_count, server.hits) == (1, [])


def test_no_credentials(server: FaultServer, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """E3: told before anything is sent, by the call that needs them, and not remembered: once set, they work."""
    auth = LoginAuth(server.base_url)
    for _ in range(2):
        with pytest.raises(kyc_client.ConfigurationError, match=r"API_LOGIN is not set[^\n]*\n.*API_PASSWORD is not"):
            colour.send("GET", f"{server.base_url}/api", client={"auth": auth})
    assert server.exchanges == []
    monkeypatch.setenv("API_LOGIN", PAIR.username)
    monkeypatch.setenv("API_PASSWORD", PAIR.password)
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200


def test_rotated_pair(server: FaultServer, colour: Colour) -> None:
    """E5: login and password are taken together, at each login: of two pairs, an old half never meets a new one."""
    pairs = [Credentials(f"fake-user-{number}", f"fake-password-{number}") for number in range(3)]
    left = list(pairs)
    auth = LoginAuth(server.base_url, credentials=lambda: left.pop(0))
    for _ in pairs:
        assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
        server.revoke()
    forms = [httpx.QueryParams(exchange.body.decode()) for exchange in server.logins]
    assert [(form["username"], form["password"]) for form in forms] == [(one.username, one.password) for one in pairs]
