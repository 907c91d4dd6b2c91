"""Proxies, from `proxy=` or from the environment. Loaded only where there are some."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import httpx

from .base_url import LAST_PORT
from .transports import accepts

if TYPE_CHECKING:
    import ssl

# httpx takes these for a part of a host name, and the entry then matches nothing.
_NOT_IN_HOSTS = re.compile(r"[\s\"'\\%]")
_SOCKS = "{} needs an extra of httpx: pip install 'httpx[socks]'."
_NO_PROXY = (
    "{} holds an entry that is no host name and no address. "
    "Write an IPv6 address as ::1, without brackets and without a prefix length, and write no quotes."
)


def find_proxies(proxy: Any, context: ssl.SSLContext, problems: list[str]) -> dict[str, httpx.Proxy | None]:
    """The proxies by URL pattern, as httpx mounts them. None stands for a direct connection.

    Args:
        proxy: the caller's. None reads the environment.
        context: for the connection to the proxy.
        problems: takes what is wrong.
    """
    if proxy is not None:
        found, names = {"all://": proxy}, {"all://": "The proxy="}
    else:
        found = environment_proxies()
        names = {f"{scheme}://": _variable(f"{scheme}_proxy") for scheme in ("http", "https", "all")}
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
    return not _NOT_IN_HOSTS.search(pattern) and accepts(mounts={pattern: None})
