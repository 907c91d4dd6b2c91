"""The policy: what a request, a 401 and the end of a login change. Pure: no lock, clock, thread or I/O.

A failed login is remembered: a cool-down for everyone, a refusal for its credentials. As long as it is remembered, a
token that still works is not renewed, and a login is pointless, with one exception: once a second after a refusal, a
login may ask for the credentials again, because they may be new.

A request asks `decide()`. The answer depends on the token's phase (`lease`):

    fresh              use it
    soft               use it, and renew it in the background. Not within 1 s of the login that brought it, and not
                       while a failure is remembered
    hard               wait for a login. While a failure is remembered: use it
    none, expired      wait for a login. While a login is pointless: fail with the remembered error

A login ends, and `landed()` remembers how:

    token              installed. Failures are forgotten, except refusals of other credentials
    refused            every 4xx except 408 and 429: remembered for these credentials for 60 s, doubling to 15 min.
                       Other credentials are tried at once
    unavailable        no connection, no answer in time, 408, 429, 5xx: a cool-down of 1 s, doubling to 30 s. If
                       `Retry-After` asks for more, that long
    no usable token    the same cool-down
    no credentials     nothing was sent, so this is not remembered, and it replaces no memory. The token is not renewed
                       for 1 s. The same holds for a test's own error, which a transport raised

A 401 to a request that carried our token asks `rejected()`. The first row that fits counts:

    not the current token     send the request again, with the current token or after a login
    expired meanwhile         send it again after the login that is due anyway
    a login is pointless      fail the request with the remembered error. The token stays
    a refusal is remembered   send it again only if other credentials bring a new token. The token stays. This needs a
                              drop too. Without one, fail the request with the remembered error
    a drop is left            drop the token, and send the request again after one login
    no drop is left           hand the 401 to the caller. The token stays

There are three drops at first, and one more every 10 s. A request that cannot be sent again spends a drop too: the next
request gets a token that works. `reset()` forgets all of it, except the counts of `status()`.
"""

from __future__ import annotations

import enum
import math
from datetime import datetime  # noqa: TC003 - for those who evaluate the annotations
from typing import TYPE_CHECKING, NamedTuple

from kyc_client.errors import LoginError, LoginResponseError, LoginUnavailableError

from .lease import Lease, Phase

if TYPE_CHECKING:
    from kyc_client._clock import Moment
    from kyc_client._login.credentials import Credentials
    from kyc_client._login.outcome import Failure
    from kyc_client._login.raised import Raised
    from kyc_client.events import Reason

_COOLDOWN_SECONDS, _COOLDOWN_LIMIT = 1.0, 30.0
_REFUSAL_SECONDS, _REFUSAL_LIMIT = 60.0, 15 * 60.0
# A login less than a second after another one brings the same `exp`, because servers write it in whole seconds. And the
# credentials may come from a vault, which must not be asked for every call.
_RENEWAL_PAUSE = _ASKING_PAUSE = 1.0
_DROPS, _SECONDS_PER_DROP = 3, 10.0
# Endless new credentials, all of them wrong, must not fill the memory.
_MAX_REFUSALS = 16
_NEVER = -math.inf


class Decision(NamedTuple):
    """What a request does now. Exactly one of `lease`, `failure`, or waiting for the login.

    Attributes:
        lease: use this token now.
        login: a login has to be under way, for this reason. With `lease`: nobody waits for it.
        failure: there is no token, and no login can bring one now.
    """

    lease: Lease | None = None
    login: Reason | None = None
    failure: FailedLogin | None = None


class FailedLogin(NamedTuple):
    """A login that failed, as those who wait for it and those who come soon after it see it.

    Attributes:
        failure: what makes the error. Each caller gets an error of its own.
        until: when the next login may be tried, on the monotonic clock.
        cached: this outcome was known already, and nothing was sent.
    """

    failure: Failure | Raised
    until: float
    cached: bool = False

    def error(self, now: Moment) -> BaseException:
        """A new error to raise."""
        return self.failure.error(retry_after=max(0.0, self.until - now.monotonic), cached=self.cached)


class AfterRejection(enum.Enum):
    """What to do with a request that was answered 401."""

    SEND_AGAIN = "with another token"
    HAND_OVER = "the 401, to the caller"


