"""The fake itself: it puts the routes, the login and the clock together."""

from __future__ import annotations

import contextlib
import email.utils
import logging
import threading
from collections.abc import Generator, Mapping  # noqa: TC003 - for those who evaluate the annotations
from typing import Any, Self
from unittest import mock

import httpx

from kyc_client._auth import LoginAuth
from kyc_client._client import Client, connect
from kyc_client._clock import Clock
from kyc_client._login.credentials import BASE_URL, LOGIN, PASSWORD, Credentials

from ._clock import FakeClock
from ._login import LoginFault, default_detail, make_token, refusal
from ._routes import NOTHING, Call, Handler, Route, Routes, as_response, check_path, handler
from ._server import LoopbackServer
from ._sources import living_sources, start_over
from ._transport import Answer, FakeTransport

_LOGIN_PATH = "/auth/jwt/login"
_RESOURCE_PATH = "/api/v1/resource"
_IN_MEMORY = "https://kyc.fake.test"
_log = logging.getLogger("kyc_client.testing")


class FakeKYC:
    """A fake of the KYC API: its login works, and a test sets the other answers with `on()`.

    `help(kyc_client.testing)` lists what is real and what is simulated.

    A new fake has one route: `GET /api/v1/resource`, the example of the API's guide. A route answers 401 to a call
    without a valid token, as the API does, unless it is `public`. A request that has no route gets a 404. Its body
    lists the routes that exist, and so does a warning of the logger `kyc_client.testing`.

    Args:
        token_lifetime: Seconds for which a token is valid; None issues tokens without an `exp`.
        credentials: The credentials that may log in. All others are refused with LOGIN_BAD_CREDENTIALS.

    Attributes:
        token_lifetime: As above. A change applies to later logins.
        credentials: As above. After a change, the old ones are refused.
        transport: The fake as an httpx transport without a socket, for sync and async clients.
        logins: How many logins have succeeded.
        login_attempts: How many logins have been tried.
        requests: Every request, including logins, oldest first.
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
        self._time = FakeClock()
        # Each ends the delays of the answers that hold it. After that, a new event takes its place.
        self._over, self._login_over = threading.Event(), threading.Event()
        # Guards the fields below and the counters. Not held while a handler runs or a delay lasts.
        self._lock = threading.Lock()
        self._expiries: dict[str, float] = {}
        self._login_fault: LoginFault | None = None
        self._login_delay = 0.0
        self._routes = Routes()
        self.on("GET", _RESOURCE_PATH, self._resource)

    # Address

    @property
    def base_url(self) -> str:
        """`http://127.0.0.1:PORT` while the fake serves. At other times an address that only `transport` can reach."""
        return self._server_url or _IN_MEMORY

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that a service needs to find the fake and log in."""
        return {BASE_URL: self.base_url, LOGIN: self.credentials.username, PASSWORD: self.credentials.password}

    def connect(self, **arguments: Any) -> Client:
        """Return a client of this fake on its clock: over the socket while it serves, in memory at other times.

        Args:
            **arguments: The arguments of `kyc_client.connect()`, except the base URL.
        """
        if self._server_url is None:
            arguments.setdefault("transport", self.transport)
        credentials = arguments.pop("credentials", lambda: self.credentials)
        client = connect(self.base_url, credentials=credentials, **arguments)
        auth = client.get_httpx_client().auth
        assert isinstance(auth, LoginAuth)  # noqa: S101 - connect() always sets one
        start_over(auth._source, self._time.clock())  # noqa: SLF001 - of this package  # pyright: ignore[reportPrivateUsage]
        return client

    @contextlib.contextmanager
    def serve(self, server: LoopbackServer | None = None) -> Generator[Self, None, None]:
        """Serve on 127.0.0.1, over a socket, until the block ends.

        If a function of the test raises while it answers (an `assert`, for example), the client gets a 500. The end of
        the block then raises the error.

        Args:
            server: A running server that no other fake uses; None starts one on any free port.
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
        """Make every `LoginAuth` of this process use the fake's clock until the block ends.

        At the start and at the end, every `LoginAuth` forgets its tokens and failures, and running logins end. So no
        test sees the state of another test.
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
        """Move the fake's clock forward. The call returns at once.

        Args:
            seconds: How far.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("Time cannot go back: advance() takes seconds that are not negative.")
        self._time.pass_by(seconds)

    def expire(self) -> None:
        """Move the fake's clock forward until every token issued so far has expired.

        A client on the fake's clock sees this and logs in before its next call. Any other client learns it from a 401.
        Everything else that waits for time (a cool-down, a remembered refusal) moves forward by the same time.

        Raises:
            ValueError: A valid token has no `exp`, so it never expires.
        """
        with self._lock:
            last = max(self._expiries.values(), default=0.0)
        if last == float("inf"):
            raise ValueError("A token without a lifetime does not expire. Call revoke(), or set token_lifetime.")
        self.advance(max(0.0, last - self._time.wall()))

    # The login

    def revoke(self) -> None:
        """Refuse every token issued so far. Clients cannot see this: their next call gets a 401."""
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
        """Make logins fail from now on. A second call replaces the first.

        One call tries a login up to three times after a 503. So the call succeeds with `times=2`, and fails with
        `times=3`.

        Args:
            status: The status of the answer. 200 makes sense only with `content`.
            times: How many attempts fail before logins work again; None: all, until `restore_login()`.
            code: The code of the refusal. The default for a 400 is LOGIN_BAD_CREDENTIALS.
            retry_after: Seconds for the `Retry-After` header.
            content: An HTML page that replaces the API's answer, like the page of a proxy.

        Raises:
            ValueError: `status` is not from 200 to 599, or `times` is less than 1.
        """
        if not 200 <= status <= 599 or (times is not None and times < 1):
            raise ValueError("fail_login() takes a status from 200 to 599, and times from 1.")
        body: dict[str, Any] = {"json": {"detail": code or default_detail(status)}}
        if content is not None:
            body = {"html": content}
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        forever = float("inf")
        with self._lock:
            self._login_fault = LoginFault(
                lambda: httpx.Response(status, headers=headers, **body), forever if times is None else times
            )

    def slow_login(self, seconds: float) -> None:
        """Answer logins only after so many real seconds from now on. The client's read timeout may come first.

        Callers wait as they wait for the API: a thread blocks, and a task does not block its event loop. When `serve()`
        ends, the delays end too.

        Args:
            seconds: The delay; 0 for none.
        """
        with self._lock:
            self._login_delay = seconds

    def restore_login(self) -> None:
        """Make logins work again without delay. A login that is waiting is answered now.

        So a test can hold a login back with `slow_login()`, and release it with `restore_login()`.
        """
        with self._lock:
            self._login_fault, self._login_delay = None, 0.0
            self._login_over.set()
            self._login_over = threading.Event()

    def _end_waits(self) -> None:
        """Send every delayed answer now."""
        with self._lock:
            for over in (self._over, self._login_over):
                over.set()
            self._over, self._login_over = threading.Event(), threading.Event()

    # Calls

    def on(  # noqa: PLR0913 - the parts of an answer
        self,
        method: str,
        path: str,
        answer: Handler | None = None,
        *,
        status: int = 200,
        json: Any = NOTHING,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        public: bool = False,
    ) -> Route:
        """Set what a call is answered. Of several routes that match a call, the newest answers.

        Args:
            method: The HTTP method.
            path: The path, without a query. `{name}` matches any one segment.
            answer: A function that answers each call, in place of a fixed answer. See `Handler`.
            status: The status of the fixed answer.
            json: The body of the fixed answer, sent as JSON.
            content: The body of the fixed answer, sent unchanged.
            headers: The headers of the fixed answer.
            delay: Real seconds before the answer is sent. The client's read timeout may come first.
            public: Whether a call needs no token.

        Returns:
            The route. Its `calls` are the calls that it answered.

        Raises:
            ValueError: No request can match the path, or it is the login's path; `fail_login()` sets its answers.
            TypeError: There is more than one answer, `answer` is not a function, or `json` is not JSON.
        """
        if path == _LOGIN_PATH:
            raise ValueError("The fake's login is not a route. Use fail_login() and slow_login() for its answers.")
        check_path(path)
        answer = handler(answer, status, json, content, headers)
        return self._routes.add(Route(method.upper(), path, answer, delay, public))

    def route(self, method: str, path: str) -> Route:
        """Return the newest route with this method and path, as given to `on()`.

        Raises:
            LookupError: There is none.
        """
        return self._routes.named(method, path)

    # Answering

    def _respond(self, request: httpx.Request) -> Answer:
        """Answer a request, and record it."""
        path = request.url.path
        route, params, delay, over = None, dict[str, str](), 0.0, self._over
        response: httpx.Response | None = None
        if (request.method, path) == ("POST", _LOGIN_PATH):
            response, delay, over = self._log_in(request)
        else:
            route, params = self._routes.match(request)
            if route is None:
                response = self._not_found(request.method, path)
            elif not route.public and not self._has_valid_token(request):
                route, response = None, httpx.Response(401, json={"detail": "Unauthorized"})
        try:
            if route is not None:
                delay = route.delay
                request.extensions["path_params"] = params
                response = as_response(route.answer(request))
        finally:
            status = None if response is None else response.status_code
            call = Call(request.method, path, status, request, params)
            self.requests.append(call)
            if route is not None:
                route.calls.append(call)
        assert response is not None  # noqa: S101 - every branch above sets one
        return self._sealed(response, request.method, delay, over)

    def _sealed(self, response: httpx.Response, method: str, delay: float, over: threading.Event) -> Answer:
        """Return a response as it goes over the wire."""
        stream = response.stream
        if not isinstance(stream, httpx.SyncByteStream):
            raise TypeError("The content of an answer must be bytes, or an iterable of bytes that is not async.")
        has_body = method != "HEAD" and response.status_code not in {204, 304}
        date = email.utils.formatdate(self._time.wall(), usegmt=True)
        headers = [("Date", date), *response.headers.multi_items()]
        if has_body and not response.headers.keys() & {"content-length", "transfer-encoding"}:
            length = str(len(b"".join(stream))) if isinstance(stream, httpx.ByteStream) else None
            headers.append(("Content-Length", length) if length else ("Transfer-Encoding", "chunked"))
        return Answer(response.status_code, headers, stream if has_body else (), delay, over, has_body)

    def _log_in(self, request: httpx.Request) -> tuple[httpx.Response, float, threading.Event]:
        """Return the answer to a login, its delay in seconds, and the event that ends the delay early."""
        with self._lock:
            self.login_attempts += 1
            response = self._login_fault.answer() if self._login_fault else None
            if response is None:
                response = refusal(request.content, self.credentials)
            if response is None:
                self.logins += 1
                response = httpx.Response(200, json={"access_token": self._issue(), "token_type": "bearer"})
            return response, self._login_delay, self._login_over

    def _issue(self) -> str:
        """Return a new token, and remember when it expires."""
        expires_at = None if self.token_lifetime is None else int(self._time.wall() + self.token_lifetime)
        token = make_token(self.logins, expires_at)
        self._expiries[token] = float("inf") if expires_at is None else expires_at
        return token

    def _has_valid_token(self, request: httpx.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        with self._lock:
            return scheme.lower() == "bearer" and self._time.wall() < self._expiries.get(token, 0.0)

    def _not_found(self, method: str, path: str) -> httpx.Response:
        what = self._routes.missing(method, path)
        _log.warning("%s", what)
        return httpx.Response(404, json={"detail": what})

    def _resource(self, _request: httpx.Request) -> dict[str, str]:
        return {"message": "You are logged in.", "user": self.credentials.username}
