"""What `make spec-diff` and `make api-diff` have in common: changes, the version that they ask for, and the report."""

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
    "exit status: 0 if nothing breaks (with --since-release also if the version announces what does), 1 if something "
    "does, 2 if the question makes no sense (such as an unknown commit), 3 if it could not be answered (no Node)"
)


class Impact(IntEnum):
    """What a change does to those who use what changed, the worst first."""

    BREAKS = 0
    ADDS = 1
    OTHER = 2


@dataclass(frozen=True, order=True)
class Change:
    """One difference.

    Attributes:
        impact: on those who use it.
        where: the place, in the words of the reader.
        what: what happened there.
    """

    impact: Impact
    where: str
    what: str


def wanted(base: Version, impact: Impact) -> tuple[str, Version]:
    """Say which part of the version has to rise, and to what, by Semantic Versioning.

    Before 1.0 there is no promise that a minor version keeps: it is the one that a breaking change raises.
    """
    major, minor, patch = base
    if impact is Impact.BREAKS and major:
        return "major", (major + 1, 0, 0)
    if impact is (Impact.ADDS if major else Impact.BREAKS):
        return "minor", (major, minor + 1, 0)
    return "patch", (major, minor, patch + 1)


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Lay out rows below headings, in columns as wide as they have to be."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def text(version: Version) -> str:
    """Write a version as people do."""
    return ".".join(map(str, version))


def verdict(base: Base, changes: Sequence[Change]) -> tuple[str, bool]:
    """Say which version the changes ask for, and whether it is announced already."""
    if not changes:
        return "Nothing changed: no new version is needed.", True
    impact = min(change.impact for change in changes)
    then, now = base.version(), version_now(base.root)
    part, target = wanted(then, impact)
    why = {
        Impact.BREAKS: "it breaks something" + ("" if then[0] else ", and before 1.0 a minor version says so"),
        Impact.ADDS: "it adds something and breaks nothing",
        Impact.OTHER: "nobody's code notices",
    }[impact]
    announced = now >= target
    line = f"This asks for a {part} version, {text(then)} -> {text(target)}: {why}."
    if announced:
        return f"{line}\n{VERSION_FILE} says {text(now)}, which announces it.", True
    return f"{line}\n{VERSION_FILE} says {text(now)}: raise it, and tell the users in CHANGELOG.md.", False


def command_line(name: str, subject: str) -> argparse.ArgumentParser:
    """The arguments that both diffs take."""
    parser = argparse.ArgumentParser(prog=name, description=f"Show what changed in {subject}.", epilog=STATUSES)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--base", default="", help="a commit, tag or branch; by default the last release, or origin/main"
    )
    group.add_argument(
        "--since-release",
        action="store_true",
        help="compare with the last release, and accept what the version announces already",
    )
    return parser


def run(options: argparse.Namespace, subject: str, compare: Callable[[Base], Iterable[Change]], root: Path) -> int:
    """Compare, report, and return the exit status.

    Args:
        options: what `command_line` has parsed.
        subject: what is compared, in words.
        compare: finds the changes since a commit.
        root: the folder of the repository.
    """
    try:
        base = last_release(root) if options.since_release else find_base(root, options.base)
        if base is None:
            hint = " (this clone is shallow: git fetch --unshallow --tags tells more)" if is_shallow(root) else ""
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
    print(f"{subject} in the working tree, against {base}\n")
    if changes:
        rows = [(change.impact.name.lower(), change.where, change.what) for change in changes]
        print(table(rows, ("impact", "where", "what")) + "\n")
    print(conclusion)
    breaks = any(change.impact is Impact.BREAKS for change in changes)
    return int(breaks and not (options.since_release and announced))