class LoginStatus(NamedTuple):
    """A snapshot of a login, for a health endpoint. It holds no secret.

    Attributes:
        phase: `"none"`, `"fresh"`, `"soft"`, `"hard"` or `"expired"`: the phase of the current token.
        expires_at: when the token says that it expires. None if unknown, or if there is no token.
        last_failure: the class of the error with which the last login failed. None if it succeeded.
        next_attempt_in: seconds until the next login is tried with the same credentials. None if it may be tried now.
        logins: how many logins have succeeded.
        failed_logins: how many logins the API has refused, or has not answered, after all their attempts.
    """

    phase: str
    expires_at: datetime | None
    last_failure: type[BaseException] | None
    next_attempt_in: float | None
    logins: int
    failed_logins: int


class Backoff:
    """A pause that doubles with each failure in a row.

    Args:
        first: seconds of the first pause.
        limit: seconds of the longest one.
    """

    def __init__(self, first: float, limit: float) -> None:
        self.until = _NEVER
        self._first, self._limit = first, limit
        self._delay = first

    def extend(self, now: float, at_least: float = 0.0) -> None:
        """Begin the next pause. Failures are in a row if one comes within the limit after the pause before it."""
        in_a_row = now <= self.until + self._limit
        self._delay = min(self._limit, 2 * self._delay) if in_a_row else self._first
        self.until = now + max(self._delay, at_least)


class Drops:
    """The budget of drops. It bounds the logins that 401s can cause, whatever answers them."""

    def __init__(self) -> None:
        # One number says it all: when the budget will be full again. Each drop moves it on by `_SECONDS_PER_DROP`.
        self._full_at = _NEVER

    def take(self, now: float) -> bool:
        """Spend one drop. False if none is left."""
        full_at = max(self._full_at, now) + _SECONDS_PER_DROP
        if full_at > now + _DROPS * _SECONDS_PER_DROP:
            return False
        self._full_at = full_at
        return True


