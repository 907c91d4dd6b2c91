"""The pytest plugin, in pytest runs of their own: what a service's tests see, and what runs that do not use it pay."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]
PATIENCE = 60.0  # seconds, for what takes two

# A service as its authors write it: a client that the module makes once, an async call, a client of its own.
SERVICE = """
import os

import httpx
import kyc_client
from kyc_openapi.api.resource import get_resource

client = kyc_client.connect()


def user():
    return get_resource.sync(client=client)["user"]


async def async_user():
    async with kyc_client.connect() as client:
        return (await get_resource.asyncio(client=client))["user"]


def own_client():
    with httpx.Client(base_url=os.environ["API_BASE_URL"], auth=kyc_client.LoginAuth()) as client:
        return client.get("/api/v1/resource").json()["user"]
"""

USES = """
import asyncio
import os
import subprocess
import sys
import time

import kyc_client
import pytest

USER = "fake-user@example.com"


@pytest.mark.parametrize("number", range(3))
def test_client_of_a_module(fake_kyc, number):
    import service

    assert fake_kyc.requests == []
    assert [service.user(), service.user()] == [USER, USER]
    assert fake_kyc.logins == 1
    fake_kyc.expire()
    fake_kyc.fail_login(400)
    with pytest.raises(kyc_client.BadCredentialsError):
        service.user()


def test_async_and_own_client(fake_kyc):
    import service

    assert asyncio.run(service.async_user()) == service.own_client() == USER
    assert fake_kyc.logins == 2


def test_failing_login_costs_no_time(fake_kyc):
    import service

    fake_kyc.fail_login(503, times=2, retry_after=9)
    began = time.monotonic()
    assert service.user() == USER
    assert time.monotonic() - began < 9


def test_child_process(fake_kyc):
    script = "import service; print(service.user())"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == USER + "\\n"
    assert fake_kyc.logins == 1


def test_environment(fake_kyc):
    assert {name: os.environ.get(name) for name in fake_kyc.environ} == fake_kyc.environ
    assert "API_PASSWORD_FILE" not in os.environ
    assert os.environ["NO_PROXY"] == "localhost,127.0.0.1"


def test_afterwards():
    assert os.environ["API_PASSWORD_FILE"] == "/nowhere"
    assert not {"API_BASE_URL", "API_LOGIN", "API_PASSWORD"} & os.environ.keys()
    auth = kyc_client.LoginAuth("https://kyc.example.com")
    assert auth._source._clock.monotonic is time.monotonic
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest on files, in a process of its own, with warnings as errors."""
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("API_PASSWORD_FILE", "/nowhere")
    # coverage of this process is not theirs.
    for name in ("COV_CORE_SOURCE", "COV_CORE_CONFIG", "COV_CORE_DATAFILE", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **files: str) -> pytest.RunResult:
        if files:
            pytester.makepyfile(**files)
        # Without this environment's other plugins, which take seconds to load, and import what we must not.
        names = {plugin.name for plugin in entry_points(group="pytest11")} - {"kyc_client", "xdist"}
        others = [f"-pno:{name}" for name in sorted({"cacheprovider", *names})]
        return pytester.runpytest_subprocess("-W", "error", *others, *arguments, timeout=PATIENCE)

    return run


def test_service_meets_the_fake(run: Run) -> None:
    """A client made once by a module, an async one, an `httpx` client and a child process: all find the fake.

    Each test has a fake of its own, and nothing that another one left behind; the variables and clocks are put back.
    """
    run(service=SERVICE, test_uses=USES).assert_outcomes(passed=8)


def test_under_xdist(run: Run) -> None:
    """Each worker has a fake of its own."""
    run("-n", "2", "-k", "module", service=SERVICE, test_uses=USES).assert_outcomes(passed=3)


def test_sandbox(run: Run) -> None:
    """`kyc_sandbox` is a real server at an address that stays the same, new for each test."""
    tests = """
import pytest


@pytest.mark.parametrize("number", range(2))
def test_user(kyc_sandbox, number):
    import service

    assert service.user() == service.own_client() == kyc_sandbox.active.username
    assert kyc_sandbox.login_count == 2
"""
    run(service=SERVICE, test_sandbox=tests).assert_outcomes(passed=2)


def test_what_goes_wrong_is_told(run: Run) -> None:
    """Without the extra, `kyc_sandbox` says what to install, and `fake_kyc` works.

    An assertion that fails in an answer fails its test, although the service has swallowed it, and no other.
    """
    tests = """
import sys

import httpx

sys.modules["fastapi_users"] = None


def test_sandbox(kyc_sandbox):
    pass


def test_answer(fake_kyc):
    def answer(request):
        assert request.method == "POST", "the test's own words"

    fake_kyc.on("GET", "/x", answer, public=True)
    assert httpx.get(fake_kyc.base_url + "/x").status_code == 500


def test_next(fake_kyc):
    pass
"""
    result = run(test_wrong=tests)
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*pip install 'kyc-client?sandbox?'*",
            "*ERROR at teardown of test_answer*",
            "*AssertionError: the test's own words*",
        ]
    )


def test_run_without_it_loads_nothing(run: Run) -> None:
    """A run that asks for no fixture loads the plugin's one small module: neither the library nor httpx.

    So a coverage tool that starts after the plugins still sees every line of the library run.
    """
    tests = """
import sys


def test_modules():
    assert "pytest_kyc_client" in sys.modules
    assert not {"attrs", "httpx", "kyc_client", "kyc_openapi"} & sys.modules.keys()
"""
    run(test_modules=tests).assert_outcomes(passed=1)


def test_fixtures_are_documented(run: Run) -> None:
    """`pytest --fixtures` lists them, with what they are for."""
    result = run("--fixtures")
    result.stdout.fnmatch_lines(
        ["fake_kyc*", "    A fake of the KYC API*", "kyc_sandbox*", "    The API's own server*"]
    )


def test_plugin_can_be_turned_off(run: Run) -> None:
    """`-p no:kyc_client` does, under the name of its entry point."""
    tests = "def test_fake(fake_kyc):\n    pass\n"
    result = run("-p", "no:kyc_client", test_off=tests)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'fake_kyc' not found*"])
