"""What the answer to a login means. Pure: nothing here sends or waits.

The result is a value: a `Grant`, a `Failure` or a `Raised`. Nothing here raises, because the password is at hand. A
text from outside (the server's, a proxy's, an exception's) is cut, made printable and cleaned of what was submitted
before it gets into a message.
"""

from __future__ import annotations

import base64
import contextlib
import copy
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
from .wire import is_bearer_value, read_http_date, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .credentials import Credentials

_MAX_RETRY_AFTER = 15 * 60.0
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_MAX_TEXT = 200
_MAX_FIELDS = 20
# The error for each code, and what to do. The code decides, because a gateway may change the status.
_REFUSALS: Mapping[str, tuple[type[LoginError], str]] = {
    "LOGIN_BAD_CREDENTIALS": (
        BadCredentialsError,
        "The login or password is wrong, or the user is inactive. Check API_LOGIN and API_PASSWORD, or their files.",
    ),
    "LOGIN_USER_NOT_VERIFIED": (
        UserNotVerifiedError,
        "The credentials are right, but the user is not verified. Have the provider verify the user.",
    ),
}
_WRONG_PLACE = "Check that the base URL (API_BASE_URL) is the API's."
_HINTS: Mapping[int, str] = {
    401: "Something in front of the API may ask for credentials of its own. Ask the provider.",
    403: "Something in front of the API may refuse this host or account. Ask the provider.",
    404: _WRONG_PLACE,
    405: _WRONG_PLACE,
}

# What the generated decoder raises if the answer holds no token, in words.
_DECODING: Mapping[str, str] = {
    "JSONDecodeError": "it is not JSON",
    "KeyError": "it lacks access_token or token_type",
    "TypeError": "it is JSON, but no object",
}


class Grant(Masked):
    """A login that succeeded.

    Attributes:
        value: the token.
        issued_at: the server's time when it issued the token (its `Date`), in seconds since the epoch. None if the
            answer does not say.
    """

    __slots__ = ("issued_at", "value")
    _shown = ("issued_at",)
    issued_at: float | None
    value: str

    def __init__(self, value: str, issued_at: float | None) -> None:
        self._set(value=value, issued_at=issued_at)


class Failure:
    """A login that failed, as the recipe of an error: each caller gets a fresh instance.

    Attributes:
        kind: the class of the error.
        message: what happened, and what to do.
        details: further keyword arguments of the class.
        retry_after: the seconds that the server asked us to wait, if it asked.
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
            cached: nothing was sent for this error.
        """
        if not issubclass(self.kind, LoginError):
            return self.kind(self.message)
        again = f" (Known from an earlier login. The next one is tried in {retry_after:.0f} s.)" if cached else ""
        return self.kind(self.message + again, retry_after=retry_after, cached=cached, **self.details)


class Raised:
    """What a transport raised that says nothing about the network: a test's own word, or a request to stop.

    It stands for an `AssertionError` (respx: "not mocked") and for every `BaseException` that is no `Exception`
    (`pytest.fail`, `KeyboardInterrupt`, a task's cancellation).

    Attributes:
        original: the exception, without the frames that it passed, because they hold the password.
        kind: its class.
        message: its text, cleaned.
        details: empty, as for a failure that has none.
        retry_after: None, likewise.
    """

    def __init__(self, original: BaseException, secrets: Iterable[str] = ()) -> None:
        _forget_frames(original)
        self.original = original
        self.kind = type(original)
        self.message = _described(original, secrets)
        self.details: Mapping[str, Any] = {}
        self.retry_after: float | None = None

    def error(self, *, retry_after: float | None = None, cached: bool = False) -> BaseException:  # noqa: ARG002 - as `Failure`
        """A copy to raise, or the original if it cannot be copied."""
        error = self.original
        with contextlib.suppress(Exception):  # Its class may do anything in the middle of being copied.
            duplicate = copy.copy(error)
            error = duplicate if type(duplicate) is self.kind else error
        _forget_frames(error)
        return error


