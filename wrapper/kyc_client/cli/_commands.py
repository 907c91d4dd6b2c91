"""The commands. Each takes its parsed options and returns an exit status. `_options` has the options and the help."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from time import sleep
from typing import TYPE_CHECKING, cast

import httpx

from kyc_client._client import connect
from kyc_client._clock import Clock
from kyc_client._token.source import wait_sync
from kyc_client.errors import KYCClientError, LoginUnavailableError

from ._exit import Exit, exit_for
from ._terminal import fail, harmless, report, tell

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import BinaryIO

    from kyc_client._auth import LoginAuth

# Longer than httpx's own 5 s, as for `connect()`. A connection that takes longer than this almost never succeeds.
_CONNECT_SECONDS = 10.0


def token(options: Namespace) -> int:
    """Print the token alone, or a JSON object that holds it."""
    try:
        with _client(options) as client:
            # Only the lease knows how many seconds are left by the server's clock. The token itself does not.
            source = cast("LoginAuth", client.auth)._source  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            lease = wait_sync(source.acquire())
    except KYCClientError as error:
        return _explain(error)
    if not options.json:
        print(lease.token.value)
        return Exit.OK
    left = lease.seconds_left(Clock().now())
    expires_at = lease.token.expires_at
    answer = {
        "access_token": lease.token.value,
        "token_type": "bearer",
        "expires_at": None if expires_at is None else expires_at.isoformat(),
        "expires_in": None if left == float("inf") else int(left),
    }
    print(json.dumps(answer))
    return Exit.OK


def get(options: Namespace) -> int:
    """Print the answer to an authenticated GET: unchanged, except on a terminal, where it is made readable and safe."""
    try:
        with _client(options) as client:
            problem = _unfit(options.path, client.base_url)
            if problem:
                return fail(problem, Exit.USAGE)
            with client.stream("GET", options.path) as response:
                return _print_answer(response, include=options.include)
    except KYCClientError as error:
        return _explain(error)
    except httpx.RequestError as error:
        slow = isinstance(error, httpx.TimeoutException)
        hint = "Use a longer --timeout." if slow else "Run `kyc-client check` to find the reason."
        return fail(f"The call failed ({type(error).__name__}: {error}). {hint}", Exit.UNAVAILABLE)


def check(options: Namespace) -> int:
    """Find out why the API does not work from this machine. The exit status is the status of the first failure."""
    from ._doctor import examine  # noqa: PLC0415 - no other command needs it

    status = Exit.OK
    for finding in examine(timeout=options.timeout, allow_insecure_http=options.allow_insecure_http):
        report(finding, sys.stdout)
        status = status or finding.status or Exit.OK
    return status


def sandbox(options: Namespace) -> int:
    """Serve until SIGINT or SIGTERM. SIGINT also works in a background job, where the shell had it ignored."""
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _serve_sandbox(options)
    except KeyboardInterrupt:
        return Exit.OK
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _client(options: Namespace) -> httpx.Client:
    """Return the httpx client of a new client from `connect()`."""
    timeout = httpx.Timeout(options.timeout, connect=min(options.timeout, _CONNECT_SECONDS))
    return connect(timeout=timeout, allow_insecure_http=options.allow_insecure_http).get_httpx_client()


def _explain(error: KYCClientError) -> Exit:
    hint = " Run `kyc-client check` to find the reason." if isinstance(error, LoginUnavailableError) else ""
    return fail(f"{error}{hint}", exit_for(error))


def _unfit(path: str, base_url: httpx.URL) -> str | None:
    """Return why PATH cannot be called, or None if it can. A full URL is allowed if it has the API's origin."""
    good = "Give a path of the API, such as /api/v1/resource."
    if not path:
        return f"PATH is empty. {good}"
    try:
        url = httpx.URL(path)
    except (httpx.InvalidURL, ValueError):
        return f"PATH is not a path. {good}"
    if not (url.scheme or url.netloc):
        return None
    if url.userinfo:
        return f"PATH contains a user or password. {good}"
    if (url.scheme, url.raw_host, url.port) != (base_url.scheme, base_url.raw_host, base_url.port):
        origin = f"{base_url.scheme}://{base_url.netloc.decode('ascii')}"
        return f"PATH has another origin than {origin}. The token is sent to no other origin. {good}"
    return None


def _print_answer(response: httpx.Response, *, include: bool) -> Exit:
    out = sys.stdout.buffer
    if include:
        lines = [f"{response.http_version} {response.status_code} {response.reason_phrase}".rstrip().encode()]
        lines += [name + b": " + value for name, value in response.headers.raw]
        out.write(b"\n".join([*lines, b"", b""]))
    _print_body(response, out)
    if response.is_success:
        return Exit.OK
    what = f"{response.status_code} {response.reason_phrase}".rstrip()
    if response.has_redirect_location:
        what += ", a redirect, which this command does not follow"
    return fail(f"The API answered {response.request.url.path} with {what}.", Exit.NOT_OK)


def _print_body(response: httpx.Response, out: BinaryIO) -> None:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    encoding = sys.stdout.encoding
    if not sys.stdout.isatty():
        chunks = response.iter_bytes()
    elif media_type == "application/json" or media_type.endswith("+json"):
        chunks = iter((_pretty(response.read(), encoding),))
    else:
        chunks = (harmless(text).encode(encoding, "replace") for text in response.iter_text())
    for chunk in chunks:
        out.write(chunk)
        out.flush()


def _pretty(body: bytes, encoding: str) -> bytes:
    """Indent JSON for a person. A body that is not valid JSON is not indented."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return harmless(body.decode("utf-8", "replace")).encode(encoding, "replace")
    text = json.dumps(content, indent=2, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = json.dumps(content, indent=2)
    return harmless(f"{text}\n").encode(encoding)


def _serve_sandbox(options: Namespace) -> int:
    try:
        from kyc_client.sandbox import Sandbox, SandboxError  # noqa: PLC0415 - needs an extra, and is slow to import
    except ImportError as error:
        return fail(error)
    try:
        with Sandbox(
            port=options.port,
            token_lifetime=options.token_lifetime,
            require_verification=options.require_verification,
            log=tell,
        ) as running:
            tell(f"The sandbox serves at {running.base_url}. Run these lines (on stdout) in the shell of your service:")
            for name, value in running.environ.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)
            unverified = "LOGIN_USER_NOT_VERIFIED" if options.require_verification else "may log in"
            tell("Other users, with the same password:")
            tell(f"  {running.inactive.username}    LOGIN_BAD_CREDENTIALS")
            tell(f"  {running.unverified.username}  {unverified}")
            tell("Requests (Ctrl-C ends the sandbox):")
            while True:
                # Sleep, because a signal interrupts a sleep on every platform.
                sleep(1)
    except SandboxError as error:
        return fail(error)
