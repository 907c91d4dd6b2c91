"""Tokens: the windows of their life, the expiry that they tell, and what may pass for one."""

from __future__ import annotations

import base64
import json
import string
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kyc_client
from kyc_client._clock import Clock
from kyc_client._login.wire import is_bearer_value, read_expiry, read_http_date
from kyc_client._token.lease import Lease, Phase, lifetime

# When the server issues the tokens of these tests, and what the monotonic clock shows then.
ISSUED = 1_900_000_000
STARTED = 5_000.0
INFINITY = float("inf")
LAST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
DAY = 24 * 3600
ORDER = [Phase.FRESH, Phase.SOFT, Phase.HARD, Phase.EXPIRED]


def jwt_of(payload: bytes) -> str:
    """A token of three parts with this payload, plainly a fake."""
    return f"fake-header.{base64.urlsafe_b64encode(payload).rstrip(b'=').decode()}.fake-signature"


def jwt(**claims: object) -> str:
    """A token with these claims."""
    return jwt_of(json.dumps(claims).encode())


def lease_of(life: float, *, jitter: float = 0.0, skew: float = 0.0) -> Lease:
    """A lease of so many seconds, on a machine whose clock is ahead of the server's by `skew`."""
    token = jwt(exp=ISSUED + life)
    return Lease(token, issued_at=ISSUED, monotonic=STARTED, wall=ISSUED + skew, jitter=jitter)


def after(lease: Lease, seconds: float, *, skew: float = 0.0) -> Phase:
    """Its phase so many seconds after the login started, by both clocks."""
    return lease.phase(STARTED + seconds, ISSUED + skew + seconds)


# Windows


# lifetime, jitter, age, phase
BOUNDARIES = {
    "1 h: at the start": (3600, 0, 0, Phase.FRESH),
    "1 h: just before the soft window of 300 s": (3600, 0, 3299.99, Phase.FRESH),
    "1 h: at the soft window": (3600, 0, 3300, Phase.SOFT),
    "1 h: just before the hard window of 30 s": (3600, 0, 3569.99, Phase.SOFT),
    "1 h: at the hard window": (3600, 0, 3570, Phase.HARD),
    "1 h: a moment before its end": (3600, 0, 3599.99, Phase.HARD),
    "1 h: a second before its end": (3600, 0, 3599, Phase.HARD),
    "1 h: at its end": (3600, 0, 3600, Phase.EXPIRED),
    "1 h: a second after": (3600, 0, 3601, Phase.EXPIRED),
    "1 h: most jitter, 240 s before its end": (3600, 0.999999, 3359.99, Phase.FRESH),
    "1 h: most jitter, less than that": (3600, 0.999999, 3360.01, Phase.SOFT),
    "1 h: half the jitter, 270 s before its end": (3600, 0.5, 3329.99, Phase.FRESH),
    "1 h: half the jitter, less than that": (3600, 0.5, 3330.01, Phase.SOFT),
    "1 h: jitter does not move the hard window": (3600, 0.999999, 3569.99, Phase.SOFT),
    "1500 s: 20 % and 300 s are the same": (1500, 0, 1199.99, Phase.FRESH),
    "1500 s: from there on": (1500, 0, 1200, Phase.SOFT),
    "600 s: 5 % and 30 s are the same": (600, 0, 569.99, Phase.SOFT),
    "600 s: from there on": (600, 0, 570, Phase.HARD),
    "100 s: just before the last 20 %": (100, 0, 79.99, Phase.FRESH),
    "100 s: in the last 20 %": (100, 0, 80.01, Phase.SOFT),
    "100 s: just before the last 5 %": (100, 0, 94.99, Phase.SOFT),
    "100 s: in the last 5 %": (100, 0, 95.01, Phase.HARD),
    "100 s: at its end": (100, 0, 100, Phase.EXPIRED),
    "3 s: used for its first 80 %": (3, 0, 2.39, Phase.FRESH),
    "3 s: soft": (3, 0, 2.41, Phase.SOFT),
    "3 s: hard": (3, 0, 2.86, Phase.HARD),
    "3 s: at its end": (3, 0, 3, Phase.EXPIRED),
    "30 days: the soft window stays 300 s": (30 * DAY, 0, 30 * DAY - 301, Phase.FRESH),
    "30 days: in it": (30 * DAY, 0, 30 * DAY - 299, Phase.SOFT),
    "30 days: the hard window stays 30 s": (30 * DAY, 0, 30 * DAY - 31, Phase.SOFT),
    "30 days: in it too": (30 * DAY, 0, 30 * DAY - 29, Phase.HARD),
}


