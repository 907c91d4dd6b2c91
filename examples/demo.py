"""What `make demo` shows: a client that looks after its login, against a real server that counts.

Each scene says what is about to happen. It shows the server's own log (`server`) beside what the caller sees
(`client`), and checks its promises. The exit status is 0 if all of them held.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import sleep

import kyc_client
from kyc_client.sandbox import Sandbox
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource

QUICKSTART = Path(__file__).with_name("quickstart.py")
TOKEN_LIFETIME = 4  # seconds: short enough to watch a token expire
TIMEOUT = 30  # seconds that the quickstart may take. It takes one


class Stage:
    """What the scenes share: the server, one connected client, and the number of promises that did not hold."""

    def __init__(self, sandbox: Sandbox, client: kyc_client.Client) -> None:
        self.sandbox = sandbox
        self.client = client
        self.failures = 0

    def check(self, promise: str, *, holds: bool) -> None:
        """Say whether a promise holds."""
        self.failures += not holds
        tell("ok" if holds else "FAILED", promise)

    def call(self) -> None:
        """Make one sync call and show its result."""
        tell("client", f"sync call: {shown(get_resource.sync(client=self.client))}")


def tell(who: str, line: str) -> None:
    """Print one aligned line."""
    print(f"  {who:<6} | {line}", flush=True)


def shown(result: object) -> str:
    """What a caller got: the content of a resource, or the answer itself if it is none."""
    return str(result.to_dict() if isinstance(result, Resource) else result)


def quickstart(stage: Stage) -> None:
    """A service starts: examples/quickstart.py, in a process of its own."""
    before = stage.sandbox.login_count
    service = subprocess.run(  # noqa: S603 - this interpreter, on the file beside this one
        [sys.executable, QUICKSTART], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    for line in (service.stdout + service.stderr).splitlines():
        tell("client", line)
    stage.check("it ended with status 0", holds=service.returncode == 0)
    stage.check("each of its two clients logged in once", holds=stage.sandbox.login_count - before == 2)


def many_calls(stage: Stage) -> None:
    """Three sync calls, then three async calls at the same time, with one client."""
    before = stage.sandbox.login_count
    for _ in range(3):
        stage.call()

    async def three_at_once() -> None:
        async with stage.client as client:
            for resource in await asyncio.gather(*(get_resource.asyncio(client=client) for _ in range(3))):
                tell("client", f"async call: {shown(resource)}")

    asyncio.run(three_at_once())
    stage.check("one login served all six", holds=stage.sandbox.login_count - before == 1)


def expiry(stage: Stage) -> None:
    """The token expires."""
    before = stage.sandbox.login_count
    token = stage.client.login.get_token()
    tell("client", f"has {token}")
    if token.expires_at is None:
        raise ValueError("The sandbox's tokens say when they expire, and this one does not.")
    while (left := (token.expires_at - datetime.now(UTC)).total_seconds()) > 0:
        tell("client", f"waits {left:.1f} s until it expires, then calls")
        sleep(left)
    stage.call()
    stage.check("one new login, and the call succeeded", holds=stage.sandbox.login_count - before == 1)
    stage.check("the token is another one", holds=stage.client.login.get_token().value != token.value)


def revocation(stage: Stage) -> None:
    """The server revokes all tokens before they expire. The client learns of it from a 401."""
    before = len(stage.sandbox.requests)
    stage.sandbox.revoke_all()
    stage.call()
    statuses = [record.status for record in stage.sandbox.requests[before:]]
    stage.check("one 401, one login, and the same call again", holds=statuses == [401, 200, 200])


def wrong_password(stage: Stage) -> None:
    """Another service has a wrong password, and calls twice."""
    attempts, logins = stage.sandbox.login_attempts, stage.sandbox.login_count
    wrong = kyc_client.Credentials(stage.sandbox.active.username, "fake-and-wrong-password")
    cached = []
    with kyc_client.connect(credentials=wrong) as client:
        for call in ("first", "second"):
            try:
                get_resource.sync(client=client)
            except kyc_client.BadCredentialsError as error:
                tell("client", f"{call} call: {type(error).__name__}: {error}")
                cached.append(error.cached)
    stage.check("both calls got the error, the second without asking", holds=cached == [False, True])
    stage.check("the server saw one attempt", holds=stage.sandbox.login_attempts - attempts == 1)
    stage.check("and no login", holds=stage.sandbox.login_count == logins)


SCENES: tuple[Callable[[Stage], None], ...] = (quickstart, many_calls, expiry, revocation, wrong_password)


def main() -> int:
    """Play all scenes.

    Returns:
        0 if every promise held, else 1.
    """
    # The scenes get the sandbox's environment, without a proxy, and without what this shell may have of a real one.
    for name in ("API_LOGIN_FILE", "API_PASSWORD_FILE"):
        os.environ.pop(name, None)
    log: list[str] = []

    def write(line: str) -> None:
        log.append(line)
        tell("server", line)

    with Sandbox(token_lifetime=TOKEN_LIFETIME, log=write) as sandbox:
        os.environ.update(sandbox.environ, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
        print(f"The API's login runs at {sandbox.base_url}. A token lives {TOKEN_LIFETIME} s at most.")
        with kyc_client.connect() as client:
            stage = Stage(sandbox, client)
            for number, scene in enumerate(SCENES, start=1):
                print(f"\n{number}. {scene.__doc__}")
                scene(stage)
    print(f"\nThe server counted {sandbox.login_count} logins in {len(log)} requests:")
    for line in log:
        if "logged in" in line:
            tell("server", line)
    print("All promises held." if not stage.failures else f"{stage.failures} promises did not hold.")
    return 1 if stage.failures else 0


if __name__ == "__main__":
    sys.exit(main())
