"""Fixtures for all tests: a watchdog, a clean environment, the sandbox and the fault server."""

from __future__ import annotations

import faulthandler
import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

import kyc_client
from kyc_client._token import policy
from tests.support.blocking import LoopWatch
from tests.support.colours import COLOURS
from tests.support.fault_server import FaultServer
from tools.node import REDOCLY, NoToolError, Tool

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kyc_client.sandbox import Sandbox
    from tests.support.colours import Colour

VARIABLES = ("API_BASE_URL", "API_LOGIN", "API_LOGIN_FILE", "API_PASSWORD", "API_PASSWORD_FILE")
# Longer than any test takes; a test that hangs ends the run with the stacks of all threads instead of blocking it.
WATCHDOG_SECONDS = 120
_STDERR = pytest.StashKey[int]()
# How long an example takes says more about the other core than about us.
hypothesis.settings.register_profile("kyc", deadline=None)
hypothesis.settings.load_profile("kyc")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--record`, which `make record` uses."""
    parser.addoption("--record", action="store_true", help="record the cassettes anew from the sandbox")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr, which is not captured yet: what the watchdog says must not be lost with the process."""
    config.addinivalue_line("markers", "blocks_the_loop: blocks an event loop, because that is what it is about")
    config.addinivalue_line("markers", "tools: is about the repository's own tools, which are the same on every Python")
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """What `--numprocesses auto` means: one more than there are processors, since a test also waits."""
    return (yield) + ("PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give it back."""
    os.close(config.stash[_STDERR])


@pytest.fixture(autouse=True)
def _watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test hangs for ever."""
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True, file=request.config.stash[_STDERR])
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _loop_watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """A12: in no test does our code block an event loop."""
    if request.node.get_closest_marker("blocks_the_loop"):
        yield
        return
    with LoopWatch() as watch:
        yield
    assert watch.found == []


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees credentials or proxies of the machine that it runs on."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def credentials() -> kyc_client.Credentials:
    """What the tests log in with: plainly fakes."""
    return kyc_client.Credentials("fake-user@example.com", "fake-password-for-tests")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server that does what the test says, over a real socket, and counts."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def long_cooldown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cool-down after a failed login does not end before a slow machine is done."""
    for name in ("_COOLDOWN_SECONDS", "_COOLDOWN_LIMIT"):
        monkeypatch.setattr(policy, name, 600.0)


@pytest.fixture
def three_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of drops is not refilled before a slow machine is done."""
    monkeypatch.setattr(policy, "_SECONDS_PER_DROP", 600.0)


@pytest.fixture
def auth(server: FaultServer, credentials: kyc_client.Credentials, long_cooldown: None) -> kyc_client.LoginAuth:
    """A LoginAuth on the fault server, with a long cool-down."""
    return kyc_client.LoginAuth(server.base_url, credentials=credentials)


@pytest.fixture(scope="session")
def redocly() -> Tool:
    """The linter and differ of OpenAPI documents; fetched here, before the watchdog of any test begins to count."""
    try:
        REDOCLY.fetch()
    except NoToolError as error:
        pytest.skip(f"no redocly: {error}")
    return REDOCLY


@pytest.fixture(params=COLOURS, ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Colour:
    """The same scenario for threads, asyncio and trio."""
    colour: Colour = request.param
    return colour


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """The API's own server stack, over a real socket."""
    # Only here, since it takes longer to import than all else above, and the tests of the core do without.
    from kyc_client.sandbox import Sandbox  # noqa: PLC0415

    with Sandbox() as sandbox:
        yield sandbox
