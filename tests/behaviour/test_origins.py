"""Where the password and the token go, over real sockets: to our origin, and to nobody else."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trustme

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_client._login.endpoint import USER_AGENT
from kyc_openapi.api.resource import get_resource
from tests.core.test_secret import rendered
from tests.support.fault_server import LOGIN_PATH, FaultServer, answer, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.colours import Colour

CANARY = "canary-2d70"
PAIR = Credentials(f"{CANARY}-login@example.com", f"{CANARY}-password")
CODES = [301, 302, 303, 307, 308]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A CA of our own."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FaultServer]:
    """An API that speaks https."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with FaultServer(context=context) as server:
        yield server


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client has to trust for it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def foreign() -> Iterator[FaultServer]:
    """Somebody else's server, which would be glad of a password: it takes every login, and issues tokens."""
    with FaultServer() as server:
        yield server


def at_localhost(url: str) -> str:
    """The same machine under its other name, which is another origin."""
    return url.replace("127.0.0.1", "localhost")


# Redirects of the login


TARGETS = {
    "another path": lambda _, __: "/elsewhere/auth/jwt/login",
    "another port": lambda _, foreign: f"{foreign.base_url}{LOGIN_PATH}",
    "another host": lambda _, foreign: f"{at_localhost(foreign.base_url)}{LOGIN_PATH}",
    "no scheme": lambda _, foreign: f"//127.0.0.1:{foreign.port}{LOGIN_PATH}",
    "itself": lambda server, _: f"{server.base_url}{LOGIN_PATH}",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("code", CODES)
def test_login_follows_no_redirect(
    server: FaultServer, foreign: FaultServer, colour: Colour, code: int, target: Any
) -> None:
    """D1: whatever the code and the target, also if the caller's client follows redirects: one request, no other."""
    location = f"{target(server, foreign)}?key={CANARY}"
    server.on_login(answer(code, b"", {"Location": location}))
    client = connect(server.base_url, credentials=PAIR, follow_redirects=True)
    with pytest.raises(kyc_client.LoginResponseError) as caught:
        colour.operation(get_resource, client)
    assert [exchange.path for exchange in server.exchanges] == [LOGIN_PATH]
    assert foreign.exchanges == []
    where = httpx.URL(server.base_url).join(location)
    assert f"({code})" in str(caught.value)
    assert f"redirect to {where.scheme}://{where.netloc.decode()}," in str(caught.value)
    assert CANARY not in rendered(caught.value)


@pytest.mark.parametrize("code", CODES)
def test_login_is_not_sent_down_to_http(
    secure: FaultServer, foreign: FaultServer, trusting: ssl.SSLContext, colour: Colour, code: int
) -> None:
    """D1: nor does a redirect from https to http, of which the whole network could read the password."""
    secure.on_login(answer(code, b"", {"Location": f"{foreign.base_url}{LOGIN_PATH}"}))
    auth = LoginAuth(secure.base_url, credentials=PAIR, verify=trusting)
    client = {"auth": auth, "verify": trusting, "follow_redirects": True}
    with pytest.raises(kyc_client.LoginResponseError, match=f"redirect to {foreign.base_url},"):
        colour.send("GET", f"{secure.base_url}/api", client=client)
    assert [exchange.path for exchange in secure.exchanges] == [LOGIN_PATH]
    assert foreign.exchanges == []


def test_refresh_header_is_not_followed(server: FaultServer, foreign: FaultServer, colour: Colour) -> None:
    """D1: nor do the other ways to send a browser elsewhere mean anything."""
    server.on_login(answer(200, b"<html>", {"Refresh": f"0; url={foreign.base_url}", "Location": foreign.base_url}))
    auth = LoginAuth(server.base_url, credentials=PAIR)
    with pytest.raises(kyc_client.LoginResponseError):
        colour.token(auth)
    assert (server.login_count, foreign.exchanges) == (1, [])


# Absolute URLs


FOREIGN = {
    "another port": lambda _, foreign: foreign.base_url,
    "another host": lambda server, _: at_localhost(server.base_url),
    "another port, userinfo of ours": lambda server, foreign: (
        f"http://127.0.0.1%3A{server.port}@127.0.0.1:{foreign.port}"
    ),
    "another port, userinfo": lambda _, foreign: foreign.base_url.replace("://", "://fake:fake@"),
    "another way to write the address": lambda server, _: f"http://127.1:{server.port}",
}


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN)
def test_other_origin_gets_nothing(
    server: FaultServer, foreign: FaultServer, auth: LoginAuth, colour: Colour, url: Any
) -> None:
    """D3: an absolute URL elsewhere takes no token, causes no login, and its 401 means nothing to us."""
    first = colour.token(auth).value
    target = f"{url(server, foreign)}/api"
    assert colour.send("GET", target, client={"auth": auth}).status_code == 401
    (exchange,) = server.hits + foreign.hits
    assert "authorization" not in exchange.headers
    assert first not in str(exchange.headers)
    assert colour.token(auth).value == first
    assert (server.login_count, foreign.login_count) == (1, 0)