@pytest.mark.parametrize(("life", "jitter", "age", "phase"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_boundaries(life, jitter, age, phase):
    """F6, F7: each window begins where the policy says."""
    assert after(lease_of(life, jitter=jitter), age) is phase


@pytest.mark.parametrize("skew", [-30 * DAY, -0.5, 3, 30 * DAY], ids=["month behind", "behind", "ahead", "month ahead"])
@pytest.mark.parametrize(("life", "jitter", "age", "phase"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_boundaries_with_a_wrong_clock(life, jitter, age, phase, skew):
    """F3, F4: a local clock that is wrong, but goes on evenly, moves no window."""
    assert after(lease_of(life, jitter=jitter, skew=skew), age, skew=skew) is phase


CLOCKS = {
    "set back by a day": (3600, -DAY, Phase.EXPIRED),
    "standing still": (0, 3600, Phase.EXPIRED),
    "monotonic alone, soft": (3400, 0, Phase.SOFT),
    "wall alone, soft": (0, 3400, Phase.SOFT),
    "monotonic alone, hard": (3580, 0, Phase.HARD),
    "wall alone, hard": (0, 3580, Phase.HARD),
    "wall behind the monotonic": (3580, 3400, Phase.HARD),
    "monotonic behind the wall": (3400, 3580, Phase.HARD),
    "wall before the login": (10, -10, Phase.FRESH),
}


@pytest.mark.parametrize(("monotonic", "wall", "phase"), CLOCKS.values(), ids=CLOCKS)
def test_the_older_age_counts(monotonic, wall, phase):
    """F5: the age is the larger of two clocks': one may stand still in a suspended machine, the other be set back."""
    assert lease_of(3600).phase(STARTED + monotonic, ISSUED + wall) is phase


lives = st.integers(1, 30 * DAY)
jitters = st.floats(0, 1, exclude_max=True)


@given(lives, jitters, st.lists(st.floats(0, 1.1), min_size=2), st.sampled_from(["both", "monotonic", "wall"]))
def test_phases_are_in_order(life, jitter, shares, clock):
    """As time goes on, by either clock or by both, a token only ever gets older: fresh, soft, hard, expired."""
    lease = lease_of(life, jitter=jitter)
    phases = [
        lease.phase(
            STARTED + (share * life if clock != "wall" else 0),
            ISSUED + (share * life if clock != "monotonic" else 0),
        )
        for share in sorted([0.0, *shares, 1.1])
    ]
    assert phases == sorted(phases, key=ORDER.index)
    assert (phases[0], phases[-1]) == (Phase.FRESH, Phase.EXPIRED)


@given(lives, jitters, st.floats(0, 1.1))
def test_windows(life, jitter, share):
    """F6: for lifetimes of 1 s to 30 days and any jitter, the windows are where the policy has them, or nearly."""
    left = life - share * life
    soft, hard = min(300, life / 5), min(30, life / 20)
    if left > soft * 1.001:
        expected = {Phase.FRESH}
    elif left > soft * 0.799:
        expected = {Phase.FRESH, Phase.SOFT}  # Up to a fifth of the soft window is jitter.
    elif left > hard * 1.001:
        expected = {Phase.SOFT}
    elif left > hard * 0.999:
        expected = {Phase.SOFT, Phase.HARD}
    elif left > life * 0.001:
        expected = {Phase.HARD}
    else:
        expected = {Phase.HARD, Phase.EXPIRED} if left > 0 else {Phase.EXPIRED}
    assert after(lease_of(life, jitter=jitter), share * life) in expected


@given(lives, jitters, jitters)
def test_jitter(life, one, another):
    """F9: more jitter means a later renewal, never an earlier one, by at most a fifth of the soft window."""
    less, more = sorted([one, another])
    fresh = [lease_of(life, jitter=jitter).fresh_until_monotonic - STARTED for jitter in (0, less, more)]
    assert fresh == sorted(fresh)
    assert fresh[-1] - fresh[0] <= min(300, life / 5) / 5 + 1e-6


@given(lives, jitters)
def test_short_cut(life, jitter):
    """The two times that the hot path compares with end the fresh phase, on each clock."""
    lease = lease_of(life, jitter=jitter)
    assert after(lease, 0) is Phase.FRESH
    assert lease.phase(lease.fresh_until_monotonic, ISSUED) is not Phase.FRESH
    assert lease.phase(STARTED, lease.fresh_until_wall) is not Phase.FRESH


# Lifetime


# exp, Date, local clock at the start of the login, lifetime
LIFETIMES = {
    "by the server's clock": (ISSUED + 3600, ISSUED, ISSUED + 7777, 3600),
    "local clock a day behind": (ISSUED + 3600, ISSUED, ISSUED - DAY, 3600),
    "no Date": (ISSUED + 3600, None, ISSUED + 600.5, 2999.5),
    # A Date is cut to whole seconds, and a server may write it anew only once a second.
    "local clock in the Date's second": (ISSUED + 3, ISSUED, ISSUED + 0.75, 2.25),
    "local clock at the start of it": (ISSUED + 3, ISSUED, ISSUED, 3),
    "local clock ahead of a Date that lags": (ISSUED + 3, ISSUED, ISSUED + 2, 1),
    "local clock ahead by more than a Date lags": (ISSUED + 3, ISSUED, ISSUED + 2.5, 3),
    "local clock ahead by 2.1 s, which no Date lags": (ISSUED + 3, ISSUED, ISSUED + 2.1, 3),
    "local clock a moment behind": (ISSUED + 3, ISSUED, ISSUED - 0.25, 3),
    "a moment left": (ISSUED + 1, ISSUED, ISSUED + 0.75, 0.25),
    "expired on arrival": (ISSUED - 1, ISSUED, ISSUED, INFINITY),
    "expires on arrival": (ISSUED, ISSUED, ISSUED, INFINITY),
    "expired by the local clock, no Date": (ISSUED, None, ISSUED + 1, INFINITY),
    "expired within the Date's second": (ISSUED + 0.5, ISSUED, ISSUED + 0.75, INFINITY),
    "no exp": (None, ISSUED, ISSUED, INFINITY),
    "neither": (None, None, ISSUED, INFINITY),
}


@pytest.mark.parametrize(("expiry", "issued_at", "wall", "life"), LIFETIMES.values(), ids=LIFETIMES)
def test_lifetime(expiry, issued_at, wall, life):
    """A lifetime is `exp` less the server's `Date`, or the local clock's; a token dead on arrival has none known."""
    assert lifetime(expiry, issued_at, wall) == life


UNKNOWN = {
    "opaque": "fake-opaque-token",
    "no exp": jwt(sub="fake-user"),
    "expired on arrival": jwt(exp=ISSUED - 3600),
    "exp of true": jwt(exp=True),
}


@pytest.mark.parametrize("token", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_lifetime(token):
    """F2, F3: a token whose lifetime is not known stays fresh, whatever the clocks say, until the API refuses it."""
    lease = Lease(token, issued_at=ISSUED, monotonic=STARTED, wall=ISSUED, jitter=0.5)
    for seconds in (0, 3600, 100 * 365 * DAY):
        assert after(lease, seconds) is Phase.FRESH
    assert lease.fresh_until_monotonic == lease.fresh_until_wall == INFINITY


def test_expires_at():
    """What the caller sees is the token's own `exp`, in UTC and by the server's clock, also if it has passed."""
    for exp in (ISSUED + 3600, ISSUED - 3600):
        lease = Lease(jwt(exp=exp), issued_at=None, monotonic=STARTED, wall=ISSUED + DAY, jitter=0)
        assert lease.token.expires_at == datetime.fromtimestamp(exp, UTC)
        assert lease.token.expires_at.tzinfo is UTC
    assert Lease("fake", issued_at=None, monotonic=0, wall=0, jitter=0).token.expires_at is None


def test_generations():
    """Two logins within one second bring the same token; they are two leases all the same."""
    one, another = lease_of(3600), lease_of(3600)
    assert one is not another
    assert one.token == another.token


# The expiry that a token tells


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
    """F1, F2: a finite number of seconds within the calendar is an expiry; anything else is none known, no error."""
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
    """F1, F2: nothing in a token makes reading it raise, or yields anything but a moment of the calendar or None."""
    expiry = read_expiry(token)
    assert expiry is None or (isinstance(expiry, float) and 0 < expiry <= LAST)


@given(tokens, st.none() | st.floats(-1e11, 1e12), st.floats(0, 1e10), st.floats(0, 1e12), jitters)
def test_any_token_has_a_lease(token, issued_at, monotonic, wall, jitter):
    """Whatever the token says and the clocks show, there is a lease, and it has a phase."""
    lease = Lease(token, issued_at=issued_at, monotonic=monotonic, wall=wall, jitter=jitter)
    assert lease.phase(monotonic, wall) in ORDER[:3]  # At the moment of its arrival it has not expired.


@given(tokens.filter(is_bearer_value))
def test_any_token_costs_one_login(token):
    """F1, F2: whatever a token says, ten calls cost one login and get it."""
    logins = []

    def log_in(request):
        logins.append(request)
        return httpx.Response(200, json={"access_token": token, "token_type": "bearer"})

    credentials = kyc_client.Credentials("fake-user", "fake-password-for-tests")
    transport = httpx.MockTransport(log_in)
    auth = kyc_client.LoginAuth("https://kyc.example.com", credentials=credentials, transport=transport, verify=False)
    assert {auth.get_token().value for _ in range(10)} == {token}
    assert len(logins) == 1


@given(st.integers(1, LAST))
def test_read_expiry_exactly(expiry):
    """Every whole second of the calendar is read exactly."""
    assert read_expiry(jwt(exp=expiry)) == expiry


# What may pass for a token


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
    """A token is made of RFC 6750's characters, at least one and at most 16 KiB of them."""
    assert is_bearer_value(value) is usable


@given(st.text() | st.text(st.characters(max_codepoint=0x7F)) | st.text(string.ascii_letters + "-._~+/= \n"))
def test_bearer_fits_a_header(text):
    """What passes for a token can be sent in a header and is alone there; all of it is what arrives."""
    allowed = set(string.ascii_letters + string.digits + "-._~+/")
    core = text.rstrip("=")
    assert is_bearer_value(text) is (core != "" and set(core) <= allowed)
    if is_bearer_value(text):
        request = httpx.Request("GET", "https://kyc.example.com", headers={"Authorization": f"Bearer {text}"})
        assert (b"Authorization", f"Bearer {text}".encode("ascii")) in request.headers.raw


# Dates of HTTP


# RFC 9110, section 5.6.7: its own example in the three forms that have to be understood, and in some others.
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
    """An HTTP date is read in each of its forms; what is none is None."""
    assert read_http_date(text) == seconds


@pytest.fixture
def _india(monkeypatch):
    """A machine that does not keep UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_india")
@pytest.mark.parametrize(("text", "seconds"), DATES.values(), ids=DATES)
def test_http_date_elsewhere(text, seconds):
    """It means the same wherever the machine is."""
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
    """Nothing in a header makes reading it raise."""
    seconds = read_http_date(text)
    assert seconds is None or abs(seconds) < 1e12


# The real clock


def test_clock():
    """By default the clock is Python's own, and its pause ends at once when the event has come."""
    clock = Clock()
    assert time.monotonic() <= clock.monotonic() <= time.monotonic()
    assert time.time() <= clock.wall() <= time.time()
    assert 0 <= clock.random() < 1
    event = threading.Event()
    assert clock.pause(event, 0) is False
    event.set()
    assert clock.pause(event, 3600) is True


def test_header_is_masked_in_both_of_its_forms() -> None:
    """H3: the text that httpx is given, and the bytes that it hands on, are the token's, and do not show it."""
    header = Lease("fake.token", issued_at=None, monotonic=0.0, wall=0.0, jitter=0.0).authorization
    assert (header, header.encode()) == ("Bearer fake.token", b"Bearer fake.token")
    assert f"{header!r} {header.encode()!r}" == "'***' b'***'"
