"""What `connect()` and `LoginAuth()` are given, checked once, before anything is sent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import httpx

from ._login.base_url import parse_base_url
from ._login.connection import make_connection
from ._login.credentials import BASE_URL, LOGIN, PASSWORD, Credentials, EnvironmentCredentials, check_environment
from ._login.endpoint import USER_AGENT, LoginEndpoint
from .errors import ConfigurationError

_Function = TypeVar("_Function", bound=Callable[..., Any])
CredentialsSource: TypeAlias = Credentials | Callable[[], Credentials] | None

# httpx's own default is 5 s for everything. Uploads of documents take longer.
DEFAULT_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
LOGIN_ARGUMENTS = frozenset({"cert", "mounts", "proxy", "transport", "trust_env", "verify"})


def without_frames(function: _Function) -> _Function:
    """Make a function raise its errors without the frames that they passed.

    A crash reporter shows the locals of these frames. Here, they hold passwords of proxies and keys of gateways.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised below
            error.__traceback__ = error.__context__ = error.__cause__ = None
            problem = error
        del args, kwargs
        raise problem

    return call  # type: ignore[return-value]  # it takes and returns the same  # pyright: ignore[reportReturnType]


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
) -> LoginEndpoint:
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

    Raises:
        ConfigurationError: with everything that is wrong.
        TypeError: an argument of a wrong type, or one that the entrance does not take.
    """
    _check_types(entrance, arguments, known, credentials)
    settled = httpx.Timeout(timeout)
    # httpx itself would find out only when it waits.
    if not all(isinstance(seconds, int | float | None) for seconds in settled.as_dict().values()):
        raise TypeError("timeout= takes seconds, an httpx.Timeout, or None.")
    needed: tuple[str, ...] = () if base_url is not None else (BASE_URL,)
    if credentials is None and needs_credentials:
        needed += (LOGIN, PASSWORD)
    text, missing = check_environment(*needed)
    url, unfit = parse_base_url(text if base_url is None else base_url, allow_insecure_http=allow_insecure_http)
    connection, problems = make_connection(url, arguments, login_transport)
    headers = httpx.Headers({"User-Agent": user_agent})
    # As a list, because it may be an iterator, which can be read only once.
    login_headers = login_headers if hasattr(login_headers, "items") else list(login_headers or ())
    if login_headers:
        from ._login.gateway import unfit_headers  # noqa: PLC0415 - rarely needed

        problems.append(unfit_headers(login_headers) or "")
        if not problems[-1]:
            headers.update(login_headers)
    if any(found := (missing, unfit, *problems)):
        raise ConfigurationError("\n".join(filter(None, found)))
    return LoginEndpoint(url, settled, connection, headers)


def as_callable(credentials: CredentialsSource) -> Callable[[], Credentials]:
    """What is asked for the credentials at each login."""
    if credentials is None:
        return EnvironmentCredentials()
    return (lambda: credentials) if isinstance(credentials, Credentials) else credentials


def _check_types(entrance: str, arguments: dict[str, Any], known: frozenset[str], credentials: object) -> None:
    """Raise `TypeError` for what httpx would complain about only at the first call, and for what is no credentials."""
    if "auth" in arguments:
        raise TypeError(f"{entrance} takes no auth: it sets its own. With yours, use kyc_openapi.Client.")
    if unknown := ", ".join(sorted(arguments.keys() - known)):
        raise TypeError(f"{entrance} takes no {unknown}. Of httpx's arguments it takes {', '.join(sorted(known))}.")
    if not isinstance(credentials, Credentials | None) and (not callable(credentials) or isinstance(credentials, type)):
        what = "credentials= takes kyc_client.Credentials, or a callable without arguments that returns them."
        raise TypeError(what)
