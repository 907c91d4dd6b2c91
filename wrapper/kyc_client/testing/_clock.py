"""The fake's clock. It moves only when the test says so."""

from __future__ import annotations

import itertools
import threading
import time

from kyc_client._clock import Clock

_TICK = 1e-6


class FakeClock:
    """A clock that stands still, except for one microsecond at each reading, so that a later reading is greater."""

    def __init__(self) -> None:
        self._monotonic = time.monotonic()
        # A whole second, like `exp` and `Date`: the lifetime of a token is then exact.
        self._wall = float(int(time.time()))
        # A counter, not a number under the lock: in a forked child, the lock could stay locked forever.
        self._readings = itertools.count()
        # Guards changes of `_passed`.
        self._lock = threading.Lock()
        self._passed = 0.0
        self._clock = Clock(monotonic=self.monotonic, wall=self.wall, random=lambda: 0.0, pause=self._pause)

    def clock(self) -> Clock:
        """Return this clock as a `Clock`. Tests put this method in the place of `Clock` itself."""
        return self._clock

    def monotonic(self) -> float:
        return self._monotonic + self._passed + next(self._readings) * _TICK

    def wall(self) -> float:
        return self._wall + self._passed + next(self._readings) * _TICK

    def pass_by(self, seconds: float) -> None:
        """Move the clock forward by so many seconds."""
        with self._lock:
            self._passed += seconds

    def _pause(self, ended: threading.Event, seconds: float) -> bool:
        self.pass_by(seconds)
        return ended.is_set()
