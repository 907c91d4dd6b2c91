"""The checks that the generated code must pass before it replaces the old code."""

import ast
import re
import sys
from pathlib import Path
from typing import Any

from .names import place
from .run import run
from .spec import GenerationError

ROOT = Path(__file__).resolve().parents[2]
# Keeps mypy's results for the standard library and httpx. The package itself is new every time.
CACHE = ROOT / ".mypy_cache" / "generated"
WRAPPER = ROOT / "wrapper" / "kyc_client"
# The package that the hand-written layer uses, and the attributes that must not be in any `repr`.
PACKAGE = "kyc_openapi"
HIDDEN = {
    "login_form": ["password"],
    "bearer_token": ["access_token"],
    "validation_error": ["input_", "ctx"],
}
COMPLAINT = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)")
EXCERPT = 3


def compile_package(package: Path, name: str, spec: dict[str, Any]) -> None:
    """Refuse code that Python cannot compile. The generator writes such code for some legal names."""
    for path in sorted(package.rglob("*.py")):
        try:
            compile(path.read_bytes(), path.name, "exec")
        except (SyntaxError, ValueError, RecursionError) as error:
            raise GenerationError(
                f"The code generated from {name} is broken: {place(spec, path.relative_to(package))}: {error}. "
                "Choose another name there in the spec."
            ) from error


def check_secrets(package: Path, name: str) -> None:
    """Refuse a login whose `repr` would show secrets, because the hand-written layer relies on their absence."""
    if package.name != PACKAGE:
        return
    for module, attributes in HIDDEN.items():
        path = package / "models" / f"{module}.py"
        text = path.read_text("utf-8") if path.exists() else ""
        for attribute in attributes:
            declared = re.search(rf"\n    {attribute}: (.*(?:\n        .*)*)", text)
            if declared and "repr=False" not in declared[1]:
                raise GenerationError(
                    f"{name} does not mark `{attribute}` of the model in models/{module}.py as secret, so its repr "
                    "would show it. Give it `format: password`, or `x-secret: true` if it is not a string."
                )


def check_imports(package: Path, name: str) -> None:
    """Refuse a package without a module that the hand-written layer imports.

    The type checker does not notice this, because it would take the module from the installed package.
    """
    if package.name != PACKAGE:
        return
    for path in sorted(WRAPPER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != PACKAGE:
                continue
            folder = package.joinpath(*str(node.module).split(".")[1:])
            named = [alias.name for alias in node.names]
            # A folder of operations contains modules. Names in a module are checked by the type checker.
            if folder.is_relative_to(package / "api"):
                gone = [name for name in named if not (folder / f"{name}.py").is_file()]
            else:
                gone = [] if folder.is_dir() or folder.with_suffix(".py").is_file() else named
            if gone:
                raise GenerationError(broken(name, [f"{at(path)}:{node.lineno}: {node.module} has no {gone[0]}"]))


def check_types(package: Path, name: str, spec: dict[str, Any]) -> None:
    """Refuse code in which a strict type checker finds errors, and code that the hand-written layer cannot use."""
    # Use cache files, because with a database a second run at the same time would find it locked.
    options = ["--strict", "--config-file=", f"--cache-dir={CACHE}", "--no-sqlite-cache"]
    options += ["--no-error-summary", "--hide-error-codes"]
    targets = ["-p", package.name]
    if package.name == PACKAGE:
        # Name each module, because mypy reports nothing about an installed module that is only imported.
        users = [path for path in sorted(WRAPPER.rglob("*.py")) if PACKAGE in path.read_text("utf-8")]
        named = [".".join(path.relative_to(WRAPPER.parent).with_suffix("").parts) for path in users]
        targets += [part for name in named if not name.endswith(".__init__") for part in ("-m", name)]
    command, found_in = [sys.executable, "-m", "mypy", *options, *targets], f"{package.parent}:{WRAPPER.parent}"
    result = run(command, package.parent, MYPYPATH=found_in)
    if not result.returncode:
        return
    generated: dict[str, list[str]] = {}
    written: list[str] = []
    for line in (result.stdout + result.stderr).splitlines():
        found = COMPLAINT.fullmatch(line)
        path = Path(package.parent, found["file"]).resolve() if found else None
        if found is None or path is None:
            written.append(line)
        elif path.is_relative_to(package):
            where = place(spec, path.relative_to(package))
            generated.setdefault(where, []).append(f"line {found['line']}: {found['text']}")
        else:
            written.append(f"{at(path)}:{found['line']}: {found['text']}")
    if generated:
        raise GenerationError(report(name, generated))
    raise GenerationError(broken(name, written))


def broken(name: str, lines: list[str]) -> str:
    """Return the message for lines of the hand-written layer that would no longer work."""
    head = f"{name} breaks what the hand-written layer uses. Restore it in the spec, or change these lines first:"
    return "\n  ".join([head, *lines])


def at(path: Path) -> str:
    """Return the name of a file of the hand-written layer."""
    return path.relative_to(WRAPPER.parent).as_posix()


def report(name: str, generated: dict[str, list[str]]) -> str:
    """Return the message for type errors in the generated code, by the place in the document."""
    lines = [
        f"The code generated from {name} does not pass mypy --strict.",
        "Names in the spec clash with names that the generated code uses. Choose other names here:",
    ]
    for where, complaints in generated.items():
        lines.append(f"  {where}")
        lines += [f"    {complaint}" for complaint in complaints[:EXCERPT]]
        lines += [f"    ... {len(complaints) - EXCERPT} more"] if len(complaints) > EXCERPT else []
    return "\n".join(lines)
