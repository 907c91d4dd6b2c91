"""A proxy for tests: it opens tunnels (`CONNECT`) over real sockets, and records everything that it can see.

    with ConnectProxy() as proxy:
        httpx.get(url, proxy=proxy.url)
        assert proxy.tunnels == ["127.0.0.1:8443"]

It connects to this machine only. It answers every other method with 400, and records it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class ConnectProxy:
    """See the module's docstring. Listens on 127.0.0.1, on a free port, and stops with its block."""

    def __init__(self, refusal: bytes = b"", *, secret: str = "") -> None:
        """Make a proxy.

        Args:
            refusal: answer every CONNECT with this, and open no tunnel.
            secret: `user:password`, a part of its URL.
        """
        self.refusal = refusal
        self.heads: list[str] = []
        self.seen = b""
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{secret}{'@' if secret else ''}127.0.0.1:{self.port}"

    @property
    def tunnels(self) -> list[str]:
        """The targets of the requested tunnels, in order."""
        lines = [head.partition("\r\n")[0].split(" ") for head in list(self.heads)]
        return [target for method, target, _ in lines if method == "CONNECT"]

    @property
    def in_clear(self) -> list[str]:
        """The requests without a tunnel, which the proxy can read."""
        return [head for head in list(self.heads) if not head.startswith("CONNECT ")]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: object, *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True, name="connect-proxy")
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, client: socket.socket) -> None:
        with self._held(client), contextlib.suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = client.recv(1)
                if not piece:
                    return
                head += piece
            with self._lock:
                self.heads.append(head.decode("latin-1"))
                self.seen += head
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            if method != b"CONNECT" or self.refusal:
                client.sendall(self.refusal or b"HTTP/1.1 400 Only CONNECT\r\nContent-Length: 0\r\n\r\n")
                return
            port = int(target.rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as server, self._held(server):
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = self._start(self._pump, server, client)
                self._pump(client, server)
                back.join(5)

    @contextlib.contextmanager
    def _held(self, one: socket.socket):
        with self._lock:
            self._sockets.add(one)
        try:
            with one:
                yield
        finally:
            with self._lock:
                self._sockets.discard(one)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    self.seen += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
