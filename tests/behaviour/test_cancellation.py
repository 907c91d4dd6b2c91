"""Whoever stops waiting, and wherever: nobody else notices, and nothing stays behind. Over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import trio

import kyc_client
from kyc_client import LoginAuth
from tests.support.colours import Asyncio, Trio
from tests.support.fault_server import FaultServer, answer, check, hang, issue
from tests.support.gate import Gate, settles, waiters

if TYPE_CHECKING:
    import types
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.fault_server import Behaviour, Exchange

# Long enough for a busy machine, and much shorter than the deadline of a login that nobody ends.
BOUND = 8.0
ONE = httpx.Limits(max_connections=1)
REFUSED = answer(401, {"detail": "Unauthorized"})

# One who goes away


def test_cancelled_leader_takes_nobody_along_on_asyncio(server: FaultServer, auth: LoginAuth) -> None:
    """A4: the task that started the login is cancelled; five others get the token of that very login."""
    gate = Gate()
    server.on_login(gate)

    async def main() -> list[kyc_client.Token]:
        leader = asyncio.create_task(auth.aget_token())
        await asyncio.to_thread(gate.arrived.wait)
        followers = [asyncio.create_task(auth.aget_token()) for _ in range(5)]
        while waiters(auth) < 6:  # noqa: ASYNC110 - what is waited for is inside of the unit and sets no event
            await asyncio.sleep(0)
        leader.cancel()
        followers[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        gate.opened.set()
        return await asyncio.gather(*followers[1:])

    assert len(set(asyncio.run(main()))) == 1
    assert server.login_count == 1


def test_cancelled_leader_takes_nobody_along_on_trio(server: FaultServer, auth: LoginAuth) -> None:
    """A4: the same under trio's cancel scopes."""
    gate = Gate()
    server.on_login(gate)
    tokens = []

    async def follow() -> None:
        tokens.append(await auth.aget_token())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as leader:
                nursery.start_soon(trio.to_thread.run_sync, gate.arrived.wait)
                nursery.start_soon(_cancel_when, leader, lambda: waiters(auth) == 6)
                for _ in range(5):
                    nursery.start_soon(follow)
                await auth.aget_token()
            assert leader.cancelled_caught
            gate.opened.set()

    trio.run(main)
    assert len(set(tokens)) == 1
    assert server.login_count == 1


async def _cancel_when(scope: trio.CancelScope, condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize("kind", ["asyncio", "trio"])
def test_loop_that_is_gone_when_the_login_lands_disturbs_nobody(
    server: FaultServer, auth: LoginAuth, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A9: the first waiter's loop has ended meanwhile; a thread that waits for the same login gets its token."""
    gate = Gate()
    server.on_login(gate)

    async def on_asyncio() -> None:
        task = asyncio.create_task(auth.aget_token())
        await asyncio.to_thread(gate.arrived.wait)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def on_trio() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(auth.aget_token)
                await trio.to_thread.run_sync(gate.arrived.wait)
                scope.cancel()

    asyncio.run(on_asyncio()) if kind == "asyncio" else trio.run(on_trio)
    assert waiters(auth) == 1
    flight: Any = auth._source._flight
    tokens = []
    thread = threading.Thread(target=lambda: tokens.append(auth.get_token()))
    thread.start()
    gate.opened.set()
    thread.join(10)
    flight.thread.join(10)
    assert len(tokens) == 1
    assert caplog.records == []  # What a callback of a future raises is logged, and goes no further.
    assert server.login_count == 1


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_login_over_an_async_transport_outlives_the_loop_of_its_first_caller(
    server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio
) -> None:
    """A4, A9: an async transport carries the login on a loop of the login's own. The first caller's loop may end."""
    gate = Gate()
    server.on_login(gate)
    auth = LoginAuth(server.base_url, credentials=credentials, transport=httpx.AsyncHTTPTransport())

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(auth.aget_token)
            await anyio.to_thread.run_sync(gate.arrived.wait)
            group.cancel_scope.cancel()

    loops.run(main)
    gate.opened.set()
    assert server.accepts(auth.get_token().value)
    assert server.login_count == 1


def test_request_that_times_out_disturbs_nobody(server: FaultServer, auth: LoginAuth) -> None:
    """A14: a caller's own time-out ends its wait only; the login goes on and serves the next call."""
    gate = Gate()
    server.on_login(gate)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await auth.aget_token()
        gate.opened.set()
        await auth.aget_token()

    asyncio.run(main())
    assert server.login_count == 1


def test_shared_outcome_cannot_be_cancelled(server: FaultServer, auth: LoginAuth) -> None:
    """A11: a future that is pending is cancelled for all by one who goes away; that of a login is not to be had so."""
    gate = Gate()
    server.on_login(gate)

    async def main() -> None:
        tasks = [asyncio.create_task(auth.aget_token()) for _ in range(3)]
        await asyncio.to_thread(gate.arrived.wait)
        flight = auth._source._flight
        assert flight is not None
        assert not flight.future.cancel()
        tasks[0].cancel()
        gate.opened.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1] == outcomes[2] == auth.get_token()

    asyncio.run(main())
    assert server.login_count == 1


@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
def test_each_of_ten_followers_has_a_time_out_of_its_own(
    server: FaultServer, auth: LoginAuth, colour: Asyncio | Trio
) -> None:
    """A14: the login does not answer; each of ten that wait leaves in its own time. Once it answers, all is well."""
    gate = Gate()
    server.on_login(gate)
    left: list[float] = []

    async def follow() -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError), anyio.fail_after(0.5):
            await auth.aget_token()
        left.append(time.monotonic() - began)

    async def main() -> None:
        await colour.gather([follow] * 10)
        gate.opened.set()
        with anyio.fail_after(BOUND):
            await auth.aget_token()

    colour.run(main)
    assert len(left) == 10
    assert max(left) < BOUND
    assert server.login_count == 1


