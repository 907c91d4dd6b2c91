"""What the log and `on_event` say of a token's life, over a real socket; and that neither can disturb it."""

from __future__ import annotations

import datetime as dt
import logging
import math
import pickle
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import LoginAuth, connect, events
from kyc_client._token.flight import TokenSource, wait_sync
from kyc_client._token.loops import run_on_private_loop
from kyc_client._token.reporter import Reporter
from kyc_client.events import LoginFailed, LoginStarted, LoginSucceeded, TokenRejected
from tests.core.test_flight import UNAVAILABLE, A, Endpoint, Time
from tests.support.fault_server import answer, drip, issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client.events import Event
    from tests.support.colours import Colour
    from tests.support.fault_server import FaultServer

BAD = answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"})


class Heard(list["Event"]):
    """An `on_event` function that remembers, and can be waited for: the last event comes after the call it is about."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._more:
            self.append(event)
            self._more.notify_all()

    def wait(self, count: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: len(self) >= count, 10), self


@pytest.fixture
def heard() -> Heard:
    """Takes the events."""
    return Heard()


@pytest.fixture
def auth(server: FaultServer, credentials: kyc_client.Credentials, heard: Heard) -> LoginAuth:
    """A LoginAuth whose events are heard."""
    return LoginAuth(server.base_url, credentials=credentials, on_event=heard)


def test_events_of_a_life(server: FaultServer, auth: LoginAuth, heard: Heard, colour: Colour) -> None:
    """A cold login, a rejected token and the login that mends it; each event once, whatever the colour."""
    request = ("GET", f"{server.base_url}/api")
    colour.send(*request, client={"auth": auth})
    heard.wait(2)
    server.revoke()
    colour.send(*request, client={"auth": auth})
    heard.wait(5)
    url = server.base_url
    assert [event[:2] for event in heard] == [
        (url, "cold"),
        (url, "cold"),
        (url,),
        (url, "rejected"),
        (url, "rejected"),
    ]
    assert [type(event) for event in heard] == [
        LoginStarted,
        LoginSucceeded,
        TokenRejected,
        LoginStarted,
        LoginSucceeded,
    ]
    first, last = heard[1], heard[4]
    assert isinstance(first, LoginSucceeded)
    assert isinstance(last, LoginSucceeded)
    assert 0 < last.seconds < 10
    assert last.expires_at == auth.get_token().expires_at
    assert len(heard) == 5


def test_reason_of_a_renewal_and_of_a_login_after_a_reset(heard: Heard) -> None:
    """A token near its end, or past it, is renewed; after reset() the start is a cold one again."""
    time = Time()
    endpoint = Endpoint(time, lifetime=1000)
    source = TokenSource(endpoint, lambda: A, time.clock, reporter=Reporter("https://kyc.example", heard))
    wait_sync(source.acquire())
    heard.wait(2)
    for seconds in (850, 2000):
        time.advance(seconds)
        wait_sync(source.acquire(patient=True))
    heard.wait(6)
    source.reset()
    wait_sync(source.acquire())
    heard.wait(8)
    assert [event.reason for event in heard if isinstance(event, LoginStarted)] == [
        "cold",
        "renewal",
        "renewal",
        "cold",
    ]


def test_time_that_a_login_takes_includes_its_further_attempts(heard: Heard) -> None:
    """Two pauses of half their most (0.25 and 0.5 s), then failure: 0.75 s, and the next login a cool-down later."""
    time = Time()
    endpoint = Endpoint(time)
    endpoint.script = [UNAVAILABLE]
    source = TokenSource(endpoint, lambda: A, time.clock, reporter=Reporter("https://kyc.example", heard))
    with pytest.raises(kyc_client.LoginUnavailableError):
        wait_sync(source.acquire())
    heard.wait(2)
    assert heard == [
        ("https://kyc.example", "cold"),
        ("https://kyc.example", "cold", 0.75, kyc_client.LoginUnavailableError, 503, 1.0),
    ]


def test_token_is_told_as_rejected_once_however_many_learn_of_it(heard: Heard) -> None:
    """Late 401s of a token that has been replaced, and one that is left as it is, drop nothing: one event for all."""
    time = Time()
    source = TokenSource(Endpoint(time), lambda: A, time.clock, reporter=Reporter("https://kyc.example", heard))
    old = wait_sync(source.acquire())
    assert source.reject(old, since=math.inf, repeatable=True)
    new = wait_sync(source.acquire())
    heard.wait(5)
    assert source.reject(old, since=math.inf, repeatable=True)
    assert not source.reject(new, since=new.began, repeatable=True)
    assert [type(event) for event in heard].count(TokenRejected) == 1


def test_login_apart_has_the_reason_of_the_one_beside_it(heard: Heard) -> None:
    """A sync call that blocks the loop which the login needs makes a login of its own, for the same reason."""
    time = Time()
    endpoint = Endpoint(time)
    source = TokenSource(endpoint, lambda: A, time.clock, reporter=Reporter("https://kyc.example", heard))
    source.reject(wait_sync(source.acquire()), since=math.inf, repeatable=True)
    heard.wait(3)
    gate = threading.Event()
    endpoint.needs_loop = True
    endpoint.script = [lambda: gate.wait(10) and endpoint.grant(), endpoint.grant]
    beside = next(source.acquire(runner=lambda: run_on_private_loop))
    heard.wait(4)
    wait_sync(source.acquire())
    gate.set()
    beside.future.result(10)
    heard.wait(7)
    assert [event.reason for event in heard[3:] if not isinstance(event, TokenRejected)] == ["rejected"] * 4


def test_failure_is_told_once_and_calls_that_fail_at_once_are_not(
    server: FaultServer, auth: LoginAuth, heard: Heard, colour: Colour
) -> None:
    """Twenty callers on one refused login, and twenty more while it is remembered: one event."""
    server.on_login(BAD)
    for _ in range(2):
        colour.send_many(20, "GET", f"{server.base_url}/api", client={"auth": auth})
    heard.wait(2)
    assert [type(event) for event in heard] == [LoginStarted, LoginFailed]
    failed = heard[1]
    assert isinstance(failed, LoginFailed)
    assert (failed.error, failed.status_code) == (kyc_client.BadCredentialsError, 400)
    assert 50 < failed.retry_after <= 60


def test_missing_credentials_are_told_without_a_start(server: FaultServer, heard: Heard) -> None:
    """In a renewal in the background, nobody else would learn that the variables have gone."""
    auth = LoginAuth(server.base_url, on_event=heard)
    with pytest.raises(kyc_client.ConfigurationError):
        auth.get_token()
    heard.wait(1)
    (failed,) = heard
    assert isinstance(failed, LoginFailed)
    assert (failed.error, failed.status_code, failed.retry_after) == (kyc_client.ConfigurationError, None, 0.0)


def test_login_that_hangs_is_told_at_its_deadline(server: FaultServer, auth: LoginAuth, heard: Heard) -> None:
    """The timer tells it, once; what the login ends with later is not told."""
    server.on_login(drip(b"HTTP/1.1 200 \r\nX-Slow: ", 0.05))
    auth._source._deadline = 0.5
    with pytest.raises(kyc_client.LoginUnavailableError, match="within"):
        auth.get_token()
    heard.wait(2)
    for thread in threading.enumerate():
        if thread.name == "kyc-client-login" and thread.is_alive():
            thread.join(10)
    assert [type(event) for event in heard] == [LoginStarted, LoginFailed]


def test_log_of_a_life(
    server: FaultServer, credentials: kyc_client.Credentials, caplog: pytest.LogCaptureFixture, heard: Heard
) -> None:
    """The words that docs and alerts go by, with their levels, each ending with the API that it is about."""
    caplog.set_level(logging.DEBUG, "kyc_client")
    server.on_login(issue(), BAD)
    with httpx.Client(auth=LoginAuth(server.base_url, credentials=credentials, on_event=heard)) as client:
        client.get(f"{server.base_url}/api")
        heard.wait(2)
        server.revoke()
        with pytest.raises(kyc_client.BadCredentialsError):
            client.get(f"{server.base_url}/api")
    heard.wait(5)
    succeeded = heard[1]
    assert isinstance(succeeded, LoginSucceeded)
    assert succeeded.expires_at is not None
    assert succeeded.expires_at.tzinfo is dt.UTC
    words = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "kyc_client"]
    assert all(text.endswith(f" [{server.base_url}]") for _, text in words)
    expected = [
        ("DEBUG", "login started (cold)"),
        ("INFO", f"login succeeded (cold) in {succeeded.seconds:.3f} s; the token expires at {succeeded.expires_at}"),
        ("INFO", "token rejected by the API, and dropped"),
        ("DEBUG", "login started (rejected)"),
        ("WARNING", "login failed (rejected) after "),
    ]
    assert len(words) == len(expected)
    for (level, text), (wanted_level, wanted) in zip(words, expected, strict=True):
        assert level == wanted_level
        assert text.startswith(wanted)
    end = " s, next attempt in 60.0 s at the earliest: BadCredentialsError: The API refused the login (400 LOGIN_BAD_"
    assert end in words[-1][1]


def test_token_without_an_end_is_logged_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """An opaque token has no time to name."""
    caplog.set_level(logging.INFO, "kyc_client")
    Reporter("https://kyc.example").login_succeeded("cold", 0.5, None)
    text = "login succeeded (cold) in 0.500 s; the token does not say when it expires [https://kyc.example]"
    assert caplog.messages == [text]


@pytest.mark.parametrize("trouble", [RuntimeError("metrics are down"), ValueError()], ids=repr)
def test_failing_function_is_logged_and_disturbs_nobody(
    server: FaultServer,
    credentials: kyc_client.Credentials,
    caplog: pytest.LogCaptureFixture,
    colour: Colour,
    trouble: Exception,
) -> None:
    """Whatever `on_event` raises, every call is answered; each failure is a warning with its traceback."""
    called = threading.Semaphore(0)

    def broken(event: Event) -> None:
        called.release()
        raise trouble

    auth = LoginAuth(server.base_url, credentials=credentials, on_event=broken)
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    server.revoke()
    assert colour.send("GET", f"{server.base_url}/api", client={"auth": auth}).status_code == 200
    assert all(called.acquire(timeout=10) for _ in range(5))
    warnings = [record for record in caplog.records if record.getMessage() == "on_event failed at TokenRejected"]
    assert len(warnings) == 1
    assert warnings[0].exc_info is not None
    assert warnings[0].exc_info[1] is trouble


def test_function_may_use_the_auth_itself(server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """It is called outside of locks, and after those who wait have been woken: `get_token()` in it does not hang."""
    values: list[str] = []
    done = threading.Event()

    def curious(event: Event) -> None:
        if isinstance(event, LoginSucceeded):
            thread = threading.Thread(target=lambda: values.append(auth.get_token().value))
            thread.start()
            thread.join(10)
            values.append(auth.get_token().value)
            done.set()

    auth = LoginAuth(server.base_url, credentials=credentials, on_event=curious)
    token = auth.get_token().value
    assert done.wait(20)
    assert values == [token, token]
    assert server.login_count == 1


async def _async_function(event: Event) -> None:
    """What nobody would await."""


class _AsyncCallable:
    """Likewise, if it is less plain to see."""

    async def __call__(self, event: Event) -> None:
        """Be awaited by nobody."""


@pytest.mark.parametrize(
    "wrong", [_async_function, _AsyncCallable(), "print", 5], ids=["async", "async object", "text", "number"]
)
@pytest.mark.parametrize("maker", [connect, LoginAuth])
def test_what_is_no_function_is_refused(
    maker: Callable[..., Any], wrong: Any, credentials: kyc_client.Credentials
) -> None:
    """At once, and not at the first login."""
    with pytest.raises(TypeError) as caught:
        maker("https://kyc.example.com", credentials=credentials, on_event=wrong)
    assert str(caught.value) == "on_event= takes a plain function of one argument, the event."


def test_connect_hands_the_function_on(server: FaultServer, credentials: kyc_client.Credentials, heard: Heard) -> None:
    """`connect(on_event=…)` hears what its LoginAuth does."""
    with connect(server.base_url, credentials=credentials, on_event=heard) as client:
        client.get_httpx_client().get("/api")
    heard.wait(2)
    assert [type(event) for event in heard] == [LoginStarted, LoginSucceeded]


def test_events_are_frozen_and_can_be_pickled() -> None:
    """They may travel to another process, and nobody who hears one can change it for the next."""
    event = LoginFailed("https://kyc.example", "cold", 0.5, kyc_client.BadCredentialsError, 400, 60.0)
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301 - our own bytes
    with pytest.raises(AttributeError):
        event.reason = "renewal"  # type: ignore[misc]


@pytest.mark.parametrize("name", events.__all__)
def test_events_are_documented(name: str) -> None:
    """Each has a docstring of its own, and each field of it a line there."""
    value = getattr(events, name)
    if name in {"Event", "Reason"}:
        return
    assert all(f"{field}: " in value.__doc__ for field in value._fields)
