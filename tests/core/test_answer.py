"""What a transport raises that is not about the network: it comes back as a value, without frames."""

from __future__ import annotations

import asyncio
import base64
import gc
import html
import json
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus

import httpx
import pytest
import trio

from kyc_client import Credentials
from kyc_client._clock import Clock
from kyc_client._login.answer import Answer, spell
from kyc_client._login.connection import make_connection
from kyc_client._login.endpoint import USER_AGENT, LoginEndpoint
from kyc_client._login.gateway import unfit_headers
from kyc_client._login.outcome import Failure, Grant
from kyc_client._login.raised import Raised, described

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "canary-a7e1"
PAIR = Credentials(f"{CANARY}-login", f"{CANARY}-password")
URL = httpx.URL("https://kyc.example.com")
GOOD = {"access_token": "fake-token", "token_type": "bearer"}


def log_in(handler: Any, headers: Any = None, transport: Any = None, on_open: Any = None) -> Grant | Failure | Raised:
    """One login that the handler answers."""
    transport = transport or httpx.MockTransport(handler)
    connection, _ = make_connection(URL, {"transport": transport, "verify": False}, transport)
    endpoint = LoginEndpoint(URL, httpx.Timeout(5), connection, None if headers is None else httpx.Headers(headers))
    return endpoint.attempt(PAIR, within=5, clock=Clock(), on_open=on_open or (lambda _: None))


class NotMockedError(AssertionError):
    """As respx has it."""


class Stubborn(BaseException):
    """An exception that cannot be copied."""

    def __init__(self, *, needed: str) -> None:
        super().__init__(needed)


class LyingError(AssertionError):
    """An exception that is copied into another one."""

    def __reduce__(self) -> Any:
        return ValueError, ("fake",)


class MuteError(AssertionError):
    """An exception that cannot be shown."""

    def __str__(self) -> NoReturn:
        raise KeyError


RAISED: list[BaseException] = [
    AssertionError("not mocked"),
    NotMockedError("not mocked"),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    asyncio.CancelledError(),
    pytest.fail.Exception("fake"),
    Stubborn(needed="fake"),
    LyingError("fake"),
    MuteError("fake"),
    BaseExceptionGroup("fake", [KeyboardInterrupt(), BaseExceptionGroup("inner", [SystemExit()])]),
]


def frames_of(error: BaseException) -> list[Any]:
    """All that leads from an exception to frames or other exceptions."""
    inner: tuple[BaseException, ...] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    own = [error.__traceback__, error.__context__, error.__cause__]
    return [one for one in own if one is not None] + [one for each in inner for one in frames_of(each)]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_raised(error: BaseException, asynchronous: bool) -> None:  # noqa: FBT001 - a parameter
    """It does not leave the attempt. The result makes a copy for each caller, whose frames are cut."""
    if asynchronous and isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit | BaseExceptionGroup):
        pytest.skip("asyncio stops the loop for these")

    def fail(request: httpx.Request) -> NoReturn:
        assert request.content
        raise error from ValueError(CANARY)

    async def fail_later(request: httpx.Request) -> NoReturn:
        fail(request)

    result = log_in(fail_later if asynchronous else fail)
    assert isinstance(result, Raised)
    assert result.original is error
    assert result.kind is type(error)
    assert result.message.startswith(type(error).__name__)
    assert (result.details, result.retry_after) == ({}, None)
    for _ in range(2):
        copy = result.error(retry_after=None, cached=False)
        assert type(copy) is type(error)
        assert copy.args == error.args
        assert frames_of(copy) == frames_of(error) == []
        assert (copy is error) is isinstance(error, Stubborn | LyingError)
        with pytest.raises(type(error)):  # A caller raises it. The next one gets it clean again.
            raise copy


def test_text_of_a_raised_one_is_cleaned() -> None:
    """The message, which is for logs, shows no password."""

    def fail(request: httpx.Request) -> NoReturn:
        raise NotMockedError(f"{request.content!r} not mocked")

    result = log_in(fail)
    assert isinstance(result, Raised)
    assert "not mocked" in result.message
    assert CANARY not in result.message


