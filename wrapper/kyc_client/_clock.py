"""Time and chance, as arguments."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


def _pause(ended: threading.Event, seconds: float) -> bool:
    return ended.wait(seconds)


class Clock:
    """Time and chance, as arguments: what tests replace, as a whole, in order not to wait.

    Args:
        monotonic: seconds that never jump, but may stand still while the machine is suspended.
        wall: seconds since the epoch, which may jump.
        random: a number in [0, 1). The module's own generator by default, since Python seeds it anew in a forked child.
        pause: waits for an event, at most so many seconds, and tells whether it came.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        pause: Callable[[threading.Event, float], bool] = _pause,
    ) -> None:
        self.monotonic = monotonic
        self.wall = wall
        self.random = random
        self.pause = pause
