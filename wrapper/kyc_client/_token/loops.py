"""Meeting points between threads and event loops, for asyncio and trio alike.

A login runs in a thread of its own. A task that waits for it must not block its loop, may be cancelled at any moment,
and its loop may be gone when the login lands; nothing that belongs to a loop is kept beyond the wait of one task.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Future

    import httpx

RunAsync: TypeAlias = "Callable[[Callable[[], Awaitable[httpx.Response]], float], httpx.Response]"
"""Runs a coroutine function on an event loop from another thread, at most so many seconds."""


def _trio() -> Any:
    """The trio module if the calling task runs on trio; never imports it."""
    trio = sys.modules.get("trio")
    # Missing while another thread is in the middle of importing trio; and trio has it since 0.23.
    in_trio_task = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return trio if in_trio_task is not None and in_trio_task() else None


def current_loop() -> object | None:
    """The event loop of the calling task, or what stands for it on trio; None outside of any."""
    trio = _trio()
    if trio is not None:
        token: object = trio.lowlevel.current_trio_token()
        return token
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except (AttributeError, RuntimeError):  # Half imported, or no loop runs in this thread.
        return None


def is_over(loop: object) -> bool:
    """Whether an asyncio loop has been closed. Of a trio run nobody needs to know: connections do not refer to it."""
    is_closed = getattr(loop, "is_closed", None)
    return is_closed is not None and is_closed()


async def wait_for(future: Future[Any], seconds: float = math.inf) -> None:
    """Wait until a thread resolves the future, or so many seconds have passed.

    A cancelled wait leaves the future, and everybody else, alone.
    """
    trio = _trio()
    if trio is not None:
        event = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def wake_trio(_: object) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(event.set)

        future.add_done_callback(wake_trio)
        with trio.move_on_after(seconds):
            await event.wait()
        return

    import asyncio  # noqa: PLC0415 - whoever gets here has it loaded; the others do not pay 8 ms for it

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake_asyncio(_: object) -> None:
        # RuntimeError: the loop was closed meanwhile, so nobody waits there any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(waiter.set_result, None)

    future.add_done_callback(wake_asyncio)
    await asyncio.wait((waiter,), timeout=None if seconds == math.inf else seconds)


def runner_of_this_task() -> RunAsync:
    """How a login thread runs a coroutine on the event loop of the task that calls this.

    That loop may end before the login does, which is everybody's: then a private loop takes its place.
    """
    trio = _trio()
    if trio is not None:
        return _runner_on_trio(trio, trio.lowlevel.current_trio_token())

    import asyncio  # noqa: PLC0415 - as above

    loop = asyncio.get_running_loop()

    def run_on_asyncio(function: Callable[[], Awaitable[httpx.Response]], within: float) -> httpx.Response:
        async def call() -> httpx.Response:
            return await function()

        coroutine = call()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:
            coroutine.close()  # The loop is closed; without this, Python complains about what was never awaited.
            return run_on_private_loop(function, within)
        try:
            return future.result(within)
        finally:
            if not loop.is_closed():
                future.cancel()

    return run_on_asyncio


def private_runner() -> RunAsync:
    """How a login thread runs a coroutine on a loop of its own, of the kind that runs in the thread that calls this."""
    trio = _trio()
    return run_on_private_loop if trio is None else _runner_on_trio(trio, None)


def _runner_on_trio(trio: Any, token: Any) -> RunAsync:
    """How a login thread runs a coroutine on trio: in the run of this token, or should that be over, in a new one.

    Never on asyncio: what an httpx transport has first been used on, it needs for good (measured, httpcore 1.0.9).
    """

    def run_on_trio(function: Callable[[], Awaitable[httpx.Response]], within: float) -> httpx.Response:
        async def bounded() -> httpx.Response:
            with trio.fail_after(within):
                return await function()

        response: httpx.Response
        try:
            if token is not None:
                response = trio.from_thread.run(bounded, trio_token=token)
                return response
        except trio.Cancelled:
            # The run ends. As an ordinary error: a Cancelled would end this thread, which has no scope for it.
            raise ConnectionAbortedError from None
        except trio.RunFinishedError:
            pass
        response = trio.run(bounded)
        return response

    return run_on_trio


def run_on_private_loop(function: Callable[[], Awaitable[httpx.Response]], within: float) -> httpx.Response:
    """Run a coroutine where no task's loop can be used: on an asyncio loop made for it."""
    import asyncio  # noqa: PLC0415 - only for transports that work on a loop and no other way

    async def bounded() -> httpx.Response:
        async with asyncio.timeout(within):
            return await function()

    coroutine = bounded()
    try:
        return asyncio.run(coroutine)
    finally:
        coroutine.close()  # Not begun if a loop runs in this thread already; Python would complain about that too.
