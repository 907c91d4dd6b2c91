"""What the answer to a login means. Pure: nothing here sends or waits.

The result is a value, a `Grant` or a `Failure`. No error is raised where the password is at hand, and nothing that the
server says gets into a message before it has been cut, made printable, and cleaned of what was submitted.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import httpx

from kyc_client.errors import (
    BadCredentialsError,
    KYCClientError,
    LoginError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    UserNotVerifiedError,
)
from kyc_openapi.models import BearerToken, HTTPValidationError, LoginRefusal

from .secret import Masked
from .wire import is_bearer_value, read_http_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .credentials import Credentials

_MAX_RETRY_AFTER = 15 * 60.0
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_MAX_TEXT = 200
_MAX_FIELDS = 20
# What a refusal means, by its code: the error, and what to do.
_REFUSALS: Mapping[tuple[int, str], tuple[type[LoginError], str]] = {
    (400, "LOGIN_BAD_CREDENTIALS"): (
        BadCredentialsError,
        "The login or password is wrong, or the user inactive. Check API_LOGIN and API_PASSWORD, or their files.",
    ),
    (400, "LOGIN_USER_NOT_VERIFIED"): (
        UserNotVerifiedError,
        "The credentials are right, but the user is not verified. Have the provider verify the user.",
    ),
}
_WRONG_PLACE = "Check that the base URL (API_BASE_URL) is the API's."
_HINTS: Mapping[int, str] = {
    401: "Something in front of the API may ask for credentials of its own; ask the provider.",
    403: "Something in front of the API may refuse this host or account; ask the provider.",
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
}

# What the generated decoder raises at an answer without a token, in words.
_DECODING: Mapping[str, str] = {
    "JSONDecodeError": "it is not JSON",
    "KeyError": "it lacks access_token or token_type",
    "TypeError": "it is JSON, but no object",
}


class Grant(Masked):
    """A login that succeeded.

    Attributes:
        value: the token.
        issued_at: when the server says that it issued it (its `Date`), in seconds since the epoch; None if it does not.
    """

    __slots__ = ("issued_at", "value")
    _shown = ("issued_at",)
    issued_at: float | None
    value: str

    def __init__(self, value: str, issued_at: float | None) -> None:
        self._set(value=value, issued_at=issued_at)


class Failure:
    """A login that failed, as the recipe of an error: every caller gets a fresh instance.

    Attributes:
        kind: the class of the error.
        message: what happened, and what to do.
        details: further keyword arguments of the class.
        retry_after: the seconds that the server asked us to wait, if it did.
    """

    def __init__(
        self,
        kind: type[KYCClientError],
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.kind = kind
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after

    def error(self, *, retry_after: float | None, cached: bool) -> KYCClientError:
        """A new error to raise.

        Args:
            retry_after: seconds until the next login would be tried.
            cached: nothing was sent for this one.
        """
        if not issubclass(self.kind, LoginError):
            return self.kind(self.message)
        again = f" (Known from an earlier login; the next one is tried in {retry_after:.0f} s.)" if cached else ""
        return self.kind(self.message + again, retry_after=retry_after, cached=cached, **self.details)


class Answer:
    """What came back, noted as it came, since what reads it may fail at any point.

    Attributes:
        status: None if there was no answer.
        headers: of the answer.
        body: as far as it was read.
        flaw: what went wrong with sending or reading, in words.
        lost: the connection broke, at whatever point.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers = httpx.Headers()
        self.body = b""
        self.flaw: str | None = None
        self.lost = False

    def note(self, error: Exception) -> None:
        """Note an exception without its message, which may repeat what was sent or received."""
        self.lost = isinstance(error, httpx.TransportError)
        if isinstance(error, httpx.TimeoutException):
            self.flaw = "no answer in time"
        elif isinstance(error, httpx.ConnectError):
            # What the system says ("Connection refused", "certificate verify failed"), before anything was sent.
            self.flaw = f"{type(error).__name__}: {_plain(error)}"
        else:
            self.flaw = self.flaw or type(error).__name__


def judge(
    answer: Answer, parsed: object, credentials: Credentials, *, base_url: httpx.URL, wall: float
) -> Grant | Failure:
    """Say what an answer means.

    Args:
        answer: what came back.
        parsed: what the generated operation made of it.
        credentials: what was submitted, to be kept out of every message.
        base_url: where a redirect starts from.
        wall: the local time, for a `Retry-After` that is a date in an answer without a `Date`.
    """
    status = answer.status
    secrets = _spellings(credentials)
    if status is None or (status == 200 and answer.lost):
        where = base_url.netloc.decode("ascii")
        return _unavailable(f"at {where} could not be completed ({answer.flaw})", answer, wall)
    if status == 200:
        return _judge_token(answer, parsed, secrets)
    if status in {408, 429} or status >= 500:
        return _unavailable(f"was answered {status}", answer, wall)
    if status == 422:
        return _judge_validation(parsed, secrets)
    if 400 <= status < 500:
        return _judge_refusal(status, answer.body, secrets)
    return _unusable(status, _redirect(answer, base_url, secrets) or "the only good answer is 200")


