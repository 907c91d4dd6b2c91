"""Check that the hand-written core stays small: the code that a plain `connect()` loads, each class, each function.

A line counts as code if it holds anything except a comment or a part of a docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "wrapper" / "kyc_client"
LOADED, CLASS, FUNCTION = 1450, 200, 40
# The environment of a service that needs nothing unusual.
ENVIRONMENT = {"API_BASE_URL": "https://kyc.example.com", "API_LOGIN": "fake-user", "API_PASSWORD": "fake-password"}
PLAIN_CONNECT = """
import sys
import kyc_client
client = kyc_client.connect()
client.get_httpx_client(), client.get_async_httpx_client()
print(*(module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "kyc_client"), sep="\\n")
"""
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> set[int]:
    """Return the numbers of the lines that hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {line for token in tokens if token.type not in _NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone is documentation: a docstring, or the text below a name.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def too_long(path: Path) -> Iterator[str]:
    """Yield a message for each class and function of a file that is longer than its limit."""
    source = path.read_text("utf-8")
    lines = lines_of_code(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            length = len(lines & set(range(node.lineno, (node.end_lineno or 0) + 1)))
            if length > limit:
                yield f"{path.name}:{node.lineno}: {node.name} has {length} lines of code. The limit is {limit}."


def loaded() -> dict[Path, int]:
    """Return the number of lines of code of each file that a plain `connect()` loads."""
    plain = {name: value for name, value in os.environ.items() if not name.upper().endswith(("_PROXY", "_FILE"))}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_CONNECT], env=plain | ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return {path: len(lines_of_code(path.read_text("utf-8"))) for path in map(Path, done.stdout.split())}


def main() -> int:
    """Print the sizes. Return 1 if something is too long, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    sizes = loaded()
    for path, size in sorted(sizes.items()):
        print(f"{size:6} {path.relative_to(PACKAGE)}")
    total = sum(sizes.values())
    print(f"{total:6} lines of code that a plain connect() loads. The limit is {LOADED}.")
    problems = [problem for path in sorted(PACKAGE.rglob("*.py")) for problem in too_long(path)]
    print(*problems, sep="\n", end="\n" if problems else "")
    return 1 if problems or total > LOADED else 0


if __name__ == "__main__":
    sys.exit(main())
