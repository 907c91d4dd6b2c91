"""Tokens and the windows of their life."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kyc_client
from kyc_client._clock import Moment
from kyc_client._login.wire import is_bearer_value
from kyc_client._token.lease import Lease, Phase, lifetime
from tests.core.test_wire import jwt, tokens

# When the server issues the tokens of these tests, and what the monotonic clock shows then.
ISSUED = 1_900_000_000
STARTED = 5_000.0
INFINITY = float("inf")
DAY = 24 * 3600
ORDER = [Phase.FRESH, Phase.SOFT, Phase.HARD, Phase.EXPIRED]


def lease_of(life: float, *, jitter: float = 0.0, skew: float = 0.0, took: float = 0.0) -> Lease:
    """A lease of so many seconds, on a machine whose clock is ahead of the server's by `skew`.

    Its login took `took` seconds.
    """
    began = at(0, skew=skew)
    return Lease(jwt(exp=ISSUED + life), issued_at=ISSUED, began=began, arrived=at(took, skew=skew), jitter=jitter)


def at(seconds: float, *, skew: float = 0.0) -> Moment:
    """So many seconds after the login started, by both clocks."""
    return Moment(STARTED + seconds, ISSUED + skew + seconds)


def after(lease: Lease, seconds: float, *, skew: float = 0.0) -> Phase:
    """Its phase so many seconds after the login started, by both clocks."""
    return lease.phase(at(seconds, skew=skew))


# Windows


# lifetime, jitter, age, phase
BOUNDARIES = {
    "1 h: at the start": (3600, 0, 0, Phase.FRESH),
    "1 h: just before the soft window of 300 s": (3600, 0, 3299.99, Phase.FRESH),
    "1 h: at the soft window": (3600, 0, 3300, Phase.SOFT),
    "1 h: just before the hard window of 30 s": (3600, 0, 3569.99, Phase.SOFT),
    "1 h: at the hard window": (3600, 0, 3570, Phase.HARD),
    "1 h: a moment before its end": (3600, 0, 3599.99, Phase.HARD),
    "1 h: a second before its end": (3600, 0, 3599, Phase.HARD),
    "1 h: at its end": (3600, 0, 3600, Phase.EXPIRED),
    "1 h: a second after": (3600, 0, 3601, Phase.EXPIRED),
    "1 h: most jitter, 240 s before its end": (3600, 0.999999, 3359.99, Phase.FRESH),
    "1 h: most jitter, less than that": (3600, 0.999999, 3360.01, Phase.SOFT),
    "1 h: half the jitter, 270 s before its end": (3600, 0.5, 3329.99, Phase.FRESH),
    "1 h: half the jitter, less than that": (3600, 0.5, 3330.01, Phase.SOFT),
    "1 h: jitter does not move the hard window": (3600, 0.999999, 3569.99, Phase.SOFT),
    "1500 s: 20 % and 300 s are the same": (1500, 0, 1199.99, Phase.FRESH),
    "1500 s: from there on": (1500, 0, 1200, Phase.SOFT),
    "600 s: 5 % and 30 s are the same": (600, 0, 569.99, Phase.SOFT),
    "600 s: from there on": (600, 0, 570, Phase.HARD),
    "100 s: just before the last 20 %": (100, 0, 79.99, Phase.FRESH),
    "100 s: in the last 20 %": (100, 0, 80.01, Phase.SOFT),
    "100 s: just before the last 5 %": (100, 0, 94.99, Phase.SOFT),
    "100 s: in the last 5 %": (100, 0, 95.01, Phase.HARD),
    "100 s: at its end": (100, 0, 100, Phase.EXPIRED),
    "3 s: used for its first 80 %": (3, 0, 2.39, Phase.FRESH),
    "3 s: soft": (3, 0, 2.41, Phase.SOFT),
    "3 s: hard": (3, 0, 2.86, Phase.HARD),
    "3 s: at its end": (3, 0, 3, Phase.EXPIRED),
    "30 days: the soft window stays 300 s": (30 * DAY, 0, 30 * DAY - 301, Phase.FRESH),
    "30 days: in it": (30 * DAY, 0, 30 * DAY - 299, Phase.SOFT),
    "30 days: the hard window stays 30 s": (30 * DAY, 0, 30 * DAY - 31, Phase.SOFT),
    "30 days: in it too": (30 * DAY, 0, 30 * DAY - 29, Phase.HARD),
}


@pytest.mark.parametrize(("life", "jitter", "age", "phase"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_boundaries(life, jitter, age, phase):
    """F6, F7: each window begins where the list of phases says."""
    assert after(lease_of(life, jitter=jitter), age) is phase


@pytest.mark.parametrize("skew", [-30 * DAY, -0.5, 3, 30 * DAY], ids=["month behind", "behind", "ahead", "month ahead"])
@pytest.mark.parametrize(("life", "jitter", "age", "phase"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_boundaries_with_a_wrong_clock(life, jitter, age, phase, skew):
    """F3, F4: a local clock that is wrong but runs evenly moves no window."""
    assert after(lease_of(life, jitter=jitter, skew=skew), age, skew=skew) is phase


CLOCKS = {
    "set back by a day": (3600, -DAY, Phase.EXPIRED),
    "standing still": (0, 3600, Phase.EXPIRED),
    "monotonic alone, soft": (3400, 0, Phase.SOFT),
    "wall alone, soft": (0, 3400, Phase.SOFT),
    "monotonic alone, hard": (3580, 0, Phase.HARD),
    "wall alone, hard": (0, 3580, Phase.HARD),
    "wall behind the monotonic": (3580, 3400, Phase.HARD),
    "monotonic behind the wall": (3400, 3580, Phase.HARD),
    "wall before the login": (10, -10, Phase.FRESH),
}


@pytest.mark.parametrize(("monotonic", "wall", "phase"), CLOCKS.values(), ids=CLOCKS)
def test_the_older_age_counts(monotonic, wall, phase):
    """F5: the clock that counted more decides: one may stand still in a suspended machine, the other be set back."""
    assert lease_of(3600).phase(Moment(STARTED + monotonic, ISSUED + wall)) is phase


lives = st.integers(1, 30 * DAY)
jitters = st.floats(0, 1, exclude_max=True)


@given(lives, jitters, st.lists(st.floats(0, 1.1), min_size=2), st.sampled_from(["both", "monotonic", "wall"]))
def test_phases_are_in_order(life, jitter, shares, clock):
    """As time goes on, by one clock or by both, a token only gets older: fresh, soft, hard, expired."""
    lease = lease_of(life, jitter=jitter)
    phases = [
        lease.phase(
            Moment(
                STARTED + (share * life if clock != "wall" else 0),
                ISSUED + (share * life if clock != "monotonic" else 0),
            )
        )
        for share in sorted([0.0, *shares, 1.1])
    ]
    assert phases == sorted(phases, key=ORDER.index)
    assert (phases[0], phases[-1]) == (Phase.FRESH, Phase.EXPIRED)


@given(lives, jitters, st.floats(0, 1.1))
def test_windows(life, jitter, share):
    """F6: for lifetimes of 1 s to 30 days and any jitter, the windows are where the list of phases has them."""
    left = life - share * life
    soft, hard = min(300, life / 5), min(30, life / 20)
    if left > soft * 1.001:
        expected = {Phase.FRESH}
    elif left > soft * 0.799:
        expected = {Phase.FRESH, Phase.SOFT}  # Up to a fifth of the soft window is jitter.
    elif left > hard * 1.001:
        expected = {Phase.SOFT}
    elif left > hard * 0.999:
        expected = {Phase.SOFT, Phase.HARD}
    elif left > life * 0.001:
        expected = {Phase.HARD}
    else:
        expected = {Phase.HARD, Phase.EXPIRED} if left > 0 else {Phase.EXPIRED}
    assert after(lease_of(life, jitter=jitter), share * life) in expected


@given(lives, jitters, jitters)
def test_jitter(life, one, another):
    """F9: more jitter means a later renewal, by at most a fifth of the soft window."""
    less, more = sorted([one, another])
    fresh = [lease_of(life, jitter=jitter).fresh_until[0] - STARTED for jitter in (0, less, more)]
    assert fresh == sorted(fresh)
    assert fresh[-1] - fresh[0] <= min(300, life / 5) / 5 + 1e-6


@given(lives, jitters)
def test_short_cut(life, jitter):
    """The two times with which the hot path compares end the fresh phase, on each clock."""
    lease = lease_of(life, jitter=jitter)
    assert after(lease, 0) is Phase.FRESH
    assert lease.phase(Moment(lease.fresh_until[0], ISSUED)) is not Phase.FRESH
    assert lease.phase(Moment(STARTED, lease.fresh_until[1])) is not Phase.FRESH


# Lifetime


# exp, Date, local clock at the start of the login, lifetime
LIFETIMES = {
    "by the server's clock": (ISSUED + 3600, ISSUED, ISSUED + 7777, 3600),
    "local clock a day behind": (ISSUED + 3600, ISSUED, ISSUED - DAY, 3600),
    "no Date": (ISSUED + 3600, None, ISSUED + 600.5, 2999.5),
    # A Date is cut to whole seconds, and a server may write it anew only once a second.
    "local clock in the Date's second": (ISSUED + 3, ISSUED, ISSUED + 0.75, 2.25),
    "local clock at the start of it": (ISSUED + 3, ISSUED, ISSUED, 3),
    "local clock ahead of a Date that lags": (ISSUED + 3, ISSUED, ISSUED + 2, 1),
    "local clock ahead by more than a Date lags": (ISSUED + 3, ISSUED, ISSUED + 2.5, 3),
    "local clock ahead by 2.1 s, which no Date lags": (ISSUED + 3, ISSUED, ISSUED + 2.1, 3),
    "local clock a moment behind": (ISSUED + 3, ISSUED, ISSUED - 0.25, 3),
    "a moment left": (ISSUED + 1, ISSUED, ISSUED + 0.75, 0.25),
    "expired on arrival": (ISSUED - 1, ISSUED, ISSUED, -1),
    "expires on arrival": (ISSUED, ISSUED, ISSUED, 0),
    "expired by the local clock, no Date": (ISSUED, None, ISSUED + 1, -1),
    "expired within the Date's second": (ISSUED + 0.5, ISSUED, ISSUED + 0.75, -0.25),
    "no exp": (None, ISSUED, ISSUED, INFINITY),
    "neither": (None, None, ISSUED, INFINITY),
}


@pytest.mark.parametrize(("expiry", "issued_at", "wall", "life"), LIFETIMES.values(), ids=LIFETIMES)
def test_lifetime(expiry, issued_at, wall, life):
    """The lifetime is `exp` minus the server's `Date`, or minus the local time. Not above 0 if it has expired."""
    assert lifetime(expiry, issued_at, wall) == life


