"""What is read off the wire: JSON of bounded depth, the expiry of a token, bearer tokens and HTTP dates."""

from __future__ import annotations

import base64
import contextlib
import json
import string
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyc_client._login.wire import is_bearer_value, read_claims, read_expiry, read_http_date, read_json

ISSUED = 1_900_000_000
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def jwt_of(payload: bytes) -> str:
    """A token of three parts with this payload, plainly a fake."""
    return f"fake-header.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.fake-signature"


def jwt(**claims: object) -> str:
    """A token with these claims."""
    return jwt_of(json.dumps(claims).encode())


# JSON


GOOD = {
    "object": b'{"a": [1, null, true]}',
    "brackets in a text": json.dumps({"a": "[" * 1000, "b": '\\"' + "{" * 1000 + "\\"}).encode(),
    "side by side": b"[" + b"[]," * 1000 + b"[]]",
    "as deep as it may be": b"[" * 64 + b"]" * 64,
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
}
BAD = {
    "deeper": b"[" * 65 + b"]" * 65,
    "objects and lists": b'{"a":[' * 33 + b"1" + b"]}" * 33,
    "after a text": b'["\\"", ' + b"[" * 64 + b"]" * 64 + b"]",
    "only opened": b"[" * 60_000,
    "after closing": b"]" * 1000 + b"[" * 60_000,
    "after a text without end": b'"' + b"[" * 60_000,
    "UTF-16": json.dumps({"a": 1}).encode("utf-16"),
    "UTF-32": json.dumps({"a": 1}).encode("utf-32"),
    "not UTF-8": b'"\xff"',
    "empty": b"",
    "5000 digits": b"9" * 5000,
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_good_json(data: bytes) -> None:
    """JSON of up to 64 levels is decoded, whatever its texts hold."""
    assert read_json(data) == json.loads(data.decode("utf-8-sig"))


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_json(data: bytes) -> None:
    """Deeper JSON, and what is no JSON in UTF-8, is a `ValueError`."""
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        read_json(data)


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_any_json(value: object) -> None:
    """Any JSON that is not deep comes out as it went in."""
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_deep_claims() -> None:
    """A token with deep claims says nothing about itself."""
    payload = base64.urlsafe_b64encode(b'{"exp": ' + b"[" * 5_000 + b"]" * 5_000 + b"}").decode()
    assert read_claims(f"h.{payload}.s") == {}


def test_deep_json_in_a_small_thread() -> None:
    """A thread with a stack of 128 KiB survives deep JSON in an answer, in a refusal and in a token."""
    code = """
        import base64, threading
        import httpx
        from kyc_client import Credentials
        from kyc_client._clock import Clock
        from kyc_client._login.connection import make_connection
        from kyc_client._login.endpoint import LoginEndpoint
        from kyc_client._login.wire import read_claims

        deep = b"[" * 30_000 + b"]" * 30_000
        url = httpx.URL("https://kyc.example.com")

        def log_in(status, body):
            transport = httpx.MockTransport(lambda _: httpx.Response(status, content=body))
            connection, _ = make_connection(url, {"transport": transport, "verify": False}, transport)
            endpoint = LoginEndpoint(url, httpx.Timeout(5), connection)
            return endpoint.attempt(Credentials("a", "b"), within=5, clock=Clock(), on_open=lambda _: None)

        def main():
            import sys
            sys.setrecursionlimit(10**6)  # As some applications do. The limit then protects nobody.
            for status, body in ((200, deep), (200, b'{"access_token": %s}' % deep), (400, deep), (422, deep)):
                print(log_in(status, body).kind.__name__)
            print(read_claims("h." + base64.urlsafe_b64encode(deep[:9_000]).decode() + ".s"))

        log_in(200, b"{}")
        threading.stack_size(131072)
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
    """
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "LoginResponseError",
        "LoginResponseError",
        "LoginRefusedError",
        "LoginValidationError",
        "{}",
    ]


# The expiry of a token


