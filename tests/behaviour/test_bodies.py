"""Uploads and downloads around a 401, over a real socket: sent again unchanged, or not at all; streamed, never read."""

from __future__ import annotations

import email
import email.policy
import io
import json
import time
import tracemalloc
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import httpx
import pytest

import kyc_client
from kyc_client._clock import Clock
from kyc_openapi.api.resource import get_resource
from tests.support.colours import COLOURS
from tests.support.fault_server import answer, check, issue
from tests.support.gate import Gate, settles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from kyc_client import LoginAuth
    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange, FaultServer

# Longer than what goes out in one piece, with an end that tells whether it is there.
DOCUMENT = b"passport " * 20_000 + b"the end"
MEGABYTE = 1 << 20


class Pipe(io.RawIOBase):
    """A file that cannot be rewound, like a pipe or a socket."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.readinto(buffer)


class AsyncPieces:
    """An async iterable that is no generator."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece


def pieces() -> Iterator[bytes]:
    """The document, piece by piece."""
    for start in range(0, len(DOCUMENT), 50_000):
        yield DOCUMENT[start : start + 50_000]


async def async_pieces() -> AsyncIterator[bytes]:
    """The same for async clients."""
    for piece in pieces():
        yield piece


def opened_late() -> io.BytesIO:
    """A file that somebody has read a part of already."""
    file = io.BytesIO(DOCUMENT)
    file.seek(100)
    return file


def parts(exchange: Exchange) -> list[bytes]:
    """The contents of a multipart body, as any reader of MIME finds them."""
    head = f"Content-Type: {exchange.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + exchange.body, policy=email.policy.HTTP)
    return [part.get_payload(decode=True) for part in message.iter_parts()]


def whole_document(exchange: Exchange) -> bool:
    """The body is the document."""
    return exchange.body == DOCUMENT


def whole_part(exchange: Exchange) -> bool:
    """The body is multipart, and its last part is the document."""
    return parts(exchange)[-1] == DOCUMENT


class Row:
    """One row of the table: a body, how a server knows that all of it has arrived, and whether it is sent again."""

    def __init__(
        self, make: Callable[[], dict[str, Any]], whole: Callable[[Exchange], bool], *, again: bool, only: str = ""
    ) -> None:
        self.make = make
        self.whole = whole
        self.again = again
        self.only = only  # The colours whose httpx client takes such a body: "sync", "async", or both.


ROWS = {
    "none": Row(dict, lambda exchange: exchange.body == b"", again=True),
    "json": Row(
        lambda: {"json": {"document": DOCUMENT.decode()}},
        lambda exchange: json.loads(exchange.body) == {"document": DOCUMENT.decode()},
        again=True,
    ),
    "form": Row(
        lambda: {"data": {"document": DOCUMENT.decode()}},
        lambda exchange: parse_qs(exchange.body.decode()) == {"document": [DOCUMENT.decode()]},
        again=True,
    ),
    "bytes": Row(lambda: {"content": DOCUMENT}, whole_document, again=True),
    "text": Row(lambda: {"content": DOCUMENT.decode()}, whole_document, again=True),
    "multipart of bytes": Row(
        lambda: {"files": {"f": ("f.pdf", DOCUMENT)}, "data": {"kind": "passport"}}, whole_part, again=True
    ),
    "multipart of text": Row(lambda: {"files": {"f": ("f.txt", DOCUMENT.decode())}}, whole_part, again=True),
    "multipart of a file": Row(lambda: {"files": {"f": ("f.pdf", io.BytesIO(DOCUMENT))}}, whole_part, again=True),
    "multipart of a file at 100": Row(lambda: {"files": {"f": ("f.pdf", opened_late())}}, whole_part, again=True),
    "multipart of a pipe": Row(lambda: {"files": {"f": ("f.pdf", Pipe(DOCUMENT))}}, whole_part, again=False),
    "multipart of both": Row(
        lambda: {"files": [("a", ("a.pdf", DOCUMENT)), ("b", ("b.pdf", Pipe(DOCUMENT)))]},
        lambda exchange: parts(exchange) == [DOCUMENT, DOCUMENT],
        again=False,
    ),
    "generator": Row(lambda: {"content": pieces()}, whole_document, again=False, only="sync"),
    "iterable": Row(lambda: {"content": list(pieces())}, whole_document, again=False, only="sync"),
    "file as content": Row(lambda: {"content": io.BytesIO(DOCUMENT)}, whole_document, again=False, only="sync"),
    "pipe as content": Row(lambda: {"content": Pipe(DOCUMENT)}, whole_document, again=False, only="sync"),
    "async generator": Row(lambda: {"content": async_pieces()}, whole_document, again=False, only="async"),
    "async iterable": Row(lambda: {"content": AsyncPieces()}, whole_document, again=False, only="async"),
}


def cells() -> Iterator[Any]:
    """Each row of the table, in each colour whose httpx client takes such a body at all."""
    for name, row in ROWS.items():
        for colour in COLOURS:
            if row.only in {"", "sync" if colour.name == "sync" else "async"}:
                yield pytest.param(colour, row, id=f"{name}-{colour.name}")


