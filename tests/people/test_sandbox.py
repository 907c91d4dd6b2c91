"""The sandbox, over a real socket: it answers what the API's guide says, counts, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import base64
import errno
import gc
import importlib
import json
import re
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client.sandbox import LOGIN_PATH, RESOURCE_PATH, PortInUseError, RequestRecord, Sandbox, SandboxError
from kyc_client.sandbox import _server as sandbox_module
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 20.0  # seconds, for what takes a fraction of one
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox as it is by default."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client that knows nothing of tokens."""
    with httpx.Client(base_url=sandbox.base_url) as http:
        yield http


def log_in(http: httpx.Client, credentials: kyc_client.Credentials, **fields: str) -> httpx.Response:
    """The login's answer to these credentials, with fields changed or added."""
    form = {"username": credentials.username, "password": credentials.password, **fields}
    return http.post(LOGIN_PATH, data=form)


def token_of(http: httpx.Client, credentials: kyc_client.Credentials) -> str:
    """The token of a login that must succeed."""
    return log_in(http, credentials).raise_for_status().json()["access_token"]


def ask(http: httpx.Client, token: str) -> httpx.Response:
    """The resource's answer to this token."""
    return http.get(RESOURCE_PATH, headers={"Authorization": f"Bearer {token}"})


def claims_of(token: str) -> dict[str, Any]:
    """What the token says."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@contextmanager
def nothing_left_behind(folder: Path) -> Iterator[None]:
    """Fails if the block leaves a thread, a file in `folder`, or anything that warns when it is collected."""
    before = set(threading.enumerate())
    yield
    # The server's thread first, should it be still there: it may be just about to start others. Those, aiosqlite's and
    # AnyIO's workers, have been told to end by then and need not have done so this very moment.
    for is_next in (lambda thread: thread.name == "kyc-sandbox", lambda _thread: True):
        for thread in filter(is_next, set(threading.enumerate()) - before):
            thread.join(PATIENCE)
            assert not thread.is_alive(), thread
    gc.collect()
    assert list(folder.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sandbox puts its files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("extra", [{}, {"grant_type": "password"}], ids=["guide", "with grant_type"])
def test_login_and_protected_resource(sandbox: Sandbox, http: httpx.Client, extra: dict[str, str]) -> None:
    """The active user gets a bearer token, and with it the resource, which knows who asked."""
    login = log_in(http, sandbox.active, **extra)
    assert (login.status_code, login.json().keys()) == (200, {"access_token", "token_type"})
    assert login.json()["token_type"] == "bearer"

    answer = ask(http, login.json()["access_token"])
    assert (answer.status_code, answer.json()["user"]) == (200, sandbox.active.username)


@pytest.mark.parametrize(
    ("user", "fields", "code"),
    [
        ("active", {"password": "fake-and-wrong"}, "LOGIN_BAD_CREDENTIALS"),
        ("active", {"username": "nobody@sandbox.example"}, "LOGIN_BAD_CREDENTIALS"),
        ("inactive", {}, "LOGIN_BAD_CREDENTIALS"),
        ("unverified", {}, "LOGIN_USER_NOT_VERIFIED"),
    ],
    ids=["wrong password", "unknown user", "inactive", "unverified"],
)
def test_refused_logins(sandbox: Sandbox, http: httpx.Client, user: str, fields: dict[str, str], code: str) -> None:
    """Each way to be refused gets the guide's status and code, and counts as an attempt, not as a login."""
    answer = log_in(http, getattr(sandbox, user), **fields)
    assert (answer.status_code, answer.json()) == (400, {"detail": code})
    assert (sandbox.login_attempts, sandbox.login_count) == (1, 0)


def test_verification_may_be_waived() -> None:
    """Without required verification the unverified user logs in and gets the resource."""
    with Sandbox(require_verification=False) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        answer = ask(http, token_of(http, sandbox.unverified))
        assert (answer.status_code, answer.json()["user"]) == (200, sandbox.unverified.username)


