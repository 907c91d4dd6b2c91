"""The token's life over real sockets, on a clock that the test moves: windows, lifetimes, clocks that are wrong."""

from __future__ import annotations

import random
import ssl
import time as real_time
from typing import TYPE_CHECKING

import pytest

import kyc_client
from kyc_client import LoginAuth
from kyc_client._clock import Moment
from kyc_client._token.lease import Lease
from tests.support.clocks import Time
from tests.support.fault_server import FaultServer, answer, check
from tests.support.gate import Gate

if TYPE_CHECKING:
    from tests.support.colours import Colour
    from tests.support.fault_server import Exchange

HOUR, DAY = 3600.0, 24 * 3600.0
DOWN = answer(503, b"")
# Loading the authorities takes longer than a call.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clients' clock. It shows the true time, and stands still."""
    time = Time(real_time.time())
    monkeypatch.setattr("kyc_client._auth.Clock", lambda: time.clock)
    return time


@pytest.fixture
def auth(time: Time, auth: LoginAuth) -> LoginAuth:
    """As ever, on that clock."""
    return auth


def call(colour: Colour, server: FaultServer, auth: LoginAuth, count: int = 1) -> list[str]:
    """So many calls at once; the tokens that they were answered for."""
    client = {"auth": auth, "verify": CONTEXT}
    results = colour.send_many(count, "GET", f"{server.base_url}/api", client=client)
    return [result.json()["token"] if not isinstance(result, Exception) else repr(result) for result in results]


# Windows


def test_nobody_waits_for_a_renewal(server: FaultServer, auth: LoginAuth, time: Time, colour: Colour) -> None:
    """A2: in the soft window, forty calls use the old token at once, while one renewal waits for the server."""
    old = colour.token(auth).value
    time.advance(HOUR - 200)
    gate = Gate()
    server.on_login(gate)
    assert call(colour, server, auth, 40) == [old] * 40
    assert gate.arrived.wait(10)
    assert call(colour, server, auth) == [old]
    flight = auth._source._flight
    assert flight is not None
    assert not flight.has_landed
    gate.opened.set()
    flight.future.result(10)
    (new,) = call(colour, server, auth)
    assert new != old
    assert server.login_count == 2


def test_crowd_over_three_lifetimes(server: FaultServer, auth: LoginAuth, time: Time, colour: Colour) -> None:
    """A2: each time that the token has expired, a crowd costs one login and meets no 401."""
    for lifetimes in range(4):
        assert len(set(call(colour, server, auth, 40))) == 1
        assert server.login_count == 1 + lifetimes
        time.advance(HOUR + 1)
    assert all(exchange.token for exchange in server.hits)
    assert len(server.hits) == 160


@pytest.mark.parametrize("left", [200, 20], ids=["soft window", "hard window"])
def test_renewal_that_fails_is_not_felt(
    server: FaultServer, auth: LoginAuth, time: Time, colour: Colour, left: float
) -> None:
    """F8: the login is down. The old token is used, without a login for each call, and its end brings the error out."""
    old = colour.token(auth).value
    time.advance(HOUR - left)
    server.on_login(DOWN)
    for _ in range(5):
        assert call(colour, server, auth, 5) == [old] * 5
        flight = auth._source._flight
        if flight is not None:
            flight.future.result(10)
    assert server.login_count == 1 + 3  # One login of three attempts.
    time.advance(left)
    with pytest.raises(kyc_client.LoginUnavailableError):
        colour.token(auth)


def test_lifetime_of_three_seconds(server: FaultServer, auth: LoginAuth, time: Time, colour: Colour) -> None:
    """F6: a token that lives shorter than any fixed margin is used all the same: a hundred calls, one login."""
    server.on_login(_issue_for(time, 3))
    assert len(set(call(colour, server, auth, 100))) == 1
    assert server.login_count == 1


@pytest.mark.parametrize("lifetime", [1, 2, 5, 60, HOUR, DAY, 30 * DAY])
def test_lifetimes(server: FaultServer, auth: LoginAuth, time: Time, lifetime: float) -> None:
    """F6: whatever the lifetime, a token serves for its first four fifths, or all but 5 min, and costs one login."""
    server.on_login(_issue_for(time, lifetime))
    token = auth.get_token()
    time.advance(max(lifetime * 0.75, lifetime - 301))
    assert auth.get_token() == token
    assert server.login_count == 1
    time.advance(lifetime)
    assert auth.get_token() != token
    assert server.login_count == 2


