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

    _original: Client = attrs.field(kw_only=True, alias="original", repr=False)
    # Its own httpx clients, by those of the original. They differ in headers, cookies and timeouts, and use the same
    # transports.
    _own: weakref.WeakKeyDictionary[Any, Any] = attrs.field(
        init=False, factory=weakref.WeakKeyDictionary[Any, Any], repr=False
    )

    def get_httpx_client(self) -> httpx.Client:
        """An `httpx.Client` that uses the connections of the original's."""
        client: httpx.Client = self._client or self._own_client(self._original.get_httpx_client())
        return client

    def get_async_httpx_client(self) -> httpx.AsyncClient:
        """An `httpx.AsyncClient` that uses the connections of the original's, for this event loop."""
        client: httpx.AsyncClient = self._async_client or self._own_client(self._original.get_async_httpx_client())
        return client

    def _own_client(self, original: Any) -> Any:
        if original.is_closed:
            raise RuntimeError("This client is a copy, and the client that it was made of has been closed.")
        own = self._own.get(original)
        if own is None:
            own = copy.copy(original)
            own.headers, own.cookies, own.timeout = self._headers, self._cookies, self._timeout
            own.event_hooks = {name: list(hooks) for name, hooks in original.event_hooks.items()}
            own = self._own.setdefault(original, own)
        return own

    def __enter__(self) -> Self:
        if self._client is not None:  # The caller's own, which `set_httpx_client()` has put here.
            self._client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 - as the generated one
        if self._client is not None:
            self._client.__exit__(*error)

    async def __aenter__(self) -> Self:
        if self._async_client is not None:
            await self._async_client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - likewise
        if self._async_client is not None:
            await self._async_client.__aexit__(*error)


def copy_of(client: Client, changes: dict[str, Any]) -> CopiedClient:
    """A copy with these changes."""
    fields: dict[str, Any] = {
        field.alias: getattr(client, field.name) for field in attrs.fields(type(client)) if field.init
    }
    arguments: Any = {**fields, "original": client, **changes}
    return CopiedClient(**arguments)
