"""The meeting points of threads and event loops, where they fail."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from kyc_client._token.loops import current_loop
from tests.support.blocking import LoopWatch
from tests.support.colours import Asyncio, Trio
from tests.support.gate import Gate

if TYPE_CHECKING:
    from kyc_client import LoginAuth
    from tests.support.fault_server import FaultServer


def test_trio_of_old_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trio before 0.23 somewhere in the process breaks nothing for asyncio."""
    monkeypatch.delattr(trio.lowlevel, "in_trio_task")

    async def main() -> bool:
        return current_loop() is asyncio.get_running_loop()

    assert asyncio.run(main())


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
