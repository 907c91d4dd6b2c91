"""Generate the API client package from the OpenAPI document: same document, same bytes, on any machine.

The work happens in a temporary folder: the generator writes, our edits are made, ruff formats, Python
compiles, mypy reads the result. Only then does it take the place of the old output, which a failure leaves
whole.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

from _edits import EDITS, edit_operations, mask_models
from _spec import GenerationError, operations, read_spec, secrets_by_shape, write_out_security

CONFIG = Path(__file__).with_name("openapi-python-client.yaml")
MARK = "# Generated from "
# The generator writes for mypy --strict. Pyright's strict mode also wants its local variables annotated.
HEADER = MARK + "{} by `make generate`. Do not edit: change the spec and generate again.\n# pyright: standard\n"
EXCERPT = 15
# What the generator says beside the point: where to report bugs, how to silence it, and that output may be incomplete.
NOISE = re.compile(r"github\.com|yaml\.dev|To suppress this|some pieces may be missing")
OBJECT = re.compile(r"<openapi_python_client\.[^>]* object at 0x[0-9a-f]+>")


def tool(name: str) -> str:
    """Find a tool beside the running Python, whatever PATH says: that one is pinned."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise GenerationError(f"{name} is not installed beside this Python: run make setup, then make generate.")
    return found


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool in `folder`, out of reach of settings that surround the caller."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MYPY", "PYTHON", "RUFF"))}
    # The order of a set must not become the order of the output, and a traceback has to be plain for `crash`.
    clean |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "NO_COLOR": "1", "TYPER_STANDARD_TRACEBACK": "1"}
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, encoding="utf-8", check=False)


def crash(stderr: str) -> str:
    """Find the exception's own line in a traceback."""
    _, *after = stderr.rsplit('\n  File "', 1)[-1].splitlines()
    return next((line for line in after if line and not line.startswith(" ")), "no reason given")


def plain(value: object) -> str:
    """Write as text what YAML knows and JSON does not: dates, above all."""
    return value.isoformat() if isinstance(value, date) else str(value)


def call_generator(spec: dict[str, object], package: Path, name: str) -> None:
    """Have the package written from a copy of the document in which the security is spelled out."""
    copy = package.with_name("spec.json")
    try:
        copy.write_text(json.dumps(spec, default=plain), "utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise GenerationError(f"{name} holds something that JSON cannot express: {error}") from error
    paths = [f"--path={copy}", f"--config={CONFIG}", f"--output-path={package}"]
    generator = tool("openapi-python-client")
    result = run([generator, "generate", "--meta=none", "--fail-on-warning", *paths], package.parent)
    if "Traceback (most recent call last)" in result.stderr:
        raise GenerationError(f"The generator cannot read {name}: {crash(result.stderr)}")
    if result.returncode:
        told = [line.rstrip() for line in result.stderr.splitlines() if line.strip() and not NOISE.search(line)]
        text = OBJECT.sub("one", "\n  ".join(told)).replace("<unicode string>", name)
        raise GenerationError(f"The generator does not accept {name}:\n  {text}")


def format_package(package: Path) -> None:
    """Format as the generator's own hooks would, but without the settings of the folders around."""
    ruff = tool("ruff")
    for command in (["check", ".", "--fix-only", "--select=I,F401"], ["format", "."]):
        result = run([ruff, *command, "--isolated", "--no-cache"], package)
        if result.returncode:
            raise GenerationError(f"The generated code cannot be formatted:\n{result.stderr.strip()}")


def compile_package(package: Path, name: str) -> None:
    """Refuse code that Python cannot read, which the generator writes from some legal names."""
    for path in sorted(package.rglob("*.py")):
        try:
            compile(path.read_bytes(), path.name, "exec")
        except (SyntaxError, ValueError) as error:
            raise GenerationError(
                f"The code generated from {name} is broken: {path.relative_to(package)}: {error}. "
                "Choose another name in the spec for what stands there."
            ) from error


def build(spec_path: Path, package: Path) -> None:
    """Write the complete package into the folder `package`, which is not there yet."""
    name = spec_path.name
    spec = read_spec(spec_path)
    try:
        shapes = secrets_by_shape(spec)
    except GenerationError as error:
        raise GenerationError(f"{name}: {error}") from error
    public = write_out_security(spec)
    call_generator(spec, package, name)
    compile_package(package, name)
    for edit in EDITS:
        edit.apply(package)
    edit_operations(package, len(list(operations(spec))), public)
    mask_models(package, shapes)
    for path in package.rglob("*.py"):
        path.write_text(HEADER.format(name) + path.read_text("utf-8"), "utf-8")
    (package / "py.typed").touch()
    format_package(package)


def check_types(package: Path, name: str) -> None:
    """Refuse code that only a strict type checker knows to be wrong, such as a property called `to_dict`."""
    options = ["--strict", "--config-file=", f"--cache-dir={package.with_name('.mypy_cache')}", "--no-error-summary"]
    result = run([sys.executable, "-m", "mypy", *options, package.name], package.parent)
    if result.returncode:
        found = (result.stdout + result.stderr).strip().replace("\n", "\n  ")
        raise GenerationError(
            f"The code generated from {name} does not pass mypy --strict. "
            f"Choose other names in the spec for what stands there:\n  {found}"
        )


def files(package: Path) -> dict[str, bytes]:
    """Read a package, without what Python leaves behind when it imports one."""
    found = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in found}