def test_what_a_raised_one_holds_is_cut_too() -> None:
    """Exceptions in its arguments and attributes lose their frames, and notes with the password go."""

    def fail(request: httpx.Request) -> NoReturn:
        try:
            raise ValueError(request.method)  # noqa: TRY301 - it has to have frames
        except ValueError as inner:
            error = AssertionError("not mocked", inner)
            error.inner = inner  # type: ignore[attr-defined]
            error.add_note("kept")
            error.add_note(request.content.decode())
            raise error from None

    result = log_in(fail)
    assert isinstance(result, Raised)
    error: Any = result.error(retry_after=None, cached=False)
    assert error.args[1].__traceback__ is error.inner.__traceback__ is None
    assert error.__notes__ == ["kept"]


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# What becomes of a password in a text: how others write it.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "form": quote_plus,
    "form in small letters": lambda text: re.sub("%..", lambda match: match[0].lower(), quote_plus(text)),
    "URL": lambda text: quote(text, safe=""),
    "HTML": html.escape,
    "HTML with numbers": lambda text: text.replace("&", "&amp;").replace("'", "&#39;").replace('"', "&#34;"),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: _json(text)[1:-1],
    "JSON in JSON": lambda text: _json(_json(text))[3:-3],
    "repr": repr,
    "repr of a repr": lambda text: repr(repr(text)),
    "repr of bytes": lambda text: repr(text.encode()),
    "UTF-8 read as Latin-1": lambda text: text.encode().decode("latin-1"),
    "Base64": lambda text: base64.b64encode(text.encode()).decode(),
    "Base64 of the pair": lambda text: base64.b64encode(f"fake-user:{text}".encode()).decode(),
    "cut": lambda text: text[:12],
    "cut in a form": lambda text: quote_plus(text)[:14],
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_of_the_password(spelling: Callable[[str], str]) -> None:
    """H3: no part of six letters of it stays in the message, however it was written."""
    password = "pä\"ss/wörd'x+&1-canary"
    secrets = spell(Credentials("fake-user", password))
    shown = described(ValueError(f"before {spelling(password)} after"), secrets)
    assert shown.startswith("ValueError: before ")
    parts = [spelling(password)[at : at + 6] for at in range(len(spelling(password)) - 6)]
    assert [part for part in parts if part in shown and "after" not in part] == []


def test_trio_cancelled() -> None:
    """A task's cancellation on trio, which cannot be copied, comes back too."""

    async def main() -> BaseException:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                return Raised(error).error(retry_after=None, cached=False)
        raise AssertionError

    assert isinstance(trio.run(main), trio.Cancelled)


def test_interrupt_where_the_attempt_begins() -> None:
    """An interrupt at another place comes back as well."""

    def interrupt(_: object) -> NoReturn:
        raise KeyboardInterrupt

    assert isinstance(log_in(lambda _: httpx.Response(200), on_open=interrupt), Raised)


def test_async_transport_where_a_loop_runs() -> None:
    """On a thread with a running loop, an async-only transport is a clear failure."""

    class AsyncOnly(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise AssertionError(request)

    async def main() -> Grant | Failure | Raised:
        return log_in(None, transport=AsyncOnly())

    for run in (asyncio.run, trio.run):
        result = run(main() if run is asyncio.run else main)  # type: ignore[operator]
        assert isinstance(result, Failure)
        assert "RuntimeError: " in result.message
        assert "loop" in result.message


class Callable:
    """A handler that is an object."""

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer with a token."""
        assert request.method == "POST"
        return httpx.Response(200, json=GOOD)


def test_async_handler_that_is_an_object() -> None:
    """A mock's async handler may be an object."""
    assert isinstance(log_in(Callable()), Grant)


def test_error_after_the_answer_is_complete() -> None:
    """The first flaw of an answer that has been read is the one that counts."""
    answer = Answer()
    answer.complete = True
    answer.flaw = "it is compressed"
    answer.note(KeyError(CANARY), [])
    assert answer.flaw == "it is compressed"
    answer.flaw = None
    answer.note(RuntimeError(CANARY), [])
    assert answer.flaw == "RuntimeError"


# Several headers


@pytest.mark.parametrize(
    ("values", "seconds"), [(["30", "120"], 120), (["120", "soon"], 120), (["-1", "nan"], None), (["1,2", "3, 4"], 4)]
)
def test_retry_after_twice(values: list[str], seconds: float | None) -> None:
    """Of several `Retry-After`, the largest counts."""
    headers = [("Retry-After", value) for value in values]
    result = log_in(lambda _: httpx.Response(503, headers=headers))
    assert isinstance(result, Failure)
    assert result.retry_after == seconds


@pytest.mark.parametrize(("codings", "kind"), [(["identity", "identity"], Grant), (["identity", "gzip"], Failure)])
def test_content_encoding_twice(codings: list[str], kind: type[object]) -> None:
    """An encoding that is named again is still none, and a real one is found beside it."""
    headers = [("Content-Encoding", coding) for coding in codings]
    body = httpx.ByteStream(b'{"access_token": "fake", "token_type": "bearer"}')
    assert isinstance(log_in(lambda _: httpx.Response(200, headers=headers, stream=body)), kind)


# Headers for a gateway


def test_headers() -> None:
    """A gateway's headers go out with the login. Those of the form and of the answer stay ours."""
    seen: list[httpx.Headers] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json=GOOD)

    theirs = {"X-Api-Key": "fake-key", "User-Agent": "fake/1", "host": "gateway", "accept": "text/html"}
    theirs |= {"Content-Type": "text/plain", "content-length": "5", "Transfer-Encoding": "chunked", "Connection": "x"}
    for headers in (theirs, None):
        assert isinstance(log_in(handler, headers), Grant)
    with_theirs, plain = seen
    assert (with_theirs["X-Api-Key"], with_theirs["User-Agent"], with_theirs["Host"]) == (
        "fake-key",
        "fake/1",
        "gateway",
    )
    assert (plain["User-Agent"], plain["Host"]) == (USER_AGENT, "kyc.example.com")
    for headers in seen:
        assert headers["Accept"] == "application/json"
        assert headers["Accept-Encoding"] == "identity"
        assert headers["Connection"] == "close"
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert headers["Content-Length"] not in {"5", "0"}
        assert "Transfer-Encoding" not in headers
        assert len(headers.raw) == len(set(headers))


