"""An `on_event` function that records the events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kyc_client.events import Event

PATIENCE = 20.0


class Heard(list["Event"]):
    """The events so far. The last one arrives after the callers have been woken, so a test must wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.append(event)
            self._more.notify_all()

    def wait(self, count: int) -> None:
        """Wait until there are so many events."""
        with self._more:
            assert self._more.wait_for(lambda: len(self) >= count, PATIENCE), self
