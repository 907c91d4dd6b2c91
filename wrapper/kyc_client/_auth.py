"""`LoginAuth`: puts the token on requests, and answers a 401 with one login and one more try."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator, Iterator  # noqa: TC003 - for those who evaluate the annotations
from typing import Any, NoReturn

import httpx

from ._clock import Clock
from ._login.endpoint import LoginEndpoint
from ._settings import (
    CONNECTION_ARGUMENTS,
    DEFAULT_TIMEOUT,
    CredentialsSource,
    as_callable,
    as_timeout,
    misuse_of,
    settle,
)
from ._token.flight import TokenSource, wait_async, wait_sync
from ._token.lease import Lease, Token
from ._token.reporter import OnEvent, Reporter
from .errors import ConfigurationError

# Where a request remembers what we put into its header, so that the header of a request sent again does not pass for
# the caller's; and, for a response hook, since when it had waited for that.
_MARK, _SINCE = "kyc_client.lease", "kyc_client.since"
# No login begins later than this: for a request that has not waited for one.
_LATER = math.inf


class LoginAuth(httpx.Auth):
    """Authentication for any httpx client: logs in on first use, keeps the token, and logs in again when it has to.

    One object serves any number of sync and async clients, threads, tasks and event loops (asyncio and trio) at the
    same time, with one login for all of them. Making one does no network I/O and starts no thread.

    A request gets the token if it goes to the origin (scheme, host and port) of the base URL and has no
    `Authorization` header of the caller's; any other request is left alone. On a 401 it is sent once more, with the
    current token or after one login, if its body can be sent again unchanged: no body, bytes, text, JSON, a form, or
    multipart of bytes and seekable files. There is one login at a time, for all who wait, with its outcome for all:
    success or failure. The token is renewed in the background in the last fifth of its life, and credentials that were
    refused are not tried again for a while.

    Args:
        base_url: the API's address, `https://<kyc_domain>`; None reads `API_BASE_URL`.
        credentials: the login and password, or a callable that returns them, asked (in a thread of its own) at each
            login, so that rotated secrets are picked up; None reads `API_LOGIN` and `API_PASSWORD`, or the files that
            `API_LOGIN_FILE` and `API_PASSWORD_FILE` name, at each login likewise.
        timeout: seconds, or an `httpx.Timeout`, for each connect, read and write of a login. A login as a whole ends
            after 20 s.
        allow_insecure_http: accept `http://` to a host other than this machine itself.
        on_event: a function that is called with each `kyc_client.events.Event`, for metrics.
        **connection_args: httpx's connection arguments, used for the login: `verify`, `cert`, `proxy`, `trust_env`,
            `transport`, `mounts`. A transport is used and never closed; an async-only one carries the login on the
            event loop of the task that asks.

    Raises:
        ConfigurationError: the base URL is missing or not fit to receive a password, or a certificate cannot be
            loaded.
        TypeError: an argument that httpx does not know, or that is not about connections.
    """

    requires_request_body = False
    # A streamed download must reach the caller as a stream.
    requires_response_body = False

    def __init__(
        self,
        base_url: str | httpx.URL | None = None,
        *,
        credentials: CredentialsSource = None,
        timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
        allow_insecure_http: bool = False,
        on_event: OnEvent | None = None,
        **connection_args: Any,
    ) -> None:
        misuse = misuse_of(credentials)
        if unknown := ", ".join(sorted(connection_args.keys() - CONNECTION_ARGUMENTS)):
            known = ", ".join(sorted(CONNECTION_ARGUMENTS))
            misuse = f"LoginAuth() takes no {unknown}; of httpx's arguments it takes {known}."
        if misuse:
            del base_url, credentials, connection_args  # As below.
            raise TypeError(misuse)
        url, connection, problem = settle(
            base_url,
            connection_args,
            allow_insecure_http=allow_insecure_http,
            login_transport=connection_args.get("transport"),
        )
        if problem:
            del base_url, url, connection_args  # A crash reporter shows the locals of the frames that an error passes.
            raise ConfigurationError(problem)
        self._start(url, LoginEndpoint(url, as_timeout(timeout), connection), credentials, on_event)

    @classmethod
    def _of(cls, url: httpx.URL, endpoint: LoginEndpoint, credentials: Any, on_event: Any) -> LoginAuth:
        self = cls.__new__(cls)
        self._start(url, endpoint, credentials, on_event)
        return self

    def _start(self, url: httpx.URL, endpoint: LoginEndpoint, credentials: Any, on_event: Any) -> None:
        reporter = Reporter(str(url).removesuffix("/"), on_event)
        self._source = TokenSource(endpoint, as_callable(credentials), Clock(), reporter=reporter)
        self._base_url = url
        self._scheme, self._host, self._port = url.scheme, url.raw_host, url.port
        self._notes_answers = False

    def get_token(self) -> Token:
        """The current token, after a login if there must be one: for a websocket, another HTTP library, a shell.

        Its `value` is the string: `f"Bearer {auth.get_token().value}"`.

        Raises:
            ConfigurationError: there are no usable credentials.
            LoginError: the login failed, or is known to be pointless for now.
        """
        return wait_sync(self._source.acquire()).token

    async def aget_token(self) -> Token:
        """`get_token()` for async code: waits for a login without blocking the event loop. Raises the same errors."""
        return (await wait_async(self._source.acquire())).token

    def reset(self) -> None:
        """Forget the token, and any refusal or cool-down that keeps calls from logging in.

        For an operator who knows better: the user has been verified, the API is back. A login that is under way still
        serves those who wait for it, but its token is not kept.
        """
        self._source.reset()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The flow of one request through an `httpx.Client`; httpx calls it."""
        if not self._is_ours(request):
            yield _cleared(request)
            return
        source = self._source
        lease, since = source.fresh(), _LATER
        if lease is None:
            since = source.now()
            lease = wait_sync(source.acquire(patient=not _can_be_sent_again(request)))
        response = yield self._stamp(request, lease, since)
        if response.status_code != 401 or not self._is_rejection(response, lease):
            return
        since, before = source.now(), since
        if not source.reject(lease, since=before, repeatable=_may_be_repeated(request, response)):
            return
        response.read()  # Before waiting: an unread answer holds its connection, which the others may be waiting for.
        lease = wait_sync(source.acquire())
        response = yield self._stamp(request, lease, since)
        self._conclude(response, lease, since)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The flow of one request through an `httpx.AsyncClient`; httpx calls it."""
        if not self._is_ours(request):
            yield _cleared(request)
            return
        source = self._source
        lease, since = source.fresh(), _LATER
        if lease is None:
            since = source.now()
            patient = not _can_be_sent_again(request)
            lease = await wait_async(source.acquire(patient=patient))
        response = yield self._stamp(request, lease, since)
        if response.status_code != 401 or not self._is_rejection(response, lease):
            return
        since, before = source.now(), since
        if not source.reject(lease, since=before, repeatable=_may_be_repeated(request, response)):
            return
        await response.aread()  # As in `sync_auth_flow`.
        lease = await wait_async(source.acquire())
        response = yield self._stamp(request, lease, since)
        self._conclude(response, lease, since)

    def _is_ours(self, request: httpx.Request) -> bool:
        """Whether a request is to carry the token: it goes to our origin, and the caller has not authorized it."""
        url = request.url
        if url.raw_host != self._host or url.scheme != self._scheme or url.port != self._port:
            return False
        # `raw` is a third of the price of a look-up by name, which first finds out the encoding of all headers; and few
        # names have as many letters as this one.
        for name, _ in request.headers.raw:
            if len(name) == 13 and name.lower() == b"authorization":
                return _carries_ours(request)
        return True

    def _is_rejection(self, response: httpx.Response, lease: Lease) -> bool:
        """Whether our origin has refused our token; a redirect may have led elsewhere, without the token."""
        if response.status_code != 401:
            return False
        answered = response.request
        url = answered.url
        ours = url.raw_host == self._host and url.scheme == self._scheme and url.port == self._port
        return ours and answered.headers.get("Authorization") == lease.authorization

    def _stamp(self, request: httpx.Request, lease: Lease, since: float) -> httpx.Request:
        request.headers["Authorization"] = lease.authorization
        request.extensions[_MARK] = lease
        if self._notes_answers:
            request.extensions[_SINCE] = since
        return request

    def _response_hook(self) -> Callable[[httpx.Response], _Nothing]:
        """What has to come before the caller's response hooks, which may raise at a 401; requests get marked for it."""
        self._notes_answers = True
        return self._note_answer

    def _note_answer(self, response: httpx.Response) -> _Nothing:
        """Take note of a 401 that the flow may never see, which would keep the token until it expires."""
        marks = response.request.extensions
        lease = marks.get(_MARK)
        if isinstance(lease, Lease) and self._is_rejection(response, lease):
            self._source.reject(lease, since=marks.get(_SINCE, _LATER), repeatable=False)
        return _Nothing()

    def _conclude(self, response: httpx.Response, lease: Lease, since: float) -> None:
        """Learn from the answer to the second sending, if the login was made to cure the 401 of the first.

        A token that was there already, or on its way, may have been revoked like the one before it; then a second 401
        proves nothing, and the next call to meet one sees to it.
        """
        if lease.began < since:
            return
        if self._is_rejection(response, lease):
            self._source.reject(lease, since=since, repeatable=True)
        else:
            self._source.cured()

    def __repr__(self) -> str:
        # A crash reporter may ask for it in the middle of `__init__`.
        return f"LoginAuth({str(getattr(self, '_base_url', '?'))!r})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A LoginAuth is not pickled, because it holds a token and a lock: make one in each process.")


class _Nothing:
    """What a hook returns that async clients await and sync ones do not."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def _carries_ours(request: httpx.Request) -> bool:
    """Whether its `Authorization` header is what we put there when this very object was sent before."""
    lease = request.extensions.get(_MARK)
    return isinstance(lease, Lease) and request.headers.get("Authorization") == lease.authorization


def _cleared(request: httpx.Request) -> httpx.Request:
    """A request that is not ours, without our token: sent to us before, it may have been given another address."""
    if _carries_ours(request):
        del request.headers["Authorization"]
    return request


def _can_be_sent_again(request: httpx.Request) -> bool:
    """Whether a second sending would send the same body.

    Measured on httpx 0.28: a generator is consumed, an open file as `content=` is at its end, and multipart silently
    leaves out a file that cannot be rewound. Multipart's class is private, so it is known by its `fields`.
    """
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return True
    fields = getattr(stream, "fields", None)
    return fields is not None and all(_can_be_read_again(getattr(field, "file", b"")) for field in fields)


def _can_be_read_again(file: Any) -> bool:
    if isinstance(file, bytes | str):
        return True
    # `seekable()` is a promise that not everything keeps. Multipart is sent from the beginning in any case.
    try:
        file.seek(0)
    except Exception:  # noqa: BLE001 - the caller's object: whatever it raises, it has not been rewound
        return False
    return True


def _may_be_repeated(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether the request may be sent again after this 401.

    After a 303 the 401 is the answer to a GET, and the POST before it was accepted: sent again, it would be doubled.
    """
    return response.request.method == request.method and _can_be_sent_again(request)
