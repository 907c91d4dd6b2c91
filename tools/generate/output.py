"""The folder that `make generate` writes: compare it, or replace it completely."""

import difflib
import shutil
import tempfile
from pathlib import Path

from .spec import GenerationError

MARK = "# Generated from "
EXCERPT = 15


def files(package: Path) -> dict[str, bytes]:
    """Return the files of a package, without Python's caches."""
    found = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in found}


def excerpt(name: str, old: bytes, new: bytes) -> str:
    """Return the beginning of a file's diff."""
    was, is_now = (data.decode("utf-8", "replace").splitlines() for data in (old, new))
    labels = (f"{name} (as it is)", f"{name} (as generated)")
    diff = list(difflib.unified_diff(was, is_now, *labels, n=1, lineterm=""))
    more = [f"... {len(diff) - EXCERPT} more lines"] if len(diff) > EXCERPT else []
    return "\n".join(f"    {line}" for line in diff[:EXCERPT] + more)


def compare(out: Path, package: Path, name: str) -> None:
    """Raise a `GenerationError` if the folder `out` differs from the generated package in any byte."""
    old, new = files(out), files(package)
    report = [f"  missing: {path}" for path in sorted(new.keys() - old.keys())]
    report += [f"  stale: {path} (no longer generated, or never was)" for path in sorted(old.keys() - new.keys())]
    for path in sorted(new.keys() & old.keys()):
        if old[path] != new[path]:
            report.append(f"  differs: {path}\n{excerpt(path, old[path], new[path])}")
    if report:
        raise GenerationError("\n".join([f"{out.name} is not what {name} generates:", *report, "run make generate"]))


def refuse_foreign(out: Path) -> None:
    """Raise a `GenerationError` if a folder was not generated, because a mistyped name must not delete it."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    init = out / "__init__.py"
    if not init.is_file() or not init.read_text("utf-8", "replace").startswith(MARK):
        raise GenerationError(f"{out.name} holds files that were not generated. Remove it, or choose another --out.")


def swap(package: Path, out: Path) -> None:
    """Replace `out` by the package with a rename, so that old and new files are never mixed."""
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
