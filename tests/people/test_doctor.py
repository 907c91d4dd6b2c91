"""`kyc-client check`: each kind of failure is told apart, by its line and by its exit status."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import threading
import time
import types
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

from kyc_client.cli import _doctor
from kyc_client.cli import _options as _cli
from kyc_client.cli._exit import Exit
from tests.people.test_cli import FAKE, start
from tests.support.connect_proxy import ConnectProxy
from tests.support.fault_server import FaultServer, answer, hang, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kyc_client.sandbox import Sandbox

    Check = Callable[..., "Report"]

NAMES = ["variables", "base URL", "host", "connection", "TLS", "login", "token", "clock"]
BASE, HOST, CONNECTION, TLS, LOGIN, TOKEN, CLOCK = NAMES[1:]
BUNDLE = "CA bundle"
PATIENCE = 30.0
# A host that does not exist: RFC 6761, section 6.4.
NOWHERE = "https://kyc.invalid"


class Report:
    """What `check` printed, line by line, and its exit status."""

    def __init__(self, status: int, out: str) -> None:
        self.status, self.out = status, out
        self.marks: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        name = ""
        for line in out.splitlines():
            if line[0] != " ":
                mark, name, text = re.fullmatch(r"(\S+) (.{11}) (.*)", line).groups()  # type: ignore[union-attr]
                name = name.rstrip()
                self.marks[name], self.texts[name] = mark, text
            else:
                self.texts[name] += f"\n{line.strip()}"
        # It has a line of its own only if there is something to say about it.
        assert [name for name in self.marks if name != BUNDLE] == NAMES
        for secret in FAKE.values():
            assert secret not in out

    @property
    def picture(self) -> str:
        """The marks alone, in order."""
        return "".join(self.marks.values())


@pytest.fixture(autouse=True)
def _no_bundle_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the bundles that the machine's environment names."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs `check` in this process, on this base URL and with these variables besides the login and password."""

    def run_it(base_url: str | None, *arguments: str, **variables: str | None) -> Report:
        for name, value in {**FAKE, "API_BASE_URL": base_url, **variables}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        status = _cli.main(["check", *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        return Report(status, out)

    return run_it


class Certificates:
    """A certificate authority, the file that makes it known, and servers with its certificates."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.file)

    def context(self, host: str = "127.0.0.1", **settings: Any) -> ssl.SSLContext:
        """A server's context, with a certificate for this host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host, **settings).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority that no machine knows."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and which nobody else can take meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


# All is well


def test_all_is_well(certificates: Certificates, check: Check) -> None:
    """Every line has its mark, says what was found, and shows neither login nor password nor token; the status is 0."""
    with FaultServer(context=certificates.context()) as server:
        server.on_login(issue(sub="fake-subject", aud=["fake:audience"]))
        report = check(f"{server.base_url}/", SSL_CERT_FILE=certificates.file)
        (login,) = server.logins
        (probe,) = server.hits
    assert (report.status, report.picture) == (0, "✓✓✓✓✓✓✓✓")
    assert report.texts["variables"] == "API_BASE_URL, API_LOGIN, API_PASSWORD; also SSL_CERT_FILE"
    assert report.texts[BASE] == server.base_url
    assert report.texts[HOST] == "127.0.0.1"
    assert report.texts[CONNECTION] == f"port {server.port} is open"
    assert re.fullmatch(r"TLSv1\.\d, certificate valid until \w{3} .* GMT", report.texts[TLS])
    assert re.fullmatch(r"accepted within \d+\.\d\d s", report.texts[LOGIN])
    assert re.fullmatch(
        r'sub "fake-subject", aud \["fake:audience"\], expires in 60 min, at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC',
        report.texts[TOKEN],
    )
    assert report.texts[CLOCK] == "agrees with the server's"
    # The request that looked for the way had nothing on it that is worth having.
    assert (login.method, probe.method, probe.token, probe.body) == ("POST", "GET", None, b"")


def test_all_is_well_on_this_machine(sandbox: Sandbox, check: Check) -> None:
    """`http://` to this machine needs no TLS, which is no failure; the real server's claims are shown."""
    active = sandbox.active
    report = check(sandbox.base_url, API_LOGIN=active.username, API_PASSWORD=active.password)
    assert (report.status, report.picture) == (0, "✓✓✓✓-✓✓✓")
    assert report.texts[TLS] == "not used, because the base URL is http://"
    assert 'aud ["fastapi-users:auth"]' in report.texts[TOKEN]
    assert (sandbox.login_attempts, sandbox.login_count) == (1, 1)


# What is wrong with the variables


@pytest.mark.parametrize("missing", ["API_LOGIN", "API_PASSWORD"])
def test_missing_variable(server: FaultServer, check: Check, missing: str) -> None:
    """A missing variable is named; what does not depend on it is looked at all the same, and no login is sent."""
    report = check(server.base_url, **{missing: None})
    assert (report.status, report.picture) == (3, "✗✓✓✓---✓")
    assert f"{missing} is not set (set it, or set {missing}_FILE" in report.texts["variables"]
    assert report.texts[LOGIN] == report.texts[TOKEN] == "not checked: see variables"
    assert server.logins == []


def test_no_variables(check: Check) -> None:
    """Without a base URL there is nothing to look at; all that is missing is named at once."""
    report = check(None, API_LOGIN=None, API_PASSWORD=None)
    assert (report.status, report.picture) == (3, "✗-------")
    *problems, found = report.texts["variables"].splitlines()
    assert found == "Found: none of the API's is set"
    assert [problem.split()[0] for problem in problems] == ["API_BASE_URL", "API_LOGIN", "API_PASSWORD"]
    assert report.texts[BASE] == report.texts[HOST] == "not checked: see variables"


def test_names_and_never_values(check: Check, tmp_path: Path) -> None:
    """Of variables and secret files, the names are shown: those that are there, as they are spelled."""
    (tmp_path / "password").write_text(FAKE["API_PASSWORD"])
    report = check(
        NOWHERE,
        API_PASSWORD=None,
        API_PASSWORD_FILE=str(tmp_path / "password"),
        no_proxy="*",
        HTTPS_PROXY="http://fake:fake-secret@proxy.invalid",
    )
    assert report.status == 4
    names = "API_BASE_URL, API_LOGIN, API_PASSWORD_FILE; also HTTPS_PROXY, no_proxy"
    assert report.texts["variables"] == names
    assert "fake-secret" not in report.out
    assert str(tmp_path) not in report.out


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("http://kyc.invalid", "would send the password in the clear to kyc.invalid"),
        ("kyc.invalid", "must start with https://"),
        ("https://fake-user:fake-secret@kyc.invalid", "holds a user or password"),
    ],
)
def test_unfit_base_url(check: Check, base_url: str, problem: str) -> None:
    """A base URL that is not fit for a password ends it there, before anything is sent."""
    report = check(base_url)
    assert (report.status, report.picture) == (3, "✓✗------")
    assert problem in report.texts[BASE]
    assert report.texts[HOST] == report.texts[LOGIN] == "not checked: see base URL"
    assert "fake-secret" not in report.out


