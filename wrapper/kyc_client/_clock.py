"""Time and chance, as arguments."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Moment(NamedTuple):
    """One reading of both clocks.

    Attributes:
        monotonic: seconds that never jump, but may stand still while the machine is suspended.
        wall: seconds since the epoch, which may jump.
    """

    monotonic: float
    wall: float


class Clock:
    """Time and chance. Tests replace the whole object, so that they do not have to wait.

    Args:
        monotonic: the monotonic clock.
        wall: the wall clock.
        random: a number in [0, 1). The default is the module's own generator, because Python seeds it again in a
            forked child.
        pause: waits for an event, at most so many seconds, and returns whether the event came.
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = random.random,
        pause: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self.monotonic = monotonic
        self.wall = wall
        self.random = random
        self.pause = pause

    def now(self) -> Moment:
        """Both clocks, read now."""
        return Moment(self.monotonic(), self.wall())
