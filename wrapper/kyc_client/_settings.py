"""What `connect()` and `LoginAuth()` are given, settled before anything is sent.

What is wrong with something that may be secret comes back as a message, for another frame to raise: a crash reporter
shows the locals of the frames that an error passes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx

from ._login.base_url import parse_base_url, uses_proxies
from ._login.credentials import BASE_URL, Credentials, read_environment
from ._login.tls import shared_context

if TYPE_CHECKING:
    import ssl

CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials] | None

# httpx's own default is 5 s for everything; uploads of documents take longer than that.
DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
CONNECTION_ARGUMENTS = frozenset({"cert", "mounts", "proxy", "transport", "trust_env", "verify"})


def settle(
    base_url: str | httpx.URL | None,
    arguments: dict[str, Any],
    *,
    allow_insecure_http: bool,
    also_needed: tuple[str, ...] = (),
) -> tuple[httpx.URL, ssl.SSLContext, str]:
    """Settle where to connect, and how.

    Args:
        base_url: None reads the environment.
        arguments: httpx's. `verify` and `cert` are taken out of them, being one context; `trust_env` is put in, and
            `proxy` becomes an `httpx.Proxy`, whose `repr` shows no password.
        allow_insecure_http: as for `LoginAuth`.
        also_needed: further variables that have to be there.

    Returns:
        The base URL, the TLS context, and all that is wrong with the settings, as the message of an error ("" if
        nothing is). It does not raise, because its frame holds them.
    """
    needed = (BASE_URL, *also_needed) if base_url is None else also_needed
    values, missing = read_environment(os.environ, *needed)
    text = values.get(BASE_URL) if base_url is None else base_url
    values.clear()  # Only whether they are there matters, and this frame may be shown.
    url, unfit = parse_base_url(text, allow_insecure_http=allow_insecure_http)
    trust_env = arguments.setdefault("trust_env", uses_proxies(url))
    verify, cert = arguments.pop("verify", None), arguments.pop("cert", None)
    context, broken = shared_context(verify=verify, cert=cert, trust_env=trust_env)
    unusable = None
    if isinstance(arguments.get("proxy"), str | httpx.URL):
        try:
            arguments["proxy"] = httpx.Proxy(arguments["proxy"])
        except (httpx.InvalidURL, ValueError):
            unusable = "The proxy= cannot be used. A good one looks like http://proxy.example.com:3128."
    return url, context, "\n".join(filter(None, (missing, unfit, broken, unusable)))


def as_timeout(timeout: float | httpx.Timeout | None) -> httpx.Timeout:
    """An `httpx.Timeout` of numbers; httpx itself would find out only when it waits."""
    result = httpx.Timeout(timeout)
    if not all(seconds is None or isinstance(seconds, int | float) for seconds in result.as_dict().values()):
        raise TypeError("timeout= takes seconds, an httpx.Timeout, or None.")
    return result


def misuse_of(credentials: object) -> str | None:
    """Why this is nothing to log in with, as the message of a `TypeError`; None if it is something.

    It does not raise, because somebody may have given the password itself.
    """
    good = isinstance(credentials, Credentials) or (callable(credentials) and not isinstance(credentials, type))
    if good or credentials is None:
        return None
    return "credentials= takes kyc_client.Credentials, or a callable without arguments that returns them."


def as_callable(credentials: CredentialsSource) -> Callable[[], Credentials]:
    """What is asked for the credentials at each login."""
    if credentials is None:
        return Credentials.from_env
    return (lambda: credentials) if isinstance(credentials, Credentials) else credentials
