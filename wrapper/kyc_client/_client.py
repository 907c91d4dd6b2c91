"""`connect()`: the generated client, with a `LoginAuth` on it."""

from __future__ import annotations

import functools
import inspect
import os
import threading
import weakref
from typing import Any, NoReturn

import attrs
import httpx

from kyc_openapi import AuthenticatedClient

from ._auth import LoginAuth
from ._login.connection import Connection
from ._login.credentials import LOGIN, PASSWORD
from ._login.endpoint import USER_AGENT, LoginEndpoint
from ._settings import DEFAULT_TIMEOUT, CredentialsSource, as_timeout, misuse_of, settle
from ._token.loops import current_loop, is_over
from ._token.reporter import OnEvent  # noqa: TC001 - for those who evaluate the annotations
from .errors import ConfigurationError


def connect(  # noqa: PLR0913 - each is optional, and given by name
    base_url: str | httpx.URL | None = None,
    *,
    credentials: CredentialsSource = None,
    timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
    allow_insecure_http: bool = False,
    raise_on_unexpected_status: bool = True,
    on_event: OnEvent | None = None,
    **httpx_args: Any,
) -> AuthenticatedClient:
    """A client for every generated operation, which logs in by itself.

        with kyc_client.connect() as client:
            resource = get_resource.sync(client=client)

        async with kyc_client.connect() as client:
            resource = await get_resource.asyncio(client=client)

    No network I/O happens here: the first call that needs a token logs in. One client may serve a whole process,
    threads and tasks alike, and may be made before a fork: the child then makes connections of its own. Its
    `LoginAuth` is `client.get_httpx_client().auth`.

    Args:
        base_url: the API's address, `https://<kyc_domain>`; None reads `API_BASE_URL`.
        credentials: as for `LoginAuth`; None reads the environment.
        timeout: seconds, or an `httpx.Timeout`, for each connect, read and write of a call; by default 30 s (10 s to
            connect). None waits for ever.
        allow_insecure_http: accept `http://` to a host other than this machine itself.
        raise_on_unexpected_status: raise `kyc_openapi.errors.UnexpectedStatus` for a status that the API does not
            document, rather than return None.
        on_event: as for `LoginAuth`.
        **httpx_args: further arguments of `httpx.Client` and `httpx.AsyncClient`. Those that decide how a connection
            is made (`transport`, `verify`, `cert`, `proxy`, `trust_env`, `mounts`) hold for the login too.

    Raises:
        ConfigurationError: the environment lacks something (all of it is named), or the base URL is not fit for a
            password.
        TypeError: an argument that httpx does not know, or `auth`, which is this function's own.
    """
    misuse = misuse_of(credentials)
    # httpx would complain about these only at the first call.
    if unknown := ", ".join(sorted(httpx_args.keys() - _known_arguments())):
        misuse = f"connect() takes no {unknown}. Beside its own arguments it takes those of both of httpx's clients."
    if "auth" in httpx_args:
        misuse = "connect() takes no auth: it sets that itself. With an auth of yours, use kyc_openapi.Client."
    if misuse:
        del base_url, credentials, httpx_args  # As below.
        raise TypeError(misuse)
    also_needed = (LOGIN, PASSWORD) if credentials is None else ()
    login_transport = httpx_args.pop("login_transport", None)
    url, connection, problem = settle(
        base_url,
        httpx_args,
        allow_insecure_http=allow_insecure_http,
        also_needed=also_needed,
        login_transport=login_transport,
    )
    if problem:
        # A crash reporter shows the locals of the frames that an error passes.
        del base_url, credentials, httpx_args, url
        raise ConfigurationError(problem)
    auth = LoginAuth._of(url, LoginEndpoint(url, as_timeout(timeout), connection), credentials, on_event)
    hooks: dict[str, list[Any]] = httpx_args.get("event_hooks") or {}
    if hooks.get("response"):
        first = auth._response_hook()  # noqa: SLF001 - of this package  # pyright: ignore[reportPrivateUsage]
        httpx_args["event_hooks"] = {**hooks, "response": [first, *hooks["response"]]}
    # The generated client takes dictionaries, but uses no more of them than these have in common with them; a plain
    # dictionary would lose the domains of cookies, and repeated headers.
    headers: Any = httpx.Headers(httpx_args.pop("headers", None))
    headers.setdefault("User-Agent", USER_AGENT)
    cookies: Any = httpx.Cookies(httpx_args.pop("cookies", None))
    client = ConnectedClient(
        base_url=str(url),
        token="",
        headers=headers,
        cookies=cookies,
        timeout=as_timeout(timeout),
        follow_redirects=httpx_args.pop("follow_redirects", False),
        raise_on_unexpected_status=raise_on_unexpected_status,
        httpx_args={**httpx_args, "auth": auth, "trust_env": False},
    )
    client._connection = connection
    return client


