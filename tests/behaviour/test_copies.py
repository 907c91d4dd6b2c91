"""Copies of a client: `with_headers()`, `with_cookies()` and `with_timeout()`. Over real sockets."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import Client, connect
from kyc_openapi.api.resource import get_resource
from tests.support.colours import Asyncio, Trio
from tests.support.gate import settles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fault_server import FaultServer


@pytest.fixture
def client(server: FaultServer, credentials: kyc_client.Credentials) -> Iterator[Client]:
    """A client with a header, and a cookie for another host."""
    cookies = httpx.Cookies()
    cookies.set("other", "fake", domain="other.example.com")
    with connect(server.base_url, credentials=credentials, headers={"X-Tenant": "a"}, cookies=cookies) as client:
        yield client


def header_lines(server: FaultServer, name: str) -> list[str]:
    """The values of a header in the last request, one for each line on the wire."""
    return [value for field, value in server.raw_headers if field.lower() == name.lower()]


@pytest.mark.parametrize("name", ["X-Tenant", "x-tenant", "X-TENANT"])
def test_header_is_replaced(client: Client, server: FaultServer, name: str) -> None:
    """One header of a name is sent, in whatever letter case it was given."""
    get_resource.sync(client=client.with_headers({name: "b"}))
    assert header_lines(server, "X-Tenant") == ["b"]


def test_authorization_stands_in_a_request_once(client: Client, server: FaultServer) -> None:
    """B8: a copy with an Authorization of the caller's sends that one, and not ours beside it."""
    ours = client.with_headers({"X-Other": "1"})
    get_resource.sync(client=ours)
    assert len(header_lines(server, "Authorization")) == 1
    logins = server.login_count
    token = server.new_token()
    theirs = client.with_headers({"authorization": f"Bearer {token}"})
    get_resource.sync(client=theirs)
    assert header_lines(server, "Authorization") == [f"Bearer {token}"]
    assert server.login_count == logins


def test_cookie_for_another_host_stays_there(client: Client, server: FaultServer) -> None:
    """D5: a copy with one more cookie keeps the domains of the others."""
    get_resource.sync(client=client.with_cookies({"mine": "1"}))
    assert header_lines(server, "Cookie") == ["mine=1"]


def test_cookies_with_a_domain_keep_it(client: Client, server: FaultServer) -> None:
    """D5: also those that are given to the copy, and two of one name for two hosts."""
    given = httpx.Cookies()
    given.set("sid", "fake-other", domain="other.example.com")
    given.set("sid", "fake-mine", domain="127.0.0.1")
    get_resource.sync(client=client.with_cookies(given))
    assert header_lines(server, "Cookie") == ["sid=fake-mine"]


def test_hook_on_a_copy_stays_there(client: Client, server: FaultServer) -> None:
    """H10: a hook that is put on the copy's httpx client does not run for the original's calls."""
    seen: list[httpx.Request] = []
    mine = client.with_headers({"X-Copy": "1"})
    mine.get_httpx_client().event_hooks["request"].append(seen.append)
    get_resource.sync(client=client)
    assert seen == []
    get_resource.sync(client=mine)
    assert len(seen) == 1


def test_copy_of_a_client_with_an_httpx_client_of_the_callers(credentials: kyc_client.Credentials) -> None:
    """J8: a double that was set on the original serves its copies. One that was set on a copy is closed with it."""

    def double(status: int) -> httpx.Client:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, json={}))
        return httpx.Client(transport=transport, base_url="https://api.example.com")

    client = connect("https://api.example.com", credentials=credentials).set_httpx_client(double(299))
    mine = client.with_headers({"X-Copy": "1"})
    assert mine.get_httpx_client().get("/").status_code == 299
    other = double(298)
    with mine.set_httpx_client(other):
        assert mine.get_httpx_client() is other
    assert other.is_closed
    assert client.get_httpx_client().get("/").status_code == 299


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_async_client_of_the_callers_on_a_copy(credentials: kyc_client.Credentials, loops: Asyncio | Trio) -> None:
    """J8: likewise in async code."""

    async def main() -> None:
        client = connect("https://api.example.com", credentials=credentials)
        mine = client.with_headers({"X-Copy": "1"})
        transport = httpx.MockTransport(lambda _: httpx.Response(299, json={}))
        double = httpx.AsyncClient(transport=transport, base_url="https://api.example.com")
        async with mine.set_async_httpx_client(double):
            assert (await mine.get_async_httpx_client().get("/")).status_code == 299
        assert double.is_closed

    loops.run(main)


