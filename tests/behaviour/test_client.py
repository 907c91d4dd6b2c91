"""`connect()`: what it reads, what it passes on, and the client that it returns."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import kyc_client
from kyc_client import LoginAuth, connect
from kyc_openapi.api.auth import login
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import BearerToken, LoginForm
from tests.support.fault_server import FaultServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kyc_openapi import AuthenticatedClient
    from tests.support.colours import Colour

URL = "https://api.example.com"


@pytest.fixture
def client(server: FaultServer, credentials: kyc_client.Credentials) -> Iterator[AuthenticatedClient]:
    """A connected client on the fault server."""
    client = connect(server.base_url, credentials=credentials)
    yield client
    client.get_httpx_client().close()


def test_everything_comes_from_the_environment(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, colour: Colour
) -> None:
    """connect() without arguments; the first call logs in, the next one does not."""
    monkeypatch.setenv("API_BASE_URL", server.base_url)
    monkeypatch.setenv("API_LOGIN", "fake-user")
    monkeypatch.setenv("API_PASSWORD", "fake-password")
    resources = [colour.operation(get_resource, connect()) for _ in range(2)]
    assert [resource["path"] for resource in resources] == ["/api/v1/resource"] * 2
    assert server.logins[0].body == b"username=fake-user&password=fake-password&grant_type=password"


def test_all_that_is_missing_is_named_at_once() -> None:
    """E3: one error for three variables, with the file alternative, before anything is sent."""
    with pytest.raises(kyc_client.ConfigurationError) as caught:
        connect()
    message = str(caught.value)
    for name in ("API_BASE_URL", "API_LOGIN", "API_PASSWORD", "API_LOGIN_FILE", "API_PASSWORD_FILE"):
        assert name in message


def test_unfit_base_url_and_missing_credentials_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody mends one fault to meet the next; and a base URL that is missing is not also called bad."""
    monkeypatch.setenv("API_BASE_URL", "kyc.example.com")
    with pytest.raises(kyc_client.ConfigurationError, match="must start with https://") as caught:
        connect()
    assert "API_PASSWORD is not set" in str(caught.value)
    monkeypatch.delenv("API_BASE_URL")
    with pytest.raises(kyc_client.ConfigurationError) as caught:
        connect()
    assert "must start with" not in str(caught.value)


def test_only_what_is_needed_is_asked_for(credentials: kyc_client.Credentials) -> None:
    """Given a base URL, only the credentials are missing, and the other way round."""
    with pytest.raises(kyc_client.ConfigurationError) as caught:
        connect(URL)
    assert "API_BASE_URL" not in str(caught.value)
    with pytest.raises(kyc_client.ConfigurationError) as caught:
        connect(credentials=credentials)
    assert "API_LOGIN" not in str(caught.value)


def test_unfit_base_url_is_refused_before_anything_is_sent(credentials: kyc_client.Credentials) -> None:
    """D7: http:// off loopback is an error here, not at the first call; allow_insecure_http=True accepts it."""
    with pytest.raises(kyc_client.ConfigurationError, match="https://"):
        connect("http://api.example.com", credentials=credentials)
    connect("http://api.example.com", credentials=credentials, allow_insecure_http=True)


def test_calls_have_a_finite_timeout_by_default(client: AuthenticatedClient) -> None:
    """The generated client's own default is to wait for ever."""
    timeout = client.get_httpx_client().timeout
    assert timeout == httpx.Timeout(30.0, connect=10.0)
    assert client.get_async_httpx_client().timeout == timeout


@pytest.mark.parametrize(("given", "means"), [(3, httpx.Timeout(3)), (None, httpx.Timeout(None))])
def test_timeout_is_passed_on(credentials: kyc_client.Credentials, given: Any, means: httpx.Timeout) -> None:
    """Seconds or an httpx.Timeout; None, said outright, means none."""
    assert connect(URL, credentials=credentials, timeout=given).get_httpx_client().timeout == means


