"""The server of the sandbox: FastAPI Users on uvicorn, in a thread with an event loop of its own."""

import asyncio
import errno
import secrets
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Self

from kyc_client._login.credentials import Credentials

try:
    import uvicorn
    from fastapi import Depends, FastAPI, Request, Response
    from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
    from fastapi.exceptions import RequestValidationError
    from fastapi.security import OAuth2PasswordRequestForm
    from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
    from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
    from fastapi_users.exceptions import UserNotExists
    from fastapi_users.password import PasswordHelper
    from fastapi_users.schemas import BaseUserCreate
    from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
    from sqlalchemy.orm import DeclarativeBase
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ModuleNotFoundError as error:
    raise ImportError(
        f"kyc_client.sandbox runs a real server, and {error.name} is not installed for it: "
        "pip install 'kyc-client[sandbox]'",
    ) from error

__all__ = ["LOGIN_PATH", "RESOURCE_PATH", "PortInUseError", "RequestRecord", "Sandbox", "SandboxError"]

LOGIN_PATH = "/auth/jwt/login"
RESOURCE_PATH = "/api/v1/resource"

_HOST = "127.0.0.1"
_PASSWORD = "fake-password-of-the-sandbox"  # noqa: S105 - it opens nothing but this sandbox, and says so
# Seconds to start, and seconds to stop. Both take a fraction of one; beyond this, something hangs.
_PATIENCE = 10.0
# Seconds that an unfinished request may hold up the stop.
_GRACE = 1
# The server's default costs 0.1 s of CPU a login: right for real passwords, and a waste for a public one.
_CHEAP_HASHES = PasswordHelper(PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))


class SandboxError(RuntimeError):
    """The sandbox could not be started or stopped; the message says why and what to do."""


class PortInUseError(SandboxError):
    """Something else listens on the port that was asked for."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered request, as the server saw it. Holds no password and no token.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The status code of the answer.
        who: The user: as named in a login's form, or as the token proved; None if the server cannot tell.
        outcome: What the status does not say: which login it was, the code of a refusal, the fields of a 422.
    """

    method: str
    path: str
    status: int
    who: str | None
    outcome: str

    def __str__(self) -> str:
        line = f"{self.method:<4} {self.path} {self.status} {self.who or '-'} {self.outcome}".rstrip()
        # Names and paths come from the client: a newline in one must not forge a second line.
        return "".join(character if character.isprintable() else "?" for character in line)


class _RequestLog:
    """The outermost layer of the application: writes each request down when its answer starts.

    Not later, since a client that holds its answer must find the request already counted. The layers inside
    leave what they know (`who`, `outcome`) in the request's `state`.
    """

    def __init__(self, application: ASGIApp, write: Callable[[str], object]) -> None:
        self._application = application
        self._write = write
        # Appended to and counted by the server's thread only; other threads read.
        self.records: list[RequestRecord] = []
        self.login_attempts = 0
        self.login_count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_login = (scope["method"], scope["path"]) == ("POST", LOGIN_PATH)
        self.login_attempts += is_login

        async def record_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._record(scope, message["status"], is_login=is_login)
            await send(message)

        # Only the stop cancels a request, one that a client never finished: no reason for a traceback.
        with suppress(asyncio.CancelledError):
            await self._application(scope, receive, record_and_send)

    def _record(self, scope: Scope, status: int, *, is_login: bool) -> None:
        outcome = scope["state"].get("outcome", "")
        if is_login and status == HTTPStatus.OK:
            self.login_count += 1
            outcome = f"logged in (login {self.login_count})"
        record = RequestRecord(scope["method"], scope["path"], status, scope["state"].get("who"), outcome)
        self.records.append(record)
        # Not time.strftime(): its clock is some milliseconds behind, so that a token may seem to expire early.
        self._write(f"{datetime.now().astimezone():%H:%M:%S} {record}")


class _Table(DeclarativeBase):
    """The database's tables: one, of users."""


class _User(SQLAlchemyBaseUserTableUUID, _Table):
    """A user, exactly as FastAPI Users wants it."""


class _Users(UUIDIDMixin, BaseUserManager[_User, uuid.UUID]):
    """Checks passwords, and leaves in `notes` whose they were."""

    def __init__(self, session: AsyncSession, notes: dict[str, Any]) -> None:
        super().__init__(SQLAlchemyUserDatabase(session, _User), _CHEAP_HASHES)
        self._notes = notes

    async def authenticate(self, credentials: OAuth2PasswordRequestForm) -> _User | None:
        self._notes["who"] = credentials.username[:80]
        return await super().authenticate(credentials)