def excerpt(name: str, old: bytes, new: bytes) -> str:
    """Show the beginning of what differs in a file."""
    was, is_now = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    labels = (f"{name} (as it is)", f"{name} (as generated)")
    diff = list(difflib.unified_diff(was, is_now, *labels, n=1, lineterm=""))
    more = [f"... {len(diff) - EXCERPT} more lines"] if len(diff) > EXCERPT else []
    return "\n".join(f"    {line}" for line in diff[:EXCERPT] + more)


def compare(out: Path, package: Path, name: str) -> None:
    """Fail if the folder `out` is not, to the byte, what was generated."""
    old, new = files(out), files(package)
    report = [f"  missing: {path}" for path in sorted(new.keys() - old.keys())]
    report += [f"  stale: {path} (not generated any more, or never was)" for path in sorted(old.keys() - new.keys())]
    for path in sorted(new.keys() & old.keys()):
        if old[path] != new[path]:
            report.append(f"  differs: {path}\n{excerpt(path, old[path], new[path])}")
    if report:
        raise GenerationError("\n".join([f"{out.name} is not what {name} generates:", *report, "run make generate"]))


def refuse_foreign(out: Path) -> None:
    """Keep a mistyped folder from being replaced: only what was generated may be."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    init = out / "__init__.py"
    if not init.is_file() or not init.read_text("utf-8", "replace").startswith(MARK):
        raise GenerationError(f"{out.name} holds files that were not generated: remove it, or choose another --out.")


def swap(package: Path, out: Path) -> None:
    """Put the package in the place of `out` by renaming, so that there is never a mixture of old and new."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        new, old = Path(folder, "new"), Path(folder, "old")
        shutil.copytree(package, new)
        if out.exists():
            out.rename(old)
        try:
            new.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if all is well."""
    parser = argparse.ArgumentParser(description="Generate the API client package from the OpenAPI document.")
    parser.add_argument("--spec", type=Path, required=True, help="the OpenAPI document, YAML or JSON")
    parser.add_argument("--out", type=Path, required=True, help="the package's folder, replaced as a whole")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the folder is not up to date")
    options = parser.parse_args(arguments)
    spec, out = options.spec, options.out.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="generate-") as folder:
            package = Path(folder).resolve() / out.name
            if not options.check:
                refuse_foreign(out)
            build(spec, package)
            if options.check:
                compare(out, package, spec.name)
            else:
                check_types(package, spec.name)
                swap(package, out)
    except GenerationError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Nothing was changed.", file=sys.stderr)
        return 1
    print(f"{options.out} is {'up to date with' if options.check else 'generated from'} {spec.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
