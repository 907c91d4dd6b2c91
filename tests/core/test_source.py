"""`TokenSource`, `Flight` and `Login` with real threads, an endpoint without a network, and a clock that stands still.

What is remembered, and what follows from it, is the policy's: `test_policy` has the tables. Interruptions at every line
are in `test_interruption`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from kyc_client import BadCredentialsError, ConfigurationError, Credentials, LoginResponseError, LoginUnavailableError
from kyc_client._clock import Clock
from kyc_client._login.connection import make_connection
from kyc_client._login.endpoint import LoginEndpoint
from kyc_client._login.outcome import Failure, Grant
from kyc_client._login.raised import Raised
from kyc_client._token import flight as flight_module
from kyc_client._token import source as source_module
from kyc_client._token.flight import GRACE, Flight
from kyc_client._token.lease import Phase
from kyc_client._token.reporter import Reporter
from kyc_client._token.source import TokenSource, wait_sync
from kyc_client.events import LoginFailed, LoginStarted, LoginSucceeded
from kyc_client.testing._sources import living_sources, start_over
from tests.core.test_secret import CANARY, rendered
from tests.support.clocks import Time
from tests.support.endpoint import PATIENCE, WAYS, A, B, Caller, Endpoint, Gate, crowd, settle, take
from tests.support.events import Heard

if TYPE_CHECKING:
    from collections.abc import Callable

UNAVAILABLE = Failure(LoginUnavailableError, "The login was answered 503.", {"status_code": 503})
UNUSABLE = Failure(LoginResponseError, "No token.", {"status_code": 200})
BAD = Failure(BadCredentialsError, "Wrong.", {"status_code": 400, "code": "LOGIN_BAD_CREDENTIALS"})


@pytest.fixture
def time() -> Time:
    """A clock that stands still."""
    return Time()


@pytest.fixture
def endpoint(time: Time) -> Endpoint:
    """An endpoint that issues tokens of 1000 s: soft from 820 s on, hard from 970 s on."""
    return Endpoint(time)


@pytest.fixture
def source(endpoint: Endpoint, time: Time) -> TokenSource:
    """The unit."""
    return TokenSource(endpoint, lambda: A, time.clock)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be started any more: the interpreter shuts down, or the system has no more of them."""
    monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))


def raising(error: BaseException) -> Callable[..., Any]:
    """A function that raises this."""

    def function(*_: Any, **__: Any) -> Any:
        raise error

    return function


# The hot path


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_hot_path_agrees_with_the_policy(source: TokenSource, time: Time, clock: str) -> None:
    """It does not ask for the phase. By either clock alone, a token stops being fresh at the same moment for both."""
    lease = take(source)
    setattr(time, clock, getattr(lease.fresh_until, clock))
    assert lease.phase(time.clock.now()) is Phase.SOFT
    assert source.fresh() is None
    setattr(time, clock, getattr(time, clock) - 0.01)
    assert source.fresh() is lease


# Single flight


def test_one_login_for_all(source: TokenSource, endpoint: Endpoint) -> None:
    """A1, A2: threads and tasks of asyncio and trio wait for one login, and get its token."""
    gate = Gate(endpoint.grant)
    endpoint.script = [gate]
    callers = crowd(source, 9)
    gate.opened.set()
    assert {caller.lease() for caller in callers} == {source.fresh()}
    assert len(endpoint.tried) == 1


