"""The fake itself: its routes, its login, and its clock."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import inspect
import itertools
import json as json_module
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias
from unittest import mock
from urllib.parse import parse_qs, unquote

import httpx

from kyc_client._auth import LoginAuth
from kyc_client._client import connect
from kyc_client._clock import Clock
from kyc_client._login.credentials import BASE_URL, LOGIN, PASSWORD, Credentials
from kyc_openapi import AuthenticatedClient  # noqa: TC001 - for those who evaluate the annotations

from ._server import LoopbackServer
from ._time import living_sources, start_over
from ._transport import Answer, FakeTransport

__all__ = ["Call", "FakeKYC", "Handler", "Route"]

_LOGIN_PATH = "/auth/jwt/login"
_RESOURCE_PATH = "/api/v1/resource"

Handler: TypeAlias = Callable[[httpx.Request], Any]
"""Answers the calls of a route: takes the request, returns an `httpx.Response`, or what is to be sent as JSON.

The request's body has been read (`request.content`); `request.extensions["path_params"]` has what stands in the place
of each `{name}` of the path. Raising an `httpx.TransportError` means that there is no answer. Over the socket it is
called in a thread of the server's.
"""

_IN_MEMORY = "https://kyc.fake.test"
_TICK = 1e-6
_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}")
_NOTHING: Any = object()
_log = logging.getLogger("kyc_client.testing")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that came, and what became of it.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The status that it was answered with; None if there was no answer.
        request: All of it: headers, query, and the body (`request.content`).
        path_params: What stood in the place of each `{name}` of the route's path.
    """

    method: str
    path: str
    status: int | None
    # A login's has the password in it, if only a fake one.
    request: httpx.Request = field(repr=False)
    path_params: Mapping[str, str] = field(repr=False, default_factory=dict[str, str])


