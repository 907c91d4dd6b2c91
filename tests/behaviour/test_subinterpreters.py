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
CHECK = """
import os
from kyc_client.cli import main

os.environ.update(API_BASE_URL={url!r}, API_LOGIN="fake-user", API_PASSWORD="fake-password")
assert main(["check"]) == 0
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="subinterpreters allow daemon threads before 3.12")
@pytest.mark.parametrize("program", [PROGRAM, CHECK], ids=["login", "kyc-client check"])
def test_isolated_subinterpreter(server: FaultServer, program: str) -> None:
    """What has a thread of its own elsewhere runs in the thread that needs it, as where the system has no more."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = importlib.import_module(name)
    interpreter = interpreters.create("isolated") if sys.version_info >= (3, 13) else interpreters.create(isolated=True)
    try:
        failed = interpreters.run_string(interpreter, textwrap.dedent(program).format(url=server.base_url))
        assert failed is None
    finally:
        interpreters.destroy(interpreter)
    assert server.login_count == 1
