"""How connections are made: the proxies of the environment, what cannot be used, and what each client gets."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyc_client._login.connection import Connection, make_connection
from kyc_client._login.proxies import environment_proxies
from kyc_client._login.transports import BorrowedTransport

CANARY = "canary-31d0"
URL = httpx.URL("https://kyc.example.com")
LIMITS = httpx.Limits(max_connections=7)
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def settle(arguments: dict[str, Any] | None = None, login_transport: Any = None) -> tuple[Connection, list[str]]:
    """A connection to an https URL, without verification because that is cheap, and its problems."""
    return make_connection(URL, {"verify": False, **(arguments or {})}, login_transport)


def login_transports(connection: Connection) -> tuple[Any, dict[str, Any]]:
    """What a login gets."""
    return connection.for_login.transports(httpx.HTTPTransport, borrow=lambda given: BorrowedTransport(given, 1.0))


def sync_only() -> httpx.BaseTransport:
    """A transport for sync calls."""
    return httpx.HTTPTransport(verify=False)


def async_only() -> httpx.AsyncBaseTransport:
    """A transport for async calls."""
    return httpx.AsyncHTTPTransport(verify=False)


# The proxies of the environment


@contextlib.contextmanager
def environment(**variables: str) -> Any:
    """No other proxy variables than these, for the time of the block."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"HTTP_PROXY": "http://a:1"},
    {"https_proxy": "b:2", "HTTPS_PROXY": "c:3"},
    {"ALL_PROXY": "socks5://d"},
    {"FTP_PROXY": "e:5", "TRAVIS_APT_PROXY": "f"},
    {"HTTP_PROXY": ""},
    {"HTTP_PROXY": "a", "REQUEST_METHOD": "GET"},
    {"HTTP_PROXY": "a", "NO_PROXY": "*"},
    {"HTTP_PROXY": "a", "NO_PROXY": "x.y, *,z"},
    {"NO_PROXY": "a.b, .c.d ,*.e, localhost,LOCALHOST,127.0.0.1,10.0.0.0/8,::1,fd00::/64,[::1],,http://x:1,all://"},
    {"no_proxy": "https://", "HTTPS_PROXY": "g"},
    {"NO_PROXY": "127.0.0.1:8000,010.1.1.1,1.2.3,/24,::1%eth0,::ffff:1.2.3.4"},
]


@pytest.mark.parametrize("variables", ENVIRONMENTS, ids=str)
def test_proxies_are_those_of_httpx(variables: dict[str, str]) -> None:
    """The environment is read by the rules of httpx 0.28, in the same order."""
    with environment(**variables):
        assert list(environment_proxies().items()) == list(httpx._utils.get_environment_proxies().items())


WORDS = st.sampled_from(
    [
        "*",
        "localhost",
        ".a.b",
        "a.b",
        "127.0.0.1",
        "10.0.0.0/8",
        "::1",
        "[::1]",
        "fd00::/64",
        "http://",
        "x://y",
        '"',
        " ",
    ]
)
TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=0x24F, exclude_categories=["Cs"]), max_size=12)


@given(
    st.dictionaries(st.sampled_from([*NAMES, *map(str.lower, NAMES)]), TEXTS | st.lists(WORDS | TEXTS).map(",".join))
)
def test_any_proxies_are_those_of_httpx(variables: dict[str, str]) -> None:
    """This holds for any values."""
    with environment(**variables):
        assert list(environment_proxies().items()) == list(httpx._utils.get_environment_proxies().items())


@given(st.dictionaries(st.sampled_from(NAMES), TEXTS | st.lists(WORDS | TEXTS).map(",".join)))
def test_what_is_settled_makes_clients(variables: dict[str, str]) -> None:
    """What has no problem makes clients of both kinds and logins, and what httpx refuses has one."""
    with environment(**variables):
        connection, problems = settle()
        if problems:
            return
        for pool, client in ((httpx.HTTPTransport, httpx.Client), (httpx.AsyncHTTPTransport, httpx.AsyncClient)):
            transport, mounts = connection.transports(pool, limits=LIMITS)
            client(transport=transport, mounts=mounts, trust_env=False)  # type: ignore[operator]
        login_transports(connection)
        httpx.Client(verify=False)  # noqa: S501 - nothing is sent


