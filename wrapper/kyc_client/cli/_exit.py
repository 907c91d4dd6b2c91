"""The exit statuses of the command line. This one list serves the code, `--help` and the README."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Self

from kyc_client.errors import BadCredentialsError, ConfigurationError, LoginUnavailableError, UserNotVerifiedError

if TYPE_CHECKING:
    from kyc_client.errors import KYCClientError


class Exit(enum.IntEnum):
    """An exit status and its meaning. A published status keeps its meaning, because scripts depend on it."""

    meaning: str

    def __new__(cls, status: int, meaning: str) -> Self:
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    OK = 0, "all is well"
    FAILED = 1, "none of the below: the sandbox cannot run, no room for the output"
    USAGE = 2, "the command line is wrong, or PATH leads to another origin"
    CONFIGURATION = 3, "a variable is missing or unusable; nothing was sent"
    HOST_UNKNOWN = 4, "check: the name of the host is unknown"
    UNAVAILABLE = 5, "no connection, no answer in time, or a login answered 408, 429 or 5xx"
    TLS = 6, "check: TLS failed; the password was not sent"
    BAD_CREDENTIALS = 7, "the login or password is wrong, or the user inactive"
    NOT_VERIFIED = 8, "the user is not verified"
    UNUSABLE = 9, "the login was answered in another way, or with no usable token"
    CLOCK = 10, "check: the clock of this machine is wrong by more than 30 s"
    # The same number as `curl --fail`.
    NOT_OK = 22, "get: the API answered, but with a status other than 2xx"
    # What a shell reports for a process that a signal ended: 128 + SIGINT, 128 + SIGPIPE.
    INTERRUPTED = 130, "interrupted by Ctrl-C (which ends sandbox with 0)"
    PIPE_CLOSED = 141, "whoever read the output has stopped reading (| head)"


_BY_ERROR: tuple[tuple[type[KYCClientError], Exit], ...] = (
    (ConfigurationError, Exit.CONFIGURATION),
    (BadCredentialsError, Exit.BAD_CREDENTIALS),
    (UserNotVerifiedError, Exit.NOT_VERIFIED),
    (LoginUnavailableError, Exit.UNAVAILABLE),
)


def exit_for(error: KYCClientError) -> Exit:
    """Return the exit status for one of the library's errors."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Exit.UNUSABLE)


def exit_table() -> str:
    """Return the statuses as lines for `--help`."""
    return "\n".join(["exit status:", *(f"  {status:>3}  {status.meaning}" for status in Exit)])