def test_value_of_a_header_in_an_answer() -> None:
    """The key of a gateway that the gateway repeats is shown as little as the password."""
    body = {"detail": [{"loc": ["header"], "msg": f"unknown key {CANARY}-key", "type": "x"}]}
    result = log_in(lambda _: httpx.Response(422, json=body), {"X-Api-Key": f"{CANARY}-key", "X-Tenant": "u"})
    assert isinstance(result, Failure)
    assert "unknown key ***" in result.message


FIT: list[Any] = [
    None,
    {},
    [],
    {"X-Api-Key": "a b\tc", "User-Agent": ""},
    [("X-A", "1"), ("X-A", "2")],
    httpx.Headers([("X-A", "1"), ("X-A", "2")]),
    {b"X-A": b"caf\xe9"},
]
UNFIT: list[tuple[Any, str]] = [
    ({"authorization": CANARY}, "authorization"),
    ({"Cookie": CANARY}, "Cookie"),
    ([("X-A", "1"), (b"Proxy-Authorization", CANARY)], "Proxy-Authorization"),
    (httpx.Headers({"AUTHORIZATION": CANARY}), "authorization"),
    ({"X-A": f"{CANARY}\nX-B: 1"}, "X-A"),
    ({"X-A": f"{CANARY}\0"}, "X-A"),
    ({"X-A": f" {CANARY}"}, "X-A"),
    ({"X-A": f"{CANARY}\u00e4"}, "X-A"),
    ({"X-A": 5}, "X-A"),
    ({f"{CANARY}: ": "1"}, "a name that cannot be sent"),
    ({"": CANARY}, "a name that cannot be sent"),
    ({f"{CANARY}\u00e4": "1"}, "a name, in ASCII"),
    ({5: CANARY}, "a name, in ASCII"),
    (CANARY, "pairs"),
    (5, "pairs"),
]


@pytest.mark.parametrize("headers", FIT, ids=repr)
def test_fit_headers(headers: Any) -> None:
    """Headers that can be sent, in every form that httpx takes."""
    assert unfit_headers(headers) is None
    httpx.Headers(headers)


@pytest.mark.parametrize(("headers", "what"), UNFIT, ids=range(len(UNFIT)))
def test_unfit_headers(headers: Any, what: str) -> None:
    """A header that is not for a login or cannot be sent is named, without its value."""
    problem = unfit_headers(headers)
    assert problem is not None
    assert what in problem
    assert CANARY not in problem


# What stays in memory


CYCLES = """
    import gc, sys
    import httpx
    from kyc_client import Credentials
    from kyc_client._clock import Clock
    from kyc_client._login.connection import make_connection
    from kyc_client._login.endpoint import LoginEndpoint
    from tests.support.fault_server import FaultServer, answer, hang, reset

    canary = "canary-a7e1"
    pair = Credentials(canary + "-login", canary + "-password")
    good = answer(200, {"access_token": canary + "-token", "token_type": "bearer"})

    def raises(kind):
        def handler(request):
            raise kind(request.content)
        return httpx.MockTransport(handler)

    with FaultServer() as server:
        logins = [(good, {}), (answer(400, {"detail": canary}), {}), (answer(200, b"x"), {}), (reset, {}), (hang, {})]
        logins += [(answer(422, {"detail": []}), {}), (good, {"transport": httpx.HTTPTransport(verify=False)})]
        logins += [(good, {"transport": raises(kind)}) for kind in (AssertionError, KeyError, KeyboardInterrupt)]
        url = httpx.URL(server.base_url)
        endpoints = []
        for _, arguments in logins:
            connection, _ = make_connection(url, {"verify": False, **arguments}, arguments.get("transport"))
            endpoints.append(LoginEndpoint(url, httpx.Timeout(0.5), connection))
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for (behaviour, _), endpoint in zip(logins, endpoints):
            server.on_login(behaviour)
            endpoint.attempt(pair, within=5, clock=Clock(), on_open=lambda _: None)
            server.exchanges.clear()
            gc.collect()
            for one in gc.garbage:
                held = repr(gc.get_referents(one))  # An attribute is in no `repr` of its object.
                if canary in held and "fault_server" not in held:  # The server's threads are garbage too.
                    print(type(one), held[:300])
            gc.garbage.clear()
"""


def test_no_cycle_holds_a_secret() -> None:
    """After a login, nothing that holds the password or the token waits for the garbage collector."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", textwrap.dedent(CYCLES)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    assert gc.isenabled()
