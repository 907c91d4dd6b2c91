"""The login operation: one attempt, and what its answer means.

The only module that knows how a login looks on the wire. It performs the generated operation on a client of its own, so
that the password meets neither the caller's event hooks nor redirects nor histories; the client is built for one
attempt, over the same kind of connection (TLS, proxy, transport) as the caller's.

Whatever happens becomes a value, a `Grant` or a `Failure`; no exception leaves this module. An exception would carry
frames of httpx whose locals hold the password, and would be shared by all who wait for the login.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import httpx

from kyc_openapi import Client
from kyc_openapi.api.auth import login
from kyc_openapi.models import BearerToken, HTTPValidationError, LoginForm, LoginRefusal

from ._token import Clock, is_bearer_value, read_http_date
from ._version import __version__
from .errors import (
    BadCredentialsError,
    FieldError,
    KYCClientError,
    LoginError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    UserNotVerifiedError,
)

if TYPE_CHECKING:
    from ._credentials import Credentials

USER_AGENT = f"kyc-client/{__version__}"

# A login's answer is under 1 KiB. The cap is on raw bytes, since 97 kB of gzip unpack to 100 MB.
_MAX_ANSWER_BYTES = 64 * 1024
_MAX_RETRY_AFTER = 15 * 60.0
# The statuses whose body says something; of the others it is not even read.
_TELLING = frozenset({200, 400, 422})
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_MAX_TEXT = 200
_MAX_FIELDS = 20

RunAsync: TypeAlias = Callable[[Callable[[], Awaitable[httpx.Response]], float], httpx.Response]
"""Runs a coroutine function on an event loop from another thread, at most so many seconds."""


@attrs.frozen
class Grant:
    """A login that succeeded: the token, and when the server says that it issued it (its `Date`)."""

    value: str = attrs.field(repr=False)
    issued_at: float | None


@attrs.frozen
class Failure:
    """A login that failed, as the recipe of an error: every caller gets a fresh instance.

    Attributes:
        kind: the class of the error.
        message: what happened, and what to do.
        details: further keyword arguments of the class.
        retry_after: the seconds that the server asked us to wait, if it did.
    """

    kind: type[KYCClientError]
    message: str
    details: Mapping[str, Any] = attrs.field(factory=dict)
    retry_after: float | None = None

    def error(self, *, retry_after: float | None, cached: bool) -> KYCClientError:
        """A new error to raise.

        Args:
            retry_after: seconds until the next login would be tried.
            cached: nothing was sent for this one.
        """
        if not issubclass(self.kind, LoginError):
            return self.kind(self.message)
        again = f" (Known from a login just before; the next one is tried in {retry_after:.0f} s.)" if cached else ""
        return self.kind(self.message + again, retry_after=retry_after, cached=cached, **self.details)


@attrs.define
class _Answer:
    """What became of the exchange, kept apart from the generated operation, which may fail on the body."""

    status: int | None = None
    headers: httpx.Headers = attrs.field(factory=httpx.Headers)
    flaw: str | None = None
    lost: bool = False


class LoginEndpoint:
    """Where and how to log in.

    Args:
        base_url: the checked base URL.
        timeout: for each connect, read and write of a login.
        connection: httpx's arguments that decide how a connection is made (verify, proxy, trust_env, mounts,
            transport).
        clock: for a `Retry-After` that is a date, where the answer has no `Date` to compare it with.
    """

    def __init__(
        self, base_url: httpx.URL, timeout: httpx.Timeout, connection: Mapping[str, Any], clock: Clock
    ) -> None:
        self._base_url = str(base_url)
        self._timeout = timeout
        self._connection = dict(connection)
        self._clock = clock

    @property
    def needs_loop(self) -> bool:
        """Whether the caller's transport works on an event loop only."""
        transports = [self._connection.get("transport"), *self._connection.get("mounts", {}).values()]
        return any(transport is not None and not hasattr(transport, "handle_request") for transport in transports)

    def attempt(
        self,
        credentials: Credentials,
        *,
        within: float,
        run_async: RunAsync,
        opened: Callable[[Callable[[], None]], object],
    ) -> Grant | Failure:
        """Log in once.

        Args:
            credentials: what to log in with.
            within: seconds that are left; no single wait on the network is longer.
            run_async: where to run a transport that works on an event loop only.
            opened: is handed a function that ends the attempt from another thread, however slowly bytes may drip.
        """
        answer = _Answer()
        parsed: object = None
        with _LoginClient(answer, **self._client_arguments(within, run_async)) as http:
            opened(http.close)
            client = Client(base_url=self._base_url).set_httpx_client(http)
            form = LoginForm(username=credentials.username, password=credentials.password, grant_type="password")
            try:
                parsed = login.sync_detailed(client=client, body=form).parsed
            except Exception as error:  # noqa: BLE001 - the caller's transport may raise anything, as may a hostile body
                answer.flaw = answer.flaw or _flaw_of(error)
                answer.lost = isinstance(error, httpx.TransportError)
        return _judge(answer, parsed, credentials, self._clock)

    def _client_arguments(self, within: float, run_async: RunAsync) -> dict[str, Any]:
        def lend(transport: Any) -> Any:
            return None if transport is None else _Lent(transport, lambda function: run_async(function, within))

        arguments = dict(self._connection)
        if "transport" in arguments:
            arguments["transport"] = lend(arguments["transport"])
        if "mounts" in arguments:
            arguments["mounts"] = {pattern: lend(transport) for pattern, transport in arguments["mounts"].items()}
        limits = {
            name: within if seconds is None else min(seconds, within)
            for name, seconds in self._timeout.as_dict().items()
        }
        return {
            **arguments,
            "base_url": self._base_url,
            "headers": {
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            "timeout": httpx.Timeout(**limits),
        }


class _LoginClient(httpx.Client):
    """A client that follows no redirect and reads an answer as raw bytes, only if it tells something, up to the cap."""

    def __init__(self, answer: _Answer, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._answer = answer

    def send(self, request: httpx.Request, **arguments: Any) -> httpx.Response:
        response = super().send(request, **{**arguments, "stream": True, "follow_redirects": False})
        try:
            self._answer.status = response.status_code
            self._answer.headers = response.headers
            body = self._read(response) if response.status_code in _TELLING else b""
        finally:
            response.close()
        return httpx.Response(response.status_code, content=body, request=request)

    def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            self._answer.flaw = "it is compressed, although we asked for it not to be"
            return b""
        body = b""
        for chunk in _raw_chunks(response):
            body += chunk
            if len(body) > _MAX_ANSWER_BYTES:
                self._answer.flaw = f"it is longer than {_MAX_ANSWER_BYTES} bytes"
                return b""
        return body


def _raw_chunks(response: httpx.Response) -> Iterable[bytes]:
    """The body as it came; a transport that makes its answers up (`httpx.MockTransport`) may have read it already."""
    return (response.content,) if response.is_stream_consumed else response.iter_raw()


class _Lent(httpx.BaseTransport):
    """The caller's transport, lent to a login: never closed by us, and run on a loop if it knows no other way."""

    def __init__(
        self, transport: Any, run_async: Callable[[Callable[[], Awaitable[httpx.Response]]], httpx.Response]
    ) -> None:
        self._transport = transport
        self._run_async = run_async

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if hasattr(self._transport, "handle_request"):
            return self._transport.handle_request(request)  # type: ignore[no-any-return]  # the caller's, of any class
        return self._run_async(lambda: self._exchange(request))

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._transport.handle_async_request(request)
        body = b""
        try:
            if response.is_stream_consumed:
                body = response.content
            else:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > _MAX_ANSWER_BYTES:
                        break
        finally:
            await response.aclose()
        # As a stream, not as content: content would be decompressed at once.
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))


