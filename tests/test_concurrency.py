"""One login whatever happens, over a real socket: crowds, cancellation, loops that come and go, forks."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

import kyc_client
from colours import Asyncio, Threads, Trio
from fault_server import FaultServer, answer, check, drip, issue
from gate import Gate, waiters
from kyc_client import LoginAuth, connect
from kyc_openapi.api.resource import get_resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from colours import Colour
    from fault_server import Behaviour

REFUSED = answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"})
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


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


def test_always_refusing_endpoint_under_load_costs_few_logins(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B2: forty calls at once, all 401 for ever: every caller gets the 401, and the server sees few logins."""
    colour.token(auth)
    server.on_resource(answer(401, {"detail": "Unauthorized"}))
    results = colour.send_many(40, "GET", f"{server.base_url}/api", client={"auth": auth})
    assert [getattr(result, "status_code", result) for result in results] == [401] * 40
    assert server.login_count <= 3


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


# Processes


def _in_child(target: Callable[[], Any]) -> Any:
    """Run in a forked child, and return what it returned; a child that hangs is ended by its own watchdog."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            writer.send(target())
        except BaseException as error:  # noqa: BLE001 - it is the result
            writer.send(repr(error))
        finally:
            os._exit(0)
    writer.close()
    try:
        assert reader.poll(20), "the child does not answer"
        return reader.recv()
    finally:
        reader.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
        os.waitpid(child, 0)


pytestmark_fork = [
    needs_fork,
    # That a fork with threads is delicate is the point of these tests.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class TestFork:
    """What a forked child does with what it inherits."""

    pytestmark = pytestmark_fork

    def test_child_does_not_wait_for_a_login_of_its_parent(self, server: FaultServer, auth: LoginAuth) -> None:
        """I1: forked in the middle of a login, with the lock held: the child logs in itself, the parent's goes on."""
        gate = Gate()
        server.on_login(gate, issue())
        tokens = []
        parent = threading.Thread(target=lambda: tokens.append(auth.get_token().value))
        parent.start()
        gate.arrived.wait(10)
        with auth._source._lock:
            in_child = _in_child(lambda: auth.get_token().value)
        gate.opened.set()
        parent.join(10)
        assert server.accepts(in_child)
        assert tokens[0] != in_child
        assert server.login_count == 2

    def test_child_keeps_the_token(self, server: FaultServer, auth: LoginAuth) -> None:
        """A token is as good in a child as in its parent: no login of its own."""
        token = auth.get_token().value
        assert _in_child(lambda: auth.get_token().value) == token
        assert server.login_count == 1

    def test_parent_and_child_never_read_each_others_answers(
        self, server: FaultServer, credentials: kyc_client.Credentials
    ) -> None:
        """I2: forked with a warm connection: each process makes its own, and every answer is for its own question."""
        client = connect(server.base_url, credentials=credentials)
        get_resource.sync(client=client)

        def ask(who: str) -> list[str]:
            http = client.get_httpx_client()
            return [http.get(f"/{who}/{number}").json()["path"] for number in range(50)]

        answers: dict[str, list[str]] = {}
        parent = threading.Thread(target=lambda: answers.update(parent=ask("parent")))

        def child() -> list[str]:
            return ask("child")

        parent.start()
        answers["child"] = _in_child(child)
        parent.join(20)
        for who in ("parent", "child"):
            assert answers[who] == [f"/{who}/{number}" for number in range(50)]
        client.get_httpx_client().close()
        assert server.login_count == 1

    def test_child_uses_async_clients_of_its_own(
        self, server: FaultServer, credentials: kyc_client.Credentials
    ) -> None:
        """I2, I3: the same for the async client of a module-level client."""
        client = connect(server.base_url, credentials=credentials)
        mine = client.get_async_httpx_client()

        def child() -> tuple[bool, str]:
            resource = Asyncio().operation(get_resource, client)
            return client.get_async_httpx_client() is mine, resource["path"]

        assert _in_child(child) == (False, "/api/v1/resource")
        assert client.get_async_httpx_client() is mine


def test_process_that_ends_during_a_renewal_ends_at_once(server: FaultServer) -> None:
    """I3: a login in the background holds no interpreter back, and makes no noise on the way out."""
    program = (
        "import kyc_client, sys, threading;"
        f"auth = kyc_client.LoginAuth({server.base_url!r}, credentials=kyc_client.Credentials('fake', 'fake'));"
        "threading.Thread(target=auth.get_token, daemon=True).start();"
        "sys.stdin.read(1)"
    )
    gate = Gate()
    server.on_login(gate)
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        gate.arrived.wait(10)
        _, stderr = process.communicate(b"x", timeout=10)
    gate.opened.set()
    assert (process.returncode, stderr) == (0, b"")


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


def test_importing_and_connecting_do_nothing() -> None:
    """I3: no thread and no socket before the first call; importing does not even load asyncio."""
    program = (
        "import sys, threading, socket; socket.socket.connect = None;"
        "import kyc_client; print('asyncio' in sys.modules);"
        "kyc_client.connect('https://api.example.com', credentials=kyc_client.Credentials('fake', 'fake'));"
        "print(threading.active_count(), 'httpcore' in sys.modules, 'encodings.idna' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    # What a login needs is loaded by then: a fork in the middle of an import would block the child for ever.
    assert done.stdout.split() == ["False", "1", "True", "True"]


def test_check_is_what_the_server_does_by_default(server: FaultServer) -> None:
    """The tool itself: without a token its resources say 401, as the API does."""
    server.on_resource(check)
    assert httpx.get(f"{server.base_url}/api").json() == {"detail": "Unauthorized"}