EXPIRIES = {
    "int": (jwt(exp=ISSUED), ISSUED),
    "float": (jwt(exp=ISSUED + 0.5), ISSUED + 0.5),
    "exponent": (jwt_of(b'{"exp": 1.9e9}'), ISSUED),
    "first second": (jwt(exp=1), 1),
    "last second": (jwt(exp=LAST), LAST),
    "other claims": (jwt(sub="fake", aud=["fake"], exp=ISSUED), ISSUED),
    "twice, the last one counts": (jwt_of(f'{{"exp": 1, "exp": {ISSUED}}}'.encode()), ISSUED),
    "UTF-16": (jwt_of(f'{{"exp": {ISSUED}}}'.encode("utf-16")), None),
    "padded": (f"h.{base64.urlsafe_b64encode(json.dumps({'exp': ISSUED}).encode()).decode()}.s", ISSUED),
    "zero": (jwt(exp=0), None),
    "negative": (jwt(exp=-ISSUED), None),
    "milliseconds": (jwt(exp=ISSUED * 1000), None),
    "after the year 9999": (jwt(exp=LAST + 1), None),
    "text": (jwt(exp=str(ISSUED)), None),
    "true": (jwt(exp=True), None),
    "null": (jwt(exp=None), None),
    "list": (jwt(exp=[ISSUED]), None),
    "object": (jwt(exp={"exp": ISSUED}), None),
    "missing": (jwt(iat=ISSUED), None),
    "NaN": (jwt_of(b'{"exp": NaN}'), None),
    "Infinity": (jwt_of(b'{"exp": Infinity}'), None),
    "-Infinity": (jwt_of(b'{"exp": -Infinity}'), None),
    "1e400": (jwt_of(b'{"exp": 1e400}'), None),
    "400 digits": (jwt_of(b'{"exp": 1' + b"0" * 400 + b"}"), None),
    "5000 digits": (jwt_of(b'{"exp": ' + b"9" * 5000 + b"}"), None),
    "payload of a list": (jwt_of(b'["exp"]'), None),
    "payload of text": (jwt_of(b'"exp"'), None),
    "payload of null": (jwt_of(b"null"), None),
    "payload that is no JSON": (jwt_of(b"{exp}"), None),
    "payload that is no text": (jwt_of(b"\xff\xfe\xfd"), None),
    "payload of nothing": ("h..s", None),
    "nested deeply": (jwt_of(b"[" * 100_000), None),
    "objects nested deeply": (jwt_of(b'{"exp":' * 50_000), None),
    "a quantum of base64 too short": ("h.abcde.s", None),
    "not base64": ("h.a!b?.s", None),
    "base64 with something in between": (jwt(exp=ISSUED).replace(".", ".!!!!", 1), None),
    "not ASCII": ("h.\u00e9\u00e9\u00e9\u00e9.s", None),
    "surrogate": ("h.\ud800.s", None),
    "empty": ("", None),
    "one part": ("fake", None),
    "two parts": (jwt(exp=ISSUED).rpartition(".")[0], None),
    "four parts": (jwt(exp=ISSUED) + ".x", None),
    "five parts, as an encrypted one has": (jwt(exp=ISSUED) + ".x.x", None),
}


@pytest.mark.parametrize(("token", "expiry"), EXPIRIES.values(), ids=EXPIRIES)
def test_read_expiry(token, expiry):
    """F1, F2: a finite number of seconds within the calendar is an expiry. Anything else is unknown, and no error."""
    assert read_expiry(token) == expiry


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)
tokens = st.one_of(
    st.text(),
    st.lists(st.text(max_size=20), min_size=3, max_size=3).map(".".join),
    st.binary().map(jwt_of),
    json_values.map(lambda value: jwt_of(json.dumps(value).encode())),
    json_values.map(lambda value: jwt(exp=value)),
)


@given(tokens)
def test_read_expiry_never_raises(token):
    """F1, F2: whatever is in a token, reading it returns a moment of the calendar or None."""
    expiry = read_expiry(token)
    assert expiry is None or (isinstance(expiry, float) and 0 < expiry <= LAST)


@given(st.integers(1, LAST))
def test_read_expiry_exactly(expiry):
    """Every whole second of the calendar is read exactly."""
    assert read_expiry(jwt(exp=expiry)) == expiry


# What passes for a token


BEARERS = {
    "JWT": (jwt(exp=ISSUED), True),
    "one character": ("x", True),
    "all the characters": (string.ascii_letters + string.digits + "-._~+/", True),
    "padding": ("fake==", True),
    "longest": ("x" * 16 * 1024, True),
    "too long": ("x" * (16 * 1024 + 1), False),
    "empty": ("", False),
    "only padding": ("==", False),
    "padding inside": ("fa=ke", False),
    "space inside": ("fake token", False),
    "space at the end": ("fake ", False),
    "space at the start": (" fake", False),
    "newline at the end": ("fake\n", False),
    "CRLF": ("fake\r\nX-Injected: 1", False),
    "tab": ("fake\ttoken", False),
    "NUL": ("fake\0", False),
    "DEL": ("fake\x7f", False),
    "not ASCII": ("f\u00e4ke", False),
    "digits of another script": ("\u0661\u0662\u0663", False),
    "letters that fold to ASCII": ("\u212aelvin", False),
    "quote": ('"fake"', False),
    "comma": ("fake,token", False),
    "None": (None, False),
    "int": (12345, False),
    "bytes": (b"fake", False),
    "list": (["fake"], False),
}


