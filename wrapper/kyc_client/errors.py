"""Everything that this library raises of its own.

    KYCClientError
    ├── ConfigurationError            nothing was sent: fix the configuration
    └── LoginError                    a login was tried, or is known to be pointless
        ├── BadCredentialsError       400 LOGIN_BAD_CREDENTIALS
        ├── UserNotVerifiedError      400 LOGIN_USER_NOT_VERIFIED
        ├── LoginValidationError      422
        ├── LoginRefusedError         any other 4xx but 408 and 429
        ├── LoginUnavailableError     no answer in time, 408, 429, 5xx: worth trying again later
        └── LoginResponseError        an answer that holds no usable token

Each error says in its message what to do next. It holds plain values only (no request, no response, no body, no
secret, and none of these in its cause or context either), survives pickling, and is a fresh instance for every caller.

The API's own errors on other calls are not here: they come from the generated code
(`kyc_openapi.errors.UnexpectedStatus`) and from httpx (`httpx.TransportError`).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadCredentialsError",
    "ConfigurationError",
    "KYCClientError",
    "LoginError",
    "LoginRefusedError",
    "LoginResponseError",
    "LoginUnavailableError",
    "LoginValidationError",
    "UserNotVerifiedError",
]


class KYCClientError(Exception):
    """The base of every error in this module: `except KYCClientError` catches all that the library itself raises.

    More: [docs/errors.md](errors.md#kycclienterror).
    """


class ConfigurationError(KYCClientError):
    """Nothing was sent: a variable is missing, empty or unusable, or a base URL is not fit to receive a password.

    Raised by `connect()` and `LoginAuth()` for what they can see, and by the first call that needs a login for the
    rest. It is not remembered: once the cause is mended, the next call works.

    More: [docs/errors.md](errors.md#configurationerror).
    """


class LoginError(KYCClientError):
    """There is no token, so the call was not sent (or, after a 401, not sent again).

    More: [docs/errors.md](errors.md#loginerror).

    Attributes:
        status_code: the HTTP status of the login's answer; None if there was no answer.
        code: the API's own word, such as `LOGIN_BAD_CREDENTIALS`; None if it gave none that looks like a code.
        retry_after: seconds, counted from when the error was made, during which calls fail at once without a login.
        cached: True if nothing was sent for this error, because a login just before had failed in the same way.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        cached: bool = False,
    ) -> None:
        # Only the message goes into `args`: the rest lives in `__dict__`, which is what lets the default pickling work.
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.retry_after = retry_after
        self.cached = cached


class BadCredentialsError(LoginError):
    """400 `LOGIN_BAD_CREDENTIALS`: the login or password is wrong, or the user is inactive; the API does not say which.

    What to do: check `API_LOGIN` and `API_PASSWORD`; changed credentials are tried at once, the same ones not before
    `retry_after`.

    More: [docs/errors.md](errors.md#badcredentialserror).
    """


class UserNotVerifiedError(LoginError):
    """400 `LOGIN_USER_NOT_VERIFIED`: the credentials are right, but the user has not been verified.

    What to do: have the provider verify the user. The login is tried again after `retry_after`, or after
    `LoginAuth.reset()`.

    More: [docs/errors.md](errors.md#usernotverifiederror).
    """


class LoginValidationError(LoginError):
    """422: the API did not accept the form of the login.

    What to do: check that login and password are what the provider handed out; if they are, the API may have changed.

    More: [docs/errors.md](errors.md#loginvalidationerror).

    Attributes:
        errors: one `(loc, msg, type)` for each field that was refused; never the value that was submitted.
    """

    def __init__(
        self, message: str, *, errors: tuple[tuple[tuple[int | str, ...], str, str], ...] = (), **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.errors = errors


class LoginRefusedError(LoginError):
    """The login was answered with a 4xx that has no error of its own.

    What to do: for 404 and 405, check the base URL; for others, ask the provider, since something in front of the API
    may refuse.

    More: [docs/errors.md](errors.md#loginrefusederror).
    """


class LoginUnavailableError(LoginError):
    """The login could not be reached or did not answer in time, or answered 408, 429 or 5xx.

    The only login error that is worth trying again later: after `retry_after` seconds.

    More: [docs/errors.md](errors.md#loginunavailableerror).
    """


class LoginResponseError(LoginError):
    """The login was answered, but not with a usable token: a redirect, a page of HTML, a token of another type…

    What to do: check that the base URL is the API's, and what stands between (a proxy, a captive portal).

    More: [docs/errors.md](errors.md#loginresponseerror).
    """
