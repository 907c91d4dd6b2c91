"""Run the same scenario in three colours: with threads, asyncio and trio."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")
TIMEOUT = 30.0
# The time of httpx's async pool grows with connections times waiting requests. Few connections are enough, because the
# requests meet at the login, before the pool.
LIMITS = httpx.Limits(max_connections=20)


class Colour(Protocol):
    """A way to make calls. The keywords in `client` go to the httpx client."""

    name: str

    def send(self, method: str, url: str, *, client: dict[str, Any], **request: Any) -> httpx.Response:
        """Send one request through a new client."""

    def send_many(
        self, count: int, method: str, url: str, *, client: dict[str, Any]
    ) -> list[httpx.Response | Exception]:
        """Send so many requests at once through one new client. Return what each returned or raised."""

    def operation(self, operation: Any, client: Any) -> Any:
        """Call one generated operation."""

    def token(self, auth: Any) -> Any:
        """Return the current token."""


class Threads:
    name = "sync"

    def __repr__(self) -> str:
        return self.name

    def send(self, method: str, url: str, *, client: dict[str, Any], **request: Any) -> httpx.Response:
        with httpx.Client(**{"timeout": TIMEOUT, **client}) as http:
            return http.request(method, url, **request)

    def send_many(
        self, count: int, method: str, url: str, *, client: dict[str, Any]
    ) -> list[httpx.Response | Exception]:
        results: list[httpx.Response | Exception] = []
        start = threading.Barrier(count)

        def call() -> None:
            start.wait()
            try:
                results.append(http.request(method, url))
            except Exception as error:  # noqa: BLE001 - it is the result
                results.append(error)

        # No keep-alive: in httpcore's sync pool, a thread may close an idle connection that another thread has just
        # received (encode/httpcore#1110, open, 1.0.9). Then a call fails for a reason that is not ours.
        headers = {"Connection": "close"}
        with httpx.Client(**{"timeout": TIMEOUT, "limits": LIMITS, "headers": headers, **client}) as http:
            threads = [threading.Thread(target=call) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return results

    def operation(self, operation: Any, client: Any) -> Any:
        with client:
            return operation.sync(client=client)

    def token(self, auth: Any) -> Any:
        return auth.get_token()


class _Async:
    """The common part of asyncio and trio: everything except how to run one coroutine, and many at once."""

    name: str

    def __repr__(self) -> str:
        return self.name

    def run(self, main: Callable[[], Awaitable[Result]]) -> Result:
        raise NotImplementedError

    async def gather(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        raise NotImplementedError

    def send(self, method: str, url: str, *, client: dict[str, Any], **request: Any) -> httpx.Response:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(**{"timeout": TIMEOUT, **client}) as http:
                return await http.request(method, url, **request)

        return self.run(main)

    def send_many(
        self, count: int, method: str, url: str, *, client: dict[str, Any]
    ) -> list[httpx.Response | Exception]:
        results: list[httpx.Response | Exception] = []

        async def main() -> None:
            async with httpx.AsyncClient(**{"timeout": TIMEOUT, "limits": LIMITS, **client}) as http:

                async def call() -> None:
                    try:
                        results.append(await http.request(method, url))
                    except Exception as error:  # noqa: BLE001 - it is the result
                        results.append(error)

                await self.gather([call] * count)

        self.run(main)
        return results

    def operation(self, operation: Any, client: Any) -> Any:
        async def main() -> Any:
            async with client:
                return await operation.asyncio(client=client)

        return self.run(main)

    def token(self, auth: Any) -> Any:
        return self.run(auth.aget_token)


class Asyncio(_Async):
    name = "asyncio"

    def run(self, main: Callable[[], Awaitable[Result]]) -> Result:
        async def call() -> Result:
            return await main()

        return asyncio.run(call())

    async def gather(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        await asyncio.gather(*(call() for call in calls))


class Trio(_Async):
    name = "trio"

    def run(self, main: Callable[[], Awaitable[Result]]) -> Result:
        return trio.run(main)

    async def gather(self, calls: list[Callable[[], Awaitable[None]]]) -> None:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(call)


COLOURS: list[Colour] = [Threads(), Asyncio(), Trio()]
