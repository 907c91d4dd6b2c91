"""Credentials, and where they come from: the environment, secret files, or the caller."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING

from kyc_client.errors import ConfigurationError

from .secret import Masked

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_URL = "API_BASE_URL"
LOGIN = "API_LOGIN"
PASSWORD = "API_PASSWORD"  # noqa: S105 - the name of a variable, not a password

# The server refuses a form field over 1 MiB anyway; a secret file that is longer is the wrong file.
_MAX_SECRET_BYTES = 64 * 1024


class Credentials(Masked):
    """A login and its password, as handed out by the provider.

    Frozen; `repr`, `str` and `format` show neither, and pickling raises `TypeError`.

    Args:
        username: the login. It is sent exactly as it is: no stripping, no change of case, no normalisation.
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

        A single newline at the end of a file is dropped (editors and `echo` put it there); nothing else is changed.

        Args:
            environ: the environment to read; by default `os.environ`, as it is now. (Were it the default itself,
                `help()` would print it, passwords included.)

        Raises:
            ConfigurationError: a variable is missing, blank, set twice (`X` and `X_FILE`) or unusable. One error names
                all of them, and none of their values.
        """
        values, problem = read_environment(os.environ if environ is None else environ, LOGIN, PASSWORD)
        if problem is not None:
            del environ, values  # As in `__init__`.
            raise ConfigurationError(problem)
        return cls(values[LOGIN], values[PASSWORD])


def read_environment(environ: Mapping[str, str], *names: str) -> tuple[dict[str, str], str | None]:
    """Read variables, and say, in a line for each, which are missing or unusable (None if all is well).

    It does not raise, because its frame holds what it reads.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for name in names:
        value, problem = _read_variable(environ, name)
        if problem:
            problems.append(f"  - {problem}")
        else:
            values[name] = value
    if problems:
        return values, "\n".join(["The environment is not usable for the KYC API:", *problems])
    return values, None


def _read_variable(environ: Mapping[str, str], name: str) -> tuple[str, str | None]:
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
        value, problem = _read_file(path)
    problem = problem or _unfit(value)
    if problem is None:
        return value or "", None
    hint = ""
    if not may_be_file:
        hint = " (set it to the API's address, https://<kyc_domain>)"
    elif path is None:
        hint = f" (set it, or set {in_file} to the path of a file that holds it)"
    return "", f"{source} {problem}{hint}"


def _read_file(path: str) -> tuple[str, str | None]:
    """The content of a secret file without one trailing newline, or what is wrong with it."""
    # The path is not repeated in the message: a password set as API_PASSWORD_FILE by mistake would be shown.
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib has no bounded read
            content = file.read(_MAX_SECRET_BYTES + 1)
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