each_cell = pytest.mark.parametrize(("colour", "row"), list(cells()))


def post(colour: Colour, server: FaultServer, auth: LoginAuth, **body: Any) -> int:
    """One upload, and the status that its caller sees."""
    return colour.send("POST", f"{server.base_url}/documents", client={"auth": auth}, **body).status_code


@each_cell
def test_accepted_at_once(server: FaultServer, auth: LoginAuth, colour: Colour, row: Row) -> None:
    """C4: with a good token each body arrives whole, and once."""
    assert post(colour, server, auth, **row.make()) == 200
    assert [row.whole(exchange) for exchange in server.hits] == [True]
    assert server.login_count == 1


@each_cell
def test_refused_once(server: FaultServer, auth: LoginAuth, colour: Colour, row: Row) -> None:
    """C1, C2, C3, C4: after a 401 the same bytes go out again, or nothing does: never a part, never an empty document.

    What cannot be sent again gives its caller the 401, and drops the token, so that the next call logs in.
    """
    first = colour.token(auth).value
    server.revoke()
    status = post(colour, server, auth, **row.make())
    assert all(row.whole(exchange) for exchange in server.hits)
    if row.again:
        assert (status, len(server.hits), server.login_count) == (200, 2, 2)
        assert len({exchange.body for exchange in server.hits}) == 1
        assert len({exchange.headers.get("content-length") for exchange in server.hits}) == 1
    else:
        assert (status, len(server.hits), server.login_count) == (401, 1, 1)
        assert colour.token(auth).value != first
        assert server.login_count == 2


def near_its_end(auth: LoginAuth) -> None:
    """Put the token into its soft phase, where it is used and renewed in the background, by clocks that are ahead."""
    ahead = 3600 - 200
    clock = Clock(monotonic=lambda: time.monotonic() + ahead, wall=lambda: time.time() + ahead)
    auth._source.use(clock)


@pytest.mark.parametrize("kind", ["stream", "json"])
def test_upload_uses_a_token_near_its_end_at_once(
    server: FaultServer, auth: LoginAuth, colour: Colour, kind: str
) -> None:
    """C5: any upload goes out at once with a soft token, also a body that can be sent only once.

    Its renewal runs in the background and waits for the server meanwhile.
    """
    old = colour.token(auth).value
    near_its_end(auth)
    gate = Gate()
    server.on_login(gate)
    stream = {"content": pieces() if colour.name == "sync" else async_pieces()}
    try:
        assert post(colour, server, auth, **(stream if kind == "stream" else {"json": {"name": "fake"}})) == 200
        assert gate.arrived.wait(10)
    finally:
        gate.opened.set()
    (upload,) = server.hits
    assert upload.token == old
    assert kind == "json" or whole_document(upload)
    assert settles(lambda: auth.get_token().value != old)
    assert server.login_count == 2


# Streams


class Download:
    """What a caller of `stream()` saw."""

    def __init__(self) -> None:
        self.status = 0
        self.size = 0
        self.was_read_for_us = False


def download(colour: Colour, url: str, **client: Any) -> Download:
    """Read an answer piece by piece, in any colour."""
    seen = Download()

    def opened(response: httpx.Response) -> None:
        seen.status = response.status_code
        seen.was_read_for_us = response.is_stream_consumed or response.is_closed

    if colour.name == "sync":
        with httpx.Client(timeout=10, **client) as http, http.stream("GET", url) as response:
            opened(response)
            for piece in response.iter_raw():
                seen.size += len(piece)
        return seen

    async def main() -> None:
        async with httpx.AsyncClient(timeout=10, **client) as http, http.stream("GET", url) as response:
            opened(response)
            async for piece in response.aiter_raw():
                seen.size += len(piece)

    colour.run(main)
    return seen