@pytest.mark.parametrize(
    ("form", "outcome"),
    [
        ({"username": "somebody"}, "body.password: missing"),
        ({"username": "", "password": ""}, "body.username: missing, body.password: missing"),
        (
            {"username": "u", "password": "fake-secret", "grant_type": "fake-secret"},
            "body.grant_type: string_pattern_mismatch",
        ),
    ],
    ids=["field missing", "fields empty", "another grant_type"],
)
def test_invalid_form(sandbox: Sandbox, http: httpx.Client, form: dict[str, str], outcome: str) -> None:
    """An invalid form gets a 422; the record names the fields and the problem, and no value."""
    answer = http.post(LOGIN_PATH, data=form)
    assert (answer.status_code, type(answer.json()["detail"])) == (422, list)
    assert sandbox.requests == (RequestRecord("POST", LOGIN_PATH, 422, None, outcome),)


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({}, "Unauthorized: no token sent"),
        ({"Authorization": "Bearer nonsense"}, "Unauthorized: token not accepted"),
    ],
    ids=["no token", "bad token"],
)
def test_unauthorized(sandbox: Sandbox, http: httpx.Client, headers: dict[str, str], outcome: str) -> None:
    """Without a good token the resource answers 401, and the record tells the two cases apart."""
    answer = http.get(RESOURCE_PATH, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})
    assert sandbox.requests == (RequestRecord("GET", RESOURCE_PATH, 401, None, outcome),)


def test_token_lifetime() -> None:
    """`exp` lies as many seconds ahead as was asked for, fractions cut off."""
    with Sandbox(token_lifetime=100) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        before = int(time.time())
        expiry = claims_of(token_of(http, sandbox.active))["exp"]
        assert before + 100 <= expiry <= time.time() + 100


@pytest.mark.parametrize("lifetime", [None, 0])
def test_token_without_expiry(lifetime: int | None) -> None:
    """No lifetime means a token without `exp`, which is accepted."""
    with Sandbox(token_lifetime=lifetime) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        token = token_of(http, sandbox.active)
        assert "exp" not in claims_of(token)
        assert ask(http, token).status_code == 200


def test_expired_token() -> None:
    """A token whose lifetime is over gets 401."""
    with Sandbox(token_lifetime=-1) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        assert ask(http, token_of(http, sandbox.active)).status_code == 401


def test_revocation(sandbox: Sandbox, http: httpx.Client) -> None:
    """After `revoke_all` the tokens issued before get 401 for good, and the next login's token is accepted."""
    old = token_of(http, sandbox.active)
    assert ask(http, old).status_code == 200
    sandbox.revoke_all()
    assert ask(http, old).status_code == 401
    assert ask(http, token_of(http, sandbox.active)).status_code == 200
    assert ask(http, old).status_code == 401


def test_deactivation(sandbox: Sandbox, http: httpx.Client) -> None:
    """A deactivated user's token gets 401 and the login is refused; activated again, both work."""
    token = token_of(http, sandbox.active)
    sandbox.set_active(sandbox.active.username, active=False)
    assert ask(http, token).status_code == 401
    assert log_in(http, sandbox.active).json() == {"detail": "LOGIN_BAD_CREDENTIALS"}
    sandbox.set_active(sandbox.active.username, active=True)
    assert ask(http, token).status_code == 200
    assert log_in(http, sandbox.active).status_code == 200


def test_deactivating_nobody(sandbox: Sandbox) -> None:
    """A user that does not exist is an error that names those who do."""
    with pytest.raises(LookupError, match=r"'nobody'.*active@sandbox\.example, inactive@"):
        sandbox.set_active("nobody", active=False)


