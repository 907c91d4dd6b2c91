"""Controls the clock and the logins of every `LoginAuth` in this process, for the fake and the fixtures."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kyc_client import _fork
from kyc_client._token.flight import GRACE, INTERRUPTED
from kyc_client._token.policy import FailedLogin
from kyc_client._token.source import TokenSource

if TYPE_CHECKING:
    from kyc_client._clock import Clock


def living_sources() -> list[TokenSource]:
    """Return every source in use in this process."""
    return [source for source in _fork.living() if isinstance(source, TokenSource)]


def start_over(source: TokenSource, clock: Clock | None = None) -> Clock:
    """Make a source forget everything, end its login, and use another clock.

    When this returns, that login sends nothing more, unless the caller's own code delays its end. Callers that wait for
    it get an error, because they belong to a test that has ended and must not log in to the next test's fake.

    Args:
        source: the source.
        clock: the new clock; None keeps the current one.

    Returns:
        The previous clock.
    """
    with source._lock:  # noqa: SLF001 - of this package
        before, flight = source._clock, source._flight  # noqa: SLF001
        source.use(clock or before)
        source.reset()
        source._flight = None  # noqa: SLF001
    if flight is not None:
        flight.land(FailedLogin(INTERRUPTED, flight.deadline))
        flight.close()
        if flight.thread is not None and flight.thread is not threading.current_thread():
            flight.thread.join(GRACE)
    return before