def test_other_origin_causes_no_first_login(
    server: FaultServer, foreign: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """D3: nor does it where there is no token yet."""
    assert colour.send("GET", f"{foreign.base_url}/api", client={"auth": auth}).status_code == 401
    assert (server.exchanges, foreign.login_count) == ([], 0)


def test_other_scheme_gets_nothing(
    secure: FaultServer, foreign: FaultServer, trusting: ssl.SSLContext, colour: Colour
) -> None:
    """D3: http to the host and port of an https API is another origin: the token would go in clear."""
    auth = LoginAuth(secure.base_url, credentials=PAIR, verify=trusting)
    colour.token(auth)
    # The port of the base URL, as it is once somebody else listens there without TLS.
    auth._port = foreign.port
    assert colour.send("GET", f"{foreign.base_url}/api", client={"auth": auth}).status_code == 401
    assert [exchange.token for exchange in foreign.hits] == [None]
    assert secure.login_count == 1


def test_request_sent_before_takes_no_token_to_another_address(server: FaultServer, foreign: FaultServer) -> None:
    """D3: a request object remembers its header; should it be given another address, that stays behind."""
    auth = LoginAuth(server.base_url, credentials=PAIR)
    with httpx.Client(auth=auth) as client:
        request = client.build_request("GET", f"{server.base_url}/api")
        assert client.send(request).status_code == 200
        request.url = httpx.URL(f"{foreign.base_url}/api")
        assert client.send(request).status_code == 401
    assert (server.hits[0].token, foreign.hits[0].token) == (auth.get_token().value, None)


OURS = {
    "as it is": lambda server: server.base_url,
    "scheme in capitals": lambda server: server.base_url.replace("http", "HTTP"),
    "userinfo": lambda server: server.base_url.replace("://", "://fake:fake@"),
}


@pytest.mark.parametrize("url", OURS.values(), ids=OURS)
def test_our_origin_however_it_is_written(server: FaultServer, auth: LoginAuth, colour: Colour, url: Any) -> None:
    """D3: what is our origin after normalisation gets the token; a user in the URL does not take its place."""
    assert colour.send("GET", f"{url(server)}/api", client={"auth": auth}).status_code == 200
    assert [exchange.token for exchange in server.hits] == [auth.get_token().value]


def test_host_in_capitals_is_our_origin(server: FaultServer, colour: Colour) -> None:
    """D3: the letter case of a host means nothing, in the base URL and in a call."""
    auth = LoginAuth(at_localhost(server.base_url), credentials=PAIR)
    url = server.base_url.replace("127.0.0.1", "LocalHost")
    assert colour.send("GET", f"{url}/api", client={"auth": auth}).status_code == 200
    assert (server.login_count, len(server.hits)) == (1, 1)


# Redirects of a call


@pytest.mark.parametrize("elsewhere", ["another port", "another host"])
@pytest.mark.parametrize("code", CODES)
def test_redirect_of_a_call_takes_no_token_along(
    server: FaultServer, foreign: FaultServer, auth: LoginAuth, colour: Colour, code: int, elsewhere: str
) -> None:
    """D4, D5: where the caller lets httpx follow, the call may go elsewhere; nothing of ours goes with it."""
    target = FOREIGN[elsewhere](server, foreign)
    token = colour.token(auth).value
    server.on_resource(answer(code, b"", {"Location": f"{target}/moved"}), check)
    response = colour.send(
        "POST", f"{server.base_url}/api", client={"auth": auth, "follow_redirects": True}, json={"name": "fake"}
    )
    assert response.status_code == 401
    (moved,) = [exchange for exchange in server.hits + foreign.hits if exchange.path == "/moved"]
    assert token not in str(moved.headers)
    assert colour.token(auth).value == token
    assert (server.login_count, foreign.login_count) == (1, 0)


@pytest.mark.parametrize("code", CODES)
def test_redirect_of_a_call_down_to_http_takes_no_token_along(
    secure: FaultServer, foreign: FaultServer, trusting: ssl.SSLContext, colour: Colour, code: int
) -> None:
    """D4: from https to http, likewise."""
    auth = LoginAuth(secure.base_url, credentials=PAIR, verify=trusting)
    secure.on_resource(answer(code, b"", {"Location": f"{foreign.base_url}/moved"}))
    client = {"auth": auth, "verify": trusting, "follow_redirects": True}
    assert colour.send("GET", f"{secure.base_url}/api", client=client).status_code == 401
    assert [exchange.token for exchange in foreign.exchanges] == [None]


def test_way_back_from_elsewhere_brings_no_token_either(
    server: FaultServer, foreign: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """D4: ours, theirs, ours again: the last 401 is for a request without our token, so the token stays."""
    token = colour.token(auth).value
    server.on_resource(answer(302, b"", {"Location": f"{foreign.base_url}/there"}), check)
    foreign.on_resource(answer(302, b"", {"Location": f"{server.base_url}/and-back"}))
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth, "follow_redirects": True})
    assert (response.status_code, response.url.path) == (401, "/and-back")
    assert [exchange.token for exchange in server.hits] == [token, None]
    assert (colour.token(auth).value, server.login_count) == (token, 1)


