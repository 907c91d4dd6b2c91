"""Output of the command line: messages on stderr, and marks and colours where the terminal can show them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from ._exit import Exit

if TYPE_CHECKING:
    from ._doctor import Finding

_GREEN, _RED, _DIM, _PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"
_NAME_WIDTH = 11


def tell(line: str) -> None:
    """Write a line for people to stderr, because the next program in a pipe reads stdout."""
    try:
        print(harmless(line), file=sys.stderr, flush=True)
    except OSError:
        # Nobody reads stderr. The exit status still tells the result.
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Send what is still buffered to the null device. Otherwise Python writes it again at exit, and prints an error."""
    with open(os.devnull, "wb") as nowhere, suppress(io.UnsupportedOperation):  # noqa: PTH123 - we need a descriptor
        # A stream that is not a file has no descriptor, and Python prints no error for it.
        os.dup2(nowhere.fileno(), stream.fileno())


def fail(message: object, status: Exit = Exit.FAILED) -> Exit:
    """Print an error message and return its exit status."""
    tell(f"kyc-client: error: {message}")
    return status


def report(finding: Finding, stream: TextIO) -> None:
    """Write a finding of `check`: a mark, the name and the result, and below them what to do."""
    fancy, plain, colour = ("✓", "ok", _GREEN) if finding.status is Exit.OK else ("✗", "FAIL", _RED)
    if finding.status is None:
        fancy, plain, colour = "-", "-", _DIM
    mark = fancy if _can_encode("✓✗", stream) else plain.ljust(4)
    indent = " " * (len(mark) + _NAME_WIDTH + 2)
    if _shows_colours(stream):
        mark = f"{colour}{mark}{_PLAIN}"
    first, *rest = [harmless(line) for line in (*finding.text.splitlines(), *finding.hint.splitlines())]
    lines = [f"{mark} {finding.name:<{_NAME_WIDTH}} {first}", *(f"{indent}{line.strip()}" for line in rest)]
    text = "\n".join(lines)
    print(text if _can_encode(text, stream) else ascii_only(text), file=stream, flush=True)


def harmless(text: str) -> str:
    """Replace control characters by "?". A server or proxy wrote the text, and the terminal would obey them."""
    return "".join(character if character.isprintable() or character in "\t\r\n" else "?" for character in text)


def ascii_only(text: str) -> str:
    """Escape what is not ASCII, for a terminal that shows ASCII only."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _can_encode(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _shows_colours(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that shows colours. NO_COLOR turns them off (see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