def _application(
    sessions: async_sessionmaker[AsyncSession],
    strategy: Callable[[], JWTStrategy[_User, uuid.UUID]],
    *,
    require_verification: bool,
) -> FastAPI:
    """Assemble the server as the FastAPI Users documentation does, plus the guide's protected resource."""

    async def users_of_request(request: Request) -> AsyncIterator[_Users]:
        async with sessions() as session:
            yield _Users(session, request.scope["state"])

    async def current_strategy() -> JWTStrategy[_User, uuid.UUID]:
        return strategy()

    backend = AuthenticationBackend("jwt", BearerTransport(LOGIN_PATH.lstrip("/")), current_strategy)
    users = FastAPIUsers[_User, uuid.UUID](users_of_request, [backend])
    logged_in = users.current_user(active=True, verified=require_verification)
    application = FastAPI(title="KYC sandbox")
    application.include_router(
        users.get_auth_router(backend, requires_verification=require_verification),
        prefix="/auth/jwt",
        tags=["auth"],
    )

    @application.get(RESOURCE_PATH, tags=["resource"])
    async def get_resource(request: Request, user: Annotated[_User, Depends(logged_in)]) -> dict[str, str]:
        request.state.who = user.email
        return {"message": "You are logged in.", "user": user.email}

    @application.exception_handler(HTTPException)
    async def note_refusal(request: Request, refusal: HTTPException) -> Response:
        # The router's codes are members of a str enum, whose own str() is not the code.
        outcome = str.__str__(refusal.detail)
        if refusal.status_code == HTTPStatus.UNAUTHORIZED:
            outcome += ": token not accepted" if "authorization" in request.headers else ": no token sent"
        request.state.outcome = outcome
        return await http_exception_handler(request, refusal)

    @application.exception_handler(RequestValidationError)
    async def note_invalid(request: Request, invalid: RequestValidationError) -> Response:
        # Where and what kind, never the input: it may be a password.
        request.state.outcome = ", ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['type']}" for problem in invalid.errors()
        )
        return await request_validation_exception_handler(request, invalid)

    return application


async def _create_users(engine: AsyncEngine, users: tuple[BaseUserCreate, ...]) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(_Table.metadata.create_all)
    async with AsyncSession(engine) as session:
        for user in users:
            await _Users(session, {}).create(user)


def _listen(port: int) -> socket.socket:
    try:
        listener = socket.create_server((_HOST, port))
    except OSError as error:
        way_out = "choose another port (0: any free one)."
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(f"Port {port} on {_HOST} is in use. Stop what listens there, or {way_out}") from error
        raise SandboxError(f"Cannot listen on port {port} of {_HOST} ({error.strerror}): {way_out}") from error
    # Connections inherit it. asyncio would set it on a listener of its own, but does not on this one, and without
    # it each answer takes 40 ms: its body waits for the client's acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _discard(_line: str) -> None:
    """Write a line of the log nowhere."""