def _forget_frames(error: BaseException) -> None:
    """Cut an exception, and those that it groups, off from the frames that they passed and from other exceptions."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    inner: tuple[BaseException, ...] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for each in inner:
        _forget_frames(each)


class Answer:
    """What came back, noted as it came, because its reader may fail at any point.

    Attributes:
        status: None if there was no answer.
        headers: the headers of the answer.
        body: as far as it was read.
        complete: the body was read to its end, or is not wanted.
        flaw: what went wrong with sending or reading, in words.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers = httpx.Headers()
        self.body = b""
        self.complete = False
        self.flaw: str | None = None

    def note(self, error: Exception, secrets: Iterable[str]) -> None:
        """Note what sending, reading or decoding has raised."""
        if self.complete:
            # The decoder's own text would repeat what was received.
            name = type(error).__name__
            self.flaw = self.flaw or _DECODING.get(name, name)
        elif isinstance(error, httpx.TimeoutException | TimeoutError):
            self.flaw = f"no answer in time; {_described(error, secrets)}"
        else:
            self.flaw = _described(error, secrets)


def interpret(
    answer: Answer, parsed: object, secrets: Iterable[str], *, base_url: httpx.URL, wall: float
) -> Grant | Failure:
    """Say what an answer means.

    Args:
        answer: what came back.
        parsed: what the generated operation made of it.
        secrets: what was submitted, as `spell` returns it. It is kept out of every message.
        base_url: where a redirect starts from.
        wall: the local time, for a `Retry-After` that is a date in an answer without a `Date`.
    """
    status = answer.status
    if status is None or (status == 200 and not answer.complete):
        where = base_url.netloc.decode("ascii")
        return _unavailable(f"at {where} could not be completed ({answer.flaw})", answer, wall)
    if status == 200:
        return _interpret_token(answer, parsed, secrets)
    if status in {408, 429} or status >= 500:
        return _unavailable(f"was answered {status}", answer, wall)
    if status == 422:
        return _interpret_validation(parsed, secrets)
    if 400 <= status < 500:
        return _interpret_refusal(status, answer.body, secrets)
    return _unusable(status, _redirect(answer, base_url, secrets) or "the only good answer is 200")


def _interpret_token(answer: Answer, parsed: object, secrets: Iterable[str]) -> Grant | Failure:
    # The generated decoder takes a list of pairs for an object.
    if not isinstance(parsed, BearerToken) or not answer.body.lstrip().startswith(b"{"):
        content_type = _plain(answer.headers.get("Content-Type", "no content type"), secrets)
        return _unusable(200, f"it holds no token ({answer.flaw or 'it has another shape'}; {content_type})")
    if not isinstance(parsed.token_type, str) or parsed.token_type.lower() != "bearer":
        return _unusable(200, "its token_type is not bearer")
    if not is_bearer_value(parsed.access_token):
        return _unusable(200, "its access_token is not a bearer token (RFC 6750)")
    return Grant(parsed.access_token, read_http_date(answer.headers.get("Date", "")))


def _interpret_validation(parsed: object, secrets: Iterable[str]) -> Failure:
    # `input` and `ctx` of the answer are left out, because they hold what was submitted.
    entries = parsed.detail[:_MAX_FIELDS] if isinstance(parsed, HTTPValidationError) else []
    errors = tuple(
        (_loc(entry.loc, secrets), _plain(entry.msg, secrets), _plain(entry.type_, secrets)) for entry in entries
    )
    fields = "; ".join(f"{'.'.join(map(str, loc))}: {msg}" for loc, msg, _ in errors)
    return Failure(
        LoginValidationError,
        f"The API did not accept the form of the login (422{': ' if fields else ''}{fields}). "
        "Check that login and password are what the provider handed out. If they are, the API may have changed.",
        {"status_code": 422, "errors": errors},
    )


def _loc(loc: list[int | str], secrets: Iterable[str]) -> tuple[int | str, ...]:
    # A text in place of the list comes out of the decoder letter by letter.
    if any(secret in "".join(map(str, loc)) for secret in secrets):
        return ("***",)
    return tuple(part if isinstance(part, int) else _plain(part) for part in loc)


