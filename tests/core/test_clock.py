"""The real clock."""

from __future__ import annotations

import random
import threading
import time

from kyc_client._clock import Clock


def test_clock() -> None:
    """By default the clocks are Python's own, and a pause ends at once when its event has come."""
    clock = Clock()
    before = time.monotonic(), time.time()
    now = clock.now()
    assert before[0] <= now.monotonic <= time.monotonic()
    assert before[1] <= now.wall <= time.time()
    event = threading.Event()
    assert clock.pause(event, 0) is False
    event.set()
    assert clock.pause(event, 3600) is True


def test_chance() -> None:
    """F9, I1: chance is the module's own generator, which Python seeds again in a forked child."""
    assert Clock().random is random.random
