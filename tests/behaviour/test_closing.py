"""Closing: twice, too early, never, in the middle of a login; and what is the caller's to close."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest

import kyc_client
from kyc_client import LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from tests.support.colours import Asyncio, Trio
from tests.support.fault_server import FaultServer, answer, check, hang, issue
from tests.support.gate import Gate, settles, waiters

if TYPE_CHECKING:
    from kyc_openapi import AuthenticatedClient

ASYNC = [Asyncio(), Trio()]
CLOSED = "client has been closed"


@pytest.fixture
def client(server: FaultServer, credentials: kyc_client.Credentials) -> AuthenticatedClient:
    """A client on the fault server."""
    return connect(server.base_url, credentials=credentials)


def test_closed_client_says_so_and_logs_in_no_more(server: FaultServer, client: AuthenticatedClient) -> None:
    """I6: closed twice is closed once; used after that it raises a clear error, before any login."""
    with client:
        get_resource.sync(client=client)
    client.get_httpx_client().close()
    client.get_httpx_client().close()
    auth: Any = client.get_httpx_client().auth
    auth.reset()
    with pytest.raises(RuntimeError, match=CLOSED):
        get_resource.sync(client=client)
    with pytest.raises(RuntimeError, match="Cannot reopen"), client:
        pass
    assert server.login_count == 1
    assert settles(lambda: server.open_connections == 0)


@pytest.mark.parametrize("colour", ASYNC, ids=repr)
def test_closed_async_client_says_so_and_logs_in_no_more(
    server: FaultServer, client: AuthenticatedClient, colour: Asyncio | Trio
) -> None:
    """I6: the same for tasks."""

    async def main() -> None:
        async with client:
            await get_resource.asyncio(client=client)
        await client.get_async_httpx_client().aclose()
        auth: Any = client.get_async_httpx_client().auth
        auth.reset()
        with pytest.raises(RuntimeError, match=CLOSED):
            await get_resource.asyncio(client=client)
        with pytest.raises(RuntimeError, match="Cannot reopen"):
            async with client:
                pass

    colour.run(main)
    assert server.login_count == 1
    assert settles(lambda: server.open_connections == 0)


def test_token_outlives_the_connections(client: AuthenticatedClient, server: FaultServer) -> None:
    """I6: a LoginAuth holds no connection, so there is nothing to close: it serves after its client has been closed."""
    with client:
        get_resource.sync(client=client)
    auth: Any = client.get_httpx_client().auth
    with httpx.Client(auth=auth) as other:
        assert other.get(f"{server.base_url}/api").status_code == 200
    auth.reset()
    assert auth.get_token()
    assert server.login_count == 2


def test_client_that_is_closed_during_a_login(server: FaultServer, client: AuthenticatedClient) -> None:
    """I6: the login lands, whoever waits for it gets an answer or an error, and nothing hangs or stays open."""
    gate = Gate()
    server.on_login(gate)
    outcomes: list[object] = []

    def call() -> None:
        try:
            outcomes.append(get_resource.sync(client=client))
        except (RuntimeError, httpx.HTTPError) as error:
            outcomes.append(error)

    with client:
        thread = threading.Thread(target=call)
        thread.start()
        assert gate.arrived.wait(10)
    gate.opened.set()
    thread.join(10)
    assert len(outcomes) == 1
    auth: Any = client.get_httpx_client().auth
    assert auth.get_token()
    assert server.login_count == 1
    client.get_httpx_client()._transport.close()
    assert settles(lambda: server.open_connections == 0)


@pytest.mark.parametrize("colour", ASYNC, ids=repr)
def test_async_client_that_is_closed_during_a_login(
    server: FaultServer, client: AuthenticatedClient, colour: Asyncio | Trio
) -> None:
    """I6: the same for tasks."""
    gate = Gate()
    server.on_login(gate)
    outcomes: list[object] = []

    async def main() -> None:
        http = client.get_async_httpx_client()
        auth: Any = http.auth

        async def call() -> None:
            try:
                outcomes.append(await http.get("/api"))
            except (RuntimeError, httpx.HTTPError, anyio.ClosedResourceError) as error:
                outcomes.append(error)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                while waiters(auth) < 1:
                    await anyio.lowlevel.checkpoint()
                await http.aclose()
                gate.opened.set()
        assert await auth.aget_token()
        await http._transport.aclose()

    colour.run(main)
    assert len(outcomes) == 1
    assert server.login_count == 1
    assert settles(lambda: server.open_connections == 0)


def test_error_inside_of_the_block_closes_and_comes_out(server: FaultServer, client: AuthenticatedClient) -> None:
    """I6: what the caller's block raises is what comes out, and the connections are closed."""

    def fail() -> None:
        with client:
            get_resource.sync(client=client)
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        fail()
    assert client.get_httpx_client().is_closed
    assert settles(lambda: server.open_connections == 0)


class _BadlyClosing(httpx.HTTPTransport):
    """A transport that closes, and then complains."""

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        raise OSError("does not like to be closed")


def test_error_in_closing_comes_out_and_breaks_nothing(
    server: FaultServer, credentials: kyc_client.Credentials
) -> None:
    """I6: an exception in __exit__ is the caller's transport's own; the login does not meet it, and goes on working."""
    client = connect(server.base_url, credentials=credentials, transport=_BadlyClosing())
    auth: Any = client.get_httpx_client().auth

    def use() -> None:
        with client:
            get_resource.sync(client=client)

    with pytest.raises(OSError, match="does not like"):
        use()
    auth.reset()
    assert auth.get_token()
    assert server.login_count == 2


# What nobody closes is Python's to complain about; that it is collected all the same is the point.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_client_that_is_never_closed_is_collected(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """I6: dropped without being closed, a client takes its connections and its LoginAuth along."""
    client = connect(server.base_url, credentials=credentials)
    get_resource.sync(client=client)
    gone = [weakref.ref(client.get_httpx_client()), weakref.ref(client.get_httpx_client().auth)]
    assert server.open_connections >= 1
    del client
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert settles(lambda: server.open_connections == 0)


class _Counting(httpx.HTTPTransport):
    """Counts how often it is closed. It keeps no connections, so that a login that ends early leaves none here."""

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_keepalive_connections=0))
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


OUTCOMES = {
    "success": issue(),
    "refused": answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}),
    "unusable": answer(200, b"<html>"),
    "redirect": answer(307, b"", {"Location": "/elsewhere"}),
    "timed out": hang,
}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_transport_and_client_of_the_caller_stay_open(
    server: FaultServer, credentials: kyc_client.Credentials, outcome: Any
) -> None:
    """I6: whatever a login ends with, neither the transport that carried it nor the client of the call is closed."""
    server.on_login(outcome, issue())
    server.on_resource(check)
    transport = _Counting()
    auth = LoginAuth(server.base_url, credentials=credentials, transport=transport, timeout=0.2)
    auth._source._deadline = 0.5
    client = httpx.Client(auth=auth, transport=transport)
    try:
        status = client.get(f"{server.base_url}/api").status_code
    except kyc_client.LoginError:
        auth.reset()
        auth._source._deadline = 20.0
        status = client.get(f"{server.base_url}/api").status_code
    assert status == 200
    assert (client.is_closed, transport.closed) == (False, 0)
    client.close()
    assert transport.closed == 1
