"""What the log and `on_event` say about a token's life, over a real socket, and that neither can disturb it."""

from __future__ import annotations

import datetime as dt
import logging
import pickle
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import kyc_client
from kyc_client import LoginAuth, connect, events
from kyc_client._login.outcome import Failure
from kyc_client._token.reporter import Reporter
from kyc_client._token.source import TokenSource
from kyc_client.events import LoginFailed, LoginStarted, LoginSucceeded, TokenRejected
from tests.support.clocks import Time
from tests.support.endpoint import A, Endpoint, settle, take
from tests.support.events import Heard
from tests.support.fault_server import answer, drip, issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client.events import Event
    from tests.support.colours import Colour
    from tests.support.fault_server import FaultServer

BAD = answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"})


@pytest.fixture
def heard() -> Heard:
    """Takes the events."""
    return Heard()


@pytest.fixture
def auth(server: FaultServer, credentials: kyc_client.Credentials, heard: Heard) -> LoginAuth:
    """A LoginAuth whose events are heard."""
    return LoginAuth(server.base_url, credentials=credentials, on_event=heard)


def test_events_of_a_life(server: FaultServer, auth: LoginAuth, heard: Heard, colour: Colour) -> None:
    """A cold login, a rejected token and the login after it: each event once, in every colour."""
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


def quiet(heard: Heard, time: Time) -> tuple[TokenSource, Endpoint]:
    """A source whose events are heard, and its endpoint."""
    endpoint = Endpoint(time)
    return TokenSource(endpoint, lambda: A, time.clock, reporter=Reporter("https://kyc.example", heard)), endpoint


def test_reasons(heard: Heard) -> None:
    """The first login is cold. In the soft phase and after the end it is a renewal. After reset() it is cold again."""
    time = Time()
    source, _ = quiet(heard, time)
    take(source)
    for seconds in (850, 2000):
        time.advance(seconds)
        take(source)
        settle(source)
    assert source.rejected(take(source))
    take(source)
    source.reset()
    take(source)
    heard.wait(11)
    assert [event.reason for event in heard if isinstance(event, LoginStarted)] == [
        "cold",
        "renewal",
        "renewal",
        "rejected",
        "cold",
    ]


def test_time_that_a_login_takes_includes_its_further_attempts(heard: Heard) -> None:
    """Two pauses of 0.25 and 0.5 s, and then failure: it took 0.75 s, and the next one may come after the cool-down."""
    source, endpoint = quiet(heard, Time())
    endpoint.script = [Failure(kyc_client.LoginUnavailableError, "503.", {"status_code": 503})]
    with pytest.raises(kyc_client.LoginUnavailableError):
        take(source)
    heard.wait(2)
    assert heard == [
        ("https://kyc.example", "cold"),
        ("https://kyc.example", "cold", 0.75, kyc_client.LoginUnavailableError, 503, 1.0),
    ]


def test_dropped_token_is_told_once(heard: Heard) -> None:
    """A late 401 of a token that has been replaced drops nothing, and neither does one without a drop left."""
    source, _ = quiet(heard, Time())
    for _ in range(3):
        old = take(source)
        assert source.rejected(old)
        assert source.rejected(old)
    last = take(source)
    assert source.rejected(old)
    assert not source.rejected(last)
    heard.wait(11)
    assert [type(event) for event in heard].count(TokenRejected) == 3


def test_outcome_of_a_login_begun_before_a_reset_is_told(heard: Heard) -> None:
    """It was sent, so metrics count it, although nobody gets its token. No cool-down follows from its failure."""
    source, endpoint = quiet(heard, Time())

    def refuse() -> Failure:
        source.reset()
        return Failure(kyc_client.BadCredentialsError, "Wrong.", {"status_code": 400})

    endpoint.script = [refuse, endpoint.grant]
    take(source)
    heard.wait(4)
    # Those who wait are woken first, so the next login may start before this one is told.
    assert [type(event) for event in heard if not isinstance(event, LoginFailed)] == [
        LoginStarted,
        LoginStarted,
        LoginSucceeded,
    ]
    (failed,) = [event for event in heard if isinstance(event, LoginFailed)]
    assert failed[-2:] == (400, 0.0)


def test_failure_is_told_once_and_calls_that_fail_at_once_are_not(
    server: FaultServer, auth: LoginAuth, heard: Heard, colour: Colour
) -> None:
    """Twenty callers of one refused login, and twenty more while it is remembered, make one event."""
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
    """Nobody else would learn that the variables are gone, if it is a renewal in the background."""
    auth = LoginAuth(server.base_url, on_event=heard)
    with pytest.raises(kyc_client.ConfigurationError):
        auth.get_token()
    heard.wait(1)
    (failed,) = heard
    assert isinstance(failed, LoginFailed)
    assert (failed.error, failed.status_code, failed.retry_after) == (kyc_client.ConfigurationError, None, 0.0)


def test_login_that_hangs_is_told_at_its_deadline(server: FaultServer, auth: LoginAuth, heard: Heard) -> None:
    """The watch tells it, once. How the login ends later is not told."""
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
    """The words that docs and alerts use, with their levels. Each ends with the API that it is about."""
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
    """An opaque token has no time to show."""
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
    """Whatever `on_event` raises, every call is answered. Each failure is a warning with its traceback."""
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
    """It is called without a lock, and after those who wait have been woken. So `get_token()` in it does not hang."""
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
    """The same, where it is harder to see."""

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
    """They may go to another process, and nobody who hears one can change it for the next."""
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