def test_insecure_base_url_that_is_wanted(check: Check) -> None:
    """With `--allow-insecure-http` the same base URL is gone after."""
    report = check("http://kyc.invalid", "--allow-insecure-http")
    assert (report.status, report.picture) == (4, "✓✓✗-----")


def test_certificates_that_cannot_be_loaded(check: Check, tmp_path: Path) -> None:
    """A path in SSL_CERT_FILE that leads nowhere is a matter of configuration."""
    report = check(NOWHERE, SSL_CERT_FILE=str(tmp_path / "nowhere.pem"))
    assert (report.status, report.picture) == (3, "✓✓✗------")
    assert "SSL_CERT_FILE, verify= or cert= cannot be loaded (No such file or directory)" in report.texts[BUNDLE]
    assert report.texts[HOST] == "not checked: see CA bundle"


@pytest.mark.parametrize("proxy", ["nonsense://fake:fake-secret@proxy.invalid", "socks5://proxy.invalid"])
def test_proxy_that_cannot_be_used(check: Check, proxy: str) -> None:
    """A proxy of a kind that httpx does not know is a matter of configuration too. The line names its variable."""
    report = check(NOWHERE, HTTPS_PROXY=proxy)
    assert (report.status, report.picture) == (3, "✓✓✗-----")
    if proxy.startswith("socks"):
        assert report.texts[HOST] == "HTTPS_PROXY needs an extra of httpx: pip install 'httpx[socks]'."
    else:
        assert report.texts[HOST].startswith("HTTPS_PROXY cannot be used. A good one looks like http://")
    assert "fake-secret" not in report.out


