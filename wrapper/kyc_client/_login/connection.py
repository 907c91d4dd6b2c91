"""How connections are made: settled once, for calls and logins alike.

Nothing after `settle_connection` reads the environment. So a login cannot take another way than the calls.
"""

from __future__ import annotations

import importlib
import inspect
import ipaddress
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.request import getproxies

import httpx

from .base_url import LAST_PORT, uses_proxies
from .tls import shared_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    SyncTransports: TypeAlias = tuple[httpx.BaseTransport, dict[str, httpx.BaseTransport | None]]
    AsyncTransports: TypeAlias = tuple[httpx.AsyncBaseTransport, dict[str, httpx.AsyncBaseTransport | None]]

CONNECTION_ARGUMENTS = frozenset({"cert", "http1", "http2", "mounts", "proxy", "transport", "trust_env", "verify"})
# httpx takes these for a part of a host name, and the entry then matches nothing.
_NOT_IN_HOSTS = re.compile(r"[\s\"'\\%]")
# A login's answer is under 1 KiB. The cap counts raw bytes, because 97 kB of gzip unpack to 100 MB.
MAX_ANSWER_BYTES = 64 * 1024
_SOCKS = "{} needs an extra of httpx: pip install 'httpx[socks]'."
_NO_PROXY = (
    "{} holds an entry that is no host name and no address. "
    "Write an IPv6 address as ::1, without brackets and without a prefix length, and write no quotes."
)
_NEEDS_LOGIN_TRANSPORT = (
    "{} works on an event loop only, and a login never runs on yours. A client with it needs login_transport=… too: "
    "a transport for the login alone, for example httpx.HTTPTransport()."
)


class Connection:
    """How connections are made: settled once, for calls and logins alike.

    Each method makes new connection pools. A transport of the caller's is handed through as it is.
    """

    __slots__ = ("_login", "_mounts", "_options", "_proxies", "_transport")

    def __init__(
        self,
        options: Mapping[str, Any],
        proxies: Mapping[str, httpx.Proxy | None],
        transport: Any = None,
        mounts: Mapping[str, Any] | None = None,
        login_transport: Any = None,
    ) -> None:
        self._options = options
        self._proxies = proxies
        self._transport = transport
        self._mounts = mounts or {}
        # A transport of the login's own takes the place of everything else. (`LoginAuth(transport=…)` is the login's
        # already, and keeps its mounts.)
        own = login_transport is not None and login_transport is not transport
        self._login = Connection(options, {}, login_transport) if own else self
        if not all(mount is None or _is_sync(mount) for mount in (transport, *self._mounts.values())):
            importlib.import_module("asyncio")  # Now: a fork may cut an import in a login's thread in two.

    def sync_transports(self, limits: httpx.Limits) -> SyncTransports:
        """The `transport=` and `mounts=` of a new `httpx.Client`."""
        return self._transports(httpx.HTTPTransport, limits, lambda transport: transport)

    def async_transports(self, limits: httpx.Limits) -> AsyncTransports:
        """The `transport=` and `mounts=` of a new `httpx.AsyncClient`."""
        return self._transports(httpx.AsyncHTTPTransport, limits, lambda transport: transport)

    def login_transports(self, within: float) -> SyncTransports:
        """The `transport=` and `mounts=` for one login. Closing them does not close a transport of the caller's.

        Args:
            within: the seconds that a transport gets which needs an event loop.
        """
        return self._login._transports(  # noqa: SLF001 - of the same class
            httpx.HTTPTransport, httpx.Limits(), lambda transport: BorrowedTransport(transport, within)
        )

    def _transports(self, pool: type[Any], limits: httpx.Limits, hand_out: Callable[[Any], Any]) -> tuple[Any, Any]:
        def new(proxy: httpx.Proxy | None = None) -> Any:
            return pool(**self._options, limits=limits, proxy=proxy, trust_env=False)

        transport = new() if self._transport is None else hand_out(self._transport)
        mounts = {pattern: proxy and new(proxy) for pattern, proxy in self._proxies.items()}
        mounts |= {pattern: mount and hand_out(mount) for pattern, mount in self._mounts.items()}
        return transport, mounts


