"""The files that `API_LOGIN_FILE` and `API_PASSWORD_FILE` name. Loaded only where there are some."""

from __future__ import annotations

import errno
import os
import stat
import time

# A longer file is the wrong one. (The server refuses a form field of more than 1 MiB.)
_MAX_SECRET_BYTES = 64 * 1024
# Seconds to wait for what a FIFO brings. A login as a whole has 20.
_MAX_WAIT = 5.0


def read_once(path: str, kept: dict[str, str]) -> tuple[str, str | None]:
    """`read_file`, which keeps the text of a file that can be read only once (a FIFO, `/dev/fd/N`, `/dev/stdin`).

    Args:
        path: of the file.
        kept: where such texts are kept, by path.
    """
    again = os.path.isfile(path)  # noqa: PTH113 - pathlib raises for what is no path
    if path in kept and not again:
        return kept[path], None
    text, problem = read_file(path)
    if text and not again:
        kept[path] = text
    return text, problem


def look_at(path: str) -> tuple[str, str | None]:
    """`read_file` for a regular file. Any other file only has to be there: to read it would use it up."""
    once = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112, PTH113 - pathlib raises for some
    return ("not read yet", None) if once else read_file(path)


def read_file(path: str) -> tuple[str, str | None]:
    """The content of a secret file without one trailing newline, or what is wrong with it."""
    # The path is not repeated in the message: a password set as API_PASSWORD_FILE by mistake would be shown.
    try:
        content = _read_bounded(path)
        text = content.decode() if len(content) <= _MAX_SECRET_BYTES else ""
    except UnicodeDecodeError:
        return "", "is not UTF-8"
    except OSError as error:
        return "", f"cannot be read ({error.strerror or type(error).__name__})"
    except ValueError:
        return "", "cannot be read (this is not a path)"
    if len(content) > _MAX_SECRET_BYTES:
        return "", f"is longer than {_MAX_SECRET_BYTES} bytes, and so holds no credential"
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text, None


def _read_bounded(path: str) -> bytes:
    """The first bytes of a file, without waiting for ever: a FIFO that nobody writes to would block its reader."""
    give_up = time.monotonic() + _MAX_WAIT
    content = b""
    with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
        is_fifo = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        while len(content) <= _MAX_SECRET_BYTES:
            chunk = file.read(_MAX_SECRET_BYTES + 1 - len(content))
            if chunk:
                content += chunk
            elif chunk is not None and (content or not is_fifo):
                break
            elif time.monotonic() > give_up:
                raise TimeoutError(errno.ETIMEDOUT, f"nothing came within {_MAX_WAIT:g} s")
            else:  # A writer has not come yet, or has not written yet.
                time.sleep(0.01)
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
