"""What the answer to a login means. Pure: nothing here sends or waits.

Nothing here raises, because the password is at hand. A text from outside (the server's, a proxy's, an exception's) is
cut, made printable and cleaned of what was submitted before it gets into a message.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlencode

import httpx

from kyc_client.errors import (
    BadCredentialsError,
    LoginError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    UserNotVerifiedError,
)
from kyc_openapi.models import BearerToken, HTTPValidationError, LoginRefusal

from .outcome import Failure, Grant
from .raised import described, plain
from .secret import Masked
from .wire import is_bearer_value, read_http_date, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .credentials import Credentials

_MAX_RETRY_AFTER = 15 * 60.0
_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_MAX_FIELDS = 20
# Beginnings of a password of so many characters are kept out of messages too.
_MIN_BEGINNING, _MAX_BEGINNING = 8, 256
_MAX_SPELLED = 4096
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
            self.flaw = f"no answer in time; {described(error, secrets)}"
        else:
            self.flaw = described(error, secrets)


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
        content_type = plain(answer.headers.get("Content-Type", "no content type"), secrets)
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
        (_loc(entry.loc, secrets), plain(entry.msg, secrets), plain(entry.type_, secrets)) for entry in entries
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
    return tuple(part if isinstance(part, int) else plain(part) for part in loc)


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
    return f"it is a redirect to {plain(where, secrets)}, and a login follows none"


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


def _form(name: str, password: str) -> str:
    return urlencode({"username": name, "password": password, "grant_type": "password"})


def _lower_percent(text: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), text)


def _decimal_escape(text: str) -> str:
    return escape(text, quote=False).replace("'", "&#39;").replace('"', "&#34;")


def spell(credentials: Credentials, *others: str) -> Spellings:
    """What is submitted, as it is and as forms, URLs, HTML, JSON, Python and HTTP write it. The longest comes first.

    The order matters: if a part were replaced first, the rest of a longer spelling would stay.

    Args:
        credentials: the login and password.
        others: further secrets that go with them.
    """
    name, password = credentials.username, credentials.password
    wholes = (f"{name}:{password}", password, _form(name, password))
    spellings = {base64.b64encode(whole.encode()).decode().rstrip("=") for whole in wholes}
    for given in (password, name, *others):
        if len(given) > _MAX_SPELLED:  # Whoever has such a password would pay for each spelling at each login.
            spellings.update((given, quote_plus(given)))
            continue
        # Also as a text that was sent in UTF-8 and read in another encoding.
        for secret in (given, given.encode().decode("latin-1")):
            quoted = [quote(secret), quote(secret, safe=""), quote_plus(secret)]
            spellings.update(quoted, map(_lower_percent, quoted), (secret, escape(secret), _decimal_escape(secret)))
            shown = [json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret), ascii(secret)]
            shown += [*map(repr, shown), *(json.dumps(text, ensure_ascii=False) for text in shown)]
            shown.append(repr(secret.encode())[1:])
            spellings.update(text.strip("'\"\\") for text in shown)
    # A text may be cut in the middle of the password.
    for text in (password, quote_plus(password)):
        spellings.update(text[:length] for length in range(_MIN_BEGINNING, min(len(text), _MAX_BEGINNING)))
    spellings.discard("")
    return Spellings(sorted(spellings, key=len, reverse=True))
