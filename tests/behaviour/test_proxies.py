"""Proxies, over real sockets: the login goes the way of the calls, through a tunnel that shows the proxy nothing."""

from __future__ import annotations

import base64
import logging
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from tests.core.test_secret import rendered
from tests.support.connect_proxy import ConnectProxy
from tests.support.fault_server import FaultServer, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.colours import Colour

CANARY = "canary-9c41"
PAIR = Credentials(f"{CANARY}-login@example.com", f"{CANARY}-password")
# The proxy's own pair, as in its URL and as in its header.
USER, PASSWORD = "fake-proxy-user", f"{CANARY}-proxy-password"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"


class Secure(FaultServer):
    """The fault server over TLS, and what a client has to trust for it."""

    def __init__(self, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        super().__init__(context=context)
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A CA of our own."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Secure]:
    """An API that speaks https."""
    with Secure(authority) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between the attempts of a login is tested elsewhere."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)


WAYS = {
    "HTTPS_PROXY": lambda monkeypatch, url: monkeypatch.setenv("HTTPS_PROXY", url),
    "https_proxy": lambda monkeypatch, url: monkeypatch.setenv("https_proxy", url),
    "ALL_PROXY": lambda monkeypatch, url: monkeypatch.setenv("ALL_PROXY", url),
    "proxy=": lambda _, url: {"proxy": url},
    "httpx.Proxy": lambda _, url: {"proxy": httpx.Proxy(url)},
    "mounts=": lambda _, url: {"mounts": {"https://": url}},
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each way to name a proxy: returns the arguments to give, or sets the environment and gives none."""
    return lambda url: WAYS[request.param](monkeypatch, url) or {}


def mounted(arguments: dict[str, Any], colour: Colour, trusting: ssl.SSLContext) -> dict[str, Any]:
    """With `mounts=`, transports of the colour take the place of the URL. A login needs a sync one."""
    if "mounts" not in arguments:
        return arguments
    ((name, url),) = arguments["mounts"].items()
    transport = httpx.HTTPTransport(proxy=url, verify=trusting)
    if colour.name == "sync":
        return {"mounts": {name: transport}}
    return {"mounts": {name: httpx.AsyncHTTPTransport(proxy=url, verify=trusting)}, "login_transport": transport}


def test_login_and_calls_take_the_same_tunnel(secure: Secure, colour: Colour, way: Any) -> None:
    """D8: with an https API a proxy sees tunnels to it and nothing else: no request, no password, no token."""
    with ConnectProxy(secret=f"{USER}:{PASSWORD}") as proxy:
        arguments = mounted(way(proxy.url), colour, secure.trusting)
        client = connect(secure.base_url, credentials=PAIR, verify=secure.trusting, **arguments)
        colour.operation(get_resource, client)
        assert set(proxy.tunnels) == {f"127.0.0.1:{secure.port}"}
        assert len(proxy.tunnels) <= 2  # One, where both use the same transport of the caller's.
        assert proxy.in_clear == []
        token = secure.hits[0].token or "?"
        for secret in (PAIR.username, PAIR.password, token, token.split(".")[1]):
            assert secret.encode() not in proxy.seen
    assert (secure.login_count, len(secure.hits)) == (1, 1)


def test_proxys_own_pair_goes_to_the_proxy_only(secure: Secure, colour: Colour, way: Any) -> None:
    """D8: user and password of the proxy's URL are for the proxy; the API does not see them."""
    with ConnectProxy(secret=f"{USER}:{PASSWORD}") as proxy:
        arguments = mounted(way(proxy.url), colour, secure.trusting)
        colour.operation(get_resource, connect(secure.base_url, credentials=PAIR, verify=secure.trusting, **arguments))
        assert proxy.heads
        assert all(f"Basic {BASIC}" in head for head in proxy.heads)
    for exchange in secure.exchanges:
        assert "proxy-authorization" not in exchange.headers
        assert BASIC not in str(exchange.headers)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY"])
def test_without_the_environment_neither_goes_through_it(
    secure: Secure, colour: Colour, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """D8: `trust_env=False` holds for both, and so does `NO_PROXY`."""
    with ConnectProxy() as proxy:
        monkeypatch.setenv(name, proxy.url)
        settings: dict[str, Any] = {"credentials": PAIR, "verify": secure.trusting}
        colour.operation(get_resource, connect(secure.base_url, trust_env=False, **settings))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        colour.operation(get_resource, connect(secure.base_url, **settings))
        assert proxy.heads == []
        monkeypatch.delenv("NO_PROXY")
        colour.operation(get_resource, connect(secure.base_url, **settings))
        assert len(proxy.tunnels) == 2
    assert (secure.login_count, len(secure.hits)) == (3, 3)


def test_http_proxy_is_not_for_https(secure: Secure, colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    """D8: `HTTP_PROXY` says nothing about an https API."""
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        colour.operation(get_resource, connect(secure.base_url, credentials=PAIR, verify=secure.trusting))
        assert proxy.heads == []


def test_password_never_goes_to_a_proxy_in_clear(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, colour: Colour
) -> None:
    """D8: http:// is allowed to this machine, so the environment's proxies are not for it, for calls and logins."""
    with ConnectProxy() as proxy:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        colour.operation(get_resource, connect(server.base_url, credentials=PAIR))
        assert proxy.heads == []
    assert (server.login_count, len(server.hits)) == (1, 1)


REFUSALS = {
    "407": REFUSAL,
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "not HTTP": b"go away\r\n\r\n",
}


@pytest.mark.usefixtures("long_cooldown")
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_proxy_that_opens_no_tunnel(secure: Secure, colour: Colour, refusal: bytes) -> None:
    """D8: a login that cannot be reached, with few attempts, one for a whole crowd, and none while it is known."""
    with ConnectProxy(refusal, secret=f"{USER}:{PASSWORD}") as proxy:
        auth = LoginAuth(secure.base_url, credentials=PAIR, verify=secure.trusting, proxy=proxy.url)
        client: dict[str, Any] = {"auth": auth, "verify": secure.trusting, "proxy": proxy.url}
        errors = colour.send_many(10, "GET", f"{secure.base_url}/api", client=client)
        errors += colour.send_many(10, "GET", f"{secure.base_url}/api", client=client)
        assert {type(error) for error in errors} == {kyc_client.LoginUnavailableError}
        assert all(error.cached for error in errors[10:])
        assert len(proxy.heads) <= 3
        for error in errors:
            assert CANARY not in rendered(error)
            assert BASIC not in rendered(error)
    assert secure.exchanges == []


def test_407_says_that_it_is_the_proxy(secure: Secure) -> None:
    """D8: the message points to the proxy, and to how it is set."""
    with ConnectProxy(REFUSAL) as proxy:
        auth = LoginAuth(secure.base_url, credentials=PAIR, verify=secure.trusting, proxy=proxy.url)
        with pytest.raises(kyc_client.LoginUnavailableError, match=r"ProxyError.*Check the proxy.*HTTPS_PROXY"):
            auth.get_token()


def test_proxy_that_is_not_there(secure: Secure, colour: Colour) -> None:
    """D8: so is a proxy that does not answer."""
    with ConnectProxy() as proxy:
        pass
    auth = LoginAuth(secure.base_url, credentials=PAIR, verify=secure.trusting, proxy=proxy.url)
    with pytest.raises(kyc_client.LoginUnavailableError, match="Connection refused"):
        colour.token(auth)
    assert secure.exchanges == []


def test_407_in_mid_life_is_the_calls_own_error(secure: Secure, colour: Colour) -> None:
    """D8: a proxy that stops letting us through is no reason to log in; the token stays."""
    with ConnectProxy() as proxy:
        auth = LoginAuth(secure.base_url, credentials=PAIR, verify=secure.trusting, proxy=proxy.url)
        colour.token(auth)
        proxy.refusal = REFUSAL
        client: dict[str, Any] = {"auth": auth, "verify": secure.trusting, "proxy": proxy.url}
        with pytest.raises(httpx.ProxyError):
            colour.send("GET", f"{secure.base_url}/api", client=client)
        proxy.refusal = b""
        assert colour.send("GET", f"{secure.base_url}/api", client=client).status_code == 200
    assert secure.login_count == 1


def test_proxys_pair_is_in_no_log(secure: Secure, colour: Colour, way: Any, caplog: pytest.LogCaptureFixture) -> None:
    """D8, H7: with every logger at DEBUG, neither a good nor a refused tunnel logs the proxy's pair, or ours."""
    caplog.set_level(logging.DEBUG)
    secure.on_resource(check)
    with ConnectProxy(secret=f"{USER}:{PASSWORD}") as proxy:
        arguments = mounted(way(proxy.url), colour, secure.trusting)
        colour.operation(get_resource, connect(secure.base_url, credentials=PAIR, verify=secure.trusting, **arguments))
        proxy.refusal = REFUSAL
        arguments = mounted(way(proxy.url), colour, secure.trusting)
        with pytest.raises(kyc_client.LoginUnavailableError):
            colour.operation(
                get_resource, connect(secure.base_url, credentials=PAIR, verify=secure.trusting, **arguments)
            )
    assert "CONNECT" in caplog.text
    for secret in (CANARY, BASIC, secure.hits[0].token or "?"):
        assert secret not in caplog.text


BAD = {
    "scheme that httpx does not know": f"gopher://{USER}:{PASSWORD}@proxy.example",
    "port that is no number": f"http://{USER}:{PASSWORD}@proxy.example:fake",
}


@pytest.mark.parametrize("make", [LoginAuth, connect])
@pytest.mark.parametrize("url", BAD.values(), ids=BAD)
def test_proxy_that_is_none(make: Any, url: str) -> None:
    """D8: a proxy= that cannot be one is told at once, without the password that its URL may hold."""
    with pytest.raises(kyc_client.ConfigurationError, match=r"proxy= cannot be used\. .*http://proxy") as caught:
        make("https://kyc.example.com", credentials=PAIR, proxy=url)
    assert CANARY not in rendered(caught.value)


@pytest.mark.parametrize("make", [LoginAuth, connect])
def test_proxys_pair_is_not_shown(make: Any) -> None:
    """D8: nor do the objects show the proxy's password, which a crash reporter may find in somebody's locals."""
    made = make("https://kyc.example.com", credentials=PAIR, proxy=f"http://{USER}:{PASSWORD}@proxy.example")
    auth = made if make is LoginAuth else made.get_httpx_client().auth
    endpoint = auth._source._endpoint
    for holder in (made, auth, auth._source, endpoint, endpoint.connection):
        shown = repr(holder) + repr(getattr(holder, "__dict__", {}))
        assert CANARY not in shown