def settle_connection(
    url: httpx.URL, arguments: dict[str, Any], login_transport: Any = None
) -> tuple[Connection, list[str]]:
    """Take all that decides how a connection is made out of httpx's arguments, and read the environment once.

    It does not raise, because its frame may hold secrets such as the password of a proxy.

    Args:
        url: the base URL. The proxies of the environment are not used for `http://` to this machine, unless
            `trust_env` is given.
        arguments: httpx's keyword arguments. Those of `CONNECTION_ARGUMENTS` are taken out.
        login_transport: the transport of the login. None: the login connects as the calls do.

    Returns:
        The connection, and what is wrong with the settings: one message each, without any value.
    """
    trust_env = arguments.pop("trust_env", None)
    trust_env = uses_proxies(url) if trust_env is None else bool(trust_env)
    context, problem = shared_context(
        verify=arguments.pop("verify", None), cert=arguments.pop("cert", None), trust_env=trust_env
    )
    problems = [problem] if problem else []
    transport, mounts = arguments.pop("transport", None), arguments.pop("mounts", None)
    proxies = _settle_proxies(
        arguments.pop("proxy", None), context, problems, from_environment=trust_env and transport is None
    )
    options = {"verify": context, "http1": arguments.pop("http1", True), "http2": arguments.pop("http2", False)}
    mounts = _settle_mounts(mounts, problems)
    if options["http2"] and not _accepts(http2=True):
        problems.append("http2=True needs an extra of httpx: pip install 'httpx[http2]'.")
    problems += _unfit_transports(transport, mounts, login_transport)
    return Connection(options, proxies, transport, mounts, login_transport), problems


def _unfit_transports(transport: Any, mounts: Mapping[str, Any], login_transport: Any) -> list[str]:
    """What is wrong with the caller's transports."""
    named = [("The transport=", transport), *(("A transport in mounts=", mount) for mount in mounts.values())]
    problems: dict[str, None] = {}
    for name, given in (*named, ("The login_transport=", login_transport)):
        if given is None or hasattr(given, "handle_request"):
            continue
        if not hasattr(given, "handle_async_request"):
            problems[f"{name} is no transport. A good one is httpx.HTTPTransport()."] = None
        elif login_transport is None:
            problems[_NEEDS_LOGIN_TRANSPORT.format(name)] = None
    return list(problems)


def _settle_mounts(mounts: Any, problems: list[str]) -> dict[str, Any]:
    """The caller's `mounts=` as a dictionary, which is empty if httpx would not take them."""
    try:
        result = dict(mounts or {})
    except (TypeError, ValueError):
        result = {"no URL pattern": None}
    if _accepts(mounts=dict.fromkeys(result)):
        return result
    problems.append("The mounts= cannot be used. Good ones look like {'https://': httpx.HTTPTransport()}.")
    return {}


def _settle_proxies(
    proxy: Any, context: ssl.SSLContext, problems: list[str], *, from_environment: bool
) -> dict[str, httpx.Proxy | None]:
    """The proxies by URL pattern, as httpx mounts them. None stands for a direct connection."""
    if proxy is not None:
        found, names = {"all://": proxy}, {"all://": "The proxy="}
    elif from_environment:
        found = environment_proxies()
        names = {f"{scheme}://": _variable(f"{scheme}_proxy") for scheme in ("http", "https", "all")}
    else:
        return {}
    result: dict[str, httpx.Proxy | None] = {}
    flaws: dict[str, None] = {}
    for pattern, value in found.items():
        if value is not None:
            result[pattern], flaw = _check_proxy(value, context)
        else:
            result[pattern], flaw = None, None if _is_pattern(pattern) else _NO_PROXY
        if flaw:
            flaws[flaw.format(names[pattern] if value is not None else _variable("no_proxy"))] = None
    problems += flaws
    return {} if flaws else result


