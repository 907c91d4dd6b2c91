"""A login that waits for the test, and the number of callers that wait for the login."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.support.fault_server import after, issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client import LoginAuth
    from tests.support.fault_server import Behaviour, Exchange


class Gate:
    """A login that sets an event when it arrives, and is answered when the test allows it."""

    def __init__(self, then: Behaviour | None = None) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._then = then or issue()

    def __call__(self, exchange: Exchange) -> None:
        self.arrived.set()
        after(self.opened, self._then)(exchange)

    def open_when(self, condition: Callable[[], bool]) -> threading.Thread:
        """Answer when the condition is true, or after 10 s."""

        def watch() -> None:
            settles(condition)
            self.opened.set()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread


def settles(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Return whether the condition becomes true within this time.

    It polls, for conditions that set no event, such as the other end of a connection.
    """
    end = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < end:
        time.sleep(0.002)
    return bool(result)


def waiters(auth: LoginAuth) -> int:
    """Return how many tasks wait for the current login. Blocked threads are not counted: they add no callback."""
    flight = auth._source._flight
    return 0 if flight is None else len(flight.future._done_callbacks)  # type: ignore[attr-defined]
