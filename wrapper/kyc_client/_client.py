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
from ._auth import LoginAuth, auth_from
from ._login.endpoint import USER_AGENT
from ._settings import DEFAULT_TIMEOUT, CredentialsSource, Settings, settle, unknown_arguments
from ._token.loops import current_loop, is_over
from ._token.reporter import OnEvent  # noqa: TC001 - for those who evaluate the annotations

if TYPE_CHECKING:
    from ._login.connection import Connection


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
            is made (`transport`, `verify`, `cert`, `proxy`, `trust_env`, `mounts`) hold for the login too, and so does
            a `User-Agent` in `headers`.

    Raises:
        ConfigurationError: the environment lacks something (all of it is named), the base URL must not receive a
            password, or a proxy, a certificate or a transport cannot be used.
        TypeError: an argument that httpx does not know, or `auth`, which this function sets itself.
    """
    settings: Settings | Exception | None = unknown_arguments("connect()", httpx_args, _httpx_arguments())
    if settings is None:
        headers = httpx.Headers(httpx_args.pop("headers", None))
        headers.setdefault("User-Agent", USER_AGENT)
        settings = settle(
            base_url,
            httpx_args,
            credentials=credentials,
            timeout=timeout,
            allow_insecure_http=allow_insecure_http,
            on_event=on_event,
            login_headers=login_headers,
            user_agent=headers["User-Agent"],
            login_transport=login_transport,
            needs_credentials=True,
        )
    if isinstance(settings, Exception):
        del base_url, credentials, httpx_args, login_headers  # A crash reporter shows the locals of this frame.
        raise settings
    auth = auth_from(settings)
    pools = _Pools(settings.connection, httpx_args.pop("limits", httpx.Limits()))
    cookies = httpx.Cookies(httpx_args.pop("cookies", None))
    # The generated class says `dict` for headers and cookies. A dictionary would lose repeated headers, and the domains
    # of cookies.
    given: dict[str, Any] = {"headers": headers, "cookies": cookies}
    return Client(
        base_url=str(settings.base_url),
        token="",
        timeout=settings.timeout,
        follow_redirects=httpx_args.pop("follow_redirects", False),
        raise_on_unexpected_status=raise_on_unexpected_status,
        httpx_args={**httpx_args, "event_hooks": _hooks(auth, httpx_args.get("event_hooks")), "auth": auth},
        login=auth,
        pools=pools,
        **given,
    )


@functools.cache
def _httpx_arguments() -> frozenset[str]:
    sync, not_sync = (inspect.signature(client).parameters.keys() for client in (httpx.Client, httpx.AsyncClient))
    return frozenset(sync & not_sync) - {"auth", "base_url", "timeout"}


def _hooks(auth: LoginAuth, given: Mapping[str, list[Any]] | None) -> dict[str, list[Any]]:
    hooks = dict(given or {})
    if hooks.get("response"):
        first = auth._response_hook()  # noqa: SLF001 - of this package  # pyright: ignore[reportPrivateUsage]
        hooks["response"] = [first, *hooks["response"]]
    return hooks


@attrs.define(eq=False)
class Client(AuthenticatedClient):
    """The generated client, with a login that looks after itself. `connect()` makes one.

    Its httpx clients are made on first use: one per process for sync calls, and one per process and event loop for
    async calls. A connection pool that is used on both sides of a fork gives one process the answers of the other, and
    an async pool does not work on a second loop.

    `with_headers()`, `with_cookies()` and `with_timeout()` return a copy that shares the login and the connections.
    They change nothing of the original. Closing the copy closes no connection; closing the original closes all.

    Attributes:
        login: the `LoginAuth` of this client and its copies.
    """

    login: LoginAuth = attrs.field(kw_only=True)
    _pools: _Pools = attrs.field(kw_only=True, alias="pools", repr=False)
    _is_copy: bool = attrs.field(kw_only=True, default=False, alias="is_copy", repr=False)
    _given: httpx.Client | None = attrs.field(init=False, default=None, repr=False)
    _given_async: httpx.AsyncClient | None = attrs.field(init=False, default=None, repr=False)

    # attrs takes the hash away from a class that is compared by its fields, as the generated one is.
    def __hash__(self) -> int:  # type: ignore[override]  # attrs takes it away from a class that is compared by fields
        return object.__hash__(self)

    def get_httpx_client(self) -> httpx.Client:
        """The `httpx.Client` of this process, made on first use."""
        return self._given or self._pools.client(self, self._arguments(), is_copy=self._is_copy)

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` of this process and event loop, made on first use."""
        return self._given_async or self._pools.async_client(self, self._arguments(), is_copy=self._is_copy)

    def _arguments(self) -> dict[str, Any]:
        return {
            "base_url": self._base_url,
            "headers": self._headers,
            "cookies": self._cookies,
            "timeout": self._timeout,
            "follow_redirects": self._follow_redirects,
            **self._httpx_args,
        }

    def set_httpx_client(self, client: httpx.Client) -> Client:
        """Use this `httpx.Client` as it is, in every process. Nothing of `connect()` holds for it."""
        self._given = client
        return self

    def set_async_httpx_client(self, async_client: httpx.AsyncClient) -> Client:
        """Use this `httpx.AsyncClient` as it is, everywhere. Nothing of `connect()` holds for it."""
        self._given_async = async_client
        return self

    def with_headers(self, headers: Mapping[str, str]) -> Client:
        """A copy with more headers. A header of the same name, in any letter case, is replaced."""
        merged = httpx.Headers(self._headers)
        merged.update(headers)
        return self._copy(headers=merged)

    def with_cookies(self, cookies: Mapping[str, str]) -> Client:
        """A copy with more cookies. A cookie of the same name, domain and path is replaced."""
        merged = httpx.Cookies(self._cookies)
        merged.update(dict(cookies))
        return self._copy(cookies=merged)

    def with_timeout(self, timeout: httpx.Timeout) -> Client:
        """A copy with another timeout for each connect, read and write of a call."""
        return self._copy(timeout=timeout)

    def _copy(self, **changes: Any) -> Client:
        return attrs.evolve(self, is_copy=True, **changes)

    def __copy__(self) -> NoReturn:
        raise TypeError(
            "A client is not copied, because it holds connections. Use this one: threads, tasks and event loops may "
            "share it. with_headers(), with_cookies() and with_timeout() return a client that differs in these."
        )

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A client is not pickled, because it holds connections. Call kyc_client.connect() in each process."
        )


