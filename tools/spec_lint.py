"""Check an OpenAPI document against the standard, and if Node is available, against the rules of redocly.yaml.

Exit status: 0 if nothing is wrong (a skipped check is reported), 1 if something is wrong, 2 if there is no document.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tools.node import REDOCLY, NoToolError, Tool

RULES = Path(__file__).parent.parent / "redocly.yaml"
SECONDS = 60  # it normally takes one


def meets_standard(spec: Path) -> bool:
    """Return whether the document is valid by the schema of the OpenAPI standard."""
    validator = Path(sys.executable).with_name("openapi-spec-validator")
    try:
        return subprocess.run([validator, spec], timeout=SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"spec-lint: openapi-spec-validator did not end within {SECONDS} s", file=sys.stderr)
        return False


def meets_rules(spec: Path, redocly: Tool) -> bool:
    """Return whether the document meets our rules. If redocly is not available, say so and return True."""
    try:
        result = redocly.run("lint", f"--config={RULES}", spec)
    except NoToolError as error:
        print(f"spec-lint: redocly lint was LEFT OUT: {error}")
        return True
    if result.returncode:
        print(result.stdout + result.stderr, file=sys.stderr)
        return False
    print(f"{spec}: meets the rules of {RULES.name}")
    return True


def main(arguments: list[str] | None = None, redocly: Tool = REDOCLY) -> int:
    """Run the command line, and return its exit status."""
    parser = argparse.ArgumentParser(prog="spec-lint", description=__doc__)
    parser.add_argument("spec", type=Path, help="the OpenAPI document")
    spec = parser.parse_args(arguments).spec
    if not spec.is_file():
        print(f"spec-lint: there is no file {spec}", file=sys.stderr)
        return 2
    # Run both even if the first fails, because each finds problems that the other misses.
    good = [meets_standard(spec), meets_rules(spec, redocly)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
