"""One attempt to log in, over a connection of its own.

It performs the generated operation on a client that is built for one attempt, over the same kind of connection (TLS,
proxy, transport) as the caller's: so that the password meets neither the caller's event hooks nor redirects nor
histories.

No exception leaves this module: one of httpx's would carry frames whose locals hold the password.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import socket
from typing import TYPE_CHECKING, Any

import httpx

from kyc_client._version import __version__
from kyc_client.errors import ConfigurationError
from kyc_openapi import Client
from kyc_openapi.api.auth import login
from kyc_openapi.models import LoginForm

from .answer import Answer, Failure, Grant, judge
from .connection import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from kyc_client._clock import Clock
    from kyc_client._token.loops import RunAsync

    from .credentials import Credentials

USER_AGENT = f"kyc-client/{__version__}"
# The connection is closed: in the pool of a caller's transport it would outlive the loop that the login ran on.
HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


class LoginEndpoint:
    """Where and how to log in.

    Args:
        base_url: the checked base URL.
        timeout: for each connect, read and write of a login.
        connection: httpx's arguments for how a connection is made (verify, proxy, trust_env, mounts, transport).
    """

    def __init__(self, base_url: httpx.URL, timeout: httpx.Timeout, connection: Mapping[str, Any]) -> None:
        self._base_url = base_url
        self._timeout = timeout
        self._connection = {name: value for name, value in connection.items() if value is not None}
        _import_eagerly()
        if self.needs_loop:
            importlib.import_module("asyncio")  # Likewise; the others do not pay 8 ms for it.

    @property
    def needs_loop(self) -> bool:
        """Whether the caller's transport works on an event loop only."""
        transports = [self._connection.get("transport"), *self._connection.get("mounts", {}).values()]
        return any(transport is not None and not _is_sync(transport) for transport in transports)

    def attempt(
        self,
        credentials: Credentials,
        *,
        within: float,
        clock: Clock,
        run_async: RunAsync,
        opened: Callable[[Callable[[], None]], object],
    ) -> Grant | Failure:
        """Log in once.

        Args:
            credentials: what to log in with.
            within: seconds that are left; no single wait on the network is longer.
            clock: for a `Retry-After` that is a date.
            run_async: where to run a transport that works on an event loop only.
            opened: is handed a function that ends the attempt from another thread, however slowly bytes may drip.
        """
        answer = Answer()
        try:
            http = _LoginClient(answer, base_url=self._base_url, **self._arguments(within, run_async))
        except Exception as error:  # noqa: BLE001 - httpx's complaints about proxies have no common class
            what = f"The login cannot be connected ({type(error).__name__}). Check proxy= and HTTPS_PROXY."
            return Failure(ConfigurationError, what)
        parsed: object = None
        with http:
            opened(http.interrupt)
            client = Client(base_url=str(self._base_url)).set_httpx_client(http)
            form = LoginForm(username=credentials.username, password=credentials.password, grant_type="password")
            try:
                parsed = login.sync_detailed(client=client, body=form).parsed
            except Exception as error:  # noqa: BLE001 - the caller's transport may raise anything, as may a hostile body
                answer.note(error)
        return judge(answer, parsed, credentials, base_url=self._base_url, wall=clock.wall())

    def _arguments(self, within: float, run_async: RunAsync) -> dict[str, Any]:
        def lend(transport: Any) -> Any:
            return None if transport is None else _Lent(transport, lambda function: run_async(function, within))

        arguments = dict(self._connection)
        if "transport" in arguments:
            arguments["transport"] = lend(arguments["transport"])
        if "mounts" in arguments:
            arguments["mounts"] = {pattern: lend(transport) for pattern, transport in arguments["mounts"].items()}
        limits = {name: min(within, seconds or within) for name, seconds in self._timeout.as_dict().items()}
        return {**arguments, "headers": HEADERS, "timeout": httpx.Timeout(**limits)}


class _LoginClient(httpx.Client):
    """A client that follows no redirect, and reads answers as raw bytes, up to the cap, if their body says anything."""

    def __init__(self, answer: Answer, **arguments: Any) -> None:
        # The hook comes before httpx looks at where a redirect leads, and at that may fail.
        super().__init__(**arguments, event_hooks={"response": [self._take]})
        self._answer = answer
        self._socket: socket.socket | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the exchange from another thread.

        The connection is shut down, which wakes the thread that reads it, and left for that thread to close. Closing it
        here would free the descriptor under a TLS library that goes on using its number, by then somebody else's.
        """
        self._interrupted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # It has ended by itself meanwhile.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the socket. httpcore calls this "trace" extension at each step; there is no other way to it so early.

        An interrupted exchange opens no connection, and fails on the one that it has: an error raised at another step
        would keep httpcore from tidying up.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._interrupted:
                self.interrupt()
        elif self._interrupted and event.endswith(".connect_tcp.started"):
            raise httpx.ConnectTimeout("interrupted")

    def _take(self, response: httpx.Response) -> None:
        self._answer.status, self._answer.headers = response.status_code, response.headers

    def send(self, request: httpx.Request, **arguments: Any) -> httpx.Response:
        request.extensions["trace"] = self._trace
        arguments |= {"stream": True, "follow_redirects": False}
        response = super().send(request, **arguments)
        try:
            if response.status_code == 200 or response.is_client_error:
                self._answer.body = self._read(response)
        finally:
            response.close()
        return httpx.Response(response.status_code, content=self._answer.body, request=request)

    def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            self._answer.flaw = "it is compressed, although we asked for it not to be"
            return b""
        body = b""
        for chunk in _raw_chunks(response):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                self._answer.flaw = f"it is longer than {MAX_ANSWER_BYTES} bytes"
                return b""
        return body


def _raw_chunks(response: httpx.Response) -> Iterable[bytes]:
    """The body as it came; a transport that makes its answers up (`httpx.MockTransport`) may have read it already."""
    return (response.content,) if response.is_stream_consumed else response.iter_raw()


def _is_sync(transport: Any) -> bool:
    """Whether a transport works without an event loop; an `httpx.MockTransport` is what its handler is."""
    is_async = inspect.iscoroutinefunction(getattr(transport, "handler", None))
    return hasattr(transport, "handle_request") and not is_async


class _Lent(httpx.BaseTransport):
    """The caller's transport, lent to a login: never closed by us, and run on a loop if it knows no other way."""

    def __init__(
        self, transport: Any, run_async: Callable[[Callable[[], Awaitable[httpx.Response]]], httpx.Response]
    ) -> None:
        self._transport = transport
        self._run_async = run_async

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions.pop("trace", None)  # The caller's connections are not ours to interrupt.
        if _is_sync(self._transport):
            return self._transport.handle_request(request)  # type: ignore[no-any-return]  # the caller's, of any class
        return self._run_async(lambda: self._exchange(request))

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._transport.handle_async_request(request)
        body = b""
        try:
            if response.is_stream_consumed:
                body = response.content
            else:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        break
        finally:
            await response.aclose()
        # As a stream, not as content: content would be decompressed at once.
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))


@functools.cache
def _import_eagerly() -> None:
    """Load now what httpx loads at its first request.

    In the thread of a login, that import may be cut in two by a fork; the child would wait for ever for its other half.
    """
    httpx.HTTPTransport(verify=False).close()
    "localhost".encode("idna")