UNKNOWN = {
    "opaque": "fake-opaque-token",
    "no exp": jwt(sub="fake-user"),
    "expired on arrival": jwt(exp=ISSUED - 3600),
    "expires on arrival": jwt(exp=ISSUED),
    "exp of true": jwt(exp=True),
}


@pytest.mark.parametrize("token", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_lifetime(token):
    """F2, F3: a token of unknown lifetime stays fresh, whatever the clocks say, until the API refuses it."""
    lease = Lease(token, issued_at=ISSUED, began=at(0), arrived=at(0), jitter=0.5)
    for seconds in (0, 3600, 100 * 365 * DAY):
        assert after(lease, seconds) is Phase.FRESH
        assert lease.seconds_left(at(seconds)) == INFINITY
    assert lease.fresh_until == (INFINITY, INFINITY)


# lifetime, seconds that the login took, phase when it ended, seconds left then
ARRIVALS = {
    "just in time": (3, 2.99, Phase.HARD, 3 - 2.99),
    "at the end of its life": (3, 3, Phase.FRESH, INFINITY),
    "after the end of its life": (3, 15, Phase.FRESH, INFINITY),
    "soft already": (100, 90, Phase.SOFT, 10),
}


@pytest.mark.parametrize("clock", ["both", "monotonic", "wall"])
@pytest.mark.parametrize(("life", "took", "phase", "left"), ARRIVALS.values(), ids=ARRIVALS)
def test_slow_login(life, took, phase, left, clock):
    """F3: the life counts from the start of the login. If it is over when the login ends, it counts as unknown.

    Otherwise, a login that takes longer than its token lives would be needed for each request.
    """
    arrived = Moment(STARTED + (took if clock != "wall" else 0), ISSUED + (took if clock != "monotonic" else 0))
    lease = Lease(jwt(exp=ISSUED + life), issued_at=ISSUED, began=at(0), arrived=arrived, jitter=0)
    assert lease.phase(arrived) is phase
    assert lease.seconds_left(arrived) == pytest.approx(left)


def test_seconds_left():
    """They count down, also below zero."""
    lease = lease_of(3600)
    assert [lease.seconds_left(at(seconds)) for seconds in (0, 3599.5, 3600, 3700)] == [3600, 0.5, 0, -100]


def test_expires_at():
    """The caller sees the token's own `exp`, in UTC and by the server's clock, even if it has passed."""
    for exp in (ISSUED + 3600, ISSUED - 3600):
        lease = Lease(jwt(exp=exp), issued_at=None, began=at(DAY), arrived=at(DAY), jitter=0)
        assert lease.token.expires_at == datetime.fromtimestamp(exp, UTC)
        assert lease.token.expires_at.tzinfo is UTC
    assert Lease("fake", issued_at=None, began=at(0), arrived=at(0), jitter=0).token.expires_at is None


def test_generations():
    """B3: two logins within one second bring the same token, and yet they are two leases."""
    one, another = lease_of(3600), lease_of(3600)
    assert one is not another
    assert one.token == another.token


# Any token


@given(tokens, st.none() | st.floats(-1e11, 1e12), st.floats(0, 1e10), st.floats(0, 1e12), st.floats(0, 1e5), jitters)
def test_any_token_has_a_lease(token, issued_at, monotonic, wall, took, jitter):
    """Whatever the token says and the clocks show, there is a lease, and it has not expired when it arrives."""
    began, arrived = Moment(monotonic, wall), Moment(monotonic + took, wall + took)
    lease = Lease(token, issued_at=issued_at, began=began, arrived=arrived, jitter=jitter)
    assert lease.phase(arrived) in ORDER[:3]


@given(tokens.filter(is_bearer_value))
def test_any_token_costs_one_login(token):
    """F1, F2: whatever a token says, ten calls cost one login and get this token."""
    logins = []

    def log_in(request):
        logins.append(request)
        return httpx.Response(200, json={"access_token": token, "token_type": "bearer"})

    credentials = kyc_client.Credentials("fake-user", "fake-password-for-tests")
    transport = httpx.MockTransport(log_in)
    auth = kyc_client.LoginAuth("https://kyc.example.com", credentials=credentials, transport=transport, verify=False)
    assert {auth.get_token().value for _ in range(10)} == {token}
    assert len(logins) == 1


def test_header_is_masked_in_both_of_its_forms() -> None:
    """H3: the text that httpx gets, and the bytes that it passes on, hold the token and do not show it."""
    header = Lease("fake.token", issued_at=None, began=at(0), arrived=at(0), jitter=0.0).authorization
    assert (header, header.encode()) == ("Bearer fake.token", b"Bearer fake.token")
    assert f"{header!r} {header.encode()!r}" == "'***' b'***'"
