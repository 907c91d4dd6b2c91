"""Transports of the caller's: whether they can be used, and how a login uses them. Loaded only where there are some."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any

import httpx

from kyc_client import _fork

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

# A login's answer is under 1 KiB. The cap counts raw bytes, because 97 kB of gzip unpack to 100 MB.
MAX_ANSWER_BYTES = 64 * 1024
_NEEDS_LOGIN_TRANSPORT = (
    "{} works on an event loop only, and a login never runs on yours. A client with it needs login_transport=… too: "
    "a transport for the login alone, for example httpx.HTTPTransport()."
)


def unfit_transports(transport: Any, mounts: Mapping[str, Any], login_transport: Any) -> list[str]:
    """What is wrong with the caller's transports."""
    named = [("The transport=", transport), *(("A transport in mounts=", mount) for mount in mounts.values())]
    problems: dict[str, None] = {}
    for name, given in (*named, ("The login_transport=", login_transport)):
        if given is None or hasattr(given, "handle_request"):
            continue
        if not hasattr(given, "handle_async_request"):
            problems[f"{name} is no transport. A good one is httpx.HTTPTransport()."] = None
        elif login_transport is None:
            problems[_NEEDS_LOGIN_TRANSPORT.format(name)] = None
    return list(problems)


def check_mounts(mounts: Any, problems: list[str]) -> dict[str, Any]:
    """The caller's `mounts=` as a dictionary, which is empty if httpx would not take them."""
    try:
        result = dict(mounts or {})
    except (TypeError, ValueError):
        result = {"no URL pattern": None}
    if accepts(mounts=dict.fromkeys(result)):
        return result
    problems.append("The mounts= cannot be used. Good ones look like {'https://': httpx.HTTPTransport()}.")
    return {}


def accepts(**arguments: Any) -> bool:
    """Whether httpx makes a client of these arguments. There is no other public way to ask it."""
    try:
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200)), trust_env=False, **arguments).close()
    except Exception:  # noqa: BLE001 - its complaints have no common class
        return False
    return True


def is_sync(transport: Any) -> bool:
    """Whether a transport works without an event loop. An `httpx.MockTransport` is what its handler is."""
    handler = getattr(transport, "handler", None)
    functions = (handler, getattr(handler, "__call__", None))  # noqa: B004 - an object may have an async __call__
    return hasattr(transport, "handle_request") and not any(map(inspect.iscoroutinefunction, functions))


class BorrowedTransport(httpx.BaseTransport):
    """A transport of the caller's during one login. It is never closed, and runs on a private loop if it needs one."""

    def __init__(self, transport: Any, within: float) -> None:
        self._transport = transport
        self._within = within

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if is_sync(self._transport):
            return self._transport.handle_request(request)  # type: ignore[no-any-return]  # of any class
        return run_on_private_loop(lambda: self._exchange(request), self._within)

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self._transport.handle_async_request(request)
        body = b""
        try:
            if response.is_stream_consumed:
                body = response.content
            else:
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        break
        finally:
            await response.aclose()
        # As a stream, because content would be decompressed at once.
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(body))


def run_on_private_loop(function: Callable[[], Awaitable[httpx.Response]], within: float) -> httpx.Response:
    """Run a coroutine function on an asyncio loop that exists for this one call."""
    asyncio = _fork.load("asyncio")  # 8 ms, which only such transports cost
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if getattr(lowlevel, "in_trio_run", bool)():
        raise RuntimeError("This transport needs an event loop of its own, but trio runs in this thread.")

    async def bounded() -> httpx.Response:
        async with asyncio.timeout(within):
            return await function()

    coroutine = bounded()
    try:
        response: httpx.Response = asyncio.run(coroutine)
        return response
    finally:
        coroutine.close()  # It has not begun if a loop runs in this thread. Python would then complain.
