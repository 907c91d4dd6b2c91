"""The meeting points of threads and event loops, where they fail."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn

import anyio.lowlevel
import httpx
import pytest
import trio

from kyc_client._token.loops import current_loop, run_on_private_loop, runner_of_this_task
from tests.support.blocking import LoopWatch
from tests.support.colours import Asyncio, Trio
from tests.support.gate import Gate

if TYPE_CHECKING:
    from kyc_client import LoginAuth
    from kyc_client._token.loops import RunAsync
    from tests.support.fault_server import FaultServer


async def _never() -> NoReturn:
    raise AssertionError


async def _answer() -> httpx.Response:
    await anyio.lowlevel.checkpoint()
    return httpx.Response(200)


@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
def test_private_loop_takes_the_place_of_one_that_is_over(colour: Asyncio | Trio) -> None:
    """A9: a login whose caller's loop has gone goes on, and leaves Python nothing to complain about."""

    async def main() -> RunAsync:
        return runner_of_this_task()

    runner = colour.run(main)
    assert runner(_answer, 10.0).status_code == 200


def test_trio_of_old_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trio before 0.23 somewhere in the process breaks nothing for asyncio."""
    monkeypatch.delattr(trio.lowlevel, "in_trio_task")

    async def main() -> bool:
        return current_loop() is asyncio.get_running_loop()

    assert asyncio.run(main())


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
def test_blocking_call_on_a_loop_is_found(server: FaultServer, auth: LoginAuth, colour: Asyncio | Trio) -> None:
    """A12: the watch that all tests run under finds what it is there for, also if somebody swallows its error."""
    gate = Gate()
    server.on_login(gate)  # A login that lands at once would leave nothing to wait for.

    async def block() -> None:
        with contextlib.suppress(Exception):
            auth.get_token()

    with LoopWatch() as watch:
        colour.run(block)
    gate.opened.set()
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
