"""Ctrl-C and lack of memory at every line of what starts a login, and of what lands it: nobody waits for ever."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from kyc_client import KYCClientError, LoginUnavailableError
from kyc_client._token import flight as flight_module
from kyc_client._token.flight import Flight
from kyc_client._token.login import _ask, _attempts, log_in
from kyc_client._token.source import TokenSource, wait_sync
from tests.support.clocks import Time
from tests.support.endpoint import PATIENCE, WAYS, A, Caller, Endpoint, Gate, take

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator

# Real seconds, because the clock of these tests stands still. A caller whose login is lost waits for their sum.
DEADLINE, GRACE = 0.02, 0.01


def codes(*functions: Callable[..., Any]) -> set[types.CodeType]:
    """The code of these functions, and of the named functions in them."""
    outer = {function.__code__ for function in functions}
    inner = {const for code in outer for const in code.co_consts if hasattr(const, "co_code")}
    return outer | {code for code in inner if code.co_name != "<lambda>"}


# Not `Thread.start()`, because Python itself does not cope with an interruption there. `test_source` stands in for it.
STARTS = codes(TokenSource.acquire, TokenSource._step, TokenSource._start, Flight.__init__, Flight.start)
FLIES = codes(Flight.start, TokenSource._fly, TokenSource._known, log_in, _ask, _attempts)
LANDS = codes(TokenSource._land, Flight.land)


class Interruption:
    """Raises once, at the line of that number of some functions.

    A line counts at its first visit. The end of a `with` block is a second visit of its line, and Python lets no signal
    in there before the lock is free.

    Attributes:
        happened: whether there were so many lines.
    """

    def __init__(self, number: int, code: set[types.CodeType], error: type[BaseException]) -> None:
        self.happened = False
        self.before: Callable[[], object] = lambda: None
        self._number, self._code, self._error = number, code, error
        self._seen: set[tuple[types.CodeType, int]] = set()

    def trace(self, frame: types.FrameType, event: str, _: object) -> Any:
        """A trace function, which spares those who wait."""
        if frame.f_code not in self._code or isinstance(threading.current_thread(), Caller):
            return None
        line = frame.f_code, frame.f_lineno
        if event == "line" and line not in self._seen and not self.happened:
            self._seen.add(line)
            if len(self._seen) == self._number:
                self.before()
                self.happened = True
                raise self._error
        return self.trace


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short waits, no report of threads that end with an interruption, and the tracing as it was before."""
    monkeypatch.setattr(flight_module, "GRACE", GRACE)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    before, of_threads = sys.gettrace(), threading.gettrace()
    yield
    sys.settrace(before)
    threading.settrace(of_threads)  # type: ignore[arg-type]  # None is what it is by default


class World:
    """A source with a short deadline, and all that it needs. A new one for each line.

    Attributes:
        is_done: whether a login went through without an interruption, so there are no more lines. On a busy machine,
            one may also fail at its deadline. Then this line is tried again.
    """

    def __init__(self) -> None:
        self.time = Time()
        self.endpoint = Endpoint(self.time)
        self.source = TokenSource(self.endpoint, lambda: A, self.time.clock, deadline=DEADLINE)
        self.is_done = False

    def goes_on(self, callers: list[Caller]) -> None:
        """Check that who waits gets a token or an error, and the next caller a token, for two more logins at most."""
        for caller in callers:
            error = caller.error()
            assert error is None or isinstance(error, KYCClientError)
        for thread in threading.enumerate():
            if thread.name == "kyc-client-login":
                thread.join(PATIENCE)
        tried = len(self.endpoint.tried)
        self.source._deadline = PATIENCE
        self.time.advance(2)
        assert take(self.source) is self.source.fresh()
        assert len(self.endpoint.tried) <= tried + 2


@contextlib.contextmanager
def no_threads_but_callers() -> Iterator[None]:
    """No thread can be started any more, except by these tests."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if isinstance(self, Caller):
            return start(self)
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def lines(test: Callable[[World, Callable[..., Interruption]], object]) -> int:
    """Run a test for each line, until there are no more. Returns how many there were."""
    number = 1
    while True:
        world, made = World(), list[Interruption]()

        def interruption(*arguments: Any, number: int = number, made: list[Interruption] = made) -> Interruption:
            made.append(Interruption(number, *arguments))
            return made[-1]

        test(world, interruption)
        if made[0].happened:
            number += 1
        elif world.is_done:
            return number - 1


@pytest.mark.parametrize("inline", [False, True], ids=["thread", "inline"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_interruption_of_the_caller_who_starts_a_login(interrupt: type[BaseException], *, inline: bool) -> None:
    """A5, A6: wherever it hits this caller, those who come in the middle of it go on, and the next one gets a token."""

    def test(world: World, interruption: Callable[..., Interruption]) -> None:
        callers: list[Caller] = []
        planned = interruption(STARTS | FLIES | LANDS if inline else STARTS, interrupt)
        planned.before = lambda: callers.extend(Caller(world.source) for _ in range(2))
        with no_threads_but_callers() if inline else contextlib.nullcontext():
            sys.settrace(planned.trace)
            # What becomes of this caller is its own affair. In its own login, it may get the login's error.
            with contextlib.suppress(interrupt, KYCClientError):
                take(world.source)
                world.is_done = True
            sys.settrace(None)
            world.goes_on(callers)

    assert lines(test) > (60 if inline else 30)


@pytest.mark.parametrize(("interrupt", "way"), [(MemoryError, "sync"), *((KeyboardInterrupt, way) for way in WAYS)])
def test_interruption_of_the_login(interrupt: type[BaseException], way: str) -> None:
    """A5, A6: wherever it hits the login's own thread, all who wait for the login go on."""

    def test(world: World, interruption: Callable[..., Interruption]) -> None:
        threading.settrace(interruption(FLIES | LANDS, interrupt).trace)
        caller = Caller(world.source, way)
        world.is_done = caller.error() is None
        threading.settrace(None)  # type: ignore[arg-type]  # as above
        world.goes_on([caller])

    assert lines(test) > 50


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, MemoryError])
def test_interruption_of_the_watch(interrupt: type[BaseException]) -> None:
    """A5, A6: wherever it hits the watch that ends a login which hangs, all who wait for the login go on."""

    def test(world: World, interruption: Callable[..., Interruption]) -> None:
        world.source._deadline = PATIENCE
        gate = Gate(world.endpoint.grant)
        world.endpoint.script = [gate, world.endpoint.grant]
        steps = world.source.acquire()
        flight = next(steps)
        assert gate.arrived.wait(PATIENCE)
        threading.settrace(interruption(codes(TokenSource._end) | LANDS, interrupt).trace)
        watch = threading.Thread(target=world.source._end, args=(flight,))
        watch.start()
        watch.join(PATIENCE)
        threading.settrace(None)  # type: ignore[arg-type]  # as above
        gate.opened.set()
        with contextlib.suppress(LoginUnavailableError):
            wait_sync(steps)
        world.is_done = flight.has_landed
        world.goes_on([])

    assert lines(test) > 15