class _Pools:
    """The connection pools that a client and its copies share: one for sync calls, and one per event loop.

    A forked child gets pools of its own. Those that it inherits are kept and not touched: closing them would disturb
    the parent.
    """

    def __init__(self, connection: Connection, limits: httpx.Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._inherited: list[object] = []
        self._start_anew()
        _fork.register(self)

    def _start_anew(self) -> None:
        # Re-entrant for the same reason as the lock of `TokenSource`. Guards what follows.
        self._lock = threading.RLock()
        self._sync: _Pool | None = None
        self._by_loop: weakref.WeakKeyDictionary[object, _Pool] = weakref.WeakKeyDictionary()
        # Made outside of any loop. The first loop that asks takes it over.
        self._without_loop: _Pool | None = None

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        self._inherited.append((self._sync, self._by_loop, self._without_loop))
        self._start_anew()

    def client(self, holder: Client, arguments: dict[str, Any], *, is_copy: bool) -> httpx.Client:
        """The `httpx.Client` of a client or of its copy."""
        with self._lock:
            if self._sync is None:
                self._sync = _Pool(httpx.Client, *self._connection.sync_transports(self._limits))
            client: httpx.Client = self._sync.client(holder, arguments, is_copy=is_copy)
            return client

    def async_client(self, holder: Client, arguments: dict[str, Any], *, is_copy: bool) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` of a client or of its copy, for the event loop of the calling task."""
        loop = current_loop()
        with self._lock:
            pool = self._outside_of_loops() if loop is None else self._by_loop.get(loop)
            if pool is None:
                # The connections of a loop that ended without closing them refer to it. So it would stay for ever.
                for gone in [other for other in self._by_loop if is_over(other)]:
                    del self._by_loop[gone]
                pool = self._without_loop
                if pool is None:
                    pool = _Pool(httpx.AsyncClient, *self._connection.async_transports(self._limits))
                self._without_loop = None
                if loop is None:
                    self._without_loop = pool
                else:
                    self._by_loop[loop] = pool
            client: httpx.AsyncClient = pool.client(holder, arguments, is_copy=is_copy)
            return client

    def _outside_of_loops(self) -> _Pool | None:
        """The pool for a thread without a loop. If there is just one loop, that one is meant."""
        living = [pool for loop, pool in self._by_loop.items() if not is_over(loop)]
        return self._without_loop or (living[0] if len(living) == 1 else None)


class _Pool:
    """The transports of one process or event loop, and the httpx clients that use them.

    Args:
        make: `httpx.Client` or `httpx.AsyncClient`.
        transport: what carries the requests.
        mounts: other transports by URL pattern.
    """

    def __init__(self, make: Any, transport: Any, mounts: Mapping[str, Any]) -> None:
        self._make = make
        self._transport = transport
        self._mounts = mounts
        # The original's, which closes the transports when it is closed.
        self._owner: Any = None
        self._copies: weakref.WeakKeyDictionary[Client, Any] = weakref.WeakKeyDictionary()

    @property
    def is_closed(self) -> bool:
        """Whether the original has been closed."""
        return self._owner is not None and self._owner.is_closed

    def client(self, holder: Client, arguments: dict[str, Any], *, is_copy: bool) -> Any:
        """The httpx client of the original or of a copy."""
        if not is_copy:
            if self._owner is None:
                self._owner = self._make(transport=self._transport, mounts=self._mounts, **arguments)
            return self._owner
        client = self._copies.get(holder)
        if client is None:
            mounts = {pattern: mount and _Shared(mount, self) for pattern, mount in self._mounts.items()}
            client = self._make(transport=_Shared(self._transport, self), mounts=mounts, **arguments)
            self._copies[holder] = client
        return client


class _Shared(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of the original, used by a copy. Closing the copy does not close it."""

    def __init__(self, transport: Any, pool: _Pool) -> None:
        self._transport = transport
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = self._open().handle_request(request)
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._open().handle_async_request(request)
        return response

    def _open(self) -> Any:
        if self._pool.is_closed:
            raise RuntimeError("This client is a copy, and the client that it was made of has been closed.")
        return self._transport
