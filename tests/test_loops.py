"""The meeting points of threads and event loops, where they fail."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest

from blocking import LoopWatch
from colours import Asyncio, Trio
from kyc_client._loops import current_loop, run_on_private_loop, runner_of_this_task

if TYPE_CHECKING:
    from fault_server import FaultServer
    from kyc_client import LoginAuth


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


@pytest.mark.blocks_the_loop
@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
def test_blocking_call_on_a_loop_is_found(auth: LoginAuth, colour: Asyncio | Trio) -> None:
    """A12: the watch that all tests run under finds what it is there for, also if somebody swallows its error."""

    async def block() -> None:
        with contextlib.suppress(Exception):
            auth.get_token()

    with LoopWatch() as watch:
        colour.run(block)
    assert watch.found == ["lock.acquire"]


def test_two_tasks_on_one_loop_wait_for_one_login(server: FaultServer, auth: LoginAuth) -> None:
    """A12: a lock held over an await would block the loop with its second task; both get their answer."""

    async def main() -> list[int]:
        async with asyncio.timeout(10), httpx.AsyncClient(auth=auth) as client:
            both = await asyncio.gather(*(client.get(f"{server.base_url}/api") for _ in range(2)))
            return [response.status_code for response in both]

    for _ in range(2):
        assert asyncio.run(main()) == [200, 200]
        server.revoke()
    assert server.login_count == 2
