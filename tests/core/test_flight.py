"""`TokenSource` with a clock that stands still and an endpoint without a network: the policy, case by case."""

from __future__ import annotations

import contextvars
import itertools
import math
import random
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kyc_client import (
    BadCredentialsError,
    ConfigurationError,
    Credentials,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    UserNotVerifiedError,
)
from kyc_client._clock import Clock
from kyc_client._login.answer import Failure, Grant
from kyc_client._token import flight as flight_module
from kyc_client._token.flight import Backoff, Flight, TokenSource, wait_async, wait_sync
from kyc_client._token.lease import Lease, Phase
from kyc_client._token.loops import run_on_private_loop, runner_of_this_task
from tests.support.clocks import Time
from tests.support.colours import Asyncio, Trio
from tests.support.fault_server import FaultServer

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

A = Credentials("fake-user", "fake-password-a")
B = Credentials("fake-user", "fake-password-b")

UNAVAILABLE = Failure(LoginUnavailableError, "The login was answered 503.", {"status_code": 503})
UNUSABLE = Failure(LoginResponseError, "No token.", {"status_code": 200})
BAD = Failure(BadCredentialsError, "Wrong.", {"status_code": 400, "code": "LOGIN_BAD_CREDENTIALS"})


class Endpoint:
    """Answers attempts from a script, the last entry again and again; a callable entry is called."""

    needs_loop = False

    def __init__(self, time: Time, lifetime: float = 1000.0) -> None:
        self.time = time
        self.lifetime = lifetime
        self.tried: list[Credentials] = []
        self.within: list[float] = []
        self.ways: list[Any] = []
        self.clocks: list[Clock] = []
        self.script: list[Any] = [self.grant]

    def grant(self) -> Grant:
        token = FaultServer.new_token(_Mint, exp=int(self.time.wall + self.lifetime))  # type: ignore[arg-type]
        return Grant(token, self.time.wall)

    def attempt(self, credentials: Credentials, *, within: float, clock: Clock, run_async: Any, **_: Any) -> Any:
        self.tried.append(credentials)
        self.clocks.append(clock)
        self.within.append(within)
        self.ways.append(run_async)
        result = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return result() if callable(result) else result


class _Mint:
    """Just enough of a server to make different tokens."""

    _lock = threading.Lock()
    _issued = 0
    _valid: set[str] = set()  # noqa: RUF012 - shared on purpose, so that all tokens of the tests differ
    lifetime = 0.0


@pytest.fixture
def time() -> Time:
    """A clock that stands still."""
    return Time()


@pytest.fixture
def endpoint(time: Time) -> Endpoint:
    """An endpoint that issues tokens of 1000 s."""
    return Endpoint(time)


@pytest.fixture
def source(endpoint: Endpoint, time: Time) -> TokenSource:
    """The unit."""
    return TokenSource(endpoint, lambda: A, time.clock)


def take(source: TokenSource, *, patient: bool = False) -> Lease:
    """What a request does to get a token."""
    return source.fresh() or wait_sync(source.acquire(patient=patient))


def refused(source: TokenSource, lease: Lease) -> bool:
    """What a request does on a 401 for a token that was there when it came."""
    return source.reject(lease, since=math.inf, repeatable=True)


def refused_anew(source: TokenSource, lease: Lease) -> bool:
    """What a request does on a 401 for a token whose login was made for it."""
    return source.reject(lease, since=lease.began, repeatable=True)


def settle(source: TokenSource) -> None:
    """Wait for the login that runs in the background, if there is one."""
    flight = source._flight
    if flight is not None:
        flight.future.result(10)


# The phases of a token (1000 s: soft from 1000 - 200 * 0.9 = 820, hard from 970)


@pytest.mark.parametrize(
    ("age", "waits", "renews"),
    [
        pytest.param(0, False, False, id="fresh"),
        pytest.param(819, False, False, id="last fresh second"),
        pytest.param(821, False, True, id="soft"),
        pytest.param(969, False, True, id="last soft second"),
        pytest.param(971, True, True, id="hard"),
        pytest.param(999, True, True, id="last hard second"),
        pytest.param(1001, True, True, id="expired"),
    ],
)
def test_what_a_request_does_in_each_phase(
    source: TokenSource, endpoint: Endpoint, time: Time, age: float, *, waits: bool, renews: bool
) -> None:
    """Fresh: used. Soft: used, and renewed in the background. Hard and expired: waited for."""
    old = take(source)
    time.advance(age)
    lease = take(source)
    settle(source)
    assert (lease is not old) == waits
    assert len(endpoint.tried) == 1 + renews
    assert (source.fresh() is not old) == renews