def _flaw_of(error: Exception) -> str:
    """What an exception of the exchange says, without its message, which may repeat what was sent or received."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        # What the system says ("Connection refused", "certificate verify failed") comes from before anything was sent.
        return f"{type(error).__name__}: {_plain(error)}"
    return type(error).__name__


def _judge(answer: _Answer, parsed: object, credentials: Credentials, clock: Clock) -> Grant | Failure:
    """What the answer means."""
    status = answer.status
    if status is None or (status == 200 and answer.lost):
        return _unavailable(f"could not be completed ({answer.flaw})", answer, clock)
    if status == 200:
        return _judge_token(answer, parsed)
    if status in {408, 429} or status >= 500:
        return _unavailable(f"was answered {status}", answer, clock)
    if status == 422:
        return _judge_validation(parsed, credentials)
    if 400 <= status < 500:
        return _judge_refusal(status, parsed, credentials)
    return _unusable(status, _redirect_target(answer) or "the only good answer is 200")


def _judge_token(answer: _Answer, parsed: object) -> Grant | Failure:
    if not isinstance(parsed, BearerToken):
        content_type = _plain(answer.headers.get("Content-Type", "no content type"))
        return _unusable(200, f"it holds no token ({answer.flaw}; {content_type})")
    if not isinstance(parsed.token_type, str) or parsed.token_type.lower() != "bearer":
        return _unusable(200, "its token_type is not bearer")
    if not is_bearer_value(parsed.access_token):
        return _unusable(200, "its access_token is not a bearer token (RFC 6750)")
    return Grant(parsed.access_token, read_http_date(answer.headers.get("Date", "")))


def _judge_validation(parsed: object, credentials: Credentials) -> Failure:
    errors = _field_errors(parsed, credentials)
    fields = "; ".join(f"{'.'.join(map(str, loc))}: {msg}" for loc, msg, _ in errors)
    return Failure(
        LoginValidationError,
        f"The API did not accept the form of the login (422{': ' if fields else ''}{fields}). "
        "Check that login and password are what the provider handed out; if they are, the API may have changed.",
        {"status_code": 422, "errors": errors},
    )


def _judge_refusal(status: int, parsed: object, credentials: Credentials) -> Failure:
    code = _code(parsed, credentials)
    kind, hint = _REFUSALS.get(
        (status, code), (LoginRefusedError, _HINTS.get(status, "Ask the provider what it means."))
    )
    return Failure(
        kind,
        f"The API refused the login ({status}{' ' if code else ''}{code or ''}). {hint}",
        {"status_code": status, "code": code},
    )


_REFUSALS: Mapping[tuple[int, str | None], tuple[type[LoginError], str]] = {
    (400, "LOGIN_BAD_CREDENTIALS"): (
        BadCredentialsError,
        "The login or password is wrong, or the user is inactive. Check API_LOGIN and API_PASSWORD.",
    ),
    (400, "LOGIN_USER_NOT_VERIFIED"): (
        UserNotVerifiedError,
        "The credentials are right, but the user is not verified. Have the provider verify the user.",
    ),
}
_HINTS = dict.fromkeys((404, 405), "Check that the base URL (API_BASE_URL) is the API's.")


def _code(parsed: object, credentials: Credentials) -> str | None:
    """The code of a refusal, if it looks like one and does not repeat what was submitted."""
    detail = str(parsed.detail) if isinstance(parsed, LoginRefusal) else ""
    echoes = any(secret in detail for secret in (credentials.username, credentials.password))
    return detail if _CODE.fullmatch(detail) and not echoes else None


def _field_errors(parsed: object, credentials: Credentials) -> tuple[FieldError, ...]:
    """The errors of a 422 as plain values. `input` and `ctx` are left out: they hold what was submitted."""
    if not isinstance(parsed, HTTPValidationError):
        return ()
    secrets = (credentials.password, credentials.username)
    return tuple(
        (
            tuple(part if isinstance(part, int) else _plain(part, secrets) for part in error.loc),
            _plain(error.msg, secrets),
            _plain(error.type_, secrets),
        )
        for error in parsed.detail[:_MAX_FIELDS]
    )


def _plain(value: object, secrets: Iterable[str] = ()) -> str:
    """A text of the server's, fit for a message: short, printable, and without what was submitted."""
    text = str(value)
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_TEXT])


