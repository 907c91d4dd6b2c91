"""Reports what happens to the token: to the log, and to the caller's `on_event` function."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from kyc_client import _fork

if TYPE_CHECKING:
    from datetime import datetime

    from kyc_client._login.outcome import Failure
    from kyc_client._login.raised import Raised
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
        # Loaded only if there is a function, because the import costs 2 ms.
        self._events = None if on_event is None else _fork.load("kyc_client.events")

    def login_started(self, reason: Reason) -> None:
        self._tell(logging.DEBUG, "login started (%s)", (reason,), "LoginStarted", reason)

    def login_succeeded(self, reason: Reason, seconds: float, expires_at: datetime | None) -> None:
        end = f"expires at {expires_at}" if expires_at else "does not say when it expires"
        text = "login succeeded (%s) in %.3f s; the token %s"
        self._tell(logging.INFO, text, (reason, seconds, end), "LoginSucceeded", reason, seconds, expires_at)

    def login_failed(self, reason: Reason, seconds: float, failure: Failure | Raised, retry_after: float) -> None:
        text = "login failed (%s) after %.3f s, next attempt in %.1f s at the earliest: %s: %s"
        values = reason, seconds, retry_after, failure.kind.__name__, failure.message
        fields = reason, seconds, failure.kind, failure.details.get("status_code"), retry_after
        self._tell(logging.WARNING, text, values, "LoginFailed", *fields)

    def token_rejected(self) -> None:
        self._tell(logging.INFO, "token rejected by the API, and dropped", (), "TokenRejected")

    def _tell(self, level: int, text: str, values: tuple[object, ...], event: str, *fields: object) -> None:
        _log.log(level, f"{text} [%s]", *values, self._base_url)
        if self._on_event is None:
            return
        try:
            self._on_event(getattr(self._events, event)(self._base_url, *fields))
        except (Exception, SystemExit):  # noqa: BLE001 - the caller's code
            _log.warning("on_event failed at %s", event, exc_info=True)