@pytest.mark.parametrize(("value", "usable"), BEARERS.values(), ids=BEARERS)
def test_bearer(value, usable):
    """A token consists of the characters of RFC 6750, at least one and at most 16 KiB of them."""
    assert is_bearer_value(value) is usable


@given(st.text() | st.text(st.characters(max_codepoint=0x7F)) | st.text(string.ascii_letters + "-._~+/= \n"))
def test_bearer_fits_a_header(text):
    """What passes for a token can be sent in a header, and arrives there unchanged and alone."""
    allowed = set(string.ascii_letters + string.digits + "-._~+/")
    core = text.rstrip("=")
    assert is_bearer_value(text) is (core != "" and set(core) <= allowed)
    if is_bearer_value(text):
        request = httpx.Request("GET", "https://kyc.example.com", headers={"Authorization": f"Bearer {text}"})
        assert (b"Authorization", f"Bearer {text}".encode("ascii")) in request.headers.raw


# Dates of HTTP


# RFC 9110, section 5.6.7: its example in the three forms that must be understood, and others.
DATES = {
    "IMF-fixdate": ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
    "RFC 850": ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
    "asctime": ("Sun Nov  6 08:49:37 1994", 784_111_777),
    "zone": ("Sun, 06 Nov 1994 10:49:37 +0200", 784_111_777),
    "UTC of an unknown zone": ("Sun, 06 Nov 1994 08:49:37 -0000", 784_111_777),
    "epoch": ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    "empty": ("", None),
    "number": ("784111777", None),
    "text": ("soon", None),
    "no such day": ("Sun, 31 Feb 2027 08:49:37 GMT", None),
    "no such hour": ("Sun, 06 Nov 1994 28:49:37 GMT", None),
    "no such zone": ("Sun, 06 Nov 1994 08:49:37 +9900", None),
    "no year": ("Sun, 06 Nov", None),
    "year of many digits": ("Sun, 06 Nov 99999999999999999999 08:49:37 GMT", None),
}


@pytest.mark.parametrize(("text", "seconds"), DATES.values(), ids=DATES)
def test_http_date(text, seconds):
    """An HTTP date is read in each of its forms. Any other text is None."""
    assert read_http_date(text) == seconds


@pytest.fixture
def _india(monkeypatch):
    """A machine whose time zone is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_india")
@pytest.mark.parametrize(("text", "seconds"), DATES.values(), ids=DATES)
def test_http_date_elsewhere(text, seconds):
    """A date means the same in every time zone."""
    assert time.timezone != 0
    assert read_http_date(text) == seconds


@given(st.integers(0, LAST))
def test_http_date_exactly(seconds):
    """Every second that a server can write is read exactly."""
    assert read_http_date(formatdate(seconds, usegmt=True)) == seconds


@given(
    st.text()
    | st.text("SunNov 0123456789:,+-GMT")
    | st.datetimes(timezones=st.timezones()).map(format_datetime)
    | st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,2} (Jan|Feb|Dec) \d{1,4} \d{1,2}:\d\d:\d\d [+-]\d{4}\Z")
)
def test_http_date_never_raises(text):
    """Whatever is in a header, reading it does not raise."""
    seconds = read_http_date(text)
    assert seconds is None or abs(seconds) < 1e12


@pytest.mark.parametrize("end", ["", "\\", '"', '"]', "[", "x"])
def test_string_without_an_end_costs_little(end: str) -> None:
    """E8: 64 KiB of quotes in a string that does not end. Python runs no other thread during a regular expression."""
    hostile = ('["' + '\\"' * 32_000 + end).encode()
    began = time.process_time()
    with contextlib.suppress(ValueError):
        read_json(hostile)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("text", ['"[[[[', '["a\\"[[[', '"\\'])
def test_brackets_in_a_string_do_not_count(text: str) -> None:
    """Neither in one that does not end. It is no JSON, and that is the error."""
    with pytest.raises(ValueError, match=r"^(?!more than)"):
        read_json((text + "[" * 100).encode())
