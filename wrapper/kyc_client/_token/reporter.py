"""Reports what happens to the token: to the log, and to the caller's `on_event` function."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from kyc_client._login.outcome import Failure, Raised
    from kyc_client.events import Event, Reason

    OnEvent: TypeAlias = Callable[[Event], object]
else:  # A name for those who evaluate the annotations, without the import of the events.
    OnEvent = Callable[[Any], object]


_log = logging.getLogger("kyc_client")
# Without this handler, Python prints our warnings to stderr in a program that has not set up logging.
_log.addHandler(logging.NullHandler())


class Reporter:
    """Writes what happened into the log, and passes it as an event to the caller's function.

    An error that the function raises is logged and stopped here, because metrics must not make a login fail.

    Args:
        base_url: the API's base URL, for the events and the log.
        on_event: the caller's function.

    Raises:
        TypeError: `on_event` is not a function, or is async; nothing would await it.
    """

    def __init__(self, base_url: str = "", on_event: OnEvent | None = None) -> None:
        if on_event is not None:
            functions = on_event, type(on_event).__call__
            if not callable(on_event) or any(map(inspect.iscoroutinefunction, functions)):
                raise TypeError("on_event= takes a plain function of one argument, the event.")
        self._base_url = base_url
        self._on_event = on_event
        self._events = None
        if on_event is not None:
            from kyc_client import events  # noqa: PLC0415 - its import costs 2 ms, which only some programs need

            self._events = events

    def login_started(self, reason: Reason) -> None:
        self._log(logging.DEBUG, "login started (%s)", reason)
        if self._events:
            self._tell(self._events.LoginStarted(self._base_url, reason))

    def login_succeeded(self, reason: Reason, seconds: float, expires_at: datetime | None) -> None:
        end = f"expires at {expires_at}" if expires_at else "does not say when it expires"
        self._log(logging.INFO, "login succeeded (%s) in %.3f s; the token %s", reason, seconds, end)
        if self._events:
            self._tell(self._events.LoginSucceeded(self._base_url, reason, seconds, expires_at))

    def login_failed(self, reason: Reason, seconds: float, failure: Failure | Raised, retry_after: float) -> None:
        text = "login failed (%s) after %.3f s, next attempt in %.1f s at the earliest: %s: %s"
        self._log(logging.WARNING, text, reason, seconds, retry_after, failure.kind.__name__, failure.message)
        if self._events:
            status_code = failure.details.get("status_code")
            self._tell(
                self._events.LoginFailed(self._base_url, reason, seconds, failure.kind, status_code, retry_after)
            )

    def token_rejected(self) -> None:
        self._log(logging.INFO, "token rejected by the API, and dropped")
        if self._events:
            self._tell(self._events.TokenRejected(self._base_url))

    def _log(self, level: int, message: str, *values: object) -> None:
        _log.log(level, f"{message} [%s]", *values, self._base_url)

    def _tell(self, event: Event) -> None:
        try:
            self._on_event(event)  # type: ignore[misc]  # there are events only if there is a function
        except (Exception, SystemExit):  # noqa: BLE001 - the caller's code
            _log.warning("on_event failed at %s", type(event).__name__, exc_info=True)
