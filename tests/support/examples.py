"""Run the unchanged files of `examples/`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

EXAMPLES = ROOT / "examples"
PATIENCE = 60.0  # seconds; it normally takes eight


def loaded(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *options: str, arguments: Sequence[str] = (), **environ: str) -> subprocess.CompletedProcess[str]:
    """Run an example like a reader, except that warnings are errors. `options` go to the interpreter."""
    return subprocess.run(  # noqa: S603 - this interpreter, on a file of the project
        [sys.executable, "-W", "error", *options, EXAMPLES / f"{name}.py", *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
