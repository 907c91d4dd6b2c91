"""The fake API of `testing` over a real socket: a small HTTP/1.1 server on 127.0.0.1, from the standard library.

A service under test finds it without patches, because the library allows `http://` to this machine. Connections, pools,
chunks and timeouts are real.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Self, cast

import httpx

from ._transport import Answer, received

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._transport import Respond

_HOST = "127.0.0.1"
_log = logging.getLogger("kyc_client.testing")


class LoopbackServer:
    """A context manager that serves one fake after another at the same address.

    Attributes:
        url: `http://127.0.0.1:PORT`, set when the block begins.
        respond: Answers a request; None while there is no fake to answer.
        errors: The exceptions that `respond` raised, except `httpx.TransportError`.
    """

    url: str

    def __init__(self) -> None:
        self.respond: Respond | None = None
        self.errors: list[BaseException] = []

    def __enter__(self) -> Self:
        self._http = _HTTPServer(self)
        self.url = f"http://{_HOST}:{self._http.server_port}"
        self._ended = False
        self._thread = threading.Thread(target=self._serve, name="kyc-fake", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        # Wake `handle_request()` with a connection. `serve_forever()` would notice its end only at its next poll.
        self._ended = True
        socket.create_connection((_HOST, self._http.server_port)).close()
        self._thread.join()
        self._http.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close every connection. Clients that keep connections open notice this, and open new ones."""
        self._http.hang_up()

    def _serve(self) -> None:
        while not self._ended:
            self._http.handle_request()

    def answer(self, request: httpx.Request, respond: Respond | None) -> Answer | None:
        """Return the answer to a request; None to close the connection without one.

        Args:
            request: The request that arrived.
            respond: The value of `respond` when the connection was opened. If it has changed since, the fake of another
                test serves now, and must not answer.
        """
        try:
            return None if respond is None or respond is not self.respond else respond(request)
        except httpx.TransportError:
            return None
        except BaseException as error:  # noqa: BLE001 - pytest.fail() in the test's code too; `serve()` raises it later
            self.errors.append(error)
            _log.exception(
                "The function for %s %s raised an error. The client gets a 500.", request.method, request.url.path
            )
            return Answer(500, [("Content-Length", "0")], (), 0, threading.Event())


class _HTTPServer(ThreadingHTTPServer):
    """Has a thread for each connection, and ends them all, even if the clients keep their connections open."""

    # Tests connect with many clients at once. If the queue is full, a client tries again only after a second.
    request_queue_size = 128

    def __init__(self, owner: LoopbackServer) -> None:
        super().__init__((_HOST, 0), _Connection)
        self.owner = owner
        self._open: set[socket.socket] = set()

    def server_bind(self) -> None:
        # Not HTTPServer's method, because it asks DNS for the name of this machine, which may take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = _HOST, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):  # Its own thread may have closed it just now.
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        error = sys.exception()
        # Not errors of the test: a client may disconnect at any time, and an answer may break off on purpose.
        if isinstance(error, Exception) and not isinstance(error, OSError | httpx.TransportError):
            self.owner.errors.append(error)


class _Connection(BaseHTTPRequestHandler):
    """One connection: reads requests and sends answers."""

    protocol_version = "HTTP/1.1"
    # Otherwise the body of an answer may wait until the client acknowledges the headers.
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self._respond = cast("_HTTPServer", self.server).owner.respond

    def _exchange(self) -> None:
        owner = cast("_HTTPServer", self.server).owner
        url = httpx.URL(owner.url).copy_with(raw_path=self.path.encode("latin-1"))
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        body = b"".join(self._body())
        answer = owner.answer(received(self.command, url, headers, body), self._respond)
        if answer is None:
            self.close_connection = True
            return
        if answer.delay:
            answer.hold()
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        is_chunked = any(name.lower() == "transfer-encoding" for name, _ in answer.headers)
        for chunk in answer.chunks:
            # Send an empty chunk as nothing, because it would end the body.
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked and chunk else chunk)
            self.wfile.flush()
        if is_chunked and answer.has_body:
            self.wfile.write(b"0\r\n\r\n")

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = _exchange  # noqa: N815 - http.server's

    def _body(self) -> Iterable[bytes]:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            yield self._read(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline() or b"0", 16):
            yield self._read(size)
            self.rfile.readline()
        if not self.rfile.readline():
            raise ConnectionAbortedError

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError
        return data

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Write no log, because the fake records its requests."""
