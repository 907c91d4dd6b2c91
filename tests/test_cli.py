"""The command line: what it prints where, its exit statuses, and how it stops."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import kyc_client
from kyc_client import _cli
from kyc_client.sandbox import Sandbox
from kyc_openapi.api.resource import get_resource

if TYPE_CHECKING:
    from collections.abc import Callable

    OnceItServes = Callable[[Callable[[], None]], None]

COMMAND = Path(sys.executable).with_name("kyc-client")
PATIENCE = 30.0  # seconds, for what takes one


def variables(stdout: str) -> dict[str, str]:
    """What a shell makes of the printed lines."""
    lines = [shlex.split(line) for line in stdout.splitlines()]
    assert {line[0] for line in lines} == {"export"}
    return dict(line[1].split("=", 1) for line in lines)


@pytest.fixture
def once_it_serves(monkeypatch: pytest.MonkeyPatch) -> OnceItServes:
    """Has the command do something, in its own thread, as soon as it has nothing left to do but wait."""

    def replace_the_wait(action: Callable[[], None]) -> None:
        monkeypatch.setattr(_cli, "sleep", lambda _seconds: action())

    return replace_the_wait


def stop() -> None:
    """Send this process what `kill` sends."""
    signal.raise_signal(signal.SIGTERM)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists the commands, with examples."""
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["--help"])
    output = capsys.readouterr().out
    assert "sandbox   run the API's login on this machine" in output
    assert "examples:\n  kyc-client sandbox  " in output


