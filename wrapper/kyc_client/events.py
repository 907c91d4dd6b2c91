"""What a `LoginAuth` does, as events for metrics; the log (`logging.getLogger("kyc_client")`) says the same in words.

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

Of a token that does not tell its end, the second says so. The message of a failure goes on with that of the error, and
each ends with the base URL in brackets. No event holds a
secret, and all can be pickled.

The function is called in the thread in which it happens: a login's own thread, or for `TokenRejected` that of the call
that met the 401, which may be an event loop's. So it should count, and return. What it raises is logged and goes no
further. It must not call the client whose login has just started: that would wait for itself.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - for those who evaluate the annotations
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Event", "LoginFailed", "LoginStarted", "LoginSucceeded", "Reason", "TokenRejected"]

Reason: TypeAlias = Literal["cold", "renewal", "rejected"]
"""Why there is a login: no token yet (cold), one near or past its end (renewal), one refused with 401 (rejected)."""


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
        seconds: from the first need of the login to its end, further attempts and pauses between them included.
        expires_at: when the token says that it expires, by the server's clock; None if it does not say.
    """

    base_url: str
    reason: Reason
    seconds: float
    expires_at: datetime | None


class LoginFailed(NamedTuple):
    """All who waited for this login got this error; nobody did, if it was a renewal in the background.

    Calls that fail at once because of a failure that is remembered make no events.

    Attributes:
        base_url: the API's.
        reason: what made the login necessary.
        seconds: from the first need of the login to its end.
        error: the class of the error, one of `kyc_client.errors`. `ConfigurationError`: nothing was sent, so that no
            `LoginStarted` came before.
        status_code: the HTTP status of the login's answer; None if there was none.
        retry_after: seconds in which the next login is not tried.
    """

    base_url: str
    reason: Reason
    seconds: float
    error: type[BaseException]
    status_code: int | None
    retry_after: float


class TokenRejected(NamedTuple):
    """The API answered 401 to the current token, which was dropped for it.

    Attributes:
        base_url: the API's.
    """

    base_url: str


Event: TypeAlias = LoginStarted | LoginSucceeded | LoginFailed | TokenRejected
"""Any of the events."""
