"""One login under way: its thread, its deadline, and what it does. `source` decides when there is one.

A login runs in a short-lived daemon thread of its own, so it belongs to no caller. A caller that is cancelled, gives up
or closes its event loop does not disturb it. A renewal in the background is the same login without a waiter.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, TypeAlias

from kyc_client._login.outcome import Failure
from kyc_client.errors import LoginUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client._clock import Clock
    from kyc_client._login.credentials import Credentials
    from kyc_client._login.raised import Raised
    from kyc_client.events import Reason

    from .lease import Lease
    from .policy import FailedLogin

DEADLINE = 20.0
# If the watch is later than this, the whole process stood still (SIGSTOP, a frozen Lambda).
GRACE = 1.0
INTERRUPTED = Failure(LoginUnavailableError, "The login was interrupted. Try again.")

Outcome: TypeAlias = "Lease | Failure | Raised | FailedLogin"
"""How a login ends. None in its place: it ended in silence, so everyone who waited looks again."""


class Flight:
    """One login under way.

    1. It lands exactly once: whoever resolves `future` first has landed it. All who wait, wait on that future.
    2. Its thread lands it in a `finally`, whatever happens. A flight that never landed would block every call that
       needs a token.
    3. A flight that has landed makes no further attempt. `credentials`, `thread` and the connection are then nobody's.

    Args:
        clock: time and chance, from its first attempt to its last, also if the source gets another clock meanwhile.
        seconds: how long it may take, with all attempts and the pauses between them.
        resets: `Policy.resets` when it began.
        reason: what makes it necessary.
    """

    def __init__(self, clock: Clock, seconds: float, resets: int, reason: Reason) -> None:
        # Written here, before any other thread knows the flight. Read by everyone.
        self.clock = clock
        self.began = clock.monotonic()
        self.deadline = self.began + seconds
        self.seconds = seconds
        self.resets = resets
        self.reason: Reason = reason
        # Marked as running before anyone waits: a waiter that goes away could cancel a pending future for all.
        self.future: Future[FailedLogin | None] = Future()
        self.future.set_running_or_notify_cancel()
        self.ended = threading.Event()
        # Written by the flight's own thread. Read by the others only to end or to report it.
        self.thread: threading.Thread | None = None
        self.credentials: Credentials | None = None
        self.stopped_by: Raised | None = None
        self._is_unwatched = False
        self._close: Callable[[], None] | None = None

    @property
    def has_landed(self) -> bool:
        """Whether it is over."""
        return self.future.done()

    def late(self) -> float:
        """Seconds since its deadline. Negative before it."""
        return self.clock.monotonic() - self.deadline

    @property
    def stood_still(self) -> bool:
        """Whether its deadline passed while nobody ran: its watch would have landed it in time."""
        return not self._is_unwatched and self.late() > GRACE

    def seconds_to_wait(self) -> float:
        """Seconds that a caller waits for it: longer than the watch, which lands it at the deadline."""
        return max(0.0, -self.late()) + GRACE / 2

    def land(self, failed: FailedLogin | None) -> None:
        """Wake everyone who waits. The second call does nothing."""
        self.ended.set()
        with contextlib.suppress(InvalidStateError):
            self.future.set_result(failed)

    def start(self, run: Callable[[], None], end: Callable[[], None]) -> None:
        """Run it in a thread of its own, and watch its deadline from another one.

        Where no thread can be started, it runs here: the interpreter shuts down, the system has no more threads, or
        this is an isolated subinterpreter, which allows no daemon threads.

        Args:
            run: logs in, and lands the flight in a `finally`.
            end: lands the flight because its time is over.
        """

        def watched() -> None:
            self.thread = threading.current_thread()
            watch = threading.Timer(self.seconds, end)
            try:
                watch.daemon = True
                watch.start()
            except RuntimeError:
                # As below. Without a watch, each wait on the network is bounded, but not their sum.
                self._is_unwatched = True
            try:
                run()
            finally:
                watch.cancel()

        # In an empty context: a login serves all callers, and must not inherit one caller's trace, tenant or deadline.
        fly = contextvars.Context().run
        thread = None
        try:
            thread = threading.Thread(target=fly, args=(watched,), name="kyc-client-login", daemon=True)
            thread.start()
        except BaseException as error:
            if thread is not None and thread.ident is not None:
                raise  # The thread runs. What was raised here is not about it, for example a signal handler's.
            if not isinstance(error, RuntimeError):
                self.land(None)
                raise
        else:
            return
        fly(watched)

    def on_open(self, close: Callable[[], None]) -> None:
        """Take the function that ends the attempt under way."""
        self._close = close
        if self.has_landed:
            self.close()

    def close(self) -> None:
        """End the attempt under way, however slowly its bytes arrive."""
        if self._close is not None:
            with contextlib.suppress(Exception):  # It shuts a connection that another thread reads from.
                self._close()


def timed_out(flight: Flight, retry_after: float | None = None) -> Failure:
    """The failure of a flight whose deadline has passed."""
    what = f"The login was not completed within {flight.seconds:g} s. Try again later; check the network."
    return Failure(LoginUnavailableError, what, retry_after=retry_after)
