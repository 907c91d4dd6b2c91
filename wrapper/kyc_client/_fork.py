"""What a fork must not cut in two, and what has to start anew in the child.

A process is not told from its parent by its number: in PID namespaces, both may be number 1. A child of a fork is known
by the hook that Python runs there, before any other code of the child.
"""

from __future__ import annotations

import importlib
import itertools
import os
import threading
import weakref
from typing import Any

_importing = threading.RLock()
_numbers = itertools.count()
# Weak, so that this keeps nothing alive. A dictionary, because its references can be listed in one step. Other threads
# may add to it meanwhile, which breaks a walk through a set.
_registered: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def register(forked: Any) -> None:
    """Call `after_fork()` of this object in every child, for as long as the object lives."""
    _registered[next(_numbers)] = forked


def living() -> list[Any]:
    """Every registered object of this process that is in use."""
    return [forked for reference in _registered.valuerefs() if (forked := reference()) is not None]


def load(module: str) -> Any:
    """Import a module on first use, in any thread.

    A fork waits for it. If it did not, the child would have half a module, and its next import of it would wait for
    ever for a thread of the parent.
    """
    with _importing:
        return importlib.import_module(module)


def _after_fork() -> None:
    _importing.release()
    for forked in living():
        forked.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_after_fork)
