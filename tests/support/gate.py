"""A login that waits for the test, and who waits for it meanwhile."""

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
    """A login that tells when it has come in, and is answered when the test says so."""

    def __init__(self, then: Behaviour | None = None) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._then = then or issue()

    def __call__(self, exchange: Exchange) -> None:
        self.arrived.set()
        after(self.opened, self._then)(exchange)

    def open_when(self, condition: Callable[[], bool]) -> threading.Thread:
        """Answer as soon as the condition holds, and in any case after 10 s."""

        def watch() -> None:
            settles(condition)
            self.opened.set()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread


def settles(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Whether the condition comes true within this time: for what sets no event, like the far end of a connection."""
    end = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() < end:
        time.sleep(0.002)
    return bool(result)


def waiters(auth: LoginAuth) -> int:
    """How many wait for the login under way: blocked threads do not register, tasks do, with a callback each."""
    flight = auth._source._flight
    return 0 if flight is None else len(flight.future._done_callbacks)  # type: ignore[attr-defined]
