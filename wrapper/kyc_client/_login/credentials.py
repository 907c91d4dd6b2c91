"""Credentials, and where they come from: the environment, secret files, or the caller."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Any, TypeAlias

from kyc_client import _fork
from kyc_client.errors import ConfigurationError

from .secret import Masked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Read: TypeAlias = Callable[[Any, str], tuple[str, str | None]]

BASE_URL = "API_BASE_URL"
LOGIN = "API_LOGIN"
PASSWORD = "API_PASSWORD"  # noqa: S105 - the name of a variable, not a password


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

    A file that can be read only once is read at the first call, and kept.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # In a slot, so that neither `repr` nor `vars` shows it.
        self._kept: dict[str, str] = {}

    def __call__(self) -> Credentials:
        kept = self._kept
        values, problem = read_environment(
            os.environ, LOGIN, PASSWORD, read=lambda files, path: files.read_once(path, kept)
        )
        if problem is not None:
            del values  # As in `Credentials.__init__`.
            raise ConfigurationError(problem)
        return Credentials(values[LOGIN], values[PASSWORD])


def check_environment(*names: str) -> tuple[str | None, str | None]:
    """Look whether variables are usable, without reading a file that can be read only once.

    Args:
        names: of `BASE_URL`, `LOGIN`, `PASSWORD`.

    Returns:
        The base URL if it is one of the names and is usable, and what is missing or unusable, as the message of one
        error. None if nothing is.
    """
    values, problem = read_environment(os.environ, *names, read=lambda files, path: files.look_at(path))
    return values.get(BASE_URL), problem


def read_environment(
    environ: Mapping[str, str], *names: str, read: _Read = lambda files, path: files.read_file(path)
) -> tuple[dict[str, str], str | None]:
    """Read variables, and say, in a line for each, which are missing or unusable.

    It does not raise, because its frame holds what it reads.

    Args:
        environ: the environment.
        names: of `BASE_URL`, `LOGIN`, `PASSWORD`.
        read: takes the module `secret_file` and a path. Returns the text of the file, or what is wrong with it.

    Returns:
        The values, and the message of an error. None if all is well.
    """
    values: dict[str, str] = {}
    problems: list[str] = []
    for name in names:
        value, problem = _read_variable(environ, name, read)
        if problem:
            problems.append(f"  - {problem}")
        else:
            values[name] = value
    if problems:
        return values, "\n".join(["The environment is not usable for the KYC API:", *problems])
    return values, None


def _read_variable(environ: Mapping[str, str], name: str, read: _Read) -> tuple[str, str | None]:
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
        value, problem = read(_fork.load("kyc_client._login.secret_file"), path)
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
    return not any("\ud800" <= character <= "\udfff" for character in value)
