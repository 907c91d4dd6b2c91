"""The fake API of `testing` in memory. It accepts only what a connection would accept.

A request's body is read once, so a body that cannot be sent twice over a socket cannot be sent twice here. An answer is
a stream until the caller reads it. A fake answers with an `Answer`; `_server` sends the same `Answer` over a socket.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import httpx

from kyc_client._token.loops import wait_for

if TYPE_CHECKING:
    from typing import NoReturn


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is sent.

    Attributes:
        status: The status code.
        headers: Names and values, in order.
        chunks: The body.
        delay: Seconds before it is sent.
        over: Ends the delay early.
        has_body: Whether there is a body. An empty body counts.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterable[bytes]
    delay: float
    over: threading.Event
    has_body: bool = True

    def hold(self, patience: float | None = None) -> bool:
        """Wait for the delay, but at most `patience` seconds. Return whether the delay is over."""
        lasts_longer = patience is not None and patience < self.delay
        return self.over.wait(patience if lasts_longer else self.delay) or not lasts_longer

    async def ahold(self, patience: float | None) -> bool:
        """`hold()` for a task: it does not block the event loop."""
        passed: Future[bool] = Future()
        passed.set_running_or_notify_cancel()
        threading.Thread(target=lambda: passed.set_result(self.hold(patience)), daemon=True).start()
        await wait_for(passed)
        return passed.result()


Respond: TypeAlias = Callable[[httpx.Request], Answer]
"""Answers a request. It raises `httpx.TransportError` to give no answer."""


def received(method: str, url: httpx.URL, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx.Request:
    """Return a request as a server sees it: with the headers that arrived, and a body that has been read."""
    # Pass the body as a stream. With content=, httpx would add headers of its own.
    request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body))
    request.read()
    return request


class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Passes requests to a fake, for both `httpx.Client` and `httpx.AsyncClient`.

    Args:
        url: Returns the fake's address. A request to another origin fails like a failed connection.
        respond: Answers a request.
    """

    def __init__(self, url: Callable[[], str], respond: Respond) -> None:
        self._url = url
        self._respond = respond

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of an `httpx.Client`, or a login. httpx calls this."""
        self._check_origin(request)
        # httpx has checked that a sync client has a sync stream, and an async client an async one.
        answer = self._take(request, b"".join(request.stream))  # type: ignore[arg-type]
        patience = _patience(request)
        if answer.delay and not answer.hold(patience):
            _time_out(request)
        return _response(answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of an `httpx.AsyncClient`. httpx calls this."""
        self._check_origin(request)
        body: list[bytes] = [chunk async for chunk in request.stream]  # type: ignore[union-attr]  # as above
        answer = self._take(request, b"".join(body))
        patience = _patience(request)
        if answer.delay and not await answer.ahold(patience):
            _time_out(request)
        return _response(answer)

    def _check_origin(self, request: httpx.Request) -> None:
        ours, theirs = httpx.URL(self._url()), request.url
        if (theirs.scheme, theirs.host, theirs.port) != (ours.scheme, ours.host, ours.port):
            there = f"{theirs.scheme}://{theirs.netloc.decode('ascii')}"
            raise httpx.ConnectError(f"The fake serves {ours} only. It cannot reach {there}.", request=request)

    def _take(self, request: httpx.Request, body: bytes) -> Answer:
        declared = request.headers.get("Content-Length")
        if declared is not None and int(declared) != len(body):
            # For example, the body is a file that has been read to its end. A connection raises the same error, because
            # httpx does not translate this error of h11 (measured with httpx 0.28).
            import h11  # noqa: PLC0415 - rarely needed

            much = "little" if len(body) < int(declared) else "much"
            raise h11.LocalProtocolError(f"Too {much} data for declared Content-Length")
        return self._respond(received(request.method, request.url, request.headers.raw, body))


def _patience(request: httpx.Request) -> float | None:
    timeout: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeout.get("read")


def _time_out(request: httpx.Request) -> NoReturn:
    raise httpx.ReadTimeout("The fake's answer takes longer than the client's read timeout.", request=request)


def _response(answer: Answer) -> httpx.Response:
    extensions = {"http_version": b"HTTP/1.1"}
    return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.chunks), extensions=extensions)


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer: a sync and async stream that can be read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._iterator = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    # Not an async generator, because trio warns if its reader stops halfway.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None
