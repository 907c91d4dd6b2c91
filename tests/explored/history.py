"""What has happened in a world, noted without asking the policy. The invariants judge by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kyc_client._token.lease import Lease

NEVER = float("-inf")


class Pause(NamedTuple):
    """Until when no login is tried, and how long that was."""

    until: float = NEVER
    seconds: float = 0.0

    def longer(self, now: float, first: float, limit: float, at_least: float = 0.0) -> Pause:
        """The next pause: twice as long, if it follows on this one within the limit."""
        seconds = min(limit, 2 * self.seconds) if self.seconds and now <= self.until + limit else first
        return Pause(now + max(seconds, at_least), seconds)


class History(NamedTuple):
    """What has happened.

    Attributes:
        current: the newest token, unless it was dropped or forgotten.
        installed_at: when the login that brought it ended.
        dropped: the tokens that were dropped.
        drops: how many drops are left.
        drops_at: when that was counted.
        cooldown: the pause after the last logins failed.
        refused: the pause for each pair of credentials.
        failed_at: when the last login ended, if it failed.
        failed_until: until when that failure is remembered.
        last_refused: it was a refusal.
        resets: how many resets there were.
    """

    current: Lease | None = None
    installed_at: float = NEVER
    dropped: tuple[Lease, ...] = ()
    drops: float = 3.0
    drops_at: float = 0.0
    cooldown: Pause = Pause()
    refused: tuple[tuple[str, Pause], ...] = ()
    failed_at: float = NEVER
    failed_until: float = NEVER
    last_refused: bool = False
    resets: int = 0

    def drops_left(self, now: float) -> float:
        """The budget: three drops, and one more every 10 s."""
        return min(3.0, self.drops + (now - self.drops_at) / 10)

    def refusal(self, name: str) -> Pause:
        """The pause for these credentials."""
        return dict(self.refused).get(name, Pause())

    def is_pointless(self, name: str, now: float) -> bool:
        """Whether a login with these credentials is known to fail."""
        return now < max(self.cooldown.until, self.refusal(name).until)

    def with_drop(self, now: float) -> History:
        """The current token was dropped."""
        dropped = self.dropped if self.current is None else (*self.dropped, self.current)
        return self._replace(current=None, dropped=dropped, drops=self.drops_left(now) - 1, drops_at=now)

    def with_token(self, lease: Lease, name: str, now: float) -> History:
        """A login brought a token."""
        refused = tuple(pair for pair in self.refused if pair[0] != name)
        after = self._replace(current=lease, installed_at=now, refused=refused, cooldown=Pause())
        return after._replace(failed_at=NEVER, failed_until=NEVER, last_refused=False)

    def with_refusal(self, name: str, now: float) -> History:
        """The server refused these credentials."""
        pause = self.refusal(name).longer(now, 60.0, 900.0)
        refused = tuple(sorted({**dict(self.refused), name: pause}.items()))
        return self._replace(refused=refused).with_failure(pause.until, now, refused=True)

    def with_cooldown(self, now: float, at_least: float) -> History:
        """The server was unavailable, or its answer had no usable token."""
        pause = self.cooldown.longer(now, 1.0, 30.0, at_least)
        return self._replace(cooldown=pause).with_failure(pause.until, now)

    def with_failure(self, until: float, now: float, *, refused: bool = False) -> History:
        """A login failed."""
        return self._replace(failed_at=now, failed_until=until, last_refused=refused)

    def with_nothing_sent(self, now: float) -> History:
        """A login found no credentials, or was a test's own. What was remembered stays."""
        return self._replace(failed_at=now) if now < self.failed_until else self.with_failure(now, now)

    def with_reset(self) -> History:
        """Everything was forgotten."""
        return History(dropped=self.dropped, resets=self.resets + 1)
