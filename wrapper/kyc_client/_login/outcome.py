"""How a login ends: a `Grant` or a `Failure`. (`raised` has the third way.)

They are values. An exception is made of them in another frame, which holds no secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kyc_client.errors import KYCClientError, LoginError

from .secret import Masked

if TYPE_CHECKING:
    from collections.abc import Mapping


class Grant(Masked):
    """A login that succeeded.

    Attributes:
        value: the token.
        issued_at: the server's time when it issued the token (its `Date`), in seconds since the epoch. None if the
            answer does not say.
    """

    __slots__ = ("issued_at", "value")
    _shown = ("issued_at",)
    issued_at: float | None
    value: str

    def __init__(self, value: str, issued_at: float | None) -> None:
        self._set(value=value, issued_at=issued_at)


class Failure:
    """A login that failed, as the recipe of an error: each caller gets a fresh instance.

    Attributes:
        kind: the class of the error.
        message: what happened, and what to do.
        details: further keyword arguments of the class.
        retry_after: the seconds that the server asked us to wait, if it asked.
    """

    def __init__(
        self,
        kind: type[KYCClientError],
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.kind = kind
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after

    def error(self, *, retry_after: float | None, cached: bool) -> KYCClientError:
        """A new error to raise.

        Args:
            retry_after: seconds until the next login would be tried.
            cached: nothing was sent for this error.
        """
        if not issubclass(self.kind, LoginError):
            return self.kind(self.message)
        again = (
            f" (Known from an earlier login. The next one with these credentials is tried in {retry_after or 0:.0f} s.)"
        )
        message = self.message + again if cached else self.message
        return self.kind(message, retry_after=retry_after, cached=cached, **self.details)