# What is wrong with the network


def test_unknown_host(check: Check) -> None:
    """A name that does not exist."""
    report = check(NOWHERE)
    assert (report.status, report.picture) == (4, "✓✓✗-----")
    assert report.texts[HOST].startswith("kyc.invalid is not known (")
    assert report.texts[HOST].endswith("\nCheck the host in API_BASE_URL, and the name service (DNS).")
    assert report.texts[CONNECTION] == report.texts[TOKEN] == "not checked: see host"
    assert report.texts[CLOCK] == "not checked: see host"


def test_name_that_cannot_be_one(check: Check) -> None:
    """A label of a name has at most 63 characters; Python's complaint about it is none of the name service's."""
    report = check(f"https://{'a' * 64}.invalid")
    assert (report.status, report.picture) == (4, "✓✓✗-----")


def test_name_service_that_does_not_answer(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that takes for ever, and cannot be interrupted, is given up."""
    goes_on = threading.Event()

    def look_up(*_: object, **__: object) -> list[object]:
        goes_on.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        report = check(NOWHERE, "--timeout", "0.5")
    finally:
        goes_on.set()
    assert (report.status, report.picture) == (4, "✓✓✗-----")
    assert "kyc.invalid is not known (no answer in time)" in report.texts[HOST]


def test_machine_that_is_too_slow(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not even a connection was begun, nothing is said about the settings."""
    goes_on = threading.Event()
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda *_: goes_on.wait(PATIENCE))
    try:
        report = check(NOWHERE, "--timeout", "0.01")
    finally:
        goes_on.set()
    assert (report.status, report.picture) == (5, "✓✓✗-----")
    assert report.texts[HOST] == "no connection was started in time\nUse a longer --timeout."


def test_addresses(check: Check, server: FaultServer) -> None:
    """A name is shown with what it stands for."""
    report = check(f"http://localhost:{server.port}")
    assert report.status == 0
    assert re.fullmatch(r"localhost is .*127\.0\.0\.1.*", report.texts[HOST])


def test_nobody_listens(check: Check) -> None:
    """A port that refuses: the server is down."""
    with closed_port() as port:
        report = check(f"https://127.0.0.1:{port}")
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert f"port {port} cannot be reached (Connection refused)" in report.texts[CONNECTION]
    assert "Check the port in API_BASE_URL and the firewall" in report.texts[CONNECTION]
    assert report.texts[LOGIN] == "not checked: see connection"


def test_nobody_answers_the_connection(check: Check) -> None:
    """A firewall that drops everything, here a listener whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)  # noqa: FBT003 - the socket's own signature
            client.connect_ex(listener.getsockname())
        report = check(f"https://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "0.2")
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert "cannot be reached (no answer in time)" in report.texts[CONNECTION]


# TLS


TLS_FAILURES: dict[str, tuple[dict[str, Any], bool, str, str]] = {
    "unknown issuer": ({}, False, "unable to get local issuer certificate", "set SSL_CERT_FILE"),
    "another host": ({"host": "kyc.invalid"}, True, "127.0.0.1", "Check the host in API_BASE_URL"),
    "expired": (
        {"not_after": datetime.now(UTC) - timedelta(days=1)},
        True,
        "certificate has expired",
        "Check the clock of this machine. If it is right, the provider must renew",
    ),
    "not yet valid": (
        {"not_before": datetime.now(UTC) + timedelta(days=1)},
        True,
        "certificate is not yet valid",
        "Check the clock of this machine",
    ),
}


@pytest.mark.parametrize(("certificate", "known", "reason", "what_to_do"), TLS_FAILURES.values(), ids=TLS_FAILURES)
def test_certificate(
    certificates: Certificates,
    check: Check,
    certificate: dict[str, Any],
    known: bool,  # noqa: FBT001 - a column of the table
    reason: str,
    what_to_do: str,
) -> None:
    """A server that cannot prove who it is gets no request at all, and so no password."""
    with FaultServer(context=certificates.context(**certificate)) as server:
        report = check(server.base_url, SSL_CERT_FILE=certificates.file if known else None)
        assert server.exchanges == []
    assert (report.status, report.picture) == (6, "✓✓✓✓✗---")
    assert reason in report.texts[TLS]
    assert "the password was not sent" in report.texts[TLS]
    assert what_to_do in report.texts[TLS]
    assert report.texts[LOGIN] == "not checked: see TLS"


def test_client_certificate_that_is_wanted(certificates: Certificates, check: Check) -> None:
    """TLS 1.3 refuses a client only after the handshake is over for it; that is a failure of TLS all the same."""
    context = certificates.context()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.configure_trust(context)
    with FaultServer(context=context) as server:
        report = check(server.base_url, SSL_CERT_FILE=certificates.file)
        assert server.exchanges == []
    assert (report.status, report.marks[TLS]) == (6, "✗")


@contextlib.contextmanager
def port_that_says(raw: bytes) -> Iterator[int]:
    """A port where one connection is taken, read from, told this, and closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(PATIENCE)


