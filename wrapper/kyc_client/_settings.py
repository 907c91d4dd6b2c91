"""What `connect()` and `LoginAuth()` are given, settled once, before anything is sent.

What is wrong comes back as an exception that another frame raises. A crash reporter shows the locals of the frames that
an error passes, and the frames here hold passwords of proxies and keys of gateways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import httpx

from ._login.base_url import parse_base_url
from ._login.connection import make_connection
from ._login.credentials import BASE_URL, LOGIN, PASSWORD, Credentials, EnvironmentCredentials, check_environment
from ._login.endpoint import USER_AGENT, LoginEndpoint
from .errors import ConfigurationError

CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials] | None

# httpx's own default is 5 s for everything. Uploads of documents take longer.
DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LOGIN_ARGUMENTS = frozenset({"cert", "mounts", "proxy", "transport", "trust_env", "verify"})


def configure(  # noqa: PLR0913 - what both entrances are given
    entrance: str,
    base_url: str | httpx.URL | None,
    arguments: dict[str, Any],
    credentials: CredentialsSource,
    timeout: float | httpx.Timeout | None,
    *,
    known: frozenset[str],
    needs_credentials: bool,
    allow_insecure_http: bool,
    login_headers: Any,
    login_transport: Any,
    user_agent: str = USER_AGENT,
) -> LoginEndpoint | Exception:
    """Check what an entrance is given, and read the environment.

    Args:
        entrance: its name, for messages.
        base_url: None reads `API_BASE_URL`.
        arguments: httpx's. Those that decide how a connection is made are taken out.
        credentials: as for `LoginAuth`.
        timeout: as for `LoginAuth`.
        known: the names of httpx's arguments that the entrance takes.
        needs_credentials: credentials of the environment must be there now, and not only when a login needs them.
        allow_insecure_http: as for `LoginAuth`.
        login_headers: as `headers` of `LoginAuth`.
        login_transport: the login's own transport, or None.
        user_agent: the `User-Agent` of the login, unless `login_headers` has one.

    Returns:
        Where and how to log in, or the error to raise: a `ConfigurationError` with everything that is wrong, or a
        `TypeError`.
    """
    misuse = _misuse_of(entrance, arguments, known, credentials)
    settled = _as_timeout(timeout)
    if misuse or settled is None:
        return TypeError(misuse or "timeout= takes seconds, an httpx.Timeout, or None.")
    needed: tuple[str, ...] = () if base_url is not None else (BASE_URL,)
    if credentials is None and needs_credentials:
        needed += (LOGIN, PASSWORD)
    text, missing = check_environment(*needed)
    url, unfit = parse_base_url(text if base_url is None else base_url, allow_insecure_http=allow_insecure_http)
    connection, problems = make_connection(url, arguments, login_transport)
    headers = httpx.Headers({"User-Agent": user_agent})
    if login_headers:
        from ._login.gateway import unfit_headers  # noqa: PLC0415 - rarely needed

        problems.append(unfit_headers(login_headers) or "")
        if not problems[-1]:
            headers.update(login_headers)
    if any(found := (missing, unfit, *problems)):
        return ConfigurationError("\n".join(filter(None, found)))
    return LoginEndpoint(url, settled, connection, headers)


def as_callable(credentials: CredentialsSource) -> Callable[[], Credentials]:
    """What is asked for the credentials at each login."""
    if credentials is None:
        return EnvironmentCredentials()
    return (lambda: credentials) if isinstance(credentials, Credentials) else credentials


def _misuse_of(entrance: str, arguments: dict[str, Any], known: frozenset[str], credentials: object) -> str | None:
    """Why an entrance cannot be called like this. httpx would complain only at the first call."""
    if "auth" in arguments:
        return f"{entrance} takes no auth: it sets that itself. With an auth of yours, use kyc_openapi.Client."
    if unknown := ", ".join(sorted(arguments.keys() - known)):
        return f"{entrance} takes no {unknown}. Of httpx's arguments it takes {', '.join(sorted(known))}."
    if credentials is None or isinstance(credentials, Credentials):
        return None
    if callable(credentials) and not isinstance(credentials, type):
        return None
    return "credentials= takes kyc_client.Credentials, or a callable without arguments that returns them."


def _as_timeout(timeout: float | httpx.Timeout | None) -> httpx.Timeout | None:
    """An `httpx.Timeout` of numbers. httpx itself would find out only when it waits."""
    result = httpx.Timeout(timeout)
    return result if all(isinstance(seconds, int | float | None) for seconds in result.as_dict().values()) else None