def test_help_of_the_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    """`sandbox --help` explains its options, with defaults and examples."""
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["sandbox", "--help"])
    output = " ".join(capsys.readouterr().out.split())
    assert "--port PORT TCP port to listen on; 0 takes a free one (default: 8000)" in output
    assert "--token-lifetime SECONDS" in output
    assert "--no-verification" in output
    assert "examples: kyc-client sandbox" in output


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and the library's version."""
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["--version"])
    assert capsys.readouterr().out == f"kyc-client {kyc_client.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sandbox", "--port", "65536"], "'65536' is not a whole number from 0 to 65535"),
        (["sandbox", "--port", "http"], "'http' is not a whole number"),
        (["sandbox", "--token-lifetime", "-1"], "'-1' is not a whole number"),
        (["sandbox", "--token-lifetime", "1.5"], "'1.5' is not a whole number"),
        (["sandbox", "--token-lifetime", "²"], "'²' is not a whole number"),
    ],
    ids=["no command", "port too high", "port a word", "lifetime negative", "lifetime a fraction", "not a digit"],
)
def test_usage_errors(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A usage error exits with 2 and names what is wrong."""
    with pytest.raises(SystemExit, match=r"^2$"):
        _cli.main(arguments)
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sandbox(
    number: signal.Signals,
    once_it_serves: OnceItServes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It serves until a signal, then returns 0; the lines to paste are all that stdout gets, and they work."""
    printed: list[str] = []

    def use_and_stop() -> None:
        printed.append(capsys.readouterr().out)
        environ = variables(printed[0])
        credentials = kyc_client.Credentials.from_env(environ)
        with kyc_client.connect(environ["API_BASE_URL"], credentials=credentials) as client:
            assert get_resource.sync_detailed(client=client).status_code == 200
        signal.raise_signal(number)

    once_it_serves(use_and_stop)
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    assert _cli.main(["sandbox", "--port", "0"]) == 0
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers

    assert variables(printed[0]).keys() == {"API_BASE_URL", "API_LOGIN", "API_PASSWORD"}
    rest = capsys.readouterr()
    assert rest.out == ""
    assert [line.split(" ", 1)[1] for line in rest.err.splitlines()] == [
        "POST /auth/jwt/login 200 active@sandbox.example logged in (login 1)",
        "GET  /api/v1/resource 200 active@sandbox.example",
    ]


def test_sandbox_introduces_itself(once_it_serves: OnceItServes, capsys: pytest.CaptureFixture[str]) -> None:
    """Stderr tells what to do with the lines, which other users there are, and how to end it; no password."""
    once_it_serves(stop)
    assert _cli.main(["sandbox", "--port", "0"]) == 0
    out, err = capsys.readouterr()
    environ = variables(out)
    assert err.splitlines() == [
        f"The sandbox serves at {environ['API_BASE_URL']}. Paste this into the shell of your service:",
        "Other users, with the same password:",
        "  inactive@sandbox.example    LOGIN_BAD_CREDENTIALS",
        "  unverified@sandbox.example  LOGIN_USER_NOT_VERIFIED",
        "Requests (Ctrl-C ends the sandbox):",
    ]
    assert environ["API_PASSWORD"] not in err


def test_sandbox_options(once_it_serves: OnceItServes, capsys: pytest.CaptureFixture[str]) -> None:
    """The options reach the server: the unverified user logs in, and the token has no expiry."""
    expiries = []

    def use_and_stop() -> None:
        url = variables(capsys.readouterr().out)["API_BASE_URL"]
        auth = kyc_client.LoginAuth(url, credentials=Sandbox().unverified)
        expiries.append(auth.get_token().expires_at)
        stop()

    once_it_serves(use_and_stop)
    assert _cli.main(["sandbox", "--port", "0", "--no-verification", "--token-lifetime", "0"]) == 0
    assert expiries == [None]


def test_sandbox_says_that_the_unverified_user_may_log_in(
    once_it_serves: OnceItServes, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--no-verification` the introduction does not promise a refusal."""
    once_it_serves(stop)
    assert _cli.main(["sandbox", "--port", "0", "--no-verification"]) == 0
    assert "  unverified@sandbox.example  may log in\n" in capsys.readouterr().err


def test_sandbox_waits(once_it_serves: OnceItServes, capsys: pytest.CaptureFixture[str]) -> None:
    """A wait that ends without a signal is followed by the next one."""
    waits = 0

    def stop_the_third_time() -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            stop()

    once_it_serves(stop_the_third_time)
    assert _cli.main(["sandbox", "--port", "0"]) == 0
    assert waits == 3


def test_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A port in use is one line on stderr and status 1."""
    with Sandbox() as sandbox:
        port = httpx.URL(sandbox.base_url).port
        assert _cli.main(["sandbox", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"kyc-client: error: Port {port} on 127.0.0.1 is in use. ")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra there is one line on stderr that says what to install, and status 1."""
    monkeypatch.delitem(sys.modules, "kyc_client.sandbox")
    monkeypatch.setitem(sys.modules, "fastapi_users", None)
    assert _cli.main(["sandbox"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("kyc-client: error: ")
    assert err.endswith("pip install 'kyc-client[sandbox]'\n")


def test_interrupted_while_it_starts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A signal that comes before the sandbox serves ends it as quietly as a later one."""
    monkeypatch.setattr(socket, "create_server", lambda *_address: stop())
    assert _cli.main(["sandbox", "--port", "0"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("start", "number"),
    [
        ([COMMAND], signal.SIGINT),
        ([COMMAND], signal.SIGTERM),
        # What a shell without job control does for a command in the background.
        (["sh", "-c", 'trap "" INT; exec "$0" "$@"', COMMAND], signal.SIGINT),
    ],
    ids=["Ctrl-C", "kill", "Ctrl-C in the background"],
)
def test_process(start: list[str | Path], number: signal.Signals) -> None:
    """The installed command serves, logs as it goes, and on a signal ends with status 0 and without a traceback."""
    process = subprocess.Popen(  # noqa: S603 - the command that the project itself installs
        [*start, "sandbox", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            environ = variables("".join(process.stdout.readline() for _ in range(3)))
            introduction = [process.stderr.readline() for _ in range(5)]
            assert introduction[-1] == "Requests (Ctrl-C ends the sandbox):\n"
            assert httpx.get(f"{environ['API_BASE_URL']}/api/v1/resource").status_code == 401
            assert process.stderr.readline().endswith("/api/v1/resource 401 - Unauthorized: no token sent\n")
            process.send_signal(number)
            assert process.communicate(timeout=PATIENCE) == ("", "")
        finally:
            # Does nothing to a process that has ended, as it should have.
            process.kill()
    assert process.returncode == 0


def test_quick_start() -> None:
    """The command line itself imports nothing of the server."""
    code = (
        "import sys, contextlib, kyc_client._cli as cli\n"
        "with contextlib.suppress(SystemExit):\n"
        "    cli.main(['--version'])\n"
        "print({'fastapi', 'sqlalchemy', 'uvicorn', 'kyc_client.sandbox'} & set(sys.modules))"
    )
    answer = subprocess.run(  # noqa: S603 - this interpreter, on the lines above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert answer.stdout.splitlines()[1:] == ["set()"]