def test_port_that_does_not_speak_tls(check: Check) -> None:
    """Something else listens on that port."""
    with port_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        report = check(f"https://127.0.0.1:{port}")
    assert (report.status, report.picture) == (6, "✓✓✓✓✗---")
    assert "Check the scheme and port of API_BASE_URL" in report.texts[TLS]


def test_port_that_hangs_up(check: Check) -> None:
    """So does what stands in front of a server that is down; it may also be the wrong port."""
    with port_that_says(b"") as port:
        report = check(f"https://127.0.0.1:{port}")
    assert (report.status, report.picture) == (5, "✓✓✓✓✗---")
    assert "The API may be down: try again later. Check the scheme and port of API_BASE_URL" in report.texts[TLS]


def test_handshake_that_is_not_answered(check: Check) -> None:
    """A port that takes the connection and then says nothing is given up after the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        report = check(f"https://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "0.2")
    assert (report.status, report.picture) == (5, "✓✓✓✓✗---")
    assert "was not answered (no answer in time)" in report.texts[TLS]
    assert "The API may be down" in report.texts[TLS]


# Through a proxy


def test_through_a_proxy(server: FaultServer, check: Check) -> None:
    """What the environment says about proxies holds here too: the name that is looked up is the proxy's."""
    report = check("http://kyc.invalid", "--allow-insecure-http", HTTP_PROXY=server.base_url)
    assert (report.status, report.picture) == (0, "✓✓✓✓-✓✓✓")
    assert report.texts[HOST] == "127.0.0.1, a proxy from the environment"
    assert {exchange.target for exchange in server.exchanges} == {
        "http://kyc.invalid/",
        "http://kyc.invalid/auth/jwt/login",
    }


def test_proxy_that_refuses(server: FaultServer, check: Check) -> None:
    """A proxy that does not let us through; it sees where to, and no password."""
    server.on_resource(answer(403))
    report = check(NOWHERE, HTTPS_PROXY=server.base_url)
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert f"the proxy on port {server.port} refuses: 403" in report.texts[CONNECTION]
    assert [(exchange.method, exchange.body) for exchange in server.exchanges] == [("CONNECT", b"")]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_says_nothing(check: Check, scheme: str) -> None:
    """D8: a proxy that takes the connection and opens no way is the proxy's trouble: not a failure of the API's TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        report = check(NOWHERE, "--timeout", "0.2", HTTPS_PROXY=f"{scheme}://127.0.0.1:{port}")
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert report.texts[CONNECTION].startswith(
        f"the proxy on port {port} opens no tunnel to the API (no answer in time)"
    )
    assert report.texts[CONNECTION].endswith("\nCheck HTTPS_PROXY, or ask the proxy's operator.")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_hangs_up(check: Check, scheme: str) -> None:
    """Likewise one that closes the connection, or does not speak TLS although it is said to."""
    with port_that_says(b"") as port:
        report = check(NOWHERE, HTTPS_PROXY=f"{scheme}://127.0.0.1:{port}")
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert f"the proxy on port {port} opens no tunnel to the API" in report.texts[CONNECTION]


def test_tls_through_a_tunnel(certificates: Certificates, check: Check) -> None:
    """D8: once the proxy has opened the way, TLS is the API's again, good or bad."""
    with FaultServer(context=certificates.context()) as server, ConnectProxy() as proxy:
        good = check(server.base_url, HTTPS_PROXY=proxy.url, SSL_CERT_FILE=certificates.file)
        bad = check(server.base_url, HTTPS_PROXY=proxy.url, SSL_CERT_FILE=None)
    assert (good.status, good.picture) == (0, "✓✓✓✓✓✓✓✓")
    assert good.texts[CONNECTION] == f"port {proxy.port} is open"
    assert (bad.status, bad.picture) == (6, "✓✓✓✓✗---")


