"""One login: what goes over the wire, what each answer means, and that no answer shows what was sent."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import gzip
import json
import logging
import pickle
import re
import socket
import threading
import tracemalloc
import urllib.parse

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kyc_client import (
    BadCredentialsError,
    ConfigurationError,
    Credentials,
    KYCClientError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    UserNotVerifiedError,
)
from kyc_client._clock import Clock
from kyc_client._login import attempt as attempting
from kyc_client._login import tls as _tls
from kyc_client._login.answer import Failure, Grant
from kyc_client._login.base_url import parse_base_url
from kyc_client._login.connection import make_connection
from kyc_client._login.endpoint import USER_AGENT, LoginEndpoint
from kyc_client._login.transports import MAX_ANSWER_BYTES
from kyc_client._login.wire import is_bearer_value
from tests.core.test_secret import rendered
from tests.support.fault_server import Exchange, FaultServer, answer, hang, issue, reset

TOKEN = "fake-header.fake-payload.fake-signature"
GOOD = {"access_token": TOKEN, "token_type": "bearer"}
CANARY = "canary-5e77"
CREDENTIALS = Credentials(f"{CANARY}-login@example.com", f"{CANARY}-password")
# When the answers of these tests are sent, by the server's clock.
SENT = 1_900_000_000
LIMIT = 64 * 1024
WATCHDOG = 10.0
CLOCK = Clock()
# Kept, so that it is made once.
CONTEXT, _ = _tls.shared_context()


def attempt(
    base_url,
    *,
    credentials=CREDENTIALS,
    within=WATCHDOG,
    timeout=WATCHDOG,
    on_open=lambda _: None,
    headers=None,
    clock=CLOCK,
    **connection,
):
    """One login at this base URL."""
    url, _ = parse_base_url(base_url, allow_insecure_http=False)
    settled, _ = make_connection(url, {"verify": CONTEXT, **connection}, connection.get("transport"))
    one = LoginEndpoint(url, httpx.Timeout(timeout), settled, headers)
    return one.attempt(credentials, within=within, clock=clock, on_open=on_open)


def attempt_with(handler, **arguments):
    """One login that this function answers, without a socket."""
    return attempt("https://kyc.example.com", transport=httpx.MockTransport(handler), **arguments)


def failure(result, kind, status):
    """The failure, which has to be of this kind and status."""
    assert isinstance(result, Failure), result
    assert (result.kind, result.details.get("status_code")) == (kind, status)
    return result


def everything(result):
    """All that a failure shows, and an error made of it: in logs, in crash reports and in pickles."""
    error = result.error(retry_after=1.0, cached=False)
    pickled = pickle.dumps(error)
    assert str(pickle.loads(pickled)) == str(error)  # noqa: S301 - our own pickle
    return f"{result!r}\n{rendered(error)}\n{pickled.decode('utf-8', 'replace')}"


# The request on the wire


FORMS = {
    "plain": ("fake-password", b"fake-password"),
    "what a form has a meaning for": ("a&b=c+d%e;f", b"a%26b%3Dc%2Bd%25e%3Bf"),
    "inner space": ("correct horse", b"correct+horse"),
    "space at both ends": ("  fake ", b"++fake+"),
    "slash, question mark, hash": ("a/b?c#d", b"a%2Fb%3Fc%23d"),
    "quotes and backslash": ("\"fake'\\", b"%22fake%27%5C"),
    "looks quoted already": ("%41%2B", b"%2541%252B"),
    "looks like another field": ("x&grant_type=fake", b"x%26grant_type%3Dfake"),
    "composed": ("caf\u00e9", b"caf%C3%A9"),
    "decomposed": ("cafe\u0301", b"cafe%CC%81"),
    "emoji": ("\N{KEY}", b"%F0%9F%94%91"),
    "tab, newline, NUL": ("a\tb\nc\0", b"a%09b%0Ac%00"),
    "letter case": ("FaKe", b"FaKe"),
    "1 kB": ("x" * 1024, b"x" * 1024),
}


@pytest.mark.parametrize(("text", "encoded"), FORMS.values(), ids=FORMS)
def test_form(server, text, encoded):
    """E1, E15: login and password go out byte for byte, as UTF-8 in a form: not stripped, folded or normalised."""
    assert isinstance(attempt(server.base_url, credentials=Credentials(text, text)), Grant)
    (exchange,) = server.exchanges
    assert exchange.body == b"username=" + encoded + b"&password=" + encoded + b"&grant_type=password"


@given(st.text(min_size=1), st.text(min_size=1))
def test_form_of_any_text(username, password):
    """E1: whatever the login and password are, any reader of forms gets exactly them."""
    bodies = []

    def handler(request):
        bodies.append(request.content)
        return httpx.Response(200, json=GOOD)

    try:
        credentials = Credentials(username, password)
    except ConfigurationError:
        return
    assert isinstance(attempt_with(handler, credentials=credentials), Grant)
    (body,) = bodies
    assert urllib.parse.parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True) == [
        ("username", username),
        ("password", password),
        ("grant_type", "password"),
    ]


def test_request(server):
    """E14: the login is a POST of a form that asks for plain JSON, names us, and carries no token and no cookie."""
    attempt(server.base_url)
    (exchange,) = server.exchanges
    assert (exchange.method, exchange.target) == ("POST", "/auth/jwt/login")
    assert exchange.headers["content-type"] == "application/x-www-form-urlencoded"
    assert exchange.headers["content-length"] == str(len(exchange.body))
    assert exchange.headers["accept"] == "application/json"
    assert exchange.headers["accept-encoding"] == "identity"
    assert exchange.headers["user-agent"] == USER_AGENT
    assert USER_AGENT.startswith("kyc-client/")
    assert not {"cookie", "authorization", "transfer-encoding"} & exchange.headers.keys()


def test_path_of_the_base_url(server):
    """A path in front of the API is kept."""
    attempt(f"{server.base_url}/kyc/v1/")
    assert [exchange.target for exchange in server.exchanges] == ["/kyc/v1/auth/jwt/login"]


def test_no_cookies(server):
    """D11: a cookie that came with one login does not go out with the next."""
    server.on_login(answer(200, GOOD, {"Set-Cookie": "fake=1; Path=/"}))
    base_url = server.base_url
    connection, _ = make_connection(httpx.URL(base_url), {"verify": CONTEXT})
    one = LoginEndpoint(httpx.URL(base_url), httpx.Timeout(WATCHDOG), connection)
    for _ in range(2):
        one.attempt(CREDENTIALS, within=WATCHDOG, clock=CLOCK, on_open=lambda _: None)
    assert ["cookie" in exchange.headers for exchange in server.exchanges] == [False, False]


def test_logs(server, caplog):
    """H7: with every logger at DEBUG, a login, a refusal and a validation error log neither credentials nor token."""
    caplog.set_level(logging.DEBUG)
    token = f"{CANARY}-token"
    body = {"detail": [{"loc": ["body"], "msg": CANARY, "type": "x", "input": CANARY}]}
    server.on_login(answer(200, {**GOOD, "access_token": token}), answer(400, {"detail": CANARY}), answer(422, body))
    for _ in range(3):
        attempt(server.base_url)
    assert "/auth/jwt/login" in caplog.text
    assert CANARY not in caplog.text


# A good answer


GRANTS = {
    "as the guide has it": answer(200, GOOD),
    "Bearer": answer(200, {**GOOD, "token_type": "Bearer"}),
    "BEARER": answer(200, {**GOOD, "token_type": "BEARER"}),
    "more fields": answer(200, {**GOOD, "expires_in": 3600, "refresh_token": None}),
    "another content type": answer(200, GOOD, {"Content-Type": "text/html"}),
    "identity encoding": answer(200, GOOD, {"Content-Encoding": "Identity"}),
    "identity twice": answer(200, GOOD, {"Content-Encoding": "identity, identity"}),
    "encoding of nothing": answer(200, GOOD, {"Content-Encoding": ""}),
    "encoding none": answer(200, GOOD, {"Content-Encoding": "none"}),
    "encoding of text": answer(200, GOOD, {"Content-Encoding": "UTF-8"}),
    "byte order mark": answer(200, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    "brackets in a text": answer(200, {**GOOD, "more": "[{" * 100 + '"' + "[" * 100}),
    "as deep as it may be": answer(200, b'{"a": ' + b"[" * 63 + b"]" * 63 + b", " + json.dumps(GOOD).encode()[1:]),
    "longest token": answer(200, {**GOOD, "access_token": TOKEN.ljust(16 * 1024, "x")}),
    "longest body": answer(200, json.dumps(GOOD).ljust(LIMIT).encode()),
    "in chunks": lambda exchange: exchange.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(GOOD).encode())
        + b"0\r\n\r\n"
    ),
}


@pytest.mark.parametrize("behaviour", GRANTS.values(), ids=GRANTS)
def test_grant(server, behaviour):
    """E6: a 200 with a bearer token is a grant, whatever else the answer holds."""
    server.on_login(behaviour)
    result = attempt(server.base_url)
    assert isinstance(result, Grant)
    assert result.value.startswith(TOKEN)
    assert TOKEN not in repr(result)


GRANT_DATES = {
    "IMF-fixdate": (email.utils.formatdate(SENT, usegmt=True), SENT),
    "none": (None, None),
    "nonsense": ("soon", None),
    "empty": ("", None),
}


@pytest.mark.parametrize(("date", "issued_at"), GRANT_DATES.values(), ids=GRANT_DATES)
def test_grant_date(date, issued_at):
    """A grant tells when the server says that it issued the token, if it does."""
    headers = {} if date is None else {"Date": date}
    result = attempt_with(lambda _: httpx.Response(200, json=GOOD, headers=headers))
    assert result == Grant(TOKEN, issued_at)


# An answer that holds no usable token


def token(value):
    """A 200 with this as its token."""
    return answer(200, {**GOOD, "access_token": value})


def token_type(value):
    """A 200 with this as the type of its token."""
    return answer(200, {**GOOD, "token_type": value})


def raw(body, **headers):
    """A 200 with these bytes."""
    return answer(200, body, {name.replace("_", "-"): value for name, value in headers.items()})


HTML = b"<!DOCTYPE html><title>Welcome to the Wi-Fi</title>"
UNUSABLE = {
    "HTML": (raw(HTML, Content_Type="text/html"), r"it holds no token \(it is not JSON; text/html\)"),
    "HTML that says it is JSON": (raw(HTML), "it is not JSON"),
    "empty": (raw(b""), "it holds no token"),
    "null": (answer(200, None), "it is JSON, but no object"),
    "list": (answer(200, []), r"it holds no token \("),
    "text": (answer(200, "x"), "it holds no token"),
    "number": (answer(200, 5), "it holds no token"),
    "NaN": (raw(b"NaN"), "it holds no token"),
    "object": (answer(200, {}), "it lacks access_token or token_type"),
    "cut off": (raw(json.dumps(GOOD).encode()[:-1]), "it holds no token"),
    "not UTF-8": (raw(b'{"access_token": "\xff", "token_type": "bearer"}'), "it holds no token"),
    "nested deeply": (raw(b"[" * 60_000), "it holds no token"),
    "5000 digits": (raw(b'{"access_token": ' + b"9" * 5000 + b"}"), "it holds no token"),
    "no token": (answer(200, {"token_type": "bearer"}), "it lacks access_token"),
    "null token": (token(None), "not a bearer token"),
    "int token": (token(5), "not a bearer token"),
    "list token": (token([TOKEN]), "not a bearer token"),
    "empty token": (token(""), "not a bearer token"),
    "blank token": (token("  "), "not a bearer token"),
    "token with a newline": (token(TOKEN + "\n"), "not a bearer token"),
    "token with CRLF": (token(TOKEN + "\r\nX-Injected: 1"), "not a bearer token"),
    "token with NUL": (token(TOKEN + "\0"), "not a bearer token"),
    "token with DEL": (token(TOKEN + "\x7f"), "not a bearer token"),
    "token with a tab": (token("fake\ttoken"), "not a bearer token"),
    "token with a space": (token("fake token"), "not a bearer token"),
    "token and a space": (token(TOKEN + " "), "not a bearer token"),
    "token beyond ASCII": (token("f\u00e4ke"), "not a bearer token"),
    "token of a surrogate": (token("\ud800"), "not a bearer token"),
    "token too long": (token("x" * (16 * 1024 + 1)), "not a bearer token"),
    "no type": (answer(200, {"access_token": TOKEN}), "it lacks access_token or token_type"),
    "null type": (token_type(None), "token_type is not bearer"),
    "empty type": (token_type(""), "token_type is not bearer"),
    "mac": (token_type("mac"), "token_type is not bearer"),
    "bearer and a space": (token_type("bearer "), "token_type is not bearer"),
    "list of types": (token_type(["bearer"]), "token_type is not bearer"),
    "gzip": (raw(gzip.compress(json.dumps(GOOD).encode()), Content_Encoding="gzip"), "it is compressed"),
    "br": (raw(b"fake", Content_Encoding="br"), "it is compressed"),
    "x-gzip": (raw(b"fake", Content_Encoding="x-gzip"), "it is compressed"),
    "zstd": (raw(b"fake", Content_Encoding="identity, zstd"), "it is compressed"),
    "deeper": (raw(b'{"a": ' + b"[" * 64 + b"]" * 64 + b", " + json.dumps(GOOD).encode()[1:]), "it is not JSON"),
    "gzip twice": (raw(b"fake", Content_Encoding="gzip, gzip"), "it is compressed"),
    "too long by one byte": (raw(json.dumps(GOOD).ljust(LIMIT + 1).encode()), "longer than 65536 bytes"),
}


@pytest.mark.parametrize(("behaviour", "why"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable(server, behaviour, why):
    """E6, E7: a 200 without a usable token says why, and shows nothing of its body."""
    server.on_login(behaviour)
    result = failure(attempt(server.base_url), LoginResponseError, 200)
    assert re.search(why, result.message)
    assert "Check that the base URL" in result.message
    for shown in (TOKEN, "Wi-Fi", "X-Injected"):
        assert shown not in everything(result)


@pytest.mark.parametrize("status", [201, 202, 203, 206, 226, 299, 300, 304, 399])
def test_other_success(server, status):
    """E6: only a 200 holds a token; another status does not, whatever its body says."""
    server.on_login(answer(status, GOOD))
    result = failure(attempt(server.base_url), LoginResponseError, status)
    assert f"({status}) cannot be used: the only good answer is 200" in result.message


def test_no_content(server):
    """E6: nor does a 204."""
    server.on_login(answer(204, b""))
    failure(attempt(server.base_url), LoginResponseError, 204)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(server, status):
    """D1: a redirect is not followed, so that the password goes nowhere else; the message names the other host."""
    with FaultServer() as elsewhere:
        server.on_login(answer(status, b"", {"Location": f"{elsewhere.base_url}/auth/jwt/login?key={CANARY}"}))
        result = failure(attempt(server.base_url), LoginResponseError, status)
        assert elsewhere.exchanges == []
    assert len(server.exchanges) == 1
    assert f"it is a redirect to {elsewhere.base_url}, and a login follows none" in result.message
    assert CANARY not in everything(result)


LOCATIONS = {
    "another path": ("/portal?key=canary-5e77", "to http://127.0.0.1:"),
    "relative": ("portal", "to http://127.0.0.1:"),
    "empty": ("", "to http://127.0.0.1:"),
    "with a password": ("https://fake:canary-5e77@portal.example/", "to https://portal.example, "),
    "https, as a proxy in front of http says it": (
        "https://kyc.example.com/auth/jwt/login",
        "to https://kyc.example.com,",
    ),
}


@pytest.mark.parametrize(("location", "where"), LOCATIONS.values(), ids=LOCATIONS)
def test_redirect_target(server, location, where):
    """D1: of the target only the origin is named: the rest might hold anything."""
    server.on_login(answer(307, b"", {"Location": location}))
    result = failure(attempt(server.base_url), LoginResponseError, 307)
    assert where in result.message
    assert CANARY not in everything(result)
    assert len(server.exchanges) == 1


def test_redirect_without_a_target(server):
    """D1: a redirect to nowhere is an answer without a token."""
    server.on_login(answer(302, b""))
    assert "the only good answer is 200" in failure(attempt(server.base_url), LoginResponseError, 302).message


def test_redirect_without_a_scheme(server):
    """D1: a target that takes over our scheme is named in a way that can be read."""
    server.on_login(answer(302, b"", {"Location": "//portal.example/"}))
    result = failure(attempt(server.base_url), LoginResponseError, 302)
    assert "portal.example" in result.message
    assert " ://" not in result.message


BAD_LOCATIONS = {
    "port that is no number": "https://portal.example:fake/",
    "bracket": "https://[::1/",
    "control character": "https://portal.example/\u0080",
    "A-label that is none": "https://xn--zz--.example/",
}


@pytest.mark.parametrize("status", [201, 302])
@pytest.mark.parametrize("location", BAD_LOCATIONS.values(), ids=BAD_LOCATIONS)
def test_redirect_to_what_is_no_url(location, status):
    """D1: a redirect to what is no URL is an answer that cannot be used, not one that is worth trying again."""
    headers = {"Location": location.encode()}
    result = attempt_with(lambda _: httpx.Response(status, headers=headers))
    failure(result, LoginResponseError, status)


def test_redirect_to_a_very_long_host():
    """D1: a message stays short, however long the host of a redirect is."""
    headers = {"Location": f"https://{'a.' * 20_000}example/"}
    result = failure(attempt_with(lambda _: httpx.Response(302, headers=headers)), LoginResponseError, 302)
    assert len(result.message) < 1000


# Refusals


REFUSALS = {
    "bad credentials": (answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}), BadCredentialsError, "LOGIN_BAD_CREDENTIALS"),
    "not verified": (
        answer(400, {"detail": "LOGIN_USER_NOT_VERIFIED"}),
        UserNotVerifiedError,
        "LOGIN_USER_NOT_VERIFIED",
    ),
    "a new code": (answer(400, {"detail": "LOGIN_USER_LOCKED"}), LoginRefusedError, "LOGIN_USER_LOCKED"),
    "shortest code": (answer(400, {"detail": "A_1"}), LoginRefusedError, "A_1"),
    "longest code": (answer(400, {"detail": "A" * 64}), LoginRefusedError, "A" * 64),
    "more fields": (
        answer(400, {"detail": "LOGIN_BAD_CREDENTIALS", "input": "x"}),
        BadCredentialsError,
        "LOGIN_BAD_CREDENTIALS",
    ),
    "code too short": (answer(400, {"detail": "AB"}), LoginRefusedError, None),
    "code too long": (answer(400, {"detail": "A" * 65}), LoginRefusedError, None),
    "code in lower case": (answer(400, {"detail": "login_bad_credentials"}), LoginRefusedError, None),
    "code and a newline": (answer(400, {"detail": "LOGIN_BAD_CREDENTIALS\n"}), LoginRefusedError, None),
    "sentence": (answer(400, {"detail": "Field exceeded maximum size of 1024KB."}), LoginRefusedError, None),
    "object": (answer(400, {"detail": {"code": "LOGIN_X", "reason": "canary-5e77"}}), LoginRefusedError, None),
    "list": (answer(400, {"detail": ["LOGIN_BAD_CREDENTIALS"]}), LoginRefusedError, None),
    "number": (answer(400, {"detail": 5}), LoginRefusedError, None),
    "null detail": (answer(400, {"detail": None}), LoginRefusedError, None),
    "no detail": (answer(400, {"error": "invalid_grant"}), LoginRefusedError, None),
    "null": (answer(400, None), LoginRefusedError, None),
    "HTML": (answer(400, HTML), LoginRefusedError, None),
    "empty": (answer(400, b""), LoginRefusedError, None),
    "gzip": (answer(400, b"fake", {"Content-Encoding": "gzip"}), LoginRefusedError, None),
    "too long": (answer(400, b" " * (LIMIT + 1)), LoginRefusedError, None),
}


@pytest.mark.parametrize(("behaviour", "kind", "code"), REFUSALS.values(), ids=REFUSALS)
def test_refusal(server, behaviour, kind, code):
    """E10: a 400 is one of the guide's two refusals or another one, whose code is kept only if it looks like one."""
    server.on_login(behaviour)
    result = failure(attempt(server.base_url), kind, 400)
    assert result.details["code"] == code
    assert (code or "(400)") in result.message
    assert CANARY not in everything(result)
    assert result.retry_after is None


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 409, 410, 415, 418, 451, 499])
def test_other_refusal(server, status):
    """E11: any other 4xx but 408, 422 and 429 is a refusal too, of which the status is known."""
    server.on_login(answer(status, {"detail": "Unauthorized"}))
    result = failure(attempt(server.base_url), LoginRefusedError, status)
    assert result.details["code"] is None
    assert f"({status})" in result.message