def test_request_that_can_not_be_repeated_waits_in_the_soft_phase(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """C5: before a body that cannot be sent twice goes out, the token is made comfortably valid."""
    old = take(source)
    time.advance(900)
    assert take(source, patient=True) is not old
    assert len(endpoint.tried) == 2


def test_nobody_waits_for_a_renewal_in_the_soft_phase(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """A renewal that takes its time: every request meanwhile uses the old token, and starts no second one."""
    old = take(source)
    time.advance(900)
    gate = threading.Event()
    endpoint.script = [lambda: gate.wait(10) and endpoint.grant()]
    assert [take(source) for _ in range(20)] == [old] * 20
    assert wait_sync(source.acquire()) is old
    gate.set()
    settle(source)
    assert take(source) is not old
    assert len(endpoint.tried) == 2


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_short_cut_agrees_with_the_policy(source: TokenSource, endpoint: Endpoint, time: Time, clock: str) -> None:
    """The hot path does not ask for the phase; a token gets soft at the same moment for it, by either clock alone."""
    lease = take(source)
    setattr(time, clock, getattr(lease, f"fresh_until_{clock}"))
    assert lease.phase(time.monotonic, time.wall) is Phase.SOFT
    assert source.fresh() is None
    setattr(time, clock, getattr(time, clock) - 0.01)
    assert source.fresh() is lease


@pytest.mark.parametrize("age", [900, 980], ids=["soft", "hard"])
@pytest.mark.parametrize("failure", [UNAVAILABLE, UNUSABLE, BAD], ids=lambda failure: failure.kind.__name__)
def test_failed_renewal_is_not_felt_while_the_token_works(
    source: TokenSource, endpoint: Endpoint, time: Time, age: float, failure: Failure
) -> None:
    """F8: the old token is used, the next renewal is put off; once the token has expired, the error comes out."""
    old = take(source)
    time.advance(age)
    endpoint.script = [failure]
    assert take(source) is old
    settle(source)
    tried = len(endpoint.tried)
    assert [take(source) for _ in range(10)] == [old] * 10
    assert len(endpoint.tried) == tried
    time.advance(1000)
    with pytest.raises(failure.kind):
        take(source)


@pytest.mark.parametrize(
    ("failure", "pause"), [(UNAVAILABLE, 1), (UNUSABLE, 1), (BAD, 60)], ids=["unavailable", "unusable", "refused"]
)
def test_failed_renewal_is_tried_again_once_its_pause_is_over(
    source: TokenSource, endpoint: Endpoint, time: Time, failure: Failure, pause: float
) -> None:
    """F8: not before, and not only when the token has expired."""
    take(source)
    time.advance(850)
    endpoint.script = [failure]
    take(source)
    settle(source)
    tried = len(endpoint.tried)
    time.advance(pause - 0.25)
    take(source)
    settle(source)
    assert len(endpoint.tried) == tried
    time.advance(0.25)
    take(source)
    settle(source)
    assert len(endpoint.tried) > tried


def test_token_without_a_known_end_is_used_until_it_is_refused(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """An opaque token has no phases; only a 401 ends it."""
    endpoint.script = [Grant("opaque-fake-token", None)]
    lease = take(source)
    time.advance(10**9)
    assert take(source) is lease
    assert refused(source, lease)
    assert take(source) is not lease


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_jump_of_the_wall_clock_costs_one_login_at_most(
    source: TokenSource, endpoint: Endpoint, time: Time, jump: float
) -> None:
    """F5: a clock that jumps by a day is followed by ten requests and at most one login."""
    take(source)
    time.wall += jump
    for _ in range(10):
        take(source)
        settle(source)
    assert len(endpoint.tried) <= 2


def test_suspended_machine_notices_by_the_wall_clock(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """F5: the monotonic clock stands still in a suspended machine; the token has expired all the same."""
    take(source)
    time.wall += 5000
    take(source)
    assert len(endpoint.tried) == 2


@pytest.mark.parametrize("skew", [86400.0, -86400.0])
def test_wrong_clock_is_no_reason_to_log_in_again(endpoint: Endpoint, time: Time, skew: float) -> None:
    """F3: a clock that is wrong by a day: the server's own Date gives the lifetime, and renewals come when due."""
    endpoint.script = [lambda: Grant(endpoint.grant().value, time.wall)]
    skewed = Clock(monotonic=time.clock.monotonic, wall=lambda: time.wall + skew, random=time.clock.random)
    source = TokenSource(endpoint, lambda: A, skewed)
    for _ in range(10):
        take(source)
    time.advance(819)
    take(source)
    assert len(endpoint.tried) == 1
    time.advance(2)
    take(source)
    settle(source)
    assert len(endpoint.tried) == 2


# Failed logins


def test_back_off_is_as_long_as_it_says() -> None:
    """It doubles from the first time on, also below a second, up to its limit, and is longer only if asked to be."""
    backoff = Backoff(0.25, 0.75)
    assert [(backoff.extend(100.0), backoff.until)[1] for _ in range(3)] == [100.25, 100.5, 100.75]
    backoff.extend(100.0, 3.0)
    assert backoff.until == 103
    backoff.end()
    backoff.extend(100.0, 0.1)
    assert backoff.until == 100.25


def test_unavailable_login_is_tried_three_times_with_full_jitter(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """E12: pauses of random * 0.5 s and random * 1 s, then the error, with the time of the next try in it."""
    endpoint.script = [UNAVAILABLE]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert time.pauses == [0.25, 0.5]
    assert (caught.value.status_code, caught.value.cached, caught.value.retry_after) == (503, False, 1.0)


def test_login_that_recovers_within_its_attempts_is_a_success(source: TokenSource, endpoint: Endpoint) -> None:
    """A passing fault is not felt."""
    endpoint.script = [UNAVAILABLE, UNAVAILABLE, endpoint.grant]
    take(source)
    assert len(endpoint.tried) == 3


@pytest.mark.parametrize("failure", [UNAVAILABLE, UNUSABLE], ids=lambda failure: failure.kind.__name__)
def test_cool_down_doubles_to_thirty_seconds_and_ends_with_a_success(
    source: TokenSource, endpoint: Endpoint, time: Time, failure: Failure
) -> None:
    """While it lasts, calls fail at once with the same error, and nothing is sent; failures in a row make it longer."""
    delays = []
    endpoint.script = [failure]
    for _ in range(7):
        with pytest.raises(failure.kind) as caught:
            take(source)
        assert not caught.value.cached
        delays.append(caught.value.retry_after)
        tried = len(endpoint.tried)
        time.advance(delays[-1] - 0.01)
        with pytest.raises(failure.kind) as again:
            take(source)
        assert (again.value.cached, again.value.retry_after) == (True, pytest.approx(0.01))
        assert len(endpoint.tried) == tried
        time.advance(0.01)
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    endpoint.script = [endpoint.grant, failure]
    lease = take(source)
    refused(source, lease)
    with pytest.raises(failure.kind) as caught:
        take(source)
    assert caught.value.retry_after == 1


def test_unusable_answer_is_not_tried_again_in_the_same_login(source: TokenSource, endpoint: Endpoint) -> None:
    """A portal that answers with HTML will do so again."""
    endpoint.script = [UNUSABLE]
    with pytest.raises(LoginResponseError):
        take(source)
    assert len(endpoint.tried) == 1


@pytest.mark.parametrize(
    ("retry_after", "attempts", "pauses", "cooldown"),
    [
        pytest.param(None, 3, [0.25, 0.5], 1, id="none"),
        pytest.param(0.0, 3, [0.25, 0.5], 1, id="at once, but not without a pause"),
        pytest.param(7.0, 3, [7, 7], 7, id="fits into the deadline twice"),
        pytest.param(15.0, 2, [15], 15, id="fits once"),
        pytest.param(20.0, 1, [], 20, id="leaves no time for an attempt"),
        pytest.param(25.0, 1, [], 25, id="does not fit"),
        pytest.param(900.0, 1, [], 900, id="fifteen minutes"),
    ],
)
def test_retry_after_is_honoured(
    source: TokenSource,
    endpoint: Endpoint,
    time: Time,
    retry_after: float | None,
    attempts: int,
    pauses: list[float],
    cooldown: float,
) -> None:
    """E13: waited for if it fits into the login's 20 s, else the login fails now, and the cool-down is that long."""
    endpoint.script = [Failure(LoginUnavailableError, "429.", {"status_code": 429}, retry_after)]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert (len(endpoint.tried), time.pauses, caught.value.retry_after) == (attempts, pauses, cooldown)


def test_no_attempt_gets_more_time_than_is_left(source: TokenSource, endpoint: Endpoint) -> None:
    """The deadline is one for all attempts and pauses together."""
    endpoint.script = [Failure(LoginUnavailableError, "429.", {}, 9.0)]
    with pytest.raises(LoginUnavailableError):
        take(source)
    assert endpoint.within == [20, 11, 2]


def test_attempt_that_overran_the_deadline_leaves_the_next_one_a_moment(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A pause may end late; a timeout must not become zero or negative, which httpx would take for an error."""
    clock = Clock(
        monotonic=time.clock.monotonic,
        wall=time.clock.wall,
        random=time.clock.random,
        pause=lambda _, seconds: time.advance(seconds + 30),  # type: ignore[arg-type, return-value]
    )
    source = TokenSource(endpoint, lambda: A, clock)
    endpoint.script = [UNAVAILABLE]
    with pytest.raises(LoginUnavailableError):
        take(source)
    assert endpoint.within == [20, 0.001]


# Refused credentials


def test_refused_credentials_are_remembered_longer_each_time(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """G1, G2: one attempt per 60 s, doubling to 15 min; until then the same error at once, fresh for each caller."""
    endpoint.script = [BAD]
    delays = []
    for _ in range(6):
        with pytest.raises(BadCredentialsError) as caught:
            take(source)
        assert not caught.value.cached
        delays.append(caught.value.retry_after)
        tried = len(endpoint.tried)
        time.advance(delays[-1] - 1)
        errors = []
        for _ in range(5):
            with pytest.raises(BadCredentialsError) as again:
                take(source)
            errors.append(again.value)
        assert len({id(error) for error in errors}) == 5
        assert all(error.cached and error.retry_after == 1 for error in errors)
        assert all(error.code == "LOGIN_BAD_CREDENTIALS" for error in errors)
        assert len(endpoint.tried) == tried
        time.advance(1)
    assert delays == [60, 120, 240, 480, 900, 900]


def test_other_credentials_are_tried_at_once(endpoint: Endpoint, time: Time) -> None:
    """G2, E5: a corrected password works without waiting; the wrong one is still remembered."""
    current = [A]
    source = TokenSource(endpoint, lambda: current[0], time.clock)
    endpoint.script = [BAD, endpoint.grant]
    with pytest.raises(BadCredentialsError):
        take(source)
    current[0] = B
    lease = take(source)
    assert endpoint.tried == [A, B]
    refused(source, lease)
    current[0] = A
    with pytest.raises(BadCredentialsError) as caught:
        take(source)
    assert caught.value.cached
    assert endpoint.tried == [A, B]


def test_success_ends_the_memory_of_a_refusal(endpoint: Endpoint, time: Time, source: TokenSource) -> None:
    """A user who has been verified meanwhile starts anew: the next refusal is remembered for 60 s again."""
    unverified = Failure(UserNotVerifiedError, "Not verified.")
    endpoint.script = [unverified, endpoint.grant, unverified]
    with pytest.raises(UserNotVerifiedError):
        take(source)
    time.advance(60)
    refused(source, take(source))
    with pytest.raises(UserNotVerifiedError) as caught:
        take(source)
    assert caught.value.retry_after == 60


def test_endless_supply_of_wrong_credentials_fills_no_memory(endpoint: Endpoint, time: Time) -> None:
    """Only the latest refusals are kept, and the oldest goes first."""
    supply = (Credentials("fake-user", f"fake-password-{number}") for number in range(100))
    used: list[Credentials] = []

    def next_credentials() -> Credentials:
        used.append(next(supply))
        return used[-1]

    source = TokenSource(endpoint, next_credentials, time.clock)
    endpoint.script = [Failure(LoginRefusedError, "No.", {"status_code": 403})]
    for _ in range(40):
        with pytest.raises(LoginRefusedError):
            take(source)
    assert list(source._refusals) == used[-16:]


# Where the credentials come from


def test_configuration_error_is_not_remembered(endpoint: Endpoint, time: Time) -> None:
    """E3: nothing was sent, so the next call tries again at once, and works once the cause is mended."""
    problems = [ConfigurationError("API_LOGIN is not set"), None]

    def credentials() -> Credentials:
        problem = problems.pop(0)
        if problem:
            raise problem
        return A

    source = TokenSource(endpoint, credentials, time.clock)
    with pytest.raises(ConfigurationError, match="API_LOGIN is not set"):
        take(source)
    take(source)
    assert endpoint.tried == [A]


def test_failing_credentials_callable_is_named_without_its_message(endpoint: Endpoint, time: Time) -> None:
    """What it raised may hold a secret: the caller learns the kind only, also through the chain of causes."""

    def credentials() -> Credentials:
        raise OSError("canary-secret")

    source = TokenSource(endpoint, credentials, time.clock)
    with pytest.raises(ConfigurationError) as caught:
        take(source)
    assert str(caught.value) == "The credentials callable raised OSError. Call it by hand to see why."
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_credentials_callable_must_return_credentials(endpoint: Endpoint, time: Time) -> None:
    """A tuple is told from Credentials before anything is sent."""
    source = TokenSource(endpoint, lambda: ("fake", "fake"), time.clock)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError) as caught:
        take(source)
    what = "The credentials callable must be a plain function that returns kyc_client.Credentials."
    assert str(caught.value) == what
    assert endpoint.tried == []


def test_async_credentials_callable_is_refused_and_leaves_no_coroutine_behind(endpoint: Endpoint, time: Time) -> None:
    """It runs in a thread without a loop, so it has to be a plain function."""

    async def credentials() -> Credentials:
        raise AssertionError

    source = TokenSource(endpoint, credentials, time.clock)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="plain function"):
        take(source)


def test_credentials_callable_that_uses_its_own_client_is_told_so(endpoint: Endpoint, time: Time) -> None:
    """A10: it would wait for the login that waits for it."""
    source = TokenSource(endpoint, lambda: take(source) and A, time.clock)
    with pytest.raises(ConfigurationError, match="Give it a client of its own"):
        take(source)


def test_missing_credentials_do_not_disturb_a_token_that_works(endpoint: Endpoint, time: Time) -> None:
    """In the soft phase, a renewal without credentials fails unseen, and is not tried on every request."""
    asked = []

    def credentials() -> Credentials:
        asked.append(1)
        if len(asked) > 1:
            raise ConfigurationError("gone")
        return A

    source = TokenSource(endpoint, credentials, time.clock)
    old = take(source)
    time.advance(900)
    for _ in range(10):
        assert take(source) is old
        settle(source)
    assert len(asked) == 2


# After a 401


def test_rejected_token_is_dropped_by_generation_not_by_value(source: TokenSource, endpoint: Endpoint) -> None:
    """B1, B3: two logins in one second yield the same token; a late 401 for the first leaves the second alone."""
    twin = Grant("same-fake-token", None)
    endpoint.script = [twin]
    first = take(source)
    assert refused(source, first)
    second = take(source)
    assert second.token == first.token
    assert refused(source, first)
    assert source.fresh() is second


def test_stand_off_doubles_to_ten_seconds_and_ends_with_a_cure(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A login that does not cure: 401s are left alone for 1, 2, 4, 8, 10 s; the token stays meanwhile."""
    for delay in (1, 2, 4, 8, 10, 10):
        old = take(source)
        assert refused(source, old)
        new = take(source)
        assert not refused_anew(source, new)
        time.advance(delay - 0.01)
        assert not refused(source, new)
        assert source.fresh() is new
        time.advance(0.01)
    assert refused(source, new)
    cured = take(source)
    source.cured()
    assert refused(source, cured)
    worse = take(source)
    refused_anew(source, worse)
    time.advance(1)
    assert refused(source, worse)


def test_stand_off_counts_a_login_once_however_many_learn_of_it(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """Forty requests that waited for the same useless login make it 1 s, not 10 s."""
    lease = take(source)
    for _ in range(40):
        assert not refused_anew(source, lease)
    time.advance(1)
    assert refused(source, lease)


def test_late_401_for_a_token_that_a_request_had_waited_for(source: TokenSource, endpoint: Endpoint) -> None:
    """B1: by then there is a newer one: the request goes again with that, and no stand-off begins."""
    old = take(source)
    assert refused(source, old)
    new = take(source)
    assert refused_anew(source, old)
    assert source.fresh() is new
    assert refused(source, new)
    assert len(endpoint.tried) == 2


def test_401_in_a_cool_down_takes_the_token_from_nobody(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """F8: the call that met it fails as the login did; it does not cost the others a token that still serves them."""
    old = take(source)
    time.advance(830)
    endpoint.script = [Failure(LoginUnavailableError, "x", retry_after=100), endpoint.grant]
    assert take(source) is old
    settle(source)
    with pytest.raises(LoginUnavailableError) as caught:
        refused(source, old)
    assert (caught.value.cached, caught.value.retry_after) == (True, 100)
    assert not source.reject(old, since=math.inf, repeatable=False)
    assert take(source) is old
    assert len(endpoint.tried) == 2
    time.advance(100)
    assert refused(source, old)
    assert take(source) is not old


def test_newer_token_is_used_even_in_a_stand_off(source: TokenSource, time: Time) -> None:
    """A 401 for a token that has been replaced costs no login, so that nothing speaks against another try."""
    old = take(source)
    refused(source, old)
    new = take(source)
    refused_anew(source, new)
    assert refused(source, old)
    assert take(source) is new


def test_token_that_expired_on_the_way_is_not_held_against_the_login(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A long upload outlives a short token that it had waited for: that is no login without effect."""
    endpoint.lifetime = 3
    lease = take(source)
    time.advance(4)
    assert refused_anew(source, lease)
    assert take(source) is not lease


def test_token_from_a_login_begun_before_the_401_proves_nothing(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A renewal under way while all tokens are revoked: its token is refused too, and dropped, without a stand-off."""
    first = take(source)
    time.advance(900)
    renewed = take(source)
    settle(source)
    renewed = take(source)
    assert renewed is not first
    since = time.monotonic + 1
    assert source.reject(renewed, since=since, repeatable=True)
    assert take(source) is not renewed


def test_requests_that_can_not_be_repeated_drop_a_token_now_and_then_only(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A stream that is always refused: it never learns whether a login helps, so tokens are not dropped for each."""
    for delay in (1, 2, 4, 8, 10, 10):
        lease = take(source)
        assert not source.reject(lease, since=math.inf, repeatable=False)
        assert source.fresh() is None
        lease = take(source)
        time.advance(delay - 0.01)
        assert not source.reject(lease, since=math.inf, repeatable=False)
        assert source.fresh() is lease
        time.advance(0.01)
    source.cured()
    assert not source.reject(take(source), since=math.inf, repeatable=False)
    assert source.fresh() is None
    time.advance(1)
    assert not source.reject(take(source), since=math.inf, repeatable=False)
    assert source.fresh() is None


def test_request_that_can_be_repeated_is_mended_whatever_streams_do(source: TokenSource) -> None:
    """The hold on drops by streams holds nobody else back."""
    source.reject(take(source), since=math.inf, repeatable=False)
    lease = take(source)
    assert not source.reject(lease, since=math.inf, repeatable=False)
    assert refused(source, lease)
    assert take(source) is not lease


# Reset


def test_reset_forgets_token_refusals_and_cool_downs(source: TokenSource, endpoint: Endpoint) -> None:
    """After reset() the next call logs in, whatever there was before."""
    for failure in (BAD, UNAVAILABLE):
        endpoint.script = [failure]
        with pytest.raises(failure.kind):
            take(source)
        source.reset()
        endpoint.script = [endpoint.grant]
        lease = take(source)
        source.reset()
        assert take(source) is not lease
        source.reset()


@pytest.mark.parametrize("resets", [0, 2], ids=["first reset", "third reset"])
@pytest.mark.parametrize("first", ["success", "failure"])
def test_login_begun_before_a_reset_installs_nothing(
    source: TokenSource, endpoint: Endpoint, first: str, resets: int
) -> None:
    """B11: who waited for it gets its outcome; who comes after the reset waits for it to end, and logs in anew."""
    for _ in range(resets):
        source.reset()
    arrived, gate = threading.Event(), threading.Event()

    def slow() -> Any:
        arrived.set()
        gate.wait(10)
        return endpoint.grant() if first == "success" else BAD

    endpoint.script = [slow, endpoint.grant]
    results: dict[str, Any] = {}

    def run(name: str) -> None:
        try:
            results[name] = take(source)
        except BadCredentialsError as error:
            results[name] = error

    before = threading.Thread(target=run, args=("before",))
    before.start()
    arrived.wait(10)
    old_flight = source._flight
    source.reset()
    steps = source.acquire()
    assert next(steps) is old_flight
    assert len(endpoint.tried) == 1
    gate.set()
    before.join(10)
    assert source.fresh() is None
    after = wait_sync(steps)
    assert source.fresh() is after
    assert results["before"] is not after
    assert isinstance(results["before"], Lease) == (first == "success")
    if first == "failure":
        assert results["before"].retry_after == 0
    assert len(endpoint.tried) == 2


def test_start_over_forgets_everything_and_goes_by_the_other_clock(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """What kyc_client.testing does to a client of a service that keeps it: a cold start at another time."""
    old = take(source)
    other = Time()
    other.advance(5000)
    endpoint.time = other
    assert source.start_over(other.clock) is time.clock
    assert source.fresh() is None
    lease = take(source)
    assert lease is not old
    assert lease.began == other.monotonic
    assert endpoint.clocks == [time.clock, other.clock]
    assert source.fresh() is lease
    other.wall += 5000
    assert source.fresh() is None


def test_start_over_ends_the_login_under_way(source: TokenSource, endpoint: Endpoint) -> None:
    """Its attempt is closed, no further one is made, and it tells nobody; when that returns, its thread has ended."""
    closed = threading.Event()

    def attempt(credentials: Credentials, *, opened: Callable[..., Any], **_: Any) -> Failure:
        endpoint.tried.append(credentials)
        opened(closed.set)
        closed.wait(10)
        return UNAVAILABLE

    endpoint.attempt = attempt  # type: ignore[method-assign]
    steps = source.acquire()
    flight = next(steps)
    while not endpoint.tried:
        flight.ended.wait(0.002)
    source.start_over()
    assert flight.login_thread is not None
    assert not flight.login_thread.is_alive()
    assert len(endpoint.tried) == 1
    assert source._flight is None
    with pytest.raises(LoginUnavailableError, match="interrupted"):
        wait_sync(steps)


def test_start_over_does_not_wait_for_what_cannot_be_ended(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt that ignores that it is closed, as one over a transport of the caller's may, is left to itself."""
    monkeypatch.setattr(flight_module, "_GRACE", 0.01)
    begun, gate = threading.Event(), threading.Event()

    def stuck() -> Failure:
        begun.set()
        gate.wait()
        return UNAVAILABLE

    endpoint.script = [stuck, endpoint.grant]
    next(source.acquire())
    assert begun.wait(10)
    source.start_over()
    take(source)
    gate.set()


def test_start_over_before_the_login_has_begun(source: TokenSource, endpoint: Endpoint) -> None:
    """A login whose thread has not come so far yet finds out by itself, and its outcome is nobody's."""
    flight = source._flight = Flight(source._epoch, 0.0, math.inf, reason="cold")
    source.start_over()
    assert flight.landed
    source._fly(flight)
    assert source.fresh() is None


def test_reset_ends_a_stand_off(source: TokenSource) -> None:
    """An operator who knows better: the next 401 is mended by a login again."""
    refused_anew(source, take(source))
    assert not refused(source, take(source))
    source.reset()
    assert refused(source, take(source))


def test_jitter_of_a_token_is_chance(endpoint: Endpoint) -> None:
    """F9: processes that log in together have each their own, from a generator that is seeded anew after a fork."""
    ends = set()
    for chance in (0.0, 0.25, 0.75):
        time = endpoint.time = Time()
        time.random = chance
        ends.add(take(TokenSource(endpoint, lambda: A, time.clock)).fresh_until_monotonic)
    assert len(ends) == 3
    assert Clock().random is random.random


def test_backoff_begins_anew_after_a_long_time() -> None:
    """Revocations a week apart are not in a row, also for a service whose requests never tell whether logins help."""
    backoff = Backoff(1, 10)
    for now in (0, 100, 200):
        backoff.extend(now)
        assert backoff.until == now + 1
    backoff.extend(211)
    assert backoff.until == 211 + 2


def test_sources_in_use_are_known(source: TokenSource) -> None:
    """Those that are not have gone with their last user."""
    assert source in flight_module.living_sources()


# Threads


def test_deadline_ends_the_wait_of_all_and_the_attempt(time: Time) -> None:
    """A14: an attempt that never ends: after the deadline everybody gets the error, and the attempt is closed."""
    closed = threading.Event()

    class Stuck(Endpoint):
        def attempt(self, credentials: Credentials, *, opened: Any, **_: Any) -> Any:
            opened(closed.set)
            closed.wait(10)
            return UNAVAILABLE

    source = TokenSource(Stuck(time), lambda: A, time.clock, deadline=0.05)
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert str(caught.value).startswith(
        "The login was not completed within 0.05 s. Try again later; check the network."
    )
    assert closed.wait(10)


def test_logins_get_rare_when_they_hang_for_good(time: Time) -> None:
    """Each hanging login keeps a thread: with more than eight, a quarter of an hour apart; a forked child has none."""
    gate = threading.Event()

    def credentials() -> Credentials:
        gate.wait(30)
        return A

    source = TokenSource(Endpoint(time), credentials, time.clock, deadline=0.01)
    pauses = []
    for _ in range(9):
        with pytest.raises(LoginUnavailableError) as caught:
            take(source)
        pauses.append(caught.value.retry_after)
        time.advance(pauses[-1])
    hanging = list(source._hanging)
    assert len(hanging) == 9
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 900]
    flight_module._after_fork_in_child()
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert caught.value.retry_after == 30
    time.advance(30)
    gate.set()
    for thread in hanging:
        thread.join(10)
    source.reset()
    # These seconds are real: a busy machine needs more than what has ended the others.
    source._deadline = 20.0
    take(source)


def test_flight_that_nobody_flies_is_flown_by_who_waits_for_it(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A6: whoever was to start its thread was interrupted; a second later another caller starts it."""
    left = source._flight = Flight(0, time.monotonic, 20, reason="cold")
    steps = source.acquire()
    assert next(steps) is left
    assert not left.pilot.locked()
    time.advance(1.1)
    assert wait_sync(steps) is source.fresh()
    assert endpoint.tried == [A]


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_task_waits_no_longer_for_it_than_a_thread(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, loops: Asyncio | Trio
) -> None:
    """Likewise in async code, by a real clock."""
    monkeypatch.setattr(flight_module, "_GRACE", 0.05)
    clock = Clock()
    source = TokenSource(endpoint, lambda: A, clock)
    source._flight = Flight(0, clock.monotonic(), 20, reason="cold")
    lease = loops.run(lambda: wait_async(source.acquire(runner=runner_of_this_task)))
    assert lease is source.fresh()
    assert endpoint.tried == [A]


def test_renewal_that_nobody_flies_is_flown_by_the_next_call(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """Likewise in the soft phase, in which nobody waits for it."""
    old = take(source)
    time.advance(830)
    source._flight = Flight(0, time.monotonic, 20, reason="renewal")
    assert take(source) is old
    assert len(endpoint.tried) == 1
    time.advance(1.1)
    assert take(source) is old
    settle(source)
    assert source.fresh() is not old
    assert len(endpoint.tried) == 2


def test_flight_whose_thread_has_died_is_given_up_after_the_deadline(source: TokenSource, time: Time) -> None:
    """Rule 2: a caller lands it a second later, and logins go on."""
    dead = source._flight = Flight(0, time.monotonic, 20, reason="cold")
    dead.pilot.acquire()
    time.advance(20.9)
    assert next(source.acquire()) is dead
    assert not dead.landed
    time.advance(0.2)
    with pytest.raises(LoginUnavailableError, match="not completed within 20 s"):
        take(source)
    assert dead.landed
    time.advance(1)
    assert take(source) is source.fresh()


def test_flight_has_one_pilot(source: TokenSource, endpoint: Endpoint) -> None:
    """However often it is started, it logs in once."""
    lease = take(source)
    flight = Flight(0, 0.0, math.inf, reason="cold")
    for _ in range(3):
        source._fly(flight)
    assert len(endpoint.tried) == 2
    assert source.fresh() is not lease


def test_threads_of_a_login_have_a_name_and_keep_no_process_alive(endpoint: Endpoint, time: Time) -> None:
    """A login shows in a stack dump as what it is, and neither it nor its timer is waited for at the exit."""
    before = set(threading.enumerate())
    during: list[threading.Thread] = []

    def credentials() -> Credentials:
        during.extend(set(threading.enumerate()) - before)
        return A

    take(TokenSource(endpoint, credentials, time.clock))
    assert [thread.name for thread in during if not isinstance(thread, threading.Timer)] == ["kyc-client-login"]
    assert len(during) == 2
    assert all(thread.daemon for thread in during)


def test_credentials_callable_that_uses_the_client_itself_is_told_so(endpoint: Endpoint, time: Time) -> None:
    """It would wait for the very login that waits for it; the message says what to do instead."""
    source = TokenSource(endpoint, lambda: take(source) and A, time.clock)
    with pytest.raises(ConfigurationError) as caught:
        take(source)
    assert str(caught.value) == (
        "What runs in the middle of this client's login (its credentials callable, its on_event or its transport) uses "
        "the client itself. Give it a client of its own."
    )
    assert endpoint.tried == []


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_thread_that_cannot_be_started_now_is_started_by_the_next_caller(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    """A6: Ctrl-C before the thread of a login is there reaches the caller, and nobody else learns of it."""

    def start(self: threading.Thread) -> None:
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(flight_module.threading.Thread, "start", start)
        with pytest.raises(interrupt):
            take(source)
    assert take(source) is source.fresh()
    assert endpoint.tried == [A]


def interrupt_at_line(number: int, source: TokenSource) -> bool:
    """Take a token, and be interrupted at that line of what starts a login; False if there are not so many."""
    code = {function.__code__ for function in (TokenSource.acquire, TokenSource._next_step, TokenSource._launch)}
    # Python itself does not cope with an interruption within `Thread.start()`, which other tests stand in for.
    code |= {Flight.__init__.__code__, threading.Thread.__init__.__code__}
    seen: set[tuple[types.CodeType, int]] = set()

    def trace(frame: types.FrameType, event: str, _: object) -> Any:
        if frame.f_code not in code:
            return None
        # Not where a `with` ends, which is its line once more: there Python lets no signal in before the lock is free.
        if event == "line" and (line := (frame.f_code, frame.f_lineno)) not in seen:
            seen.add(line)
            if len(seen) == number:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        take(source)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_interruption_at_any_line_blocks_nobody() -> None:
    """A5, A6: wherever Ctrl-C hits the caller that starts a login, the next caller gets a token of at most one more."""
    for number in itertools.count(1):
        time = Time()
        endpoint = Endpoint(time)
        source = TokenSource(endpoint, lambda: A, time.clock)
        if not interrupt_at_line(number, source):
            break
        time.advance(1.1)
        assert take(source) is source.fresh()
        assert len(endpoint.tried) == 1
    assert number > 20


def test_error_of_a_signal_handlers_is_not_taken_for_a_lack_of_threads(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft time limit may be a RuntimeError, and hit while the thread, which is there, says that it is."""

    def start(self: threading.Thread) -> None:
        begin(self)
        raise RuntimeError("fake soft time limit")

    begin = threading.Thread.start
    with monkeypatch.context() as patch:
        patch.setattr(flight_module.threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="soft time limit"):
            take(source)
    assert take(source) is source.fresh()
    assert len(endpoint.tried) == 1


def test_login_that_needs_what_its_waiter_has_interrupted_ends(endpoint: Endpoint) -> None:
    """A call in a signal handler, in the middle of what the lock guards, waits for what waits for it: not for ever."""
    source = TokenSource(endpoint, lambda: A, Clock(), deadline=0.05)
    with source._lock, pytest.raises(LoginUnavailableError, match="not completed within"):
        take(source)


def test_call_in_a_signal_handler_does_not_wait_for_its_own_thread(source: TokenSource) -> None:
    """A handler, or a finalizer, may make a call in the middle of the lines that the lock guards."""
    lease = take(source)
    with source._lock:
        assert wait_sync(source.acquire()) is lease
        assert not source.reject(lease, since=lease.began, repeatable=True)


def test_attempt_that_opens_after_the_deadline_is_closed_at_once() -> None:
    """The deadline may pass between two attempts; the next connection is not left open."""
    flight = Flight(0, 0.0, math.inf, reason="cold")
    flight.close()
    flight.landed = True
    closed = threading.Event()
    flight.opened(closed.set)
    assert closed.is_set()


def test_trouble_in_closing_an_attempt_is_nobodys(time: Time) -> None:
    """A connection that another thread reads from may not like to be closed."""
    flight = Flight(0, 0.0, math.inf, reason="cold")
    flight.landed = True

    def close() -> None:
        raise OSError("fake trouble")

    flight.opened(close)


def test_late_outcome_after_the_deadline_is_ignored(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """The first outcome of a flight counts: all who waited have gone with it."""
    flight = Flight(0, 0.0, math.inf, reason="cold")
    source._land(flight, UNAVAILABLE)
    source._land(flight, Lease("late-fake-token", issued_at=None, monotonic=0, wall=0, jitter=0))
    assert source.fresh() is None


def test_deadline_after_the_landing_ends_nothing(source: TokenSource) -> None:
    """A timer that fires too late leaves the connection alone, which may be somebody else's by now."""
    flight = Flight(0, 0.0, math.inf, reason="cold")
    closed: list[int] = []
    flight.opened(lambda: closed.append(1))
    source._land(flight, UNAVAILABLE)
    source._time_out(flight)
    assert closed == []


def test_fault_of_ours_ends_the_flight_and_is_named(source: TokenSource, endpoint: Endpoint) -> None:
    """A6: whatever an attempt raises, nobody waits for ever, and the next login starts afresh after the cool-down."""

    def fault() -> Any:
        raise ZeroDivisionError("canary-secret")

    endpoint.script = [fault]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    what = "The login ended in an unexpected ZeroDivisionError. Try again later, and please report it."
    assert str(caught.value) == what
    assert source._flight is None


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the interpreter's shutdown, or when the system has no more of them."""

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(flight_module.threading.Thread, "start", start)


@pytest.mark.usefixtures("no_threads")
def test_login_runs_inline_when_no_thread_can_start(source: TokenSource, endpoint: Endpoint) -> None:
    """The caller does it itself, and does not need the loop that this blocks."""

    def never(*_: Any) -> Any:
        raise AssertionError

    endpoint.needs_loop = True
    wait_sync(source.acquire(runner=lambda: never))
    assert endpoint.ways == [run_on_private_loop]


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupted_inline_login_leaves_no_flight_behind(
    source: TokenSource, endpoint: Endpoint, time: Time, interrupt: type[BaseException]
) -> None:
    """A6: Ctrl-C reaches the caller, and the next call is not stuck behind a login that nobody flies."""

    def stop() -> Any:
        raise interrupt

    endpoint.script = [stop, endpoint.grant]
    with pytest.raises(interrupt):
        take(source)
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    what = "The login was interrupted. Try again. (Known from an earlier login; the next one is tried in 1 s.)"
    assert str(caught.value) == what
    time.advance(1)
    take(source)
    assert len(endpoint.tried) == 2


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
def test_login_sees_no_callers_context(
    endpoint: Endpoint, time: Time, request: pytest.FixtureRequest, *, inline: bool
) -> None:
    """A16: a context variable of the caller who happens to be the first is not seen in the login, which is for all."""
    if inline:
        request.getfixturevalue("no_threads")
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen = []

    def credentials() -> Credentials:
        seen.append(tenant.get())
        return A

    source = TokenSource(endpoint, credentials, time.clock)
    tenant.set("first caller")
    take(source)
    assert seen == ["nobody"]


def test_login_in_flight_at_a_fork_is_forgotten_in_the_child_and_the_token_kept(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """I1: what the hook for forked children does, here without a fork: a new lock, no flight, the token as before."""
    lease = take(source)
    time.advance(900)
    arrived, gate = threading.Event(), threading.Event()

    def slow() -> Any:
        arrived.set()
        return gate.wait(10) and endpoint.grant()

    endpoint.script = [slow, endpoint.grant]
    assert take(source) is lease
    assert arrived.wait(10)
    lost = source._flight
    with source._lock:
        flight_module._after_fork_in_child()
        assert source._flight is None
        assert take(source) is lease
    settle(source)
    assert source.fresh() is not lease
    gate.set()
    assert lost is not None
    lost.future.result(10)


def test_waiters_share_one_failing_login_and_get_errors_of_their_own(source: TokenSource, endpoint: Endpoint) -> None:
    """Ten waiters on a failing login cost one login, and no two of them raise the same object."""
    gate = threading.Event()
    endpoint.script = [lambda: gate.wait(10) and BAD]
    waiting = threading.Barrier(11)
    errors: list[BaseException] = []

    def wait() -> None:
        steps = source.acquire()
        flight = next(steps)
        waiting.wait(10)
        flight.future.result(10)
        try:
            wait_sync(steps)
        except BadCredentialsError as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert len({id(error) for error in errors}) == 10
    assert len(endpoint.tried) == 1
