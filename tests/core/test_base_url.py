"""The base URL: fit to receive a password, or refused before anything is sent."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kyc_client import ConfigurationError, Credentials, LoginAuth, connect
from kyc_client._login import base_url as _base_url
from tests.core.test_secret import rendered

CANARY = "canary-6b0e"


def parse_base_url(text, *, allow_insecure_http):
    """What the callers of the function do: raise what it says is wrong."""
    url, problem = _base_url.parse_base_url(text, allow_insecure_http=allow_insecure_http)
    if problem:
        raise ConfigurationError(problem)
    return url


GOOD = {
    "host": ("https://kyc.example.com", "https://kyc.example.com/"),
    "slash": ("https://kyc.example.com/", "https://kyc.example.com/"),
    "path": ("https://example.com/kyc", "https://example.com/kyc"),
    "path and slashes": ("https://example.com/kyc/v1//", "https://example.com/kyc/v1"),
    "quoted path": ("https://example.com/k%20c/", "https://example.com/k%20c"),
    "port": ("https://kyc.example.com:8443", "https://kyc.example.com:8443/"),
    "default port": ("https://kyc.example.com:443", "https://kyc.example.com/"),
    "letter case": ("HTTPS://KYC.Example.COM/Kyc", "https://kyc.example.com/Kyc"),
    "IPv4": ("https://192.0.2.7", "https://192.0.2.7/"),
    "IPv6": ("https://[2001:db8::7]:8443/kyc", "https://[2001:db8::7]:8443/kyc"),
    "IDN": ("https://b\u00fccher.example", "https://xn--bcher-kva.example/"),
    "IDN as it is sent": ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example/"),
    "httpx.URL": (httpx.URL("https://kyc.example.com/kyc/"), "https://kyc.example.com/kyc"),
    "http on localhost": ("http://localhost:8000/", "http://localhost:8000/"),
    "http on LOCALHOST": ("http://LOCALHOST", "http://localhost/"),
    "http on 127.0.0.1": ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"),
    "http on 127.8.9.1": ("http://127.8.9.1", "http://127.8.9.1/"),
    "http on [::1]": ("http://[::1]:8000", "http://[::1]:8000/"),
}

BAD = {
    "empty": ("", "must start with https://"),
    "no scheme": ("kyc.example.com", "must start with https://"),
    "no scheme but a port": ("kyc.example.com:443", "must start with https://"),
    "no scheme but slashes": ("//kyc.example.com", "must start with https://"),
    "ftp": ("ftp://kyc.example.com", "must start with https://"),
    "no host": ("https://", "names no host"),
    "no host but a path": ("https:///kyc", "names no host"),
    "no slashes": ("https:kyc.example.com", "names no host"),
    "%-quoted host": ("https://kyc%2Eexample.com", "names no host"),
    "IPv6 with a zone": ("https://[fe80::1%25eth0]", "names no host"),
    "user": ("https://canary-6b0e@kyc.example.com", "holds a user or password"),
    "password": ("https://fake:canary-6b0e@kyc.example.com", "holds a user or password"),
    "query": ("https://kyc.example.com/?key=canary-6b0e", "has a query or a fragment"),
    "empty query": ("https://kyc.example.com/?", "has a query or a fragment"),
    "fragment": ("https://kyc.example.com/#canary-6b0e", "has a query or a fragment"),
    "empty fragment": ("https://kyc.example.com#", "has a query or a fragment"),
    "space before": (" https://kyc.example.com", "holds white space or a backslash"),
    "newline after": ("https://kyc.example.com\n", "holds white space or a backslash"),
    "space inside": ("https://kyc example.com", "holds white space or a backslash"),
    "no-break space": ("https://kyc.example.com\u00a0", "holds white space or a backslash"),
    "backslash": ("https:\\\\kyc.example.com\\canary-6b0e", "holds white space or a backslash"),
    "port that is no number": ("https://kyc.example.com:canary-6b0e", "is not a URL"),
    "bracket": ("https://[::1", "is not a URL"),
    "NUL": ("https://kyc.example.com/\0", "is not a URL"),
    "surrogate": ("https://kyc\ud800.example.com", "is not a URL"),
    "too long": ("https://kyc.example.com/" + "canary-6b0e" * 10_000, "is not a URL"),
    "the password itself": ("canary-6b0e", "must start with https://"),
}

# httpx takes a host like these for good, and fails only when it is asked for it.
NOT_IDNA = {
    "A-label that ends with a hyphen": "https://xn--zz--.example",
    "A-label of a control character": "https://xn--a",
}

OFF_LOOPBACK = [
    "kyc.example.com",
    "localhost.example.com",
    "localhost.",
    "192.0.2.7",
    "127.0.0.1.example",
    "[2001:db8::7]",
]


@pytest.mark.parametrize(("text", "parsed"), GOOD.values(), ids=GOOD)
def test_good(text, parsed):
    """D7: a good base URL is taken, without the slashes at its end and in the form in which it is sent."""
    url = parse_base_url(text, allow_insecure_http=False)
    # By its parts: `str(url)` keeps the form in which it was written.
    assert (url.scheme, url.raw_host, url.port, url.raw_path) == (
        httpx.URL(parsed).scheme,
        httpx.URL(parsed).raw_host,
        httpx.URL(parsed).port,
        httpx.URL(parsed).raw_path,
    )


@pytest.mark.parametrize(("text", "problem"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("allow_insecure_http", [True, False])
def test_bad(text, problem, allow_insecure_http):
    """D7: a bad one is refused with its reason and an example of a good one, also where http is allowed."""
    with pytest.raises(ConfigurationError) as info:
        parse_base_url(text, allow_insecure_http=allow_insecure_http)
    message = str(info.value)
    assert message.startswith(f"The base URL (API_BASE_URL) {problem}")
    assert "https://kyc.example.com or, with a path in front of the API, https://example.com/kyc" in message
    assert CANARY not in message


@pytest.mark.parametrize("text", NOT_IDNA.values(), ids=NOT_IDNA)
def test_bad_idna(text):
    """D7: a host that only looks like an encoded international name is refused like any other bad one."""
    with pytest.raises(ConfigurationError, match="A good one looks like"):
        parse_base_url(text, allow_insecure_http=False)


def test_the_example_is_a_good_one():
    """What the message proposes works."""
    with pytest.raises(ConfigurationError) as info:
        parse_base_url("", allow_insecure_http=False)
    examples = [word.rstrip(".") for word in str(info.value).split("A good one")[1].split() if "://" in word]
    assert len(examples) == 2
    for text in examples:
        assert str(parse_base_url(text, allow_insecure_http=False)).rstrip("/") == text


@pytest.mark.parametrize("host", OFF_LOOPBACK)
def test_insecure(host):
    """D7: `http://` off this machine is refused; the message names the host and says what to do."""
    with pytest.raises(
        ConfigurationError, match=r"in the clear to .*; use https:// .*A good one looks like https://"
    ) as info:
        parse_base_url(f"http://{host}", allow_insecure_http=False)
    assert host.strip("[]") in str(info.value)


@pytest.mark.parametrize("host", OFF_LOOPBACK)
def test_insecure_but_allowed(host):
    """D7: `allow_insecure_http=True` takes it."""
    assert parse_base_url(f"http://{host}", allow_insecure_http=True).scheme == "http"


def test_insecure_from_outside():
    """D7: `LoginAuth` and `connect` refuse it without being asked, and both take the caller's word."""
    credentials = Credentials("fake-user", "fake-password")
    for make in (LoginAuth, connect):
        with pytest.raises(ConfigurationError, match=r"in the clear to kyc\.example\.com"):
            make("http://kyc.example.com", credentials=credentials)
        assert make("http://kyc.example.com", credentials=credentials, allow_insecure_http=True) is not None


