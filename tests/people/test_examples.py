"""The examples do what they say, as they stand: they are what a reader copies."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import httpx
import pytest

from kyc_client.sandbox import Sandbox
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from tests.support.examples import EXAMPLES, PATIENCE, loaded, run


def test_quickstart() -> None:
    """Both halves of the quickstart get the resource, each of its clients with one login, without a warning."""
    with Sandbox() as sandbox:
        service = run("quickstart", **sandbox.environ)
        assert (service.returncode, service.stderr) == (0, "")
        assert [line.split()[0] for line in service.stdout.splitlines()] == ["sync", "async"]
        assert service.stdout.count(sandbox.active.username) == 2
        assert sandbox.login_count == 2


def test_quickstart_without_environment() -> None:
    """Without its variables the quickstart names all three, and ends with status 1 and no traceback."""
    service = run("quickstart")
    assert service.returncode == 1
    assert service.stderr.startswith("Not configured, nothing was sent. ")
    assert "Traceback" not in service.stderr
    for name in ("API_BASE_URL", "API_LOGIN", "API_PASSWORD"):
        assert name in service.stderr


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        ("active", "fake-and-wrong", "Trying again is pointless before someone fixes the credentials. "),
        ("unverified", None, "No login. "),
    ],
    ids=["wrong password", "unverified"],
)
def test_quickstart_refused(
    user: str, password: str | None, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refused login ends the quickstart with status 1 and the error's own words, after one attempt."""
    with Sandbox() as sandbox:
        credentials = getattr(sandbox, user)
        monkeypatch.setenv("API_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("API_LOGIN", credentials.username)
        monkeypatch.setenv("API_PASSWORD", password or credentials.password)
        assert loaded("quickstart").main() == 1
        assert sandbox.login_attempts == 1
    assert capsys.readouterr().err.startswith(message)


def test_quickstart_without_a_server(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is not there is worth trying again, and the quickstart says so."""
    with Sandbox() as sandbox:
        pass
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    assert loaded("quickstart").main() == 1
    assert re.match(r"Worth trying again in \d+ s\. ", capsys.readouterr().err)


@pytest.mark.parametrize("error", [httpx.ReadTimeout("too slow"), UnexpectedStatus(503, b"")], ids=["transport", "503"])
def test_quickstart_with_a_failing_call(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the call itself is told apart from an error of the login."""

    def fail(**_arguments: object) -> None:
        raise error

    monkeypatch.setattr(get_resource, "sync", fail)
    with Sandbox() as sandbox:
        for name, value in sandbox.environ.items():
            monkeypatch.setenv(name, value)
        assert loaded("quickstart").main() == 1
    assert capsys.readouterr().err.startswith("The login is fine, the call itself failed. ")


def test_demo() -> None:
    """The demo keeps all of its promises, the server's log proves five logins, and no process is left."""
    demo = subprocess.Popen(  # noqa: S603 - this interpreter, on a file of the project
        [sys.executable, "-W", "error", EXAMPLES / "demo.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process group of its own, so that what it leaves behind can be found.
        start_new_session=True,
    )
    with demo:
        try:
            output, errors = demo.communicate(timeout=PATIENCE)
        finally:
            demo.kill()
    assert (demo.returncode, errors) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)

    scenes, summary = output.split("The server counted 5 logins in ")
    assert [number for number, _ in re.findall(r"^(\d)\. (.+)$", scenes, re.MULTILINE)] == list("12345")
    assert re.findall(r"logged in \(login (\d)\)", scenes) == list("12345")
    assert re.findall(r"logged in \(login (\d)\)", summary) == list("12345")
    assert "BadCredentialsError: The API refused the login (400 LOGIN_BAD_CREDENTIALS)" in scenes
    assert "FAILED" not in output
    assert "fake-" not in output
    assert output.endswith("All promises held.\n")


def test_demo_with_a_broken_promise(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A promise that does not hold is shown, and the demo's status is 1."""
    demo = loaded("demo")

    def scene(stage: object) -> None:
        """Promise too much."""
        demo.Stage.check(stage, "what holds", holds=True)
        demo.Stage.check(stage, "what does not", holds=False)

    monkeypatch.setattr(demo, "SCENES", (scene,))
    # The demo sets these for itself; pytest puts them back.
    for name in ("API_BASE_URL", "API_LOGIN", "API_PASSWORD", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    assert demo.main() == 1
    output = capsys.readouterr().out
    assert "1. Promise too much.\n  ok     | what holds\n  FAILED | what does not\n" in output
    assert output.endswith("1 promises did not hold.\n")
