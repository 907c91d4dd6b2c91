"""One attempt to log in, over a connection of its own.

It performs the generated operation on a client that is made for one attempt, over the same kind of connection (TLS,
proxy, transport) as the caller's. So the password meets none of the caller's event hooks, redirects and histories.

No exception leaves `attempt`, because its frames would hold the password.
"""

from __future__ import annotations

import contextlib
import functools
import re
import socket
from typing import TYPE_CHECKING, Any

import httpx

from kyc_client._version import __version__
from kyc_openapi import Client
from kyc_openapi.api.auth import login
from kyc_openapi.models import LoginForm

from .answer import Answer, Failure, Grant, Raised, interpret, spell
from .connection import MAX_ANSWER_BYTES, BorrowedTransport
from .wire import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kyc_client._clock import Clock

    from .connection import Connection
    from .credentials import Credentials

USER_AGENT = f"kyc-client/{__version__}"
# The connection is closed. In the pool of a caller's transport it would outlive the loop of the login.
_OUR_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "Connection": "close"}
# httpx writes these, by the body.
_BODY_HEADERS = ("Content-Type", "Content-Length", "Transfer-Encoding")
_NOT_SECRET = frozenset({"host", "user-agent"})
# A shorter value is hardly a secret, and to mask it would spoil messages.
_MIN_SECRET_LENGTH = 8
# RFC 9110, sections 5.1 and 5.5: what can be sent.
_HEADER_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_REFUSED_HEADERS = {
    "authorization": "the login sends the login and password in its form",
    "cookie": "a login has no session",
    "proxy-authorization": "put the user and password of a proxy into the proxy's URL",
}
# The registered codings that change the bytes. Servers also write others ("utf-8", "none"), which change nothing.
_COMPRESSION = re.compile("(x-)?(gzip|compress)|br|deflate|zstd|dc[bz]|exi|pack200-gzip|aes128gcm", re.IGNORECASE)


def unfit_headers(headers: Any) -> str | None:
    """Why the login cannot send these headers, as the message of an error. None if it can.

    It names the header and never shows its value.
    """
    items = getattr(headers, "multi_items", None) or getattr(headers, "items", None)
    try:
        pairs = [(_as_bytes(name), value) for name, value in (items() if items else headers or ())]
    except (AttributeError, TypeError, ValueError):
        return "The headers of the login must be pairs of a name, in ASCII, and a value."
    for name, value in pairs:
        if not _HEADER_NAME.fullmatch(name):
            return "The headers of the login have a name that cannot be sent."
        shown = name.decode()
        if reason := _REFUSED_HEADERS.get(shown.lower()):
            return f"The headers of the login cannot hold {shown}: {reason}."
        try:
            fit = _HEADER_VALUE.fullmatch(_as_bytes(value))
        except (AttributeError, ValueError):
            fit = None
        if not fit:
            return f"The header {shown} of the login has a value that cannot be sent."
    return None


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else text.encode("ascii")


class LoginEndpoint:
    """Where and how to log in.

    Args:
        base_url: the checked base URL.
        timeout: for each connect, read and write of a login.
        connection: how connections are made.
        headers: what a gateway in front of the API wants to see, checked by `unfit_headers`.
    """

    def __init__(
        self,
        base_url: httpx.URL,
        timeout: httpx.Timeout,
        connection: Connection,
        headers: httpx.Headers | None = None,
    ) -> None:
        self._base_url = base_url
        self._timeout = timeout
        self._connection = connection
        self._headers = httpx.Headers(headers)
        self._headers.setdefault("User-Agent", USER_AGENT)
        for name in _BODY_HEADERS:
            self._headers.pop(name, None)
        self._headers.update(_OUR_HEADERS)
        self._secrets = [
            value
            for name, value in (headers or httpx.Headers()).multi_items()
            if name not in _NOT_SECRET and len(value) >= _MIN_SECRET_LENGTH
        ]
        _import_eagerly()

    def attempt(
        self,
        credentials: Credentials,
        *,
        within: float,
        clock: Clock,
        on_open: Callable[[Callable[[], None]], object],
    ) -> Grant | Failure | Raised:
        """Log in once.

        Args:
            credentials: what to log in with.
            within: seconds that are left. No single wait on the network is longer.
            clock: for a `Retry-After` that is a date.
            on_open: receives a function that ends the attempt from another thread, however slowly bytes arrive.
        """
        secrets: Iterable[str] = ()
        try:
            secrets = spell(credentials, *self._secrets)
            return self._attempt(credentials, secrets, within=within, clock=clock, on_open=on_open)
        except BaseException as error:  # noqa: BLE001 - its frames hold the password
            return Raised(error, secrets)

    def _attempt(
        self,
        credentials: Credentials,
        secrets: Iterable[str],
        *,
        within: float,
        clock: Clock,
        on_open: Callable[[Callable[[], None]], object],
    ) -> Grant | Failure:
        exchange = _Exchange()
        answer = exchange.answer
        parsed: object = None
        try:
            with self._open(exchange, within) as http:
                on_open(exchange.interrupt)
                client = Client(base_url=str(self._base_url)).set_httpx_client(http)
                form = LoginForm(username=credentials.username, password=credentials.password, grant_type="password")
                parsed = login.sync_detailed(client=client, body=form).parsed
        except AssertionError:
            raise  # A test's own word, for example respx's "not mocked".
        except Exception as error:  # noqa: BLE001 - the caller's transport may raise anything, and so may a hostile body
            answer.note(error, secrets)
        return interpret(answer, parsed, secrets, base_url=self._base_url, wall=clock.wall())

    def _open(self, exchange: _Exchange, within: float) -> httpx.Client:
        transport, mounts = self._connection.login_transports(within)
        limits = {name: min(within, seconds or within) for name, seconds in self._timeout.as_dict().items()}
        return httpx.Client(
            base_url=self._base_url,
            headers=self._headers,
            timeout=httpx.Timeout(**limits),
            transport=_WatchedTransport(transport, exchange),
            mounts={pattern: mount and _WatchedTransport(mount, exchange) for pattern, mount in mounts.items()},
            trust_env=False,
        )


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


@functools.cache
def _import_eagerly() -> None:
    """Load now what httpx loads at its first request.

    In the thread of a login, a fork may cut that import in two. The child would then wait for its other half for ever.
    """
    httpx.HTTPTransport(verify=False).close()
    "localhost".encode("idna")