def _redirect_target(answer: _Answer) -> str | None:
    """Where a redirect of the login points to, as an origin only: a query might hold anything."""
    location = answer.headers.get("Location")
    if location is None:
        return None
    try:
        url = httpx.URL(location)
    except (httpx.InvalidURL, ValueError):
        return "it is a redirect, and a login follows none"
    where = f"{url.scheme}://{url.host}" if url.host else "another path of the same host"
    return f"it is a redirect to {where}, and a login follows none"


def _unavailable(what: str, answer: _Answer, clock: Clock) -> Failure:
    return Failure(
        LoginUnavailableError,
        f"The login {what}. Try again later; should it last, check the base URL, the network and the API's status.",
        {"status_code": answer.status},
        _retry_after(answer.headers, clock),
    )


def _unusable(status: int, why: str) -> Failure:
    return Failure(
        LoginResponseError,
        f"The answer to the login ({status}) can not be used: {why}. "
        "Check that the base URL (API_BASE_URL) is the API's and that no proxy or portal answers in its place.",
        {"status_code": status},
    )


def _retry_after(headers: httpx.Headers, clock: Clock) -> float | None:
    """The seconds of a `Retry-After` (RFC 9110, section 10.2.3), at most 15 min; None if it makes no sense."""
    text = headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        date = read_http_date(text)
        if date is None:
            return None
        now = read_http_date(headers.get("Date", ""))
        seconds = date - (clock.wall() if now is None else now)
    # Written so that NaN is refused too.
    return min(seconds, _MAX_RETRY_AFTER) if seconds >= 0 else None