class Policy:
    """What is remembered of tokens and logins, and what follows from it.

    The caller of every method but `lease` holds the lock of `TokenSource`.

    Attributes:
        lease: the current token. None: none yet, or dropped. Replaced as a whole and never changed, so the hot path
            reads it without the lock.
        resets: how many resets there were. A login that began before the last one changes nothing.
    """

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.resets = 0
        self._logins = self._failed_logins = 0
        self._forget()

    def _forget(self) -> None:
        # The last login, if it failed. What follows from it is decided by time: before `_no_login_before` no login is
        # tried, and before `_renewal_after` no token that still works is renewed.
        self._failed: FailedLogin | None = None
        self._no_login_before = self._renewal_after = _NEVER
        self._cooldown = Backoff(_COOLDOWN_SECONDS, _COOLDOWN_LIMIT)
        # Per credentials. They stay remembered while others work, because they may come back.
        self._refusals: dict[Credentials, tuple[Failure | Raised, Backoff]] = {}
        self._drops = Drops()
        self._was_rejected = False

    def usable(self, now: Moment, *, other_than: Lease | None = None) -> Lease | None:
        """The current token, unless it has expired or is the one that the server has refused to this request."""
        lease = self.lease
        if lease is None or lease is other_than or lease.phase(now) is Phase.EXPIRED:
            return None
        return lease

    def decide(self, now: Moment, *, other_than: Lease | None = None) -> Decision:
        """What a request does now.

        Args:
            now: the time.
            other_than: the token with which this request has been answered 401.
        """
        was_rejected = self._was_rejected or other_than is not None
        reason: Reason = "rejected" if was_rejected else "cold" if self.lease is None else "renewal"
        lease = self.usable(now, other_than=other_than)
        if lease is None:
            failed = self._why_no_login(now)
            return Decision(login=reason) if failed is None else Decision(failure=failed)
        phase = lease.phase(now)
        may_renew = now.monotonic >= self._renewal_after
        if phase is Phase.FRESH or (not may_renew and (phase is Phase.SOFT or self._failed is not None)):
            return Decision(lease)
        return Decision(lease, reason) if phase is Phase.SOFT else Decision(login=reason)

    def _why_no_login(self, now: Moment) -> FailedLogin | None:
        """Why a login would be pointless now. None if it may help."""
        if self._failed is None or now.monotonic >= self._no_login_before:
            return None
        return self._failed._replace(cached=True)

    def rejected(self, lease: Lease, now: Moment) -> AfterRejection | FailedLogin:
        """What follows from a 401.

        Args:
            lease: the token that the request carried.
            now: the time.

        Returns:
            What to do with the request, or the failure to raise to its caller.
        """
        if self.lease is not lease or lease.phase(now) is Phase.EXPIRED:
            return AfterRejection.SEND_AGAIN
        failed = self._why_no_login(now)
        if failed is not None:
            return failed
        has_drop = self._drops.take(now.monotonic)
        if self._failed is not None and now.monotonic < self._failed.until:
            # A login for it asks for the credentials first. They may be new, and wrong too, so this has a bound.
            return AfterRejection.SEND_AGAIN if has_drop else self._failed._replace(cached=True)
        if not has_drop:
            return AfterRejection.HAND_OVER
        self.lease = None
        self._was_rejected = True
        return AfterRejection.SEND_AGAIN

    def known(self, credentials: Credentials, now: Moment) -> FailedLogin | None:
        """The remembered refusal of these credentials, or None."""
        failure, backoff = self._refusals.get(credentials, (None, None))
        if failure is None or backoff is None or now.monotonic >= backoff.until:
            return None
        return FailedLogin(failure, backoff.until, cached=True)

    def landed(
        self, outcome: Lease | Failure | Raised | FailedLogin, credentials: Credentials | None, now: Moment
    ) -> FailedLogin | None:
        """Remember how a login ended.

        Args:
            outcome: its token, its failure, or what `known()` returned.
            credentials: what it logged in with. None if it had none.
            now: the time.

        Returns:
            The failure, as those who wait for this login see it. None if it succeeded.
        """
        if isinstance(outcome, Lease):
            self._install(outcome, credentials, now)
            return None
        failed = outcome if isinstance(outcome, FailedLogin) else self._remember(outcome, credentials, now)
        is_remembered = failed.until > now.monotonic
        if is_remembered or self._failed is None or self._failed.until <= now.monotonic:
            self._failed = failed
        until = self._failed.until
        is_cooldown = _cools_down(self._failed.failure)
        self._no_login_before = until if is_cooldown else min(until, now.monotonic + _ASKING_PAUSE)
        self._renewal_after = max(until, now.monotonic + _RENEWAL_PAUSE)
        return failed

    def _install(self, lease: Lease, credentials: Credentials | None, now: Moment) -> None:
        self.lease = lease
        self._was_rejected = False
        self._failed = None
        self._cooldown = Backoff(_COOLDOWN_SECONDS, _COOLDOWN_LIMIT)
        self._renewal_after = now.monotonic + _RENEWAL_PAUSE
        if credentials is not None:
            self._refusals.pop(credentials, None)
        self._logins += 1

    def _remember(self, failure: Failure | Raised, credentials: Credentials | None, now: Moment) -> FailedLogin:
        if not issubclass(failure.kind, LoginError):
            return FailedLogin(failure, now.monotonic)
        self._failed_logins += 1
        if credentials is None or _cools_down(failure):
            self._cooldown.extend(now.monotonic, failure.retry_after or 0.0)
            return FailedLogin(failure, self._cooldown.until)
        _, backoff = self._refusals.pop(credentials, (None, Backoff(_REFUSAL_SECONDS, _REFUSAL_LIMIT)))
        backoff.extend(now.monotonic)
        self._refusals[credentials] = (failure, backoff)
        if len(self._refusals) > _MAX_REFUSALS:
            del self._refusals[next(iter(self._refusals))]  # The oldest: a dict keeps its order.
        return FailedLogin(failure, backoff.until)

    def reset(self) -> None:
        """Forget the token and every failure, and refill the budget of drops."""
        self.resets += 1
        self.lease = None
        self._forget()

    def status(self, now: Moment) -> LoginStatus:
        """A snapshot."""
        lease, failed = self.lease, self._failed
        waits = 0.0 if failed is None else failed.until - now.monotonic
        return LoginStatus(
            phase="none" if lease is None else lease.phase(now).value,
            expires_at=None if lease is None else lease.token.expires_at,
            last_failure=None if failed is None else failed.failure.kind,
            next_attempt_in=waits if waits > 0 else None,
            logins=self._logins,
            failed_logins=self._failed_logins,
        )


def _cools_down(failure: Failure | Raised) -> bool:
    """Whether a failure says something about the server, and not about the credentials."""
    return issubclass(failure.kind, LoginUnavailableError | LoginResponseError)
