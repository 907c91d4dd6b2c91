"""What is read off the wire: JSON of bounded depth."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyc_client._login.wire import read_claims, read_json

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
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
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
