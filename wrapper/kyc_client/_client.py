"""`connect()` and `Client`: the generated client, with a `LoginAuth` on it."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Mapping  # noqa: TC003 - for those who evaluate the annotations
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import httpx

from kyc_openapi import AuthenticatedClient

from . import _fork
from ._auth import LoginAuth, auth_for
from ._login.endpoint import USER_AGENT
from ._settings import DEFAULT_TIMEOUT, CredentialsSource, configure, without_frames
from ._token.loops import current_loop, is_over
from ._token.reporter import OnEvent  # noqa: TC001 - for those who evaluate the annotations

if TYPE_CHECKING:
    from ._login.endpoint import LoginEndpoint


@without_frames
def connect(  # noqa: PLR0913 - each is optional, and given by name
    base_url: str | httpx.URL | None = None,
    *,
    credentials: CredentialsSource = None,
    timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
    allow_insecure_http: bool = False,
    raise_on_unexpected_status: bool = True,
    on_event: OnEvent | None = None,
    login_headers: Any = None,
    login_transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
    **httpx_args: Any,
) -> Client:
    """A client for every generated operation, which logs in by itself.

        with kyc_client.connect() as client:
            resource = get_resource.sync(client=client)

        async with kyc_client.connect() as client:
            resource = await get_resource.asyncio(client=client)

    No network I/O happens here: the first call that needs a token logs in. One client may serve a whole process with
    all its threads and tasks. It may be made before a fork: the child then makes connections of its own.

    Args:
        base_url: the API's address, `https://<kyc_domain>`. None reads `API_BASE_URL`.
        credentials: as for `LoginAuth`. None reads the environment.
        timeout: seconds, or an `httpx.Timeout`, for each connect, read and write of a call. The default is 30 s, and
            10 s to connect. None waits for ever.
        allow_insecure_http: accept `http://` to a host other than this machine.
        raise_on_unexpected_status: raise `kyc_openapi.errors.UnexpectedStatus` for a status that is not described in
            openapi.yaml, instead of returning None.
        on_event: as for `LoginAuth`.
        login_headers: headers that a gateway wants on the login too, as `headers=` of `LoginAuth`.
        login_transport: a transport for the login alone. Needed if `transport=` works on an event loop only, because
            a login never runs on the caller's loop.
        **httpx_args: further arguments of `httpx.Client` and `httpx.AsyncClient`. Those that decide how a connection
            is made (`transport`, `mounts`, `verify`, `cert`, `proxy`, `trust_env`, `http1`, `http2`) hold for the login
            too, and so does a `User-Agent` in `headers`.

    Raises:
        ConfigurationError: the environment lacks something (all of it is named), the base URL must not receive a
            password, or a proxy, a certificate or a transport cannot be used.
        TypeError: an argument that httpx does not know, or `auth`, which this function sets itself.
    """
    headers = httpx.Headers({"User-Agent": USER_AGENT})
    headers.update(httpx_args.pop("headers", None))
    endpoint = configure(
        "connect()",
        base_url,
        httpx_args,
        credentials,
        timeout,
        known=_httpx_arguments(),
        needs_credentials=True,
        allow_insecure_http=allow_insecure_http,
        login_headers=login_headers,
        login_transport=login_transport,
        user_agent=headers["User-Agent"],
    )
    auth = auth_for(endpoint, credentials, on_event)
    httpx_args |= {"event_hooks": _hooks(auth, httpx_args.get("event_hooks")), "auth": auth}
    # The generated class says `dict` for headers and cookies. A dictionary would lose repeated headers, and the domains
    # of cookies.
    given: dict[str, Any] = {"headers": headers, "cookies": httpx.Cookies(httpx_args.pop("cookies", None))}
    given |= {"timeout": endpoint.timeout, "follow_redirects": httpx_args.pop("follow_redirects", False)}
    pools = _Pools(endpoint, given | httpx_args)
    given |= {"raise_on_unexpected_status": raise_on_unexpected_status, "httpx_args": httpx_args}
    return Client(base_url=str(endpoint.base_url), token="", login=auth, pools=pools, **given)


@functools.cache
def _httpx_arguments() -> frozenset[str]:
    sync, not_sync = (inspect.signature(client).parameters.keys() for client in (httpx.Client, httpx.AsyncClient))
    return frozenset(sync & not_sync) - {"auth", "base_url", "timeout"}


def _hooks(auth: LoginAuth, given: Mapping[str, list[Any]] | None) -> dict[str, list[Any]]:
    if not given or not given.get("response"):
        return dict(given or {})
    first = auth._response_hook()  # noqa: SLF001 - of this package  # pyright: ignore[reportPrivateUsage]
    return {**given, "response": [first, *given["response"]]}


@attrs.define(eq=False)
class Client(AuthenticatedClient):
    """The generated client, with a login that looks after itself. `connect()` makes one.

    Its httpx clients are made on first use: one per process for sync calls, and one per process and event loop for
    async calls. A connection pool that is used on both sides of a fork gives one process the answers of the other, and
    an async pool does not work on a second loop.

    `with_headers()`, `with_cookies()` and `with_timeout()` return a copy that shares the login and the connections.
    They change nothing of the original. Closing the copy closes no connection. Closing the original closes all.

    Attributes:
        login: the `LoginAuth` of this client and its copies.
    """

    login: LoginAuth = attrs.field(kw_only=True)
    _pools: _Pools = attrs.field(kw_only=True, alias="pools", repr=False)

    # The generated class is compared by its fields, and has no hash.
    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType]
    __hash__ = object.__hash__  # type: ignore[assignment]

    def get_httpx_client(self) -> httpx.Client:
        """The `httpx.Client` of this process, made on first use."""
        return self._client or self._pools.sync_client()

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` of this process and event loop, made on first use."""
        return self._async_client or self._pools.async_client()

    def with_headers(self, headers: Mapping[str, str]) -> Client:
        """A copy with more headers. A header of the same name, in any letter case, is replaced."""
        merged = httpx.Headers(self._headers)
        merged.update(headers)
        return self._copy(headers=merged)

    def with_cookies(self, cookies: Mapping[str, str]) -> Client:
        """A copy with more cookies. A cookie of the same name, domain and path is replaced."""
        merged = httpx.Cookies(self._cookies)
        merged.update(cookies if isinstance(cookies, httpx.Cookies) else dict(cookies))
        return self._copy(cookies=merged)

    def with_timeout(self, timeout: httpx.Timeout) -> Client:
        """A copy with another timeout for each connect, read and write of a call."""
        return self._copy(timeout=timeout)

    def _copy(self, **changes: Any) -> Client:
        from ._copy import copy_of  # noqa: PLC0415 - rarely needed

        return copy_of(self, changes)

    def __copy__(self, _memo: object = None) -> NoReturn:
        raise TypeError(
            "A client is not copied, because it holds connections. Use this one: threads, tasks and event loops may "
            "share it. with_headers(), with_cookies() and with_timeout() return a client that differs in these."
        )

    __deepcopy__ = __copy__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A client is not pickled, because it holds connections. Call kyc_client.connect() in each process."
        )


