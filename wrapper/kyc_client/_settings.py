"""What `connect()` and `LoginAuth()` are given, settled before anything is sent.

What is wrong with something that may be secret comes back as a message, for another frame to raise: a crash reporter
shows the locals of the frames that an error passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx

from ._login.base_url import parse_base_url
from ._login.connection import CONNECTION_ARGUMENTS, Connection, settle_connection
from ._login.credentials import BASE_URL, Credentials, EnvironmentCredentials, check_environment

CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials] | None

# httpx's own default is 5 s for everything; uploads of documents take longer than that.
DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
__all__ = ["CONNECTION_ARGUMENTS"]


def settle(
    base_url: str | httpx.URL | None,
    arguments: dict[str, Any],
    *,
    allow_insecure_http: bool,
    also_needed: tuple[str, ...] = (),
    login_transport: Any = None,
) -> tuple[httpx.URL, Connection, str]:
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
    text, missing = check_environment(*needed)
    text = text if base_url is None else base_url
    url, unfit = parse_base_url(text, allow_insecure_http=allow_insecure_http)
    connection, problems = settle_connection(url, arguments, login_transport)
    return url, connection, "\n".join(filter(None, (missing, unfit, *problems)))


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
        return EnvironmentCredentials()
    return (lambda: credentials) if isinstance(credentials, Credentials) else credentials
