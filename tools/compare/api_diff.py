"""Show what changed since a commit for code that imports us: public names, signatures and types."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import griffe

from .base import Base, MisuseError
from .changes import ROOT, Change, command_line, run
from .surface import changes, load

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDERS = (Path("generated"), Path("wrapper"))


def compare(base: Base) -> set[Change]:
    """Find the changes of both packages since a commit."""
    with tempfile.TemporaryDirectory(prefix="api-diff-") as folder:
        try:
            old = load(*(base.extract(path, Path(folder)) for path in FOLDERS))
            new = load(*(base.root / path for path in FOLDERS))
        except (griffe.GriffeError, ImportError) as error:
            raise MisuseError(f"the packages cannot be read, here or in {base}: {error}") from error
        return changes(old, new)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Run the command line, and return its exit status."""
    options = command_line("api-diff", "the Python surface of kyc_openapi and kyc_client").parse_args(arguments)
    return run(options, "api-diff: the public names of kyc_openapi and kyc_client", compare, root)


if __name__ == "__main__":
    sys.exit(main())
