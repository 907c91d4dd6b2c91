"""A process that stands still: SIGSTOP, a frozen Lambda. Over real sockets, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.fault_server import FaultServer, hang, issue
from tests.support.gate import settles

# Renews in the background against a server that does not answer, and says so. Goes on when it is told to.
PROGRAM = """
import sys, time
import kyc_client

auth = kyc_client.LoginAuth(sys.argv[1], credentials=kyc_client.Credentials("fake-user", "fake-password"))
old = auth.get_token()
auth._source._deadline = 2.0
while auth.status().phase != "soft":
    time.sleep(0.01)
assert auth.get_token() is old
print("renews", flush=True)
sys.stdin.readline()
auth._source._deadline = 20.0
token = auth.get_token()
print(token is not old, auth.status().failed_logins, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
def test_deadline_that_passed_while_nobody_ran() -> None:
    """F5: the first caller after the thaw gets a login of its own, and not the time-out of one that nobody flew."""
    with FaultServer(lifetime=7) as server:
        server.on_login(issue(), hang, issue())
        command = [sys.executable, "-c", PROGRAM, server.base_url]
        with subprocess.Popen(  # noqa: S603 - this very Python
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUTF8": "1"}
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "renews\n"
            assert settles(lambda: server.login_count == 2)
            process.send_signal(signal.SIGSTOP)
            time.sleep(4)  # Longer than the deadline, its grace, and what is left of the token.
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "True 0\n"
        assert server.login_count == 3