class _Pools:
    """The httpx clients with the connection pools of one `Client`: one for sync calls, and one per event loop.

    A forked child gets its own. Those that it inherits are kept and not touched: closing them would disturb the parent.

    Args:
        endpoint: knows the base URL, and how connections are made.
        arguments: the other arguments of `httpx.Client` and `httpx.AsyncClient`.
    """

    def __init__(self, endpoint: LoginEndpoint, arguments: dict[str, Any]) -> None:
        self._connection = endpoint.connection
        self._arguments = {"base_url": endpoint.base_url, **arguments}
        self._limits: dict[str, Any] = {name: self._arguments.pop(name) for name in {"limits"} & arguments.keys()}
        self._inherited: list[object] = []
        self._start_anew()
        _fork.register(self)

    def _start_anew(self) -> None:
        # Re-entrant for the same reason as the lock of `TokenSource`. Guards what follows.
        self._lock = threading.RLock()
        self._sync: httpx.Client | None = None
        self._by_loop: weakref.WeakKeyDictionary[object, httpx.AsyncClient] = weakref.WeakKeyDictionary()
        # Made outside of any loop. The first loop that asks takes it over.
        self._without_loop: httpx.AsyncClient | None = None

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        self._inherited.append((self._sync, self._by_loop, self._without_loop))
        self._start_anew()

    def sync_client(self) -> httpx.Client:
        """The client for sync calls."""
        with self._lock:
            http: httpx.Client = self._sync or self._new(httpx.Client, httpx.HTTPTransport)
            self._sync = http
            return http

    def async_client(self) -> httpx.AsyncClient:
        """The client for the event loop of the calling task."""
        loop = current_loop()
        with self._lock:
            http = self._outside_of_loops() if loop is None else self._by_loop.get(loop)
            if http is not None:
                return http
            # The connections of a loop that ended without closing them refer to it. So it would stay for ever.
            for gone in [other for other in self._by_loop if is_over(other)]:
                del self._by_loop[gone]
            http = self._without_loop or self._new(httpx.AsyncClient, httpx.AsyncHTTPTransport)
            self._without_loop = http if loop is None else None
            if loop is not None:
                self._by_loop[loop] = http
            return http

    def _new(self, client: Any, pool: Any) -> Any:
        # httpx imports this for its first client. In another thread, a fork could cut that in two.
        _fork.load("httpcore")
        transport, mounts = self._connection.transports(pool, **self._limits)
        return client(transport=transport, mounts=mounts, **self._arguments)

    def _outside_of_loops(self) -> httpx.AsyncClient | None:
        """The client for a thread without a loop. If there is just one loop, that one is meant."""
        living = [http for loop, http in self._by_loop.items() if not is_over(loop)]
        return self._without_loop or (living[0] if len(living) == 1 else None)
