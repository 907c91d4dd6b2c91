"""A server for tests: a real socket, scripted answers, and a record of all requests.

    with FaultServer() as server:
        server.on_login(status(503), issue())           # in this order; the last one is repeated
        server.on_resource(check, hang)
        ...
        assert server.login_count == 2

By default, a login issues a token, and every other path needs a valid one. So a script describes only what is unusual.
A behaviour is a function that takes an `Exchange` and answers it.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

if TYPE_CHECKING:
    import io

LOGIN_PATH = "/auth/jwt/login"


class Exchange:
    """One request, and the means to answer it: well, badly or not at all."""

    def __init__(self, server: FaultServer, connection: socket.socket, head: bytes, body: bytes) -> None:
        self.server = server
        self.connection = connection
        # It identifies the client's connection, even after it has been closed.
        self.client_port: int = connection.getpeername()[1]
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = request_line.split(" ", 2)
        self.path = self.target.partition("?")[0]
        # Every line, because a name may appear twice.
        fields = [line.partition(":") for line in lines if line]
        self.raw_headers = [(name, value.strip()) for name, _, value in fields]
        self.headers = {name.lower(): value for name, value in self.raw_headers}
        self.body = body

    @property
    def token(self) -> str | None:
        """The bearer token that came with the request."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None

    def send(self, raw: bytes) -> None:
        """Send bytes unchanged."""
        self.connection.sendall(raw)

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """Send a well-formed answer. A body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **self.server.date_header()}
        fields |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status} \r\n{head}\r\n".encode() + content)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The reader still holds the descriptor. Only the end of the thread's `with` block closes it.
        raise ConnectionAbortedError

    def close(self) -> None:
        """Close the connection without a reset, even in the middle of an answer."""
        self.connection.shutdown(socket.SHUT_RDWR)


Behaviour: TypeAlias = Callable[[Exchange], None]


def answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with this status, body and headers."""
    return lambda exchange: exchange.answer(status, body, headers)


def issue(**claims: Any) -> Behaviour:
    """Answer a login with a new token. These claims are added to its own, or replace them."""
    return lambda exchange: exchange.answer(
        200, {"access_token": exchange.server.new_token(**claims), "token_type": "bearer"}
    )


def check(exchange: Exchange) -> None:
    """Answer a valid token with 200 and the token itself, and all else with the API's 401."""
    if exchange.token is not None and exchange.server.accepts(exchange.token):
        exchange.answer(200, {"token": exchange.token, "path": exchange.target})
    else:
        exchange.answer(401, {"detail": "Unauthorized"})


def hang(exchange: Exchange) -> None:
    """Send nothing until the server stops or the client disconnects."""
    with contextlib.suppress(OSError):
        exchange.connection.recv(1)


def reset(exchange: Exchange) -> None:
    """Break the connection without an answer."""
    exchange.reset()


def after(event: threading.Event, then: Behaviour) -> Behaviour:
    """Answer only after the test has set the event."""

    def behaviour(exchange: Exchange) -> None:
        event.wait()
        then(exchange)

    return behaviour


def drip(raw: bytes, seconds: float) -> Behaviour:
    """Send these bytes, then one more byte after each pause, until the server stops or the client disconnects."""

    def behaviour(exchange: Exchange) -> None:
        exchange.send(raw)
        with contextlib.suppress(OSError):
            while not exchange.server.stopping.wait(seconds):
                exchange.send(b"x")

    return behaviour


class FaultServer:
    """See the module's docstring. Listens on 127.0.0.1, on a free port, and stops with its block."""

    def __init__(
        self, lifetime: float = 3600, *, date: Callable[[], float] | None = time.time, context: Any = None
    ) -> None:
        """Make a server.

        Args:
            lifetime: seconds for which a token is valid.
            date: the clock of the `Date` header; None sends no header.
            context: a TLS context; None serves plain http.
        """
        self.lifetime = lifetime
        self.date = date
        self.stopping = threading.Event()
        self.exchanges: list[Exchange] = []
        self._context = context
        self._lock = threading.Lock()
        self._logins: list[Behaviour] = [issue()]
        self._resources: list[Behaviour] = [check]
        self._valid: set[str] = set()
        self._issued = 0
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        scheme = "http" if context is None else "https"
        self.base_url = f"{scheme}://127.0.0.1:{self.port}"

    # For tests

    def on_login(self, *behaviours: Behaviour) -> None:
        """Answer the next logins with these behaviours, one after the other. The last one is repeated."""
        self._logins = list(behaviours)

    def on_resource(self, *behaviours: Behaviour) -> None:
        """Answer the next requests except logins with these behaviours, in order. The last one is repeated."""
        self._resources = list(behaviours)

    @property
    def logins(self) -> list[Exchange]:
        """All logins that arrived."""
        return [exchange for exchange in list(self.exchanges) if exchange.path.endswith(LOGIN_PATH)]

    @property
    def login_count(self) -> int:
        return len(self.logins)

    @property
    def hits(self) -> list[Exchange]:
        """All other requests that arrived."""
        return [exchange for exchange in list(self.exchanges) if not exchange.path.endswith(LOGIN_PATH)]

    @property
    def raw_headers(self) -> list[tuple[str, str]]:
        """The headers of the last of these requests, one for each line on the wire."""
        return self.hits[-1].raw_headers

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    def new_token(self, **claims: Any) -> str:
        """Return a new token that this server accepts. It has the form of a JWT, and is clearly a fake."""
        with self._lock:
            self._issued += 1
            number = self._issued
        payload = {"sub": "fake-user", "exp": int(time.time() + self.lifetime), "number": number, **claims}
        token = ".".join((_segment({"alg": "none", "typ": "JWT"}), _segment(payload), "fake-signature"))
        self._valid.add(token)
        return token

    def accepts(self, token: str) -> bool:
        return token in self._valid

    def revoke(self) -> None:
        """Refuse every token issued so far."""
        self._valid.clear()

    def date_header(self) -> dict[str, str]:
        return {} if self.date is None else {"Date": email.utils.formatdate(self.date(), usegmt=True)}

    # The server

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name="fault-server")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while (exchange := self._read(connection, reader)) is not None:
                    self._behaviour(exchange)(exchange)
        except OSError:
            pass  # The client or the test has broken the connection.
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _read(self, connection: socket.socket, reader: io.BufferedReader) -> Exchange | None:
        lines = []
        while (line := reader.readline()) not in {b"\r\n", b""}:
            lines.append(line)
        if not lines:
            return None
        head = b"".join(lines).rstrip(b"\r\n")
        exchange = Exchange(self, connection, head, b"")
        if exchange.headers.get("transfer-encoding") == "chunked":
            while size := int(reader.readline(), 16):
                exchange.body += reader.read(size)
                reader.readline()
            reader.readline()
        else:
            exchange.body = reader.read(int(exchange.headers.get("content-length", 0)))
        return exchange

    def _behaviour(self, exchange: Exchange) -> Behaviour:
        with self._lock:
            self.exchanges.append(exchange)
            script = self._logins if exchange.path.endswith(LOGIN_PATH) else self._resources
            return script.pop(0) if len(script) > 1 else script[0]


def _segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