BAD: dict[str, tuple[dict[str, str], str]] = {
    "brackets": ({"NO_PROXY": f"{CANARY}, [::1]"}, "NO_PROXY holds an entry that is no host name"),
    "prefix length": ({"no_proxy": f"{CANARY}, fd00::/64"}, "no_proxy holds an entry"),
    "quotes around all": ({"NO_PROXY": f'"localhost,{CANARY}"'}, "NO_PROXY holds an entry"),
    "port in words": ({"NO_PROXY": f"{CANARY}:fake"}, "NO_PROXY holds an entry"),
    "quotes around a proxy": ({"HTTPS_PROXY": f'"http://{CANARY}:3128"'}, "HTTPS_PROXY cannot be used"),
    "quotes around a host": ({"https_proxy": f"'{CANARY}'"}, "https_proxy cannot be used"),
    "socks": ({"ALL_PROXY": f"socks://{CANARY}"}, "ALL_PROXY cannot be used"),
    "another scheme": ({"HTTP_PROXY": f"gopher://fake:{CANARY}@proxy"}, "HTTP_PROXY cannot be used"),
    "no host": ({"HTTP_PROXY": "http://"}, "HTTP_PROXY cannot be used"),
    "port above all": ({"HTTP_PROXY": f"{CANARY}:99999"}, "HTTP_PROXY cannot be used"),
    "password that is not UTF-8": ({"HTTP_PROXY": f"http://fake:{CANARY}\udcff@proxy"}, "HTTP_PROXY cannot be used"),
}


@pytest.mark.parametrize(("variables", "problem"), BAD.values(), ids=BAD)
def test_unusable_variables_are_named(variables: dict[str, str], problem: str) -> None:
    """What httpx cannot use, or would ignore in silence, is a problem that names the variable and not its value."""
    with environment(**variables):
        _, problems = settle()
        assert len(problems) == 1
        assert problem in problems[0]
        assert CANARY not in problems[0]
        # Not read, and so no problem, where they are not used.
        for arguments in ({"trust_env": False}, {"transport": sync_only()}, {"proxy": "http://proxy"}):
            assert settle(arguments)[1] == []


def test_all_problems_at_once() -> None:
    """Each variable that is not usable is named once."""
    with environment(HTTP_PROXY="x://a", HTTPS_PROXY="x://b", NO_PROXY="[::1],[::2]"):
        assert [problem.split()[0] for problem in settle()[1]] == ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]


def test_this_machine_needs_no_proxy() -> None:
    """The proxies of the environment are not for http:// to this machine, unless the caller says so."""
    with environment(HTTP_PROXY="x://a"):
        for url, trusts, expected in (
            ("http://127.0.0.1:1", {}, 0),
            ("http://127.0.0.1:1", {"trust_env": True}, 1),
            ("https://127.0.0.1:1", {}, 1),
        ):
            assert len(make_connection(httpx.URL(url), {"verify": False, **trusts})[1]) == expected


def test_environment_is_read_once() -> None:
    """A variable that is set after the connection was settled changes nothing."""
    with environment(HTTPS_PROXY="http://first:1"), pytest.MonkeyPatch.context() as later:
        connection, _ = settle()
        later.setenv("HTTPS_PROXY", "http://second:2")
        later.setenv("ALL_PROXY", "x://")
        for _, mounts in (connection.transports(httpx.HTTPTransport), login_transports(connection)):
            assert list(mounts) == ["https://"]
        assert str(connection._proxies["https://"].url) == "http://first:1"  # type: ignore[union-attr]


# The caller's arguments