def large(size: int) -> Behaviour:
    """A good answer of so many bytes, to a valid token."""

    def behaviour(exchange: Exchange) -> None:
        if exchange.token is None or not exchange.server.accepts(exchange.token):
            check(exchange)
            return
        exchange.send(b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % size)
        piece = b"x" * 65536
        for _ in range(size // len(piece)):
            exchange.send(piece)

    return behaviour


def test_unread_401_does_not_block_a_pool_of_one(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """C6: a streamed call is answered by a 401 of 500 kB, on the only connection there is; its retry is streamed."""
    colour.token(auth)
    server.revoke()
    server.on_resource(answer(401, b"x" * 500_000), large(MEGABYTE))
    limits = httpx.Limits(max_connections=1)
    seen = download(colour, f"{server.base_url}/api", auth=auth, limits=limits)
    assert (seen.status, seen.size, seen.was_read_for_us) == (200, MEGABYTE, False)
    assert (server.login_count, len(server.hits)) == (2, 2)


@pytest.mark.parametrize("revoked", [False, True], ids=["good token", "revoked token"])
def test_large_download_is_not_read_by_us(server: FaultServer, auth: LoginAuth, colour: Colour, revoked: bool) -> None:  # noqa: FBT001 - of a parametrisation
    """C8: 50 MB pass through in the memory of a few pieces, also after a 401."""
    colour.token(auth)
    if revoked:
        server.revoke()
    server.on_resource(large(50 * MEGABYTE))
    tracemalloc.start()
    try:
        seen = download(colour, f"{server.base_url}/api", auth=auth)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (seen.status, seen.size, seen.was_read_for_us) == (200, 50 * MEGABYTE, False)
    assert peak < 5 * MEGABYTE


# Never sent again for any other reason


def break_off(exchange: Exchange) -> None:
    """The server has the whole body, and no answer goes out."""
    exchange.reset()


def half_an_answer(exchange: Exchange) -> None:
    """The server has the whole body, and its answer breaks off."""
    exchange.send(b"HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n{")
    exchange.close()


def silence(exchange: Exchange) -> None:
    """The server has the whole body, and says nothing."""
    exchange.server.stopping.wait(30)


FAULTS = {
    "reset": (break_off, httpx.ReadError),
    "half an answer": (half_an_answer, httpx.RemoteProtocolError),
    "no answer": (silence, httpx.ReadTimeout),
}


@pytest.mark.parametrize(("fault", "kind"), FAULTS.values(), ids=FAULTS)
def test_broken_call_is_not_sent_again(
    server: FaultServer, auth: LoginAuth, colour: Colour, fault: Behaviour, kind: type[Exception]
) -> None:
    """C9: the applicant may have been filed: one hit, the caller gets httpx's own error, and the token stays."""
    colour.token(auth)
    server.on_resource(fault)
    client = {"auth": auth, "timeout": httpx.Timeout(10, read=0.5)}
    with pytest.raises(kind):
        colour.send("POST", f"{server.base_url}/applicants", client=client, json={"name": "fake"})
    assert [exchange.body for exchange in server.hits] == [b'{"name":"fake"}']
    colour.token(auth)
    assert server.login_count == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_other_status_is_not_sent_again(server: FaultServer, auth: LoginAuth, colour: Colour, status: int) -> None:
    """C9: nor is a call sent again because the server is busy or broken, whatever `Retry-After` says."""
    server.on_resource(answer(status, b"", {"Retry-After": "0"}))
    assert post(colour, server, auth, json={"name": "fake"}) == status
    assert (server.login_count, len(server.hits)) == (1, 1)


# Errors raised in the middle of a call


@pytest.mark.parametrize("kind", [kyc_client.BadCredentialsError, kyc_client.LoginResponseError], ids=str)
@pytest.mark.parametrize("revoked", [False, True], ids=["before the call", "after a 401"])
def test_error_of_a_login_leaks_no_connection(
    server: FaultServer,
    auth: LoginAuth,
    colour: Colour,
    kind: type[kyc_client.LoginError],
    revoked: bool,  # noqa: FBT001 - of a parametrisation
) -> None:
    """C11: three failed logins in a pool of one connection, with an unread 401 on it: the next call has it again."""
    bad = {
        kyc_client.BadCredentialsError: answer(400, {"detail": "LOGIN_BAD_CREDENTIALS"}),
        kyc_client.LoginResponseError: answer(200, b"<html>"),
    }[kind]
    errors: list[Exception] = []

    def mend() -> None:
        auth.reset()
        server.on_login(issue())
        server.on_resource(check)

    def spoil() -> None:
        server.revoke()
        server.on_resource(answer(401, b"x" * 500_000), check)
        server.on_login(bad)

    client: dict[str, Any] = {"auth": auth, "limits": httpx.Limits(max_connections=1), "timeout": 10}
    url = f"{server.base_url}/api"
    if colour.name == "sync":
        with httpx.Client(**client) as http:
            for _ in range(3):
                mend()
                if revoked:
                    auth.get_token()
                spoil()
                with pytest.raises(kind) as caught, http.stream("GET", url):
                    pass
                errors.append(caught.value)
            mend()
            assert http.get(url).status_code == 200
    else:

        async def main() -> None:
            async with httpx.AsyncClient(**client) as http:
                for _ in range(3):
                    mend()
                    if revoked:
                        await auth.aget_token()
                    spoil()
                    with pytest.raises(kind) as caught:
                        async with http.stream("GET", url):
                            pass
                    errors.append(caught.value)
                mend()
                assert (await http.get(url)).status_code == 200

        colour.run(main)
    assert {type(error) for error in errors} == {kind}
    assert len({id(error) for error in errors}) == 3


def test_error_of_a_login_passes_the_generated_operation(
    server: FaultServer, credentials: kyc_client.Credentials, colour: Colour
) -> None:
    """C11: what the flow raises reaches the caller of an operation as it is, neither wrapped nor swallowed."""
    server.on_login(answer(400, {"detail": "LOGIN_USER_NOT_VERIFIED"}))
    client = kyc_client.connect(server.base_url, credentials=credentials)
    with pytest.raises(kyc_client.UserNotVerifiedError) as caught:
        colour.operation(get_resource, client)
    assert type(caught.value) is kyc_client.UserNotVerifiedError
    assert server.hits == []
