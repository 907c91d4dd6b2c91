"""Where no daemon thread may be started: in an isolated subinterpreter (Python 3.12 and later), a login runs inline."""

from __future__ import annotations

import importlib
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.fault_server import FaultServer

PROGRAM = """
import threading
try:
    threading.Thread(daemon=True)
except RuntimeError:
    pass
else:
    raise AssertionError("this interpreter allows daemon threads, so nothing is tested here")

import kyc_client

with kyc_client.connect({url!r}, credentials=kyc_client.Credentials("fake-user", "fake-password")) as client:
    assert client.get_httpx_client().get("/api/v1/resource").status_code == 200
    assert client.login.status().logins == 1
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="subinterpreters allow daemon threads before 3.12")
def test_login_in_an_isolated_subinterpreter(server: FaultServer) -> None:
    """The login runs in the thread that needs the token, as where the system has no more threads."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = importlib.import_module(name)
    interpreter = interpreters.create("isolated") if sys.version_info >= (3, 13) else interpreters.create(isolated=True)
    try:
        failed = interpreters.run_string(interpreter, textwrap.dedent(PROGRAM).format(url=server.base_url))
        assert failed is None
    finally:
        interpreters.destroy(interpreter)
    assert server.login_count == 1
