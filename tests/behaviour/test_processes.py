"""Forks, spawned processes and servers that preload: what a process does with what it inherits, and leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from tests.support.colours import Asyncio
from tests.support.fault_server import FaultServer, answer, check, issue
from tests.support.gate import Gate
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.colours import Colour
    from tests.support.fault_server import Exchange

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Longer than any of these programs takes, and shorter than the watchdog.
TIMEOUT = 90


def run_python(server: FaultServer, *arguments: str) -> str:
    """Run a program that finds the server in its environment, and return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-B", *arguments],
        env={**os.environ, **variables(server)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def variables(server: FaultServer) -> dict[str, str]:
    """What tells a process about the server."""
    return {"API_BASE_URL": server.base_url, "API_LOGIN": "fake-user", "API_PASSWORD": "fake-password-for-tests"}


def _fork(target: Callable[[], Any]) -> Callable[[], Any]:
    """Run in a forked child. What is returned waits for its result, and ends a child that hangs."""
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

    def collect() -> Any:
        try:
            assert reader.poll(30), "the child does not answer"
            return reader.recv()
        finally:
            reader.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    return collect


def _in_child(target: Callable[[], Any]) -> Any:
    return _fork(target)()


pytestmark_fork = [
    needs_fork,
    # That a fork with threads is delicate is the point of these tests.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class TestFork:
    """What a forked child does with what it inherits."""

    pytestmark = pytestmark_fork

    def test_child_does_not_wait_for_a_login_of_its_parent(
        self, server: FaultServer, auth: LoginAuth, colour: Colour
    ) -> None:
        """I1: forked in the middle of a login, with the lock held: the child logs in itself, the parent's goes on."""
        gate = Gate()
        server.on_login(gate, issue())
        tokens = []
        parent = threading.Thread(target=lambda: tokens.append(auth.get_token().value))
        parent.start()
        gate.arrived.wait(10)
        with auth._source._lock:
            in_child = _in_child(lambda: colour.token(auth).value)
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

        collect = _fork(lambda: ask("child"))
        answers = {"parent": ask("parent"), "child": collect()}
        for who, given in answers.items():
            assert given == [f"/{who}/{number}" for number in range(50)]
        ports = {who: {hit.client_port for hit in server.hits if hit.path.startswith(f"/{who}/")} for who in answers}
        assert ports["parent"].isdisjoint(ports["child"])
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


def test_importing_and_connecting_do_nothing() -> None:
    """I3: no thread and no socket before the first call. Neither is loaded what only a call or a login needs.

    Those modules come with the first call, in an import for which a fork waits. A fork in the middle of an import would
    block the child for ever.
    """
    program = (
        "import sys, threading, socket; socket.socket.connect = None;"
        "import kyc_client; print('asyncio' in sys.modules);"
        "kyc_client.connect('https://api.example.com', credentials=kyc_client.Credentials('fake', 'fake'));"
        "print(threading.active_count(), 'httpcore' in sys.modules, 'encodings.idna' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    # What a login needs is loaded with the first one, and a fork waits for that (tests/core/test_fork.py).
    assert done.stdout.split() == ["False", "1", "False", "False"]


class Rationed:
    """Logins that are answered 429 beyond so many a second, and when each of whom came."""

    def __init__(self, per_second: int) -> None:
        self.came: dict[str, list[float]] = {}
        self._per_second = per_second
        self._granted: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        who = httpx.QueryParams(exchange.body.decode())["username"]
        with self._lock:
            now = time.monotonic()
            self.came.setdefault(who, []).append(now)
            self._granted = [then for then in self._granted if now - then < 1]
            granted = len(self._granted) < self._per_second
            if granted:
                self._granted.append(now)
        then = issue() if granted else answer(429, {"detail": "Too many"}, {"Retry-After": "1"})
        then(exchange)


class TestFleet:
    """Many processes on one API."""

    pytestmark = pytestmark_fork

    def test_fleet_that_starts_together_is_patient(self, server: FaultServer) -> None:
        """G3: of eight children at two logins a second, each succeeds or fails typed, and nobody comes back early."""
        rationed = Rationed(2)
        server.on_login(rationed)

        def child(number: int) -> str:
            credentials = kyc_client.Credentials(f"fake-user-{number}", "fake-password-for-tests")
            auth = LoginAuth(server.base_url, credentials=credentials)
            try:
                return "token" if server.base_url and auth.get_token() else "nothing"
            except kyc_client.LoginUnavailableError as error:
                return str(error.status_code)

        children = [_fork(lambda number=number: child(number)) for number in range(8)]
        results = [collect() for collect in children]
        assert set(results) <= {"token", "429"}
        assert results.count("token") >= 2
        assert len(rationed.came) == 8
        for times in rationed.came.values():
            assert len(times) <= 3
            # Less a moment: a request that was held up on its way has not come back early.
            assert all(later - earlier > 0.7 for earlier, later in itertools.pairwise(times))


MODULE = """
import json, multiprocessing, os, sys
import kyc_client

client = kyc_client.connect()

def ask(number):
    return os.getpid(), client.get_httpx_client().get(f"/{number}").json()["path"]

if __name__ == "__main__":
    ask(0)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(json.dumps([os.getpid(), pool.map(ask, range(1, 21), chunksize=1)]))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_module_level_client_works_in_every_kind_of_process(server: FaultServer, tmp_path: Path, method: str) -> None:
    """I3: a pool of workers, by fork, forkserver and spawn. Forked ones keep the token, new ones log in themselves."""
    program = tmp_path / "service.py"
    program.write_text(MODULE)
    done = run_python(server, str(program), method)
    parent, answers = json.loads(done)
    workers = {pid for pid, _ in answers}
    assert parent not in workers
    assert [path for _, path in answers] == [f"/{number}" for number in range(1, 21)]
    assert server.login_count == 1 + (0 if method == "fork" else len(workers))
    # The parent's connection, and one of each worker's own.
    assert len({hit.client_port for hit in server.hits}) == 1 + len(workers)


@pytest.fixture
def gunicorn(server: FaultServer) -> Iterator[str]:
    """The address of gunicorn, which has preloaded `tests.support.preloaded` and forked two workers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--preload", "--workers=2", "--timeout=90", "--no-control-socket"]
        command += [f"--bind=fd://{listener.fileno()}", f"--pythonpath={ROOT}", "tests.support.preloaded:app"]
        with subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            env={**os.environ, **variables(server)},
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        ) as process:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:  # pragma: no cover - a server that does not stop
                process.kill()
                raise


@needs_fork
def test_workers_that_gunicorn_forks_after_the_first_call(server: FaultServer, gunicorn: str) -> None:
    """I2, I3: both workers answer with the client that was warm before the fork, each for its own questions."""
    both = threading.Barrier(2)

    def meet(exchange: Exchange) -> None:
        both.wait(30)  # A worker serves one request at a time: these two are in two workers.
        check(exchange)

    server.on_resource(check, meet, meet, check)
    answers: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}

    def ask(who: str) -> None:
        with httpx.Client(timeout=60, headers={"Connection": "close"}) as http:
            for number in range(20):
                pid, path = http.get(f"{gunicorn}/{who}/{number}").text.split()
                answers[who].append((pid, path))

    threads = [threading.Thread(target=ask, args=(who,)) for who in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for who, given in answers.items():
        assert [path for _, path in given] == [f"/{who}/{number}" for number in range(20)]
    assert len({pid for given in answers.values() for pid, _ in given}) == 2
    # That of before the fork, and one of each worker's own.
    assert len({hit.client_port for hit in server.hits}) == 3
    assert server.login_count == 1


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, kyc_client

with kyc_client.connect() as client:
    http = client.get_httpx_client()
    calls = [gevent.spawn(http.get, "/waits") for _ in range(20)]
    other = gevent.spawn(http.get, "/does-not-wait", auth=None)
    gevent.joinall([*calls, other], timeout=60, raise_error=True)
    print([call.value.status_code for call in calls] == [200] * 20)
"""


def test_greenlets_share_one_login(server: FaultServer) -> None:
    """I7: under gevent (patched before the import), greenlets wait for the login, and others go on meanwhile."""
    gate = Gate()
    server.on_login(gate)

    def open_the_gate(exchange: Exchange) -> None:
        if exchange.path == "/does-not-wait":
            gate.opened.set()
        check(exchange)

    server.on_resource(open_the_gate)
    assert run_python(server, "-c", GREENLETS).split() == ["True"]
    assert server.login_count == 1


FULL_RUN = """
import os, sys
written = []
CHANGES = {"os.link", "os.mkdir", "os.rename", "os.symlink", "os.truncate", "sqlite3.connect", "tempfile.mkstemp"}

def hook(event, arguments):
    if event == "open" and arguments[0] == os.devnull:
        return  # Imports of trio do, and of httpx where rich is installed. It is no file.
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
        written.append(str(arguments[0]))
    elif event in CHANGES:
        written.append(event)

sys.addaudithook(hook)
import asyncio, contextlib, logging, trio
import kyc_client
from kyc_openapi.api.resource import get_resource

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
with kyc_client.connect() as client:
    for _ in range(3):  # A login, a token that is there, a revocation.
        get_resource.sync(client=client)
    auth = client.get_httpx_client().auth
    auth.reset()
    with contextlib.suppress(kyc_client.BadCredentialsError):
        auth.get_token()
    auth.reset()

    async def call():
        async with client:
            await get_resource.asyncio(client=client)

    asyncio.run(call())
    trio.run(call)
print(written)
open(sys.argv[1], "w").close()
print(written)
"""


def test_nothing_is_written_to_a_disk(server: FaultServer, tmp_path: Path) -> None:
    """G4: Python's audit events of a full run show no file that is opened for writing; of one that is, they do."""
    server.on_login(issue(), issue(), answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}), issue())
    server.on_resource(check, check, answer(401, {"detail": "Unauthorized"}), check)
    ours = tmp_path / "written"
    assert run_python(server, "-c", FULL_RUN, str(ours)).splitlines() == ["[]", f"['{ours}']"]
    assert (server.login_count, len(server.hits)) == (4, 6)
