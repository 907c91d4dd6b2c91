"""The folder that `make generate` writes: comparing it, and putting a new one in its place as a whole."""

import difflib
import shutil
import tempfile
from pathlib import Path

from .spec import GenerationError

MARK = "# Generated from "
EXCERPT = 15


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
