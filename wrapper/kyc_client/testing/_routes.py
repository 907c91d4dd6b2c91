"""The fake's routes: which one a request belongs to, what it answers, and the calls that it received."""

from __future__ import annotations

import inspect
import json as json_module
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

import httpx

Handler: TypeAlias = Callable[[httpx.Request], Any]
"""A function that answers the calls of a route. It takes the request and returns an `httpx.Response`, or JSON to send.

The body of the request has been read (`request.content`). `request.extensions["path_params"]` holds the segment for
each `{name}` of the path. If the function raises an `httpx.TransportError`, the call gets no answer. Over the socket,
the function runs in a thread of the server.
"""

NOTHING: Any = object()
"""The default of an argument for which None is a value."""

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that the fake received, and its result.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The status of the answer; None if there was no answer.
        request: The whole request: headers, query, and the body (`request.content`).
        path_params: The segment of the path for each `{name}` of the route's path.
    """

    method: str
    path: str
    status: int | None
    # Not in the repr, because the request of a login holds a password, even if a fake one.
    request: httpx.Request = field(repr=False)
    path_params: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])


@dataclass(eq=False, slots=True)
class Route:
    """What the fake answers to one method and path. `FakeKYC.on()` makes it.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path. `{name}` matches any one segment.
        answer: The function that answers each call.
        delay: Seconds before the answer is sent.
        public: Whether a call needs no token.
        calls: The calls that this route answered, oldest first. A call refused with 401 is not among them.
    """

    method: str
    path: str
    answer: Handler = field(repr=False)
    delay: float = field(repr=False)
    public: bool = field(repr=False)
    calls: list[Call] = field(init=False, default_factory=list[Call])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def match(self, method: str, segments: list[str]) -> dict[str, str] | None:
        """Return the segment for each `{name}` of the path; None if this route has another method or path."""
        ours = self.path.split("/")
        if method != self.method or len(segments) != len(ours):
            return None
        params: dict[str, str] = {}
        for own, segment in zip(ours, segments, strict=True):
            name = _PARAMETER.fullmatch(own)
            if name is not None and segment:
                params[name[1]] = segment
            elif own != segment:
                return None
        return params


class Routes:
    """All routes of a fake. Of several routes that match a request, the newest answers."""

    def __init__(self) -> None:
        self._newest_first: list[Route] = []

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(str(route) for route in reversed(self._newest_first)))

    def add(self, route: Route) -> Route:
        """Add a route, and return it."""
        self._newest_first.insert(0, route)
        return route

    def match(self, request: httpx.Request) -> tuple[Route | None, dict[str, str]]:
        """Return the route of a request, if there is one, and the segment for each `{name}` of its path."""
        # Split before decoding, because a quoted slash belongs to its segment.
        segments = [unquote(part) for part in request.url.raw_path.partition(b"?")[0].decode("ascii").split("/")]
        for route in self._newest_first:
            params = route.match(request.method, segments)
            if params is not None:
                return route, params
        return None, {}

    def named(self, method: str, path: str) -> Route:
        """Return the newest route that was added with this method and path.

        Raises:
            LookupError: There is none.
        """
        for route in self._newest_first:
            if str(route) == f"{method.upper()} {path}":
                return route
        raise LookupError(self.missing(method.upper(), path))

    def missing(self, method: str, path: str) -> str:
        """Return the message for a method and path that have no route."""
        return f"The fake has no route {method} {path}. It has: {self}."


def check_path(path: str) -> None:
    """Refuse a path that no request can match.

    Raises:
        ValueError: It does not start with a slash, has a query, or has a `{name}` that is not a whole segment.
    """
    if not path.startswith("/") or "?" in path:
        raise ValueError(f"A route's path starts with / and has no query: {path!r} does not fit.")
    if odd := [part for part in path.split("/") if set(part) & set("{}") and not _PARAMETER.fullmatch(part)]:
        raise ValueError(f"A {{name}} is letters, digits and _, and stands for a whole segment: not {odd[0]!r}.")


def handler(
    answer: Handler | None, status: int, json: Any, content: bytes | str | None, headers: Mapping[str, str] | None
) -> Handler:
    """Return the function for a route: the one given, or one that always gives the fixed answer.

    Raises:
        TypeError: There is more than one answer, `answer` is not a function, or `json` is not JSON.
    """
    if answer is not None and not callable(answer):
        raise TypeError("answer= takes a function. For a fixed answer, use json=, content= or status=.")
    if answer is not None:
        if json is not NOTHING or content is not None or headers is not None or status != 200:
            raise TypeError("Give a route a function, or status, json, content and headers: not both.")
        return answer
    if json is not NOTHING:
        if content is not None:
            raise TypeError("Give a fixed answer json or content as its body: not both.")
        content, headers = _encode(json), {"Content-Type": "application/json", **(headers or {})}
    return lambda _: httpx.Response(status, headers=headers, content=content)


def as_response(answer: Any) -> httpx.Response:
    """Return what a handler returned as a response: a response as it is, all else as JSON.

    Raises:
        TypeError: The handler is async, or its answer is not JSON.
    """
    if inspect.iscoroutine(answer):
        answer.close()  # Otherwise Python warns that it was never awaited.
        raise TypeError("The function that answers a route must not be async.")
    if isinstance(answer, httpx.Response):
        return answer
    return httpx.Response(200, content=_encode(answer), headers={"Content-Type": "application/json"})


def _encode(value: Any) -> str:
    # Not httpx's json=, because it sends no body for None.
    return json_module.dumps(value, ensure_ascii=False, separators=(",", ":"))
