"""Show what changed in the HTTP contract since a commit: in openapi.yaml, judged by `redocly diff`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tools.node import REDOCLY, Tool

from .base import Base, MisuseError
from .changes import ROOT, Change, Impact, command_line, run

if TYPE_CHECKING:
    from collections.abc import Sequence

# This file also turns on redocly's rules for diffs. Without them, redocly reports that nothing breaks.
RULES = ROOT / "redocly.yaml"
NO_RULES = "No diff rules are on"
# A schema with no other keys than these accepts any string.
TEXT = {"type", "title", "description", "examples"}
IMPACTS = {"major": Impact.BREAKS, "minor": Impact.ADDS, "patch": Impact.OTHER}


def compare(base: Base, spec: Path, redocly: Tool) -> list[Change]:
    """Find the changes of the document since a commit.

    Raises:
        MisuseError: redocly cannot compare the two, or its rules are off.
        NoToolError: redocly is not available.
    """
    if not (base.root / spec).is_file():
        raise MisuseError(f"there is no file {spec}")
    with tempfile.TemporaryDirectory(prefix="spec-diff-") as folder:
        old = base.extract(spec, Path(folder))
        result = redocly.run("diff", f"--config={RULES}", "--format=json", old, base.root / spec)
    if NO_RULES in result.stderr:
        raise MisuseError(f"{RULES.name} turns on no rule of redocly diff: it must extend diff-recommended")
    try:
        changes = json.loads(result.stdout)["changes"]
    except (ValueError, KeyError):
        told = " ".join((result.stderr + result.stdout).partition("\n    at ")[0].split())
        raise MisuseError(f"redocly cannot compare {spec} with the one of {base}: {told}") from None
    document = YAML(typ="safe").load(base.root / spec)
    return [Change(impact(change, document), place(change), event(change)) for change in changes]


def steps_of(pointer: str) -> list[str]:
    """Split a JSON pointer (RFC 6901) at each "/", and decode "~1" to "/" and "~0" to "~"."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("#/").split("/")]


def takes_any_text(schema: Any) -> bool:
    """Return whether a schema accepts every string."""
    return isinstance(schema, dict) and schema.get("type") == "string" and schema.keys() <= TEXT


def impact(change: dict[str, Any], document: Any) -> Impact:
    """Return redocly's verdict, except for a new value of an open enum, which breaks nothing.

    An open enum is an enum beside a schema that accepts any string. So its readers already expect unknown values.
    """
    if [verdict["ruleId"] for verdict in change["verdicts"]] == ["enum-values-added"]:
        node, around = document, []
        for step in steps_of(change["revision"]["pointer"]):
            around.append(node)
            node = node[int(step)] if isinstance(node, list) else node[step]
        *_, union, _ = around
        if isinstance(union, list) and any(map(takes_any_text, union)):
            return Impact.ADDS
    return IMPACTS[change["impact"]]


def place(change: dict[str, Any]) -> str:
    """Return where a change is: the operation, then the path within it, without steps that every path has."""
    steps = steps_of(change["path"])
    steps += [change["property"]] if "property" in change else []
    way = []
    if len(steps) > 2 and steps[0] == "paths":
        way, steps = [steps[2].upper(), steps[1]], steps[3:]
    while steps:
        step, *steps = steps
        if step == "content" and len(steps) > 1:
            del steps[0]  # the media type
        elif step == "properties" and steps:
            way.append(steps.pop(0))
        elif step != "schema" or not steps:
            way.append(step)
    return " ".join(way)


def event(change: dict[str, Any]) -> str:
    """Return what changed: redocly's messages, or the kind of the change if there are none."""
    return " ".join(verdict["message"] for verdict in change["verdicts"]) or change["kind"]


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, redocly: Tool = REDOCLY) -> int:
    """Run the command line, and return its exit status."""
    parser = command_line("spec-diff", "the HTTP contract")
    parser.add_argument(
        "--spec", type=Path, default=Path("openapi.yaml"), help="the document, relative to the repository's root"
    )
    options = parser.parse_args(arguments)
    return run(options, f"spec-diff: {options.spec}", lambda base: compare(base, options.spec, redocly), root)


if __name__ == "__main__":
    sys.exit(main())
