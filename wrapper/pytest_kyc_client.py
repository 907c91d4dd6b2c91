"""The pytest plugin of kyc-client: fixtures for the tests of services. It comes with kyc-client and is always active.

It is outside the package `kyc_client`, and imports it only when a test uses a fixture. Every pytest run loads this
module if the library is installed. A coverage tool that starts later can measure `kyc_client` only if no plugin has
loaded it before.
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
    # kyc_client uses no proxy for this machine. The service's own httpx client would use one.
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1"))))


@pytest.fixture(scope="session")
def _kyc_server() -> Iterator[LoopbackServer]:
    """One socket for the whole session, so that a client created when a module is imported works in every test."""
    from kyc_client.testing._server import LoopbackServer  # noqa: PLC0415 - see the module's docstring

    with LoopbackServer() as server:
        yield server


@pytest.fixture(scope="session")
def _kyc_sandbox_port() -> list[int]:
    """The port of all sandboxes of this session, in a list; 0 until the first sandbox has chosen one."""
    return [0]


@pytest.fixture
def fake_kyc(_kyc_server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKYC]:
    """A fake of the KYC API, new for each test. `kyc_client.connect()` finds it. See `help(kyc_client.testing)`."""
    from kyc_client.testing import FakeKYC  # noqa: PLC0415 - see the module's docstring

    fake = FakeKYC()
    with fake.serve(_kyc_server), fake.control_time():
        _set_environment(monkeypatch, fake.environ)
        yield fake


@pytest.fixture
def kyc_sandbox(_kyc_sandbox_port: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The API's own server software. `kyc_client.connect()` finds it. It needs the extra `kyc-client[sandbox]`."""
    from kyc_client.testing._sources import living_sources, start_over  # noqa: PLC0415 - see the module's docstring

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