@dataclass(eq=False, slots=True)
class Route:
    """What the fake answers to one method and path; `FakeKYC.on()` makes it.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path, in which `{name}` stands for any one segment.
        answer: What answers a call.
        delay: Seconds that it takes.
        public: Whether it needs no token.
        calls: The calls that came here and were let in, oldest first.
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
        """What stands in the place of each `{name}`; None if this route is for another method or path."""
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


class _Time:
    """A clock that stands still, but for a tick at each look, so that what comes later is later."""

    def __init__(self) -> None:
        self._monotonic = time.monotonic()
        # A whole second, as in `exp` and `Date`: a lifetime is then exact.
        self._wall = float(int(time.time()))
        # Not under the lock, which a look in a forked child might find locked for ever.
        self._looks = itertools.count()
        # Guards how much has passed, when it changes.
        self._lock = threading.Lock()
        self._passed = 0.0
        self._clock = Clock(monotonic=self.monotonic, wall=self.wall, random=lambda: 0.0, pause=self._pause)

    def clock(self) -> Clock:
        """The clock, in the place of `Clock()`."""
        return self._clock

    def monotonic(self) -> float:
        return self._monotonic + self._passed + next(self._looks) * _TICK

    def wall(self) -> float:
        return self._wall + self._passed + next(self._looks) * _TICK

    def pass_by(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._lock:
            self._passed += seconds

    def _pause(self, ended: threading.Event, seconds: float) -> bool:
        self.pass_by(seconds)
        return ended.is_set()


class _LoginFault:
    """How logins fail, and how many more of them."""

    def __init__(self, answer: Callable[[], httpx.Response], times: float) -> None:
        self._answer = answer
        self._left = times

    def answer(self) -> httpx.Response | None:
        """The answer to the next login; None if it is to go well."""
        if self._left <= 0:
            return None
        self._left -= 1
        return self._answer()


class FakeKYC:
    """A fake of the KYC API, whose login works, and which answers what the test says.

    `help(kyc_client.testing)` tells what of it is real, and what is simulated.

    There is one route from the start: `GET /api/v1/resource`, the guide's example. Every route wants a valid token
    (`401` otherwise, as the API has it) unless it is made `public`. What has no route gets a `404`, which lists those
    that there are, as does a warning of the logger `kyc_client.testing`.

    Args:
        token_lifetime: Seconds that a token is valid; None: tokens without an `exp`.
        credentials: What may log in; all else is refused with LOGIN_BAD_CREDENTIALS.

    Attributes:
        token_lifetime: As above; holds for later logins.
        credentials: As above; change them, and the old ones are refused.
        transport: The fake as an httpx transport for both colours, without a socket.
        logins: How many logins have succeeded.
        login_attempts: How many logins have been tried.
        requests: Every request, logins too, oldest first.
    """

    token_lifetime: float | None
    credentials: Credentials
    transport: FakeTransport
    logins: int
    login_attempts: int
    requests: list[Call]

    def __init__(self, *, token_lifetime: float | None = 3600, credentials: Credentials | None = None) -> None:
        self.token_lifetime = token_lifetime
        self.credentials = credentials or Credentials("fake-user@example.com", "fake-password-for-tests")
        self.transport = FakeTransport(lambda: self.base_url, self._respond)
        self.logins = 0
        self.login_attempts = 0
        self.requests: list[Call] = []
        self._server_url: str | None = None
        self._time = _Time()
        # End what is slow when nobody waits for it any more; new ones then take their place.
        self._over, self._login_over = threading.Event(), threading.Event()
        # Guards what follows and the counters; not held while a handler runs, or over a delay.
        self._lock = threading.Lock()
        self._expiries: dict[str, float] = {}
        self._login_fault: _LoginFault | None = None
        self._login_delay = 0.0
        self._routes: list[Route] = []
        self.on("GET", _RESOURCE_PATH, self._resource)

    # Where it is

    @property
    def base_url(self) -> str:
        """Where the fake is: `http://127.0.0.1:PORT` while it serves, else an address that only `transport` knows."""
        return self._server_url or _IN_MEMORY

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables with which a service finds the fake and logs in."""
        return {BASE_URL: self.base_url, LOGIN: self.credentials.username, PASSWORD: self.credentials.password}

    def connect(self, **arguments: Any) -> AuthenticatedClient:
        """A client of this fake, on its clock: over the socket while it serves, else in memory.

        Args:
            **arguments: As for `kyc_client.connect()`, without the base URL.
        """
        if self._server_url is None:
            arguments.setdefault("transport", self.transport)
        credentials = arguments.pop("credentials", lambda: self.credentials)
        client = connect(self.base_url, credentials=credentials, **arguments)
        auth = client.get_httpx_client().auth
        assert isinstance(auth, LoginAuth)  # noqa: S101 - what connect() has just put there
        start_over(auth._source, self._time.clock())  # noqa: SLF001 - of this package  # pyright: ignore[reportPrivateUsage]
        return client

    @contextlib.contextmanager
    def serve(self, server: LoopbackServer | None = None) -> Generator[Self, None, None]:
        """Serve on 127.0.0.1, over a socket, until the block ends.

        What an answer of the test's raised (an `assert`, say), and its client saw as a 500, is raised at the end.

        Args:
            server: One that runs already and serves nobody else; None makes one, on any free port.
        """
        with LoopbackServer() if server is None else contextlib.nullcontext(server) as running:
            self._server_url, running.respond = running.url, self._respond
            running.errors.clear()
            try:
                yield self
            finally:
                self._server_url = running.respond = None
                running.hang_up()
                self._end_waits()
            for error in running.errors:
                raise error

    # Time

    @contextlib.contextmanager
    def control_time(self) -> Generator[Self, None, None]:
        """Make every `LoginAuth` of this process tell the time by the fake's clock until the block ends.

        Those that exist forget their tokens and failures at both ends, and logins under way end there, so that no test
        sees what another left behind.
        """
        before = [(source, start_over(source, self._time.clock())) for source in living_sources()]
        try:
            with mock.patch("kyc_client._auth.Clock", self._time.clock):
                yield self
        finally:
            clocks = dict(before)
            for source in living_sources():
                start_over(source, clocks.get(source) or Clock())

    def advance(self, seconds: float) -> None:
        """Let time pass, at once.

        Args:
            seconds: How much.

        Raises:
            ValueError: It is negative.
        """
        if seconds < 0:
            raise ValueError("Time only goes on: advance() takes seconds that are not negative.")
        self._time.pass_by(seconds)

    def expire(self) -> None:
        """Let time pass until no token that was issued so far is valid.

        A client on the fake's clock knows it and logs in before its next call; any other learns it by a 401. All else
        that waits for time to pass (a cool-down, a remembered refusal) is that much older too.

        Raises:
            ValueError: A token that is valid has no `exp`, and so will not expire.
        """
        with self._lock:
            last = max(self._expiries.values(), default=0.0)
        if last == float("inf"):
            raise ValueError("A token without a lifetime does not expire; revoke() it, or set token_lifetime.")
        self.advance(max(0.0, last - self._time.wall()))

    # The login

    def revoke(self) -> None:
        """Refuse every token that was issued so far. Clients cannot know: their next call gets a 401."""
        with self._lock:
            self._expiries.clear()

    def fail_login(
        self,
        status: int = 503,
        *,
        times: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        content: str | None = None,
    ) -> None:
        """Let logins fail from now on; a second call replaces the first.

        A 503 is tried up to three times for one call, so `times=2` goes unnoticed by it, and `times=3` does not.

        Args:
            status: What to answer. 200 makes sense with `content`.
            times: How many attempts fail before logins work again; None: all, until `restore_login()`.
            code: The code of the refusal; for a 400, LOGIN_BAD_CREDENTIALS unless said otherwise.
            retry_after: Seconds for the `Retry-After` header.
            content: An HTML page in place of the API's answer, as a proxy would send it.

        Raises:
            ValueError: The status or the times are impossible.
        """
        if not 200 <= status <= 599 or (times is not None and times < 1):
            raise ValueError("fail_login() takes a status from 200 to 599, and times from 1.")
        body: dict[str, Any] = {"json": {"detail": code or _default_detail(status)}}
        if content is not None:
            body = {"html": content}
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        forever = float("inf")
        with self._lock:
            self._login_fault = _LoginFault(
                lambda: httpx.Response(status, headers=headers, **body), forever if times is None else times
            )

    def slow_login(self, seconds: float) -> None:
        """Answer logins only after so many real seconds, from now on; the client's read timeout may come first.

        Whoever waits for it waits as for the API: a thread blocks, a task does not block its event loop. When the
        fake's `serve()` ends, what is slow ends too.

        Args:
            seconds: The delay; 0 for none.
        """
        with self._lock:
            self._login_delay = seconds

    def restore_login(self) -> None:
        """Let logins work again, and at once, also those that are under way: `slow_login()` until then is a gate."""
        with self._lock:
            self._login_fault, self._login_delay = None, 0.0
            self._login_over.set()
            self._login_over = threading.Event()

    def _end_waits(self) -> None:
        """Send at once what is slow."""
        with self._lock:
            for over in (self._over, self._login_over):
                over.set()
            self._over, self._login_over = threading.Event(), threading.Event()

    # Calls

    def on(  # noqa: PLR0913 - what an answer is made of
        self,
        method: str,
        path: str,
        answer: Handler | None = None,
        *,
        status: int = 200,
        json: Any = _NOTHING,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        public: bool = False,
    ) -> Route:
        """Say what a call is answered. Of several routes that fit a call, the newest answers.

        Args:
            method: The HTTP method.
            path: The path, without a query; `{name}` stands for any one segment.
            answer: A function that answers each call, in place of a fixed answer.
            status: The status of a fixed answer.
            json: Its body, sent as JSON.
            content: Its body, sent as it is.
            headers: Its headers.
            delay: Real seconds that the answer takes; the client's read timeout may come first.
            public: Whether the route needs no token.

        Returns:
            The route, whose `calls` tells what came.

        Raises:
            ValueError: The path is not one, or is the login's, for which there is `fail_login()`.
            TypeError: There is more than one answer, or what is no function, or is not JSON.
        """
        if path == _LOGIN_PATH:
            raise ValueError("The fake's login is no route: fail_login() and slow_login() say what it answers.")
        if not path.startswith("/") or "?" in path:
            raise ValueError(f"A route's path starts with / and has no query: {path!r} is none.")
        if odd := [part for part in path.split("/") if set(part) & set("{}") and not _PARAMETER.fullmatch(part)]:
            raise ValueError(f"A {{name}} is letters, digits and _, and stands for a whole segment: not {odd[0]!r}.")
        if answer is not None and not callable(answer):
            raise TypeError("The answer= of a route is a function; a fixed answer is json=, content= or status=.")
        if answer is None:
            if json is not _NOTHING and content is not None:
                raise TypeError("A fixed answer has json or content as its body: not both.")
            if json is not _NOTHING:
                content, headers = _encode(json), {"Content-Type": "application/json", **(headers or {})}
            answer = lambda _: httpx.Response(status, headers=headers, content=content)  # noqa: E731 - typed above
        elif json is not _NOTHING or content is not None or headers is not None or status != 200:
            raise TypeError("A route is answered by a function, or by status, json, content and headers: not by both.")
        route = Route(method.upper(), path, answer, delay, public)
        self._routes.insert(0, route)
        return route

    def route(self, method: str, path: str) -> Route:
        """The newest route of this method and path, as they were given to `on()`.

        Raises:
            LookupError: There is none.
        """
        for route in self._routes:
            if str(route) == f"{method.upper()} {path}":
                return route
        raise LookupError(f"The fake has no route {method.upper()} {path}; it has {self._listed()}.")

    # Answering

    def _respond(self, request: httpx.Request) -> Answer:
        """Answer a request, and write it down."""
        path = request.url.path
        # Split before it is decoded: a quoted slash belongs to its segment.
        segments = [unquote(part) for part in request.url.raw_path.partition(b"?")[0].decode("ascii").split("/")]
        route, params, delay, over = None, dict[str, str](), 0.0, self._over
        response: httpx.Response | None = None
        if (request.method, path) == ("POST", _LOGIN_PATH):
            response, delay, over = self._log_in(request)
        else:
            route, params = self._find(request.method, segments)
            if route is None:
                response = self._lost(request.method, path)
            elif not route.public and not self._lets_in(request):
                route, response = None, httpx.Response(401, json={"detail": "Unauthorized"})
        try:
            if route is not None:
                delay = route.delay
                request.extensions["path_params"] = params
                response = _as_response(route.answer(request))
        finally:
            status = None if response is None else response.status_code
            call = Call(request.method, path, status, request, params)
            self.requests.append(call)
            if route is not None:
                route.calls.append(call)
        assert response is not None  # noqa: S101 - each way above leads to one
        return self._sealed(response, request.method, delay, over)

    def _sealed(self, response: httpx.Response, method: str, delay: float, over: threading.Event) -> Answer:
        """What a response puts on the wire."""
        stream = response.stream
        if not isinstance(stream, httpx.SyncByteStream):
            raise TypeError("The fake answers with bytes, or with an iterable of bytes that is not async.")
        has_body = method != "HEAD" and response.status_code not in {204, 304}
        date = email.utils.formatdate(self._time.wall(), usegmt=True)
        headers = [("Date", date), *response.headers.multi_items()]
        if has_body and not response.headers.keys() & {"content-length", "transfer-encoding"}:
            length = str(len(b"".join(stream))) if isinstance(stream, httpx.ByteStream) else None
            headers.append(("Content-Length", length) if length else ("Transfer-Encoding", "chunked"))
        return Answer(response.status_code, headers, stream if has_body else (), delay, over, has_body)

    def _log_in(self, request: httpx.Request) -> tuple[httpx.Response, float, threading.Event]:
        """The answer to a login, the seconds until it is sent, and what ends them early."""
        form = parse_qs(request.content.decode("utf-8", "replace"))
        given = [form.get(name, [""])[-1] for name in ("username", "password")]
        with self._lock:
            self.login_attempts += 1
            response = self._login_fault.answer() if self._login_fault else None
            if response is None:
                response = self._refusal(form, given)
            if response is None:
                self.logins += 1
                response = httpx.Response(200, json={"access_token": self._issue(), "token_type": "bearer"})
            return response, self._login_delay, self._login_over

    def _refusal(self, form: Mapping[str, list[str]], given: list[str]) -> httpx.Response | None:
        problems = [("missing", name) for name in ("username", "password") if not form.get(name)]
        if form.get("grant_type", ["password"]) != ["password"]:
            problems.insert(0, ("string_pattern_mismatch", "grant_type"))
        if problems:
            return httpx.Response(422, json={"detail": _validation_errors(*problems)})
        # Case does not matter in an e-mail address there.
        if (given[0].lower(), given[1]) != (self.credentials.username.lower(), self.credentials.password):
            return httpx.Response(400, json={"detail": _default_detail(400)})
        return None

    def _issue(self) -> str:
        """A new token, in the shape of the API's."""
        now, life = self._time.wall(), self.token_lifetime
        claims: dict[str, Any] = {"sub": "fake-user", "aud": ["fastapi-users:auth"], "jti": self.logins}
        if life is not None:
            claims["exp"] = int(now + life)
        token = ".".join(_base64url(json_module.dumps(part)) for part in ({"alg": "none"}, claims, "fake-signature"))
        self._expiries[token] = claims.get("exp", float("inf"))
        return token

    def _lets_in(self, request: httpx.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        with self._lock:
            return scheme.lower() == "bearer" and self._time.wall() < self._expiries.get(token, 0.0)

    def _find(self, method: str, segments: list[str]) -> tuple[Route | None, dict[str, str]]:
        for route in self._routes:
            params = route.match(method, segments)
            if params is not None:
                return route, params
        return None, {}

    def _lost(self, method: str, path: str) -> httpx.Response:
        what = f"The fake has no route {method} {path}; it has {self._listed()}."
        _log.warning("%s", what)
        return httpx.Response(404, json={"detail": what})

    def _listed(self) -> str:
        return ", ".join(dict.fromkeys(str(route) for route in reversed(self._routes)))

    def _resource(self, _request: httpx.Request) -> dict[str, str]:
        return {"message": "You are logged in.", "user": self.credentials.username}


def _as_response(answer: Any) -> httpx.Response:
    if inspect.iscoroutine(answer):
        answer.close()  # Python would complain about what was never awaited.
        raise TypeError("The function that answers a route must not be async.")
    if isinstance(answer, httpx.Response):
        return answer
    return httpx.Response(200, content=_encode(answer), headers={"Content-Type": "application/json"})


def _encode(value: Any) -> str:
    # httpx would send nothing for None.
    return json_module.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _default_detail(status: int) -> Any:
    """What the API says with a status."""
    if status == 422:
        return _validation_errors(("missing", "password"))
    return "LOGIN_BAD_CREDENTIALS" if status == 400 else httpx.codes.get_reason_phrase(status)


def _validation_errors(*problems: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"type": kind, "loc": ["body", name], "msg": f"The fake finds the {name} not valid", "input": None}
        for kind, name in problems
    ]


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