def environment_proxies() -> dict[str, str | None]:
    """The proxies that the environment names, by the rules of httpx 0.28: URL pattern to proxy, or to None for none.

    httpx would read them again each time a client is made.
    """
    found = getproxies()
    mounts: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        if value := found.get(scheme):
            mounts[f"{scheme}://"] = value if "://" in value else f"http://{value}"
    for host in map(str.strip, found.get("no", "").split(",")):
        if host == "*":
            return {}
        if host:
            mounts[_no_proxy_pattern(host)] = None
    return mounts


def _no_proxy_pattern(host: str) -> str:
    """The URL pattern of one entry of NO_PROXY."""
    if "://" in host:
        return host
    try:
        version = ipaddress.ip_address(host.split("/", maxsplit=1)[0]).version
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://{host}" if version == 4 else f"all://[{host}]"


def _variable(name: str) -> str:
    """The name of a proxy variable as it is set; urllib prefers lower case, and takes upper case too."""
    return name if name in os.environ else name.upper()


def _check_proxy(value: Any, context: ssl.SSLContext) -> tuple[httpx.Proxy | None, str | None]:
    """A proxy, or what is wrong with it, as a message with a gap for its name."""
    unusable = "{} cannot be used. A good one looks like http://proxy.example.com:3128."
    try:
        proxy = value if isinstance(value, httpx.Proxy) else httpx.Proxy(value)
        url = proxy.url
        if not url.host or _NOT_IN_HOSTS.search(url.host) or (url.port or 0) > LAST_PORT:
            return None, unusable
        httpx.HTTPTransport(verify=context, proxy=proxy, trust_env=False).close()
    except ImportError:
        return None, _SOCKS
    except Exception:  # noqa: BLE001 - httpx's complaints have no common class, and show the value
        return None, unusable
    return proxy, None


def _is_pattern(pattern: str) -> bool:
    return not _NOT_IN_HOSTS.search(pattern) and _accepts(mounts={pattern: None})


def _accepts(**arguments: Any) -> bool:
    """Whether httpx makes a client of these arguments. There is no other public way to ask it."""
    try:
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)), trust_env=False, **arguments).close()
    except Exception:  # noqa: BLE001 - its complaints have no common class
        return False
    return True


def _is_sync(transport: Any) -> bool:
    """Whether a transport works without an event loop. An `httpx.MockTransport` is what its handler is."""
    handler = getattr(transport, "handler", None)
    functions = (handler, getattr(handler, "__call__", None))  # noqa: B004 - an object may have an async __call__
    return hasattr(transport, "handle_request") and not any(map(inspect.iscoroutinefunction, functions))


class BorrowedTransport(httpx.BaseTransport):
    """A transport of the caller's during one login. It is never closed, and runs on a private loop if it needs one."""

    def __init__(self, transport: Any, within: float) -> None:
        self._transport = transport
        self._within = within

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if _is_sync(self._transport):
            return self._transport.handle_request(request)  # type: ignore[no-any-return]  # of any class
        return run_on_private_loop(lambda: self._exchange(request), self._within)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._transport.handle_async_request(request)
        body = b""
        try:
            if response.is_stream_consumed:
                body = response.content
            else:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        break
        finally:
            await response.aclose()
        # As a stream, because content would be decompressed at once.
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))


def run_on_private_loop(function: Callable[[], Awaitable[httpx.Response]], within: float) -> httpx.Response:
    """Run a coroutine function on an asyncio loop that exists for this one call."""
    import asyncio  # noqa: PLC0415 - 8 ms, which only such transports cost

    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if getattr(lowlevel, "in_trio_run", bool)():
        raise RuntimeError("This transport needs an event loop of its own, but trio runs in this thread.")

    async def bounded() -> httpx.Response:
        async with asyncio.timeout(within):
            return await function()

    coroutine = bounded()
    try:
        return asyncio.run(coroutine)
    finally:
        coroutine.close()  # It has not begun if a loop runs in this thread. Python would then complain.
