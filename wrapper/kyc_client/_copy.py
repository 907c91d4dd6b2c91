"""A copy of a client, with other headers, cookies or timeouts. Loaded only where there is one."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, Self

import attrs

from ._client import Client

if TYPE_CHECKING:
    import httpx


@attrs.define(eq=False)
class CopiedClient(Client):
    """A copy that shares the login and the connections of the original. Closing it closes no connection."""

    # Its own httpx clients, by those of the original. They differ in headers, cookies and timeouts, and use the same
    # transports.
    _own: weakref.WeakKeyDictionary[Any, Any] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary[Any, Any], repr=False
    )

    def get_httpx_client(self) -> httpx.Client:
        """An `httpx.Client` that uses the connections of the original's."""
        client: httpx.Client = self._client or self._own_client(self._pools.sync_client())
        return client

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """An `httpx.AsyncClient` that uses the connections of the original's, for this event loop."""
        client: httpx.AsyncClient = self._async_client or self._own_client(self._pools.async_client())
        return client

    def _own_client(self, original: Any) -> Any:
        if original.is_closed:
            raise RuntimeError("This client is a copy, and the client that it was made of has been closed.")
        own = self._own.get(original)
        if own is None:
            own = copy.copy(original)
            own.headers, own.cookies, own.timeout = self._headers, self._cookies, self._timeout
            own = self._own.setdefault(original, own)
        return own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass


def copy_of(client: Client, pools: Any, changes: dict[str, Any]) -> CopiedClient:
    """A copy with these changes."""
    fields = {field.alias: getattr(client, field.name) for field in attrs.fields(type(client)) if field.init}
    return CopiedClient(**{**fields, "pools": pools, **changes})
