"""The contract as invariants, written from its own sentences and not from the policy's code."""

from __future__ import annotations

from collections import defaultdict

from kyc_client._token.lease import Phase
from kyc_client._token.policy import AfterRejection, FailedLogin
from kyc_client.errors import LoginError
from tests.explored.model import Asked, Failed, Landed, Rejected, Used

INVARIANTS = defaultdict(list)
RENEWAL_PAUSE = ASKING_PAUSE = 1.0


class BrokenError(Exception):
    """An invariant does not hold."""

    def __init__(self, invariant) -> None:
        super().__init__(f"{invariant.__name__}: {invariant.__doc__.splitlines()[0]}")


def on(act):
    """Check the function at each act of this kind, before the act enters the history."""

    def register(invariant):
        INVARIANTS[act].append(invariant)
        return invariant

    return register


def judge(world, act) -> None:
    """Check every invariant of an act."""
    for invariant in INVARIANTS[type(act)]:
        if not invariant(world, act, world.history, world.now.monotonic):
            raise BrokenError(invariant)


def works(lease, world) -> bool:
    """Whether there is a token, and it has not expired."""
    return lease is not None and lease.phase(world.now) is not Phase.EXPIRED


# Logins


@on(Asked)
def one_login_at_a_time(world, act, history, now):
    """There is at most one login at a time, whoever asks."""
    return world.flight is None


@on(Asked)
def each_login_has_a_reason(world, act, history, now):
    """A login begins only without a usable token, near its end, or to try other credentials after a 401."""
    lease = history.current
    if not works(lease, world):
        return True
    refused = act.other_than is lease and history.last_refused and now < history.failed_until
    return refused or lease.phase(world.now) is (Phase.SOFT if act.background else Phase.HARD)


@on(Asked)
def nothing_is_renewed_at_once(world, act, history, now):
    """Nothing is renewed in the background within 1 s of its login."""
    return not act.background or now >= history.installed_at + RENEWAL_PAUSE


@on(Asked)
def a_cooldown_sends_nothing(world, act, history, now):
    """During a cool-down nothing is sent."""
    return now >= history.cooldown.until


@on(Asked)
def a_refused_pair_waits(world, act, history, now):
    """A refused pair of credentials is not tried again before its time."""
    return not act.sends or now >= history.refusal(world.configured).until


@on(Asked)
def a_pair_that_was_not_refused_is_tried(world, act, history, now):
    """Other credentials than the refused ones are tried at once."""
    return act.sends or world.configured is None or now < history.refusal(world.configured).until


@on(Asked)
def credentials_are_asked_for_once_a_second(world, act, history, now):
    """While a refusal is remembered, the credentials are asked for at most once a second."""
    refused = history.last_refused and now < history.failed_until
    return not refused or now >= history.failed_at + ASKING_PAUSE


@on(Landed)
def pauses_are_as_promised(world, act, history, now):
    """A cool-down lasts 1 s, doubling to 30 s, or as `Retry-After` asks. A refusal lasts 60 s, doubling to 15 min."""
    if act.failed is None:
        return history.current is not None and history.installed_at == now
    sent = issubclass(act.failed.failure.kind, LoginError)
    return abs(act.failed.until - (history.failed_until if sent else now)) < 1e-6


# Tokens


@on(Used)
def only_the_newest_token_is_used(world, act, history, now):
    """No token is used that was dropped, forgotten or replaced, and none that a login begun before a reset brought."""
    return act.lease is history.current


@on(Used)
def no_expired_token_is_used(world, act, history, now):
    """An expired token is never sent."""
    return works(act.lease, world)


@on(Used)
def no_refused_token_is_sent_again(world, act, history, now):
    """A request that was answered 401 is sent again with another token."""
    return act.lease is not act.other_than


@on(Used)
def soft_tokens_are_renewed(world, act, history, now):
    """The first request inside the soft window starts a renewal, if nothing speaks against it."""
    quiet = now < max(history.installed_at + RENEWAL_PAUSE, history.failed_until, history.failed_at + RENEWAL_PAUSE)
    return act.waited or quiet or world.flight is not None or act.lease.phase(world.now) is not Phase.SOFT


@on(Used)
def hard_tokens_wait(world, act, history, now):
    """Inside the hard window a request waits for the login, unless one has just failed."""
    quiet = now < max(history.failed_until, history.failed_at + RENEWAL_PAUSE)
    return act.waited or quiet or act.lease.phase(world.now) is not Phase.HARD


# Failures


