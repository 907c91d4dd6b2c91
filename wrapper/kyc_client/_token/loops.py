"""How a task of asyncio or trio waits for a thread.

The task must not block its event loop, and it may be cancelled at any moment. Its loop may be gone when the thread is
done. So nothing that belongs to a loop is kept longer than one task waits.
"""

from __future__ import annotations

import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future


def _trio() -> Any:
    """The trio module, if the calling task runs on trio. This never imports it."""
    trio = sys.modules.get("trio")
    # trio has this function since 0.23. It is missing while another thread imports trio.
    in_trio_task = getattr(getattr(trio, "lowlevel", None), "in_trio_task", None)
    return trio if in_trio_task is not None and in_trio_task() else None


def current_loop() -> object | None:
    """The event loop of the calling task, or trio's token for its run. None outside of a task."""
    trio = _trio()
    if trio is not None:
        token: object = trio.lowlevel.current_trio_token()
        return token
    asyncio = sys.modules.get("asyncio")
    try:
        return None if asyncio is None else asyncio.get_running_loop()
    except (AttributeError, RuntimeError):  # asyncio is half imported, or no loop runs in this thread.
        return None


def is_over(loop: object) -> bool:
    """Whether an asyncio loop has been closed. False for a trio run, because connections do not refer to it."""
    return bool(getattr(loop, "is_closed", bool)())


async def wait_for(future: Future[Any], seconds: float = math.inf) -> None:
    """Wait until a thread resolves the future, or so many seconds have passed.

    A cancelled wait changes nothing for the future and for others who wait for it.
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

    import asyncio  # noqa: PLC0415 - it is loaded here already, and costs others 8 ms

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake_asyncio(_: object) -> None:
        # RuntimeError: the loop has been closed, so nobody waits there any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(waiter.set_result, None)

    future.add_done_callback(wake_asyncio)
    await asyncio.wait((waiter,), timeout=None if seconds == math.inf else seconds)