def test_log_lines() -> None:
    """One line a request says when, what, the answer, who and the outcome; never a password or a token."""
    lines: list[str] = []
    with Sandbox(log=lines.append) as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
        token = token_of(http, sandbox.active)
        ask(http, token)
        log_in(http, sandbox.active, password="fake-and-wrong")
        log_in(http, sandbox.unverified)
        http.get(RESOURCE_PATH, params={"access_token": token})
        http.get(LOGIN_PATH)
        http.post(f"{LOGIN_PATH}/")
        log_in(http, sandbox.active)
    times, what = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", time) for time in times)
    assert list(times) == sorted(times)
    assert list(what) == [
        "POST /auth/jwt/login 200 active@sandbox.example logged in (login 1)",
        "GET  /api/v1/resource 200 active@sandbox.example",
        "POST /auth/jwt/login 400 active@sandbox.example LOGIN_BAD_CREDENTIALS",
        "POST /auth/jwt/login 400 unverified@sandbox.example LOGIN_USER_NOT_VERIFIED",
        "GET  /api/v1/resource 401 - Unauthorized: no token sent",
        "GET  /auth/jwt/login 405 - Method Not Allowed",
        "POST /auth/jwt/login/ 307 -",
        "POST /auth/jwt/login 200 active@sandbox.example logged in (login 2)",
    ]
    assert [str(record) for record in sandbox.requests] == list(what)
    assert (sandbox.login_attempts, sandbox.login_count) == (4, 2)


def test_log_lines_can_not_be_forged(sandbox: Sandbox, http: httpx.Client) -> None:
    """A newline in a username or a path does not begin a second line."""
    log_in(http, kyc_client.Credentials("x\n12:00:00 POST /auth/jwt/login 200", "fake"))
    http.get("/a%0Ab")
    login, path = map(str, sandbox.requests)
    assert login == "POST /auth/jwt/login 400 x?12:00:00 POST /auth/jwt/login 200 LOGIN_BAD_CREDENTIALS"
    assert path == "GET  /a?b 404 - Not Found"


def test_silent_by_default(sandbox: Sandbox, http: httpx.Client, capfd: pytest.CaptureFixture[str]) -> None:
    """Without `log` nothing is printed."""
    log_in(http, sandbox.active)
    assert sandbox.login_count == 1
    assert capfd.readouterr() == ("", "")