def _issue_for(time: Time, lifetime: float):
    """A token of exactly this lifetime, by the clients' clock, which the server's Date goes by too."""

    def behaviour(exchange: Exchange) -> None:
        exchange.server.date = lambda: time.wall
        token = exchange.server.new_token(exp=time.wall + lifetime)
        exchange.answer(200, {"access_token": token, "token_type": "bearer"})

    return behaviour


# Clocks that are wrong


@pytest.mark.parametrize("skew", [DAY, -DAY, HOUR, 2 * HOUR, -HOUR], ids=lambda skew: f"{skew / HOUR:+g} h")
@pytest.mark.parametrize("dated", [True, False], ids=["Date", "no Date"])
def test_clock_that_is_wrong_costs_one_login(
    credentials: kyc_client.Credentials, time: Time, colour: Colour, skew: float, *, dated: bool
) -> None:
    """F3: ten calls on a machine whose clock is wrong: one login, with the server's Date and without."""
    time.wall += skew
    with FaultServer(date=real_time.time if dated else None) as server:
        auth = LoginAuth(server.base_url, credentials=credentials)
        for _ in range(10):
            assert call(colour, server, auth)[0]
        assert server.login_count == 1
        assert len(server.hits) == 10


def test_lifetime_is_told_by_the_clock_of_the_server(
    server: FaultServer, auth: LoginAuth, time: Time, colour: Colour
) -> None:
    """F3: on a clock that is 45 minutes ahead, a token of an hour is still good half an hour later."""
    time.wall += 0.75 * HOUR
    (token,) = call(colour, server, auth)
    time.advance(HOUR / 2)
    assert call(colour, server, auth) == [token]
    assert server.login_count == 1


def test_token_that_is_believed_too_long(credentials: kyc_client.Credentials, time: Time, colour: Colour) -> None:
    """F4: a clock a day behind, no Date: the server refuses the token while we believe it. One login, then 200."""
    time.wall -= DAY
    with FaultServer(date=None) as server:
        auth = LoginAuth(server.base_url, credentials=credentials)
        (old,) = call(colour, server, auth)
        time.advance(HOUR + 1)
        server.revoke()
        (new,) = call(colour, server, auth)
        assert new != old
        assert [exchange.token for exchange in server.hits] == [old, old, new]
        assert server.login_count == 2


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["ahead", "back"])
def test_clock_that_jumps_costs_one_login(
    server: FaultServer, auth: LoginAuth, time: Time, colour: Colour, jump: float
) -> None:
    """F5: the wall clock is set by a day under a token that works: ten calls, one login more at most."""
    colour.token(auth)
    time.wall += jump
    for _ in range(10):
        assert call(colour, server, auth)[0]
    assert server.login_count <= 2


@pytest.mark.parametrize(("age", "logins"), [(-1, 1), (0, 2), (1, 2)], ids=["exp - 1", "exp", "exp + 1"])
def test_end_of_a_token(server: FaultServer, auth: LoginAuth, time: Time, age: float, logins: int) -> None:
    """F7: with the login down, a token is used in its last second, and no more once it has expired."""
    server.on_login(_issue_for(time, HOUR), DOWN)
    token = auth.get_token()
    time.advance(HOUR + age)
    if logins == 1:
        assert auth.get_token() == token
    else:
        with pytest.raises(kyc_client.LoginUnavailableError):
            auth.get_token()


def test_token_that_expires_on_its_way(server: FaultServer, auth: LoginAuth, time: Time, colour: Colour) -> None:
    """F7: good when it was sent, expired when it was looked at: one login, and the call is answered."""
    colour.token(auth)

    def too_late(exchange: Exchange) -> None:
        time.advance(HOUR + 1)
        exchange.answer(401, {"detail": "Unauthorized"})

    server.on_resource(too_late, check)
    assert call(colour, server, auth)[0]
    assert server.login_count == 2


# A fleet


def test_fleet_does_not_renew_together(server: FaultServer) -> None:
    """F9: tokens that were issued together are not renewed together.

    Over a thousand seeds, their renewals spread evenly over the last 300 to 240 seconds.
    """
    token = server.new_token()
    now = real_time.time()
    before_the_end = []
    for seed in range(1000):
        jitter = random.Random(seed).random()  # noqa: S311
        lease = Lease(token, issued_at=None, began=Moment(0, now), arrived=Moment(0, now), jitter=jitter)
        before_the_end.append(HOUR - lease.fresh_until[0])
    assert max(before_the_end) <= 301
    assert min(before_the_end) >= 239
    for minute in range(6):
        tenth = [left for left in before_the_end if 240 + 10 * minute <= left < 250 + 10 * minute]
        assert 110 < len(tenth) < 230  # 167, give or take five standard deviations.
