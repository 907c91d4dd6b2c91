"""The base URL: fit to receive a password, or refused before anything is sent."""

from __future__ import annotations

import ipaddress
import re

import httpx

from .errors import ConfigurationError

_GOOD = "A good one looks like https://kyc.example.com or, with a path in front of the API, https://example.com/kyc"


def parse_base_url(text: str | httpx.URL, *, allow_insecure_http: bool) -> httpx.URL:
    """Check a base URL and return it without a trailing slash in its path.

    Args:
        text: scheme, host, optionally port and path; nothing else.
        allow_insecure_http: accept `http://` to hosts other than this machine's own.

    Raises:
        ConfigurationError: it has no scheme or host, holds a user, a query, a fragment or white space, or is not
            `https://`.
    """
    # The value itself is never repeated: the commonest mistake after a missing scheme is a password in it.
    url, problem = _parse(str(text))
    if url is not None and not problem and url.scheme == "http" and not (allow_insecure_http or _is_loopback(url.host)):
        problem = (
            f"is http://, which would send the password in clear to {url.host}; "
            "use https:// (allow_insecure_http=True is for test networks)"
        )
    if url is None or problem:
        raise ConfigurationError(f"The base URL (API_BASE_URL) {problem}. {_GOOD}.")
    return url.copy_with(raw_path=url.raw_path.rstrip(b"/") or b"/")


def _parse(text: str) -> tuple[httpx.URL | None, str]:
    """The parsed URL, and what is wrong with it apart from being insecure ("" if nothing is)."""
    # httpx would quote a space into the host, and read a backslash as part of it.
    if re.search(r"[\s\\]", text):
        return None, "holds white space or a backslash"
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None, "is not a URL"
    problems = (
        (url.scheme not in {"https", "http"}, "must start with https://"),
        (not url.host or "%" in url.host, "names no host"),
        (bool(url.userinfo), "holds a user or password; give them as API_LOGIN and API_PASSWORD"),
        ("?" in text or "#" in text, "has a query or a fragment; leave out all from the ? or # on"),
    )
    return url, next((problem for applies, problem in problems if applies), "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
