"""A minimal world around the policy: requests, the one login, the credentials and the clocks.

It does what `TokenSource` does, one event at a time, so that a search can put the events into every order. Every act
that the contract speaks of is shown to the invariants before it enters the history.

A request that carries a token needs no state of its own: any number of requests may carry each token that was used, and
a 401 may come to any of them, soon or late. A second 401 to one request concerns `LoginAuth` only.
"""

from __future__ import annotations

import base64
import copy
import json
from functools import lru_cache
from typing import NamedTuple

from kyc_client._clock import Moment
from kyc_client._login.answer import Failure
from kyc_client._login.credentials import Credentials
from kyc_client._login.raised import Raised
from kyc_client._token.lease import Lease
from kyc_client._token.policy import AfterRejection, FailedLogin, Policy
from kyc_client.errors import (
    BadCredentialsError,
    ConfigurationError,
    LoginError,
    LoginResponseError,
    LoginUnavailableError,
)
from tests.explored.history import History

CREDENTIALS = {name: Credentials(name, "fake-password-for-tests") for name in "AB"}
DEADLINE = 20.0
MOST_WAITERS = 2
_TINY = 0.01

# How a login can end. A number is the lifetime of its token.
TOKENS = {"a token of 100 s": 100, "a token of 1 s": 1, "a token of unknown lifetime": None}
FAILURES = {
    "unavailable": Failure(LoginUnavailableError, "unavailable"),
    "unavailable, Retry-After: 45": Failure(LoginUnavailableError, "unavailable", retry_after=45.0),
    "no usable token": Failure(LoginResponseError, "no usable token"),
    "refused": Failure(BadCredentialsError, "refused"),
    "no credentials": Failure(ConfigurationError, "no credentials"),
    # A `Raised` too is known to the policy by its kind only.
    "an AssertionError": Failure(AssertionError, "not mocked"),  # type: ignore[arg-type]
}


class Flight(NamedTuple):
    """A login under way, or landed."""

    name: str | None
    known: FailedLogin | None
    began: Moment
    resets: int
    landed: bool = False
    failed: FailedLogin | None = None
    lease: Lease | None = None


class Waiter(NamedTuple):
    """A request that waits for a login. `other_than` is the token with which it was answered 401."""

    flight: Flight
    other_than: Lease | None


class Asked(NamedTuple):
    """A login began, and asked for the credentials. It sends them, unless they are known to be refused."""

    background: bool
    other_than: Lease | None
    sends: bool


class Used(NamedTuple):
    """A request used a token."""

    lease: Lease
    other_than: Lease | None
    waited: bool


class Failed(NamedTuple):
    """A request failed with an error. `sent`: it waited for a login that was sent."""

    failed: FailedLogin
    other_than: Lease | None
    waited: bool
    sent: bool


class Rejected(NamedTuple):
    """A 401 was taken note of."""

    carried: Lease
    before: Lease | None
    after: AfterRejection | FailedLogin


class Landed(NamedTuple):
    """A login ended, and the history knows how. `failed` is what the policy made of it."""

    failed: FailedLogin | None


@lru_cache
def _jwt(expiry: float) -> str:
    part = base64.urlsafe_b64encode(json.dumps({"exp": expiry}).encode()).decode().rstrip("=")
    return f"e30.{part}.fake"