class Sandbox:
    """A running sandbox: a context manager that serves until its block ends, then leaves nothing behind.

    The server has a thread and an event loop of its own, so the block may be sync or async. One object serves
    one block at a time; a second block starts from scratch, with new users, tokens and counts.

    Args:
        port: The TCP port on 127.0.0.1; 0 takes a free one.
        token_lifetime: How long a token is valid, in seconds. Its `exp` is a whole second, cut off and not
            rounded, so a token lives up to a second less. None or 0: tokens without an `exp`.
        require_verification: Whether a user must be verified to log in (else the unverified user may).
        log: Called with one line for each answered request, in the server's thread: the time, the request, the
            answer, who asked. Never a password or a token. By default the lines go nowhere; `requests` has the
            same as records.

    Attributes:
        active: Credentials of a user that may log in.
        inactive: Credentials of a user that was deactivated.
        unverified: Credentials of a user that has not been verified.
        base_url: `http://127.0.0.1:PORT`; there once the block has begun.

    Raises (on entering the block):
        PortInUseError: Something listens on the port already.
        SandboxError: The server did not start in time, or the port cannot be had.
    """

    active: Credentials
    inactive: Credentials
    unverified: Credentials
    base_url: str

    def __init__(
        self,
        *,
        port: int = 0,
        token_lifetime: int | None = 3600,
        require_verification: bool = True,
        log: Callable[[str], object] | None = None,
    ) -> None:
        self.active = Credentials("active@sandbox.example", _PASSWORD)
        self.inactive = Credentials("inactive@sandbox.example", _PASSWORD)
        self.unverified = Credentials("unverified@sandbox.example", _PASSWORD)
        self._port = port
        self._token_lifetime = token_lifetime
        self._require_verification = require_verification
        self._write = log or _discard

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="kyc-sandbox-")))
            listener = stack.enter_context(_listen(self._port))
            self.base_url = f"http://{_HOST}:{listener.getsockname()[1]}"
            self.revoke_all()
            self._engine = create_async_engine(f"sqlite+aiosqlite:///{folder / 'users.sqlite'}")
            self._sessions = async_sessionmaker(self._engine)
            self._log = _RequestLog(
                _application(self._sessions, self._strategy, require_verification=self._require_verification),
                self._write,
            )
            self._server = uvicorn.Server(
                uvicorn.Config(
                    self._log,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    # The process's logging belongs to whoever runs the sandbox; the request log is ours.
                    log_config=None,
                    access_log=False,
                    timeout_graceful_shutdown=_GRACE,
                ),
            )
            self._start(listener)
            stack.callback(self._stop)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._resources.close()

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables with which a service finds the sandbox and logs in as the active user."""
        return {
            "API_BASE_URL": self.base_url,
            "API_LOGIN": self.active.username,
            "API_PASSWORD": self.active.password,
        }

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """Every request answered so far, oldest first."""
        return tuple(self._log.records)

    @property
    def login_attempts(self) -> int:
        """How many login POSTs have arrived, whatever became of them."""
        return self._log.login_attempts

    @property
    def login_count(self) -> int:
        """How many logins have succeeded."""
        return self._log.login_count

    def revoke_all(self) -> None:
        """Change the signing secret: tokens issued so far get 401 from now on; logins go on as before."""
        self._secret = secrets.token_hex(32)

    def set_active(self, username: str, *, active: bool) -> None:
        """Deactivate an account or activate it again: an inactive one cannot log in, and its tokens get 401.

        Raises:
            LookupError: The sandbox has no such user.
        """
        change = asyncio.run_coroutine_threadsafe(self._set_active(username, active=active), self._loop)
        change.result(_PATIENCE)

    async def _set_active(self, username: str, *, active: bool) -> None:
        async with self._sessions() as session:
            users = _Users(session, {})
            try:
                user = await users.get_by_email(username)
            except UserNotExists:
                raise LookupError(f"The sandbox has no user {username!r}; it has {self._usernames()}.") from None
            await users.user_db.update(user, {"is_active": active})

    def _usernames(self) -> str:
        return ", ".join(user.username for user in (self.active, self.inactive, self.unverified))

    def _strategy(self) -> JWTStrategy[_User, uuid.UUID]:
        return JWTStrategy(self._secret, self._token_lifetime)

    def _start(self, listener: socket.socket) -> None:
        self._started = threading.Event()
        self._finished: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=[listener], name="kyc-sandbox", daemon=True)
        self._thread.start()
        if not self._started.wait(_PATIENCE):
            self._server.should_exit = True
            raise SandboxError(f"The sandbox did not start within {_PATIENCE:g} s. Is the machine or its disk stuck?")
        if self._finished.done():
            self._finished.result()

    def _stop(self) -> None:
        self._server.should_exit = True
        try:
            self._finished.result(_PATIENCE)
        except TimeoutError:
            raise SandboxError(f"The sandbox did not stop within {_PATIENCE:g} s: a request hangs in it.") from None
        self._thread.join(_PATIENCE)

    def _run(self, listener: socket.socket) -> None:
        try:
            self._finished.set_result(asyncio.run(self._serve(listener)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that enters or leaves the block
            self._finished.set_exception(error)
        finally:
            self._started.set()

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            await _create_users(
                self._engine,
                (
                    BaseUserCreate(email=self.active.username, password=self.active.password, is_verified=True),
                    BaseUserCreate(
                        email=self.inactive.username,
                        password=self.inactive.password,
                        is_active=False,
                        is_verified=True,
                    ),
                    BaseUserCreate(email=self.unverified.username, password=self.unverified.password),
                ),
            )
            # The listener is open already: whoever connects is served as soon as the loop gets to it.
            self._started.set()
            await self._server.serve(sockets=[listener])
        finally:
            await self._engine.dispose()
