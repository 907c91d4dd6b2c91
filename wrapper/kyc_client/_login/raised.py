"""What a transport raised, and how a text from outside is made fit for a message. Loaded by the first login."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_TEXT = 200
# A secret that is cut here leaves a beginning, which `answer.spell` knows too.
_MAX_LOOK = 10_000


class Raised:
    """What a transport raised that says nothing about the network: a test's own word, or a request to stop.

    It stands for an `AssertionError` (respx: "not mocked") and for every `BaseException` that is no `Exception`
    (`pytest.fail`, `KeyboardInterrupt`, a task's cancellation).

    Attributes:
        original: the exception, without the frames that it passed, because they hold the password.
        kind: its class.
        message: its text, cleaned.
        details: empty, as for a failure that has none.
        retry_after: None, likewise.
    """

    def __init__(self, original: BaseException, secrets: Iterable[str] = ()) -> None:
        secrets = list(secrets)
        forget_frames(original, secrets)
        self.original = original
        self.kind = type(original)
        self.message = described(original, secrets)
        self.details: Mapping[str, Any] = {}
        self.retry_after: float | None = None

    def error(self, *, retry_after: float | None = None, cached: bool = False) -> BaseException:  # noqa: ARG002 - as `Failure`
        """A copy to raise, or the original if it cannot be copied."""
        error = self.original
        with contextlib.suppress(Exception):  # Its class may do anything in the middle of being copied.
            duplicate = copy.copy(error)
            error = duplicate if type(duplicate) is self.kind else error
        forget_frames(error)
        return error


def forget_frames(error: BaseException, secrets: Iterable[str] = (), seen: frozenset[int] = frozenset()) -> None:
    """Cut an exception, and those that it holds, off from frames, other exceptions, and notes with a secret."""
    held: list[Any] = [error.__context__, error.__cause__, *error.args, *vars(error).values()]
    error.__traceback__ = error.__context__ = error.__cause__ = None
    notes = getattr(error, "__notes__", [])
    notes[:] = [note for note in notes if not any(secret in str(note) for secret in secrets)]
    held += getattr(error, "exceptions", ())
    for inner in held:
        if isinstance(inner, BaseException) and id(inner) not in seen:
            forget_frames(inner, secrets, seen | {id(error)})


def described(error: BaseException, secrets: Iterable[str]) -> str:
    """An exception's class and text, fit for a message."""
    text = plain(error, secrets)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def plain(value: object, secrets: Iterable[str] = ()) -> str:
    """A text from outside, fit for a message: short, printable, and without what was submitted."""
    text = ""
    with contextlib.suppress(BaseException):  # An exception of the caller's may raise anything when it is shown.
        text = str(value)[:_MAX_LOOK]
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(character if character.isprintable() else "?" for character in text[:_MAX_TEXT])
