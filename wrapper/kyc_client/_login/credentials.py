"""Credentials, and where they come from: the environment, secret files, or the caller."""

from __future__ import annotations

import errno
import os
import stat
import time
import unicodedata
from typing import TYPE_CHECKING

from kyc_client.errors import ConfigurationError

from .secret import Masked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BASE_URL = "API_BASE_URL"
LOGIN = "API_LOGIN"
PASSWORD = "API_PASSWORD"  # noqa: S105 - the name of a variable, not a password

# A longer file is the wrong one. (The server refuses a form field of more than 1 MiB.)
_MAX_SECRET_BYTES = 64 * 1024
# Seconds to wait for what a FIFO brings. A login as a whole has 20.
_MAX_WAIT = 5.0


class Credentials(Masked):
    """A login and its password, as handed out by the provider.

    Frozen. `repr`, `str` and `format` show neither, and pickling raises `TypeError`.

    Args:
        username: the login. It is sent exactly as it is, without stripping, change of case or normalisation.
        password: the password, likewise.

    Raises:
        ConfigurationError: one of them is not a string, is empty, or cannot be encoded as UTF-8.
    """

    __slots__ = ("_password", "_username")
    _password: str
    _username: str

    def __init__(self, username: str, password: str) -> None:
        problem = _unusable("username", username) or _unusable("password", password)
        if problem is not None:
            del username, password  # A crash reporter shows the locals of the frame that raises.
            raise ConfigurationError(problem)
        self._set(_username=username, _password=password)

    @property
    def username(self) -> str:
        """The login."""
        return self._username

    @property
    def password(self) -> str:
        """The password."""
        return self._password

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Credentials:
        """Read `API_LOGIN` and `API_PASSWORD`, or the files that `API_LOGIN_FILE` and `API_PASSWORD_FILE` name.

        A single newline at the end of a file is dropped, because editors and `echo` put it there. Nothing else is
        changed.

        Args:
            environ: the environment to read. None means `os.environ` as it is now. (If `os.environ` were the default
                itself, `help()` would print it with its passwords.)

        Raises:
            ConfigurationError: a variable is missing, blank, set twice (`X` and `X_FILE`) or unusable. One error names
                all of them, and none of their values.
        """
        values, problem = read_environment(os.environ if environ is None else environ, LOGIN, PASSWORD)
        if problem is not None:
            del environ, values  # As in `__init__`.
            raise ConfigurationError(problem)
        return cls(values[LOGIN], values[PASSWORD])


class EnvironmentCredentials:
    """Reads the credentials from the environment at each call, so that rotated secrets are picked up.

    A file that can be read only once (a FIFO, `/dev/fd/N`, `/dev/stdin`) is read at the first call, and kept.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # By path. In a slot, so that neither `repr` nor `vars` shows it.
        self._kept: dict[str, str] = {}

    def __call__(self) -> Credentials:
        values, problem = read_environment(os.environ, LOGIN, PASSWORD, read=self._read)
        if problem is not None:
            del values  # As in `Credentials.__init__`.
            raise ConfigurationError(problem)
        return Credentials(values[LOGIN], values[PASSWORD])

    def _read(self, path: str) -> tuple[str, str | None]:
        again = os.path.isfile(path)  # noqa: PTH113 - pathlib raises for what is no path
        if path in self._kept and not again:
            return self._kept[path], None
        text, problem = _read_file(path)
        if text and not again:
            self._kept[path] = text
        return text, problem


def check_environment(*names: str) -> tuple[str | None, str | None]:
    """Look whether variables are usable, without reading a file that can be read only once.

    Args:
        names: of `BASE_URL`, `LOGIN`, `PASSWORD`.

    Returns:
        The base URL if it is one of the names and is usable, and what is missing or unusable, as the message of one
        error. None if nothing is.
    """
    values, problem = read_environment(os.environ, *names, read=_look_at)
    return values.get(BASE_URL), problem


def _look_at(path: str) -> tuple[str, str | None]:
    """`_read_file` for a regular file. Any other file only has to be there: to read it would use it up."""
    once = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112, PTH113 - pathlib raises for some
    return ("not read yet", None) if once else _read_file(path)


def read_environment(
    environ: Mapping[str, str], *names: str, read: Callable[[str], tuple[str, str | None]] | None = None
) -> tuple[dict[str, str], str | None]:
    """Read variables, and say, in a line for each, which are missing or unusable.

    It does not raise, because its frame holds what it reads.

    Args:
        environ: the environment.
        names: of `BASE_URL`, `LOGIN`, `PASSWORD`.
        read: returns the text of a secret file, or what is wrong with it.

    Returns:
        The values, and the message of an error. None if all is well.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for name in names:
        value, problem = _read_variable(environ, name, read or _read_file)
        if problem:
            problems.append(f"  - {problem}")
        else:
            values[name] = value
    if problems:
        return values, "\n".join(["The environment is not usable for the KYC API:", *problems])
    return values, None


def _read_variable(
    environ: Mapping[str, str], name: str, read: Callable[[str], tuple[str, str | None]]
) -> tuple[str, str | None]:
    """The value of one variable, or what is wrong with it."""
    in_file = f"{name}_FILE"
    may_be_file = name != BASE_URL
    path = environ.get(in_file) if may_be_file else None
    value = environ.get(name)
    if path is not None and value is not None:
        return "", f"{name} and {in_file} are both set; unset one of them"
    source, problem = name, None
    if path is not None:
        source = f"{in_file} names a file that"
        value, problem = read(path)
    value = value and _decode_anew(value)
    problem = problem or _unfit(value)
    if problem is None:
        return value or "", None
    hint = ""
    if not may_be_file:
        hint = " (set it to the API's address, https://<kyc_domain>)"
    elif path is None:
        hint = f" (set it, or set {in_file} to the path of a file that holds it)"
    return "", f"{source} {problem}{hint}"


def _decode_anew(value: str) -> str:
    """A value in UTF-8 that Python has read in another encoding, as it does with `LC_ALL=C` where it is embedded."""
    try:
        return value.encode("utf-8", "surrogateescape").decode()
    except ValueError:
        return value


def _read_file(path: str) -> tuple[str, str | None]:
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


def _unfit(value: str | None) -> str | None:
    """Why a value cannot be used; None if it can."""
    if value is None:
        return "is not set"
    problems = (
        (not value.strip(), "is empty"),
        (not _is_utf8(value), "is not valid UTF-8"),
        (value.startswith("\ufeff"), "starts with a byte order mark, which would be sent as part of it; remove it"),
        (value.endswith("\n"), "ends with a newline, which would be sent as part of it; remove it"),
        (any(unicodedata.category(character) == "Cc" for character in value), "holds a control character; remove it"),
    )
    return next((problem for applies, problem in problems if applies), None)


def _unusable(name: str, value: object) -> str | None:
    """Why a value cannot even be sent; None if it can."""
    if not isinstance(value, str) or not value:
        return f"The {name} of Credentials must be a string that is not empty."
    return None if _is_utf8(value) else f"The {name} of Credentials cannot be encoded as UTF-8."


def _is_utf8(value: str) -> bool:
    """False for the lone surrogates that Python makes of undecodable bytes in the environment."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
