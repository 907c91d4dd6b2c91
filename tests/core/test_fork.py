"""What starts anew in a forked child."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import weakref

import pytest

import kyc_client
from kyc_client import _fork

PROGRAM = """
import os
from kyc_client import _fork

os.getpid = lambda: 1  # As for parent and child in two PID namespaces.

class Thing:
    forks = 0
    def after_fork(self):
        self.forks += 1

gone, thing = Thing(), Thing()
_fork.register(gone)
_fork.register(thing)
del gone
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, f"{thing.forks} {len(_fork.living())}".encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reading, 99).decode(), thing.forks)
"""


FORK_DURING_AN_IMPORT = """
import os, sys, threading, types
from kyc_client import _fork

class Finder:
    def find_spec(self, name, path, target=None):
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self) if name == "slow" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        begun.set()
        go_on.wait()
        module.is_whole = True

begun, go_on = threading.Event(), threading.Event()
sys.meta_path.insert(0, Finder())
thread = threading.Thread(target=_fork.load, args=("slow",))
thread.start()
begun.wait()
# The fork waits for the import, so another thread has to let that end. Without the wait, it would come long before.
threading.Timer(0.3, go_on.set).start()
child = os.fork()
if child == 0:
    os._exit(0 if hasattr(sys.modules["slow"], "is_whole") else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Thing:
    """Something that has to start anew."""

    def __init__(self) -> None:
        self.forks = 0

    def after_fork(self) -> None:
        self.forks += 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork() -> None:
    """I1: each registered object that lives starts anew in the child, once, whatever the processes' numbers are."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "1", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_during_an_import() -> None:
    """I1: the child has all of the module. With a half of it, its next import would wait for ever."""
    done = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-W", "ignore", "-c", FORK_DURING_AN_IMPORT],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["0"]


def test_hook() -> None:
    """What Python runs around a fork, here without one: objects start anew, and imports can go on in the child."""
    things = [Thing(), Thing()]
    for thing in things:
        _fork.register(thing)
    _fork._importing.acquire()
    _fork._after_fork()
    assert [thing.forks for thing in things] == [1, 1]
    thread = threading.Thread(target=_fork.load, args=("json",))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_load() -> None:
    """A module on first use. A fork waits for it, because the child would have half of it."""
    assert _fork.load("json") is json


def test_registration_keeps_nothing_alive() -> None:
    """A client that nobody uses goes, and so does what it holds."""
    thing = Thing()
    _fork.register(thing)
    reference = weakref.ref(thing)
    del thing
    gc.collect()
    assert reference() is None
    assert not any(isinstance(forked, Thing) for forked in _fork.living())


def test_objects_are_listed_while_other_threads_register_more() -> None:
    """I1: a fork, or `kyc_client.testing`, may come while another thread makes a client."""
    kept, done = [Thing() for _ in range(2000)], threading.Event()
    for thing in kept:
        _fork.register(thing)

    def register() -> None:
        while not done.is_set():
            thing = Thing()
            _fork.register(thing)
            kept[len(kept) // 2 :] = [*kept[len(kept) // 2 + 1 :], thing]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=register)
    thread.start()
    try:
        for _ in range(100):
            _fork.living()
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_child_has_connections_of_its_own() -> None:
    """I2: it keeps those of the parent, and neither uses nor closes them."""
    client = kyc_client.connect(
        "https://api.example.com", credentials=kyc_client.Credentials("fake-user", "fake-password")
    )
    inherited = client.get_httpx_client(), client.get_async_httpx_client()
    client._pools.after_fork()
    own = client.get_httpx_client(), client.get_async_httpx_client()
    assert not set(map(id, own)) & set(map(id, inherited))
    assert not any(http.is_closed for http in inherited)
