"""`connect()`: the generated client, with a `LoginAuth` on it."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import attrs
import httpx

from kyc_openapi import AuthenticatedClient

from ._auth import CONNECTION_ARGUMENTS, DEFAULT_TIMEOUT, CredentialsSource, LoginAuth
from ._base_url import parse_base_url
from ._credentials import BASE_URL, LOGIN, PASSWORD, read_environment
from ._login import USER_AGENT
from ._tls import shared_context
from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)


def connect(
    base_url: str | httpx.URL | None = None,
    *,
    credentials: CredentialsSource = None,
    timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT,
    allow_insecure_http: bool = False,
    raise_on_unexpected_status: bool = True,
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
        timeout: seconds, or an `httpx.Timeout`, for each connect, read and write of a call. None waits for ever, which
            is why it is not the default. 30 s (10 s to connect) by default.
        allow_insecure_http: accept `http://` to a host other than this machine itself.
        raise_on_unexpected_status: raise `kyc_openapi.errors.UnexpectedStatus` for a status that the API does not
            document, rather than return None.
        **httpx_args: further arguments of `httpx.Client` and `httpx.AsyncClient`. Those that decide how a connection
            is made (`transport`, `verify`, `cert`, `proxy`, `trust_env`, `mounts`) hold for the login too.

    Raises:
        ConfigurationError: the environment lacks something (all of it is named), or the base URL is not fit for a
            password.
        TypeError: an argument that httpx does not know, or `auth`, which is this function's own.
    """
    _check_arguments(httpx_args)
    missing = [
        name for name, given in ((BASE_URL, base_url), (LOGIN, credentials), (PASSWORD, credentials)) if given is None
    ]
    values, problem = read_environment(os.environ, *missing)
    url, unfit = parse_base_url(values.get(BASE_URL, base_url or ""), allow_insecure_http=allow_insecure_http)
    del base_url, values  # A crash reporter shows the locals of the frames that an error passes.
    if problem or unfit:
        del url
        raise ConfigurationError(problem or unfit)
    verify = shared_context(
        verify=httpx_args.pop("verify", True),
        cert=httpx_args.pop("cert", None),
        trust_env=httpx_args.get("trust_env", True),
    )
    connection = {name: httpx_args[name] for name in CONNECTION_ARGUMENTS & httpx_args.keys()}
    auth = LoginAuth(
        url,
        credentials=credentials,
        timeout=timeout,
        allow_insecure_http=allow_insecure_http,
        verify=verify,
        **connection,
    )
    headers = httpx.Headers(httpx_args.pop("headers", None))
    headers.setdefault("User-Agent", USER_AGENT)
    return ConnectedClient(
        base_url=str(url),
        token="",
        headers=dict(headers),
        cookies=dict(httpx.Cookies(httpx_args.pop("cookies", None))),
        timeout=httpx.Timeout(timeout),
        verify_ssl=verify,
        follow_redirects=httpx_args.pop("follow_redirects", False),
        raise_on_unexpected_status=raise_on_unexpected_status,
        httpx_args={**httpx_args, "auth": auth},
    )


def _check_arguments(httpx_args: dict[str, Any]) -> None:
    """Complain now about what httpx would complain about only at the first call."""
    unknown = sorted(httpx_args.keys() - _known_arguments())
    if unknown:
        raise TypeError(
            f"connect() takes no {', '.join(unknown)}: httpx's clients do not know it, or connect() sets it."
        )


@functools.cache
def _known_arguments() -> frozenset[str]:
    sync, not_sync = (inspect.signature(client).parameters.keys() for client in (httpx.Client, httpx.AsyncClient))
    return frozenset(sync & not_sync) - {"auth", "base_url", "timeout"}


@attrs.define(eq=False)
class ConnectedClient(AuthenticatedClient):
    """The generated client, whose two httpx clients are made once per process, also if threads ask for them at once.

    A connection pool used on both sides of a fork gives the answers to one process's requests to the other. So each
    process gets clients of its own, and the ones inherited from the parent are kept, untouched: closing them would
    disturb the parent.
    """

    # By process; under None, a client that the caller has set.
    _sync_clients: dict[int | None, httpx.Client] = attrs.field(
        init=False, factory=dict[int | None, httpx.Client], repr=False
    )
    _async_clients: dict[int | None, httpx.AsyncClient] = attrs.field(
        init=False, factory=dict[int | None, httpx.AsyncClient], repr=False
    )
    # By process too: a lock that some thread held at the fork stays locked in the child.
    _locks: dict[int, threading.Lock] = attrs.field(init=False, factory=dict[int, threading.Lock], repr=False)

    def get_httpx_client(self) -> httpx.Client:
        """The `httpx.Client` of this process, made on first use."""
        return self._of_this_process(self._sync_clients, AuthenticatedClient.get_httpx_client)

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """The `httpx.AsyncClient` of this process, made on first use. Like any, it belongs to one event loop."""
        return self._of_this_process(self._async_clients, AuthenticatedClient.get_async_httpx_client)

    def set_httpx_client(self, client: httpx.Client) -> ConnectedClient:
        """Use this `httpx.Client` as it is, in every process; of `connect()`, not even the `auth` holds for it."""
        self._sync_clients[None] = client
        return self

    def set_async_httpx_client(self, async_client: httpx.AsyncClient) -> ConnectedClient:
        """Use this `httpx.AsyncClient` as it is, in every process; of `connect()`, not even the `auth` holds for it."""
        self._async_clients[None] = async_client
        return self

    def _of_this_process(
        self, clients: dict[int | None, AnyClient], make: Callable[[AuthenticatedClient], AnyClient]
    ) -> AnyClient:
        process = os.getpid()
        client = clients.get(None) or clients.get(process)
        if client is None:
            with self._locks.setdefault(process, threading.Lock()):
                client = clients.get(process)
                if client is None:
                    # The generated method keeps what it makes: let a copy keep it.
                    client = clients[process] = make(attrs.evolve(self))
        return client

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A client is not pickled, because it holds connections: call kyc_client.connect() in each process."
        )