@functools.cache
def _known_arguments() -> frozenset[str]:
    sync, not_sync = (inspect.signature(client).parameters.keys() for client in (httpx.Client, httpx.AsyncClient))
    return frozenset(sync & not_sync) - {"auth", "base_url", "timeout"} | {"login_transport"}


class _OwnClients:
    """The httpx clients of one process: one for sync calls, and one for each event loop."""

    def __init__(self) -> None:
        # Re-entrant for the same reason as the lock of `TokenSource`.
        self.lock = threading.RLock()
        self.sync: httpx.Client | None = None
        self.by_loop: weakref.WeakKeyDictionary[object, httpx.AsyncClient] = weakref.WeakKeyDictionary()
        # Made outside of any loop; the first loop that asks takes it over.
        self.without_loop: httpx.AsyncClient | None = None

    def outside_of_loops(self) -> httpx.AsyncClient | None:
        """The async client for a thread without a loop: if there is just one loop, it must be meant for that."""
        living = [client for loop, client in self.by_loop.items() if not is_over(loop)]
        return self.without_loop or (living[0] if len(living) == 1 else None)


@attrs.define(eq=False)
class ConnectedClient(AuthenticatedClient):
    """The generated client, whose httpx clients are made once per process and event loop, also if threads ask at once.

    A connection pool used on both sides of a fork gives the answers to one process's requests to the other, and an
    async one does not work on a second loop. So each process and loop gets clients of its own. Those that a child
    inherits from its parent are kept, untouched: closing them would disturb the parent.
    """

    # By process: what some thread held locked at the fork stays locked in the child.
    _own: dict[int, _OwnClients] = attrs.field(init=False, factory=dict[int, _OwnClients], repr=False)
    _connection: Connection = attrs.field(init=False, default=None, repr=False)
    _given: httpx.Client | None = attrs.field(init=False, default=None, repr=False)
    _given_async: httpx.AsyncClient | None = attrs.field(init=False, default=None, repr=False)

    def get_httpx_client(self) -> httpx.Client:
        """The `httpx.Client` of this process, made on first use."""
        if self._given is not None:
            return self._given
        own = self._own_clients()
        with own.lock:
            if own.sync is None:
                # The generated method keeps what it makes: let a copy keep it.
                own.sync = AuthenticatedClient.get_httpx_client(self._with(self._connection.sync_transports))
            return own.sync

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` of this process and event loop, made on first use."""
        if self._given_async is not None:
            return self._given_async
        own, loop = self._own_clients(), current_loop()
        with own.lock:
            client = own.outside_of_loops() if loop is None else own.by_loop.get(loop)
            if client is None:
                # A loop that ended without closing its connections is referred to by them, and so would stay for ever.
                for gone in [other for other in own.by_loop if is_over(other)]:
                    del own.by_loop[gone]
                client = own.without_loop or AuthenticatedClient.get_async_httpx_client(
                    self._with(self._connection.async_transports)
                )
                own.without_loop = None
                if loop is None:
                    own.without_loop = client
                else:
                    own.by_loop[loop] = client
            return client

    def set_httpx_client(self, client: httpx.Client) -> ConnectedClient:
        """Use this `httpx.Client` as it is, in every process; of `connect()`, not even the `auth` holds for it."""
        self._given = client
        return self

    def set_async_httpx_client(self, async_client: httpx.AsyncClient) -> ConnectedClient:
        """Use this `httpx.AsyncClient` as it is, everywhere; of `connect()`, not even the `auth` holds for it."""
        self._given_async = async_client
        return self

    def _with(self, make: Any) -> Any:
        limits = self._httpx_args.get("limits") or httpx.Limits(max_connections=100, max_keepalive_connections=20)
        transport, mounts = make(limits)
        copy = attrs.evolve(self)
        copy._httpx_args = {**self._httpx_args, "transport": transport, "mounts": mounts}
        copy._connection = self._connection
        return copy

    def _own_clients(self) -> _OwnClients:
        return self._own.setdefault(os.getpid(), _OwnClients())

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A client is not pickled, because it holds connections: call kyc_client.connect() in each process."
        )
