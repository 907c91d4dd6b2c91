"""Behind real middleboxes: haproxy and nginx, where they are installed, between the client and a server that counts.

Each case is a path in front of the API, so that one process serves them all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from tests.core.test_secret import rendered
from tests.support.fault_server import FaultServer, check, issue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.colours import Colour

CANARY = "canary-e0b8"
PAIR = Credentials(f"{CANARY}-login@example.com", f"{CANARY}-password")
DOCUMENT = b"passport " * 100_000
UNAVAILABLE, UNUSABLE, REFUSED = (
    kyc_client.LoginUnavailableError,
    kyc_client.LoginResponseError,
    kyc_client.LoginRefusedError,
)
# Debian puts them where a user's PATH does not lead.
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin"
HAPROXY, NGINX = shutil.which("haproxy", path=PATH), shutil.which("nginx", path=PATH)
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """A process that listens on this port, until the block ends."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:  # noqa: S603 - ours
        try:
            until = time.monotonic() + 20
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()
                    pytest.fail(f"{command[0]} does not listen: {process.communicate()[0].decode()}")
                threading.Event().wait(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


class Chain:
    """The API, somebody else's server, and the middlebox in front of the API."""

    def __init__(self, api: FaultServer, foreign: FaultServer, base_url: str) -> None:
        self.api = api
        self.foreign = foreign
        self.base_url = base_url
        self.trusting: Any = True

    def auth(self, case: str) -> LoginAuth:
        """A LoginAuth whose calls meet this case."""
        return LoginAuth(f"{self.base_url}/{case}", credentials=PAIR, verify=self.trusting)

    def send(self, colour: Colour, auth: LoginAuth, case: str, **request: Any) -> httpx.Response:
        """A call of this case, through a client that follows redirects."""
        client = {"auth": auth, "follow_redirects": True, "verify": self.trusting, "trust_env": False}
        method = "POST" if request else "GET"
        return colour.send(method, f"{self.base_url}/{case}/api", client=client, **request)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, long_cooldown: None) -> None:
    """There is no pause between the attempts of a login, and a long one after a failed login."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[FaultServer, FaultServer]]:
    """What stands behind the middleboxes, and what does not."""
    with FaultServer() as api, FaultServer() as foreign:
        yield api, foreign


def start_over(chain: Chain) -> Chain:
    """Forget what the tests before have done."""
    for server in (chain.api, chain.foreign):
        server.exchanges.clear()
        server.on_login(issue())
        server.on_resource(check)
    return chain


def assert_bad_login(
    chain: Chain, colour: Colour, case: str, kind: type[kyc_client.LoginError], status: int | None
) -> kyc_client.LoginError:
    """A login that this case answers is an error of this kind, and nothing gets anywhere: not even to the API."""
    auth = chain.auth(case)
    if case == "drop":
        auth._source._deadline = 0.5
    with pytest.raises(kind) as caught:
        chain.send(colour, auth, case)
    with pytest.raises(kind) as again:
        chain.send(colour, auth, case)
    assert type(caught.value) is kind
    assert (caught.value.status_code, caught.value.cached, again.value.cached) == (status, False, True)
    assert (chain.api.exchanges, chain.foreign.exchanges) == ([], [])
    assert CANARY not in rendered(caught.value)
    return caught.value


# haproxy


HAPROXY_CONFIG = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    retries 0

frontend door
    bind 127.0.0.1:{port}
    acl call path_end /api
    acl call-only path_beg /calls-
    http-request allow if call-only !call
    http-request return status 429 content-type text/plain string "slow down" hdr Retry-After 60 if {{ path_sub 429 }}
    http-request return status 502 content-type text/html string "<html>Bad Gateway</html>" if {{ path_sub 502 }}
    http-request redirect prefix http://127.0.0.1:{foreign} code 307 if {{ path_sub 307 }}
    http-request redirect prefix http://127.0.0.1:{foreign} code 308 if {{ path_sub 308 }}
    http-request auth realm fake if {{ path_sub 401 }}
    http-request deny deny_status 403 if {{ path_sub 403 }}
    http-request return status 200 content-type text/html string "<html>Portal</html>" if {{ path_sub portal }}
    http-request reject if {{ path_sub reject }}
    http-request silent-drop if {{ path_sub drop }}
    use_backend nobody if {{ path_sub 503 }} !call-only or {{ path_sub 503 }} call
    default_backend api

backend api
    server api 127.0.0.1:{api}

backend nobody
    server nobody 127.0.0.1:{nobody}
"""