@on(Failed)
def a_failing_renewal_is_not_felt(world, act, history, now):
    """While the old token still works, nobody sees that a login fails."""
    return history.current is act.other_than or not works(history.current, world)


@on(Failed)
def cached_says_that_nothing_was_sent(world, act, history, now):
    """An error is `cached` exactly when nothing was sent for it."""
    return not issubclass(act.failed.failure.kind, LoginError) or act.failed.cached is not act.sent


@on(Failed)
def requests_fail_only_while_a_login_is_pointless(world, act, history, now):
    """A request that did not wait fails only in a cool-down, or for its credentials, or before they are asked for."""
    asked = history.last_refused and now < min(history.failed_until, history.failed_at + ASKING_PAUSE)
    return act.waited or asked or history.is_pointless(world.configured, now)


# 401


@on(Rejected)
def only_the_refused_token_is_dropped(world, act, history, now):
    """A 401 drops the token that the request carried, never a newer one."""
    return world.policy.lease is act.before or (act.before is act.carried and world.policy.lease is None)


@on(Rejected)
def drops_have_a_budget(world, act, history, now):
    """There are three drops, and one more every 10 s."""
    return world.policy.lease is act.before or history.drops_left(now) > 1 - 1e-6


@on(Rejected)
def a_revocation_costs_one_drop(world, act, history, now):
    """The first 401 to the current token drops it, unless the budget is spent or a login is known to be pointless."""
    spent = act.after is AfterRejection.HAND_OVER and history.drops_left(now) < 1
    idle = act.carried is not act.before or not works(act.before, world) or now < history.failed_until
    return world.policy.lease is not act.before or spent or idle


@on(Rejected)
def a_token_stays_while_a_login_is_pointless(world, act, history, now):
    """A 401 while a login is known to be pointless fails that call with that error, and the token stays."""
    if act.carried is not act.before or now >= max(history.cooldown.until, history.failed_until):
        return True
    return world.policy.lease is act.before and act.after is not AfterRejection.HAND_OVER


def a_token_stays_while_its_successor_is_refused(world, act, history, now):
    """A 401 drops no token while the configured credentials are known to be refused, whatever happened since.

    Stricter than the rule above, which looks at the last failure only. The searches do not check it:
    `test_memory_of_refusals` does.
    """
    return not history.is_pointless(world.configured, now) or world.policy.lease is act.before


@on(Rejected)
def a_newer_token_is_used_after_a_401(world, act, history, now):
    """A 401 to an older token changes nothing, and the request is sent again."""
    return act.carried is act.before or act.after is AfterRejection.SEND_AGAIN


# States


def what_is_held_is_the_newest(world) -> None:
    """The policy holds the newest token, and none after a reset, a drop, or a login begun before the reset."""
    if world.policy.lease is not world.history.current:
        raise BrokenError(what_is_held_is_the_newest)


def status_agrees(world) -> None:
    """The status says what the next request meets: the phase, and how long a login is pointless."""
    now, lease = world.now, world.history.current
    status, decision = world.policy.status(now), world.policy.decide(now)
    left = world.history.failed_until - now.monotonic
    good = status.phase == ("none" if lease is None else lease.phase(now).value)
    good &= (status.next_attempt_in is None) if left <= 0 else abs((status.next_attempt_in or 0) - left) < 1e-6
    if decision.failure is not None:
        good &= isinstance(decision.failure, FailedLogin) and status.last_failure is decision.failure.failure.kind
    if not good:
        raise BrokenError(status_agrees)


def all_goes_well(world) -> None:
    """If from here on all goes well, a new request has a token as soon as the remembered pauses are over.

    That takes at most five steps: the login under way, a pause, and a login of its own.
    """
    if world.policy.decide(world.now).lease is not None:
        return
    world = world.copy()
    world.waiters, world.judge, world.configured = (), lambda *_: None, world.configured or "A"
    last = _pauses_end(world) + ASKING_PAUSE
    for _ in range(5):
        decision = world.policy.decide(world.now)
        if decision.lease is not None and world.now.monotonic <= last:
            return
        if decision.failure is not None:
            world.pass_time(_pauses_end(world) - world.now.monotonic)
            continue
        world.request()
        way = "known" if world.flight.known else "no credentials" if world.flight.name is None else "a token of 100 s"
        world.land(way)
    raise BrokenError(all_goes_well)


def _pauses_end(world) -> float:
    history = world.history
    pauses = history.cooldown.until, history.refusal(world.configured).until, history.failed_at + ASKING_PAUSE
    return max(world.now.monotonic, *pauses)


STATES = what_is_held_is_the_newest, status_agrees, all_goes_well
