"""Watches that our code never blocks an event loop, asyncio's or trio's, in any test.

blockbuster finds the blocking calls (sleeping, waiting for a lock, a file, a blocking socket). What is added here:
trio, which it does not know; and a record, since a blocking call in the middle of code that copes with every exception
would be found and never seen.
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
    """What blockbuster asks asyncio for: a loop that runs in this thread, or RuntimeError."""
    if trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    return asyncio.get_running_loop()


class LoopWatch:
    """Makes a blocking call that comes from our packages on a loop's thread an error, and writes it down.

    Attributes:
        found: the calls that blocked.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        # The sandbox is a server with a loop of its own, which imports and sets up a database before it serves.
        self._buster = engine.BlockBuster([kyc_client, kyc_openapi], excluded_modules=[kyc_client.sandbox])
        # Whether a log is written to a file or elsewhere is the application's choice, here pytest's.
        for function in self._buster.functions.values():
            function.can_block_in("logging/__init__.py", "emit")
        # What measures coverage has a lock of its own, which it takes at any line of ours.
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
