"""The token and the windows of its life. Pure: clocks are arguments, nothing here waits or sends.

State of the token, by its age (its lifetime is `exp` minus the time at which the server issued it):

    fresh     used as it is
    soft      the last min(300 s, 20 %), less up to a fifth of that as jitter: used, and renewed in the background
    hard      the last min(30 s, 5 %): a call waits for the renewal, and should that fail, uses the token all the same
    expired   a call waits for the login

A token whose lifetime is not known (opaque, no usable `exp`, expired on arrival) stays fresh until the API answers 401.
"""

from __future__ import annotations

import enum
import math
from datetime import UTC, datetime

from kyc_client._login.secret import Masked, MaskedHeader
from kyc_client._login.wire import DATE_LAG, read_expiry

_SOFT_SECONDS, _SOFT_SHARE = 300.0, 0.20
_HARD_SECONDS, _HARD_SHARE = 30.0, 0.05
# Processes that log in together must not all renew together.
_JITTER_SHARE = 0.2


class Token(Masked):
    """An access token, as the API issued it.

    Frozen; `repr`, `str` and `format` do not show the value, and pickling raises `TypeError`.

    Args:
        value: the token itself, to be sent as `Authorization: Bearer <value>`.
        expires_at: when it says that it expires (aware, by the server's clock); None if it does not say, or not
            legibly. A hint: the signature is not verified, and the API may refuse the token earlier.
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
        """When it says that it expires; None if unknown."""
        return self._expires_at


class Phase(enum.Enum):
    """Where in its life a token is; see the module's docstring."""

    FRESH = enum.auto()
    SOFT = enum.auto()
    HARD = enum.auto()
    EXPIRED = enum.auto()


class Lease(Masked):
    """A token together with the windows of its life. Its identity stands for the token's generation.

    Two logins within one second yield the very same token, so a lease is compared with `is`, never by its value.

    Attributes:
        began: when the login that brought it started, on the monotonic clock.

    Args:
        value: the token.
        issued_at: seconds since the epoch, on the server's clock, when it was issued; None to trust the local clock.
        monotonic: the monotonic clock when the login started.
        wall: the wall clock at that moment.
        jitter: a number in [0, 1): how much of the jitter this token gets.
    """

    __slots__ = ("_life", "_wall", "authorization", "began", "fresh_until_monotonic", "fresh_until_wall", "token")
    _shown = ("token",)
    token: Token
    authorization: str
    began: float
    fresh_until_monotonic: float
    fresh_until_wall: float
    _life: float
    _wall: float

    def __init__(self, value: str, *, issued_at: float | None, monotonic: float, wall: float, jitter: float) -> None:
        expiry = read_expiry(value)
        life = lifetime(expiry, issued_at, wall)
        fresh = life - min(_SOFT_SECONDS, _SOFT_SHARE * life) * (1 - _JITTER_SHARE * jitter)
        self._set(
            token=Token(value, None if expiry is None else datetime.fromtimestamp(expiry, UTC)),
            authorization=MaskedHeader(f"Bearer {value}"),
            fresh_until_monotonic=monotonic + fresh,
            fresh_until_wall=wall + fresh,
            _life=life,
            began=monotonic,
            _wall=wall,
        )

    def phase(self, monotonic: float, wall: float) -> Phase:
        """The token's phase at these clocks.

        The age is the larger of what the two clocks tell: the monotonic one stands still in a suspended machine, the
        wall clock may be set back. Either being wrong costs one early renewal at most.
        """
        if monotonic < self.fresh_until_monotonic and wall < self.fresh_until_wall:
            return Phase.FRESH
        left = self.seconds_left(monotonic, wall)
        if left <= 0:
            return Phase.EXPIRED
        return Phase.HARD if left <= min(_HARD_SECONDS, _HARD_SHARE * self._life) else Phase.SOFT

    def seconds_left(self, monotonic: float, wall: float) -> float:
        """How long the token still lives; infinite if that is not known."""
        return self._life - max(monotonic - self.began, wall - self._wall)


def lifetime(expiry: float | None, issued_at: float | None, wall: float) -> float:
    """Seconds from the token's issue to its expiry; infinite if unknown, also if it seems to have expired on arrival.

    Args:
        expiry: the token's `exp`.
        issued_at: the `Date` of the answer that brought it. The server's clock wrote both, so the local one does not
            matter.
        wall: the local clock when the login started.
    """
    if expiry is None:
        return math.inf
    # A Date lags. A local clock that agrees with it tells the time more exactly, which matters to short tokens: one of
    # 3 s would otherwise be believed for up to two seconds after its death.
    issued = wall if issued_at is None or issued_at <= wall < issued_at + DATE_LAG else issued_at
    life = expiry - issued
    return life if life > 0 else math.inf