def test_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`environ` is all that a service needs to call the sandbox."""
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    with kyc_client.connect() as client:
        resource = get_resource.sync(client=client)
    assert isinstance(resource, Resource)
    assert resource["user"] == sandbox.active.username
    assert sandbox.login_count == 1


def test_inside_of_an_event_loop() -> None:
    """The block may be part of async code: the server has a loop of its own."""

    async def main() -> int:
        with Sandbox() as sandbox:
            async with kyc_client.connect(sandbox.base_url, credentials=sandbox.active) as client:
                await get_resource.asyncio(client=client)
            return sandbox.login_count

    assert asyncio.run(main()) == 1


def test_nothing_left_behind(folder: Path) -> None:
    """After the block there is no thread, no file and no listener; what was counted is still there."""
    with nothing_left_behind(folder):
        # The client's connection is open when the server stops.
        with httpx.Client() as http:
            with Sandbox() as sandbox:
                http.base_url = sandbox.base_url
                ask(http, token_of(http, sandbox.active))
                assert [path.name for path in folder.glob("*/*")] == ["users.sqlite"]
            with pytest.raises(httpx.ConnectError):
                ask(http, "any")
        assert (sandbox.login_count, len(sandbox.requests)) == (1, 2)


def test_left_by_an_error(folder: Path) -> None:
    """An error in the block reaches the caller, and the sandbox stops all the same."""
    with nothing_left_behind(folder):
        with pytest.raises(ZeroDivisionError), Sandbox() as sandbox:
            _ = 1 / 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(sandbox.base_url)


def test_second_block(folder: Path) -> None:
    """A second block of the same object starts from scratch: no counts, and old tokens mean nothing."""
    sandbox = Sandbox()
    with nothing_left_behind(folder):
        with sandbox, httpx.Client(base_url=sandbox.base_url) as http:
            token = token_of(http, sandbox.active)
        with sandbox, httpx.Client(base_url=sandbox.base_url) as http:
            assert (sandbox.requests, sandbox.login_attempts, sandbox.login_count) == ((), 0, 0)
            assert ask(http, token).status_code == 401


def test_port(sandbox: Sandbox, folder: Path) -> None:
    """A port in use is an error of its own that says what to do; once free, it is the one that is used."""
    port = httpx.URL(sandbox.base_url).port
    assert port is not None
    with (
        nothing_left_behind(folder),
        pytest.raises(PortInUseError, match=rf"^Port {port} on 127\.0\.0\.1 is in use\. .*another port \(0: any"),
        Sandbox(port=port),
    ):
        pass
    sandbox.__exit__()
    with Sandbox(port=port) as second:
        assert second.base_url == f"http://127.0.0.1:{port}"
        assert httpx.get(second.base_url).status_code == 404


def test_answers_are_not_held_back(sandbox: Sandbox, http: httpx.Client) -> None:
    """No connection waits for acknowledgements between the head and the body of an answer, which takes 40 ms."""
    ask(http, "any")
    (connection,) = sandbox._server.server_state.connections
    peer = connection.transport.get_extra_info("socket")
    assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_port_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other reason why a port cannot be listened on is named, with the same advice."""

    def refuse(*_address: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    with (
        pytest.raises(SandboxError, match=r"port 80 .*\(Permission denied\): choose another") as caught,
        Sandbox(port=80),
    ):
        pass
    assert not isinstance(caught.value, PortInUseError)


def test_unfinished_request(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A client that never finishes its request holds up the stop for a second at most, without a traceback."""
    head = f"POST {LOGIN_PATH} HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with nothing_left_behind(folder):
        with Sandbox() as sandbox:
            url = httpx.URL(sandbox.base_url)
            connection = socket.create_connection((url.host, url.port), timeout=PATIENCE)
            connection.sendall(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
            # By asking for the body the server shows that the request is being worked on.
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.close()
        assert (sandbox.login_attempts, sandbox.requests) == (1, ())
        assert "Cancel 1 running task" in caplog.text
        assert [record for record in caplog.records if record.exc_info] == []


def test_failing_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong while the server starts is raised where the block is entered."""

    async def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sandbox_module, "_create_users", fail)
    with nothing_left_behind(folder), pytest.raises(OSError, match="No space left"), Sandbox():
        pass


def test_hanging_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not start in time is an error, not a wait for ever; it ends once it can."""
    release = threading.Event()

    async def hang(*_arguments: object) -> None:
        await asyncio.to_thread(release.wait, PATIENCE)

    monkeypatch.setattr(sandbox_module, "_create_users", hang)
    monkeypatch.setattr(sandbox_module, "_PATIENCE", 0)
    with nothing_left_behind(folder):
        with pytest.raises(SandboxError, match="did not start within 0 s"), Sandbox():
            pass
        release.set()


def test_hanging_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not stop in time is an error, not a wait for ever; it ends once it can."""
    with nothing_left_behind(folder), pytest.raises(SandboxError, match="did not stop within 0 s"), Sandbox():
        monkeypatch.setattr(sandbox_module, "_PATIENCE", 0)


def test_broken_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that breaks down during the block is reported at its end."""

    async def break_down(_server: object) -> None:
        raise RuntimeError("broken for the test")

    monkeypatch.setattr("uvicorn.Server.main_loop", break_down)
    broken = pytest.raises(RuntimeError, match="broken for the test")
    with nothing_left_behind(folder), broken, Sandbox() as sandbox:
        # Not before it has broken down: asked to stop while it starts, it would never come to that.
        sandbox._thread.join(PATIENCE)


@pytest.mark.parametrize("missing", ["uvicorn", "fastapi_users", "sqlalchemy.ext.asyncio"])
def test_missing_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra's packages the import fails with what to install."""
    for name in ("kyc_client.sandbox", "kyc_client.sandbox._server"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*: pip install 'kyc-client\[sandbox\]'$"):
        importlib.import_module("kyc_client.sandbox")


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="counts open files where Linux lists them")
def test_no_descriptor_leaks() -> None:
    """Sandbox after sandbox, the number of open files stays the same."""

    def open_files_after_a_block() -> int:
        with Sandbox() as sandbox, httpx.Client(base_url=sandbox.base_url) as http:
            token_of(http, sandbox.active)
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(PATIENCE)
        gc.collect()
        return len(list(OPEN_FILES.iterdir()))

    assert open_files_after_a_block() == open_files_after_a_block()
