"""The base URL: it is fit to receive a password, or refused before anything is sent."""

from __future__ import annotations

import ipaddress
import re

import httpx

LAST_PORT = 65535
_GOOD = "A good one looks like https://kyc.example.com or, with a path in front of the API, https://example.com/kyc"


def parse_base_url(text: str | httpx.URL | None, *, allow_insecure_http: bool) -> tuple[httpx.URL, str | None]:
    """Check a base URL.

    It does not raise, because the text may hold a password: the caller has to forget it first. The message repeats
    nothing of it except the host.

    Args:
        text: scheme, host, optionally port and path, and nothing else. None if there is none. That is no problem here,
            because the caller has named it already.
        allow_insecure_http: accept `http://` to other hosts than this machine.

    Returns:
        The URL, and what is wrong with it, as the message of an error. None if nothing is wrong.
    """
    if text is None:
        return httpx.URL(), None
    url, problem = _parse(str(text))
    if not problem and url.scheme == "http" and not (allow_insecure_http or is_on_this_machine(url)):
        problem = (
            f"is http://, which would send the password in the clear to {url.host}; "
            "use https:// (allow_insecure_http=True, or --allow-insecure-http, is for test networks)"
        )
    if problem:
        return url, f"The base URL (API_BASE_URL) {problem}. {_GOOD}."
    return url.copy_with(raw_path=url.raw_path.rstrip(b"/") or b"/"), None


def _parse(text: str) -> tuple[httpx.URL, str]:
    """The URL, and what is wrong with it except that it is insecure ("" if nothing is)."""
    # httpx would accept both as a part of the host.
    if re.search(r"[\s\\]", text):
        return httpx.URL(), "holds white space or a backslash; remove it"
    try:
        url = httpx.URL(text)
        host = url.host  # This decodes international names, and fails for some.
    except (httpx.InvalidURL, ValueError):
        return httpx.URL(), "is not a URL"
    problems = (
        (url.scheme not in {"https", "http"}, "must start with https://"),
        (not host or "%" in host, "names no host"),
        ((url.port or 0) > LAST_PORT, "has a port above 65535"),
        (bool(url.userinfo), "holds a user or password; give them as API_LOGIN and API_PASSWORD"),
        ("?" in text or "#" in text, "has a query or a fragment; leave out everything from the ? or # on"),
    )
    return url, next((problem for applies, problem in problems if applies), "")


def is_on_this_machine(url: httpx.URL) -> bool:
    """Whether a URL leads to this machine. What is sent there does not leave it, except through a proxy."""
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return False


def uses_proxies(url: httpx.URL) -> bool:
    """Whether the proxies of the environment are for this base URL. If not, they would see a password in clear."""
    return url.scheme == "https" or not is_on_this_machine(url)
