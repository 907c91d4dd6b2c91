"""What a gateway in front of the API wants on the login too: `login_headers=`, `headers=`, and the User-Agent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from tests.core.test_secret import rendered
from tests.support.fault_server import answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.colours import Colour
    from tests.support.fault_server import FaultServer

KEY = "fake-key-of-the-gateway"

ENTRANCES: dict[str, Callable[..., LoginAuth]] = {
    "connect": lambda url, pair, headers: connect(url, credentials=pair, login_headers=headers).login,
    "LoginAuth": lambda url, pair, headers: LoginAuth(url, credentials=pair, headers=headers),
}
entrances = pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)


@entrances
@pytest.mark.parametrize(
    "headers",
    [
        lambda: {"X-Api-Key": KEY, "Host": "kyc.example.com"},
        lambda: [("x-api-key", KEY), ("host", "kyc.example.com")],
        lambda: zip(("x-api-key", "host"), (KEY, "kyc.example.com"), strict=True),
        lambda: httpx.Headers({"X-Api-Key": KEY, "Host": "kyc.example.com"}),
    ],
    ids=["mapping", "pairs", "iterator", "httpx.Headers"],
)
def test_headers_go_out_with_the_login(
    server: FaultServer, credentials: kyc_client.Credentials, entrance: Callable[..., LoginAuth], headers: Any
) -> None:
    """The key of a gateway, and the Host by which it finds the API."""
    entrance(server.base_url, credentials, headers()).get_token()
    (login,) = server.logins
    assert (login.headers["x-api-key"], login.headers["host"]) == (KEY, "kyc.example.com")


def test_calls_do_not_get_them(server: FaultServer, credentials: kyc_client.Credentials, colour: Colour) -> None:
    """They are the login's. `headers=` is for calls."""
    client = connect(
        server.base_url, credentials=credentials, login_headers={"X-Api-Key": KEY}, headers={"X-Call": "1"}
    )
    colour.operation(get_resource, client)
    assert "x-api-key" not in server.hits[0].headers
    assert "x-call" not in server.logins[0].headers


@entrances
def test_what_the_login_needs_stays(
    server: FaultServer, credentials: kyc_client.Credentials, entrance: Callable[..., LoginAuth]
) -> None:
    """E8, E14: the form, identity encoding, JSON. A header of the caller's does not change them."""
    headers = {"Accept": "text/html", "Accept-Encoding": "gzip", "Content-Type": "text/plain", "Content-Length": "3"}
    entrance(server.base_url, credentials, headers).get_token()
    (login,) = server.logins
    assert login.headers["accept"] == "application/json"
    assert login.headers["accept-encoding"] == "identity"
    assert login.headers["content-type"] == "application/x-www-form-urlencoded"
    assert login.headers["content-length"] == str(len(login.body))
    names = [name.lower() for name, _ in login.raw_headers]
    assert len(names) == len(set(names))


@entrances
@pytest.mark.parametrize("name", ["Authorization", "authorization", "Cookie", "Proxy-Authorization"])
def test_refused_names(
    server: FaultServer, credentials: kyc_client.Credentials, entrance: Callable[..., LoginAuth], name: str
) -> None:
    """The login has no token and no session yet. The error names the header, and not its value."""
    with pytest.raises(kyc_client.ConfigurationError, match=f"cannot hold {name}") as caught:
        entrance(server.base_url, credentials, {name: KEY})
    assert KEY not in str(caught.value)
    assert server.exchanges == []


@entrances
@pytest.mark.parametrize("value", [f"{KEY}\r\nX: 1", f"{KEY}\n", f"{KEY}\0", f"é{KEY}", f" {KEY}"], ids=repr)
def test_values_that_cannot_be_sent(
    server: FaultServer, credentials: kyc_client.Credentials, entrance: Callable[..., LoginAuth], value: str
) -> None:
    """E7: refused at once. httpx would find out at the login, and repeat the value."""
    with pytest.raises(kyc_client.ConfigurationError, match="The header X-Api-Key of the login has a value") as caught:
        entrance(server.base_url, credentials, {"X-Api-Key": value})
    assert KEY not in str(caught.value)