def test_calls_follow_no_redirect_unless_told(server: FaultServer, foreign: FaultServer, colour: Colour) -> None:
    """D4: by default a redirect is handed to the caller: with a 307, a passport would travel."""
    server.on_resource(answer(307, b"", {"Location": f"{foreign.base_url}/moved"}))
    client = connect(server.base_url, credentials=PAIR, raise_on_unexpected_status=False)
    assert colour.operation(get_resource, client) is None
    assert (len(server.hits), foreign.exchanges) == (1, [])


# The one header


def test_token_is_in_the_authorization_header_only(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """D5: redirects strip that header and no other, so the token is in no other, nor in the URL or the body."""
    colour.send("POST", f"{server.base_url}/api", client={"auth": auth}, json={"name": "fake"})
    token = auth.get_token().value
    (exchange,) = server.hits
    assert [name for name, value in exchange.headers.items() if token in value] == ["authorization"]
    assert token not in exchange.target
    assert token.encode() not in exchange.body


@pytest.mark.parametrize("name", ["auth_header_name", "prefix", "token"])
def test_generated_variants_of_the_header_are_refused(name: str) -> None:
    """D5: the generated client could be told to use another header; `connect()` takes no such argument."""
    with pytest.raises(TypeError, match=f"connect\\(\\) takes no {name}"):
        connect("https://kyc.example.com", credentials=PAIR, **{name: "X-Api-Key"})


# Cookies, and what else the login and the caller's client might share


def test_nothing_crosses_over_between_login_and_calls(server: FaultServer, colour: Colour) -> None:
    """D11: the caller's headers, cookies and parameters stay out of the login, and its cookies out of the calls."""
    issue_with_cookie = answer(
        200, {"access_token": server.new_token(), "token_type": "bearer"}, {"Set-Cookie": "session=fake; Path=/"}
    )
    server.on_login(issue_with_cookie)
    client = connect(
        server.base_url,
        credentials=PAIR,
        headers={"X-Api-Key": "fake-key"},
        cookies={"callers": "fake"},
        params={"callers": "fake"},
    )
    http = client.get_httpx_client()
    colour.operation(get_resource, client)
    (login,), (call,) = server.logins, server.hits
    assert not {"cookie", "x-api-key", "authorization"} & login.headers.keys()
    assert (login.target, login.headers["user-agent"]) == (LOGIN_PATH, USER_AGENT)
    assert (call.headers["cookie"], call.headers["x-api-key"]) == ("callers=fake", "fake-key")
    assert dict(http.cookies) == {"callers": "fake"}