CHANGES: dict[str, Callable[[Client], Client]] = {
    "headers": lambda client: client.with_headers({"X-Tenant": "b", "X-New": "c"}),
    "cookies": lambda client: client.with_cookies({"mine": "1"}),
    "timeout": lambda client: client.with_timeout(httpx.Timeout(1.5)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("used", [False, True], ids=["before its first call", "after it"])
def test_the_original_does_not_change(
    client: Client, server: FaultServer, change: Callable[[Client], Client], *, used: bool
) -> None:
    """H10: not its requests, and not its httpx client."""
    if used:
        get_resource.sync(client=client)
    http = client.get_httpx_client()
    before = dict(http.headers), len(http.cookies.jar), http.timeout
    get_resource.sync(client=change(client))
    assert client.get_httpx_client() is http
    assert (dict(http.headers), len(http.cookies.jar), http.timeout) == before
    get_resource.sync(client=client)
    assert header_lines(server, "X-Tenant") == ["a"]
    assert header_lines(server, "X-New") == header_lines(server, "Cookie") == []


def test_timeout_holds_for_the_copy(client: Client) -> None:
    """In both colours."""
    mine = client.with_timeout(httpx.Timeout(1.5))
    assert mine.get_httpx_client().timeout == mine.get_async_httpx_client().timeout == httpx.Timeout(1.5)


def test_login_and_connections_are_shared(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """One login and one connection for the original and its copies, also for the copy of a copy."""
    with connect(server.base_url, credentials=credentials) as client:
        one = client.with_headers({"X-One": "1"})
        two = one.with_timeout(httpx.Timeout(9))
        for each in (one, client, two, one):
            get_resource.sync(client=each)
        assert one.login is two.login is client.login
    assert server.login_count == 1
    assert len({hit.client_port for hit in server.hits}) == 1
    assert [hit.headers.get("x-one") for hit in server.hits] == ["1", None, "1", "1"]


def test_closing(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """I6: closing a copy closes no connection. A copy of a closed client says so."""
    with connect(server.base_url, credentials=credentials) as client:
        with client.with_headers({"X-Copy": "1"}) as mine:
            get_resource.sync(client=mine)
        get_resource.sync(client=client)
        get_resource.sync(client=mine)
    with pytest.raises(RuntimeError, match="the client that it was made of has been closed"):
        get_resource.sync(client=mine)
    assert len({hit.client_port for hit in server.hits}) == 1
    assert settles(lambda: server.open_connections == 0)


@pytest.mark.parametrize("loops", [Asyncio(), Trio()], ids=repr)
def test_closing_in_async_code(server: FaultServer, credentials: kyc_client.Credentials, loops: Asyncio | Trio) -> None:
    """I6: likewise on an event loop."""

    async def main() -> None:
        async with connect(server.base_url, credentials=credentials) as client:
            async with client.with_headers({"X-Copy": "1"}) as mine:
                await get_resource.asyncio(client=mine)
            await get_resource.asyncio(client=client)
            await get_resource.asyncio(client=mine)
        with pytest.raises(RuntimeError, match="has been closed"):
            await get_resource.asyncio(client=mine)

    loops.run(main)
    assert len({hit.client_port for hit in server.hits}) == 1
    assert server.login_count == 1


def test_clients_are_hashable(client: Client) -> None:
    """In sets, as keys, and as arguments of cached functions. Each client is equal to itself only."""

    @functools.lru_cache
    def name(_client: Client) -> object:
        return object()

    mine = client.with_headers({"X-Copy": "1"})
    assert len({client, mine, client}) == 2
    assert name(client) is name(client) is not name(mine)
    assert client == client  # noqa: PLR0124 - it is what is tested
    assert client != mine
    assert client.with_headers({"X": "1"}) != client.with_headers({"X": "1"})


@pytest.mark.parametrize("copies", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_copying_says_what_to_do(client: Client, copies: Callable[[Any], Any]) -> None:
    """In words about copying, and not about pickling."""
    with pytest.raises(
        TypeError, match=r"A client is not copied, because it holds connections\. Use this one.*with_headers"
    ):
        copies(client)
    with pytest.raises(
        TypeError, match=r"A LoginAuth is not copied, because two of them would log in twice\. Use this one"
    ):
        copies(client.login)


def test_pickling_says_what_to_do(client: Client) -> None:
    """In words about processes."""
    for each in (client, client.with_headers({"X-Copy": "1"})):
        with pytest.raises(TypeError, match=r"not pickled.*Call kyc_client\.connect\(\) in each process"):
            pickle.dumps(each)
    with pytest.raises(TypeError, match=r"not pickled.*Make one in each process"):
        pickle.dumps(client.login)


def test_pickled_response_holds_a_masked_token(client: Client, server: FaultServer) -> None:
    """H4: httpx pickles an answer with its request. The token is masked there, and the rest is whole."""
    response = client.get_httpx_client().get("/api/v1/resource")
    token = server.hits[-1].token
    pickled = pickle.dumps(response)
    assert token is not None
    assert token.encode() not in pickled.replace(response.content, b"")
    again = pickle.loads(pickled)  # noqa: S301 - made above
    assert again.request.headers["Authorization"] == "***"
    assert again.json() == response.json()