def test_threads_wait_no_longer_than_the_deadline(server: FaultServer, auth: LoginAuth) -> None:
    """A14: threads have the login's own deadline, with a typed error each; the next login is served as ever."""
    server.on_login(hang, issue())
    auth._source._deadline = 0.5
    errors: list[Exception] = []

    def follow() -> None:
        try:
            auth.get_token()
        except kyc_client.LoginUnavailableError as error:
            errors.append(error)

    threads = [threading.Thread(target=follow) for _ in range(10)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert time.monotonic() - began < BOUND
    assert len({id(error) for error in errors}) == 10
    auth._source._deadline = 20.0
    auth.reset()
    assert auth.get_token()
    assert server.login_count == 2


# Every point at which a request can be stopped


class Stop:
    """Where a request is stopped: how the server brings it there, and holds it."""

    def __init__(self, server: FaultServer, auth: LoginAuth) -> None:
        self.server = server
        self.gate = Gate()
        self.logs_in_before = False
        self._auth = auth

    def _log_in_and_be_revoked(self) -> None:
        self._auth.get_token()
        self.server.revoke()

    def first_login(self) -> None:
        """While it waits for the login that it started."""
        self.server.on_login(self.gate, issue())

    def first_answer(self) -> None:
        """While it waits for the answer, with its first token."""
        self.server.on_resource(self._hold(check), check)

    def body_of_the_401(self) -> None:
        """While it reads the 401, whose body does not come."""
        self._log_in_and_be_revoked()
        self.server.on_resource(self._hold_the_body, check)

    def login_after_a_401(self) -> None:
        """While it waits for the login that is to cure its 401."""
        self._log_in_and_be_revoked()
        self.server.on_login(self.gate, issue())

    def second_answer(self) -> None:
        """While it waits for the answer to its second sending."""
        self._log_in_and_be_revoked()
        self.server.on_resource(check, self._hold(check), check)

    def _hold(self, then: Behaviour) -> Behaviour:
        self.gate = Gate(then)
        return self.gate

    def _hold_the_body(self, exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 401 \r\nContent-Length: 2\r\n\r\n")
        self.gate.arrived.set()
        hang(exchange)


STOPS = [Stop.first_login, Stop.first_answer, Stop.body_of_the_401, Stop.login_after_a_401, Stop.second_answer]


@pytest.fixture(params=STOPS, ids=lambda stop: stop.__name__)
def stop(request: pytest.FixtureRequest, server: FaultServer, auth: LoginAuth) -> Iterator[Stop]:
    """Each of the points; at the end, whatever the server still holds is let go."""
    stop = Stop(server, auth)
    request.param(stop)
    yield stop
    stop.gate.opened.set()


async def cancel(call: Callable[[], Awaitable[object]], arrived: threading.Event) -> None:
    """Cancel it: as a web framework does whose client has gone away."""
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        assert await anyio.to_thread.run_sync(arrived.wait, BOUND)
        group.cancel_scope.cancel()


async def time_out(call: Callable[[], Awaitable[object]], arrived: threading.Event) -> None:
    """Let its time run out just then."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def set_the_deadline() -> None:
                assert await anyio.to_thread.run_sync(arrived.wait, BOUND)
                scope.deadline = anyio.current_time()

            group.start_soon(set_the_deadline)
            await call()
    assert scope.cancelled_caught


async def cancel_task(call: Callable[[], Awaitable[object]], arrived: threading.Event) -> None:
    """Asyncio's own way, which tells a task once only."""
    task = asyncio.ensure_future(call())
    assert await asyncio.to_thread(arrived.wait, BOUND)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def wait_for(call: Callable[[], Awaitable[object]], arrived: threading.Event) -> None:
    """Asyncio's own way to let time run out."""
    timeout = asyncio.timeout(None)

    async def set_the_deadline() -> None:
        assert await asyncio.to_thread(arrived.wait, BOUND)
        timeout.reschedule(asyncio.get_running_loop().time())

    setter = asyncio.create_task(set_the_deadline())
    with pytest.raises(TimeoutError):
        async with timeout:
            await call()
    await setter


WAYS = [(Asyncio(), cancel), (Asyncio(), time_out), (Asyncio(), cancel_task), (Asyncio(), wait_for)]
WAYS += [(Trio(), cancel), (Trio(), time_out)]


@pytest.mark.parametrize(("colour", "way"), WAYS, ids=lambda value: getattr(value, "__name__", repr(value)))
def test_request_that_is_stopped_leaves_nothing_behind(
    server: FaultServer, auth: LoginAuth, stop: Stop, colour: Asyncio | Trio, way: Any
) -> None:
    """A5, A15: stopped at any point; then the only connection of the pool is free, and the next request is answered."""

    async def main() -> None:
        async with httpx.AsyncClient(auth=auth, limits=ONE, timeout=BOUND) as client:
            await way(lambda: client.get(f"{server.base_url}/api"), stop.gate.arrived)
            stop.gate.opened.set()
            with anyio.fail_after(BOUND):
                assert (await client.get(f"{server.base_url}/api")).status_code == 200

    colour.run(main)
    assert settles(lambda: server.open_connections == 0)
    assert server.login_count <= 2


@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
@pytest.mark.parametrize("revoked", [False, True], ids=["at the first login", "at the login after a 401"])
def test_fifty_cancelled_requests_leave_a_pool_of_one_usable(
    server: FaultServer, auth: LoginAuth, colour: Asyncio | Trio, *, revoked: bool
) -> None:
    """A15: fifty requests that share one connection are cancelled during a login; one more is answered."""
    if revoked:
        auth.get_token()
        server.revoke()
    gate = Gate()
    server.on_login(gate)

    async def main() -> None:
        async with httpx.AsyncClient(auth=auth, limits=ONE, timeout=BOUND) as client:

            async def call() -> None:
                await client.get(f"{server.base_url}/api")

            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(call)
                with anyio.fail_after(BOUND):
                    while waiters(auth) < 50:
                        await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            gate.opened.set()
            with anyio.fail_after(BOUND):
                assert (await client.get(f"{server.base_url}/api")).status_code == 200

    colour.run(main)
    assert settles(lambda: server.open_connections == 0)
    assert server.login_count == 1 + revoked


# The flows themselves, closed where they are suspended, as httpx closes them


@pytest.fixture(params=[0, 1], ids=["first sending", "second sending"])
def sendings(request: pytest.FixtureRequest) -> int:
    """How often the request has been answered 401 before its flow is closed."""
    return request.param


def test_closed_flow_leaves_nothing_behind(server: FaultServer, auth: LoginAuth, sendings: int) -> None:
    """A5: httpx closes a flow when a sending fails; the next request is as good as ever."""
    auth.get_token()
    flow = auth.sync_auth_flow(httpx.Request("GET", f"{server.base_url}/api"))
    request = next(flow)
    for _ in range(sendings):
        request = flow.send(httpx.Response(401, request=request))
    flow.close()
    with httpx.Client(auth=auth, timeout=BOUND) as client:
        assert client.get(f"{server.base_url}/api").status_code == 200
    assert server.login_count == 1 + sendings


@pytest.mark.parametrize("colour", [Asyncio(), Trio()], ids=repr)
def test_closed_async_flow_leaves_nothing_behind(
    server: FaultServer, auth: LoginAuth, colour: Asyncio | Trio, sendings: int
) -> None:
    """A5: the same for tasks; trio cancels an await in the clean-up of a generator, so there is none."""
    auth.get_token()

    async def main() -> None:
        flow: AsyncIterator[httpx.Request] = auth.async_auth_flow(httpx.Request("GET", f"{server.base_url}/api"))
        request = await anext(flow)
        for _ in range(sendings):
            request = await flow.asend(httpx.Response(401, request=request))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await flow.aclose()
        async with httpx.AsyncClient(auth=auth, timeout=BOUND) as client:
            assert (await client.get(f"{server.base_url}/api")).status_code == 200

    colour.run(main)
    assert server.login_count == 1 + sendings


# Threads


class _StopError(BaseException):
    """Like Ctrl-C, or a worker's time limit: no ordinary exception, and it comes at any moment."""


def _waits(thread: int) -> bool:
    """Whether it waits for a login or an answer; not for a thread to start, which would be an interrupted login."""
    frame: types.FrameType | None = sys._current_frames()[thread]
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return "read" in names[:2] or "result" in names[:3]  # Below these are the watch for blocking calls, and a lock.


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system sends no signals to threads")
def test_thread_that_is_interrupted_leaves_nothing_behind(server: FaultServer, auth: LoginAuth, stop: Stop) -> None:
    """A5, A6: Ctrl-C at any point of a call; then the only connection of the pool is free, and the next call works."""

    def interrupt(*_: object) -> None:
        raise _StopError

    main_thread = threading.get_ident()

    def send_signal() -> None:
        stop.gate.arrived.wait(BOUND)
        settles(lambda: _waits(main_thread))
        signal.pthread_kill(main_thread, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send_signal)
    try:
        with httpx.Client(auth=auth, limits=ONE, timeout=BOUND) as client:
            sender.start()
            with pytest.raises(_StopError):
                client.get(f"{server.base_url}/api")
            stop.gate.opened.set()
            assert client.get(f"{server.base_url}/api").status_code == 200
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert settles(lambda: server.open_connections == 0)
    assert server.login_count <= 2
