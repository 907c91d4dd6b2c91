"""Single flight: at most one login at a time, whoever asks, with one outcome for everyone who waits for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

from kyc_client import _fork
from kyc_client._login.outcome import Failure
from kyc_client.errors import ConfigurationError, LoginUnavailableError

from .flight import DEADLINE, GRACE, INTERRUPTED, Flight, timed_out
from .lease import Lease
from .loops import wait_for
from .policy import AfterRejection, FailedLogin, LoginStatus, Policy
from .reporter import Reporter

if TYPE_CHECKING:
    from kyc_client._clock import Clock
    from kyc_client._login.credentials import Credentials
    from kyc_client._login.endpoint import LoginEndpoint

    from .flight import Outcome

# A login may hang beyond its deadline in the caller's code, and then keeps its thread. We cannot stop it. With more
# such threads than this, a login is tried only every 15 minutes.
_MAX_HANGING, _HANGING_SECONDS = 8, 15 * 60.0

Steps: TypeAlias = Generator[Flight, None, Lease]
"""The way to a token. It yields each login to wait for, so that threads and tasks can share it."""


class TokenSource:
    """The one holder of state: the token, what is remembered of logins, and the login under way.

    1. There is at most one flight that has not landed (`_flight`), whoever asks.
    2. `_lock` guards a few assignments. It is never held over I/O, a wait, an `await` or a `yield`.
    3. A flight leaves `_flight` before the policy learns its outcome, and its future is resolved last, in a `finally`.
       If that is interrupted anywhere, those who wait wake up, look again, and start a flight of their own. A flight
       that has landed without leaving `_flight` is replaced by theirs.
    4. Everyone who has waited looks again, and uses what is there now. So no one uses an expired or dropped token.
    5. The log and `on_event` are told outside of the lock, after those who wait have been woken.
    6. After a fork, the child has a new lock and no flight. The thread that would land it exists in the parent only.

    Args:
        endpoint: performs one attempt.
        credentials: returns the credentials. Called at each login, in the login's thread.
        clock: time and chance.
        deadline: seconds that a login may take, with its attempts and the pauses between them.
        reporter: is told what happens.
    """

    def __init__(
        self,
        endpoint: LoginEndpoint,
        credentials: Callable[[], Credentials],
        clock: Clock,
        deadline: float = DEADLINE,
        reporter: Reporter | None = None,
    ) -> None:
        self._reporter = reporter or Reporter()
        self._endpoint = endpoint
        self._credentials = credentials
        self._deadline = deadline
        # Re-entrant, because a signal handler or a finalizer may make a call while its own thread holds the lock. A
        # call that has a fresh token does not come here. Another one may wait for what it has interrupted itself: then
        # it ends with an error at the deadline.
        self._lock = threading.RLock()
        # Written under the lock. Read under the lock too, except for `_policy.lease`, and for a look whether `_flight`
        # is overdue. At worst, the next caller sees it.
        self._policy = Policy()
        self._flight: Flight | None = None
        self._hanging: set[threading.Thread] = set()
        self.use(clock)
        _fork.register(self)

    def use(self, clock: Clock) -> None:
        """Use this clock from now on."""
        self._clock = clock
        # Their own attributes, for the hot path.
        self._monotonic, self._wall = clock.monotonic, clock.wall

    def fresh(self) -> Lease | None:
        """The current token, if it is fresh. The hot path: no lock, because a lease never changes."""
        lease = self._policy.lease
        if lease is None:
            return None
        monotonic, wall = lease.fresh_until
        return lease if self._monotonic() < monotonic and self._wall() < wall else None

    def acquire(self, *, other_than: Lease | None = None) -> Steps:
        """The way to a usable token.

        Args:
            other_than: the token with which this request has been answered 401.

        Raises:
            KYCClientError: there is no usable token, and the login failed or is known to be pointless.
        """
        while True:
            step = self._step(other_than)
            if isinstance(step, Lease):
                return step
            if isinstance(step, FailedLogin):
                raise step.error(self._clock.now())
            yield step
            if not step.has_landed:
                self._end(step)
            with self._lock:
                now = self._clock.now()
                lease = self._policy.usable(now, other_than=other_than)
                failed = step.future.result()
            if lease is not None:
                return lease
            if failed is not None:
                raise failed.error(now)
            # It ended in silence, began before a reset, or its token is gone again: from the start.

    def _step(self, other_than: Lease | None) -> Lease | FailedLogin | Flight:
        """What a request does now: use a token, fail, or wait for a login."""
        overdue = self._flight
        if overdue is not None and overdue.late() > GRACE:
            self._end(overdue)
        with self._lock:
            decision = self._policy.decide(self._clock.now(), other_than=other_than)
            flight, starts = self._flight, False
            if decision.login is not None and (flight is None or flight.has_landed):
                flight = Flight(self._clock, self._deadline, self._policy.resets, decision.login)
                self._flight, starts = flight, True
        if flight is not None and starts:
            self._start(flight)
        step = decision.lease or decision.failure or flight
        assert step is not None  # noqa: S101 - a decision without the first two has started a flight, or found one
        if isinstance(step, Flight) and step.thread is threading.current_thread() and not step.has_landed:
            raise ConfigurationError(
                "Code that runs during this client's login (its credentials callable, its on_event or its transport) "
                "uses the client itself. Give that code a client of its own."
            )
        return step

    def _start(self, flight: Flight) -> None:
        flight.start(lambda: self._fly(flight), lambda: self._end(flight))
        stopped_by = flight.stopped_by
        if stopped_by is not None and flight.thread is threading.current_thread():
            # It ran in this very thread, and Ctrl-C or `sys.exit()` ended it. Raised here, where no frame has a secret.
            raise stopped_by.error(retry_after=None, cached=False)

    def _fly(self, flight: Flight) -> None:
        """Log in, and land whatever happens."""
        outcome: Outcome = INTERRUPTED
        try:
            if not flight.has_landed:
                code = _fork.load("kyc_client._token.login")
                outcome = code.log_in(flight, self._endpoint, self._credentials, self._reporter, self._known)
        except Exception as error:  # noqa: BLE001 - a fault of ours, whose traceback would show the password
            what = f"The login ended in an unexpected {type(error).__name__}. Try again later, and please report it."
            outcome = Failure(LoginUnavailableError, what)
        finally:
            self._land(flight, outcome)

    def _known(self, credentials: Credentials) -> FailedLogin | None:
        with self._lock:
            return self._policy.known(credentials, self._clock.now())

    def _end(self, flight: Flight) -> None:
        """Land a flight whose time is over."""
        if flight.has_landed:
            return
        with self._lock:
            threads = {*self._hanging, flight.thread}
            self._hanging = {thread for thread in threads if thread is not None and thread.is_alive()}
            rests = len(self._hanging) > _MAX_HANGING
        self._land(flight, timed_out(flight, _HANGING_SECONDS if rests else None))
        flight.close()

    def _land(self, flight: Flight, outcome: Outcome | None) -> None:
        """Remember the outcome, wake everyone who waits, and tell the log. Of two outcomes, the first counts."""
        failed = None
        if flight.stood_still and not isinstance(outcome, Lease):
            outcome = None  # Whoever comes now has not waited for it, and must not fail for it.
        try:
            with self._lock:
                if self._flight is not flight or flight.has_landed:
                    return
                self._flight = None
                now = self._clock.now()
                if outcome is not None and flight.resets == self._policy.resets:
                    failed = self._policy.landed(outcome, flight.credentials, now)
        finally:
            flight.land(failed)
        seconds = flight.clock.monotonic() - flight.began
        if isinstance(outcome, Lease):
            self._reporter.login_succeeded(flight.reason, seconds, outcome.token.expires_at)
        elif outcome is not None and not isinstance(outcome, FailedLogin):
            wait = 0.0 if failed is None else max(0.0, failed.until - now.monotonic)
            self._reporter.login_failed(flight.reason, seconds, outcome, wait)

    def rejected(self, lease: Lease) -> bool:
        """Take note of a 401. Returns whether the request may be sent again with another token.

        Args:
            lease: the token that the request carried.

        Raises:
            KYCClientError: a login would help, and is known to be pointless now. The token stays, because it may still
                work for other requests.
        """
        with self._lock:
            now, before = self._clock.now(), self._policy.lease
            after = self._policy.rejected(lease, now)
            was_dropped = self._policy.lease is not before
        if was_dropped:
            self._reporter.token_rejected()
        if isinstance(after, FailedLogin):
            raise after.error(now)
        return after is AfterRejection.SEND_AGAIN

    def status(self) -> LoginStatus:
        """A snapshot for a health endpoint."""
        with self._lock:
            return self._policy.status(self._clock.now())

    def reset(self) -> None:
        """Forget the token and every failure. A login under way goes on, and its token is not installed."""
        with self._lock:
            self._policy.reset()

    def after_fork(self) -> None:
        """Start anew in a forked child. The token is as good as before, but the parent's login never lands here."""
        self._lock = threading.RLock()
        self._flight = None
        self._hanging = set()


def wait_sync(steps: Steps) -> Lease:
    """Go the way to a token, and block this thread for each login to wait for."""
    while True:
        try:
            flight = next(steps)
        except StopIteration as arrival:
            return arrival.value  # type: ignore[no-any-return]  # what `Steps` return
        with contextlib.suppress(TimeoutError):
            flight.future.result(flight.seconds_to_wait())


async def wait_async(steps: Steps) -> Lease:
    """Go the way to a token, and suspend this task for each login to wait for."""
    while True:
        try:
            flight = next(steps)
        except StopIteration as arrival:
            return arrival.value  # type: ignore[no-any-return]  # what `Steps` return
        await wait_for(flight.future, flight.seconds_to_wait())
