"""Single flight: at most one login at a time, whoever asks, and one outcome for all who wait for it.

`TokenSource` is the one holder of state. A request asks it for a token, and its answer depends on the token's phase
(`_token`):

    none, expired   wait for the login
    fresh           use it: no lock, no I/O
    soft            use it; the first such request starts a renewal in the background, and nobody waits for it
                    (but a request whose body cannot be sent twice waits, as in the hard phase)
    hard            wait for the login; should it fail, use the token as long as it has not expired

A login runs in a short-lived daemon thread of its own, so it belongs to no caller: nobody's cancellation, timeout or
closed loop disturbs it, and a renewal in the background is a login that nobody waits for. All meet on one
`concurrent.futures.Future`. What a login ends with:

    success         the token is installed; all earlier failures are forgotten
    refused         any 4xx but 408 and 429: one attempt, remembered for these credentials for 60 s, doubling to 15
                    min; other credentials are tried at once
    unavailable     no connection, no answer, 408, 429, 5xx: up to 3 attempts with full jitter between them, then a
                    cool-down of 1 s, doubling to 30 s, or as long as `Retry-After` says (at most 15 min)
    unusable        an answer without a usable token: one attempt, then the same cool-down
    misconfigured   no credentials to be had: not remembered, since nothing was sent

While a failure is remembered, calls that need a login fail at once with the same error, and a token that has not
expired is used without trying to renew it. A login has 20 s in all; at that deadline all who wait get
`LoginUnavailableError`.

After a 401 (`reject`, `cured`):

    the token that the request carried is dropped, never a newer one, and the request may be sent again with the
    current token or that of one login
    a login that began after the 401 that it was to cure (or after the request had come to wait for it), and did not,
    means that the server means it: for 1 s, doubling to 10 s, a 401 is left as it is, and the token stays; a login
    that does cure one ends that
    in a cool-down no login can cure it: the call fails, and the token stays for those whom it may still serve
    a request that cannot be sent again will not learn whether a login cures its 401: the same times lie between the
    tokens that such requests drop

`reset()` forgets all of it. A forked child keeps the token, and no login that was under way in its parent.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import threading
import types
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from kyc_client._login.answer import Failure, Grant, Raised
from kyc_client._login.credentials import Credentials
from kyc_client.errors import (
    ConfigurationError,
    KYCClientError,
    LoginResponseError,
    LoginUnavailableError,
)

from .lease import Lease, Phase
from .loops import wait_for
from .reporter import Reporter

if TYPE_CHECKING:
    from kyc_client._clock import Clock
    from kyc_client._login.endpoint import LoginEndpoint
    from kyc_client.events import Reason

DEADLINE = 20.0
_ATTEMPTS = 3
# The longest random pause after the first attempt, and twice that after the second; `Retry-After` may ask for more.
_BACKOFF_SECONDS = 0.5
_COOLDOWN_SECONDS, _COOLDOWN_LIMIT = 1.0, 30.0
_REFUSAL_SECONDS, _REFUSAL_LIMIT = 60.0, 15 * 60.0
_STANDOFF_SECONDS, _STANDOFF_LIMIT = 1.0, 10.0
# Credentials that come in turns are rare; an endless supply of wrong ones must not fill the memory.
_MAX_REFUSALS = 16
# A login may hang beyond its deadline, and each that does keeps a thread. With more of them than this, logins get rare.
_MAX_HANGING = 8
_HANGING_SECONDS = 15 * 60.0
_GRACE = 1.0
_NEVER = -math.inf
_INTERRUPTED = "The login was interrupted. Try again."


class Backoff:
    """A time until which something is not done, longer with each time in a row.

    Args:
        first: seconds of the first time; each further one doubles them.
        limit: seconds at the most.
    """

    def __init__(self, first: float, limit: float) -> None:
        self.first = first
        self.limit = limit
        self.until = _NEVER
        self.delay = first

    def extend(self, now: float, at_least: float | None = None) -> None:
        in_a_row = now <= self.until + self.limit
        self.delay = min(self.limit, 2 * self.delay) if in_a_row else self.first
        self.until = now + max(self.delay, at_least or 0.0)

    def end(self) -> None:
        self.until = _NEVER


class _Setback:
    """A login that failed, as all who wait for it and those who come soon after see it.

    Args:
        failure: the recipe of the error.
        until: when the next login would be tried, on the monotonic clock.
        cached: nothing was sent, because this outcome was known already.
    """

    def __init__(self, failure: Failure, until: float, *, cached: bool = False) -> None:
        self.failure = failure
        self.until = until
        self.cached = cached

    def error(self, now: float) -> KYCClientError:
        return self.failure.error(retry_after=max(0.0, self.until - now), cached=self.cached)


class Flight:
    """One login under way.

    Args:
        epoch: how many resets there were before it.
        now: the monotonic clock.
        seconds: how long it may take in all.
        reason: what makes it necessary.
    """

    def __init__(self, epoch: int, now: float, seconds: float, *, reason: Reason) -> None:
        self.epoch = epoch
        self.launched = now
        self.deadline = now + seconds
        # Seconds to wait for it before looking after it: few, until there is a thread that will land it.
        self.patience = _GRACE
        self.reason: Reason = reason
        self.login_thread: threading.Thread | None = None
        self.credentials: Credentials | None = None
        self.landed = False
        self.ended = threading.Event()
        self._close: Callable[[], None] | None = None
        # Taken by the one thread that flies it; whoever comes later has nothing to do.
        self.pilot = threading.Lock()
        self.future: Future[Lease | _Setback] = Future()
        # Marked as running before anybody waits: a waiter that goes away could cancel a pending future for all.
        self.future.set_running_or_notify_cancel()

    def opened(self, close: Callable[[], None]) -> None:
        """Take the function that ends the attempt under way."""
        self._close = close
        if self.landed:
            self.close()

    def close(self) -> None:
        """End the attempt under way, however slowly its bytes may drip."""
        if self._close is not None:
            with contextlib.suppress(Exception):  # It tears down a connection that another thread reads from.
                self._close()


Steps: TypeAlias = Generator[Flight, None, Lease]
"""The way to a token: yields each login to wait for."""

_sources: weakref.WeakSet[TokenSource] = weakref.WeakSet()


class TokenSource:
    """Hands out the current token and logs in when there is none; the module's docstring has the policy.

    Args:
        endpoint: performs one attempt.
        credentials: asked for the credentials at each login, in the login's thread.
        clock: time and chance.
        deadline: seconds that a login may take in all, its attempts and the pauses between them.
        reporter: is told what happens; never under the lock, and only after those who wait for it have been woken.
    """

    def __init__(
        self,
        endpoint: LoginEndpoint,
        credentials: Callable[[], Credentials],
        clock: Clock,
        deadline: float = DEADLINE,
        reporter: Reporter | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._go_by(clock)
        self._deadline = deadline
        self._reporter = reporter or Reporter()
        # Guards all that follows. Held for assignments only: never over I/O, a wait, an await or a yield. Re-entrant,
        # since a signal handler or a finalizer may make a call in the middle of them: one with a good token goes
        # through, and one that needs a login waits for what it has itself interrupted, until the deadline.
        self._lock = threading.RLock()
        self._lease: Lease | None = None
        self._flight: Flight | None = None
        self._epoch = 0
        self._rejected = False
        self._hanging: list[threading.Thread] = []
        self._forget_failures()
        _sources.add(self)

    def _go_by(self, clock: Clock) -> None:
        self._clock = clock
        # By themselves too, for the hot path. By the monotonic one, `Lease.began` tells which login was made for what.
        self.now = clock.monotonic
        self._wall = clock.wall

    def _forget_failures(self) -> None:
        self._refusals: dict[Credentials, tuple[Failure, Backoff]] = {}
        self._cooldown = Backoff(_COOLDOWN_SECONDS, _COOLDOWN_LIMIT)
        self._cooldown_failure: Failure | None = None
        # After any failed login, a token that still works is not renewed before this time.
        self._renew_after = _NEVER
        self._standoff = Backoff(_STANDOFF_SECONDS, _STANDOFF_LIMIT)
        # The same for drops of the token of which nobody learns whether a login cures them.
        self._unproven = Backoff(_STANDOFF_SECONDS, _STANDOFF_LIMIT)

    # Asking for a token

    def fresh(self) -> Lease | None:
        """The current lease, if it is fresh. The hot path: a lease never changes, so that reading it needs no lock."""
        lease = self._lease
        if lease is None or self.now() >= lease.fresh_until_monotonic or self._wall() >= lease.fresh_until_wall:
            return None
        return lease

    def acquire(self, *, patient: bool = False) -> Steps:
        """The way to a usable token.

        Args:
            patient: wait for a renewal already in the soft phase.

        Raises:
            KYCClientError: there is no usable token, and the login failed or is known to be pointless.
        """
        while True:
            epoch = self._epoch
            step = self._next_step(patient=patient)
            if isinstance(step, Lease):
                return step
            if isinstance(step, _Setback):
                raise step.error(self.now())
            yield step
            while not step.future.done():
                self._look_after(step)
                yield step
            if step.epoch < epoch:
                continue  # That login had begun before a reset which this caller came after.
            outcome = step.future.result()
            if isinstance(outcome, Lease):
                return outcome
            lease = self._usable()
            if lease is not None:
                return lease
            raise outcome.error(self.now())

    def _next_step(self, *, patient: bool) -> Lease | Flight | _Setback:
        """What this caller does now: use a lease, wait for a login, or give up."""
        with self._lock:
            now = self.now()
            lease = self._usable()
            if lease is not None and (
                self._phase(lease) is Phase.FRESH or (not self._flight and now < self._renew_after)
            ):
                return lease
            setback = self._known_setback(now)
            if lease is None and self._flight is None and setback is not None:
                return setback
            is_new = self._flight is None
            reason: Reason = "rejected" if self._rejected else "cold" if self._lease is None else "renewal"
            flight = self._flight = self._flight or Flight(self._epoch, now, self._deadline, reason=reason)
        if is_new:
            self._launch(flight)
        else:
            self._look_after(flight)
        if lease is not None and not patient and self._phase(lease) is Phase.SOFT:
            return lease
        if flight.login_thread is threading.current_thread() and not flight.landed:
            raise ConfigurationError(
                "What runs in the middle of this client's login (its credentials callable, its on_event or its "
                "transport) uses the client itself. Give it a client of its own."
            )
        return flight

    def _known_setback(self, now: float) -> _Setback | None:
        """Why no login can succeed now; None if one may."""
        if self._cooldown_failure is None or now >= self._cooldown.until:
            return None
        return _Setback(self._cooldown_failure, self._cooldown.until, cached=True)

    def _usable(self) -> Lease | None:
        lease = self._lease
        return None if lease is None or self._phase(lease) is Phase.EXPIRED else lease

    def _phase(self, lease: Lease) -> Phase:
        return lease.phase(self.now(), self._wall())

    # After an answer

    def reject(self, lease: Lease, *, since: float, repeatable: bool) -> bool:
        """Take note of a 401, and tell whether it may help to send the request again with another token.

        Args:
            lease: what the request carried.
            since: when the request came to wait for a token. If the login began later, it was made for this request.
            repeatable: whether the request can be sent again, so that it will be known whether the login helps.

        Raises:
            KYCClientError: a login would help, and cannot succeed now. The token stays for those whom it still serves.
        """
        with self._lock:
            now = self.now()
            if self._lease is not lease:
                return repeatable  # There is, or will be, a newer one.
            if lease.began >= since and self._phase(lease) is not Phase.EXPIRED:
                # Of the many requests that learn this of one login, the first counts.
                if now >= self._standoff.until:
                    self._standoff.extend(now)
                return False
            if now < self._standoff.until or (not repeatable and now < self._unproven.until):
                return False
            setback = self._known_setback(now)
            if setback is None:
                self._lease = None
                self._rejected = True
                if not repeatable:
                    self._unproven.extend(now)
        if setback is None:
            self._reporter.token_rejected()
        elif repeatable:
            raise setback.error(now)
        return repeatable

    def cured(self) -> None:
        """Take note that a login has cured the 401 that it was made for."""
        with self._lock:
            self._standoff.end()
            self._unproven.end()

    def reset(self) -> None:
        """Forget the token and every failure. A login under way serves those who wait for it, and installs nothing."""
        with self._lock:
            self._epoch += 1
            self._lease = None
            self._rejected = False
            self._forget_failures()

    def start_over(self, clock: Clock | None = None) -> Clock:
        """Forget everything, end the login under way, and tell the time by another clock. For `kyc_client.testing`.

        When it returns, that login sends nothing more, unless code of the caller's holds it up.

        Returns:
            The clock before.
        """
        with self._lock:
            before, flight = self._clock, self._flight
            self._go_by(clock or before)
            self.reset()
        if flight is not None:
            self._land(flight, Failure(LoginUnavailableError, _INTERRUPTED))
            flight.close()
            thread = flight.login_thread
            if thread is not None and thread is not threading.current_thread():
                thread.join(_GRACE)
        return before

    def after_fork(self) -> None:
        """Start over in a forked child: the token is as good as before, but the parent's login will never land here."""
        self._lock = threading.RLock()
        self._flight = None
        self._hanging = []

    # The login

    def _launch(self, flight: Flight) -> None:
        """Start the thread of a login. If that is interrupted (Ctrl-C), whoever waits for it starts it again."""
        # In an empty context: the login is everybody's, and no caller's tenant, trace or deadline is its own.
        fly = contextvars.Context().run
        thread = threading.Thread(target=fly, args=(self._fly, flight), name="kyc-client-login", daemon=True)
        flight.launched = self.now()
        flight.deadline = flight.launched + self._deadline
        try:
            thread.start()
        except BaseException as error:
            flight.launched = _NEVER
            if not isinstance(error, RuntimeError) or thread.ident is not None:
                raise
            # No thread can be started: the interpreter shuts down, or the system has none left. Here, the login blocks
            # whatever loop there is, so it must not need it.
            contextvars.Context().run(self._fly, flight)
        flight.patience = self._deadline + _GRACE

    def _look_after(self, flight: Flight) -> None:
        """Start a login that nobody has begun, since it was interrupted before; end one that should have ended."""
        now = self.now()
        if now > flight.launched + _GRACE and not flight.pilot.locked():
            self._launch(flight)
        elif now > flight.deadline + _GRACE:
            self._time_out(flight)

    def _fly(self, flight: Flight) -> None:
        """Log in, and land whatever happens: a flight that never landed would block all calls for good."""
        if not flight.pilot.acquire(blocking=False):
            return
        flight.login_thread = threading.current_thread()
        watch = threading.Timer(self._deadline, self._time_out, (flight,))
        watch.daemon = True
        # Without a thread to watch it (as in `_launch`), each wait on the network is bounded, if not their sum.
        with contextlib.suppress(RuntimeError):
            watch.start()
        outcome: Lease | Failure | _Setback = Failure(LoginUnavailableError, _INTERRUPTED)
        try:
            outcome = self._log_in(flight)
        except Exception as error:  # noqa: BLE001 - a fault of ours, whose traceback would show the password
            what = f"The login ended in an unexpected {type(error).__name__}. Try again later, and please report it."
            outcome = Failure(LoginUnavailableError, what)
        finally:
            watch.cancel()
            if self._land(flight, outcome):
                self._report(flight)

    def _time_out(self, flight: Flight) -> None:
        # What hangs in the caller's code (its credentials callable, its transport) cannot be ended, only made rare.
        hanging = [thread for thread in (*self._hanging, flight.login_thread) if thread and thread.is_alive()]
        pause = _HANGING_SECONDS if len(hanging) > _MAX_HANGING else None
        what = f"The login was not completed within {self._deadline:g} s. Try again later; check the network."
        if self._land(flight, Failure(LoginUnavailableError, what, retry_after=pause)):
            self._hanging = hanging
            flight.close()
            self._report(flight)

    def _log_in(self, flight: Flight) -> Lease | Failure | _Setback:
        credentials = self._ask_for_credentials()
        if isinstance(credentials, Failure):
            return credentials
        flight.credentials = credentials
        memory = self._refusals.get(credentials)
        if memory is not None:
            failure, backoff = memory
            if self.now() < backoff.until:
                return _Setback(failure, backoff.until, cached=True)
        return self._attempt(flight, credentials)

    def _ask_for_credentials(self) -> Credentials | Failure:
        try:
            credentials = self._credentials()
        except ConfigurationError as error:
            return Failure(ConfigurationError, str(error))
        except Exception as error:  # noqa: BLE001 - the caller's code; its message may hold what it was fetching
            name = type(error).__name__
            return Failure(ConfigurationError, f"The credentials callable raised {name}. Call it by hand to see why.")
        if isinstance(credentials, types.CoroutineType):
            credentials.close()  # Python would complain about what was never awaited.
        if not isinstance(credentials, Credentials):
            what = "The credentials callable must be a plain function that returns kyc_client.Credentials."
            return Failure(ConfigurationError, what)
        return credentials

    def _attempt(self, flight: Flight, credentials: Credentials) -> Lease | Failure | _Setback:
        """Try up to three times, with pauses, as long as the failure is one that may pass and the deadline allows."""
        clock = self._clock
        self._reporter.login_started(flight.reason)
        attempt = 0
        while True:
            attempt += 1
            monotonic, wall = clock.monotonic(), clock.wall()
            result = self._endpoint.attempt(
                credentials,
                within=max(flight.deadline - monotonic, 0.001),
                clock=clock,
                on_open=flight.opened,
            )
            if isinstance(result, Raised):
                if not isinstance(result.original, AssertionError):
                    raise result.error()
                return _Setback(result, _NEVER)  # type: ignore[arg-type]
            if isinstance(result, Grant):
                issued_at, jitter = result.issued_at, clock.random()
                return Lease(result.value, issued_at=issued_at, monotonic=monotonic, wall=wall, jitter=jitter)
            if result.kind is not LoginUnavailableError or attempt == _ATTEMPTS:
                return result
            pause = clock.random() * _BACKOFF_SECONDS * 2 ** (attempt - 1)
            pause = max(pause, result.retry_after or 0.0)
            if clock.monotonic() + pause >= flight.deadline or clock.pause(flight.ended, pause):
                return result

    def _land(self, flight: Flight, outcome: Lease | Failure | _Setback) -> bool:
        """Install what the login brought, and wake all who wait; of a login and its timeout, the first counts."""
        with self._lock:
            if flight.landed:
                return False
            flight.landed = True
            if self._flight is flight:
                self._flight = None
            if flight.epoch != self._epoch:  # Begun before a reset.
                lands = _Setback(outcome, _NEVER) if isinstance(outcome, Failure) else outcome
            elif isinstance(outcome, Lease):
                self._install(outcome, flight.credentials)
                lands = outcome
            else:
                lands = self._remember(outcome, flight.credentials) if isinstance(outcome, Failure) else outcome
                self._renew_after = max(lands.until, self.now() + _COOLDOWN_SECONDS)
        flight.ended.set()
        flight.future.set_result(lands)
        return True

    def _report(self, flight: Flight) -> None:
        now = self.now()
        seconds = now - (flight.deadline - self._deadline)
        outcome = flight.future.result()
        if isinstance(outcome, Lease):
            self._reporter.login_succeeded(flight.reason, seconds, outcome.token.expires_at)
        elif not outcome.cached:
            self._reporter.login_failed(flight.reason, seconds, outcome.failure, max(0.0, outcome.until - now))

    def _install(self, lease: Lease, credentials: Credentials | None) -> None:
        self._lease = lease
        self._rejected = False
        self._renew_after = _NEVER
        self._cooldown.end()
        self._refusals = {refused: memory for refused, memory in self._refusals.items() if refused != credentials}

    def _remember(self, failure: Failure, credentials: Credentials | None) -> _Setback:
        now = self.now()
        if failure.kind is ConfigurationError:
            return _Setback(failure, now)
        if credentials is None or failure.kind in {LoginUnavailableError, LoginResponseError}:
            self._cooldown.extend(now, failure.retry_after)
            self._cooldown_failure = failure
            return _Setback(failure, self._cooldown.until)
        _, backoff = self._refusals.pop(credentials, (None, Backoff(_REFUSAL_SECONDS, _REFUSAL_LIMIT)))
        backoff.extend(now)
        self._refusals[credentials] = (failure, backoff)
        if len(self._refusals) > _MAX_REFUSALS:
            # The oldest: a dict keeps its order, and `pop` has renewed the place of this one.
            del self._refusals[next(iter(self._refusals))]
        return _Setback(failure, backoff.until)


def wait_sync(steps: Steps) -> Lease:
    """Go the way to a token, blocking this thread for each login to wait for."""
    while True:
        try:
            flight = next(steps)
        except StopIteration as arrival:
            lease: Lease = arrival.value
            return lease
        with contextlib.suppress(TimeoutError):
            flight.future.result(flight.patience)


async def wait_async(steps: Steps) -> Lease:
    """Go the way to a token, suspending this task for each login to wait for."""
    while True:
        try:
            flight = next(steps)
        except StopIteration as arrival:
            lease: Lease = arrival.value
            return lease
        await wait_for(flight.future, flight.patience)


def living_sources() -> list[TokenSource]:
    """Every source of this process that is in use."""
    return list(_sources)


def _after_fork_in_child() -> None:
    for source in _sources:
        source.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
