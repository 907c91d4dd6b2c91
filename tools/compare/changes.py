"""The common part of `make spec-diff` and `make api-diff`: changes, the version that they need, and the report."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tools.node import NoToolError

from .base import VERSION_FILE, Base, MisuseError, Version, find_base, is_shallow, last_release, version_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT = Path(__file__).parents[2]
STATUSES = (
    "exit status: 0 if nothing breaks (with --since-release, also if the version announces the break), 1 if something "
    "breaks, 2 if the question makes no sense (such as an unknown commit), 3 if it cannot be answered (no Node)"
)


class Impact(IntEnum):
    """The effect of a change on the users of what changed, the worst first."""

    BREAKS = 0
    ADDS = 1
    OTHER = 2


@dataclass(frozen=True, order=True)
class Change:
    """One difference.

    Attributes:
        impact: the effect on users.
        where: the place, by the name that users know.
        what: what changed there.
    """

    impact: Impact
    where: str
    what: str


def wanted(base: Version, impact: Impact) -> tuple[str, Version]:
    """Return which part of the version must rise by Semantic Versioning, and the new version.

    Before 1.0, a breaking change raises the minor version, because no minor version promises compatibility.
    """
    major, minor, patch = base
    if impact is Impact.BREAKS and major:
        return "major", (major + 1, 0, 0)
    if impact is (Impact.ADDS if major else Impact.BREAKS):
        return "minor", (major, minor + 1, 0)
    return "patch", (major, minor, patch + 1)


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Return the rows below their headings, in columns as wide as their longest cell."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def text(version: Version) -> str:
    """Return a version as text, such as 0.1.0."""
    return ".".join(map(str, version))


def verdict(base: Base, changes: Sequence[Change]) -> tuple[str, bool]:
    """Return a sentence with the version that the changes need, and whether `_version.py` announces it already."""
    if not changes:
        return "Nothing changed: no new version is needed.", True
    impact = min(change.impact for change in changes)
    then, now = base.version(), version_now(base.root)
    part, target = wanted(then, impact)
    why = {
        Impact.BREAKS: "it breaks something" + ("" if then[0] else ", and before 1.0 a minor version announces that"),
        Impact.ADDS: "it adds something and breaks nothing",
        Impact.OTHER: "it affects no user's code",
    }[impact]
    announced = now >= target
    line = f"This needs a {part} version, {text(then)} -> {text(target)}, because {why}."
    if announced:
        return f"{line}\n{VERSION_FILE} says {text(now)}, which announces it.", True
    return f"{line}\n{VERSION_FILE} says {text(now)}: raise it, and tell the users in CHANGELOG.md.", False


def command_line(name: str, subject: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments of both diffs."""
    parser = argparse.ArgumentParser(prog=name, description=f"Show what changed in {subject}.", epilog=STATUSES)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--base", default="", help="a commit, tag or branch (default: the last release, or origin/main)")
    group.add_argument(
        "--since-release",
        action="store_true",
        help="compare with the last release, and accept breaks that the version announces already",
    )
    return parser


def run(options: argparse.Namespace, subject: str, compare: Callable[[Base], Iterable[Change]], root: Path) -> int:
    """Compare, report, and return the exit status.

    Args:
        options: the parsed options of `command_line`.
        subject: what is compared, in words.
        compare: finds the changes since a commit.
        root: the folder of the repository.
    """
    try:
        base = last_release(root) if options.since_release else find_base(root, options.base)
        if base is None:
            hint = " (this clone is shallow: run git fetch --unshallow --tags to be sure)" if is_shallow(root) else ""
            print(f"{subject}: no release is tagged here, so there is nothing to break{hint}")
            return 0
        changes = sorted(compare(base))
        conclusion, announced = verdict(base, changes)
    except MisuseError as error:
        print(f"{subject}: {error}", file=sys.stderr)
        return 2
    except NoToolError as error:
        print(f"{subject}: NOT CHECKED: {error}", file=sys.stderr)
        return 0 if options.since_release else 3
    print(f"{subject} in the working tree, compared with {base}\n")
    if changes:
        rows = [(change.impact.name.lower(), change.where, change.what) for change in changes]
        print(table(rows, ("impact", "where", "what")) + "\n")
    print(conclusion)
    breaks = any(change.impact is Impact.BREAKS for change in changes)
    return int(breaks and not (options.since_release and announced))
