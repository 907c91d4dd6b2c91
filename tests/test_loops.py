"""The meeting points of threads and event loops, where they fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import pytest

from kyc_client._loops import current_loop, run_on_private_loop, runner_of_this_task

if TYPE_CHECKING:
    import httpx


async def _never() -> NoReturn:
    raise AssertionError


def test_closed_loop_is_an_error_and_leaves_no_coroutine_behind() -> None:
    """A login whose loop has gone fails at once; Python has nothing to complain about (warnings are errors here)."""

    async def main() -> object:
        return runner_of_this_task()

    runner = asyncio.run(main())
    with pytest.raises(RuntimeError, match="closed"):
        runner(_never, 1.0)  # type: ignore[operator]  # a RunAsync


def test_private_loop_inside_of_a_loop_is_an_error_and_leaves_no_coroutine_behind() -> None:
    """Asyncio does not nest; what calls for it gets an error and no warning."""

    async def main() -> httpx.Response:
        return run_on_private_loop(_never, 1.0)

    with pytest.raises(RuntimeError, match="running event loop"):
        asyncio.run(main())


def test_no_loop_is_running_here() -> None:
    """Sync code has none, although asyncio is loaded."""
    assert current_loop() is None