class World:
    """The policy, and what drives it."""

    policy_class = Policy

    def __init__(self, judge) -> None:
        self.judge = judge
        self.now = Moment(1_000_000.0, 1_800_000_000.0)
        self.policy = self.policy_class()
        self.configured: str | None = "A"  # None: there are none, or they cannot be read.
        self.flight: Flight | None = None
        self.waiters: tuple[Waiter, ...] = ()
        self.carried: Lease | None = None  # The newest token that was used.
        self.older: Lease | None = None  # One that was used before it.
        self.history = History()

    def copy(self):
        """A world of its own. Only the policy can change in place."""
        new = copy.copy(self)
        new.policy = _copied(self.policy)
        return new

    def _show(self, act) -> None:
        self.judge(self, act)

    # Requests

    def request(self, other_than: Lease | None = None) -> None:
        """A request does what the policy says."""
        decision = self.policy.decide(self.now, other_than=other_than)
        if decision.login is not None and self.flight is None:
            self._start(background=decision.lease is not None, other_than=other_than)
        if decision.lease is not None:
            self._use(Used(decision.lease, other_than, waited=False))
        elif decision.failure is not None:
            self._show(Failed(decision.failure, other_than, waited=False, sent=False))
        else:
            assert self.flight is not None
            self.waiters = (*self.waiters, Waiter(self.flight, other_than))

    def look_again(self, index: int) -> None:
        """A request whose login has landed looks again."""
        waiter = self.waiters[index]
        self.waiters = self.waiters[:index] + self.waiters[index + 1 :]
        flight, other_than = waiter
        lease = self.policy.usable(self.now, other_than=other_than)
        if lease is not None:
            self._use(Used(lease, other_than, waited=True))
        elif flight.failed is not None and flight.resets == self.policy.resets:
            self._show(Failed(flight.failed, other_than, waited=True, sent=flight.known is None))
        else:
            self.request(other_than)

    def _use(self, used: Used) -> None:
        self._show(used)
        if used.lease is not self.carried:
            self.older, self.carried = self.carried or self.older, used.lease

    def answer_401(self, carried: Lease) -> None:
        """A 401 comes to a request that carried this token."""
        before = self.policy.lease
        after = self.policy.rejected(carried, self.now)
        self._show(Rejected(carried, before, after))
        if before is not None and self.policy.lease is None:
            self.history = self.history.with_drop(self.now.monotonic)
        if isinstance(after, FailedLogin):
            self._show(Failed(after, carried, waited=False, sent=False))
        elif after is AfterRejection.SEND_AGAIN:
            self.request(carried)

    # The login

    def _start(self, *, background: bool, other_than: Lease | None) -> None:
        name, known = self.configured, None
        if name is not None:
            known = self.policy.known(CREDENTIALS[name], self.now)
        self._show(Asked(background, other_than, sends=name is not None and known is None))
        self.flight = Flight(name, known, self.now, self.policy.resets)

    def land(self, way: str) -> None:
        """The login ends."""
        flight, now, failed, lease = self.flight, self.now, None, None
        assert flight is not None
        counts = way != "silence" and flight.resets == self.policy.resets
        if way in TOKENS:
            life = TOKENS[way]
            value = "opaque" if life is None else _jwt(flight.began.wall + life)
            lease = Lease(value, issued_at=flight.began.wall, began=flight.began, arrived=now, jitter=0.0)
        if counts:
            outcome = lease or flight.known or FAILURES[way]
            failed = self.policy.landed(outcome, CREDENTIALS.get(flight.name), now)
        if way != "silence":
            self._note(way, flight, lease, failed)
        self.flight = None
        landed = flight._replace(landed=True, failed=failed, lease=lease)
        self.waiters = tuple(w._replace(flight=landed) if w.flight is flight else w for w in self.waiters)

    def _note(self, way: str, flight: Flight, lease: Lease | None, failed: FailedLogin | None) -> None:
        """Enter into the history how a login ended, unless a reset made it void."""
        history, now = self.history, self.now.monotonic
        if flight.resets != history.resets:
            return
        if lease is not None:
            history = history.with_token(lease, flight.name, now)
        elif flight.known is not None:
            history = history.with_failure(history.refusal(flight.name).until, now, refused=True)
        elif way == "refused":
            history = history.with_refusal(flight.name, now)
        elif issubclass(FAILURES[way].kind, LoginError):
            history = history.with_cooldown(now, FAILURES[way].retry_after or 0.0)
        else:
            history = history.with_nothing_sent(now)
        self.history = history
        self._show(Landed(failed))

    # Everything else

    def reset(self) -> None:
        """The token and every failure are forgotten."""
        self.policy.reset()
        self.history = self.history.with_reset()

    def fork(self) -> None:
        """We go on in a child. The thread that would land the login is in the parent, like the other requests."""
        self.flight, self.waiters = None, ()

    def pass_time(self, seconds: float, wall: float | None = None) -> None:
        """The clocks go on."""
        self.now = Moment(self.now.monotonic + seconds, self.now.wall + (seconds if wall is None else wall))

    def seconds_to(self, share: float) -> float:
        """Seconds until so much of the current token's lifetime is left."""
        lease = self.policy.lease
        if lease is None or lease.token.expires_at is None:
            return 0.0
        life = 100 if lease.seconds_left(lease.fresh_until) > 1 else 1
        return lease.seconds_left(self.now) - share * life + _TINY


def _copied(value):
    """A copy of the policy. Of what it holds, only its own helpers and dicts can change."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is tuple:
        return tuple(map(_copied, value))
    if not hasattr(value, "__dict__") or isinstance(value, Failure | Raised):
        return value
    new = object.__new__(type(value))
    for name, item in vars(value).items():
        new.__dict__[name] = _copied(item)
    return new
