"""How tasks of asyncio and trio wait for threads, and where that fails."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest
import trio

from kyc_client._token.loops import current_loop, is_over, wait_for
from tests.support.blocking import LoopWatch
from tests.support.colours import Asyncio, Trio
from tests.support.gate import Gate

if TYPE_CHECKING:
    from kyc_client import LoginAuth
    from tests.support.fault_server import FaultServer

LOOPS = pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)


def later(future: Future[int]) -> None:
    """Resolve it from another thread."""
    threading.Thread(target=future.set_result, args=(5,)).start()


@LOOPS
def test_task_is_woken_by_a_thread(colour: Asyncio | Trio) -> None:
    """Also if the future has a result already."""
    future: Future[int] = Future()

    async def main() -> int:
        later(future)
        await wait_for(future)
        await wait_for(future)
        return future.result(0)

    assert colour.run(main) == 5


@LOOPS
def test_wait_ends_in_time(colour: Asyncio | Trio) -> None:
    """The future stays as it is, and others may wait for it."""
    future: Future[int] = Future()

    async def main() -> int:
        await wait_for(future, 0.01)
        assert not future.done()
        later(future)
        await wait_for(future, 60)
        return future.result(0)

    assert colour.run(main) == 5


@LOOPS
def test_cancelled_wait_disturbs_no_one(colour: Asyncio | Trio) -> None:
    """A3: the future is not cancelled, and another task gets its result."""
    future: Future[int] = Future()
    results = []

    async def wait() -> None:
        await wait_for(future)
        results.append(future.result(0))

    async def in_asyncio() -> None:
        cancelled, other = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled
        later(future)
        await other

    async def in_trio() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            with trio.CancelScope() as scope:
                scope.cancel()
                await wait()
            later(future)

    colour.run(in_trio if colour.name == "trio" else in_asyncio)
    assert results == [5]


@LOOPS
def test_loop_that_is_gone(colour: Asyncio | Trio) -> None:
    """A7: a loop that ended while its task waited breaks nothing for the thread that wakes it, or for others."""
    future: Future[int] = Future()

    async def give_up() -> None:
        await wait_for(future, 0)

    colour.run(give_up)
    woken: list[int] = []
    future.add_done_callback(lambda future: woken.append(future.result()))
    future.set_result(5)
    assert woken == [5]


@LOOPS
def test_loop_of_a_task(colour: Asyncio | Trio) -> None:
    """A task knows its loop, and whether an asyncio loop has been closed."""

    async def main() -> tuple[object, bool]:
        loop = current_loop()
        return loop, is_over(loop)

    loop, was_over = colour.run(main)
    assert isinstance(loop, asyncio.AbstractEventLoop | trio.lowlevel.TrioToken)
    assert not was_over
    assert is_over(loop) == (colour.name == "asyncio")


def test_trio_of_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trio before 0.23 somewhere in the process breaks nothing for asyncio."""
    monkeypatch.delattr(trio.lowlevel, "in_trio_task")

    async def main() -> bool:
        return current_loop() is asyncio.get_running_loop()

    assert asyncio.run(main())


@pytest.mark.parametrize("loaded", [None, SimpleNamespace(), asyncio], ids=["not loaded", "half loaded", "loaded"])
def test_no_loop_is_running_here(monkeypatch: pytest.MonkeyPatch, loaded: object) -> None:
    """Sync code has none, whether or not asyncio is loaded, or another thread is loading it."""
    if loaded is None:
        monkeypatch.delitem(sys.modules, "asyncio")
    else:
        monkeypatch.setitem(sys.modules, "asyncio", loaded)  # type: ignore[arg-type]
    assert current_loop() is None


@pytest.mark.blocks_the_loop
@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
def test_blocking_call_on_a_loop_is_found(server: FaultServer, auth: LoginAuth, colour: Asyncio | Trio) -> None:
    """A12: the watch, under which all tests run, finds a blocking call even if somebody swallows its error."""
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
    """A12: both get their answer. A lock held over an await would block the loop with its second task."""

    async def main() -> list[int]:
        async with asyncio.timeout(10), httpx.AsyncClient(auth=auth) as client:
            both = await asyncio.gather(*(client.get(f"{server.base_url}/api") for _ in range(2)))
            return [response.status_code for response in both]

    for _ in range(2):
        assert asyncio.run(main()) == [200, 200]
        server.revoke()
    assert server.login_count == 2