@pytest.mark.parametrize("status", [404, 405])
def test_wrong_address(server, status):
    """E11: where there is no login at all, the message points at the base URL."""
    server.on_login(answer(status))
    assert "API_BASE_URL" in failure(attempt(server.base_url), LoginRefusedError, status).message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418, 499])
def test_code_decides_over_the_status(server, status):
    """E10: a known code means what the guide says with every refusal's status, because a gateway may change it."""
    server.on_login(answer(status, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    assert failure(attempt(server.base_url), BadCredentialsError, status).details["code"] == "LOGIN_BAD_CREDENTIALS"
    server.on_login(answer(status, b"\xef\xbb\xbf" + b'{"detail": "LOGIN_USER_NOT_VERIFIED"}'))
    failure(attempt(server.base_url), UserNotVerifiedError, status)


@pytest.mark.parametrize(
    ("status", "kind"), [(408, LoginUnavailableError), (422, LoginValidationError), (429, LoginUnavailableError)]
)
def test_code_of_another_answer(server, status, kind):
    """E10: with these statuses, a code does not count."""
    server.on_login(answer(status, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    failure(attempt(server.base_url), kind, status)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_unknown_code(server, status):
    """E10: a code that the guide does not know is kept with every refusal."""
    server.on_login(answer(status, {"detail": "ACCOUNT_LOCKED"}))
    assert failure(attempt(server.base_url), LoginRefusedError, status).details["code"] == "ACCOUNT_LOCKED"


@pytest.mark.parametrize("password", ["LOGIN", "_", "BAD_CREDENTIALS"])
def test_known_code_whatever_the_password(server, password):
    """E10: a refusal of the guide's is known as such, also if the login or password is a part of its name."""
    server.on_login(answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}))
    for credentials in (Credentials("fake-user", password), Credentials(password, "fake-password")):
        failure(attempt(server.base_url, credentials=credentials), BadCredentialsError, 400)


# Validation errors


def validation(*errors):
    """A 422 with these errors."""
    return answer(422, {"detail": list(errors)})


MISSING = {"type": "missing", "loc": ["body", "password"], "msg": "Field required", "input": None}
PATTERN = {
    "type": "string_pattern_mismatch",
    "loc": ["body", "grant_type"],
    "msg": "String should match pattern '^password$'",
    "input": f"{CANARY}-input",
    "ctx": {"pattern": "^password$", "given": f"{CANARY}-ctx"},
}
VALIDATIONS = {
    "one": (validation(MISSING), ((("body", "password"), "Field required", "missing"),)),
    "two": (
        validation(MISSING, PATTERN),
        (
            (("body", "password"), "Field required", "missing"),
            (("body", "grant_type"), "String should match pattern '^password$'", "string_pattern_mismatch"),
        ),
    ),
    "place in a list": (
        validation({**MISSING, "loc": ["body", 7]}),
        ((("body", 7), "Field required", "missing"),),
    ),
    "not printable": (
        validation({**MISSING, "msg": "a\nb\x1b[31m\u202e"}),
        ((("body", "password"), "a?b?[31m?", "missing"),),
    ),
    "long": (validation({**MISSING, "msg": "x" * 1000}), ((("body", "password"), "x" * 200, "missing"),)),
    "many": (validation(*[MISSING] * 300), ((("body", "password"), "Field required", "missing"),) * 20),
    "message of another kind": (
        validation({**MISSING, "msg": None, "type": 5}),
        ((("body", "password"), "None", "5"),),
    ),
    "none": (validation(), ()),
    "text": (answer(422, {"detail": "canary-5e77 is wrong"}), ()),
    "no detail": (answer(422, {"errors": [PATTERN]}), ()),
    "incomplete": (validation({"loc": ["body"]}), ()),
    "null place": (validation({**MISSING, "loc": None}), ()),
    "no objects": (validation("canary-5e77"), ()),
    "HTML": (answer(422, HTML), ()),
    "empty": (answer(422, b""), ()),
}


@pytest.mark.parametrize(("behaviour", "errors"), VALIDATIONS.values(), ids=VALIDATIONS)
def test_validation(server, behaviour, errors):
    """E10: a 422 tells place, message and kind of each error as short, printable text, and never what was submitted."""
    server.on_login(behaviour)
    result = failure(attempt(server.base_url), LoginValidationError, 422)
    assert result.details["errors"] == errors
    error = result.error(retry_after=None, cached=False)
    assert error.errors == errors
    for loc, msg, _ in errors:
        assert f"{'.'.join(map(str, loc))}: {msg}" in str(error)
    assert CANARY not in everything(result)


# What the server repeats


def echoes(secret):
    """Answers that repeat this wherever text is taken from an answer."""
    return {
        "422 msg": validation({**MISSING, "msg": f"{secret} is wrong, {secret}"}),
        "422 loc": validation({**MISSING, "loc": ["body", secret, f"<{secret}>"]}),
        "422 type": validation({**MISSING, "type": secret}),
        "422 input": validation({**MISSING, "input": {"password": secret}}),
        "422 ctx": validation({**MISSING, "ctx": {"given": secret}}),
        "422 more": validation({**MISSING, "url": secret}),
        "422 at the cut": validation({**MISSING, "msg": "x" * (200 - len(secret) // 2) + secret}),
        "422 detail": answer(422, {"detail": secret}),
        "400 detail": answer(400, {"detail": secret}),
        "400 detail as a code": answer(400, {"detail": f"WRONG_{secret}"}),
        "400 more": answer(400, {"detail": "LOGIN_BAD_CREDENTIALS", "input": secret}),
        "400 object": answer(400, {"detail": {"code": "X", "reason": secret}}),
        "401": answer(401, {"detail": secret}),
        "200 without a token": answer(200, {"detail": secret}),
        "200 with a wrong type": answer(200, {"access_token": TOKEN, "token_type": secret}),
        "200 with a wrong token": answer(200, {"access_token": f" {secret}", "token_type": "bearer"}),
        "201": answer(201, {"detail": secret}),
        "500": answer(500, secret.encode()),
        "429": answer(429, {"detail": secret}, {"Retry-After": urllib.parse.quote(secret)}),
        "307": answer(307, b"", {"Location": f"https://portal.example/?{urllib.parse.quote(secret)}"}),
    }


SECRETS = {
    "plain": "canary-5e77-password",
    "looks like a code": "CANARY5E77",
    "with blanks and signs": "canary 5e77 & = + % \"'\\",
    "beyond ASCII": "c\u00e4nary-\N{KEY}-5e77",
}


@pytest.mark.parametrize("where", echoes(""))
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_echo(server, where, secret):
    """E10: an answer that repeats the password or login does not bring it into a message, an attribute or a pickle."""
    server.on_login(echoes(secret)[where])
    for credentials in (Credentials("fake-user", secret), Credentials(secret, "fake-password")):
        result = attempt(server.base_url, credentials=credentials)
        assert isinstance(result, Failure)
        shown = everything(result)
        for form in (secret, repr(secret)[1:-1], secret[: len(secret) // 2 + 1]):
            assert form not in shown


def test_echo_beside_the_login(server):
    """E10: a login that is a part of the password does not keep the password from being found."""
    server.on_login(validation({**MISSING, "msg": "got canary-5e77-fake"}))
    result = attempt(server.base_url, credentials=Credentials("canary", "canary-5e77-fake"))
    assert "5e77" not in everything(result)


def test_echo_as_it_was_sent(server):
    """E10: a server that repeats the form as it was sent, percent-encoded, does not show the password either."""
    password = "canary 5e77/&"
    server.on_login(
        lambda exchange: exchange.answer(422, {"detail": [{**MISSING, "msg": f"cannot read {exchange.body.decode()}"}]})
    )
    result = attempt(server.base_url, credentials=Credentials("fake-user", password))
    assert "5e77" not in everything(result)


WRITTEN = {
    "URL": urllib.parse.quote,
    "form": urllib.parse.quote_plus,
    "JSON": json.dumps,
    "Python": repr,
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_echo_as_others_write_it(server, write):
    """E10: nor does one that repeats it as URLs, JSON or Python write it."""
    password = 'canary "5e77" \\ & \u00fc\''
    server.on_login(validation({**MISSING, "msg": f"got {write(password)}", "type": write(password)}))
    result = attempt(server.base_url, credentials=Credentials("fake-user", password))
    assert "5e77" not in everything(result)


def test_echo_letter_by_letter(server):
    """E10: a place that is a text and not a list is not taken apart and shown letter by letter."""
    server.on_login(validation({**MISSING, "loc": "canary"}))
    result = attempt(server.base_url, credentials=Credentials("fake-user", "canary"))
    assert "c.a.n.a.r.y" not in everything(result)


def test_echo_in_a_header(server):
    """E6: nor does a password in the only header that a message repeats."""
    server.on_login(answer(200, b"", {"Content-Type": f"text/{CREDENTIALS.password}"}))
    assert CANARY not in everything(failure(attempt(server.base_url), LoginResponseError, 200))


# Unavailable


def partial(status):
    """Half of an answer, and the end of the connection."""

    def behaviour(exchange):
        exchange.send(b"HTTP/1.1 %d \r\nContent-Length: 1000\r\n\r\n" % status + json.dumps(GOOD).encode())
        exchange.close()

    return behaviour


def half_a_head(exchange):
    """Half of a head, and the end of the connection."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


def reset_in_the_body(exchange):
    """Half of an answer, and a reset."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    exchange.reset()


def not_http(exchange):
    """The greeting of another protocol."""
    exchange.send(b"220 mail.example ESMTP\r\n")
    exchange.close()


def broken_chunk(exchange):
    """A chunk of no length."""
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfake\r\n")
    exchange.close()


UNAVAILABLE = {
    "408": (answer(408, {"detail": "x"}), 408, "was answered 408"),
    "429": (answer(429, {"detail": "x"}), 429, "was answered 429"),
    "500": (answer(500, b"Internal Server Error", {"Content-Type": "text/plain"}), 500, "was answered 500"),
    "502 with HTML": (answer(502, HTML, {"Content-Type": "text/html"}), 502, "was answered 502"),
    "503": (answer(503, GOOD), 503, "was answered 503"),
    "520": (answer(520), 520, "was answered 520"),
    "599": (answer(599), 599, "was answered 599"),
    "gzip": (answer(503, b"fake", {"Content-Encoding": "gzip"}), 503, "was answered 503"),
    "500 without its body": (partial(500), 500, "was answered 500"),
    "half of an answer": (partial(200), 200, "RemoteProtocolError"),
    "reset in the body": (reset_in_the_body, 200, "ReadError"),
    "broken chunk": (broken_chunk, 200, "RemoteProtocolError"),
    "half of a head": (half_a_head, None, "RemoteProtocolError"),
    "reset": (reset, None, "ReadError"),
    "closed": (Exchange.close, None, "RemoteProtocolError"),
    "not HTTP": (not_http, None, "RemoteProtocolError"),
}


@pytest.mark.parametrize(("behaviour", "status", "what"), UNAVAILABLE.values(), ids=UNAVAILABLE)
def test_unavailable(server, behaviour, status, what):
    """E12: no answer, a broken one, 408, 429 and 5xx are worth trying again; the message says so, and what it was."""
    server.on_login(behaviour)
    result = failure(attempt(server.base_url, timeout=2), LoginUnavailableError, status)
    assert what in result.message
    assert "Try again later" in result.message
    assert CANARY not in everything(result)


@pytest.mark.parametrize(("status", "kind"), [(400, LoginRefusedError), (422, LoginValidationError)])
def test_refusal_without_its_body(server, status, kind):
    """E12: a refusal whose body breaks off is a refusal all the same, of which only the status is known."""
    server.on_login(partial(status))
    result = failure(attempt(server.base_url), kind, status)
    assert (result.details.get("code"), result.details.get("errors", ())) == (None, ())


def test_no_answer_in_time(server):
    """E9: a server that says nothing has not answered in time: in what is left of it, whatever the timeout."""
    server.on_login(hang)
    result = failure(attempt(server.base_url, within=0.05, timeout=3600), LoginUnavailableError, None)
    assert "no answer in time" in result.message


def test_no_end_in_time(server):
    """E9: nor has one that stops in the middle of its answer."""

    def stop(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        hang(exchange)

    server.on_login(stop)
    result = failure(attempt(server.base_url, timeout=0.05), LoginUnavailableError, 200)
    assert "no answer in time" in result.message


def test_nobody_there():
    """E12: a refused connection is named as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = failure(attempt(f"http://127.0.0.1:{port}"), LoginUnavailableError, None)
    assert "ConnectError" in result.message
    assert "Connection refused" in result.message


RETRY_AFTERS = {
    "seconds": ("7", 7),
    "fraction": ("7.5", 7.5),
    "at once": ("0", 0),
    "spaces": (" 7 ", 7),
    "15 min": ("900", 900),
    "more than 15 min": ("901", 900),
    "very long": ("99999999999", 900),
    "infinite": ("1e999", 900),
    "negative": ("-1", None),
    "minus infinity": ("-inf", None),
    "NaN": ("nan", None),
    "garbage": ("soon", None),
    "empty": ("", None),
    "missing": (None, None),
    "date": (email.utils.formatdate(SENT + 60, usegmt=True), 60),
    "date without a zone": (email.utils.formatdate(SENT + 60), 60),
    "date of the answer": (email.utils.formatdate(SENT, usegmt=True), 0),
    "date that has passed": (email.utils.formatdate(SENT - 60, usegmt=True), None),
    "two in one": ("30,120", 120),
    "one of them is nonsense": ("30, soon", 30),
    "number and date": (f"30, {email.utils.formatdate(SENT + 60, usegmt=True)}", 60),
    "date in a year": (email.utils.formatdate(SENT + 365 * 86_400, usegmt=True), 900),
}


@pytest.mark.parametrize("dated", [True, False], ids=["Date", "no Date"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("text", "seconds"), RETRY_AFTERS.values(), ids=RETRY_AFTERS)
def test_retry_after(text, seconds, status, dated):
    """E13: `Retry-After` is taken in both forms, up to 15 min; a date is compared with the server's clock if known."""
    # Our clock is wrong where the server's is known, and right where it is not.
    clock = Clock(wall=lambda: SENT + (86_400 if dated else 0))
    with FaultServer(date=(lambda: SENT) if dated else None) as server:
        server.on_login(answer(status, None, {} if text is None else {"Retry-After": text}))
        result = failure(attempt(server.base_url, clock=clock), LoginUnavailableError, status)
    assert result.retry_after == seconds
    assert (f"Try again in {seconds:.0f} s" in result.message) if seconds else "Try again later" in result.message


@pytest.mark.parametrize("status", [200, 302, 400, 404, 422])
def test_retry_after_of_another_answer(server, status):
    """E13: what is not worth trying again has no time at which to try it."""
    server.on_login(answer(status, b"", {"Retry-After": "7"}))
    result = attempt(server.base_url)
    assert isinstance(result, Failure)
    assert result.retry_after is None


# Long, compressed and slow answers


def endless(gone, head, piece):
    """Send pieces until the client goes away, and then say so."""

    def behaviour(exchange):
        exchange.send(head)
        try:
            while not exchange.server.stopping.is_set():
                exchange.send(piece)
        except OSError:
            gone.set()

    return behaviour


CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
ENDLESS = {
    "1 GB": (b"HTTP/1.1 %d OK\r\nContent-Length: 1000000000\r\n\r\n", b"x" * 0x10000),
    "endless chunks": (b"HTTP/1.1 %d OK\r\nTransfer-Encoding: chunked\r\n\r\n", CHUNK),
    "until the end of the connection": (b"HTTP/1.1 %d OK\r\n\r\n", b"x" * 0x10000),
}
LONG = {200: LoginResponseError, 400: LoginRefusedError, 422: LoginValidationError, 404: LoginRefusedError}


@pytest.mark.parametrize("status", [*LONG, 503])
@pytest.mark.parametrize(("head", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_endless_answer(server, head, piece, status):
    """E8: an answer without end is not read to its end: the client hangs up, and the status still counts."""
    gone = threading.Event()
    server.on_login(endless(gone, head % status, piece))
    failure(attempt(server.base_url), LONG.get(status, LoginUnavailableError), status)
    assert gone.wait(WATCHDOG)


def test_bomb(server):
    """E8: an answer that unpacks to 64 MB takes the memory of neither."""
    bomb = gzip.compress(bytes(64 << 20), 1)
    server.on_login(answer(200, bomb, {"Content-Encoding": "gzip"}))
    tracemalloc.start()
    try:
        failure(attempt(server.base_url), LoginResponseError, 200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 << 20


DRIPS = {
    "head": (b"HTTP/1.1 200 OK\r\nX-Fake: ", b"x"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize(("head", "drop"), DRIPS.values(), ids=DRIPS)
def test_drip(server, head, drop):
    """E8: what `opened` is given ends an attempt whose answer comes drop by drop, each of them in time."""
    dripping, ended = threading.Event(), threading.Event()
    closes = []

    def drip(exchange):
        exchange.send(head + drop)
        dripping.set()
        ended.wait(WATCHDOG)
        exchange.send(drop)
        hang(exchange)

    server.on_login(drip)
    results = []
    thread = threading.Thread(target=lambda: results.append(attempt(server.base_url, on_open=closes.append)))
    thread.start()
    assert dripping.wait(WATCHDOG)
    assert results == []
    (close,) = closes
    close()
    ended.set()
    thread.join(WATCHDOG / 2)  # Less than the timeout of a read: it is the closing that ends it.
    assert not thread.is_alive()
    (result,) = results
    assert isinstance(result, Failure)
    assert result.kind is LoginUnavailableError


def test_closed_while_the_answer_is_given_up(server, monkeypatch):
    """E8: an answer that is too long is tidied up after, and told as such, also if the deadline passes just then."""
    closes = []

    def close_first(response):
        closes[0]()
        return [b"x" * (MAX_ANSWER_BYTES + 1)]

    server.on_login(answer(200, b"x" * 100_000))
    monkeypatch.setattr(attempting, "_raw_chunks", close_first)
    result = failure(attempt(server.base_url, on_open=closes.append), LoginResponseError, 200)
    assert "longer than" in result.message


def test_closed_while_it_connects(server, monkeypatch):
    """E8: the connection that comes about meanwhile is of no use: nothing is sent over it."""
    closes = []
    connect = socket.create_connection

    def close_then_connect(*arguments, **options):
        closes[0]()
        return connect(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", close_then_connect)
    failure(attempt(server.base_url, on_open=closes.append), LoginUnavailableError, None)
    assert server.exchanges == []


def test_closed_before_it_is_sent(server):
    """E8: an attempt that is ended before anything went out sends nothing."""
    failure(attempt(server.base_url, on_open=lambda close: close()), LoginUnavailableError, None)
    assert server.exchanges == []


TIMEOUTS = {
    "shorter than what is left": (httpx.Timeout(5), 7.0, {"connect": 5, "read": 5, "write": 5, "pool": 5}),
    "longer": (httpx.Timeout(30), 7.0, {"connect": 7, "read": 7, "write": 7, "pool": 7}),
    "none": (httpx.Timeout(None), 7.0, {"connect": 7, "read": 7, "write": 7, "pool": 7}),
    "each its own": (
        httpx.Timeout(connect=1, read=2, write=30, pool=None),
        7.0,
        {"connect": 1, "read": 2, "write": 7, "pool": 7},
    ),
}


@pytest.mark.parametrize(("timeout", "within", "expected"), TIMEOUTS.values(), ids=TIMEOUTS)
def test_timeouts(timeout, within, expected):
    """E9: no single wait is longer than what is left of the login, and none longer than the caller's timeout."""
    seen = []

    def handler(request):
        seen.append(request.extensions["timeout"])
        return httpx.Response(200, json=GOOD)

    attempt_with(handler, timeout=timeout, within=within)
    assert seen == [expected]


# Transports of the caller's


class Lent:
    """What the transports here have in common: they count, and must not be closed."""

    def __init__(self, respond):
        self.respond = respond
        self.requests = []
        self.closed = False

    def take(self, request):
        """Note the request, and answer it."""
        self.requests.append(request)
        return self.respond()


class SyncTransport(Lent, httpx.BaseTransport):
    """A transport for threads."""

    def handle_request(self, request):
        return self.take(request)

    def close(self):
        self.closed = True


class AsyncTransport(Lent, httpx.AsyncBaseTransport):
    """A transport that works on an event loop and no other way."""

    async def handle_async_request(self, request):
        await asyncio.sleep(0)  # Fails where no loop runs.
        return self.take(request)

    async def aclose(self):
        self.closed = True


class AsyncBody(httpx.AsyncByteStream):
    """A body in pieces, the last of which may be an exception, that notes whether it was closed."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.sent = 0
        self.closed = False

    async def __aiter__(self):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            self.sent += 1
            yield piece

    async def aclose(self):
        self.closed = True


def good():
    """A good answer that has been read already."""
    return httpx.Response(200, json=GOOD)


def streamed():
    """A good answer as a stream."""
    return httpx.Response(200, stream=AsyncBody([json.dumps(GOOD).encode()[:9], json.dumps(GOOD).encode()[9:]]))


def no_loop(*_):
    """Takes the place of the event loop where none is needed."""
    raise AssertionError("no event loop is needed here")


def test_sync_transport():
    """A transport of the caller's carries the login, is not closed, and needs no event loop."""
    transport = SyncTransport(good)
    for _ in range(2):
        assert attempt("https://kyc.example.com", transport=transport) == Grant(TOKEN, None)
    assert [str(request.url) for request in transport.requests] == ["https://kyc.example.com/auth/jwt/login"] * 2
    assert transport.closed is False


@pytest.mark.parametrize("respond", [good, streamed])
def test_async_transport(respond):
    """An async-only transport carries the login on a private loop, and is not closed."""
    transport = AsyncTransport(respond)
    for _ in range(2):
        assert attempt("https://kyc.example.com", transport=transport) == Grant(TOKEN, None)
    assert len(transport.requests) == 2
    assert transport.closed is False


def test_both_colours():
    """One that works both ways, as `httpx.MockTransport`, is used without an event loop."""
    assert attempt_with(lambda _: good()) == Grant(TOKEN, None)


def test_asgi():
    """`httpx.ASGITransport`, which is async only, carries the login to an application in the same process."""
    seen = {}

    async def application(scope, receive, send):
        seen["path"] = scope["path"]
        seen["body"] = (await receive())["body"]
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(GOOD).encode()})

    transport = httpx.ASGITransport(app=application)
    result = attempt("https://kyc.example.com", transport=transport, credentials=Credentials("fake", "fake"))
    assert result == Grant(TOKEN, None)
    assert seen == {"path": "/auth/jwt/login", "body": b"username=fake&password=fake&grant_type=password"}


ASYNC_FAILURES = {
    "too long": (200, {}, [b"x" * 0x8000] * 9, LoginResponseError, 3),
    "compressed": (200, {"Content-Encoding": "gzip"}, [gzip.compress(b"{}")], LoginResponseError, 1),
    "broken": (200, {}, [b"{", httpx.ReadError("fake"), b"}"], LoginUnavailableError, 1),
    "refused": (400, {}, [b'{"detail": "LOGIN_BAD_CREDENTIALS"}'], BadCredentialsError, 1),
}


@pytest.mark.parametrize(("status", "headers", "pieces", "kind", "sent"), ASYNC_FAILURES.values(), ids=ASYNC_FAILURES)
def test_async_transport_that_fails(status, headers, pieces, kind, sent):
    """E8, E12: its answers mean what they mean otherwise; they are read no further than the cap, and closed."""
    body = AsyncBody(pieces)
    transport = AsyncTransport(lambda: httpx.Response(status, headers=headers, stream=body))
    result = attempt("https://kyc.example.com", transport=transport)
    assert isinstance(result, Failure)
    assert result.kind is kind
    assert (body.sent, body.closed) == (sent, True)


RAISED = {
    "transport error": httpx.ConnectError,
    "read error": httpx.ReadError,
    "proxy error": httpx.ProxyError,
    "timeout": httpx.PoolTimeout,
    "builtin timeout": TimeoutError,
    "no httpx error": RuntimeError,
    "system error": OSError,
}
HARD = Credentials(f"{CANARY}-b\u00fc\u00df@example.com", f"{CANARY}-\"pass\" & \\ 'w\u00f6rd' +/<%")


def written(pair):
    """A login and password as a transport may show them: in the form, as bytes, in a header."""
    form = urllib.parse.urlencode({"username": pair.username, "password": pair.password}).encode()
    basic = base64.b64encode(f"{pair.username}:{pair.password}".encode()).decode()
    raw_bytes = pair.password.encode()
    return {
        "form": f"{form!r}",
        "bytes": f"{raw_bytes!r}",
        "text": f"{pair.username} {pair.password}",
        "repr": f"{pair.password!r} {pair.password!a}",
        "JSON": json.dumps({"password": pair.password}),
        "Basic": f"Proxy-Authorization: Basic {basic}",
    }


def test_request_in_the_text_of_an_exception():
    """The text of a transport's exception is shown, without the password that it repeats."""

    def raise_with_the_form(request):
        raise httpx.ConnectError(f"cannot send {request.content!r}")

    for pair in (CREDENTIALS, HARD):
        result = failure(attempt_with(raise_with_the_form, credentials=pair), LoginUnavailableError, None)
        assert "ConnectError: cannot send b'username=***&password=***&grant_type=password'" in result.message


@pytest.mark.parametrize("make", [SyncTransport, AsyncTransport])
@pytest.mark.parametrize("kind", RAISED.values(), ids=RAISED)
@pytest.mark.parametrize("spelling", written(HARD))
def test_transport_that_raises(make, kind, spelling):
    """E12: what a transport raises is a login that could not be completed. The message has its cleaned text."""

    def respond():
        raise kind(f"fake reason {written(HARD)[spelling]}")

    transport = make(respond)
    result = attempt("https://kyc.example.com", transport=transport, credentials=HARD)
    result = failure(result, LoginUnavailableError, None)
    assert f"{kind.__name__}: fake reason" in result.message
    assert "***" in result.message
    shown = everything(result)
    assert CANARY not in shown
    assert written(HARD)["Basic"][-20:] not in shown
    assert transport.closed is False


def test_transport_that_takes_too_long():
    """E9: a transport that never answers is left when the time is up."""

    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await asyncio.Event().wait()

    failure(attempt("https://kyc.example.com", transport=Hanging(), within=0.05), LoginUnavailableError, None)


def test_mounts():
    """Of the transports mounted for patterns of URLs, the login takes the one that a call would take, unclosed."""
    mounted, other = SyncTransport(good), AsyncTransport(good)
    mounts = {"https://": other, "https://kyc.example.com": mounted, "all://": None}
    assert attempt("https://kyc.example.com", mounts=mounts) == Grant(TOKEN, None)
    assert (len(mounted.requests), len(other.requests)) == (1, 0)
    assert attempt("https://other.example.com", mounts=mounts) == Grant(TOKEN, None)
    assert (len(mounted.requests), len(other.requests)) == (1, 1)
    assert (mounted.closed, other.closed) == (False, False)


def test_mount_of_nothing(server):
    """A pattern that is mounted as None, httpx's way to go past a proxy, goes past it."""
    with FaultServer() as proxy:
        mounts = {"all://": SyncTransport(no_loop), "all://127.0.0.1": None}
        assert isinstance(attempt(server.base_url, proxy=proxy.base_url, mounts=mounts), Grant)
        assert proxy.exchanges == []


# Proxies


def test_proxy(server):
    """D8: a proxy of the caller's carries the login, and one of the environment does unless `trust_env=False`."""
    with FaultServer() as proxy:
        assert isinstance(attempt(server.base_url, proxy=proxy.base_url), Grant)
        assert [exchange.target for exchange in proxy.exchanges] == [f"{server.base_url}/auth/jwt/login"]
    assert server.exchanges == []


@pytest.mark.parametrize("trust_env", [True, False])
def test_proxy_of_the_environment(server, monkeypatch, trust_env):
    """D8: a proxy of the environment carries it too, unless `trust_env=False`."""
    with FaultServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        assert isinstance(attempt(server.base_url, trust_env=trust_env), Grant)
        assert (len(proxy.exchanges), len(server.exchanges)) == ((1, 0) if trust_env else (0, 1))


# From a failure to an error


def test_error():
    """A failure makes a new error for each caller, with all that is known of it and the time of the next login."""
    result = attempt_with(lambda _: httpx.Response(400, json={"detail": "LOGIN_BAD_CREDENTIALS"}))
    errors = [result.error(retry_after=59.6, cached=False) for _ in range(2)]
    assert errors[0] is not errors[1]
    for error in errors:
        assert type(error) is BadCredentialsError
        assert str(error) == result.message
        assert (error.status_code, error.code, error.retry_after, error.cached) == (
            400,
            "LOGIN_BAD_CREDENTIALS",
            59.6,
            False,
        )
        assert (error.__cause__, error.__context__) == (None, None)


def test_error_known_from_before():
    """An error for which nothing was sent says so, and when the next login is tried."""
    result = attempt_with(lambda _: httpx.Response(503))
    error = result.error(retry_after=29.7, cached=True)
    assert type(error) is LoginUnavailableError
    assert str(error).startswith(result.message)
    assert "an earlier login" in str(error)
    assert "30 s" in str(error)
    assert (error.status_code, error.retry_after, error.cached) == (503, 29.7, True)


def test_error_in_the_configuration():
    """A failure for want of credentials is no login error, and has none of its attributes."""
    error = Failure(ConfigurationError, "Set API_LOGIN.").error(retry_after=5.0, cached=False)
    assert type(error) is ConfigurationError
    assert str(error) == "Set API_LOGIN."
    assert vars(error) == {}


def test_every_failure_says_what_to_do(server):
    """Each kind of failure ends with a sentence that tells the reader what to do."""
    for behaviour in (
        answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}),
        answer(418),
        answer(422),
        answer(503),
        raw(b""),
    ):
        server.on_login(behaviour)
        assert any(word in attempt(server.base_url).message for word in ("Check ", "Ask ", "Have ", "Try "))


def test_counted(server):
    """E12: one attempt is one request, whatever comes of it."""
    server.on_login(answer(503), answer(400), issue())
    for count in (1, 2, 3):
        attempt(server.base_url)
        assert server.login_count == count


# Any answer at all


header_names = st.sampled_from(
    [
        "Connection",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "Date",
        "Location",
        "Retry-After",
        "Set-Cookie",
        "Transfer-Encoding",
        "WWW-Authenticate",
        "X-Fake",
    ]
) | st.text(st.characters(categories=["L", "N"], max_codepoint=0x7E), min_size=1)
header_values = (
    st.text()
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
    | st.sampled_from(["gzip", "identity", "7", "1e999", "https://[", "//", "?", "application/json; charset=utf-7"])
    | st.sampled_from(["chunked", "close", "gzip, chunked", "-1", "0", CREDENTIALS.password])
)
near_tokens = st.fixed_dictionaries(
    {},
    optional={
        "access_token": st.just(TOKEN) | st.text() | st.none() | st.integers(),
        "token_type": st.sampled_from(["bearer", "BEARER", "mac", None, 5]),
        "detail": st.one_of(
            st.sampled_from(["LOGIN_BAD_CREDENTIALS", "LOGIN_USER_NOT_VERIFIED", CREDENTIALS.password]),
            st.text(),
            st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "loc": st.lists(st.text() | st.integers() | st.none() | st.floats()) | st.text() | st.none(),
                        "msg": st.text() | st.just(CREDENTIALS.password) | st.none(),
                        "type": st.text() | st.integers(),
                        "input": st.just(CREDENTIALS.password),
                        "ctx": st.just({"given": CREDENTIALS.username}),
                    },
                )
            ),
        ),
    },
)
bodies = st.binary() | near_tokens.map(lambda body: json.dumps(body).encode())
statuses = st.sampled_from([200, 200, 200, 400, 400, 422, 422, 429, 302, 503]) | st.integers(100, 999)


@given(statuses, st.lists(st.tuples(header_names, header_values), max_size=4), bodies)
def test_any_answer(status, headers, body):
    """E6, E7, E10: whatever the answer is, it becomes a grant of a usable token or a failure that shows no secret."""
    raw_headers = [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in headers]
    # As a stream, as from a socket: content would be unpacked by httpx before the login sees it.
    result = attempt_with(lambda _: httpx.Response(status, headers=raw_headers, stream=httpx.ByteStream(body)))
    if isinstance(result, Grant):
        assert status == 200
        assert is_bearer_value(result.value)
        assert json.loads(body)["access_token"] == result.value
    else:
        assert isinstance(result, Failure)
        assert isinstance(result.error(retry_after=None, cached=False), KYCClientError)
        assert CANARY not in everything(result)


@pytest.fixture(scope="module")
def wire():
    """A server that stays for all examples."""
    with FaultServer() as server:
        yield server


heads = st.builds(
    lambda version, status, phrase, headers: b"".join(
        [
            b"%s %d %s\r\n" % (version, status, phrase),
            *(f"{name}: {value}\r\n".encode("utf-8", "surrogatepass") for name, value in headers),
            b"\r\n",
        ]
    ),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b""]),
    st.integers(0, 1000) | st.just(200),
    st.binary(max_size=20) | st.just(b"OK"),
    st.lists(st.tuples(header_names, header_values), max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(st.builds(bytes.__add__, heads, bodies) | st.binary())
def test_any_bytes(wire, answer_bytes):
    """E6, E7, E8, E12: the same for whatever comes over a real socket, be it HTTP or not, and for its end."""

    def say(exchange):
        exchange.send(answer_bytes)
        exchange.close()

    wire.on_login(say)
    result = attempt(wire.base_url)
    if isinstance(result, Grant):
        assert is_bearer_value(result.value)
    else:
        assert isinstance(result, Failure)
        assert isinstance(result.error(retry_after=None, cached=False), KYCClientError)
        assert CANARY not in everything(result)
