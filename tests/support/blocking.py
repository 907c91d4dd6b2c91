"""Checks in every test that our code never blocks an event loop of asyncio or trio.

blockbuster finds the blocking calls: a sleep, a lock, a file, a blocking socket. We add support for trio, which it does
not know. We also record each call, because code that catches every exception would hide blockbuster's error.
"""

from __future__ import annotations

import asyncio
import types
from typing import Self

import blockbuster.blockbuster as engine
import trio

import kyc_client
import kyc_client.sandbox
import kyc_openapi


def _a_running_loop() -> object:
    """Return the loop that runs in this thread, or raise RuntimeError. blockbuster calls it in asyncio's place."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


class LoopWatch:
    """Makes it an error if our packages block the thread of a loop, and records the call.

    Attributes:
        found: the calls that blocked.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        # The sandbox is excluded: it has its own loop, which imports modules and creates a database before it serves.
        self._buster = engine.BlockBuster([kyc_client, kyc_openapi], excluded_modules=[kyc_client.sandbox])
        # The application decides where a log is written. Here pytest decides.
        for function in self._buster.functions.values():
            function.can_block_in("logging/__init__.py", "emit")
        # coverage takes its own lock at any line of our code.
        self._buster.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")

    def __enter__(self) -> Self:
        found = self.found

        class RecordedError(engine.BlockingError):
            def __init__(self, function: str) -> None:
                super().__init__(function)
                found.append(function)

        self._patched = engine.BlockingError, engine.asyncio
        engine.BlockingError = RecordedError
        engine.asyncio = types.SimpleNamespace(get_running_loop=_a_running_loop)
        self._buster.activate()
        return self

    def __exit__(self, *_: object) -> None:
        self._buster.deactivate()
        engine.BlockingError, engine.asyncio = self._patched
