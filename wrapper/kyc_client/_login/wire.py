"""What is read off the wire: bearer tokens and their claims, and HTTP dates. Nothing here raises."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import cast

# RFC 6750, section 2.1: what a bearer token is made of. Anything else could break out of the header.
_BEARER_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_MAX_TOKEN_LENGTH = 16 * 1024
# The end of the year 9999, beyond which `datetime` does not go.
_LAST_TIMESTAMP = 253_402_300_799
# A server's `Date` is cut to whole seconds, and uvicorn writes it anew only once a second: it lags by up to 2.05 s.
DATE_LAG = 2.1


def is_bearer_value(value: object) -> bool:
    """Whether a value can be sent as a bearer token: of RFC 6750's characters, at most 16 KiB."""
    return isinstance(value, str) and len(value) <= _MAX_TOKEN_LENGTH and bool(_BEARER_TOKEN.fullmatch(value))


def read_claims(token: str) -> dict[str, object]:
    """What a JWT says about itself; nothing if it is not legible. Never raises, and never verifies."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(payload, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", claims) if isinstance(claims, dict) else {}


def read_expiry(token: str) -> float | None:
    """The `exp` of a JWT in seconds since the epoch, or None. Never raises, and never verifies: it is a hint."""
    expiry = read_claims(token).get("exp")
    # A comparison copes with what arithmetic does not: NaN, infinity, integers of a thousand digits.
    if isinstance(expiry, bool) or not isinstance(expiry, int | float) or not 0 < expiry <= _LAST_TIMESTAMP:
        return None
    return float(expiry)


def read_http_date(text: str) -> float | None:
    """An HTTP date in seconds since the epoch; None if it is not one."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # "-0000" is UTC by a host that does not know its zone; Python reads it as a naive time.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