def test_arguments_of_httpx_reach_both_clients(credentials: kyc_client.Credentials) -> None:
    """Headers, cookies, redirects and the rest, for sync and async alike."""
    client = connect(
        URL,
        credentials=credentials,
        headers=[("X-Fake", "1")],
        cookies={"fake": "2"},
        follow_redirects=True,
        max_redirects=3,
    )
    for http in (client.get_httpx_client(), client.get_async_httpx_client()):
        assert http.headers["X-Fake"] == "1"
        assert dict(http.cookies) == {"fake": "2"}
        assert (http.follow_redirects, http.max_redirects) == (True, 3)
        assert isinstance(http.auth, LoginAuth)


def test_redirects_are_not_followed_by_default(client: AuthenticatedClient) -> None:
    """D4: a redirect of an upload would carry a passport elsewhere."""
    assert not client.get_httpx_client().follow_redirects


def test_both_colours_share_one_auth(client: AuthenticatedClient) -> None:
    """So they share one login."""
    assert client.get_httpx_client().auth is client.get_async_httpx_client().auth


def test_user_agent_names_the_library_unless_the_caller_says_otherwise(credentials: kyc_client.Credentials) -> None:
    """D11: on calls as on logins."""
    expected = f"kyc-client/{kyc_client.__version__}"
    assert connect(URL, credentials=credentials).get_httpx_client().headers["User-Agent"] == expected
    named = connect(URL, credentials=credentials, headers={"user-agent": "fake/1"})
    assert named.get_httpx_client().headers["User-Agent"] == "fake/1"


def test_auth_of_the_callers_is_refused(credentials: kyc_client.Credentials) -> None:
    """It would take the place of the login; the generated client is there for it."""
    with pytest.raises(TypeError, match=r"takes no auth: .* use kyc_openapi\.Client"):
        connect(URL, credentials=credentials, auth=("fake", "fake"))


@pytest.mark.parametrize("name", ["base_urll", "token"])
def test_argument_that_httpx_does_not_know_is_refused_at_once(credentials: kyc_client.Credentials, name: str) -> None:
    """Not at the first call, which may be months away in a rare branch."""
    with pytest.raises(TypeError, match=f"takes no {name}"):
        connect(URL, credentials=credentials, **{name: "fake"})


def test_unexpected_status_is_raised_unless_told_otherwise(
    server: FaultServer, credentials: kyc_client.Credentials
) -> None:
    """J3: None for "the server failed" would pass for "no data"."""
    server.on_resource(answer(500, "fake trouble"))
    with connect(server.base_url, credentials=credentials) as client, pytest.raises(UnexpectedStatus):
        get_resource.sync(client=client)
    with connect(server.base_url, credentials=credentials, raise_on_unexpected_status=False) as client:
        assert get_resource.sync(client=client) is None


def test_no_header_is_sent_but_the_tokens(client: AuthenticatedClient, server: FaultServer) -> None:
    """The generated client would put its own (empty) token into the default headers."""
    assert "Authorization" not in client.get_httpx_client().headers
    get_resource.sync(client=client)
    assert server.hits[0].token == client.get_httpx_client().auth.get_token().value  # type: ignore[attr-defined]


def test_login_operation_needs_no_login(client: AuthenticatedClient, server: FaultServer) -> None:
    """B8: the generated login, called by hand on this client, is sent as it is: one login, not two."""
    token = login.sync(client=client, body=LoginForm("fake-user", "fake-password"))
    assert isinstance(token, BearerToken)
    assert server.login_count == 1
    assert "authorization" not in server.logins[0].headers