def missing(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Make a module one that is not installed."""
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("proxy", ["socks5://fake", httpx.Proxy("socks5h://fake")])
def test_extra_for_socks(monkeypatch: pytest.MonkeyPatch, proxy: Any) -> None:
    """A SOCKS proxy without its extra is a problem that says what to install."""
    missing(monkeypatch, "socksio")
    assert settle({"proxy": proxy})[1] == ["The proxy= needs an extra of httpx: pip install 'httpx[socks]'."]


def test_extra_for_http2(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is HTTP/2 without its extra."""
    missing(monkeypatch, "h2")
    assert settle({"http2": True})[1] == ["http2=True needs an extra of httpx: pip install 'httpx[http2]'."]


@pytest.mark.parametrize("proxy", ["x://y", "", "http://a b", 5, b"http://proxy"])
def test_unusable_proxy(proxy: Any) -> None:
    """A proxy= that httpx does not take is a problem, whatever it is."""
    (problem,) = settle({"proxy": proxy})[1]
    assert problem.startswith("The proxy= cannot be used")


@pytest.mark.parametrize("mounts", [5, {"https": sync_only()}, {"http://a:b": None}, [1], {5: None}])
def test_unusable_mounts(mounts: Any) -> None:
    """So are mounts= that httpx does not take."""
    (problem,) = settle({"mounts": mounts})[1]
    assert problem.startswith("The mounts= cannot be used")


@pytest.mark.parametrize("verify", [5, object()])
def test_unusable_verify(verify: Any) -> None:
    """So is a verify= of another type."""
    assert settle({"verify": verify})[1] == ["verify= takes True, False, a path or an SSLContext."]


def test_key_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A SSLKEYLOGFILE that cannot be written is named as such. It is not read without verification."""
    path = tmp_path / CANARY / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    (problem,) = settle({"verify": True})[1]
    assert problem == (
        "The file of SSLKEYLOGFILE cannot be written (No such file or directory). Unset it, or make its folder."
    )
    assert settle()[1] == []
    path.parent.mkdir()
    connection, problems = settle({"verify": True})
    assert problems == []
    assert connection._options["verify"].keylog_filename == str(path)


@pytest.mark.parametrize("name", ["transport", "mounts"])
def test_async_only_needs_a_transport_for_the_login(name: str) -> None:
    """A transport that works on a loop only is a problem, unless the login has one of its own."""
    given = async_only() if name == "transport" else {"https://": async_only(), "all://": None}
    (problem,) = settle({name: given})[1]
    assert f"{name}=" in problem
    assert "needs login_transport=" in problem
    assert settle({name: given}, sync_only())[1] == []


async def _respond(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


@pytest.mark.parametrize("handler", [_respond, lambda _: httpx.Response(200)])
def test_mock_transport_needs_nothing(handler: Any) -> None:
    """An `httpx.MockTransport` holds no connection, so the login may use it whatever its handler is."""
    assert settle({"transport": httpx.MockTransport(handler)})[1] == []


@pytest.mark.parametrize("name", ["transport", "login_transport"])
def test_what_is_no_transport(name: str) -> None:
    """An object of another kind is a problem at once."""
    arguments, own = ({"transport": "http://fake"}, None) if name == "transport" else ({}, "http://fake")
    (problem,) = settle(arguments, own)[1]
    assert f"{name}= is no transport" in problem


def test_arguments_are_taken_out() -> None:
    """All that decides how a connection is made is taken out of the arguments, and nothing else."""
    arguments = dict.fromkeys(["verify", "cert", "trust_env", "proxy", "transport", "mounts"])
    arguments |= {"http1": True, "http2": False, "limits": LIMITS, "timeout": 5}
    make_connection(URL, arguments)
    assert arguments == {"limits": LIMITS, "timeout": 5}


# What each client gets


def test_callers_transports_are_handed_through() -> None:
    """The caller's objects go to the clients of both colours as they are, and to a login as borrowed ones."""
    transport, mount = sync_only(), async_only()
    arguments = {"transport": transport, "mounts": {"https://other": mount, "http://": None}}
    connection, _ = settle(arguments, transport)
    for pool in (httpx.HTTPTransport, httpx.AsyncHTTPTransport):
        got = connection.transports(pool, limits=LIMITS)
        assert got == (transport, {"https://other": mount, "http://": None})
    own, mounts = login_transports(connection)
    assert isinstance(own, BorrowedTransport)
    assert isinstance(mounts["https://other"], BorrowedTransport)
    assert mounts["http://"] is None


def test_transport_of_the_login() -> None:
    """A transport of the login's own takes the place of transport, mounts and proxy in the login alone."""
    own = sync_only()
    connection, problems = settle({"proxy": "http://fake", "mounts": {"http://": None}}, own)
    transport, mounts = login_transports(connection)
    assert problems == []
    assert isinstance(transport, BorrowedTransport)
    assert transport._transport is own
    assert mounts == {}
    assert list(connection.transports(httpx.HTTPTransport)[1]) == ["all://", "http://"]


def test_new_pools_each_time() -> None:
    """Each client gets pools of its own, of its colour, over one TLS context and with its limits."""
    connection, _ = settle({"proxy": "http://fake"})
    pools: list[Any] = []
    for kind in (httpx.HTTPTransport, httpx.HTTPTransport, httpx.AsyncHTTPTransport):
        transport, mounts = connection.transports(kind, limits=LIMITS)
        assert isinstance(transport, kind)
        assert isinstance(mounts["all://"], kind)
        pools += [transport, mounts["all://"]]
    assert len({id(pool) for pool in pools}) == 6
    assert {pool._pool._max_connections for pool in pools} == {7}
    contexts = {id(pool._pool._ssl_context) for pool in pools}
    assert len(contexts) == 1


def test_nothing_is_shown() -> None:
    """Neither `repr` nor `vars` of a connection shows the password of a proxy."""
    connection, _ = settle({"proxy": f"http://fake:{CANARY}@proxy"})
    assert CANARY not in repr(connection)
    assert not hasattr(connection, "__dict__")
    assert isinstance(connection._options["verify"], ssl.SSLContext)
