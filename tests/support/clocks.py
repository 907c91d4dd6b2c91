"""A clock that stands still until the test moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kyc_client._clock import Clock

if TYPE_CHECKING:
    import threading

NOW = 1_800_000_000.0


class Time:
    """Both clocks, moved by the test. Pauses are recorded, and take no real time."""

    def __init__(self, wall: float = NOW) -> None:
        self.monotonic = 1000.0
        self.wall = wall
        self.random = 0.5
        self.pauses: list[float] = []
        self.clock = Clock(
            monotonic=lambda: self.monotonic, wall=lambda: self.wall, random=lambda: self.random, pause=self._pause
        )

    def _pause(self, ended: threading.Event, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.advance(seconds)
        return ended.is_set()

    def advance(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds
