"""`LoginAuth`: puts the token on requests, and answers a 401 with one login and one more try."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator  # noqa: TC003 - for those who evaluate the annotations
from typing import TYPE_CHECKING, Any, NoReturn

import httpx

from ._clock import Clock
from ._settings import DEFAULT_TIMEOUT, LOGIN_ARGUMENTS, CredentialsSource, as_callable, configure, without_frames
from ._token.lease import Lease, Token
from ._token.policy import LoginStatus  # noqa: TC001 - as above
from ._token.reporter import OnEvent, Reporter
from ._token.source import TokenSource, wait_async, wait_sync

if TYPE_CHECKING:
    from ._login.endpoint import LoginEndpoint

# Where a request remembers the token that we put into its header, so that our header on a request object that is sent
# again is not taken for the caller's. And, for response hooks, whether this is the second sending.
_LEASE, _SECOND = "kyc_client.lease", "kyc_client.second"


class LoginAuth(httpx.Auth):
    """Authentication for any httpx client: logs in on first use, keeps the token, and logs in again when it has to.

    One object serves any number of sync and async clients, threads, tasks and event loops (asyncio and trio) at the
    same time, with one login for all of them. Making one does no network I/O and starts no thread.

    A request gets the token if it goes to the origin (scheme, host and port) of the base URL and has no
    `Authorization` header of the caller's. Every other request is left alone. After a 401, the request is sent once
    more, with the current token or after one login, if its body can be sent again unchanged: no body, bytes, text,
    JSON, a form, or multipart of bytes and seekable files. 401s cause three logins at most, and then one per 10 s.
    There is one login at a time, for everyone who waits, with the same outcome for all. The token is renewed in the
    background in the last fifth of its life. Refused credentials are not tried again for a while.

    Args:
        base_url: the API's address, `https://<kyc_domain>`. None reads `API_BASE_URL`.
        credentials: the login and password, or a callable that returns them. The callable is called at each login, in a
            thread of its own, so rotated secrets are picked up. None reads `API_LOGIN` and `API_PASSWORD`, or the files
            that `API_LOGIN_FILE` and `API_PASSWORD_FILE` name, at each login.
        timeout: seconds, or an `httpx.Timeout`, for each connect, read and write of a login. A login as a whole ends
            after 20 s.
        allow_insecure_http: accept `http://` to a host other than this machine.
        on_event: a function that is called with each `kyc_client.events.Event`, for metrics.
        headers: headers that a gateway wants on the login, for example its API key or `Host`. Not `Authorization` and
            not `Cookie`.
        **connection_args: httpx's connection arguments, used for the login: `verify`, `cert`, `proxy`, `trust_env`,
            `transport`, `mounts`. The transport is used and never closed. An async-only one runs on an event loop of
            the login's own, so do not share its connections with a client on another loop.

    Raises:
        ConfigurationError: the base URL is missing or must not receive a password, or a certificate, a proxy or a
            header cannot be used.
        TypeError: an argument that httpx does not know, or that is not about connections.
    """

    @without_frames
    def __init__(  # noqa: PLR0913 - each is optional, and given by name
        self,
        base_url: str | httpx.URL | None = None,
        *,
        credentials: CredentialsSource = None,
        timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
        allow_insecure_http: bool = False,
        on_event: OnEvent | None = None,
        headers: Any = None,
        **connection_args: Any,
    ) -> None:
        endpoint = configure(
            "LoginAuth()",
            base_url,
            connection_args,
            credentials,
            timeout,
            known=LOGIN_ARGUMENTS,
            needs_credentials=False,
            allow_insecure_http=allow_insecure_http,
            login_headers=headers,
            login_transport=connection_args.get("transport"),
        )
        self._set_up(endpoint, credentials, on_event)

    def _set_up(self, endpoint: LoginEndpoint, credentials: CredentialsSource, on_event: OnEvent | None) -> None:
        url = endpoint.base_url
        reporter = Reporter(str(url).removesuffix("/"), on_event)
        self._source = TokenSource(endpoint, as_callable(credentials), Clock(), reporter=reporter)
        self._base_url = url
        self._scheme, self._host, self._port = url.scheme, url.raw_host, url.port
        self._marks_second = False

    def get_token(self) -> Token:
        """The current token, after a login if one is needed: for a websocket, another HTTP library, a shell.

        Its `value` is the string: `f"Bearer {auth.get_token().value}"`.

        Raises:
            ConfigurationError: there are no usable credentials.
            LoginError: the login failed, or is known to be pointless for now.
        """
        return wait_sync(self._source.acquire()).token

    async def aget_token(self) -> Token:
        """`get_token()` for async code. It waits without blocking the event loop, and raises the same errors."""
        return (await wait_async(self._source.acquire())).token

    def status(self) -> LoginStatus:
        """A snapshot for a health endpoint: the token's phase, and how the last login went. It does no I/O."""
        return self._source.status()

    def reset(self) -> None:
        """Forget the token, and any refusal or cool-down that keeps calls from logging in.

        For an operator who knows more: the user has been verified, or the API is back. The token of a login that is
        under way is not kept, and those who wait for it log in again.
        """
        self._source.reset()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The flow of one request through an `httpx.Client`. httpx calls it."""
        if not self._is_ours(request):
            yield _without_our_header(request)
            return
        source = self._source
        lease = source.fresh() or wait_sync(source.acquire())
        response = yield self._stamp(request, lease)
        if response.status_code != 401 or not self._take_rejection(request, response, lease):
            return
        response.read()  # Before waiting. An unread answer holds its connection, and others may be waiting for it.
        lease = wait_sync(source.acquire(other_than=lease))
        yield self._stamp(request, lease, second=True)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The flow of one request through an `httpx.AsyncClient`. httpx calls it."""
        if not self._is_ours(request):
            yield _without_our_header(request)
            return
        source = self._source
        lease = source.fresh() or await wait_async(source.acquire())
        response = yield self._stamp(request, lease)
        if response.status_code != 401 or not self._take_rejection(request, response, lease):
            return
        await response.aread()  # As in `sync_auth_flow`.
        lease = await wait_async(source.acquire(other_than=lease))
        yield self._stamp(request, lease, second=True)

    def _is_ours(self, request: httpx.Request) -> bool:
        """Whether a request gets the token: it goes to our origin, and the caller has not authorized it."""
        url = request.url
        if url.raw_host != self._host or url.scheme != self._scheme or url.port != self._port:
            return False
        # `raw` costs a third of a look-up by name, which first finds out the encoding of all headers. Few other names
        # have 13 letters.
        for name, _ in request.headers.raw:
            if len(name) == 13 and name.lower() == b"authorization":
                return _carries_ours(request)
        return True

    def _stamp(self, request: httpx.Request, lease: Lease, *, second: bool = False) -> httpx.Request:
        request.headers["Authorization"] = lease.authorization
        request.extensions[_LEASE] = lease
        if self._marks_second:
            request.extensions[_SECOND] = second
        return request

    def _take_rejection(self, request: httpx.Request, response: httpx.Response, lease: Lease) -> bool:
        """Take note of a 401, and say whether the request is sent again. May drop the token, and may raise.

        The token is dropped whether or not the request can be sent again, so that the next request gets a better one.
        """
        if not self._is_rejection(response, lease) or not self._source.rejected(lease):
            return False
        # After a 303, the 401 answers a GET, and the POST before it was accepted. Sent again, it would be doubled.
        return response.request.method == request.method and _can_be_sent_again(request)

    def _is_rejection(self, response: httpx.Response, lease: Lease) -> bool:
        """Whether our origin has refused our token. A redirect may have led elsewhere, without the token."""
        if response.status_code != 401:
            return False
        answered = response.request
        url = answered.url
        ours = url.raw_host == self._host and url.scheme == self._scheme and url.port == self._port
        return ours and answered.headers.get("Authorization") == lease.authorization

    def _response_hook(self) -> Callable[[httpx.Response], _Nothing]:
        """A hook that has to come before the caller's response hooks. They may raise at a 401, and end the flow."""
        self._marks_second = True
        return self._note_answer

    def _note_answer(self, response: httpx.Response) -> _Nothing:
        """Take note of a 401 that the flow may never see. Otherwise the token would be used until it expires."""
        marks = response.request.extensions
        lease = marks.get(_LEASE)
        if isinstance(lease, Lease) and not marks.get(_SECOND) and self._is_rejection(response, lease):
            self._source.rejected(lease)
        return _Nothing()

    def __repr__(self) -> str:
        # A crash reporter may ask for it in the middle of `__init__`.
        return f"LoginAuth({str(getattr(self, '_base_url', '?'))!r})"

    def __copy__(self, _memo: object = None) -> NoReturn:
        raise TypeError(
            "A LoginAuth is not copied, because two of them would log in twice. "
            "Use this one: it serves any number of clients, threads and event loops at the same time."
        )

    __deepcopy__ = __copy__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A LoginAuth is not pickled, because it holds a token and a lock. Make one in each process.")


def auth_for(endpoint: LoginEndpoint, credentials: CredentialsSource, on_event: OnEvent | None) -> LoginAuth:
    """A `LoginAuth` of what has been checked already."""
    auth = LoginAuth.__new__(LoginAuth)
    auth._set_up(endpoint, credentials, on_event)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return auth


class _Nothing:
    """What a hook returns. Async clients await it, and sync ones do not."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def _carries_ours(request: httpx.Request) -> bool:
    """Whether its `Authorization` header is what we put there when this very object was sent before."""
    lease = request.extensions.get(_LEASE)
    return isinstance(lease, Lease) and request.headers.get("Authorization") == lease.authorization


def _without_our_header(request: httpx.Request) -> httpx.Request:
    """The request without our token. It may have been sent to us before, and then been given another address."""
    if _carries_ours(request):
        del request.headers["Authorization"]
    return request


def _can_be_sent_again(request: httpx.Request) -> bool:
    """Whether a second sending would send the same body.

    Measured on httpx 0.28: a generator is consumed, a file given as `content=` is at its end, and multipart silently
    leaves out a file that cannot be rewound. The class of multipart bodies is private, so `fields` identifies it.
    """
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return True
    fields = getattr(stream, "fields", None)
    return fields is not None and all(_can_be_read_again(getattr(field, "file", b"")) for field in fields)


def _can_be_read_again(file: Any) -> bool:
    if isinstance(file, bytes | str):
        return True
    # Some objects say that they are seekable and are not, so we try. httpx sends multipart from the beginning anyway.
    try:
        file.seek(0)
    except Exception:  # noqa: BLE001 - the caller's object. Whatever it raises, it has not been rewound
        return False
    return True
