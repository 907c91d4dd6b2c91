"""One login whatever happens, over a real socket: crowds of threads and tasks, on loops that come and go."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

import kyc_client
from kyc_client import LoginAuth
from tests.support.colours import Asyncio, Threads, Trio
from tests.support.fault_server import FaultServer, answer, check, drip, issue
from tests.support.gate import Gate, settles, waiters

if TYPE_CHECKING:
    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange

REFUSED = answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"})


@pytest.mark.parametrize(
    ("colour", "count"), [(Threads(), 50), (Asyncio(), 500), (Trio(), 500)], ids=["50 threads", "500 tasks", "500 trio"]
)
def test_cold_start_costs_one_login(server: FaultServer, auth: LoginAuth, colour: Colour, count: int) -> None:
    """A1: a crowd without a token: one login, and every call is answered with its token."""
    gate = Gate()
    server.on_login(gate)
    opener = gate.open_when(lambda: gate.arrived.is_set() and (colour.name == "sync" or waiters(auth) == count))
    # The login goes over the socket; the calls do not, since httpx's pool takes seconds for so many at once.
    echo = httpx.MockTransport(lambda request: httpx.Response(200, text=request.headers["authorization"]))
    results = colour.send_many(count, "GET", f"{server.base_url}/api", client={"auth": auth, "transport": echo})
    opener.join()
    assert [getattr(result, "text", result) for result in results] == [f"Bearer {auth.get_token().value}"] * count
    assert server.login_count == 1


@pytest.mark.parametrize(("colour", "count"), [(Threads(), 40), (Asyncio(), 100), (Trio(), 100)], ids=str)
def test_revocation_costs_one_login(server: FaultServer, auth: LoginAuth, colour: Colour, count: int) -> None:
    """A3: all have the same token refused, early and late; one login mends it for all."""
    auth.get_token()
    server.revoke()
    results = colour.send_many(count, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert [getattr(result, "status_code", result) for result in results] == [200] * count
    assert server.login_count == 2


@pytest.mark.parametrize("failure", [REFUSED, answer(200, b"<html>")], ids=["refused", "unusable"])
def test_failing_login_is_shared_too(server: FaultServer, auth: LoginAuth, colour: Colour, failure: Behaviour) -> None:
    """G1: fifty callers on a failing login cost one login, and each gets an error object of its own."""
    server.on_login(failure)
    errors = colour.send_many(50, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert {type(error) for error in errors} <= {kyc_client.BadCredentialsError, kyc_client.LoginResponseError}
    assert len({id(error) for error in errors}) == 50
    assert (server.login_count, len(server.hits)) == (1, 0)


def test_threads_two_loops_and_trio_share_one_login(server: FaultServer, auth: LoginAuth) -> None:
    """A8: sixty callers of four kinds on one object: one login at the start, one more after a revocation."""
    for expected in (1, 2):
        results: list[Any] = []

        def crowd(colour: Colour, into: list[Any] = results) -> None:
            into.extend(colour.send_many(15, "GET", f"{server.base_url}/api", client={"auth": auth}))

        kinds: list[Colour] = [Threads(), Asyncio(), Asyncio(), Trio()]
        threads = [threading.Thread(target=crowd, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [getattr(result, "status_code", result) for result in results] == [200] * 60
        assert server.login_count == expected
        server.revoke()


def test_late_401s_cost_no_login_of_their_own(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """A3, B1: forty calls meet a revocation; every second 401 arrives when the new token has long been there."""
    old = colour.token(auth).value
    server.revoke()
    refused = itertools.count()

    def refuse(exchange: Exchange) -> None:
        if exchange.token == old and next(refused) % 2:
            settles(lambda: server.login_count == 2 and auth._source.fresh())
        check(exchange)

    server.on_resource(refuse)
    results = colour.send_many(40, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert [getattr(result, "status_code", result) for result in results] == [200] * 40
    assert server.login_count == 2


def test_loops_one_after_the_other_and_side_by_side(server: FaultServer, auth: LoginAuth) -> None:
    """A7: asyncio.run() three times, two loops in two threads at once, then trio: each time one login for a crowd."""
    logins = 0

    def crowds(*kinds: Asyncio | Trio) -> None:
        nonlocal logins
        logins += 1
        gate = Gate()
        server.on_login(gate)
        # Each crowd is in each other's way before the login is answered: only then do locks of another loop show.
        opener = gate.open_when(lambda: waiters(auth) == 20 * len(kinds))
        results: list[Any] = []

        def crowd(kind: Asyncio | Trio) -> None:
            results.extend(kind.send_many(20, "GET", f"{server.base_url}/api", client={"auth": auth}))

        threads = [threading.Thread(target=crowd, args=(kind,)) for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in [*threads, opener]:
            thread.join(30)
        assert [getattr(result, "status_code", result) for result in results] == [200] * 20 * len(kinds)
        assert server.login_count == logins
        auth.reset()

    for _ in range(3):
        crowds(Asyncio())
    crowds(Asyncio(), Asyncio())
    crowds(Trio())


def test_lock_is_free_whenever_anybody_waits(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """Rule 1: while a login runs, while callers wait for it, and while a request is under way, the lock is free."""
    free: list[bool] = []

    def note(exchange: Exchange) -> None:
        settles(lambda: auth._source._lock.acquire(blocking=False))
        free.append(auth._source._lock._is_owned())  # type: ignore[attr-defined]
        auth._source._lock.release()

    def log_in(exchange: Exchange) -> None:
        settles(lambda: colour.name == "sync" or waiters(auth) == 10)
        note(exchange)
        issue()(exchange)

    def answer_slowly(exchange: Exchange) -> None:
        note(exchange)
        check(exchange)

    server.on_login(log_in)
    server.on_resource(answer_slowly)
    colour.send_many(10, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert free == [True] * 11


@pytest.mark.usefixtures("three_drops")
def test_always_refusing_endpoint_under_load_costs_three_logins(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B2: forty calls at once, and each is answered 401. Every caller gets it, at the cost of three logins at most."""
    colour.token(auth)
    server.on_resource(answer(401, {"detail": "Unauthorized"}))
    results = colour.send_many(40, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert [getattr(result, "status_code", result) for result in results] == [401] * 40
    assert server.login_count <= 1 + 3


def test_short_token_renews_without_a_failed_call(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """A2, F6: tokens of 3 s under load for some 3 s: no call fails, and logins are about as many as lifetimes."""
    server.lifetime = 3
    auth = LoginAuth(server.base_url, credentials=credentials)
    end = time.monotonic() + 3.2
    statuses: set[int] = set()

    def load() -> None:
        with httpx.Client(auth=auth) as client:
            while time.monotonic() < end:
                statuses.add(client.get(f"{server.base_url}/api").status_code)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200}
    assert 2 <= server.login_count <= 3


def test_deadline_leaves_the_connection_for_the_thread_that_reads_it_to_close(
    credentials: kyc_client.Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8: a TLS library reads by number: closed under it, the number may be another connection, with its passports."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    closers: list[str] = []

    def close(self: ssl.SSLSocket) -> None:
        if not self.server_side:
            closers.append(threading.current_thread().name)
        socket.socket.close(self)

    monkeypatch.setattr(ssl.SSLSocket, "close", close)
    with FaultServer(context=context) as server:
        server.on_login(drip(b"HTTP/1.1 200 OK\r\nX-Fake: ", 0.01))
        auth = LoginAuth(server.base_url, credentials=credentials, verify=trusting)
        auth._source._deadline = 0.3
        with pytest.raises(kyc_client.LoginUnavailableError):
            auth.get_token()
        (hanging,) = auth._source._hanging
        hanging.join(10)
    assert not hanging.is_alive()
    assert set(closers) == {"kyc-client-login"}


def test_check_is_what_the_server_does_by_default(server: FaultServer) -> None:
    """The tool itself: without a token its resources say 401, as the API does."""
    server.on_resource(check)
    assert httpx.get(f"{server.base_url}/api").json() == {"detail": "Unauthorized"}
