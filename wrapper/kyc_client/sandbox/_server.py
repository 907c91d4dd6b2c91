"""The server of the sandbox: FastAPI Users on uvicorn, in a thread with its own event loop."""

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
        f"kyc_client.sandbox runs a real server and needs {error.name}, which is not installed: "
        "pip install 'kyc-client[sandbox]'",
    ) from error

__all__ = ["LOGIN_PATH", "RESOURCE_PATH", "PortInUseError", "RequestRecord", "Sandbox", "SandboxError"]

LOGIN_PATH = "/auth/jwt/login"
RESOURCE_PATH = "/api/v1/resource"

_HOST = "127.0.0.1"
_PASSWORD = "fake-password-of-the-sandbox"  # noqa: S105 - it is public, and valid in this sandbox only
# Seconds to start, and seconds to stop. Both normally take less than one second, so after ten something hangs.
_PATIENCE = 10.0
# Seconds for which an unfinished request may delay the stop.
_GRACE = 1
# The default hash costs 0.1 s of CPU for each login. That protects real passwords; this one is public.
_CHEAP_HASHES = PasswordHelper(PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)))


class SandboxError(RuntimeError):
    """The sandbox could not start or stop. The message says why, and what to do."""


class PortInUseError(SandboxError):
    """Another program listens on the requested port."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered request, as the server saw it. It holds no password and no token.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        status: The status code of the answer.
        who: The user: the one in the login's form, or the token's. None if the server does not know.
        outcome: Details of the result: the number of the login, the code of a refusal, or the fields of a 422.
    """

    method: str
    path: str
    status: int
    who: str | None
    outcome: str

    def __str__(self) -> str:
        line = f"{self.method:<4} {self.path} {self.status} {self.who or '-'} {self.outcome}".rstrip()
        # Names and paths come from the client. A newline in one of them could forge a line of the log.
        return "".join(character if character.isprintable() else "?" for character in line)


class _RequestLog:
    """The outermost layer of the application: it records each request when its answer starts.

    It does not record later, because a client that has its answer must find the request already counted. The inner
    layers write `who` and `outcome` into the request's `state`.
    """

    def __init__(self, application: ASGIApp, write: Callable[[str], object]) -> None:
        self._application = application
        self._write = write
        # Only the server's thread writes these three fields. Other threads read them.
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

        # Only the sandbox's stop cancels a request, one that its client never finished. It needs no traceback.
        with suppress(asyncio.CancelledError):
            await self._application(scope, receive, record_and_send)

    def _record(self, scope: Scope, status: int, *, is_login: bool) -> None:
        outcome = scope["state"].get("outcome", "")
        if is_login and status == HTTPStatus.OK:
            self.login_count += 1
            outcome = f"logged in (login {self.login_count})"
        record = RequestRecord(scope["method"], scope["path"], status, scope["state"].get("who"), outcome)
        self.records.append(record)
        # Not time.strftime(): its clock is some milliseconds behind, so tokens would seem to expire early.
        self._write(f"{datetime.now().astimezone():%H:%M:%S} {record}")


class _Table(DeclarativeBase):
    """The base class of the database's only table."""


class _User(SQLAlchemyBaseUserTableUUID, _Table):
    """A user, exactly as FastAPI Users defines it."""


class _Users(UUIDIDMixin, BaseUserManager[_User, uuid.UUID]):
    """Checks passwords, and writes the name of the user into `notes`."""

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
    """Assemble the server as in the FastAPI Users documentation, and add the protected resource of the API's guide."""

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
        # The router's codes are members of an enum of strings. Plain str() would give the name of the member.
        outcome = str.__str__(refusal.detail)
        if refusal.status_code == HTTPStatus.UNAUTHORIZED:
            outcome += ": token not accepted" if "authorization" in request.headers else ": no token sent"
        request.state.outcome = outcome
        return await http_exception_handler(request, refusal)

    @application.exception_handler(RequestValidationError)
    async def note_invalid(request: Request, invalid: RequestValidationError) -> Response:
        # Only the place and the kind of each problem. The input itself may be a password.
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
    # Connections inherit this option. asyncio sets it only on listeners that it creates. Without it, each answer takes
    # 40 ms, because its body waits until the client acknowledges its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _discard(_line: str) -> None:
    """Discard a line of the log."""


class Sandbox:
    """A running sandbox: a context manager that serves until its block ends, and then removes everything it made.

    The server has its own thread and event loop, so the block may be sync or async. One object serves one block at a
    time. A second block starts with new users, tokens and counts.

    Args:
        port: The TCP port on 127.0.0.1; 0 takes a free one.
        token_lifetime: How long a token is valid, in seconds. Its `exp` is cut to a whole second, so a token lives up
            to one second less. None or 0 issues tokens without an `exp`.
        require_verification: Whether a user must be verified to log in. If False, the unverified user may log in too.
        log: Called in the server's thread with one line for each answered request: the time, the request, the answer
            and the user, never a password or a token. The default discards the lines; `requests` holds the same
            facts as records.

    Attributes:
        active: Credentials of a user that may log in.
        inactive: Credentials of a deactivated user.
        unverified: Credentials of a user that has not been verified.
        base_url: `http://127.0.0.1:PORT`, set when the block begins.

    Raises (when the block begins):
        PortInUseError: Another program listens on the port.
        SandboxError: The server did not start within 10 s, or the port cannot be used.
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
                    # Leave the logging of the process to the program that runs the sandbox. We log the requests.
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
        """The environment variables that a service needs to find the sandbox and log in as the active user."""
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
        """How many login POSTs have arrived, successful or not."""
        return self._log.login_attempts

    @property
    def login_count(self) -> int:
        """How many logins have succeeded."""
        return self._log.login_count

    def revoke_all(self) -> None:
        """Change the signing secret. Tokens issued so far get a 401 from now on; logins still work."""
        self._secret = secrets.token_hex(32)

    def set_active(self, username: str, *, active: bool) -> None:
        """Activate or deactivate a user. An inactive user cannot log in, and its tokens get a 401.

        Args:
            username: The user's name.
            active: Whether the user is active from now on.

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
            raise SandboxError(f"The sandbox did not start within {_PATIENCE:g} s. Does the machine or its disk hang?")
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
        except BaseException as error:  # noqa: BLE001 - raised in the thread that enters or leaves the block
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
            # The listener is already open, so the loop serves a client that connects before `serve()` runs.
            self._started.set()
            await self._server.serve(sockets=[listener])
        finally:
            await self._engine.dispose()