@entrances
def test_key_stays_out_of_messages(
    server: FaultServer, credentials: kyc_client.Credentials, entrance: Callable[..., LoginAuth]
) -> None:
    """A gateway that repeats the key in its answer."""
    server.on_login(answer(422, {"detail": [{"type": "fake", "loc": ["header", KEY], "msg": f"bad {KEY}"}]}))
    with pytest.raises(kyc_client.LoginValidationError) as caught:
        entrance(server.base_url, credentials, {"X-Api-Key": KEY}).get_token()
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.errors)


def test_user_agent_holds_for_both(server: FaultServer, credentials: kyc_client.Credentials, colour: Colour) -> None:
    """D11: the one of `headers=`, unless the login has its own."""
    client = connect(server.base_url, credentials=credentials, headers={"user-agent": "service/1"})
    colour.operation(get_resource, client)
    assert server.logins[0].headers["user-agent"] == server.hits[0].headers["user-agent"] == "service/1"
    other = connect(
        server.base_url,
        credentials=credentials,
        headers={"User-Agent": "service/1"},
        login_headers={"User-Agent": "login/1"},
    )
    other.login.get_token()
    assert server.logins[1].headers["user-agent"] == "login/1"
    connect(server.base_url, credentials=credentials).login.get_token()
    assert server.logins[2].headers["user-agent"] == f"kyc-client/{kyc_client.__version__}"


def test_headers_of_a_wrong_type(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """A text is no mapping. Nothing of it is repeated."""
    with pytest.raises(kyc_client.ConfigurationError, match="pairs of a name") as caught:
        connect(server.base_url, credentials=credentials, login_headers=KEY)
    assert KEY not in str(caught.value)


def test_async_only_transport_needs_a_transport_for_the_login(
    server: FaultServer, credentials: kyc_client.Credentials
) -> None:
    """A login never runs on a caller's loop. With `login_transport=`, calls and logins take different ways."""

    class AsyncOnly(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"token": request.headers["Authorization"]})

    with pytest.raises(kyc_client.ConfigurationError, match="login_transport="):
        connect(server.base_url, credentials=credentials, transport=AsyncOnly())
    with httpx.HTTPTransport() as way:
        client = connect(server.base_url, credentials=credentials, transport=AsyncOnly(), login_transport=way)

        async def main() -> Any:
            async with client:
                return await get_resource.asyncio(client=client)

        assert "Bearer" in str(asyncio.run(main()))
    assert server.login_count == 1
    assert server.hits == []


MISUSES: dict[str, dict[str, Any]] = {
    "on_event": {"on_event": 5},
    "timeout": {"timeout": (1,)},
    "credentials": {"credentials": "fake"},
    "unknown argument": {"unknown": 1},
    "auth": {"auth": 5},
    "certificate": {"cert": ([],)},
    "proxy": {"proxy": "x://"},
    "base URL": {"base_url": "fake"},
}
MISUSES_OF_CONNECT: dict[str, dict[str, Any]] = {
    "headers": {"headers": 5},
    "value of a header": {"headers": {"X-A": KEY, "X-B": 5}},
    "hooks": {"event_hooks": {"response": 5}},
    "list of hooks": {"event_hooks": [1]},
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
@pytest.mark.parametrize("entrance", [connect, LoginAuth])
def test_misuse_shows_no_secret(
    credentials: kyc_client.Credentials, entrance: Callable[..., Any], misuse: dict[str, Any]
) -> None:
    """H3: an error of an entrance passes no frame that holds the other arguments."""
    name = "login_headers" if entrance is connect else "headers"
    given = {"base_url": "https://api.example.com", "credentials": credentials, name: {"X-Api-Key": KEY}}
    given["proxy"] = f"http://fake:{KEY}@127.0.0.1:1"
    with pytest.raises((TypeError, IndexError, kyc_client.ConfigurationError)) as caught:
        entrance(**{**given, **misuse})
    assert KEY not in rendered(caught.value)


@pytest.mark.parametrize("misuse", MISUSES_OF_CONNECT.values(), ids=MISUSES_OF_CONNECT)
def test_misuse_of_connect_shows_no_secret(credentials: kyc_client.Credentials, misuse: dict[str, Any]) -> None:
    """H3: likewise for what only connect() takes."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        connect("https://api.example.com", credentials=credentials, login_headers={"X-Api-Key": KEY}, **misuse)
    assert KEY not in rendered(caught.value)
