"""Planted bugs: each breaks one rule of the policy, or of what drives it, and the search has to find it."""

from __future__ import annotations

from kyc_client._token.lease import Phase
from kyc_client._token.policy import AfterRejection, Decision, FailedLogin, Policy
from tests.explored.model import CREDENTIALS, FAILURES, Used, World


class LateRejectionDropsTheNewerToken(Policy):
    def rejected(self, lease, now):
        if self.lease is not lease:
            self.lease = None
        return super().rejected(lease, now)


class BudgetIsNeverSpent(Policy):
    def rejected(self, lease, now):
        after = super().rejected(lease, now)
        if after is AfterRejection.HAND_OVER:
            self.lease = None
            return AfterRejection.SEND_AGAIN
        return after


class BudgetIsNotRefilled(Policy):
    spent = ""

    def rejected(self, lease, now):
        if self.lease is lease and self.spent == "three":
            return AfterRejection.HAND_OVER
        before, after = self.lease, super().rejected(lease, now)
        if self.lease is not before:
            self.spent = {"": "one", "one": "two"}.get(self.spent, "three")
        return after


class RejectionSpendsTwoDrops(Policy):
    def rejected(self, lease, now):
        before, after = self.lease, super().rejected(lease, now)
        if self.lease is not before:
            self._drops.take(now.monotonic)
        return after


class ResetDoesNotRefillTheBudget(Policy):
    def reset(self):
        drops = self._drops
        super().reset()
        self._drops = drops


class FlightBeforeAResetInstalls(Policy):
    def reset(self):
        super().reset()
        self.resets -= 1


class ExpiredTokenIsUsed(Policy):
    def usable(self, now, *, other_than=None):
        return None if self.lease is other_than else self.lease


class RejectionInACooldownDrops(Policy):
    def rejected(self, lease, now):
        after = super().rejected(lease, now)
        if isinstance(after, FailedLogin):
            self.lease = None
        return after


class RefusalConcernsAllCredentials(Policy):
    def known(self, credentials, now):
        return next(filter(None, (super(type(self), self).known(other, now) for other in CREDENTIALS.values())), None)


class RefusalNeverEnds(Policy):
    def known(self, credentials, now):
        failure, _ = self._refusals.get(credentials, (None, None))
        return failure and FailedLogin(failure, now.monotonic + 1, cached=True)


class RenewedWithinASecond(Policy):
    def decide(self, now, *, other_than=None):
        decision = super().decide(now, other_than=other_than)
        renews = decision.lease is not None and decision.lease.phase(now) is Phase.SOFT and self._failed is None
        return decision._replace(login="renewal") if renews else decision


class HardPhaseWaitsInACooldown(Policy):
    def decide(self, now, *, other_than=None):
        decision = super().decide(now, other_than=other_than)
        hard = decision.lease is not None and decision.lease.phase(now) is Phase.HARD
        return Decision(login="renewal") if hard else decision


class RetryAfterIsIgnored(Policy):
    def landed(self, outcome, credentials, now):
        plain = FAILURES["unavailable"] if outcome is FAILURES["unavailable, Retry-After: 45"] else outcome
        return super().landed(plain, credentials, now)


class RememberedFailureIsNotCached(Policy):
    def decide(self, now, *, other_than=None):
        decision = super().decide(now, other_than=other_than)
        return decision if decision.failure is None else Decision(failure=decision.failure._replace(cached=False))


class WaiterUsesWhatItWasHanded(World):
    def look_again(self, index):
        flight, other_than = self.waiters[index]
        if flight.lease is None:
            super().look_again(index)
        else:
            self.waiters = self.waiters[:index] + self.waiters[index + 1 :]
            self._use(Used(flight.lease, other_than, waited=True))


# Each bug, the search that finds it, and the invariant that it breaks.
PLANTED = (
    (LateRejectionDropsTheNewerToken, "401", "only_the_refused_token_is_dropped"),
    (BudgetIsNeverSpent, "401", "drops_have_a_budget"),
    (BudgetIsNotRefilled, "401", "a_revocation_costs_one_drop"),
    (RejectionSpendsTwoDrops, "401", "a_revocation_costs_one_drop"),
    (ResetDoesNotRefillTheBudget, "401", "a_revocation_costs_one_drop"),
    (FlightBeforeAResetInstalls, "401", "what_is_held_is_the_newest"),
    (WaiterUsesWhatItWasHanded, "401", "only_the_newest_token_is_used"),
    (ExpiredTokenIsUsed, "clocks", "no_expired_token_is_used"),
    (RenewedWithinASecond, "clocks", "nothing_is_renewed_at_once"),
    (HardPhaseWaitsInACooldown, "clocks", "a_cooldown_sends_nothing"),
    (RejectionInACooldownDrops, "failures", "a_token_stays_while_a_login_is_pointless"),
    (RefusalConcernsAllCredentials, "failures", "all_goes_well"),
    (RefusalNeverEnds, "failures", "all_goes_well"),
    (RetryAfterIsIgnored, "failures", "pauses_are_as_promised"),
    (RememberedFailureIsNotCached, "failures", "cached_says_that_nothing_was_sent"),
)
