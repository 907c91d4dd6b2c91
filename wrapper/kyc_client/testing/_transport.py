"""How the fake API of `testing` takes a request and gives an answer: in memory, but no more kindly than a connection.

A body is read as it is sent, once, so that what cannot be sent twice over a socket cannot be sent twice here either.
An answer is a stream until somebody reads it. What a fake has to say is an `Answer`; `_server` sends the same one
over a socket.
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
        headers: Name and value, in order.
        chunks: The body.
        delay: Seconds until it is sent.
        over: Ends the delay early.
        has_body: Whether there is a body, even if an empty one.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterable[bytes]
    delay: float
    over: threading.Event
    has_body: bool = True

    def hold(self, patience: float | None = None) -> bool:
        """Wait for the delay, at most `patience` seconds, and tell whether it has passed."""
        lasts_longer = patience is not None and patience < self.delay
        return self.over.wait(patience if lasts_longer else self.delay) or not lasts_longer

    async def ahold(self, patience: float | None) -> bool:
        """`hold()` for a task, whose event loop goes on meanwhile."""
        passed: Future[bool] = Future()
        passed.set_running_or_notify_cancel()
        threading.Thread(target=lambda: passed.set_result(self.hold(patience)), daemon=True).start()
        await wait_for(passed)
        return passed.result()


Respond: TypeAlias = Callable[[httpx.Request], Answer]
"""Answers a request. Raises `httpx.TransportError` where there is to be no answer."""


def received(method: str, url: httpx.URL, headers: list[tuple[bytes, bytes]], body: bytes) -> httpx.Request:
    """A request as a server has it: with the headers that came, and a body that has been read."""
    # As a stream, since httpx would add headers of its own to content.
    request = httpx.Request(method, url, headers=headers, stream=httpx.ByteStream(body))
    request.read()
    return request


class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Carries requests to a fake, for `httpx.Client` and `httpx.AsyncClient` alike.

    Args:
        url: Tells where the fake is; a request to another origin fails like a connection there.
        respond: Answers a request.
    """

    def __init__(self, url: Callable[[], str], respond: Respond) -> None:
        self._url = url
        self._respond = respond

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of an `httpx.Client`, or of a login; httpx calls it."""
        self._check_origin(request)
        # That the stream is of the client's colour, httpx has seen to.
        answer = self._take(request, b"".join(request.stream))  # type: ignore[arg-type]
        patience = _patience(request)
        if answer.delay and not answer.hold(patience):
            _time_out(request)
        return _response(answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of an `httpx.AsyncClient`; httpx calls it."""
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
            raise httpx.ConnectError(
                f"The fake is at {ours}; it leads nowhere else, so not to {there}.", request=request
            )

    def _take(self, request: httpx.Request, body: bytes) -> Answer:
        declared = request.headers.get("Content-Length")
        if declared is not None and int(declared) != len(body):
            # A file as the body that is at its end, for example. This is what a connection makes of it: httpx lets the
            # error of its dependency through (measured, httpx 0.28).
            import h11  # noqa: PLC0415 - rarely needed

            much = "little" if len(body) < int(declared) else "much"
            raise h11.LocalProtocolError(f"Too {much} data for declared Content-Length")
        return self._respond(received(request.method, request.url, request.headers.raw, body))


def _patience(request: httpx.Request) -> float | None:
    timeout: dict[str, float | None] = request.extensions.get("timeout", {})
    return timeout.get("read")


def _time_out(request: httpx.Request) -> NoReturn:
    raise httpx.ReadTimeout("The fake took longer to answer than the client waits.", request=request)


def _response(answer: Answer) -> httpx.Response:
    extensions = {"http_version": b"HTTP/1.1"}
    return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.chunks), extensions=extensions)


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer: a stream of either colour, to be read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._iterator = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._iterator

    # No generator: trio complains about one that its reader leaves halfway.
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self._iterator)
        except StopIteration:
            raise StopAsyncIteration from None