def _interpret_refusal(status: int, body: bytes, secrets: Iterable[str]) -> Failure:
    code = _code(body)
    known = _REFUSALS.get(code or "")
    if known is None and code is not None and any(secret in code for secret in secrets):
        code = None
    kind, hint = known or (LoginRefusedError, _HINTS.get(status, "Ask the provider what it means."))
    message = f"The API refused the login ({status}{' ' if code else ''}{code or ''}). {hint}"
    return Failure(kind, message, {"status_code": status, "code": code})


def _code(body: bytes) -> str | None:
    """The code of a refusal, whatever its status, if it looks like a code."""
    try:
        data: Any = read_json(body)
        detail = LoginRefusal.from_dict(data).detail
    except Exception:  # noqa: BLE001 - a generated decoder on a hostile body. No code is an answer too.
        return None
    return str(detail) if isinstance(detail, str) and _CODE.fullmatch(detail) else None


def _redirect(answer: Answer, base_url: httpx.URL, secrets: Iterable[str]) -> str | None:
    """The origin to which a redirect of the login points. Only the origin, because a query might hold anything."""
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
    hint = "Try again later. If it lasts, check the base URL, the network and the API's status."
    retry_after = _retry_after(answer.headers, wall)
    flaw = answer.flaw or ""
    if retry_after:
        hint = f"Try again in {retry_after:.0f} s, as the answer asks."
    if "SSL" in flaw:
        hint = "Check the scheme and port of the base URL, and the certificates (SSL_CERT_FILE or verify=)."
    if flaw.startswith("ProxyError"):
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
    """The seconds of a `Retry-After` (RFC 9110, section 10.2.3), at most 15 min. None if it makes no sense.

    Of several values, in several headers or between commas, the largest counts. A date has a comma of its own.
    """
    date = read_http_date(headers.get("Date", ""))
    now = wall if date is None else date
    texts = [text for value in headers.get_list("Retry-After") for text in (value, *value.split(","))]
    seconds = [_seconds_until(text, now) for text in texts]
    # Written so that NaN is refused too.
    return max((min(value, _MAX_RETRY_AFTER) for value in seconds if value is not None and value >= 0), default=None)


def _seconds_until(text: str, now: float) -> float | None:
    """Seconds from a number or a date. None if the text is neither."""
    try:
        return float(text)
    except ValueError:
        date = read_http_date(text)
        return None if date is None else date - now


class Spellings(Masked):
    """The spellings of what is submitted, to iterate over. A list would show them in the locals of a login's frames.

    Args:
        texts: the spellings.
    """

    __slots__ = ("_texts",)
    _texts: list[str]

    def __init__(self, texts: list[str]) -> None:
        self._set(_texts=texts)

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


def spell(credentials: Credentials, *others: str) -> Spellings:
    """What is submitted, as it is and as forms, URLs, HTML, JSON, Python and HTTP write it. The longest comes first.

    The order matters: if a part were replaced first, the rest of a longer spelling would stay.

    Args:
        credentials: the login and password.
        others: further secrets that go with them.
    """
    pair = f"{credentials.username}:{credentials.password}"
    given = (credentials.password, credentials.username, *others)
    spellings = {base64.b64encode(pair.encode()).decode()}
    for secret in given:
        spellings.update((secret, quote(secret), quote(secret, safe=""), quote_plus(secret), escape(secret)))
        spellings.update(text[1:-1] for text in (json.dumps(secret), repr(secret), ascii(secret)))
        spellings.add(repr(secret.encode())[2:-1])
    return Spellings(sorted(spellings, key=len, reverse=True))


def _described(error: BaseException, secrets: Iterable[str]) -> str:
    """An exception's class and text, fit for a message."""
    text = _plain(error, secrets)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _plain(value: object, secrets: Iterable[str] = ()) -> str:
    """A text from outside, fit for a message: short, printable, and without what was submitted."""
    text = ""
    with contextlib.suppress(Exception):  # An exception of the caller's may raise when it is shown.
        text = str(value)
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_TEXT])