def test_no_one_waits_for_a_renewal_in_the_soft_phase(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """While a renewal takes its time, requests use the old token and start no second one."""
    old = take(source)
    time.advance(900)
    gate = Gate(endpoint.grant)
    endpoint.script = [gate]
    assert [take(source) for _ in range(20)] == [old] * 20
    assert gate.arrived.wait(PATIENCE)
    gate.opened.set()
    settle(source)
    assert take(source) is not old
    assert len(endpoint.tried) == 2


def test_renewal_under_way_serves_those_who_need_another_token(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """A 401 during a renewal drops the token, and waits for this renewal instead of a second login."""
    old = take(source)
    time.advance(900)
    gate = Gate(endpoint.grant)
    endpoint.script = [gate]
    assert take(source) is old
    assert source.rejected(old)
    callers = [Caller(source, way, other_than=old) for way in WAYS]
    assert all(caller.waits.wait(PATIENCE) for caller in callers)
    gate.opened.set()
    assert {caller.lease() for caller in callers} == {source.fresh()}
    assert len(endpoint.tried) == 2


@pytest.mark.parametrize("failure", [UNAVAILABLE, UNUSABLE, BAD], ids=lambda failure: failure.kind.__name__)
def test_failure_is_shared_with_fresh_errors(source: TokenSource, endpoint: Endpoint, failure: Failure) -> None:
    """A4: all who wait for a failing login get its error, and no two of them the same object."""
    gate = Gate(failure)
    endpoint.script = [gate, failure]
    callers = crowd(source)
    gate.opened.set()
    errors = [caller.error() for caller in callers]
    assert {type(error) for error in errors} == {failure.kind}
    assert len({id(error) for error in errors}) == 6
    assert [error.cached for error in errors if isinstance(error, failure.kind)] == [False] * 6
    attempts = 3 if failure is UNAVAILABLE else 1
    assert len(endpoint.tried) == attempts
    with pytest.raises(failure.kind) as caught:
        take(source)
    assert caught.value.cached
    assert len(endpoint.tried) == attempts


@pytest.mark.parametrize(
    "original", [AssertionError("not mocked"), pytest.fail.Exception("no call expected")], ids=repr
)
def test_tests_own_word_reaches_every_waiter_as_a_copy(
    source: TokenSource, endpoint: Endpoint, original: BaseException
) -> None:
    """What respx or `pytest.fail` raises in a transport is raised at once in every caller, and is not remembered."""
    gate = Gate(Raised(original))
    endpoint.script = [gate, endpoint.grant]
    callers = crowd(source)
    gate.opened.set()
    errors = [caller.error() for caller in callers]
    assert {(type(error), str(error)) for error in errors} == {(type(original), str(original))}
    assert len({id(error) for error in [*errors, original]}) == 7
    assert len(endpoint.tried) == 1
    take(source)


# Everyone who has waited looks again


def landed_and_not_yet_noticed(source: TokenSource, **acquire: Any) -> Any:
    """The steps of a caller whose login has landed, and who has not woken yet."""
    steps = source.acquire(**acquire)
    next(steps).future.result(PATIENCE)
    return steps


@pytest.mark.parametrize("what", ["dropped", "expired"])
def test_token_that_is_gone_when_a_waiter_wakes(source: TokenSource, endpoint: Endpoint, time: Time, what: str) -> None:
    """B1, F6: a waiter that wakes late never uses a dropped or expired token. It waits for another login."""
    steps = landed_and_not_yet_noticed(source)
    old = source.fresh()
    assert old is not None
    if what == "dropped":
        assert source.rejected(old)
    else:
        time.advance(1000)
    lease = wait_sync(steps)
    assert lease is not old
    assert lease is source.fresh()
    assert len(endpoint.tried) == 2


def test_waiter_uses_the_newest_token(source: TokenSource, endpoint: Endpoint) -> None:
    """Its login brought another one, which has been replaced before it woke."""
    steps = landed_and_not_yet_noticed(source)
    old = source.fresh()
    assert old is not None
    source.rejected(old)
    newest = take(source)
    assert wait_sync(steps) is newest
    assert len(endpoint.tried) == 2


def test_waiter_of_a_failed_login_uses_a_token_that_came_meanwhile(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """Its login failed, and the next one succeeded before it woke."""
    endpoint.script = [UNUSABLE, endpoint.grant]
    steps = landed_and_not_yet_noticed(source)
    time.advance(1)
    newer = take(source)
    assert wait_sync(steps) is newer


def test_waiter_never_gets_the_token_that_was_refused_to_it(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """B2: the token stays for others, because a login is known to be pointless. This request gets the refusal."""
    old = take(source)
    time.advance(850)
    endpoint.script = [BAD]
    take(source)
    settle(source)
    time.advance(1)
    assert source.rejected(old)
    with pytest.raises(BadCredentialsError):
        wait_sync(source.acquire(other_than=old))
    assert take(source) is old


@pytest.mark.parametrize("first", ["success", "failure"])
def test_login_begun_before_a_reset(source: TokenSource, endpoint: Endpoint, first: str) -> None:
    """B11: it installs nothing. Who waited for it, and who comes after the reset, log in again together."""
    gate = Gate(endpoint.grant if first == "success" else BAD)
    second = Gate(endpoint.grant)
    endpoint.script = [gate, second]
    before = crowd(source)
    source.reset()
    after = crowd(source)
    assert len(endpoint.tried) == 1
    gate.opened.set()
    assert second.arrived.wait(PATIENCE)
    assert source.status()[:3] == ("none", None, None)
    second.opened.set()
    assert {caller.lease() for caller in before + after} == {source.fresh()}
    assert len(endpoint.tried) == 2


# Attempts, pauses and the deadline


def test_unavailable_login_is_tried_three_times_with_full_jitter(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """E12: pauses of chance * 0.5 s and chance * 1 s, then the error."""
    endpoint.script = [UNAVAILABLE]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert time.pauses == [0.25, 0.5]
    assert len(endpoint.tried) == 3
    assert (caught.value.status_code, caught.value.cached, caught.value.retry_after) == (503, False, 1.0)


def test_login_that_recovers_within_its_attempts(source: TokenSource, endpoint: Endpoint) -> None:
    """A passing fault is not noticed."""
    endpoint.script = [UNAVAILABLE, UNAVAILABLE, endpoint.grant]
    assert take(source) is source.fresh()
    assert len(endpoint.tried) == 3


@pytest.mark.parametrize(
    "failure", [UNUSABLE, BAD, Raised(AssertionError("not mocked"))], ids=lambda failure: failure.kind.__name__
)
def test_other_failures_are_not_tried_again(source: TokenSource, endpoint: Endpoint, failure: Any) -> None:
    """A second attempt would get the same answer."""
    endpoint.script = [failure]
    with pytest.raises(failure.kind):
        take(source)
    assert len(endpoint.tried) == 1


@pytest.mark.parametrize(
    ("retry_after", "attempts", "pauses", "cooldown"),
    [
        pytest.param(None, 3, [0.25, 0.5], 1, id="none"),
        pytest.param(0.0, 3, [0.25, 0.5], 1, id="at once, but not without a pause"),
        pytest.param(0.3, 3, [0.3, 0.5], 1, id="shorter than a pause"),
        pytest.param(7.0, 3, [7, 7], 7, id="fits into the deadline twice"),
        pytest.param(15.0, 2, [15], 15, id="fits once"),
        pytest.param(20.0, 1, [], 20, id="leaves no time for an attempt"),
        pytest.param(25.0, 1, [], 25, id="does not fit"),
        pytest.param(900.0, 1, [], 900, id="fifteen minutes"),
    ],
)
def test_retry_after(
    source: TokenSource,
    endpoint: Endpoint,
    time: Time,
    retry_after: float | None,
    attempts: int,
    pauses: list[float],
    cooldown: float,
) -> None:
    """E13: the login waits for it if it fits into its 20 s. Otherwise it fails now, and the cool-down is that long."""
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


def test_no_attempt_after_the_deadline(endpoint: Endpoint, time: Time) -> None:
    """A pause may end late. Then the login ends with what its last attempt brought."""

    def pause_too_long(_: threading.Event, seconds: float) -> bool:
        time.advance(seconds + 19.75)
        return False

    clock = Clock(monotonic=time.clock.monotonic, wall=time.clock.wall, random=time.clock.random, pause=pause_too_long)
    source = TokenSource(endpoint, lambda: A, clock)
    endpoint.script = [UNAVAILABLE]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    assert caught.value.status_code == 503
    assert endpoint.within == [20]


def test_no_attempt_after_landing(endpoint: Endpoint, time: Time) -> None:
    """The deadline may pass in a pause, which then ends at once. The real clock's pause waits for that event."""
    paused, ends = threading.Event(), list[bool]()

    def pause(ended: threading.Event, _: float) -> bool:
        paused.set()
        ends.append(ended.wait(PATIENCE))
        return ends[-1]

    clock = Clock(monotonic=time.clock.monotonic, wall=time.clock.wall, random=time.clock.random, pause=pause)
    source = TokenSource(endpoint, lambda: A, clock)
    endpoint.script = [UNAVAILABLE]
    steps = source.acquire()
    flight = next(steps)
    assert paused.wait(PATIENCE)
    source._end(flight)
    assert flight.thread is not None
    flight.thread.join(PATIENCE)
    assert not flight.thread.is_alive()
    assert ends == [True]
    assert len(endpoint.tried) == 1


def test_credentials_that_come_after_the_deadline(endpoint: Endpoint, time: Time) -> None:
    """E4: no attempt is made with them, and no event tells of a start after the failure."""
    gate, heard = Gate(A), Heard()
    source = TokenSource(endpoint, gate, time.clock, deadline=0.05, reporter=Reporter("", heard))
    steps = source.acquire()
    flight = next(steps)
    flight.future.result(PATIENCE)
    with pytest.raises(LoginUnavailableError, match="not completed within"):
        next(steps)
    heard.wait(1)
    gate.opened.set()
    assert flight.thread is not None
    flight.thread.join(PATIENCE)
    assert not flight.thread.is_alive()
    assert endpoint.tried == []
    assert [type(event) for event in heard] == [LoginFailed]


def test_jitter_of_a_token_is_chance(endpoint: Endpoint) -> None:
    """F9: processes that log in together do not renew together."""
    ends = set()
    for chance in (0.0, 0.25, 0.75):
        time = endpoint.time = Time()
        time.random = chance
        ends.add(take(TokenSource(endpoint, lambda: A, time.clock)).fresh_until)
    assert len(ends) == 3


def test_life_of_a_token_counts_from_the_start_of_its_attempt(
    source: TokenSource, endpoint: Endpoint, time: Time
) -> None:
    """F3: not from its end, and not from the start of the login, whose first attempts may have taken long."""

    def slow() -> Grant:
        grant = endpoint.grant()
        time.advance(3)
        return grant

    endpoint.script = [Failure(LoginUnavailableError, "429.", {}, 15.0), slow]
    assert take(source).seconds_left(time.clock.now()) == 997


# Where the credentials come from


def test_credentials_are_asked_for_once_a_second_and_not_sent_again(endpoint: Endpoint, time: Time) -> None:
    """G2: a remembered refusal costs no login and no event. Corrected credentials work after a second."""
    current, asked, heard = [A], list[int](), Heard()

    def credentials() -> Credentials:
        asked.append(1)
        return current[0]

    source = TokenSource(endpoint, credentials, time.clock, reporter=Reporter("", heard))
    endpoint.script = [BAD, endpoint.grant]
    for _ in range(5):
        for cached in (False, *[True] * 9):
            with pytest.raises(BadCredentialsError) as caught:
                take(source)
            assert caught.value.cached == (cached or len(asked) > 1)
        time.advance(1)
    assert len(asked) == 5
    current[0] = B
    take(source)
    heard.wait(4)
    assert [type(event) for event in heard] == [LoginStarted, LoginFailed, LoginStarted, LoginSucceeded]
    assert endpoint.tried == [A, B]


def test_configuration_error_is_not_remembered(endpoint: Endpoint, time: Time) -> None:
    """E3: nothing was sent. The next call tries again at once, and works once the cause is gone."""
    problems: list[Exception] = [ConfigurationError("API_LOGIN is not set")]
    source = TokenSource(endpoint, lambda: raising(problems.pop())() if problems else A, time.clock)
    with pytest.raises(ConfigurationError, match="API_LOGIN is not set"):
        take(source)
    take(source)
    assert endpoint.tried == [A]


def test_missing_credentials_do_not_disturb_a_token_that_works(endpoint: Endpoint, time: Time) -> None:
    """In the soft phase, a renewal without credentials fails unseen, and is not tried for every request."""
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


def test_failing_credentials_callable_is_named_without_its_message(endpoint: Endpoint, time: Time) -> None:
    """Its message may hold a secret. The caller learns the class only, and no frame or cause of it."""
    source = TokenSource(endpoint, raising(OSError(CANARY)), time.clock)
    with pytest.raises(ConfigurationError) as caught:
        take(source)
    assert str(caught.value) == "The credentials callable raised OSError. Call it by hand to see why."
    assert CANARY not in rendered(caught.value)


def test_tests_own_word_in_the_credentials_callable(endpoint: Endpoint, time: Time) -> None:
    """`pytest.fail` in a credentials callable reaches the caller."""
    source = TokenSource(endpoint, raising(pytest.fail.Exception("not to be called")), time.clock)
    with pytest.raises(pytest.fail.Exception, match="not to be called"):
        take(source)


def test_credentials_callable_must_return_credentials(endpoint: Endpoint, time: Time) -> None:
    """A tuple is refused before anything is sent."""
    source = TokenSource(endpoint, lambda: ("fake", "fake"), time.clock)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError) as caught:
        take(source)
    what = "The credentials callable must be a plain function that returns kyc_client.Credentials."
    assert str(caught.value) == what
    assert endpoint.tried == []


def test_async_credentials_callable_is_refused(endpoint: Endpoint, time: Time) -> None:
    """The login's thread has no loop. No coroutine is left that was never awaited, which would be a warning here."""

    async def credentials() -> Credentials:
        raise AssertionError

    source = TokenSource(endpoint, credentials, time.clock)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="plain function"):
        take(source)


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
@pytest.mark.parametrize("where", ["credentials", "transport"])
def test_code_in_the_login_that_uses_the_client_itself(
    endpoint: Endpoint, time: Time, request: pytest.FixtureRequest, where: str, *, inline: bool
) -> None:
    """A10: it would wait for the login that waits for it. The message says what to do instead."""
    if inline:
        request.getfixturevalue("no_threads")
    found: list[str] = []

    def use() -> None:
        with pytest.raises(ConfigurationError) as caught:
            take(source)
        found.append(str(caught.value))

    def grant() -> Grant:
        use()
        return endpoint.grant()

    if where == "transport":
        endpoint.script = [grant]
    source = TokenSource(endpoint, lambda: use() or A if where == "credentials" else A, time.clock)
    take(source)
    what = "Code that runs during this client's login (its credentials callable, its on_event or its transport) uses "
    assert found == [f"{what}the client itself. Give that code a client of its own."]


# The watch


def test_deadline_ends_the_wait_of_all_and_the_attempt(endpoint: Endpoint, time: Time) -> None:
    """A14: an attempt that never ends. At the deadline everyone gets the error, and the attempt is closed."""
    closed = threading.Event()

    def stuck() -> Failure:
        assert endpoint.on_open is not None
        endpoint.on_open(closed.set)
        closed.wait(PATIENCE)
        return UNAVAILABLE

    endpoint.script = [stuck]
    source = TokenSource(endpoint, lambda: A, time.clock, deadline=0.2)
    errors = [caller.error() for caller in crowd(source)]
    assert {type(error) for error in errors} == {LoginUnavailableError}
    assert {str(error) for error in errors} == {
        "The login was not completed within 0.2 s. Try again later; check the network."
    }
    assert closed.wait(PATIENCE)
    assert len(endpoint.tried) == 1


def unflown(source: TokenSource, seconds: float = 20.0) -> Flight:
    """A login that nobody flies: whoever was to start it was interrupted."""
    source._flight = Flight(source._clock, seconds, 0, "cold")
    return source._flight


def test_login_that_nobody_ends_is_ended_by_who_waits(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """A6: the watch is late, but the process ran. Those who have waited get the time-out."""
    lost = unflown(source)
    steps = source.acquire()
    assert next(steps) is lost
    time.advance(20 + GRACE)
    with pytest.raises(LoginUnavailableError, match="not completed within 20 s"):
        next(steps)
    time.advance(1)
    take(source)
    assert endpoint.tried == [A]


def test_deadline_that_passed_while_nobody_ran(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """A later watch than that: the process stood still. Who waited and who comes now get a login together."""
    lost = unflown(source)
    steps = source.acquire()
    assert next(steps) is lost
    time.advance(20 + GRACE + 0.1)
    assert take(source) is source.fresh()
    assert wait_sync(steps) is source.fresh()
    assert endpoint.tried == [A]


def test_renewal_during_which_nobody_ran(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """In the soft phase no one waits for it. The next request ends it, and starts another one."""
    old = take(source)
    time.advance(830)
    unflown(source)
    time.advance(20 + GRACE)
    assert take(source) is old
    assert len(endpoint.tried) == 1
    time.advance(0.1)
    assert take(source) is old
    settle(source)
    assert source.fresh() is not old
    assert len(endpoint.tried) == 2


def test_failure_after_standing_still_is_silent(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """The attempt that failed because the process was frozen fails no one. A token that came late is used."""

    def freeze() -> Failure:
        time.advance(100)
        return UNAVAILABLE

    endpoint.script = [freeze, endpoint.grant]
    assert take(source) is source.fresh()
    assert source.status().failed_logins == 0
    assert len(endpoint.tried) == 2
    source.reset()
    endpoint.script = [lambda: freeze() and endpoint.grant()]
    assert take(source) is source.fresh()
    assert len(endpoint.tried) == 3


@pytest.mark.parametrize("way", WAYS)
def test_login_that_nobody_ends_is_ended_in_every_colour(
    source: TokenSource, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A6: a caller waits for a login that nobody flies or watches, but only a little longer than its deadline."""
    monkeypatch.setattr(flight_module, "GRACE", 0.02)
    lost = unflown(source, 0.02)
    caller = Caller(source, way)
    assert isinstance(caller.error(), LoginUnavailableError)
    assert lost.has_landed


def test_seconds_to_wait(time: Time) -> None:
    """A caller waits until a moment after the deadline, and also waits that moment if it comes later."""
    flight = Flight(time.clock, 20.0, 0, "cold")
    waits = []
    for _ in range(3):
        waits.append(flight.seconds_to_wait())
        time.advance(15)
    assert waits == [20 + GRACE / 2, 5 + GRACE / 2, GRACE / 2]


def test_logins_get_rare_when_they_hang_for_good(endpoint: Endpoint, time: Time) -> None:
    """Each hanging login keeps a thread. With more than eight, they are a quarter of an hour apart."""
    gate = Gate(A)
    source = TokenSource(endpoint, gate, time.clock, deadline=0.01)
    pauses = []
    for _ in range(9):
        with pytest.raises(LoginUnavailableError) as caught:
            take(source)
        pauses.append(caught.value.retry_after)
        time.advance(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 900]
    hanging = list(source._hanging)
    assert len(hanging) == 9
    gate.opened.set()
    for thread in hanging:
        thread.join(PATIENCE)
    # These seconds are real: a busy machine needs more than what has ended the others.
    source._deadline = 20.0
    take(source)


def test_login_that_many_end_at_once_hangs_once(endpoint: Endpoint, time: Time) -> None:
    """Its watch and all who waited may end the same login at the same moment. It is still one thread that hangs."""
    gate = Gate(A)
    source = TokenSource(endpoint, gate, time.clock)
    steps = source.acquire()
    flight = next(steps)
    assert gate.arrived.wait(PATIENCE)
    land, others = source._land, 10

    def land_late(*outcome: Any) -> None:
        nonlocal others
        if others:
            others -= 1
            source._end(flight)
        land(*outcome)

    source._land = land_late  # type: ignore[method-assign]
    source._end(flight)
    assert len(source._hanging) == 1
    with pytest.raises(LoginUnavailableError) as caught:
        wait_sync(steps)
    assert caught.value.retry_after == 1
    gate.opened.set()


def test_deadline_after_the_landing_ends_nothing(source: TokenSource, endpoint: Endpoint) -> None:
    """A watch that fires too late leaves the connection alone, which may be somebody else's by now."""
    closed: list[int] = []

    def grant() -> Grant:
        assert endpoint.on_open is not None
        endpoint.on_open(lambda: closed.append(1))
        return endpoint.grant()

    endpoint.script = [grant]
    flight = next(source.acquire())
    flight.future.result(PATIENCE)
    lease = source.fresh()
    source._end(flight)
    assert closed == []
    assert source.fresh() is lease


def test_late_outcome_is_ignored(source: TokenSource, endpoint: Endpoint) -> None:
    """Of two outcomes the first counts, because all who waited have gone with it."""
    gate = Gate(endpoint.grant)
    endpoint.script = [gate]
    steps = source.acquire()
    flight = next(steps)
    assert gate.arrived.wait(PATIENCE)
    source._end(flight)
    gate.opened.set()
    assert flight.thread is not None
    flight.thread.join(PATIENCE)
    assert source.fresh() is None
    with pytest.raises(LoginUnavailableError):
        wait_sync(steps)


def test_attempt_that_opens_after_the_landing_is_closed_at_once(time: Time) -> None:
    """The deadline may pass between two attempts. The next connection is not left open."""
    flight = Flight(time.clock, 20.0, 0, "cold")
    flight.close()  # There is none yet.
    closed: list[int] = []
    flight.on_open(lambda: closed.append(1))
    assert closed == []
    flight.land(None)
    flight.on_open(lambda: closed.append(2))
    assert closed == [2]


def test_trouble_in_closing_an_attempt_disturbs_no_one(time: Time) -> None:
    """The connection is one that another thread reads from."""
    flight = Flight(time.clock, 20.0, 0, "cold")
    flight.land(None)
    flight.on_open(raising(OSError("fake trouble")))


def test_waiter_cannot_cancel_the_login(time: Time) -> None:
    """A3: the future runs from the beginning, so a waiter that goes away cannot end it for all."""
    assert not Flight(time.clock, 20.0, 0, "cold").future.cancel()


# Starting over, resets and forks


def test_start_over(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """What kyc_client.testing does to a client that a service keeps: a cold start at another time."""
    old = take(source)
    other = Time()
    other.advance(5000)
    endpoint.time = other
    assert start_over(source, other.clock) is time.clock
    assert source.fresh() is None
    lease = take(source)
    assert lease is not old
    assert lease.seconds_left(other.clock.now()) == 1000
    assert endpoint.clocks == [time.clock, other.clock]
    assert source.fresh() is lease
    other.wall += 5000
    assert source.fresh() is None
    assert start_over(source) is other.clock
    assert take(source) is not lease


def test_start_over_ends_the_login_under_way(source: TokenSource, endpoint: Endpoint) -> None:
    """Its attempt is closed, and no further one is made. When that returns, its thread has ended."""
    opened, closed = threading.Event(), threading.Event()

    def attempt() -> Failure:
        assert endpoint.on_open is not None
        endpoint.on_open(closed.set)
        opened.set()
        closed.wait(PATIENCE)
        return UNAVAILABLE

    endpoint.script = [attempt]
    callers = crowd(source)
    flight = source._flight
    assert flight is not None
    assert opened.wait(PATIENCE)
    start_over(source)
    assert flight.thread is not None
    assert not flight.thread.is_alive()
    assert len(endpoint.tried) == 1
    assert source._flight is None
    assert {str(caller.error()) for caller in callers} == {"The login was interrupted. Try again."}


def test_start_over_does_not_wait_for_what_cannot_be_ended(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt over a transport of the caller's may ignore that it is closed. It is left to itself."""
    monkeypatch.setattr(source_module, "GRACE", 0.01)
    gate = Gate(endpoint.grant)
    endpoint.script = [gate, endpoint.grant]
    caller = Caller(source)
    assert gate.arrived.wait(PATIENCE)
    start_over(source)
    assert isinstance(caller.error(), LoginUnavailableError)
    lease = take(source)
    gate.opened.set()
    assert source.fresh() is lease


def test_start_over_in_the_login_itself(source: TokenSource, endpoint: Endpoint) -> None:
    """A test's transport may do that. It does not wait for its own thread."""
    returned: list[bool] = []

    def again() -> Failure:
        start_over(source)
        returned.append(True)
        return UNAVAILABLE

    endpoint.script = [again, endpoint.grant]
    with pytest.raises(LoginUnavailableError, match="interrupted"):
        take(source)
    assert take(source) is source.fresh()
    assert len(endpoint.tried) == 2
    assert returned == [True]


def test_start_over_before_the_login_has_begun(endpoint: Endpoint, time: Time) -> None:
    """A login whose thread has not come so far finds out by itself. It asks for no credentials and sends nothing."""
    asked: list[int] = []
    source = TokenSource(endpoint, lambda: asked.append(1) or A, time.clock)
    flight = unflown(source)
    start_over(source)
    assert flight.has_landed
    source._fly(flight)
    assert (asked, endpoint.tried) == ([], [])
    assert source.status() == ("none", None, None, None, 0, 0)


def test_fork_in_the_middle_of_a_login(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """I1: what the hook for children does, here without a fork: a new lock, no login under way, the same token."""
    lease = take(source)
    time.advance(900)
    gate = Gate(endpoint.grant)
    endpoint.script = [gate, endpoint.grant]
    assert take(source) is lease
    assert gate.arrived.wait(PATIENCE)
    lost = source._flight
    assert lost is not None
    source._hanging = {threading.current_thread()}
    locked, done = threading.Event(), threading.Event()

    def hold_the_lock() -> None:
        with source._lock:
            locked.set()
            done.wait(PATIENCE)

    threading.Thread(target=hold_the_lock).start()
    assert locked.wait(PATIENCE)
    source.after_fork()
    assert source._lock.acquire(blocking=False)
    source._lock.release()
    assert source._hanging == set()
    assert take(source) is lease
    settle(source)
    assert source.fresh() is not lease
    done.set()
    gate.opened.set()
    lost.future.result(PATIENCE)
    assert len(endpoint.tried) == 3


# Threads


def test_threads_of_a_login(endpoint: Endpoint, time: Time) -> None:
    """A stack dump shows the login by its name. Neither it nor its watch keeps the process alive."""
    before = set(threading.enumerate())
    during: list[threading.Thread] = []

    def credentials() -> Credentials:
        during.extend(set(threading.enumerate()) - before)
        return A

    take(TokenSource(endpoint, credentials, time.clock))
    assert [thread.name for thread in during if not isinstance(thread, threading.Timer)] == ["kyc-client-login"]
    assert len(during) == 2
    assert all(thread.daemon for thread in during)


def test_watch_ends_with_its_login(endpoint: Endpoint, time: Time) -> None:
    """No timer stays for the rest of the deadline."""
    before = set(threading.enumerate())
    watches: list[threading.Thread] = []

    def credentials() -> Credentials:
        during = set(threading.enumerate()) - before
        watches.extend(thread for thread in during if isinstance(thread, threading.Timer))
        return A

    take(TokenSource(endpoint, credentials, time.clock, deadline=600.0))
    watches[0].join(PATIENCE)
    assert not watches[0].is_alive()


def no_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an isolated subinterpreter: a daemon thread is refused by its constructor or by its attribute."""
    init = threading.Thread.__init__

    def refuse(self: threading.Thread, *args: Any, daemon: bool | None = None, **kwargs: Any) -> None:
        if daemon:
            raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
        init(self, *args, **kwargs)

    def set_daemon(self: threading.Thread, _: bool) -> None:  # noqa: FBT001 - a property
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading.Thread, "__init__", refuse)
    monkeypatch.setattr(threading.Thread, "daemon", property(lambda self: self._daemonic, set_daemon))


@pytest.mark.parametrize("why", ["no more threads", "isolated subinterpreter"])
@pytest.mark.parametrize("way", WAYS)
def test_login_runs_inline_where_no_thread_can_start(
    source: TokenSource,
    endpoint: Endpoint,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    why: str,
    way: str,
) -> None:
    """A6: the caller does it itself. Without a watch, a failure after the deadline is still a failure."""
    threads: list[threading.Thread] = []

    def grant() -> Grant:
        threads.append(threading.current_thread())
        return endpoint.grant()

    def overrun() -> Failure:
        time.advance(100)
        return UNAVAILABLE

    endpoint.script = [grant, overrun, endpoint.grant]
    with monkeypatch.context() as patch:
        if why == "no more threads":
            request.getfixturevalue("no_threads")
        else:
            no_daemons(patch)
        lease = WAYS[way](source.acquire())
        assert threads == [threading.current_thread()]
        assert source.rejected(lease)
        with pytest.raises(LoginUnavailableError):
            WAYS[way](source.acquire())


def test_login_without_a_watch(source: TokenSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thread of the system went to the login. It does without a watch."""
    start = threading.Thread.start

    def only_logins(self: threading.Thread) -> None:
        if self.name != "kyc-client-login":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", only_logins)
    assert take(source) is source.fresh()


@pytest.mark.parametrize("where", ["__init__", "start"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_thread_that_is_interrupted_before_it_starts(
    source: TokenSource,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    interrupt: type[BaseException],
) -> None:
    """A6: the interruption reaches its caller. All others log in again at once, and learn nothing of it."""
    original = getattr(threading.Thread, where)

    def stop(self: threading.Thread, *args: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            original(self, *args, **kwargs)
            return
        with monkeypatch.context() as others:
            others.setattr(threading.Thread, where, original)
            callers.extend(crowd(source))
        raise interrupt

    callers: list[Caller] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, where, stop)
        with pytest.raises(interrupt):
            take(source)
    assert {caller.lease() for caller in callers} == {take(source)}
    assert endpoint.tried == [A]


def test_thread_that_starts_although_its_caller_was_interrupted(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: it finds its login over, sends nothing, and leaves no cool-down behind."""
    late: list[threading.Thread] = []

    def start(self: threading.Thread) -> None:
        late.append(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(KeyboardInterrupt):
            take(source)
    late[0].start()
    late[0].join(PATIENCE)
    assert source.status() == ("none", None, None, None, 0, 0)
    assert take(source) is source.fresh()
    assert endpoint.tried == [A]


def test_error_of_a_signal_handler_is_not_taken_for_a_lack_of_threads(
    source: TokenSource, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A soft time limit may be a RuntimeError, and come while the caller waits for the thread to say that it runs."""
    begin = threading.Thread.start

    def start(self: threading.Thread) -> None:
        begin(self)
        if self.name == "kyc-client-login":
            raise RuntimeError("fake soft time limit")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="soft time limit"):
            take(source)
    assert take(source) is source.fresh()
    assert len(endpoint.tried) == 1


def test_fault_of_ours_ends_the_login_and_is_named(source: TokenSource, endpoint: Endpoint) -> None:
    """A6: whatever an attempt raises, no one waits for ever, and no frame shows what it was about."""
    endpoint.script = [raising(ZeroDivisionError(CANARY))]
    with pytest.raises(LoginUnavailableError) as caught:
        take(source)
    what = "The login ended in an unexpected ZeroDivisionError. Try again later, and please report it."
    assert str(caught.value) == what
    assert CANARY not in rendered(caught.value)
    assert source._flight is None


def trio_cancelled() -> BaseException:
    """What trio raises in a task that is cancelled. It has no public constructor."""
    return trio.Cancelled._create()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make",
    [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, trio_cancelled],
    ids=lambda make: make.__name__,
)
def test_what_ends_the_login_s_thread_is_not_for_those_who_wait(
    source: TokenSource, endpoint: Endpoint, make: Callable[[], BaseException]
) -> None:
    """A5: a caller that is not interrupted itself must not get another thread's Ctrl-C, exit or cancellation."""
    gate = Gate(lambda: Raised(make()))
    endpoint.script = [gate]
    callers = crowd(source)
    gate.opened.set()
    errors = [caller.error() for caller in callers]
    assert {(type(error), str(error)) for error in errors} == {
        (LoginUnavailableError, "The login was interrupted. Try again.")
    }


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("where", ["transport", "credentials"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupted_inline_login(
    time: Time, monkeypatch: pytest.MonkeyPatch, where: str, interrupt: type[BaseException]
) -> None:
    """A6: Ctrl-C reaches the caller, and no frame shows the password. The next login is tried after a second."""
    url = httpx.URL("https://kyc.example.com")
    stops = [True]

    def handle(request: httpx.Request) -> httpx.Response:
        body = request.read().decode()
        assert CANARY in body
        if stops and stops.pop():
            raise interrupt
        return httpx.Response(200, json={"access_token": "fake-token", "token_type": "bearer"})

    def credentials() -> Credentials:
        password = f"{CANARY}-password"
        if where == "credentials" and stops and stops.pop():
            raise interrupt
        return Credentials("fake-user", password)

    transport = httpx.MockTransport(handle)
    connection, _ = make_connection(url, {"transport": transport, "verify": False}, transport)
    source = TokenSource(LoginEndpoint(url, httpx.Timeout(5), connection), credentials, time.clock)
    with pytest.raises(interrupt) as caught:
        take(source)
    assert CANARY not in rendered(caught.value)
    assert source._flight is None
    with pytest.raises(LoginUnavailableError) as again:
        take(source)
    what = (
        "The login was interrupted. Try again. (Known from an earlier login. "
        "The next one with these credentials is tried in 1 s.)"
    )
    assert str(again.value) == what
    time.advance(1)
    assert take(source).token.value == "fake-token"


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
def test_login_sees_no_callers_context(
    endpoint: Endpoint, time: Time, request: pytest.FixtureRequest, *, inline: bool
) -> None:
    """A16: the login is for everyone. A context variable of the first caller is not seen in it."""
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


def test_call_in_a_signal_handler(source: TokenSource) -> None:
    """A handler, or a finalizer, may make a call in the middle of what the lock guards, in the same thread."""
    lease = take(source)
    with source._lock:
        assert wait_sync(source.acquire()) is lease
        assert source.status().phase == "fresh"
        assert source.rejected(lease)
        source.reset()


def test_login_that_needs_what_its_waiter_has_interrupted(
    endpoint: Endpoint, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's call waits for a login that waits for the lock. It ends with an error at the deadline."""
    monkeypatch.setattr(flight_module, "GRACE", 0.02)
    source = TokenSource(endpoint, lambda: A, time.clock, deadline=0.02)
    with source._lock, pytest.raises(LoginUnavailableError, match="not completed within"):
        take(source)


# What requests ask


def test_rejected_says_whether_to_send_again(source: TokenSource, endpoint: Endpoint) -> None:
    """B1: a login for each of three drops. Without a drop, the 401 is the caller's and the token stays."""
    for _ in range(3):
        lease = take(source)
        assert source.rejected(lease)
        assert source.rejected(lease)  # A late one, which costs nothing.
    lease = take(source)
    assert not source.rejected(lease)
    assert take(source) is lease
    assert len(endpoint.tried) == 4


def test_rejected_raises_while_a_login_is_pointless(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """F8: the request fails as the login did, with an error of its own. The token stays for others."""
    old = take(source)
    time.advance(830)
    endpoint.script = [Failure(LoginUnavailableError, "429.", retry_after=100)]
    assert take(source) is old
    settle(source)
    errors = []
    for _ in range(2):
        with pytest.raises(LoginUnavailableError) as caught:
            source.rejected(old)
        assert (caught.value.cached, caught.value.retry_after) == (True, 100)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert take(source) is old
    assert len(endpoint.tried) == 2


def test_other_than(source: TokenSource, endpoint: Endpoint) -> None:
    """B1: a request waits for a token other than the refused one. A newer one it uses at once."""
    old = take(source)
    assert source.rejected(old)
    new = wait_sync(source.acquire(other_than=old))
    assert new is not old
    assert wait_sync(source.acquire(other_than=old)) is new
    assert len(endpoint.tried) == 2


def test_status(source: TokenSource, endpoint: Endpoint, time: Time) -> None:
    """A snapshot by the source's clock, also while a login is under way. It starts none."""
    assert source.status() == ("none", None, None, None, 0, 0)
    assert endpoint.tried == []
    gate = Gate(BAD)
    endpoint.script = [gate, endpoint.grant]
    caller = Caller(source)
    assert gate.arrived.wait(PATIENCE)
    assert source.status() == ("none", None, None, None, 0, 0)
    gate.opened.set()
    assert isinstance(caller.error(), BadCredentialsError)
    time.advance(20)
    assert source.status() == ("none", None, BadCredentialsError, 40, 0, 1)
    time.advance(40)
    lease = take(source)
    time.advance(900)
    assert source.status() == ("soft", lease.token.expires_at, None, None, 1, 1)


def test_sources_in_use_are_known(source: TokenSource) -> None:
    """`kyc_client.testing` starts them all over."""
    assert source in living_sources()