def test_derived_clients_share_the_login_and_leave_the_original_alone(
    client: AuthenticatedClient, server: FaultServer
) -> None:
    """H10: with_headers() and its kin return a client of their own, on the same token; the original stays as it is."""
    get_resource.sync(client=client)
    derived = client.with_headers({"X-Fake": "1"}).with_timeout(httpx.Timeout(3)).with_cookies({"fake": "2"})
    with derived:
        get_resource.sync(client=derived)
    assert server.login_count == 1
    assert [exchange.headers.get("x-fake") for exchange in server.hits] == [None, "1"]
    assert "X-Fake" not in client.get_httpx_client().headers
    assert client.get_httpx_client().timeout.read == 30


def test_async_client_in_a_thread_is_that_of_the_loop(client: AuthenticatedClient) -> None:
    """FastAPI runs a plain `def` in a thread: what it gets there is what the one loop uses, and `async with` closes."""

    async def main() -> None:
        async with client:
            in_thread = await asyncio.to_thread(client.get_async_httpx_client)
            assert in_thread is client.get_async_httpx_client()
        assert in_thread.is_closed

    asyncio.run(main())
    # That loop is over; the next one gets a client of its own.
    assert not client.get_async_httpx_client().is_closed


def test_client_that_the_caller_sets_is_used_as_it_is(client: AuthenticatedClient) -> None:
    """set_httpx_client() and its async twin replace ours."""
    sync, not_sync = httpx.Client(), httpx.AsyncClient()
    assert client.set_httpx_client(sync) is client
    assert client.set_async_httpx_client(not_sync) is client
    assert client.get_httpx_client() is sync
    assert client.get_async_httpx_client() is not_sync


def test_threads_that_come_at_once_share_one_httpx_client(client: AuthenticatedClient) -> None:
    """J9: the generated get_httpx_client() builds one per thread and leaks all but one."""
    start = threading.Barrier(10)
    found = []

    def get() -> None:
        start.wait()
        found.append(client.get_httpx_client())

    threads = [threading.Thread(target=get) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(http) for http in found}) == 1


def test_clients_share_one_tls_context(credentials: kyc_client.Credentials) -> None:
    """Loading the CA bundle is what a client costs. It is paid once, for the calls and logins of all clients."""

    def contexts(client: kyc_client.Client) -> set[ssl.SSLContext]:
        for_login = client.login._source._endpoint.connection.for_login
        transports = [client.get_httpx_client()._transport, for_login.transports(httpx.HTTPTransport)[0]]
        return {transport._pool._ssl_context for transport in transports}

    first, second = (contexts(connect(URL, credentials=credentials)) for _ in range(2))
    assert len(first) == 1
    assert isinstance(next(iter(first)), ssl.SSLContext)
    assert first == second
    assert first.isdisjoint(contexts(connect(URL, credentials=credentials, verify=False)))


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        pytest.param(pickle.dumps, r"not pickled.*Call kyc_client\.connect\(\) in each process", id="pickle"),
        pytest.param(copy.copy, r"not copied.*Use this one.*with_headers\(\)", id="copy"),
        pytest.param(copy.deepcopy, r"not copied.*Use this one.*with_headers\(\)", id="deepcopy"),
    ],
)
def test_pickling_and_copying_are_refused_with_a_reason(client: AuthenticatedClient, action: Any, reason: str) -> None:
    """It holds connections and, through its auth, a token. The error says what to do instead."""
    with pytest.raises(TypeError, match=reason):
        action(client)


def test_repr_shows_no_secret(client: AuthenticatedClient, server: FaultServer) -> None:
    """H1, H10: neither the token, nor the password, nor a header of the caller's."""
    get_resource.sync(client=client)
    shown = repr(client.with_headers({"X-Api-Key": "canary-key"}))
    for secret in ("canary-key", "fake-password-for-tests", server.hits[0].token or "?"):
        assert secret not in shown


def test_transport_of_the_caller_carries_login_and_calls(credentials: kyc_client.Credentials, colour: Colour) -> None:
    """J8: a service's tests give a transport and need no network at all; the login does not close it."""
    paths = []

    class Transport(httpx.MockTransport):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})

    transport = Transport(handle)
    client = connect(URL, credentials=credentials, transport=transport)
    if colour.name == "sync":
        get_resource.sync(client=client)
        assert transport.closed == 0
    colour.operation(get_resource, connect(URL, credentials=credentials, transport=Transport(handle)))
    assert set(paths) == {"/auth/jwt/login", "/api/v1/resource"}


