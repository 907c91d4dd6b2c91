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

# It also turns on redocly's rules for this; without them, redocly finds that nothing breaks.
RULES = ROOT / "redocly.yaml"
NO_RULES = "No diff rules are on"
# What a schema may say that lets any text pass.
TEXT = {"type", "title", "description", "examples"}
IMPACTS = {"major": Impact.BREAKS, "minor": Impact.ADDS, "patch": Impact.OTHER}


def compare(base: Base, spec: Path, redocly: Tool) -> list[Change]:
    """Find the changes of the document since a commit."""
    if not (base.root / spec).is_file():
        raise MisuseError(f"there is no file {spec}")
    with tempfile.TemporaryDirectory(prefix="spec-diff-") as folder:
        old = base.extract(spec, Path(folder))
        result = redocly.run("diff", f"--config={RULES}", "--format=json", old, base.root / spec)
    if NO_RULES in result.stderr:
        raise MisuseError(f"{RULES.name} turns on no rule of redocly diff: it has to extend diff-recommended")
    try:
        changes = json.loads(result.stdout)["changes"]
    except (ValueError, KeyError):
        told = " ".join((result.stderr + result.stdout).partition("\n    at ")[0].split())
        raise MisuseError(f"redocly cannot compare {spec} with that of {base}: {told}") from None
    document = YAML(typ="safe").load(base.root / spec)
    return [Change(impact(change, document), place(change), event(change)) for change in changes]


def steps_of(pointer: str) -> list[str]:
    """Take apart a JSON pointer (RFC 6901), whose "/" separates, and whose "~1" is a "/"."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("#/").split("/")]


def takes_any_text(schema: Any) -> bool:
    """Whether a schema lets every text pass."""
    return isinstance(schema, dict) and schema.get("type") == "string" and schema.keys() <= TEXT


def impact(change: dict[str, Any], document: Any) -> Impact:
    """Take redocly's word, but for a new value of an open enum: a text that no reader has seen was expected before."""
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
    """Say where a change is: the operation, then the way from there, without the steps that every way has."""
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
    """Say what happened: what redocly finds wrong with it, or only of which kind it is."""
    return " ".join(verdict["message"] for verdict in change["verdicts"]) or change["kind"]


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, redocly: Tool = REDOCLY) -> int:
    """Run the command line, and return its exit status."""
    parser = command_line("spec-diff", "the HTTP contract")
    parser.add_argument(
        "--spec", type=Path, default=Path("openapi.yaml"), help="the document, from the repository's root"
    )
    options = parser.parse_args(arguments)
    return run(options, f"spec-diff: {options.spec}", lambda base: compare(base, options.spec, redocly), root)


if __name__ == "__main__":
    sys.exit(main())
