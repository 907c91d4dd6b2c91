"""Meeting points between threads and event loops, for asyncio and trio alike.

A login runs in a thread of its own. A task that waits for it must not block its loop, may be cancelled at any moment,
and its loop may be gone when the login lands; nothing that belongs to a loop is kept beyond the wait of one task.
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
