"""Check an OpenAPI document: by the standard always, and by the rules of redocly.yaml where Node is there.

Exit status: 0 if nothing is wrong (what was left out is said), 1 if something is, 2 if there is no such document.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tools.node import REDOCLY, NoToolError, Tool

RULES = Path(__file__).parent.parent / "redocly.yaml"
SECONDS = 60  # for what takes one


def meets_standard(spec: Path) -> bool:
    """Check the document against the OpenAPI standard's own schema."""
    validator = Path(sys.executable).with_name("openapi-spec-validator")
    try:
        return subprocess.run([validator, spec], timeout=SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"spec-lint: openapi-spec-validator did not end within {SECONDS} s", file=sys.stderr)
        return False


def meets_rules(spec: Path, redocly: Tool) -> bool:
    """Check the document against redocly's rules; where it cannot be had, say so and let the document pass."""
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
    # Both in any case: each finds what the other does not.
    good = [meets_standard(spec), meets_rules(spec, redocly)]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
