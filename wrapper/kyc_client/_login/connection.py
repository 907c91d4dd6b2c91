"""How connections are made: settled once, for calls and logins alike.

Nothing after `make_connection` reads the environment. So a login cannot take another way than the calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import httpx

from .base_url import uses_proxies
from .tls import shared_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECTION_ARGUMENTS = ("cert", "http1", "http2", "mounts", "proxy", "transport", "trust_env", "verify")


class Connection:
    """How connections are made.

    Args:
        options: `verify`, `http1` and `http2` of httpx's transports.
        proxies: by URL pattern. None stands for a direct connection.
        transport: the caller's, or None.
        mounts: the caller's, by URL pattern.
        login_transport: the transport of the login, or None.

    Attributes:
        for_login: how the login connects.
    """

    __slots__ = ("_mounts", "_options", "_proxies", "_transport", "for_login")

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
        # A transport of the login's own takes the place of everything else. `LoginAuth(transport=…)` is the login's
        # already, and keeps its mounts.
        own = login_transport is not None and login_transport is not transport
        self.for_login = Connection(options, {}, login_transport) if own else self

    def transports(
        self, pool: Any, *, borrow: Callable[[Any], Any] = lambda transport: transport, **limits: httpx.Limits
    ) -> tuple[Any, dict[str, Any]]:
        """New connection pools: the `transport=` and `mounts=` of a new httpx client.

        Args:
            pool: `httpx.HTTPTransport` or `httpx.AsyncHTTPTransport`.
            borrow: what becomes of a transport of the caller's.
            **limits: `limits=` of the pool, or nothing.
        """

        def new(proxy: httpx.Proxy | None = None) -> Any:
            return pool(**self._options, **limits, proxy=proxy, trust_env=False)

        transport = new() if self._transport is None else borrow(self._transport)
        mounts = {pattern: proxy and new(proxy) for pattern, proxy in self._proxies.items()}
        return transport, mounts | {pattern: mount and borrow(mount) for pattern, mount in self._mounts.items()}


def make_connection(
    url: httpx.URL, arguments: dict[str, Any], login_transport: Any = None
) -> tuple[Connection, list[str]]:
    """Take everything that decides how a connection is made out of httpx's arguments, and read the environment once.

    It does not raise, because its frame may hold secrets such as the password of a proxy.

    Args:
        url: the base URL. The proxies of the environment are not used for `http://` to this machine, unless
            `trust_env` is given.
        arguments: httpx's keyword arguments. Those of `CONNECTION_ARGUMENTS` are taken out.
        login_transport: the transport of the login. None: the login connects as the calls do.

    Returns:
        The connection, and what is wrong with the settings: one message each, without any value.
    """
    given = {name: arguments.pop(name, None) for name in CONNECTION_ARGUMENTS}
    trust_env = uses_proxies(url) if given["trust_env"] is None else bool(given["trust_env"])
    context, problem = shared_context(verify=given["verify"], cert=given["cert"], trust_env=trust_env)
    problems = [problem] if problem else []
    options = {"verify": context, "http1": given["http1"] is not False, "http2": bool(given["http2"])}
    transport, mounts, proxies = given["transport"], given["mounts"], dict[str, httpx.Proxy | None]()
    if given["http2"] or mounts or transport is not None or login_transport is not None:
        from . import transports  # noqa: PLC0415 - rarely needed

        mounts = transports.check_mounts(mounts, problems)
        problems += transports.unfit_transports(transport, mounts, login_transport)
        if given["http2"] and not transports.accepts(http2=True):
            problems.append("http2=True needs an extra of httpx: pip install 'httpx[http2]'.")
    from_environment = trust_env and transport is None
    if given["proxy"] is not None or (from_environment and getproxies()):
        from .proxies import find_proxies  # noqa: PLC0415 - likewise

        proxies = find_proxies(given["proxy"], context, problems)
    return Connection(options, proxies, transport, mounts, login_transport), problems
