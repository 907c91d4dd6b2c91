"""Logins have a bound, whatever the API answers. Over real sockets, with a clock that the test moves."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from kyc_client import BadCredentialsError, Credentials, LoginAuth, LoginUnavailableError
from kyc_client.testing._sources import start_over
from tests.support.clocks import Time
from tests.support.fault_server import FaultServer, answer, check, issue, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.colours import Colour
    from tests.support.fault_server import Exchange

REFUSED = answer(401, {"detail": "Unauthorized"})
SECOND_SENDING_LOST: dict[str, Any] = {"502": answer(502, b"bad gateway"), "reset": reset}


@pytest.fixture
def time() -> Time:
    """A clock that stands still."""
    return Time()


@pytest.fixture
def auth(server: FaultServer, credentials: Credentials, time: Time) -> LoginAuth:
    """A LoginAuth on the fault server, on that clock."""
    return on_clock(time, server, lambda: credentials)


def on_clock(time: Time, server: FaultServer, credentials: Callable[[], Credentials]) -> LoginAuth:
    """A LoginAuth on a clock, with which the server agrees."""
    server.date = lambda: time.wall
    server.on_login(by(time))
    auth = LoginAuth(server.base_url, credentials=credentials)
    start_over(auth._source, time.clock)
    return auth


def by(time: Time, lifetime: float = 3600) -> Callable[[Exchange], None]:
    """Log in, by this clock."""

    def log_in(exchange: Exchange) -> None:
        issue(exp=int(time.wall + lifetime))(exchange)

    return log_in


def in_turn(behaviours: Iterator[Callable[[Exchange], None]]) -> Callable[[Exchange], None]:
    """Answer each request with the next one."""

    def answer_next(exchange: Exchange) -> None:
        next(behaviours)(exchange)

    return answer_next


def settled(auth: LoginAuth) -> None:
    """Wait for the renewal in the background, if there is one."""
    flight = auth._source._flight
    if flight is not None:
        flight.future.result(10)


def calls(auth: LoginAuth, server: FaultServer, count: int, colour: Colour) -> list[int | str]:
    """So many calls, one after the other; the status of each, or the name of its error."""
    outcomes: list[int | str] = []
    for _ in range(count):
        try:
            outcomes.append(
                colour.send(
                    "GET", f"{server.base_url}/api/v1/resource", client={"auth": auth, "verify": False}
                ).status_code
            )
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcomes.append(type(error).__name__)
    return outcomes


def test_endpoint_that_always_refuses(auth: LoginAuth, server: FaultServer, time: Time, colour: Colour) -> None:
    """B2: one login at first, three for the budget of drops, then one per 10 s. The caller gets the 401."""
    server.on_resource(REFUSED)
    assert set(calls(auth, server, 60, colour)) == {401}
    assert server.login_count == 1 + 3
    for tens in range(1, 4):
        time.advance(10)
        assert set(calls(auth, server, 10, colour)) == {401}
        assert server.login_count == 4 + tens


@pytest.mark.parametrize("lost", SECOND_SENDING_LOST.values(), ids=SECOND_SENDING_LOST)
def test_second_sending_that_is_lost(
    auth: LoginAuth, server: FaultServer, lost: Callable[[Exchange], None], colour: Colour
) -> None:
    """B2: 401, then 502 or a reset connection: the second answer says nothing of the token, and counts for nothing."""
    turns = itertools.cycle([REFUSED, lost])
    server.on_resource(in_turn(turns))
    calls(auth, server, 60, colour)
    assert server.login_count <= 1 + 3


def test_replica_that_refuses_every_token(auth: LoginAuth, server: FaultServer, colour: Colour) -> None:
    """B2: one replica of five has another key. It costs three logins, and not one for each of its turns."""
    turns = itertools.cycle([check, check, check, check, REFUSED])
    server.on_resource(in_turn(turns))
    outcomes = calls(auth, server, 100, colour)
    assert server.login_count == 1 + 3
    assert set(outcomes) <= {200, 401}
    assert outcomes.count(200) >= 80


def test_revocations_are_mended_at_once(auth: LoginAuth, server: FaultServer, time: Time, colour: Colour) -> None:
    """A3: two mass revocations half a second apart cost one login each, and no caller notices them."""
    assert calls(auth, server, 3, colour) == [200] * 3
    for revocation in (1, 2):
        time.advance(0.5)
        server.revoke()
        assert calls(auth, server, 10, colour) == [200] * 10
        assert server.login_count == 1 + revocation


def test_upload_that_is_always_refused(auth: LoginAuth, server: FaultServer) -> None:
    """C1: it cannot be sent again, so nobody learns whether a login helps. It costs others three tokens at most."""

    def refuse_uploads(exchange: Exchange) -> None:
        (REFUSED if exchange.method == "POST" else check)(exchange)

    server.on_resource(refuse_uploads)
    with httpx.Client(base_url=server.base_url, auth=auth) as client:
        for _ in range(30):
            assert client.post("/documents", content=iter([b"fake"])).status_code == 401
            assert client.get("/api/v1/resource").status_code == 200
    assert server.login_count == 1 + 3


def test_refused_renewal_and_one_401(auth: LoginAuth, server: FaultServer, time: Time, colour: Colour) -> None:
    """A login that is known to be refused cannot replace a token, so a 401 takes the token from no one."""
    assert calls(auth, server, 1, colour) == [200]
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    time.advance(3500)
    assert calls(auth, server, 1, colour) == [200]
    settled(auth)
    assert server.login_count == 2
    server.on_resource(REFUSED, check)
    assert calls(auth, server, 1, colour) == ["BadCredentialsError"]
    assert calls(auth, server, 20, colour) == [200] * 20
    assert server.login_count == 2


@pytest.mark.parametrize("later", [0.5, 1.5], ids=["at once", "a second later"])
def test_refused_renewal_and_new_credentials(server: FaultServer, time: Time, later: float, colour: Colour) -> None:
    """E5: the old token is revoked and the old password refused. New credentials are tried within a second."""
    right = [Credentials("fake-user", "fake-old"), Credentials("fake-user", "fake-new")]
    auth = on_clock(time, server, lambda: right[0])
    assert calls(auth, server, 1, colour) == [200]
    time.advance(3500)
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}), by(time))
    assert calls(auth, server, 1, colour) == [200]
    settled(auth)
    server.revoke()
    right.pop(0)
    time.advance(later)
    assert calls(auth, server, 1, colour) == (["BadCredentialsError"] if later < 1 else [200])
    assert server.login_count == (2 if later < 1 else 3)


def test_credentials_are_asked_for_once_a_second(server: FaultServer, time: Time) -> None:
    """G1: a wrong password in a thousand calls is one login, and the vault is asked at most once a second."""
    asked: list[float] = []

    def vault() -> Credentials:
        asked.append(time.monotonic)
        return Credentials("fake-user", "fake-wrong")

    auth = on_clock(time, server, vault)
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    for _ in range(1000):
        with pytest.raises(BadCredentialsError):
            auth.get_token()
        time.advance(0.01)
    assert server.login_count == 1
    assert len(asked) <= 11


def test_wrong_password_from_fifty_threads(server: FaultServer, credentials: Credentials) -> None:
    """G1: one login for all, and each gets an error of its own."""
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    auth = LoginAuth(server.base_url, credentials=credentials)
    start, errors = threading.Barrier(50), list[BaseException]()

    def call() -> None:
        start.wait()
        try:
            auth.get_token()
        except BadCredentialsError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(error) for error in errors}) == 50
    assert server.login_count == 1


def test_short_token_is_not_renewed_within_its_first_second(server: FaultServer, time: Time) -> None:
    """F6: `exp` is a whole second, so a renewal at once would bring the same end again."""
    time.advance(0.1)  # Tokens live 0.9 s: soft after 0.74 s, hard after 0.855 s.
    auth = on_clock(time, server, lambda: Credentials("fake-user", "fake-password"))
    server.on_login(by(time, lifetime=1))
    with httpx.Client(base_url=server.base_url, auth=auth) as client:
        for _ in range(80):
            assert client.get("/api/v1/resource").status_code == 200
            time.advance(0.01)
    assert server.login_count == 1


def test_failing_login_does_not_cost_the_token_that_others_use(
    auth: LoginAuth, server: FaultServer, time: Time, colour: Colour
) -> None:
    """F8: in a cool-down, a 401 fails that call with the known error. The token stays."""
    assert calls(auth, server, 1, colour) == [200]
    server.on_login(answer(503))
    time.advance(3500)
    assert calls(auth, server, 1, colour) == [200]
    settled(auth)
    server.on_resource(REFUSED, check)
    assert calls(auth, server, 1, colour) == [LoginUnavailableError.__name__]
    assert calls(auth, server, 5, colour) == [200] * 5
