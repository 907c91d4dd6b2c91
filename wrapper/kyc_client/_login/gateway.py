"""The headers that a gateway in front of the API wants on the login."""

from __future__ import annotations

import re
from typing import Any

# RFC 9110, sections 5.1 and 5.5: what can be sent.
_HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_REFUSED_HEADERS = {
    "authorization": "the login sends the login and password in its form",
    "cookie": "a login has no session",
    "proxy-authorization": "put the user and password of a proxy into the proxy's URL",
}


def unfit_headers(headers: Any) -> str | None:
    """Why the login cannot send these headers, as the message of an error. None if it can.

    It names the header and never shows its value.
    """
    items = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    try:
        pairs = [(_as_bytes(name), value) for name, value in (items() if items else headers or ())]
    except (AttributeError, TypeError, ValueError):
        return "The headers of the login must be pairs of a name, in ASCII, and a value."
    for name, value in pairs:
        if not _HEADER_NAME.fullmatch(name):
            return "The headers of the login have a name that cannot be sent."
        shown = name.decode()
        if reason := _REFUSED_HEADERS.get(shown.lower()):
            return f"The headers of the login cannot hold {shown}: {reason}."
        try:
            fit = _HEADER_VALUE.fullmatch(_as_bytes(value))
        except (AttributeError, ValueError):
            fit = None
        if not fit:
            return f"The header {shown} of the login has a value that cannot be sent."
    return None


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else text.encode("ascii")
