"""What a `LoginAuth` does, as events for metrics. The log (`logging.getLogger("kyc_client")`) says the same in words.

    from kyc_client.events import Event, LoginFailed

    def count(event: Event) -> None:
        if isinstance(event, LoginFailed):
            failures.labels(event.error.__name__).inc()

    client = kyc_client.connect(on_event=count)

| event | level and beginning of the message |
|---|---|
| `LoginStarted` | DEBUG `login started (<reason>)` |
| `LoginSucceeded` | INFO `login succeeded (<reason>) in <seconds> s; the token expires at <time>` |
| `LoginFailed` | WARNING `login failed (<reason>) after <seconds> s, next attempt in <seconds> s at the earliest: ` |
| `TokenRejected` | INFO `token rejected by the API, and dropped` |

If the token has no expiry, the success line says so. The line of a failure continues with the error's message. Each
line ends with the base URL in brackets. No event holds a secret, and all events can be pickled.

The function runs in the thread of the event: the login's own thread, the thread that watches its deadline, or for
`TokenRejected` the thread of the call that got the 401. That one may run an event loop, so the function should count
and return. An error that it raises is logged and stopped. It must not call the client whose login has just started,
because it would wait for itself. A login that starts and then stands still with its process has no second event.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - for those who evaluate the annotations
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Event", "LoginFailed", "LoginStarted", "LoginSucceeded", "Reason", "TokenRejected"]

Reason: TypeAlias = Literal["cold", "renewal", "rejected"]
"""Why a login is needed: no token yet (cold), expired or close to it (renewal), or refused with 401 (rejected)."""


class LoginStarted(NamedTuple):
    """Credentials are about to be sent.

    Attributes:
        base_url: the API's.
        reason: what makes the login necessary.
    """

    base_url: str
    reason: Reason


class LoginSucceeded(NamedTuple):
    """There is a new token.

    Attributes:
        base_url: the API's.
        reason: what made the login necessary.
        seconds: from the first need for the login to its end, including further attempts and the pauses between them.
        expires_at: the token's own expiry, by the server's clock; None if the token has none.
    """

    base_url: str
    reason: Reason
    seconds: float
    expires_at: datetime | None


class LoginFailed(NamedTuple):
    """A login failed. Every call that waited for it got this error; no call waits for a renewal in the background.

    A call that fails at once because of a remembered failure makes no event.

    Attributes:
        base_url: the API's.
        reason: what made the login necessary.
        seconds: from the first need for the login to its end.
        error: the class of the error, one of `kyc_client.errors`. For `ConfigurationError`, nothing was sent, so there
            was no `LoginStarted`.
        status_code: the HTTP status of the login's answer; None if there was no answer.
        retry_after: seconds in which no other login is tried.
    """

    base_url: str
    reason: Reason
    seconds: float
    error: type[BaseException]
    status_code: int | None
    retry_after: float


class TokenRejected(NamedTuple):
    """The API answered 401 to the current token, so the client dropped it.

    Attributes:
        base_url: the API's.
    """

    base_url: str


Event: TypeAlias = LoginStarted | LoginSucceeded | LoginFailed | TokenRejected
"""Any of the events."""
