"""All errors that this library defines.

    KYCClientError
    ├── ConfigurationError            nothing was sent: fix the configuration
    └── LoginError                    a login failed, or an earlier failure is remembered
        ├── BadCredentialsError       400 LOGIN_BAD_CREDENTIALS
        ├── UserNotVerifiedError      400 LOGIN_USER_NOT_VERIFIED
        ├── LoginValidationError      422
        ├── LoginRefusedError         any other 4xx except 408 and 429
        ├── LoginUnavailableError     no answer in time, 408, 429, 5xx: try again later
        └── LoginResponseError        an answer without a usable token

Each message says what to do next. An error holds plain values only: no request, no response, no body and no secret. Its
cause and context hold none of these either. It can be pickled, and every caller gets a new instance.

Errors of other calls are not here. They come from the generated code (`kyc_openapi.errors.UnexpectedStatus`) and from
httpx (`httpx.TransportError`).
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
    """The base class of all errors in this module. `except KYCClientError` catches all of them.

    More: [docs/errors.md](errors.md#kycclienterror).
    """


class ConfigurationError(KYCClientError):
    """Nothing was sent: a variable is missing, empty or unusable, or no password may be sent to the base URL.

    `connect()` and `LoginAuth()` raise it for what they can check. The first call that needs a login raises it for the
    rest. The client does not remember it: after the cause is fixed, the next call works.

    More: [docs/errors.md](errors.md#configurationerror).
    """


class LoginError(KYCClientError):
    """There is no token, so the call was not sent. After a 401, the call was not sent again.

    More: [docs/errors.md](errors.md#loginerror).

    Attributes:
        status_code: the HTTP status of the login's answer; None if there was no answer.
        code: the API's error code, such as `LOGIN_BAD_CREDENTIALS`; None if the answer holds nothing like a code.
        retry_after: seconds, from the creation of the error, in which calls fail at once without a login.
        cached: True if nothing was sent, because an earlier login failed and its failure is remembered.
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
        # Only the message goes into `args`, because the default pickling restores the other values from `__dict__`.
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.retry_after = retry_after
        self.cached = cached


class BadCredentialsError(LoginError):
    """400 `LOGIN_BAD_CREDENTIALS`: login or password is wrong, or the user is inactive. The API does not say which.

    What to do: check `API_LOGIN` and `API_PASSWORD`. Changed credentials are tried at once; the same ones are tried
    again after `retry_after` seconds.

    More: [docs/errors.md](errors.md#badcredentialserror).
    """


class UserNotVerifiedError(LoginError):
    """400 `LOGIN_USER_NOT_VERIFIED`: the credentials are right, but the user has not been verified.

    What to do: ask the provider to verify the user. The login is tried again after `retry_after` seconds, or after
    `LoginAuth.reset()`.

    More: [docs/errors.md](errors.md#usernotverifiederror).
    """


class LoginValidationError(LoginError):
    """422: the API did not accept the form of the login.

    What to do: check that login and password are the ones from the provider. If they are, the API may have changed.

    More: [docs/errors.md](errors.md#loginvalidationerror).

    Attributes:
        errors: one `(loc, msg, type)` for each refused field; never the submitted value.
    """

    def __init__(
        self, message: str, *, errors: tuple[tuple[tuple[int | str, ...], str, str], ...] = (), **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.errors = errors


class LoginRefusedError(LoginError):
    """The login was answered with a 4xx for which there is no other error.

    What to do: for 404 and 405, check the base URL. For others, ask the provider, because a gateway in front of the API
    may refuse the login.

    More: [docs/errors.md](errors.md#loginrefusederror).
    """


class LoginUnavailableError(LoginError):
    """The login could not be reached or did not answer in time, or answered 408, 429 or 5xx.

    What to do: try again after `retry_after` seconds. For no other login error is this useful without a change.

    More: [docs/errors.md](errors.md#loginunavailableerror).
    """


class LoginResponseError(LoginError):
    """The login was answered without a usable token: with a redirect, an HTML page, or a token of another type.

    What to do: check that the base URL is the API's. Look for a proxy or a captive portal that answers instead.

    More: [docs/errors.md](errors.md#loginresponseerror).
    """
