"""What the command line writes, and how: messages to stderr, marks and colours where they can be shown."""

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
    """Write a line to stderr: for people, never for the next program of a pipe."""
    try:
        print(harmless(line), file=sys.stderr, flush=True)
    except OSError:
        # Nobody is there to tell; the exit status says as much as it can.
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: Python would try to write it once more when it ends, and complain."""
    with open(os.devnull, "wb") as nowhere, suppress(io.UnsupportedOperation):  # noqa: PTH123 - a descriptor is wanted
        # Not supported by a stream that is no file, and has nothing to complain about.
        os.dup2(nowhere.fileno(), stream.fileno())


def fail(message: object, status: Exit = Exit.FAILED) -> Exit:
    """Say what went wrong, and give back the exit status for it."""
    tell(f"kyc-client: error: {message}")
    return status


def report(finding: Finding, stream: TextIO) -> None:
    """Write a finding of the doctor's: a mark, its name, what was found, and below that what to do."""
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
    """The same text without what a terminal would obey: a server, or a proxy, may have written it."""
    return "".join(character if character.isprintable() or character in "\t\r\n" else "?" for character in text)


def ascii_only(text: str) -> str:
    """The same text for a terminal that knows ASCII only."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _can_encode(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _shows_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose user has not asked for none (NO_COLOR, see no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
