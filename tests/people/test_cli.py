"""The command line: what it prints where, its exit statuses, and how it stops."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pty
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import httpx
import pytest

import kyc_client
from kyc_client.cli import _commands
from kyc_client.cli import _options as _cli
from kyc_client.cli._doctor import Finding
from kyc_client.cli._exit import Exit, exit_for
from kyc_client.cli._terminal import report
from kyc_client.sandbox import Sandbox
from kyc_openapi.api.resource import get_resource
from tests.support.fault_server import Exchange, FaultServer, answer, hang, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    OnceItServes = Callable[[Callable[[], None]], None]

COMMAND = Path(sys.executable).with_name("kyc-client")
PATIENCE = 30.0  # seconds, for what takes one
FAKE = {"API_LOGIN": "fake-login@example.com", "API_PASSWORD": "fake-password-for-tests"}


def variables(stdout: str) -> dict[str, str]:
    """What a shell makes of the printed lines."""
    lines = [shlex.split(line) for line in stdout.splitlines()]
    assert {line[0] for line in lines} == {"export"}
    return dict(line[1].split("=", 1) for line in lines)


@pytest.fixture
def once_it_serves(monkeypatch: pytest.MonkeyPatch) -> OnceItServes:
    """Has the command do something, in its own thread, as soon as it has nothing left to do but wait."""

    def replace_the_wait(action: Callable[[], None]) -> None:
        monkeypatch.setattr(_commands, "sleep", lambda _seconds: action())

    return replace_the_wait


def stop() -> None:
    """Send this process what `kill` sends."""
    signal.raise_signal(signal.SIGTERM)


def test_module_is_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m kyc_client` is the same command, where no script is on the PATH; to import it runs nothing."""
    importlib.import_module("kyc_client.__main__")
    del sys.modules["kyc_client.__main__"]
    monkeypatch.setattr(sys, "argv", ["ignored", "--version"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("kyc_client", run_name="__main__")
    assert capsys.readouterr().out == f"kyc-client {kyc_client.__version__}\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` lists the commands, examples, the variables, and what each exit status means."""
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["--help"])
    output = capsys.readouterr().out
    for command in ("check", "get", "token", "sandbox"):
        assert re.search(rf"^    {command}  ", output, re.MULTILINE)
        assert f"kyc-client {command}" in output[output.index("examples:") :]
    assert "API_PASSWORD_FILE" in output
    for status in Exit:
        assert f" {status:>3}  {status.meaning}\n" in output


@pytest.mark.parametrize("command", [[], ["check"], ["get"], ["token"], ["sandbox"]])
def test_help_fits_any_terminal(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal that knows ASCII only, and is 80 columns wide, can show all of the help."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main([*command, "--help"])
    help_text = capsys.readouterr().out
    assert help_text.isascii()
    assert [line for line in help_text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", ["check", "get", "token"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command explains its options, with defaults, and gives examples of itself."""
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main([command, "--help"])
    output = " ".join(capsys.readouterr().out.split())
    assert "--timeout SECONDS for each connect, read and write" in output
    assert "(default: " in output
    assert f"kyc-client {command}" in output[output.index("examples:") :]


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
        (["token", "--timeout", "0"], "'0' is not a number of seconds greater than 0 and at most 3600"),
        (["token", "--timeout", "nan"], "'nan' is not a number of seconds"),
        (["get", "/x", "--timeout", "inf"], "'inf' is not a number of seconds"),
        (["check", "--timeout", "soon"], "'soon' is not a number of seconds"),
        (["get"], "the following arguments are required: PATH"),
    ],
    ids=lambda value: " ".join(value) or "no command" if isinstance(value, list) else "",
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
        f"The sandbox serves at {environ['API_BASE_URL']}. Run these lines (on stdout) in the shell of your service:",
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
    for name in ("kyc_client.sandbox", "kyc_client.sandbox._server"):
        monkeypatch.delitem(sys.modules, name)
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


# What every command has in common


def run(*arguments: str, environ: Mapping[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, **options}
    return subprocess.run([COMMAND, *arguments], env={**os.environ, **(environ or {})}, check=False, **options)  # noqa: S603


def variables_of(server: FaultServer) -> dict[str, str]:
    """The environment of somebody who uses the fault server."""
    return {"API_BASE_URL": server.base_url, **FAKE}


@pytest.fixture(autouse=True)
def _buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python buffers its output, as it does for everybody who has not told it otherwise."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def of_the_server(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    """The fault server, with an environment that leads to it."""
    for name, value in variables_of(server).items():
        monkeypatch.setenv(name, value)
    return server


FAILURES = {
    "bad credentials": ((400, {"detail": "LOGIN_BAD_CREDENTIALS"}), 7, "Check API_LOGIN and API_PASSWORD"),
    "not verified": ((400, {"detail": "LOGIN_USER_NOT_VERIFIED"}), 8, "Have the provider verify the user"),
    "down": ((503, {}, {"Retry-After": "900"}), 5, "Run `kyc-client check` to find the reason.\n"),
    "validation": ((422, {"detail": []}), 9, "did not accept the form"),
    "wrong place": ((404, {}), 9, "Check that the base URL"),
    "no token": ((200, {}), 9, "holds no token"),
}


@pytest.mark.parametrize("command", [["token"], ["token", "--json"], ["get", "/api/v1/resource"]], ids=" ".join)
@pytest.mark.parametrize(("answered", "status", "what_to_do"), FAILURES.values(), ids=FAILURES)
def test_failed_login(
    of_the_server: FaultServer,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    answered: tuple[Any, ...],
    status: int,
    what_to_do: str,
) -> None:
    """A login that fails is one line on stderr that says what to do, nothing on stdout, and a status of its own."""
    of_the_server.on_login(answer(*answered))
    assert _cli.main(command) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("kyc-client: error: ")
    assert what_to_do in err
    assert "fake-password-for-tests" not in err


@pytest.mark.parametrize("command", [["token"], ["get", "/api/v1/resource"]], ids=" ".join)
def test_missing_variables(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """All that is missing is named at once, and the status is that of a configuration that is not usable."""
    assert _cli.main(command) == 3
    out, err = capsys.readouterr()
    assert out == ""
    for name in ("API_BASE_URL", "API_LOGIN", "API_PASSWORD"):
        assert f"  - {name} is not set" in err


@pytest.mark.parametrize("command", [["token"], ["get", "/api/v1/resource"]], ids=" ".join)
def test_unusable_proxy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """A proxy that httpx cannot use is a mistake in the configuration. Nothing of its address is shown."""
    environ = {**FAKE, "API_BASE_URL": "https://kyc.invalid"}
    for name, value in {**environ, "HTTPS_PROXY": "nonsense://fake:fake-secret@proxy.invalid"}.items():
        monkeypatch.setenv(name, value)
    assert _cli.main(command) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "HTTPS_PROXY cannot be used" in err
    assert "proxy.invalid" not in err
    assert "fake-secret" not in err


def test_insecure_http(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`http://` to another host is refused, unless the option says otherwise: then it is tried, and not found."""
    for name, value in {**FAKE, "API_BASE_URL": "http://kyc.invalid"}.items():
        monkeypatch.setenv(name, value)
    assert _cli.main(["token"]) == 3
    assert _cli.main(["token", "--allow-insecure-http"]) == 5
    first, second = capsys.readouterr().err.splitlines()
    assert "in the clear to kyc.invalid" in first
    assert "at kyc.invalid could not be completed" in second


def test_timeout_of_the_login(of_the_server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    """`--timeout` ends a login that is not answered, long before the default of 30 s would."""
    of_the_server.on_login(hang)
    assert _cli.main(["token", "--timeout", "0.05"]) == 5
    assert "no answer in time" in capsys.readouterr().err


def test_every_login_error_has_a_status() -> None:
    """No error of the library passes for success, for a usage error, or for something that only `check` knows."""
    for name in kyc_client.errors.__all__:
        status = exit_for(getattr(kyc_client, name)("A message."))
        assert status in {
            Exit.CONFIGURATION, Exit.UNAVAILABLE, Exit.BAD_CREDENTIALS, Exit.NOT_VERIFIED, Exit.UNUSABLE
        }  # fmt: skip


# token


def test_token(of_the_server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    """`token` prints the token, and nothing else at all."""
    token = of_the_server.new_token()
    of_the_server.on_login(answer(200, {"access_token": token, "token_type": "bearer"}))
    assert _cli.main(["token"]) == 0
    assert capsys.readouterr() == (f"{token}\n", "")


def test_token_for_curl(sandbox: Sandbox) -> None:
    """What the shell makes of `$(kyc-client token)` is a header that the API accepts; the process says nothing else."""
    done = run("token", environ=sandbox.environ)
    assert (done.returncode, done.stderr) == (0, "")
    header = f"Bearer {done.stdout.rstrip()}"
    assert httpx.get(f"{sandbox.base_url}/api/v1/resource", headers={"Authorization": header}).status_code == 200


def test_token_as_json(of_the_server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` adds the type, and when it expires: as a time with its zone, and in seconds."""
    token = of_the_server.new_token(exp=4_000_000_000)
    of_the_server.on_login(answer(200, {"access_token": token, "token_type": "bearer"}))
    before = int(time.time())
    assert _cli.main(["token", "--json"]) == 0
    out, err = capsys.readouterr()
    parsed = json.loads(out)
    assert (out.count("\n"), err) == (1, "")
    left = parsed.pop("expires_in")
    assert parsed == {
        "access_token": token,
        "token_type": "bearer",
        "expires_at": "2096-10-02T07:06:40+00:00",
    }
    assert 4_000_000_000 - int(time.time()) - 1 <= left <= 4_000_000_000 - before


def test_token_whose_life_is_not_known(of_the_server: FaultServer, capsys: pytest.CaptureFixture[str]) -> None:
    """An opaque token has null for both."""
    of_the_server.on_login(answer(200, {"access_token": "fake-opaque-token", "token_type": "Bearer"}))
    assert _cli.main(["token", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "access_token": "fake-opaque-token",
        "token_type": "bearer",
        "expires_at": None,
        "expires_in": None,
    }


def test_token_on_a_machine_whose_clock_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`expires_in` is by the server's clock, also if that one is two hours ahead of ours."""
    with FaultServer(lifetime=2 * 3600 + 600, date=lambda: time.time() + 2 * 3600) as server:
        for name, value in variables_of(server).items():
            monkeypatch.setenv(name, value)
        assert _cli.main(["token", "--json"]) == 0
    assert 500 < json.loads(capsys.readouterr().out)["expires_in"] <= 602


# get


def test_get(of_the_server: FaultServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`get` prints the body byte for byte, and nothing else; the call carries the token."""
    body = bytes(range(256)) * 1000
    of_the_server.on_resource(answer(200, body, {"Content-Type": "application/pdf"}))
    assert _cli.main(["get", "/documents/1"]) == 0
    assert capsysbinary.readouterr() == (body, b"")
    (hit,) = of_the_server.hits
    assert (hit.method, hit.target) == ("GET", "/documents/1")
    assert hit.token is not None
    assert of_the_server.accepts(hit.token)


@pytest.mark.parametrize(
    "path", ["/kyc/items?page=2&x=%2F", "kyc/items?page=2&x=%2F", "{origin}/kyc/items?page=2&x=%2F"]
)
def test_get_path(of_the_server: FaultServer, path: str) -> None:
    """A path with or without its slash, or the whole URL, come to the same."""
    assert _cli.main(["get", path.format(origin=of_the_server.base_url)]) == 0
    assert [hit.target for hit in of_the_server.hits] == ["/kyc/items?page=2&x=%2F"]


def test_get_below_the_base_url(of_the_server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of the base URL comes before PATH, as it does for every operation."""
    monkeypatch.setenv("API_BASE_URL", f"{of_the_server.base_url}/kyc")
    assert _cli.main(["get", "/items"]) == 0
    assert [hit.target for hit in of_the_server.hits] == ["/kyc/items"]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("https://elsewhere.invalid/items", "has another origin than {origin}. The token is sent to no other origin"),
        ("//elsewhere.invalid/items", "has another origin than {origin}"),
        ("https://127.0.0.1:{port}/items", "has another origin than {origin}"),
        ("http://localhost:{port}/items", "has another origin than {origin}"),
        ("http://127.0.0.1/items", "has another origin than {origin}"),
        ("items:search", "has another origin than {origin}"),
        ("http://fake-user@127.0.0.1:{port}/items", "contains a user or password"),
        ("/items\n", "is not a path"),
        ("", "PATH is empty"),
        ("http://[/items", "has another origin than {origin}"),
    ],
)
def test_get_of_what_is_not_the_apis(
    of_the_server: FaultServer, capsys: pytest.CaptureFixture[str], path: str, complaint: str
) -> None:
    """Another origin, however it is spelled, is a usage error; nothing is sent, not even a login."""
    names = {"origin": of_the_server.base_url, "port": of_the_server.port}
    assert _cli.main(["get", path.format(**names)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert complaint.format(**names) in err
    assert "Give a path of the API, such as /api/v1/resource." in err
    assert of_the_server.exchanges == []


def test_get_include(of_the_server: FaultServer, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """`-i` prints the status and the headers before the body."""
    of_the_server.on_resource(answer(200, b"the body", {"X-Twice": "\xe9"}))
    assert _cli.main(["get", "-i", "/items"]) == 0
    head, _, body = capsysbinary.readouterr().out.partition(b"\n\n")
    status, *headers = head.split(b"\n")
    assert (status, body) == (b"HTTP/1.1 200", b"the body")
    assert b"Content-Length: 8" in headers
    assert b"X-Twice: \xc3\xa9" in headers


@pytest.mark.parametrize(
    ("status", "headers", "complaint"),
    [
        (401, {}, "The API answered /items with 401.\n"),
        (404, {}, "The API answered /items with 404.\n"),
        (500, {}, "The API answered /items with 500.\n"),
        (302, {"Location": "https://elsewhere.invalid/"}, "302, a redirect, which this command does not follow.\n"),
    ],
)
def test_get_of_an_error(
    of_the_server: FaultServer,
    capsys: pytest.CaptureFixture[str],
    status: int,
    headers: dict[str, str],
    complaint: str,
) -> None:
    """An answer that is not a success is printed all the same; a line on stderr and the status tell."""
    of_the_server.on_resource(answer(status, {"detail": "why"}, headers))
    assert _cli.main(["get", "/items?page=2"]) == 22
    out, err = capsys.readouterr()
    assert json.loads(out) == {"detail": "why"}
    assert err == f"kyc-client: error: {complaint}" or err.endswith(complaint)


@pytest.mark.parametrize(
    ("how", "hint"),
    [(reset, "Run `kyc-client check` to find the reason."), (hang, "Use a longer --timeout.")],
    ids=["broken", "not answered"],
)
def test_get_whose_connection_fails(
    of_the_server: FaultServer, capsys: pytest.CaptureFixture[str], how: Any, hint: str
) -> None:
    """A call that is not answered is one line on stderr, and the status of an API that is down."""
    of_the_server.on_resource(how)
    assert _cli.main(["get", "/items", "--timeout", "0.5"]) == 5
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "The call failed (Read" in err
    assert err.endswith(f"). {hint}\n")


def test_get_streams(of_the_server: FaultServer) -> None:
    """What has come is printed at once, however long the rest may take."""
    go_on = threading.Event()

    def in_two_parts(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nfirst ")
        go_on.wait(PATIENCE)
        exchange.send(b"second")

    of_the_server.on_resource(in_two_parts)
    with start("get", "/items") as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"first "
        go_on.set()
        assert process.communicate(timeout=PATIENCE) == (b"second", b"")
    assert process.returncode == 0


# How it ends


@contextlib.contextmanager
def start(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run the installed command while the block lasts."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    # Tests that run in the background of a shell ignore Ctrl-C, and what they start would too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = subprocess.Popen([COMMAND, *arguments], **options)  # noqa: S603 - the command of this project
    finally:
        signal.signal(signal.SIGINT, before)
    with started as process:
        try:
            yield process
        finally:
            # Does nothing to a process that has ended, as it should have.
            process.kill()


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("command", [["token"], ["get", "/items"], ["check"]], ids=" ".join)
def test_interrupted(of_the_server: FaultServer, command: list[str]) -> None:
    """Ctrl-C ends a command that waits, in silence, with the status that a shell expects."""
    of_the_server.on_login(hang)
    with start(*command) as process:
        until(lambda: of_the_server.login_count)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, b"")


def test_reader_that_stops_reading(of_the_server: FaultServer) -> None:
    """`kyc-client get … | head -c 6` ends in silence, with the status that a shell expects."""
    of_the_server.on_resource(answer(200, b"enough " + b"x" * 1_000_000))
    with start("get", "/items") as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"enough"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["token"], ["check"]], ids=" ".join)
def test_output_that_nobody_reads(of_the_server: FaultServer, command: list[str]) -> None:
    """The same where all the output would fit into a buffer, which Python writes only when it ends."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with stream_to(write_end) as closed_pipe, start(*command, stdout=closed_pipe) as process:
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (141, b"")


def test_output_that_finds_no_room(of_the_server: FaultServer) -> None:
    """A full disk is one line on stderr, and not a traceback at the end."""
    with stream_to("/dev/full") as full, start("token", stdout=full) as process:
        _, err = process.communicate(timeout=PATIENCE)
    message = b"kyc-client: error: The output cannot be written (No space left on device).\n"
    assert (process.returncode, err) == (1, message)


@pytest.mark.parametrize(("redirection", "status"), [(">&-", 0), ("2>&-", 3), (">&- 2>&-", 3), ("2>/dev/full", 3)])
def test_streams_that_are_closed(of_the_server: FaultServer, redirection: str, status: int) -> None:
    """A shell that gives no stdout or stderr gets nothing there, nothing elsewhere, and the right status."""
    environ = {**os.environ, **variables_of(of_the_server)}
    if status == 3:
        del environ["API_LOGIN"]
    done = subprocess.run(  # noqa: S603 - the command that the project itself installs
        ["/bin/sh", "-c", f'"$0" token {redirection}', COMMAND],
        env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def stream_to(path: str | int) -> TextIO:
    """A text stream to a file or descriptor, as Python makes stdout."""
    return open(path, "w", encoding="utf-8")  # noqa: PTH123 - takes descriptors too


@pytest.mark.parametrize("command", [["token"], ["--version"]], ids=" ".join)
def test_closed_pipe_in_this_process(
    of_the_server: FaultServer, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """The status comes from `main`, and what could not be written is gone: closing the stream does not complain."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    stdout = stream_to(write_end)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert _cli.main(command) == 141
    stdout.close()


def test_full_disk_in_this_process(
    of_the_server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Likewise for a full disk."""
    stdout = stream_to("/dev/full")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert _cli.main(["token"]) == 1
    stdout.close()
    assert "No space left on device" in capsys.readouterr().err


def test_stderr_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be told, the status still tells."""
    stderr = stream_to("/dev/full")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        assert _cli.main(["token"]) == 3
    stderr.close()


def test_no_streams_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has None for a stream that was closed when it began."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        patch.setattr(sys, "stderr", None)
        assert _cli.main(["token"]) == 3
        sys.stdout.close()
        sys.stderr.close()


def test_interrupted_in_this_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C at any moment is a status, and silence."""

    def interrupt(_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(_commands, "token", interrupt)
    assert _cli.main(["token"]) == 130
    assert capsys.readouterr() == ("", "")


# On a terminal


def on_a_terminal(*arguments: str, environ: Mapping[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with start(*arguments, stdout=theirs, env={**os.environ, "TERM": "xterm", **environ}) as process:
        os.close(theirs)
        written = b""
        # Linux reports the end of a terminal as an error.
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 1024):
                written += chunk
        process.wait(PATIENCE)
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


class ATerminal(io.BytesIO):
    """What claims to be one."""

    def isatty(self) -> bool:
        return True


def a_terminal(encoding: str) -> tuple[io.BytesIO, io.TextIOWrapper]:
    """A terminal in this process, and what was written to it."""
    buffer = ATerminal()
    return buffer, io.TextIOWrapper(buffer, encoding=encoding, newline="\n")


def test_json_on_a_terminal(of_the_server: FaultServer) -> None:
    """JSON is indented for people, and letters are shown as letters."""
    of_the_server.on_resource(answer(200, b'{"name":"Zo\\u00eb","n":[1,2]}', {"Content-Type": "application/json"}))
    written = on_a_terminal("get", "/items", environ={"PYTHONIOENCODING": "utf-8"})
    assert written == '{\n  "name": "Zoë",\n  "n": [\n    1,\n    2\n  ]\n}\n'


@pytest.mark.parametrize(
    ("content_type", "body", "encoding", "written"),
    [
        ("application/json; charset=utf-8", b"[1]", "utf-8", b"[\n  1\n]\n"),
        ("Application/Problem+JSON", b"[1]", "utf-8", b"[\n  1\n]\n"),
        ("application/json", b'["\xc3\xab"]', "ascii", b'[\n  "\\u00eb"\n]\n'),
        ("application/json", b'["\\ud800"]', "utf-8", b'[\n  "\\ud800"\n]\n'),
        ("application/json", b"not JSON", "utf-8", b"not JSON"),
        ("application/json", b"[" * 100_000, "utf-8", b"[" * 100_000),
        ("application/json", b"\x1b]0;title\x07", "utf-8", b"?]0;title?"),
        ("application/json", b'["\xc2\x9b31m"]', "utf-8", b'[\n  "?31m"\n]\n'),
        ("text/plain", b"[1]", "utf-8", b"[1]"),
        ("text/plain", b"a\tb\r\n\x1b[31mred\xc3\xab", "utf-8", b"a\tb\r\n?[31mred\xc3\xab"),
        ("text/plain; charset=latin-1", b"\x9b31m\xeb", "ascii", b"?31m?"),
    ],
    ids=[
        "JSON",
        "a kind of JSON",
        "ASCII terminal",
        "lone surrogate",
        "not JSON",
        "too deep",
        "escapes, not JSON",
        "escape in JSON",
        "text",
        "escapes",
        "escapes, ASCII terminal",
    ],
)
def test_what_a_terminal_gets(
    of_the_server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    content_type: str,
    body: bytes,
    encoding: str,
    written: bytes,
) -> None:
    """Only what is JSON is indented, in characters that the terminal has; nothing that it would obey gets there."""
    of_the_server.on_resource(answer(200, body, {"Content-Type": content_type}))
    buffer, terminal = a_terminal(encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        assert _cli.main(["get", "/items"]) == 0
    assert buffer.getvalue() == written


def test_check_on_a_terminal(of_the_server: FaultServer) -> None:
    """On a real terminal there are colours."""
    written = on_a_terminal("check", environ={"PYTHONIOENCODING": "utf-8"})
    assert written.startswith("\033[32m✓\033[0m variables ")
    assert "\n\033[2m-\033[0m TLS " in written


def test_no_color_on_a_terminal(of_the_server: FaultServer) -> None:
    """Unless its user wants none."""
    written = on_a_terminal("check", environ={"PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"})
    assert written.startswith("✓ variables ")
    assert "\033" not in written


GOOD = Finding("login", "accepted")
BAD = Finding("login", "refused …", Exit.BAD_CREDENTIALS, "Do this,\nthen that.")
SKIPPED = Finding("login", "not checked", None)


@pytest.mark.parametrize(
    ("finding", "encoding", "environ", "written"),
    [
        (GOOD, "utf-8", {}, "\033[32m✓\033[0m login       accepted\n"),
        (GOOD, "utf-8", {"NO_COLOR": ""}, "\033[32m✓\033[0m login       accepted\n"),
        (GOOD, "utf-8", {"NO_COLOR": "1"}, "✓ login       accepted\n"),
        (GOOD, "utf-8", {"TERM": "dumb"}, "✓ login       accepted\n"),
        (GOOD, "ascii", {}, "\033[32mok  \033[0m login       accepted\n"),
        (GOOD, "cp1252", {"NO_COLOR": "1"}, "ok   login       accepted\n"),
        (
            BAD,
            "utf-8",
            {},
            "\033[31m✗\033[0m login       refused …\n              Do this,\n              then that.\n",
        ),
        (
            BAD,
            "ascii",
            {"NO_COLOR": "1"},
            "FAIL login       refused \\u2026\n                 Do this,\n                 then that.\n",
        ),
        (SKIPPED, "utf-8", {}, "\033[2m-\033[0m login       not checked\n"),
        (SKIPPED, "ascii", {"NO_COLOR": "1"}, "-    login       not checked\n"),
    ],
)
def test_marks_and_colours(
    monkeypatch: pytest.MonkeyPatch, finding: Finding, encoding: str, environ: dict[str, str], written: str
) -> None:
    """As far as a terminal, and its user, will have them; what to do stands below what was found."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm", **environ}.items():
        monkeypatch.setenv(name, value)
    buffer, terminal = a_terminal(encoding)
    report(finding, terminal)
    assert buffer.getvalue().decode(encoding) == written


def test_no_colours_in_a_file(of_the_server: FaultServer) -> None:
    """Whatever reads the output of a pipe gets no escape sequences."""
    done = run("check", environ={"PYTHONIOENCODING": "utf-8", "TERM": "xterm"})
    assert done.stdout.startswith("✓ variables ")
    assert "\033" not in done.stdout


def test_quick_start() -> None:
    """The command line itself imports nothing of the server."""
    code = (
        "import sys, contextlib, kyc_client.cli._options as cli\n"
        "with contextlib.suppress(SystemExit):\n"
        "    cli.main(['--version'])\n"
        "print({'fastapi', 'sqlalchemy', 'uvicorn', 'kyc_client.sandbox'} & set(sys.modules))"
    )
    answer = subprocess.run(  # noqa: S603 - this interpreter, on the lines above
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert answer.stdout.splitlines()[1:] == ["set()"]
