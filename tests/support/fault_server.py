"""A server for tests: a real socket, scripted answers, and a record of all that came in.

    with FaultServer() as server:
        server.on_login(status(503), issue())           # in this order; the last one is repeated
        server.on_resource(check, hang)
        ...
        assert server.login_count == 2

By default a login issues a token and every other path wants a valid one, so a script says only what is unusual. A
behaviour is a function of the `Exchange` that it has to answer.
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
        # What tells the client's connections apart, also when they have been closed.
        self.client_port: int = connection.getpeername()[1]
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = request_line.split(" ", 2)
        self.path = self.target.partition("?")[0]
        # As they came, for names that came twice.
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
        """Put bytes on the wire as they are."""
        self.connection.sendall(raw)

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        """A well-formed answer; a body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **self.server.date_header()}
        fields |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status} \r\n{head}\r\n".encode() + content)

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The reader still holds the descriptor: only leaving the thread's `with` really closes it.
        raise ConnectionAbortedError

    def close(self) -> None:
        """Close the connection in good order, but maybe in the middle of an answer."""
        self.connection.shutdown(socket.SHUT_RDWR)


Behaviour: TypeAlias = Callable[[Exchange], None]


def answer(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer with this."""
    return lambda exchange: exchange.answer(status, body, headers)


def issue(**claims: Any) -> Behaviour:
    """Log in: issue a token, with these claims beside or instead of its own."""
    return lambda exchange: exchange.answer(
        200, {"access_token": exchange.server.new_token(**claims), "token_type": "bearer"}
    )


def check(exchange: Exchange) -> None:
    """Let a valid token pass, and echo it; else 401, as the API says it."""
    if exchange.token is not None and exchange.server.accepts(exchange.token):
        exchange.answer(200, {"token": exchange.token, "path": exchange.target})
    else:
        exchange.answer(401, {"detail": "Unauthorized"})


def hang(exchange: Exchange) -> None:
    """Say nothing until the server stops or the client goes away."""
    with contextlib.suppress(OSError):
        exchange.connection.recv(1)


def reset(exchange: Exchange) -> None:
    """Break the connection without an answer."""
    exchange.reset()


def after(event: threading.Event, then: Behaviour) -> Behaviour:
    """Answer only once the test allows it."""

    def behaviour(exchange: Exchange) -> None:
        event.wait()
        then(exchange)

    return behaviour


def drip(raw: bytes, seconds: float) -> Behaviour:
    """Send these bytes one by one, with a pause after each, for ever."""

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
            lifetime: of the tokens, in seconds.
            date: the clock of the `Date` header; None to send none.
            context: a server's TLS context, to speak https.
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

    # What a test sets and asks

    def on_login(self, *behaviours: Behaviour) -> None:
        """Answer the next logins like this, one after the other; the last behaviour is repeated."""
        self._logins = list(behaviours)

    def on_resource(self, *behaviours: Behaviour) -> None:
        """Answer the next requests for anything but the login like this; the last behaviour is repeated."""
        self._resources = list(behaviours)

    @property
    def logins(self) -> list[Exchange]:
        """The logins that came in."""
        return [exchange for exchange in list(self.exchanges) if exchange.path.endswith(LOGIN_PATH)]

    @property
    def login_count(self) -> int:
        return len(self.logins)

    @property
    def hits(self) -> list[Exchange]:
        """All other requests that came in."""
        return [exchange for exchange in list(self.exchanges) if not exchange.path.endswith(LOGIN_PATH)]

    @property
    def raw_headers(self) -> list[tuple[str, str]]:
        """The headers of the last of them, one for each line on the wire."""
        return self.hits[-1].raw_headers

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open at this moment."""
        return len(self._connections)

    def new_token(self, **claims: Any) -> str:
        """A token that this server accepts: a JWT in form, plainly a fake, and different from all others."""
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
        """Refuse every token that has been issued so far."""
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
            pass  # The client, or the test, has broken the connection.
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