def test_what_a_proxy_says_does_not_reach_the_terminal(check: Check) -> None:
    """A reason of a hostile proxy's is shown without what a terminal would obey."""
    with ConnectProxy(b"HTTP/1.1 403 \x1b[31mBAD\x07\r\nContent-Length: 0\r\n\r\n") as proxy:
        report = check(NOWHERE, HTTPS_PROXY=proxy.url)
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert "\x1b" not in report.out
    assert "\x07" not in report.out


def test_proxy_that_is_down(check: Check) -> None:
    """The advice is about the proxy, and not about the API's port."""
    with closed_port() as port:
        report = check(NOWHERE, HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert (report.status, report.picture) == (5, "✓✓✓✗----")
    assert report.texts[CONNECTION].endswith("\nCheck HTTPS_PROXY, or ask the proxy's operator.")


def test_proxy_that_is_unknown(check: Check) -> None:
    """Likewise for its name."""
    report = check("https://127.0.0.1", HTTPS_PROXY="http://proxy.invalid")
    assert (report.status, report.picture) == (4, "✓✓✗-----")
    assert report.texts[HOST].startswith("proxy.invalid, a proxy from the environment, is not known (")
    assert "\nCheck HTTPS_PROXY, and the name service (DNS)." in report.texts[HOST]


# Login


def test_wrong_password_and_unverified_user(sandbox: Sandbox, check: Check) -> None:
    """The real server's refusals have a status each, and the clock is looked at all the same."""
    users = {
        "wrong password": (sandbox.active.username, "fake-wrong-password", 7),
        "inactive": (sandbox.inactive.username, sandbox.inactive.password, 7),
        "unverified": (sandbox.unverified.username, sandbox.unverified.password, 8),
    }
    for login, password, status in users.values():
        report = check(sandbox.base_url, API_LOGIN=login, API_PASSWORD=password)
        assert (report.status, report.picture) == (status, "✓✓✓✓-✗-✓")
        assert report.texts[TOKEN] == "not checked: see login"
        assert login not in report.out
    assert sandbox.login_count == 0


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (answer(503, {}, {"Retry-After": "900"}), 5),
        (answer(429, {}, {"Retry-After": "900"}), 5),
        (hang, 5),
        (answer(404), 9),
        (answer(422, {"detail": []}), 9),
        (answer(307, b"", {"Location": "https://elsewhere.invalid/"}), 9),
        (answer(200, b"<html>", {"Content-Type": "text/html"}), 9),
    ],
    ids=["503", "429", "no answer", "404", "422", "redirect", "HTML"],
)
def test_other_answers_to_the_login(server: FaultServer, check: Check, behaviour: Any, status: int) -> None:
    """A server that is down is told apart from one that answers something else; the library's own words say what."""
    server.on_login(behaviour)
    report = check(server.base_url, "--timeout", "0.3")
    assert (report.status, report.picture) == (status, "✓✓✓✓-✗-✓")
    assert ". " in report.texts[LOGIN]


def test_first_request_that_is_not_answered(server: FaultServer, check: Check) -> None:
    """What answers the login counts: an API may have nothing at the base URL, which costs only the clock's line."""
    server.on_resource(hang)
    report = check(server.base_url, "--timeout", "0.5")
    assert (report.status, report.picture) == (0, "✓✓✓✓-✓✓-")


# Token


