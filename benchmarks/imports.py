"""Measure the imports of one operation, from a small and a large API's client, and of `kyc_client`.

Each figure is the smallest CPU time of several new interpreters. The imports of httpx and attrs are not included,
because all candidates need them. Small and large take turns, so that a busy machine slows both equally.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.spec.specs import many
from tools import generate

SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
import attrs, httpx
start = time.process_time()
{statement}
print(time.process_time() - start)
"""
OPERATION = "from kyc_openapi.api.resource import get_resource"
WRAPPER = "import kyc_client"
BUDGET_RATIO = 1.2
BUDGET_MS = 15.0


def generated(folder: Path, operations: int) -> Path:
    """Generate the client of a document with so many operations besides the ones of openapi.yaml."""
    folder.mkdir()
    spec = folder / "spec.json"
    spec.write_text(json.dumps(many.document(operations)), "utf-8")
    generate.build(spec, folder / "kyc_openapi")
    return folder


def cost(folder: Path, statement: str) -> float:
    """Run a statement in a new interpreter, and return its CPU time in ms."""
    command = [sys.executable, "-I", "-c", SCRIPT.format(folder=str(folder), statement=statement)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return float(done.stdout) * 1000


def least(folders: list[Path], statement: str, runs: int) -> list[float]:
    """Measure in each folder in turn, and return the smallest times. The first run does not count: it compiles."""
    rounds = [[cost(folder, statement) for folder in folders] for _ in range(runs + 1)]
    return [min(times) for times in zip(*rounds[1:], strict=True)]


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description="Measure the cost of imports, as ratios (about a minute).")
    parser.add_argument("--operations", type=int, default=400, help="operations of the large API (default: 400)")
    parser.add_argument("--runs", type=int, default=15, help="new interpreters for each figure (default: 15)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folders = [generated(Path(name, "small"), 0), generated(Path(name, "large"), options.operations)]
        print(f"over httpx and attrs    {'2 operations':>13} {options.operations + 2:>4} operations  ratio  budget")
        for what, statement in (("one operation", OPERATION), ("kyc_client", WRAPPER)):
            small, large = least(folders, statement, options.runs)
            print(
                f"import {what:<17}{small:>10.1f} ms {large:>12.1f} ms {large / small:>6.2f}  <= {BUDGET_RATIO}"
                + (f", <= {BUDGET_MS:.0f} ms" if statement == WRAPPER else "")
            )


if __name__ == "__main__":
    main()