def test_mounts_of_the_caller_carry_the_login_too(credentials: kyc_client.Credentials) -> None:
    """Httpx's mounts= decide how a connection is made; None in them means: as usual."""
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})

    mounts = {"https://": httpx.MockTransport(handle), "all://unused.example.com": None}
    get_resource.sync(client=connect(URL, credentials=credentials, mounts=mounts))
    assert paths == ["/auth/jwt/login", "/api/v1/resource"]


def test_one_client_may_serve_several_event_loops_one_after_the_other(
    client: AuthenticatedClient, server: FaultServer
) -> None:
    """A7, I4: httpx's connections belong to a loop, so each gets a client of its own; all share one login."""
    seen = set()

    async def main() -> None:
        async with client:
            await get_resource.asyncio(client=client)
            seen.add(client.get_async_httpx_client())

    for _ in range(3):
        asyncio.run(main())
    trio.run(main)
    assert len(seen) == 4
    assert (server.login_count, len(server.hits)) == (1, 4)


def test_several_event_loops_at_the_same_time_have_clients_of_their_own(
    client: AuthenticatedClient, server: FaultServer
) -> None:
    """Two loops in two threads on one client do not meet in one connection pool."""

    def crowd() -> None:
        async def main() -> None:
            async with client:
                await asyncio.gather(*(get_resource.asyncio(client=client) for _ in range(20)))

        asyncio.run(main())

    threads = [threading.Thread(target=crowd) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (server.login_count, len(server.hits)) == (1, 40)


def test_async_client_made_outside_of_a_loop_goes_to_the_first_loop_that_asks(client: AuthenticatedClient) -> None:
    """What is set on it there holds for the calls."""
    http = client.get_async_httpx_client()
    assert client.get_async_httpx_client() is http

    async def main() -> list[httpx.AsyncClient]:
        return [client.get_async_httpx_client() for _ in range(2)]

    assert asyncio.run(main()) == [http, http]
    assert http not in asyncio.run(main())


def test_cookies_keep_their_domains(credentials: kyc_client.Credentials) -> None:
    """A cookie of another host is not sent to the API, and two of one name do not collide."""
    jar = httpx.Cookies()
    jar.set("fake", "1", domain="other.example")
    jar.set("fake", "2", domain="api.example.com")
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("cookie"))
        return httpx.Response(200, json={"access_token": "fake.token", "token_type": "bearer"})

    with connect(URL, credentials=credentials, cookies=jar, transport=httpx.MockTransport(handle)) as client:
        get_resource.sync(client=client)
    assert seen == [None, "fake=2"]


def test_environments_proxy_never_sees_the_password_in_clear(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, credentials: kyc_client.Credentials
) -> None:
    """D8: http:// is allowed to this machine since nothing leaves it; so HTTP_PROXY is not for it, unless asked for."""
    with FaultServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        with connect(server.base_url, credentials=credentials) as client:
            get_resource.sync(client=client)
        LoginAuth(server.base_url, credentials=credentials).get_token()
        assert proxy.exchanges == []
        LoginAuth(server.base_url, credentials=credentials, trust_env=True).get_token()
        assert proxy.login_count == 1
    assert server.login_count == 2


@pytest.mark.parametrize("timeout", ["30", httpx.Timeout(5, read="30")], ids=repr)
def test_timeout_that_is_no_number_is_refused_at_once(credentials: kyc_client.Credentials, timeout: Any) -> None:
    """Httpx would find out in the middle of a login."""
    with pytest.raises(TypeError, match="timeout= takes seconds"):
        connect(URL, credentials=credentials, timeout=timeout)