@pytest.fixture(scope="module")
def haproxy_process(
    servers: tuple[FaultServer, FaultServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    """One haproxy for all cases."""
    api, foreign = servers
    port = free_port()
    config = tmp_path_factory.mktemp("haproxy") / "haproxy.cfg"
    config.write_text(HAPROXY_CONFIG.format(port=port, api=api.port, foreign=foreign.port, nobody=free_port()))
    with running([str(HAPROXY), "-db", "-f", str(config)], port):
        yield Chain(api, foreign, f"http://127.0.0.1:{port}")


@pytest.fixture
def haproxy(haproxy_process: Chain) -> Chain:
    """The chain, with nothing counted yet."""
    return start_over(haproxy_process)


BY_HAPROXY = {
    "429": (UNAVAILABLE, 429),
    "502": (UNAVAILABLE, 502),
    "503": (UNAVAILABLE, 503),
    "reject": (UNAVAILABLE, None),
    "drop": (UNAVAILABLE, None),
    "307": (UNUSABLE, 307),
    "308": (UNUSABLE, 308),
    "portal": (UNUSABLE, 200),
    "401": (REFUSED, 401),
    "403": (REFUSED, 403),
}


@needs_haproxy
@pytest.mark.parametrize(("case", "kind", "status"), [(case, *wanted) for case, wanted in BY_HAPROXY.items()])
def test_login_answered_by_haproxy(
    haproxy: Chain, colour: Colour, case: str, kind: type[kyc_client.LoginError], status: int | None
) -> None:
    """D1, E11, E12, E13: what haproxy says in the API's place is a typed error; a redirect takes no password along."""
    error = assert_bad_login(haproxy, colour, case, kind, status)
    if case == "429":
        assert error.retry_after is not None
        assert 30 < error.retry_after <= 600


CALLS_BY_HAPROXY = {"429": 429, "502": 502, "503": 503, "403": 403}


@needs_haproxy
@pytest.mark.parametrize(("case", "status"), CALLS_BY_HAPROXY.items())
def test_call_answered_by_haproxy(haproxy: Chain, colour: Colour, case: str, status: int) -> None:
    """C9, B5: what it says to a call goes to the caller; no second sending, no second login."""
    auth = haproxy.auth(f"calls-{case}")
    for _ in range(3):
        assert haproxy.send(colour, auth, f"calls-{case}", json={"name": "fake"}).status_code == status
    assert (haproxy.api.login_count, haproxy.api.hits) == (1, [])


@needs_haproxy
@pytest.mark.parametrize("code", [307, 308])
def test_call_redirected_by_haproxy(haproxy: Chain, colour: Colour, code: int) -> None:
    """D4: a call that haproxy sends elsewhere, and httpx follows, arrives there without the token."""
    auth = haproxy.auth(f"calls-{code}")
    assert haproxy.send(colour, auth, f"calls-{code}", json={"name": "fake"}).status_code == 401
    assert [exchange.token for exchange in haproxy.foreign.hits] == [None]
    assert (haproxy.api.login_count, haproxy.foreign.login_count, haproxy.api.hits) == (1, 0, [])


@needs_haproxy
@pytest.mark.usefixtures("three_drops")
def test_401_of_haproxy(haproxy: Chain, colour: Colour) -> None:
    """B6, B2: a middlebox that wants a password of its own gets none. It costs three more logins, not one per call."""
    auth = haproxy.auth("calls-401")
    auth.get_token()
    for _ in range(6):
        assert haproxy.send(colour, auth, "calls-401").status_code == 401
    assert (haproxy.api.login_count, haproxy.api.hits) == (1 + 3, [])


@needs_haproxy
@pytest.mark.parametrize("case", ["calls-reject", "calls-drop"])
def test_call_broken_off_by_haproxy(haproxy: Chain, colour: Colour, case: str) -> None:
    """C9: a call that is broken off is the caller's to repeat."""
    auth = haproxy.auth(case)
    auth.get_token()
    client = {"auth": auth, "timeout": 0.5, "trust_env": False}
    with pytest.raises(httpx.TransportError):
        colour.send("POST", f"{haproxy.base_url}/{case}/api", client=client, json={"name": "fake"})
    assert (haproxy.api.login_count, haproxy.api.hits) == (1, [])


@needs_haproxy
def test_life_behind_haproxy(haproxy: Chain, colour: Colour) -> None:
    """C3, C4: login, calls, a revoked token and an upload of 900 kB go through it as they are."""
    assert_life(haproxy, colour)


def assert_life(chain: Chain, colour: Colour) -> None:
    """From the first login to a revoked token in the middle of an upload."""
    auth = chain.auth("pass")
    assert chain.send(colour, auth, "pass").status_code == 200
    chain.api.revoke()
    files = {"document": ("passport.pdf", DOCUMENT)}
    assert chain.send(colour, auth, "pass", files=files).status_code == 200
    uploads = [exchange.body for exchange in chain.api.hits if exchange.method == "POST"]
    assert [upload.count(DOCUMENT) for upload in uploads] == [1, 1]
    assert uploads[0] == uploads[1]
    assert chain.api.login_count == 2


# nginx


NGINX_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_proxied any;
    gzip_min_length 1;
    gzip_types *;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        location /pass/ {{ client_max_body_size 10m; proxy_pass http://127.0.0.1:{api}; }}
        location /444/ {{ return 444; }}
        location /308/ {{ return 308 http://127.0.0.1:{foreign}$request_uri; }}
        location /502/ {{ proxy_pass http://127.0.0.1:{nobody}; }}
        location /504/ {{ proxy_pass http://127.0.0.1:{api}; proxy_read_timeout 300ms; }}
        location /429/ {{ add_header Retry-After 60 always; return 429; }}
        location /413/ {{ client_max_body_size 10; proxy_pass http://127.0.0.1:{api}; }}
        location /html/ {{ default_type text/html; return 200 "<html>Portal</html>"; }}
        location /uploads/api {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:{api}; }}
        location /uploads/ {{ proxy_pass http://127.0.0.1:{api}; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx_process(
    servers: tuple[FaultServer, FaultServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    """One nginx for all cases, which ends TLS, and compresses whatever it may."""
    api, foreign = servers
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    config = folder / "nginx.conf"
    config.write_text(
        NGINX_CONFIG.format(folder=folder, port=port, api=api.port, foreign=foreign.port, nobody=free_port())
    )
    with running([str(NGINX), "-p", str(folder), "-e", "stderr", "-c", str(config)], port):
        chain = Chain(api, foreign, f"https://127.0.0.1:{port}")
        chain.trusting = ssl.create_default_context()
        authority.configure_trust(chain.trusting)
        yield chain


@pytest.fixture
def nginx(nginx_process: Chain) -> Chain:
    """The chain, with nothing counted yet."""
    return start_over(nginx_process)


BY_NGINX = {
    "444": (UNAVAILABLE, None),
    "502": (UNAVAILABLE, 502),
    "429": (UNAVAILABLE, 429),
    "308": (UNUSABLE, 308),
    "html": (UNUSABLE, 200),
    "413": (REFUSED, 413),
}


@needs_nginx
@pytest.mark.parametrize(("case", "kind", "status"), [(case, *wanted) for case, wanted in BY_NGINX.items()])
def test_login_answered_by_nginx(
    nginx: Chain, colour: Colour, case: str, kind: type[kyc_client.LoginError], status: int | None
) -> None:
    """D1, E6, E11, E12, E13: the same for nginx, over TLS: a connection closed without a word, its own HTML, a 308."""
    assert_bad_login(nginx, colour, case, kind, status)


@needs_nginx
def test_api_too_slow_for_nginx(nginx: Chain, colour: Colour) -> None:
    """E12: 504 with HTML, while the API is still busy with the login: worth trying again, three times in all."""
    gate = threading.Event()

    def slow(exchange: Any) -> None:
        gate.wait(20)
        issue()(exchange)

    nginx.api.on_login(slow)
    try:
        with pytest.raises(UNAVAILABLE) as caught:
            nginx.send(colour, nginx.auth("504"), "504")
    finally:
        gate.set()
    assert caught.value.status_code == 504
    until = time.monotonic() + 20
    while nginx.api.login_count < 3:  # nginx may give up on a login before a busy machine has read it.
        assert time.monotonic() < until
        threading.Event().wait(0.02)
    assert nginx.api.login_count == 3


@needs_nginx
def test_upload_that_nginx_refuses_while_it_is_sent(nginx: Chain, colour: Colour) -> None:
    """C9: a 413 before the body has been read is handed to the caller, and the upload is not sent again."""
    auth = nginx.auth("uploads")
    files = {"document": ("passport.pdf", DOCUMENT)}
    assert nginx.send(colour, auth, "uploads", files=files).status_code == 413
    assert (nginx.api.login_count, nginx.api.hits) == (1, [])


@needs_nginx
def test_life_behind_nginx(nginx: Chain, colour: Colour) -> None:
    """C3, C4, D9: login, calls, a revoked token and an upload of 900 kB go through it, over TLS that it ends."""
    assert_life(nginx, colour)


@needs_nginx
def test_nginx_compresses_calls_but_no_login(nginx: Chain, colour: Colour) -> None:
    """E8: it would compress a login's answer too, but for our asking it not to."""
    client = connect(f"{nginx.base_url}/pass", credentials=PAIR, verify=nginx.trusting)
    assert colour.operation(get_resource, client) is not None
    (login,), (call,) = nginx.api.logins, nginx.api.hits
    assert (login.headers["accept-encoding"], "gzip" in call.headers["accept-encoding"]) == ("identity", True)
