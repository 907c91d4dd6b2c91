"""The examples of services and scripts do what they say, against the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.sync.server import serve

import kyc_client
from tests.support.examples import EXAMPLES, PATIENCE, loaded, run
from tests.support.fault_server import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection

    from kyc_client.sandbox import Sandbox
    from tests.support.fault_server import FaultServer

SERVICE = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", "0", "fastapi_service:app"]


@pytest.fixture
def login(server: FaultServer, credentials: kyc_client.Credentials) -> dict[str, str]:
    """The environment of a service that calls the fault server."""
    return {
        "API_BASE_URL": server.base_url,
        "API_LOGIN": credentials.username,
        "API_PASSWORD": credentials.password,
    }


@contextlib.contextmanager
def service(logs: str = "", **environ: str) -> Iterator[httpx.Client]:
    """The FastAPI service in a process of its own, which logs this at some time, and a client of it."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, on a file of the project
        SERVICE, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stderr is not None
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            addresses = (re.search(r"running on (http://\S+)", line) for line in process.stderr)
            address = next(filter(None, addresses))
            with httpx.Client(base_url=address[1], timeout=PATIENCE) as client:
                yield client
        finally:
            process.terminate()
            last_words = process.stderr.read()
            watchdog.cancel()
    assert "Application shutdown complete." in last_words
    assert logs in last_words


def test_fastapi_service(sandbox: Sandbox) -> None:
    """The service logs in at its first request, and once for all of them, also after a revocation."""
    with service(**sandbox.environ) as client:
        assert client.get("/health").json() == {"token": "none", "last_failure": None, "next_attempt_in": None}
        assert sandbox.login_attempts == 0
        for _ in range(3):
            assert client.get("/resource").raise_for_status().json()["user"] == sandbox.active.username
        assert sandbox.login_count == 1
        sandbox.revoke_all()
        assert client.get("/resource").status_code == HTTPStatus.OK
        assert sandbox.login_count == 2


def test_fastapi_service_without_a_login(server: FaultServer, login: dict[str, str]) -> None:
    """A login that is worth trying again is a 503 that says when; one that our caller cannot mend is a 502."""
    server.on_login(answer(503, headers={"Retry-After": "100"}))
    with service(**login) as client:
        response = client.get("/resource")
        assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert 1 <= int(response.headers["Retry-After"]) <= 100
        health = client.get("/health").raise_for_status().json()
        assert health["last_failure"] == "LoginUnavailableError"
        assert 90 < health["next_attempt_in"] <= 100
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    with service("Check API_LOGIN and API_PASSWORD", **login) as client:
        response = client.get("/resource")
        assert (response.status_code, response.json()["detail"]) == (502, "The KYC API does not let us in.")


def test_fastapi_service_with_a_failing_call(server: FaultServer, login: dict[str, str]) -> None:
    """A call that fails although the login is fine is a 502 that says so."""
    with service(**login) as client:
        server.on_resource(answer(503))
        response = client.get("/resource")
        assert (response.status_code, response.json()["detail"]) == (502, "The KYC API does not answer as it should.")
        server.on_resource(answer(401, {"detail": "Unauthorized"}))
        response = client.get("/resource")
        assert (response.status_code, response.json()["detail"]) == (502, "The KYC API does not accept our token.")


def test_fastapi_service_without_environment() -> None:
    """Without its variables the service does not start, and names all three."""
    result = subprocess.run(  # noqa: S603 - this interpreter, on a file of the project
        SERVICE, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert result.returncode != 0
    for name in ("API_BASE_URL", "API_LOGIN", "API_PASSWORD"):
        assert name in result.stderr


def test_prefork(sandbox: Sandbox) -> None:
    """Four forked workers do their tasks with the one login that was made before the fork."""
    # Python 3.12 warns at every fork of a process that has had threads.
    result = run("prefork", "-W", "ignore::DeprecationWarning", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"20 of 20 tasks done by [1-4] workers\n", result.stdout)
    assert sandbox.login_count == 1
    assert [record.status for record in sandbox.requests] == [200] * 21


def test_gather(sandbox: Sandbox) -> None:
    """Two hundred calls at the same time succeed with one login."""
    result = run("gather", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("200 of 200 calls succeeded")
    assert sandbox.login_count == 1
    assert len(sandbox.requests) == 201


def test_from_requests(sandbox: Sandbox) -> None:
    """The guide's way and ours get the same answer, with a login each."""
    result = run("from_requests", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    before, after = result.stdout.splitlines()
    assert sandbox.active.username in before
    assert sandbox.active.username in after
    assert sandbox.login_count == 2


def test_token_for_requests(sandbox: Sandbox) -> None:
    """`requests` sends the token of a LoginAuth."""
    result = run("token_elsewhere", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert sandbox.active.username in result.stdout
    assert [(record.method, record.status) for record in sandbox.requests] == [("POST", 200), ("GET", 200)]


def test_token_for_requests_after_a_revocation(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 401 to `requests` fails the call, and the next one logs in."""
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    example = loaded("token_elsewhere")
    auth = kyc_client.LoginAuth()
    auth.get_token()
    sandbox.revoke_all()
    with pytest.raises(Exception, match="401"):
        example.fetch(auth)
    assert example.fetch(auth)["user"] == sandbox.active.username
    assert sandbox.login_count == 2


def test_token_for_a_websocket(server: FaultServer, auth: kyc_client.LoginAuth) -> None:
    """A websocket server gets the token in the handshake, and lets us in for it."""

    def check(connection: ServerConnection, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and server.accepts(token):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "")

    with serve(lambda connection: connection.send("welcome"), "127.0.0.1", 0, process_request=check) as websockets:
        thread = threading.Thread(target=websockets.serve_forever)
        thread.start()
        try:
            host, port = websockets.socket.getsockname()
            message = asyncio.run(loaded("token_elsewhere").listen(f"ws://{host}:{port}", auth))
        finally:
            websockets.shutdown()
            thread.join()
    assert message == "welcome"
    assert server.login_count == 1
