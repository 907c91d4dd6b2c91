"""Run the generator, the formatter and other programs."""

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from . import generator
from .spec import GenerationError

CONFIG = Path(__file__).with_name("openapi-python-client.yaml")
# Lines of the generator that do not help: where to report bugs, how to silence it, that output may be incomplete.
NOISE = re.compile(r"github\.com|yaml\.dev|To suppress this|some pieces may be missing")
OBJECT = re.compile(r"<openapi_python_client\.[^>]* object at 0x[0-9a-f]+>")


def tool(name: str) -> str:
    """Return the path of a tool beside the running Python, not on PATH, because only that version is pinned.

    Raises:
        GenerationError: it is not installed there.
    """
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise GenerationError(f"{name} is not installed beside this Python: run make setup, then make generate.")
    return found


def run(command: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in `folder`, without the settings in the caller's environment."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MYPY", "PYTHON", "RUFF"))}
    # The order of a set must not become the order of the output.
    clean |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "NO_COLOR": "1", **settings}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, encoding="utf-8", check=False)


def plain(value: object) -> str:
    """Return a value that YAML has and JSON lacks as text. Usually it is a date."""
    return value.isoformat() if isinstance(value, date) else str(value)


def call_generator(spec: dict[str, object], package: Path, name: str) -> None:
    """Generate the package from the changed document.

    Args:
        spec: the document, in which each operation has its security.
        package: the folder to write.
        name: the file name of the document, for messages.

    Raises:
        GenerationError: the generator refuses the document, warns, or crashes.
    """
    copy = package.with_name("spec.json")
    try:
        copy.write_text(json.dumps(spec, default=plain), "utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise GenerationError(f"{name} holds something that JSON cannot express: {error}") from error
    paths = [f"--path={copy}", f"--config={CONFIG}", f"--output-path={package}"]
    # -P keeps the script's folder off the path. Otherwise our modules would hide modules that the generator imports.
    command = [sys.executable, "-P", generator.__file__]
    result = run([*command, "generate", "--meta=none", "--fail-on-warning", *paths], package.parent)
    *_, last = ["", *result.stderr.splitlines()]
    if last.startswith(generator.MARK):
        raise GenerationError(f"The generator cannot read {name}: {last.removeprefix(generator.MARK)}")
    if result.returncode:
        told = [line.rstrip() for line in result.stderr.splitlines() if line.strip() and not NOISE.search(line)]
        text = OBJECT.sub("one", "\n  ".join(told)).replace("<unicode string>", name)
        raise GenerationError(f"The generator does not accept {name}:\n  {text}")


def format_package(package: Path) -> None:
    """Format like the generator's own hooks, but without the settings of the surrounding folders."""
    ruff = tool("ruff")
    for command in (["check", ".", "--fix-only", "--select=I,F401"], ["format", "."]):
        result = run([ruff, *command, "--isolated", "--no-cache"], package)
        if result.returncode:
            raise GenerationError(f"The generated code cannot be formatted:\n{result.stderr.strip()}")