@pytest.mark.parametrize(
    ("token", "text"),
    [
        ("fake-opaque-token", "without a readable expiry: it is used until the API answers 401"),
        ({"sub": "fake", "exp": None}, 'sub "fake", without a readable expiry: it is used until the API answers 401'),
        ({"sub": "\x1b[2J", "exp": None}, r'sub "\u001b[2J", without a readable expiry'),
        ({"sub": "x" * 100, "exp": None}, f'sub "{"x" * 79}..., without a readable expiry'),
    ],
    ids=["opaque", "no exp", "escape sequence", "long"],
)
def test_claims(server: FaultServer, check: Check, token: Any, text: str) -> None:
    """Whatever a token says is shown on one short line, and does nothing to the terminal."""
    value = server.new_token(**token) if isinstance(token, dict) else token
    server.on_login(answer(200, {"access_token": value, "token_type": "bearer"}))
    report = check(server.base_url)
    assert report.status == 0
    assert report.texts[TOKEN].startswith(text)
    assert value not in report.out


def test_expired_token(server: FaultServer, check: Check) -> None:
    """A token that is past by both clocks is a failure, since every call will be answered 401."""
    server.on_login(issue(exp=int(time.time()) - 60))
    report = check(server.base_url)
    assert (report.status, report.picture) == (9, "✓✓✓✓-✓✗✓")
    assert 'sub "fake-user", expired at' in report.texts[TOKEN]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_799, "48 h"),
        (172_800, "2 days"),
        (8_640_000, "100 days"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    """The largest unit of which there are at least two."""
    assert _doctor._span(seconds) == text


# Clock


@pytest.mark.parametrize(
    ("began", "ended", "date", "offset"),
    [
        (1000.0, 1000.5, 1000, 0),  # the very second
        (1000.9, 1001.0, 999, 0),  # a Date that lags by 1.9 s
        (1002.1, 1002.2, 1000, 0),  # by 2.1 s: as far as a Date may lag
        (1002.6, 1002.7, 1000, 0.5),  # more than it may lag: we are ahead
        (1000.0, 1000.1, 1001, -0.9),  # a Date from the future: we are behind
        (1000.0, 1031.0, 1030, 0),  # a slow answer: the server may have written it at its end
        (1000.0, 1031.0, 1000, 0),  # or at its beginning
        (4600.0, 4600.1, 1000, 3597.9),
    ],
)
def test_offset(began: float, ended: float, date: float, offset: float) -> None:
    """The least that the clocks must differ by, since a Date lags and an answer takes its time."""
    assert _doctor.clock_offset(began, ended, date) == pytest.approx(offset)


@pytest.mark.parametrize(
    ("ahead", "mark", "text"),
    [
        (0, "✓", "agrees with the server's"),
        (-1, "✓", "agrees with the server's"),  # and up to one second more, since it is cut
        (20, "✓", "behind the server's, which is harmless"),
        (-20, "✓", "ahead of the server's, which is harmless"),
        (3600, "✗", "60 min behind the server's\nSet the clock of this machine"),
        (-3600, "✗", "60 min ahead of the server's\nSet the clock of this machine"),
        (40, "✗", "behind the server's\nSet"),
        (-40, "✗", "ahead of the server's\nSet"),
    ],
)
def test_clock(check: Check, ahead: float, mark: str, text: str) -> None:
    """A `Date` lags by up to 2.1 s, which is no news; 30 s do no harm; more has a status, although the login works."""
    with FaultServer(date=lambda: time.time() + ahead) as server:
        report = check(server.base_url)
    assert (report.status, report.picture) == (0 if mark == "✓" else 10, f"✓✓✓✓-✓✓{mark}")
    assert text in report.texts[CLOCK]


def test_life_by_the_servers_clock(check: Check) -> None:
    """What is left of a token's life is what the server will say, and not what a wrong clock would make of it."""
    with FaultServer(lifetime=3 * 3600, date=lambda: time.time() + 2 * 3600) as server:
        report = check(server.base_url)
    assert report.status == 10
    assert "expires in 60 min, at " in report.texts[TOKEN]


def test_token_that_is_past_by_the_servers_clock_only(check: Check) -> None:
    """If the server's own `Date` says that a new token is past, one of its clocks is wrong, and not the token."""
    with FaultServer(lifetime=3600, date=lambda: time.time() + 2 * 3600) as server:
        report = check(server.base_url)
    assert (report.status, report.picture) == (10, "✓✓✓✓-✓✓✗")
    assert report.texts[TOKEN].endswith("which is past by the server's clock")


@pytest.mark.parametrize(
    "headers", [{"Date": "yesterday"}, {"Date": "Tue, 01 Jan 2030 00:00:00 GMT", "Age": "5"}], ids=["none", "cached"]
)
def test_no_time(server: FaultServer, check: Check, headers: dict[str, str]) -> None:
    """A server that does not tell the time, or a cache that tells an old one, is no failure."""
    server.on_resource(answer(404, {}, headers))
    report = check(server.base_url)
    assert (report.status, report.picture) == (0, "✓✓✓✓-✓✓-")
    assert report.texts[CLOCK] == "not checked: the answer did not give the server's time"


# Several at once


def test_first_failure_counts(check: Check) -> None:
    """The status is that of the first line that failed; the others are shown all the same."""
    with FaultServer(date=lambda: time.time() + 3600) as server:
        server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
        refused = check(server.base_url)
        missing = check(server.base_url, API_PASSWORD=None)
    assert (refused.status, refused.picture) == (7, "✓✓✓✓-✗-✗")
    assert (missing.status, missing.picture) == (3, "✗✓✓✓---✗")
    with closed_port() as port:
        report = check(f"http://127.0.0.1:{port}", API_PASSWORD=None)
    assert (report.status, report.picture) == (3, "✗✓✓✗----")


def test_kinds_of_failure_as_processes(certificates: Certificates, sandbox: Sandbox) -> None:
    """A script tells all kinds of failure apart by the status of the process; stderr stays empty."""
    active, unverified = sandbox.active, sandbox.unverified
    right = {"API_BASE_URL": sandbox.base_url, "API_LOGIN": active.username, "API_PASSWORD": active.password}
    with (
        closed_port() as port,
        FaultServer(date=lambda: time.time() + 3600) as late,
        FaultServer(context=certificates.context()) as unknown,
    ):
        kinds: dict[str, tuple[int, dict[str, str]]] = {
            "all well": (0, {}),
            "variable missing": (3, {"API_PASSWORD": ""}),
            "host unknown": (4, {"API_BASE_URL": NOWHERE}),
            "server down": (5, {"API_BASE_URL": f"https://127.0.0.1:{port}"}),
            "TLS failure": (6, {"API_BASE_URL": unknown.base_url}),
            "wrong password": (7, {"API_PASSWORD": "fake-wrong-password"}),
            "unverified": (8, {"API_LOGIN": unverified.username}),
            "clock wrong": (10, {"API_BASE_URL": late.base_url}),
        }
        with contextlib.ExitStack() as running:
            processes = {
                kind: running.enter_context(start("check", env={**os.environ, **right, **environ}))
                for kind, (_, environ) in kinds.items()
            }
            errors = {kind: process.communicate(timeout=PATIENCE)[1] for kind, process in processes.items()}
        assert unknown.exchanges == []
    assert {kind: process.returncode for kind, process in processes.items()} == {
        kind: status for kind, (status, _) in kinds.items()
    }
    assert set(errors.values()) == {b""}


def test_each_finding_comes_as_soon_as_it_is_known(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a slow login sees what has been found so far."""
    for name, value in {**FAKE, "API_BASE_URL": server.base_url}.items():
        monkeypatch.setenv(name, value)
    findings = _doctor.examine(timeout=PATIENCE, allow_insecure_http=False)
    assert [next(findings).name for _ in NAMES[:2]] == NAMES[:2]
    assert server.exchanges == []
    assert [next(findings).name for _ in NAMES[2:5]] == NAMES[2:5]
    assert server.logins == []
    assert [finding.name for finding in findings] == NAMES[5:]
    assert server.login_count == 1


def test_statuses_are_all_different() -> None:
    """What a script can tell apart by the status alone, and what may not change, once it is published."""
    assert [int(status) for status in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 22, 130, 141]
    assert len({status.meaning for status in Exit}) == len(Exit)


def test_check_where_no_thread_can_be_started(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in an isolated subinterpreter: the request is sent by the command's own thread."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setenv("API_BASE_URL", server.base_url)
    monkeypatch.setenv("API_LOGIN", "fake-user")
    monkeypatch.setenv("API_PASSWORD", "fake-password")
    monkeypatch.setattr(_doctor, "threading", types.SimpleNamespace(Thread=refuse, Condition=threading.Condition))
    assert _cli.main(["check"]) == 0
    assert "accepted within" in capsys.readouterr().out