def _judge_token(answer: Answer, parsed: object, secrets: Iterable[str]) -> Grant | Failure:
    # The generated decoder also takes a list of pairs for an object, and UTF-16 for JSON.
    if not isinstance(parsed, BearerToken) or not answer.body.lstrip().startswith(b"{") or b"\0" in answer.body:
        content_type = _plain(answer.headers.get("Content-Type", "no content type"), secrets)
        flaw = answer.flaw or "it has another shape"
        return _unusable(200, f"it holds no token ({_DECODING.get(flaw, flaw)}; {content_type})")
    if not isinstance(parsed.token_type, str) or parsed.token_type.lower() != "bearer":
        return _unusable(200, "its token_type is not bearer")
    if not is_bearer_value(parsed.access_token):
        return _unusable(200, "its access_token is not a bearer token (RFC 6750)")
    return Grant(parsed.access_token, read_http_date(answer.headers.get("Date", "")))


def _judge_validation(parsed: object, secrets: Iterable[str]) -> Failure:
    # `input` and `ctx` of the answer are left out: they hold what was submitted.
    entries = parsed.detail[:_MAX_FIELDS] if isinstance(parsed, HTTPValidationError) else []
    errors = tuple(
        (_loc(entry.loc, secrets), _plain(entry.msg, secrets), _plain(entry.type_, secrets)) for entry in entries
    )
    fields = "; ".join(f"{'.'.join(map(str, loc))}: {msg}" for loc, msg, _ in errors)
    return Failure(
        LoginValidationError,
        f"The API did not accept the form of the login (422{': ' if fields else ''}{fields}). "
        "Check that login and password are what the provider handed out; if they are, the API may have changed.",
        {"status_code": 422, "errors": errors},
    )


def _loc(loc: list[int | str], secrets: Iterable[str]) -> tuple[int | str, ...]:
    # A text in place of the list comes out of the decoder letter by letter.
    if any(secret in "".join(map(str, loc)) for secret in secrets):
        return ("***",)
    return tuple(part if isinstance(part, int) else _plain(part) for part in loc)


def _judge_refusal(status: int, body: bytes, secrets: Iterable[str]) -> Failure:
    code = _code(body)
    known = _REFUSALS.get((status, code or ""))
    if known is None and code is not None and any(secret in code for secret in secrets):
        code = None
    kind, hint = known or (LoginRefusedError, _HINTS.get(status, "Ask the provider what it means."))
    message = f"The API refused the login ({status}{' ' if code else ''}{code or ''}). {hint}"
    return Failure(kind, message, {"status_code": status, "code": code})


def _code(body: bytes) -> str | None:
    """The code of a refusal, of whatever status, if it looks like one."""
    try:
        detail = LoginRefusal.from_dict(json.loads(body)).detail
    except Exception:  # noqa: BLE001 - a decoder of somebody else's on a hostile body; no code is an answer too
        return None
    return str(detail) if isinstance(detail, str) and _CODE.fullmatch(detail) else None


def _redirect(answer: Answer, base_url: httpx.URL, secrets: Iterable[str]) -> str | None:
    """Where a redirect of the login points to, as an origin only: a query might hold anything."""
    location = answer.headers.get("Location")
    if location is None:
        return None
    try:
        url = base_url.join(location)
        where = f"{url.scheme}://{url.netloc.decode()}"  # httpx leaves out the user and password.
    except (httpx.InvalidURL, ValueError):
        where = "somewhere"
    return f"it is a redirect to {_plain(where, secrets)}, and a login follows none"


def _unavailable(what: str, answer: Answer, wall: float) -> Failure:
    hint = "Try again later; should it last, check the base URL, the network and the API's status."
    retry_after = _retry_after(answer.headers, wall)
    if retry_after:
        hint = f"Try again in {retry_after:.0f} s, as the answer asks."
    if "SSL" in (answer.flaw or ""):
        hint = "Check the scheme and port of the base URL, and the certificates (SSL_CERT_FILE or verify=)."
    if answer.flaw == "ProxyError":
        hint = "Check the proxy (proxy= or HTTPS_PROXY), and the user and password in its URL."
    return Failure(LoginUnavailableError, f"The login {what}. {hint}", {"status_code": answer.status}, retry_after)


def _unusable(status: int, why: str) -> Failure:
    return Failure(
        LoginResponseError,
        f"The answer to the login ({status}) cannot be used: {why}. "
        "Check that the base URL (API_BASE_URL) is the API's and that no proxy or portal answers in its place.",
        {"status_code": status},
    )


def _retry_after(headers: httpx.Headers, wall: float) -> float | None:
    """The seconds of a `Retry-After` (RFC 9110, section 10.2.3), at most 15 min; None if it makes no sense."""
    text = headers.get("Retry-After", "")
    try:
        seconds = float(text)
    except ValueError:
        date = read_http_date(text)
        if date is None:
            return None
        now = read_http_date(headers.get("Date", ""))
        seconds = date - (wall if now is None else now)
    # Written so that NaN is refused too.
    return min(seconds, _MAX_RETRY_AFTER) if seconds >= 0 else None


def _spellings(credentials: Credentials) -> list[str]:
    """What was submitted, as it is and as forms, URLs, HTML, JSON, Python write it; longest first, lest a part stay."""
    given = (credentials.password, credentials.username)
    spellings = {text[1:-1] for secret in given for text in (json.dumps(secret), repr(secret))}
    for spell in (str, quote, quote_plus, escape):
        spellings.update(map(spell, given))
    return sorted(spellings, key=len, reverse=True)


def _plain(value: object, secrets: Iterable[str] = ()) -> str:
    """A text of the server's, fit for a message: short, printable, and without what was submitted."""
    text = str(value)
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_TEXT])
