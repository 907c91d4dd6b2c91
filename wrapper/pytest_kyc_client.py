"""The pytest plugin of kyc-client: fixtures for the tests of services. Installed with it; there is nothing to turn on.

It stands apart from `kyc_client`, and imports it only when a fixture is asked for: every pytest run in an environment
where the library is installed loads this module, and a coverage tool that starts later must find the library unloaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kyc_client.sandbox import Sandbox
    from kyc_client.testing import FakeKYC
    from kyc_client.testing._server import LoopbackServer

_FILES = ("API_LOGIN_FILE", "API_PASSWORD_FILE")


def _set_environment(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]) -> None:
    for name in _FILES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    # kyc_client itself uses no proxy for this machine; an httpx client of the service's own would.
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))


@pytest.fixture(scope="session")
def _kyc_server() -> Iterator[LoopbackServer]:
    """One socket for the whole session, so that a client made once, at the import of a module, works in every test."""
    from kyc_client.testing._server import LoopbackServer  # noqa: PLC0415 - see the module's docstring

    with LoopbackServer() as server:
        yield server


@pytest.fixture(scope="session")
def _kyc_sandbox_port() -> list[int]:
    """The port of the session's sandboxes, once there has been one."""
    return [0]


@pytest.fixture
def fake_kyc(_kyc_server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKYC]:
    """A fake of the KYC API, new for each test, that `kyc_client.connect()` finds; `kyc_client.testing` tells more."""
    from kyc_client.testing import FakeKYC  # noqa: PLC0415 - see the module's docstring

    fake = FakeKYC()
    with fake.serve(_kyc_server), fake.control_time():
        _set_environment(monkeypatch, fake.environ)
        yield fake


@pytest.fixture
def kyc_sandbox(_kyc_sandbox_port: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The API's own server software, which `kyc_client.connect()` finds; needs the extra `kyc-client[sandbox]`."""
    from kyc_client.testing._time import living_sources, start_over  # noqa: PLC0415 - see the module's docstring

    try:
        from kyc_client.sandbox import Sandbox  # noqa: PLC0415 - likewise
    except ImportError as error:
        pytest.fail(str(error), pytrace=False)
    for source in living_sources():
        start_over(source)
    with Sandbox(port=_kyc_sandbox_port[0]) as sandbox:
        _kyc_sandbox_port[0] = int(sandbox.base_url.rpartition(":")[2])
        _set_environment(monkeypatch, sandbox.environ)
        yield sandbox
