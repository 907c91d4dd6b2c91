"""What the generated code has to pass before it takes the place of the old one."""

import ast
import re
import sys
from pathlib import Path
from typing import Any

from .names import place
from .run import run
from .spec import GenerationError

ROOT = Path(__file__).resolve().parents[2]
# What it says about the standard library and httpx; the package itself is new every time.
CACHE = ROOT / ".mypy_cache" / "generated"
WRAPPER = ROOT / "wrapper" / "kyc_client"
# The package that the hand-written layer is written for, and the attributes that it trusts not to be in any `repr`.
PACKAGE = "kyc_openapi"
HIDDEN = {
    "login_form": ["password"],
    "bearer_token": ["access_token"],
    "validation_error": ["input_", "ctx"],
}
COMPLAINT = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)")
EXCERPT = 3


def compile_package(package: Path, name: str, spec: dict[str, Any]) -> None:
    """Refuse code that Python cannot read, which the generator writes from some legal names."""
    for path in sorted(package.rglob("*.py")):
        try:
            compile(path.read_bytes(), path.name, "exec")
        except (SyntaxError, ValueError, RecursionError) as error:
            raise GenerationError(
                f"The code generated from {name} is broken: {place(spec, path.relative_to(package))}: {error}. "
                "Choose another name in the spec for what stands there."
            ) from error


def check_secrets(package: Path, name: str) -> None:
    """Refuse a login whose secrets would be shown, since the hand-written layer relies on that they are not."""
    if package.name != PACKAGE:
        return
    for module, attributes in HIDDEN.items():
        path = package / "models" / f"{module}.py"
        text = path.read_text("utf-8") if path.exists() else ""
        for attribute in attributes:
            declared = re.search(rf"\n    {attribute}: (.*(?:\n        .*)*)", text)
            if declared and "repr=False" not in declared[1]:
                raise GenerationError(
                    f"{name} does not mark `{attribute}` of the model in models/{module}.py as secret, so that its "
                    "repr would show it: give it `format: password`, or `x-secret: true` where it is no string."
                )


def check_imports(package: Path, name: str) -> None:
    """Refuse a package that lacks a module which the hand-written layer imports.

    The type checker would take the module from the package that is installed.
    """
    if package.name != PACKAGE:
        return
    for path in sorted(WRAPPER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] != PACKAGE:
                continue
            folder = package.joinpath(*str(node.module).split(".")[1:])
            named = [alias.name for alias in node.names]
            # What stands in a folder of operations are modules; names in a module are the type checker's affair.
            if folder.is_relative_to(package / "api"):
                gone = [name for name in named if not (folder / f"{name}.py").is_file()]
            else:
                gone = [] if folder.is_dir() or folder.with_suffix(".py").is_file() else named
            if gone:
                raise GenerationError(broken(name, [f"{at(path)}:{node.lineno}: {node.module} has no {gone[0]}"]))


def check_types(package: Path, name: str, spec: dict[str, Any]) -> None:
    """Refuse code that only a strict type checker knows to be wrong, and what the hand-written layer cannot use."""
    # In files, since two runs at once would find a database locked.
    options = ["--strict", "--config-file=", f"--cache-dir={CACHE}", "--no-sqlite-cache"]
    options += ["--no-error-summary", "--hide-error-codes"]
    targets = ["-p", package.name]
    if package.name == PACKAGE:
        # Each by its name: of an installed module that is only imported, mypy reports nothing.
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
    """Say which lines of the hand-written layer would not work any more."""
    head = f"{name} breaks what the hand-written layer uses. Put it back into the spec, or change these lines first:"
    return "\n  ".join([head, *lines])


def at(path: Path) -> str:
    """Name a file of the hand-written layer."""
    return path.relative_to(WRAPPER.parent).as_posix()


def report(name: str, generated: dict[str, list[str]]) -> str:
    """Say in which places of the document the mistakes of the generated code begin."""
    lines = [
        f"The code generated from {name} does not pass mypy --strict.",
        "Names in the spec clash with names that the generated code uses: choose others for what stands here.",
    ]
    for where, complaints in generated.items():
        lines.append(f"  {where}")
        lines += [f"    {complaint}" for complaint in complaints[:EXCERPT]]
        lines += [f"    ... {len(complaints) - EXCERPT} more"] if len(complaints) > EXCERPT else []
    return "\n".join(lines)
