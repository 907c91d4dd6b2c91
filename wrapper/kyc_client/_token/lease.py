"""A token and the windows of its life. Pure: clocks are arguments, and nothing here waits or sends.

A token's phase depends on its age. Its lifetime is its `exp` minus the time at which the server issued it.

    fresh     used
    soft      the last min(300 s, 20 %), less up to a fifth of that as jitter: used, and renewed in the background
    hard      the last min(30 s, 5 %): the request waits for the renewal. If that fails, the token is still used
    expired   never sent

A token of unknown lifetime stays fresh until the API answers 401. These are opaque tokens, tokens without a usable
`exp`, and tokens that had expired when they arrived.
"""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime

from kyc_client import _fork
from kyc_client._clock import Moment  # noqa: TC001 - it is loaded anyway
from kyc_client._login.secret import Masked, MaskedHeader

_SOFT_SECONDS, _SOFT_SHARE = 300.0, 0.20
_HARD_SECONDS, _HARD_SHARE = 30.0, 0.05
# Processes that logged in together must not all renew together.
_JITTER_SHARE = 0.2
# A server's `Date` is cut to whole seconds, and uvicorn renews it only once a second. So it is up to 2.05 s late.
DATE_LAG = 2.1


class Token(Masked):
    """An access token, as the API issued it.

    Frozen. `repr`, `str` and `format` do not show the value, and pickling raises `TypeError`.

    Args:
        value: the token itself, to be sent as `Authorization: Bearer <value>`.
        expires_at: when the token says that it expires (aware, by the server's clock). None if it does not say, or not
            readably. This is a hint: the signature is not verified, and the API may refuse the token earlier.
    """

    __slots__ = ("_expires_at", "_value")
    _shown = ("expires_at",)
    _expires_at: datetime | None
    _value: str

    def __init__(self, value: str, expires_at: datetime | None = None) -> None:
        self._set(_value=value, _expires_at=expires_at)

    @property
    def value(self) -> str:
        """The token itself."""
        return self._value

    @property
    def expires_at(self) -> datetime | None:
        """When the token says that it expires. None if unknown."""
        return self._expires_at


class Phase(enum.Enum):
    """A phase of a token's life. The module's docstring has the list."""

    FRESH = "fresh"
    SOFT = "soft"
    HARD = "hard"
    EXPIRED = "expired"


class Lease(Masked):
    """A token together with the windows of its life.

    The identity of a lease is the token's generation. Two logins within one second bring the very same token, so
    leases are compared with `is`, never by value.

    Args:
        value: the token.
        issued_at: when the server issued it, in seconds since the epoch on the server's clock. None: use the local
            clock.
        began: when the login started, on the local clocks.
        arrived: when its answer was there.
        jitter: a number in [0, 1): the share of the jitter that this token gets.

    Attributes:
        token: the token, for callers.
        authorization: the value of the `Authorization` header.
        fresh_until: when it stops being fresh, on the monotonic and on the wall clock. Either may say so first. A plain
            tuple, because every call unpacks it.
    """

    __slots__ = ("_began", "_life", "authorization", "fresh_until", "token")
    _shown = ("token",)
    token: Token
    authorization: str
    fresh_until: tuple[float, float]
    _began: Moment
    _life: float

    def __init__(self, value: str, *, issued_at: float | None, began: Moment, arrived: Moment, jitter: float) -> None:
        # A token comes with a login, which has loaded this.
        expiry: float | None = _fork.load("kyc_client._login.wire").read_expiry(value)
        life = lifetime(expiry, issued_at, began.wall)
        if life <= _age(began, arrived):
            # Without this rule, a server whose clock is wrong, or a login that takes longer than its token lives, would
            # cost one login per request.
            life = math.inf
        fresh = life - min(_SOFT_SECONDS, _SOFT_SHARE * life) * (1 - _JITTER_SHARE * jitter)
        self._set(
            token=Token(value, None if expiry is None else datetime.fromtimestamp(expiry, UTC)),
            authorization=MaskedHeader(f"Bearer {value}"),
            fresh_until=(began.monotonic + fresh, began.wall + fresh),
            _began=began,
            _life=life,
        )

    def phase(self, now: Moment) -> Phase:
        """The token's phase."""
        monotonic, wall = self.fresh_until
        if now.monotonic < monotonic and now.wall < wall:
            return Phase.FRESH
        left = self.seconds_left(now)
        if left <= 0:
            return Phase.EXPIRED
        return Phase.HARD if left <= min(_HARD_SECONDS, _HARD_SHARE * self._life) else Phase.SOFT

    def seconds_left(self, now: Moment) -> float:
        """How long the token still lives. Infinite if that is unknown."""
        return self._life - _age(self._began, now)


def _age(began: Moment, now: Moment) -> float:
    """Seconds between two moments, by the clock that counted more.

    The monotonic clock stands still in a suspended machine, and the wall clock may be set back. If one of them is
    wrong, that costs one early renewal.
    """
    return max(now.monotonic - began.monotonic, now.wall - began.wall)


def lifetime(expiry: float | None, issued_at: float | None, wall: float) -> float:
    """Seconds from the token's issue to its expiry. Infinite if unknown. Not above 0 if it has expired.

    Args:
        expiry: the token's `exp`.
        issued_at: the `Date` of the answer that brought it. The server's clock wrote both, so an error of the local
            clock does not matter.
        wall: the local clock when the login started.
    """
    if expiry is None:
        return math.inf
    # A `Date` lags behind. If the local clock agrees with it, the local clock is more exact. This matters for short
    # tokens: a token of 3 s would be used for up to two seconds after its end.
    issued = wall if issued_at is None or issued_at <= wall < issued_at + DATE_LAG else issued_at
    return expiry - issued
