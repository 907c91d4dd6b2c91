"""What `connect()` and `LoginAuth()` are given, settled once, before anything is sent.

What is wrong comes back as an exception that another frame raises. A crash reporter shows the locals of the frames that
an error passes, and the frames here hold passwords of proxies and keys of gateways.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx

from ._login.base_url import parse_base_url
from ._login.connection import Connection, settle_connection
from ._login.credentials import (
    BASE_URL,
    LOGIN,
    PASSWORD,
    Credentials,
    EnvironmentCredentials,
    check_environment,
)
from .errors import ConfigurationError

if TYPE_CHECKING:
    from ._token.reporter import OnEvent

CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials] | None

# httpx's own default is 5 s for everything. Uploads of documents take longer.
DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LOGIN_ARGUMENTS = frozenset({"cert", "mounts", "proxy", "transport", "trust_env", "verify"})


class Settings:
    """Everything that a login needs, checked. Not a value object, because its `repr` would show secrets.

    Attributes:
        base_url: the API's address.
        timeout: for each connect, read and write.
        connection: how connections are made, for calls and logins alike.
        credentials: returns the credentials, at each login.
        login_headers: what a gateway wants on the login.
        on_event: the caller's function for events.
    """

    __slots__ = ("base_url", "connection", "credentials", "login_headers", "on_event", "timeout")

    def __init__(  # noqa: PLR0913 - the fields
        self,
        *,
        base_url: httpx.URL,
        timeout: httpx.Timeout,
        connection: Connection,
        credentials: Callable[[], Credentials],
        login_headers: httpx.Headers,
        on_event: OnEvent | None,
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self.connection = connection
        self.credentials = credentials
        self.login_headers = login_headers
        self.on_event = on_event


def settle(  # noqa: PLR0913 - what both entrances are given
    base_url: str | httpx.URL | None,
    arguments: dict[str, Any],
    *,
    credentials: CredentialsSource,
    timeout: float | httpx.Timeout | None,
    allow_insecure_http: bool,
    on_event: OnEvent | None,
    login_headers: Any,
    login_transport: Any,
    user_agent: str | None = None,
    needs_credentials: bool = False,
) -> Settings | Exception:
    """Check what an entrance is given, and read the environment.

    Args:
        base_url: None reads `API_BASE_URL`.
        arguments: httpx's. Those that decide how a connection is made are taken out.
        credentials: as for `LoginAuth`.
        timeout: as for `LoginAuth`.
        allow_insecure_http: as for `LoginAuth`.
        on_event: as for `LoginAuth`.
        login_headers: as `headers` of `LoginAuth`.
        login_transport: the login's own transport, or None.
        user_agent: the `User-Agent` of the login, unless `login_headers` has one.
        needs_credentials: credentials of the environment must be there now, and not only when a login needs them.

    Returns:
        The settings, or the error to raise: a `ConfigurationError` with everything that is wrong, or a `TypeError`.
    """
    if isinstance(misuse := _misuse_of(credentials) or _as_timeout(timeout), TypeError):
        return misuse
    try:
        headers = httpx.Headers({} if user_agent is None else {"User-Agent": user_agent})
        headers.update(login_headers)
    except Exception:  # noqa: BLE001 - what httpx raises here repeats the value
        return TypeError("The headers of the login are a mapping of names to texts, as httpx takes them.")
    source = EnvironmentCredentials() if credentials is None else _as_callable(credentials)
    needed = [BASE_URL] if base_url is None else []
    if needs_credentials and credentials is None:
        needed += [LOGIN, PASSWORD]
    text, missing = check_environment(*needed)
    url, unfit = parse_base_url(text if base_url is None else base_url, allow_insecure_http=allow_insecure_http)
    connection, problems = settle_connection(url, arguments, login_transport)
    if login_headers:
        from ._login.gateway import unfit_headers  # noqa: PLC0415 - rarely needed

        problems.append(unfit_headers(headers) or "")
    found = [missing, unfit, *problems]
    if any(found):
        return ConfigurationError("\n".join(filter(None, found)))
    return Settings(
        base_url=url,
        timeout=misuse,
        connection=connection,
        credentials=source,
        login_headers=headers,
        on_event=on_event,
    )


def unknown_arguments(entrance: str, arguments: dict[str, Any], known: frozenset[str]) -> TypeError | None:
    """The error for arguments that httpx does not know. httpx would complain about them only at the first call."""
    if "auth" in arguments:
        return TypeError(
            f"{entrance} takes no auth: it sets that itself. With an auth of yours, use kyc_openapi.Client."
        )
    unknown = ", ".join(sorted(arguments.keys() - known))
    if not unknown:
        return None
    return TypeError(f"{entrance} takes no {unknown}. Of httpx's arguments it takes {', '.join(sorted(known))}.")


def _as_timeout(timeout: float | httpx.Timeout | None) -> httpx.Timeout | TypeError:
    """An `httpx.Timeout` of numbers. httpx itself would find out only when it waits."""
    result = httpx.Timeout(timeout)
    if all(seconds is None or isinstance(seconds, int | float) for seconds in result.as_dict().values()):
        return result
    return TypeError("timeout= takes seconds, an httpx.Timeout, or None.")


def _misuse_of(credentials: object) -> TypeError | None:
    good = isinstance(credentials, Credentials) or (callable(credentials) and not isinstance(credentials, type))
    if good or credentials is None:
        return None
    return TypeError("credentials= takes kyc_client.Credentials, or a callable without arguments that returns them.")


def _as_callable(credentials: Credentials | Callable[[], Credentials]) -> Callable[[], Credentials]:
    return (lambda: credentials) if isinstance(credentials, Credentials) else credentials
