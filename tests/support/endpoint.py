"""An endpoint without a network, and callers in every colour that request its token."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from kyc_client import Credentials
from kyc_client._login.outcome import Grant
from kyc_client._token.source import TokenSource, wait_async, wait_sync
from tests.support.colours import Asyncio, Trio
from tests.support.tokens import jwt

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client._clock import Clock
    from kyc_client._token.lease import Lease
    from kyc_client._token.source import Steps
    from tests.support.clocks import Time

A = Credentials("fake-user", "fake-password-a")
B = Credentials("fake-user", "fake-password-b")
# Longer than any wait of these tests. A caller that still waits then would wait forever.
PATIENCE = 20.0
_numbers = itertools.count()


class Endpoint:
    """Answers attempts from a script. The last entry is repeated, and a callable entry is called."""

    def __init__(self, time: Time, lifetime: float = 1000.0) -> None:
        self.time = time
        self.lifetime = lifetime
        self.tried: list[Credentials] = []
        self.within: list[float] = []
        self.clocks: list[Clock] = []
        self.on_open: Callable[[Callable[[], None]], object] | None = None
        self.script: list[Any] = [self.grant]

    def grant(self) -> Grant:
        """Return a new token, different from all others."""
        return Grant(jwt(exp=self.time.wall + self.lifetime, jti=next(_numbers)), self.time.wall)

    def attempt(
        self,
        credentials: Credentials,
        *,
        within: float,
        clock: Clock,
        on_open: Callable[[Callable[[], None]], object],
    ) -> Any:
        self.tried.append(credentials)
        self.within.append(within)
        self.clocks.append(clock)
        self.on_open = on_open
        result = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return result() if callable(result) else result


class Gate:
    """A result that waits until the test releases it."""

    def __init__(self, then: Any) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._then = then

    def __call__(self) -> Any:
        self.arrived.set()
        assert self.opened.wait(PATIENCE)
        return self._then() if callable(self._then) else self._then


WAYS: dict[str, Callable[[Steps], Lease]] = {
    "sync": wait_sync,
    "asyncio": lambda steps: Asyncio().run(lambda: wait_async(steps)),
    "trio": lambda steps: Trio().run(lambda: wait_async(steps)),
}


class Caller(threading.Thread):
    """A thread that requests a token, directly or through a task on its own event loop.

    Attributes:
        waits: set as soon as it has a login to wait for.
    """

    def __init__(self, source: TokenSource, way: str = "sync", *, other_than: Lease | None = None) -> None:
        super().__init__(daemon=True)
        self.waits = threading.Event()
        self._end: Future[Lease] = Future()
        self._steps = source.acquire(other_than=other_than)
        self._wait = WAYS[way]
        self.start()

    def run(self) -> None:
        """Request a token."""
        try:
            self._end.set_result(self._wait(self._told()))
        except BaseException as error:  # noqa: BLE001 - it is the result
            self._end.set_exception(error)

    def _told(self) -> Steps:
        while True:
            try:
                flight = next(self._steps)
            except StopIteration as arrival:
                lease: Lease = arrival.value
                return lease
            self.waits.set()
            yield flight

    def lease(self) -> Lease:
        """Return its token, or raise its error."""
        return self._end.result(PATIENCE)

    def error(self) -> BaseException | None:
        """Return its error."""
        return self._end.exception(PATIENCE)


def crowd(source: TokenSource, count: int = 6) -> list[Caller]:
    """Start so many callers in all colours that wait for a login."""
    callers = [Caller(source, way) for way, _ in zip(itertools.cycle(WAYS), range(count), strict=False)]
    assert all(caller.waits.wait(PATIENCE) for caller in callers)
    return callers


def take(source: TokenSource) -> Lease:
    """Get a token as a request does."""
    return source.fresh() or wait_sync(source.acquire())


def settle(source: TokenSource) -> None:
    """Wait for the login that runs in the background, if there is one."""
    flight = source._flight
    if flight is not None:
        flight.future.result(PATIENCE)