@pytest.mark.parametrize("make", [LoginAuth, connect])
def test_from_the_environment(make, monkeypatch):
    """D7: without an argument it is read from `API_BASE_URL`, and checked in the same way."""
    monkeypatch.setenv("API_LOGIN", "fake-user")
    monkeypatch.setenv("API_PASSWORD", "fake-password")
    with pytest.raises(ConfigurationError, match="API_BASE_URL is not set"):
        make()
    monkeypatch.setenv("API_BASE_URL", "ftp://kyc.example.com")
    with pytest.raises(ConfigurationError, match="must start with https://"):
        make()
    monkeypatch.setenv("API_BASE_URL", "https://kyc.example.com")
    assert make() is not None


@pytest.mark.parametrize("text", [text for text, _ in BAD.values() if CANARY in text and len(text) < 1000])
def test_no_frame_shows_it(text):
    """H3: a crash report of a base URL that was refused does not show it: there may be a password in it."""
    with pytest.raises(ConfigurationError) as info:
        parse_base_url(text, allow_insecure_http=False)
    assert CANARY not in rendered(info.value)


@given(st.text(), st.booleans())
@example("https://\u2488com", False)  # noqa: FBT003 - Hypothesis passes examples by position
@example("https://kyc.example.com:-1", False)  # noqa: FBT003 - as above
def test_any_text(text, allow_insecure_http):
    """D7: any text is a base URL without anything but scheme, host, port and path, or a `ConfigurationError`."""
    for candidate in (text, f"https://{text}", f"http://{text}"):
        try:
            url = parse_base_url(candidate, allow_insecure_http=allow_insecure_http)
        except ConfigurationError:
            continue
        assert url.scheme in {"https", "http"}
        assert url.raw_host
        assert (url.userinfo, url.query, url.fragment) == (b"", b"", "")
        assert parse_base_url(url, allow_insecure_http=allow_insecure_http) == url
