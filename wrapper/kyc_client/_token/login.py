"""What a flight does: ask for the credentials, and log in with them. Loaded by the first login."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

from kyc_client._login.credentials import Credentials
from kyc_client._login.outcome import Failure, Grant
from kyc_client._login.raised import Raised
from kyc_client.errors import ConfigurationError, LoginUnavailableError

from .flight import INTERRUPTED, timed_out
from .lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client._login.endpoint import LoginEndpoint

    from .flight import Flight, Outcome
    from .policy import FailedLogin
    from .reporter import Reporter

_ATTEMPTS = 3
# The longest random pause after the first attempt, and twice that after the second. `Retry-After` may ask for more.
_BACKOFF_SECONDS = 0.5


def log_in(
    flight: Flight,
    endpoint: LoginEndpoint,
    get_credentials: Callable[[], Credentials],
    reporter: Reporter,
    known: Callable[[Credentials], FailedLogin | None],
) -> Outcome:
    """Log in.

    Args:
        flight: the flight. This runs in its thread.
        endpoint: performs one attempt.
        get_credentials: returns the credentials.
        reporter: is told when the login starts.
        known: returns the remembered refusal of these credentials, if there is one.
    """
    credentials = _ask(get_credentials)
    if not isinstance(credentials, Credentials):
        return _for_others(flight, credentials)
    flight.credentials = credentials
    failed = known(credentials)
    return failed or _for_others(flight, _attempts(flight, endpoint, credentials, reporter))


def _ask(get_credentials: Callable[[], Credentials]) -> Credentials | Failure | Raised:
    try:
        credentials = get_credentials()
    except ConfigurationError as error:
        return Failure(ConfigurationError, str(error))
    except Exception as error:  # noqa: BLE001 - the caller's code, and its message may hold what it was fetching
        name = type(error).__name__
        return Failure(ConfigurationError, f"The credentials callable raised {name}. Call it by hand to see why.")
    except BaseException as error:  # noqa: BLE001 - its frames may hold a password
        return Raised(error)
    if isinstance(credentials, types.CoroutineType):
        credentials.close()  # Python would complain about a coroutine that was never awaited.
    if not isinstance(credentials, Credentials):
        what = "The credentials callable must be a plain function that returns kyc_client.Credentials."
        return Failure(ConfigurationError, what)
    return credentials


def _attempts(flight: Flight, endpoint: LoginEndpoint, credentials: Credentials, reporter: Reporter) -> Outcome:
    """Try up to three times, with pauses, while the failure is one that may pass and the deadline allows."""
    clock = flight.clock
    result: Failure | Raised = timed_out(flight)
    for attempt in range(_ATTEMPTS):  # pragma: no branch - the last one breaks
        began = clock.now()
        if flight.has_landed or began.monotonic >= flight.deadline:
            break
        if attempt == 0:
            reporter.login_started(flight.reason)
        within = flight.deadline - began.monotonic
        answer = endpoint.attempt(credentials, within=within, clock=clock, on_open=flight.on_open)
        if isinstance(answer, Grant):
            issued_at, jitter = answer.issued_at, clock.random()
            return Lease(answer.value, issued_at=issued_at, began=began, arrived=clock.now(), jitter=jitter)
        result = answer
        if result.kind is not LoginUnavailableError or attempt == _ATTEMPTS - 1:
            break
        pause = max(clock.random() * _BACKOFF_SECONDS * 2**attempt, result.retry_after or 0.0)
        if clock.monotonic() + pause >= flight.deadline or clock.pause(flight.ended, pause):
            break
    return result


def _for_others(flight: Flight, outcome: Outcome) -> Outcome:
    """What those who wait get. An exception that ends this thread, such as Ctrl-C, is not for them."""
    if not isinstance(outcome, Raised):
        return outcome
    error = outcome.original
    is_cancelled = type(error).__name__ in {"Cancelled", "CancelledError"}
    if not is_cancelled and not isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return outcome
    flight.stopped_by = outcome
    return INTERRUPTED
