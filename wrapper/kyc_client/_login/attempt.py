"""One attempt to log in, over a connection of its own. Loaded by the first login (`endpoint`).

It performs the generated operation on a client that is made for one attempt, over the same kind of connection (TLS,
proxy, transport) as the caller's. So the password meets none of the caller's event hooks, redirects and histories.

No exception leaves `attempt`, because its frames would hold the password.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import TYPE_CHECKING, Any

import httpx

from kyc_openapi import Client
from kyc_openapi.api.auth import login
from kyc_openapi.models import LoginForm

from .answer import Answer, interpret, spell
from .raised import Raised, forget_frames
from .transports import MAX_ANSWER_BYTES, BorrowedTransport
from .wire import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kyc_client._clock import Clock

    from .credentials import Credentials
    from .endpoint import LoginEndpoint
    from .outcome import Failure, Grant

# The connection is closed. In the pool of a caller's transport it would outlive the loop of the login.
_OUR_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
# The registered codings that change the bytes. Servers also write others ("utf-8", "none"), which change nothing.
_COMPRESSION = re.compile("(x-)?(gzip|compress)|br|deflate|zstd|dc[bz]|exi|pack200-gzip|aes128gcm", re.IGNORECASE)


def attempt(
    endpoint: LoginEndpoint,
    credentials: Credentials,
    *,
    within: float,
    clock: Clock,
    on_open: Callable[[Callable[[], None]], object],
) -> Grant | Failure | Raised:
    """Log in once. The arguments are those of `LoginEndpoint.attempt`."""
    secrets: Iterable[str] = ()
    try:
        secrets = spell(credentials, *endpoint.secrets)
        exchange = _Exchange()
        on_open(exchange.interrupt)
        parsed = _exchange(endpoint, exchange, credentials, secrets, within)
        return interpret(exchange.answer, parsed, secrets, base_url=endpoint.base_url, wall=clock.wall())
    except BaseException as error:  # noqa: BLE001 - its frames hold the password
        return Raised(error, secrets)


def _exchange(
    endpoint: LoginEndpoint, exchange: _Exchange, credentials: Credentials, secrets: Iterable[str], within: float
) -> object:
    try:
        with _open(endpoint, exchange, within) as http:
            client = Client(base_url=str(endpoint.base_url)).set_httpx_client(http)
            form = LoginForm(username=credentials.username, password=credentials.password, grant_type="password")
            return login.sync_detailed(client=client, body=form).parsed
    except AssertionError:
        raise  # A test's own word, for example respx's "not mocked".
    except Exception as error:  # noqa: BLE001 - the caller's transport may raise anything, and so may a hostile body
        exchange.answer.note(error, secrets)
        forget_frames(error)  # They and the error hold each other, and the password.
        return None


def _open(endpoint: LoginEndpoint, exchange: _Exchange, within: float) -> httpx.Client:
    transport, mounts = endpoint.connection.for_login.transports(
        httpx.HTTPTransport, borrow=lambda transport: BorrowedTransport(transport, within)
    )
    headers = httpx.Headers(endpoint.headers)
    headers.update(_OUR_HEADERS)
    limits = {name: min(within, seconds or within) for name, seconds in endpoint.timeout.as_dict().items()}
    return httpx.Client(
        base_url=endpoint.base_url,
        headers=headers,
        timeout=httpx.Timeout(**limits),
        transport=_WatchedTransport(transport, exchange),
        mounts={pattern: mount and _WatchedTransport(mount, exchange) for pattern, mount in mounts.items()},
        trust_env=False,
        event_hooks={"response": [_unbind]},
    )


def _unbind(response: httpx.Response) -> None:
    """Take an answer apart from its stream. httpx ties each to the other, and such a cycle would keep the token."""
    response.stream = httpx.ByteStream(b"")


class _Exchange:
    """The request of one login and its answer. Another thread may interrupt it."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._socket: socket.socket | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the exchange from another thread.

        The connection is shut down, which wakes the thread that reads it. That thread closes it. If we closed it here,
        the TLS library would go on to use a descriptor that may belong to somebody else by then.
        """
        self._interrupted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # It has ended by itself meanwhile.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the socket. httpcore calls this "trace" extension at each step, and nothing else shows it so early.

        An interrupted exchange opens no connection, and fails on the one that it has. An error raised at another step
        would keep httpcore from tidying up.
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._interrupted:
                self.interrupt()
        elif self._interrupted and event.endswith(".connect_tcp.started"):
            raise httpx.ConnectTimeout("interrupted")

    def take(self, response: httpx.Response) -> httpx.Response:
        """Note the answer, and return it without its headers, which would make httpx redirect or decompress."""
        answer = self.answer
        answer.status, answer.headers = response.status_code, response.headers
        if response.status_code == 200 or response.is_client_error:
            answer.body, answer.flaw = _read(response)
        answer.complete = True
        return httpx.Response(response.status_code, content=answer.body)


def _read(response: httpx.Response) -> tuple[bytes, str | None]:
    """The body as raw bytes up to the cap, or what is wrong with it."""
    codings = response.headers.get_list("Content-Encoding", split_commas=True)
    if any(_COMPRESSION.fullmatch(coding.strip()) for coding in codings):
        return b"", "it is compressed, although we asked for it not to be"
    body = b""
    for chunk in _raw_chunks(response):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return b"", f"it is longer than {MAX_ANSWER_BYTES} bytes"
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        read_json(body)
    except (ValueError, RecursionError):
        return b"", "it is not JSON"  # Or too deep for the generated decoder, which has no limit of its own.
    return body, None


def _raw_chunks(response: httpx.Response) -> Iterable[bytes]:
    """The body as it came. A transport that makes up its answers (`httpx.MockTransport`) may have read it already."""
    return (response.content,) if response.is_stream_consumed else response.iter_raw()


class _WatchedTransport(httpx.BaseTransport):
    """A transport whose answers are noted, up to the cap."""

    def __init__(self, transport: httpx.BaseTransport, exchange: _Exchange) -> None:
        self._transport = transport
        self._exchange = exchange

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self._transport, BorrowedTransport):  # The caller's connections are not ours to interrupt.
            request.extensions["trace"] = self._exchange.trace
        response = self._transport.handle_request(request)
        try:
            return self._exchange.take(response)
        finally:
            response.close()

    def close(self) -> None:
        self._transport.close()


# What httpx loads at its first request is loaded now. `endpoint` protects this import from a fork, and not a later one.
httpx.HTTPTransport(verify=False).close()
"localhost".encode("idna")
