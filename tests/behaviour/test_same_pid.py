"""I2: a parent and its child that have the same process number, as in PID namespaces, share no connection."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.fault_server import FaultServer

# In every namespace, the first process is number 1.
PROGRAM = """
import os, sys
import kyc_client

os.getpid = lambda: 1
client = kyc_client.connect(sys.argv[1], credentials=kyc_client.Credentials("fake-user", "fake-password"))
http = client.get_httpx_client()
assert http.get("/warm").json()["path"] == "/warm"
child = os.fork()
name = "parent" if child else "child"
assert client.get_httpx_client() is (http if child else client.get_httpx_client())
wrong = 0
for number in range(40):
    path = f"/{name}/{number}"
    wrong += client.get_httpx_client().get(path).json()["path"] != path
line = f"{name} {wrong} {client.get_httpx_client() is http}"
os.write(1, (line + os.linesep).encode())  # In one piece, because both write into the same pipe.
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_parent_and_child_with_one_number(server: FaultServer) -> None:
    """Each gets its own answers. Both use the token that the parent had."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", PROGRAM, server.base_url], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(done.stdout.splitlines()) == ["child 0 False", "parent 0 True"]
    assert server.login_count == 1
    ports = {
        name: {hit.client_port for hit in server.hits if hit.path.startswith(f"/{name}")}
        for name in ("parent", "child")
    }
    assert ports["parent"].isdisjoint(ports["child"])
