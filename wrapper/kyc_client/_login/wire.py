"""What is read off the wire: JSON, bearer tokens and their claims, and HTTP dates."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import cast

# RFC 6750, section 2.1: the characters of a bearer token. Any other could break out of the header.
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_MAX_TOKEN_LENGTH = 16 * 1024
# The end of the year 9999. `datetime` ends there.
_LAST_TIMESTAMP = 253_402_300_799

_MAX_DEPTH = 64
# One that does not end reaches to the end of the text. Otherwise, each quote in it would be tried as a beginning, which
# takes 17 s for 64 KiB, during which no other thread runs.
_JSON_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def read_json(data: bytes) -> object:
    """Decode a server's JSON, which must be UTF-8 (a byte order mark is ignored) and at most 64 levels deep.

    Python decodes nested JSON by recursion. In a thread with a stack of 128 KiB, 65,000 brackets crash the process.

    Raises:
        ValueError: it is not such JSON.
    """
    text = data.decode("utf-8-sig")
    depth = 0
    for bracket in _BRACKET.findall(_JSON_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} levels")
    return cast("object", json.loads(text))


def is_bearer_value(value: object) -> bool:
    """Whether a value can be sent as a bearer token: the characters of RFC 6750, and at most 16 KiB."""
    return isinstance(value, str) and len(value) <= _MAX_TOKEN_LENGTH and bool(_BEARER_TOKEN.fullmatch(value))


def read_claims(token: str) -> dict[str, object]:
    """What a JWT says about itself, or nothing if it is not readable. Never raises, and does not verify."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = read_json(base64.b64decode(payload, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", claims) if isinstance(claims, dict) else {}


def read_expiry(token: str) -> float | None:
    """The `exp` of a JWT in seconds since the epoch, or None. Never raises, and does not verify: it is a hint."""
    expiry = read_claims(token).get("exp")
    # A comparison works where arithmetic fails: NaN, infinity, integers of a thousand digits.
    if isinstance(expiry, bool) or not isinstance(expiry, int | float) or not 0 < expiry <= _LAST_TIMESTAMP:
        return None
    return float(expiry)


def read_http_date(text: str) -> float | None:
    """An HTTP date in seconds since the epoch, or None if the text is not one. Never raises."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" is UTC, written by a host that does not know its zone. Python reads it as a naive time.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
