"""The policy as a function: tables of a state, an event, and what follows. No thread, no clock that runs, no socket."""

from __future__ import annotations

from typing import Any

import pytest

from kyc_client import (
    BadCredentialsError,
    ConfigurationError,
    Credentials,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    UserNotVerifiedError,
)
from kyc_client._clock import Moment
from kyc_client._login.outcome import Failure
from kyc_client._login.raised import Raised
from kyc_client._token.lease import Lease
from kyc_client._token.policy import AfterRejection, Backoff, Decision, Drops, FailedLogin, Policy
from tests.support.tokens import jwt

A = Credentials("fake-user", "fake-password-a")
B = Credentials("fake-user", "fake-password-b")
# A token of 1000 s: soft from 820 s on (1000 - 200 * 0.9), hard from 970 s on.
LIFE = 1000
START = Moment(5_000.0, 1_800_000_000.0)

UNAVAILABLE = Failure(LoginUnavailableError, "The login was answered 503.", {"status_code": 503})
UNUSABLE = Failure(LoginResponseError, "No token.", {"status_code": 200})
BAD = Failure(BadCredentialsError, "Wrong.", {"status_code": 400})
UNVERIFIED = Failure(UserNotVerifiedError, "Not verified.", {"status_code": 400})
NOTHING_SENT = Failure(ConfigurationError, "API_LOGIN is not set")
TEST = Raised(AssertionError("not mocked"))

SEND_AGAIN, HAND_OVER = AfterRejection.SEND_AGAIN, AfterRejection.HAND_OVER
COLD, RENEWAL, REJECTED = Decision(login="cold"), Decision(login="renewal"), Decision(login="rejected")


def at(seconds: float) -> Moment:
    """So many seconds after the start, by both clocks."""
    return Moment(START.monotonic + seconds, START.wall + seconds)


def lease(began: float = 0.0, life: float | None = LIFE) -> Lease:
    """A token whose login began then; without a life, it does not say when it expires."""
    moment = at(began)
    value = "opaque-fake-token" if life is None else jwt(exp=moment.wall + life)
    return Lease(value, issued_at=moment.wall, began=moment, arrived=moment, jitter=0.5)


def with_token(life: float | None = LIFE) -> tuple[Policy, Lease]:
    """A policy whose login has just brought a token."""
    policy, token = Policy(), lease(life=life)
    assert policy.landed(token, A, at(0)) is None
    return policy, token


def failed_at(policy: Policy, seconds: float, failure: Any, credentials: Credentials | None = A) -> FailedLogin:
    """Let a login fail."""
    failed = policy.landed(failure, credentials, at(seconds))
    assert failed is not None
    return failed


# What a request does


@pytest.mark.parametrize(
    ("age", "uses", "login"),
    [
        pytest.param(0, True, None, id="fresh"),
        pytest.param(819, True, None, id="last fresh second"),
        pytest.param(821, True, "renewal", id="soft"),
        pytest.param(969, True, "renewal", id="last soft second"),
        pytest.param(971, False, "renewal", id="hard"),
        pytest.param(999, False, "renewal", id="last hard second"),
        pytest.param(1000, False, "renewal", id="expired"),
        pytest.param(5000, False, "renewal", id="expired for long"),
    ],
)
def test_phases(age: float, login: Any, *, uses: bool) -> None:
    """Fresh: used. Soft: used, and renewed in the background. Hard and expired: waits for a login."""
    policy, token = with_token()
    assert policy.decide(at(age)) == Decision(token if uses else None, login)


def test_without_a_token() -> None:
    """The first request waits for the first login."""
    assert Policy().decide(START) == COLD


@pytest.mark.parametrize("age", [0, LIFE, 10**9])
def test_unknown_lifetime(age: float) -> None:
    """A token that does not say when it expires is used until the API refuses it."""
    policy, token = with_token(life=None)
    assert policy.decide(at(age)) == Decision(token)


@pytest.mark.parametrize(
    ("after", "renews"), [pytest.param(0.99, False, id="not within a second"), pytest.param(1.0, True, id="after it")]
)
def test_no_renewal_within_a_second_of_the_login(after: float, *, renews: bool) -> None:
    """Servers write `exp` in whole seconds: another login in the same second would bring the same end."""
    policy, token = Policy(), lease(life=5)
    policy.landed(token, A, at(4.1))  # A slow login: the token is soft (from 4.1 s on) when it lands.
    assert policy.decide(at(4.1 + 0.1)) == Decision(token)
    policy, token = Policy(), lease(life=100)
    policy.landed(token, A, at(85))
    assert policy.decide(at(85 + after)) == Decision(token, "renewal" if renews else None)


def test_hard_and_expired_wait_within_a_second_of_the_login() -> None:
    """The pause is for the background only."""
    policy, token = Policy(), lease(life=100)
    policy.landed(token, A, at(96))
    assert policy.decide(at(96.5)) == RENEWAL
    assert policy.decide(at(100)) == RENEWAL


@pytest.mark.parametrize(
    ("monotonic", "wall", "login"),
    [
        pytest.param(0, 5000, "renewal", id="suspended"),
        pytest.param(10, 86_400, "renewal", id="wall clock jumps ahead"),
        pytest.param(10, -86_400, None, id="wall clock jumps back"),
        pytest.param(900, -86_400, "renewal", id="wall clock jumps back, soft"),
    ],
)
def test_clocks_that_jump(monotonic: float, wall: float, login: Any) -> None:
    """F5: the clock that counted more decides. A wrong one costs one login at most, because the next token is fresh."""
    policy, _ = with_token()
    now = Moment(START.monotonic + monotonic, START.wall + wall)
    assert policy.decide(now).login == login
    new = Lease(jwt(exp=now.wall + LIFE), issued_at=now.wall, began=now, arrived=now, jitter=0.5)
    policy.landed(new, A, now)
    assert policy.decide(now) == Decision(new)


@pytest.mark.parametrize("age", [900, 980], ids=["soft", "hard"])
def test_clock_that_is_wrong(age: float) -> None:
    """F3: a local clock that is a day wrong and runs evenly changes nothing, because the server's `Date` counts."""
    policy = Policy()
    wrong = Moment(START.monotonic, START.wall - 86_400)
    token = Lease(jwt(exp=START.wall + LIFE), issued_at=START.wall, began=wrong, arrived=wrong, jitter=0.5)
    policy.landed(token, A, wrong)
    assert policy.decide(Moment(wrong.monotonic + 819, wrong.wall + 819)) == Decision(token)
    assert policy.decide(Moment(wrong.monotonic + age, wrong.wall + age)).login == "renewal"


# How a login ends


@pytest.mark.parametrize("failure", [UNAVAILABLE, UNUSABLE], ids=lambda failure: failure.kind.__name__)
def test_cool_down(failure: Failure) -> None:
    """1 s, doubling to 30 s: calls fail at once with the same error. After a success, the next one lasts 1 s again."""
    policy, now = Policy(), 0.0
    for delay in (1, 2, 4, 8, 16, 30, 30):
        failed = failed_at(policy, now, failure)
        assert failed == FailedLogin(failure, at(now + delay).monotonic)
        for later in (0, delay / 2, delay - 0.01):
            assert policy.decide(at(now + later)) == Decision(failure=failed._replace(cached=True))
        now += delay
        assert policy.decide(at(now)) == COLD
    policy.landed(lease(now), A, at(now))
    assert failed_at(policy, now + 1, failure).until == at(now + 2).monotonic


@pytest.mark.parametrize(("asked", "lasts"), [(0.5, 1), (7, 7), (900, 900)])
def test_retry_after_makes_a_cool_down_longer(asked: float, lasts: float) -> None:
    """E13: `Retry-After` never makes it shorter."""
    policy = Policy()
    failed = failed_at(policy, 0, Failure(LoginUnavailableError, "429.", retry_after=asked))
    assert failed.until == at(lasts).monotonic
    assert policy.decide(at(lasts - 0.01)).failure is not None
    assert policy.decide(at(lasts)) == COLD


def test_refusal() -> None:
    """G1, G2: 60 s, doubling to 15 min, for these credentials. Meanwhile they are asked for once a second."""
    policy, now = Policy(), 0.0
    for delay in (60, 120, 240, 480, 900, 900):
        failed = failed_at(policy, now, BAD)
        assert failed == FailedLogin(BAD, at(now + delay).monotonic)
        cached = failed._replace(cached=True)
        assert policy.decide(at(now + 0.99)) == Decision(failure=cached)
        for asked in (1, delay / 2, delay - 1):
            assert policy.decide(at(now + asked)) == COLD
            assert policy.known(A, at(now + asked)) == cached
            assert policy.landed(cached, A, at(now + asked)) == cached
            assert policy.decide(at(now + asked + 0.99)) == Decision(failure=cached)
        now += delay
        assert policy.known(A, at(now)) is None
        assert policy.decide(at(now)) == COLD


def test_other_credentials() -> None:
    """E5: other credentials are not known, and their success leaves the memory of the refused ones."""
    policy = Policy()
    failed = failed_at(policy, 0, BAD)
    assert policy.known(B, at(1)) is None
    token = lease(1)
    policy.landed(token, B, at(1))
    assert policy.decide(at(1)) == Decision(token)
    assert policy.known(A, at(2)) == failed._replace(cached=True)


def test_success_forgets_the_refusal_of_the_same_credentials() -> None:
    """A user who was verified meanwhile starts anew: the next refusal lasts 60 s again."""
    policy = Policy()
    failed_at(policy, 0, UNVERIFIED)
    policy.landed(lease(60), A, at(60))
    assert failed_at(policy, 70, UNVERIFIED).until == at(130).monotonic


def test_memory_of_refusals_is_bounded() -> None:
    """Only the latest 16 are kept, so endless new credentials do not fill the memory."""
    policy = Policy()
    supply = [Credentials("fake-user", f"fake-password-{number}") for number in range(40)]
    for credentials in supply:
        failed_at(policy, 0, Failure(LoginRefusedError, "No."), credentials)
    known = [credentials for credentials in supply if policy.known(credentials, at(1))]
    assert known == supply[-16:]


def test_oldest_refusal_is_forgotten_first() -> None:
    """A refusal that came again is not old."""
    policy = Policy()
    supply = [Credentials("fake-user", f"fake-password-{number}") for number in range(17)]
    for credentials in [*supply[:16], supply[0], supply[16]]:
        failed_at(policy, 0, BAD, credentials)
    assert policy.known(supply[0], at(1))
    assert policy.known(supply[1], at(1)) is None


@pytest.mark.parametrize("failure", [NOTHING_SENT, TEST], ids=["no credentials", "a test's own word"])
def test_what_says_nothing_about_the_server_is_not_remembered(failure: Any) -> None:
    """E3: the next call tries again at once, and works once the cause is gone."""
    policy = Policy()
    failed_at(policy, 0, failure, None)
    assert policy.decide(at(0)) == COLD
    assert policy.status(at(0)).failed_logins == 0


@pytest.mark.parametrize("failure", [UNAVAILABLE, BAD], ids=["cool-down", "refusal"])
def test_what_was_remembered_stays_when_nothing_was_sent(failure: Failure) -> None:
    """E3: the credentials could not be read for a moment. The one caller learns that, and the others the failure."""
    policy = Policy()
    failed = failed_at(policy, 0, failure)
    assert failed_at(policy, 0.5, NOTHING_SENT, None).failure is NOTHING_SENT
    assert policy.decide(at(0.75)) == Decision(failure=failed._replace(cached=True))
    assert policy.status(at(0.75)).last_failure is failure.kind


def test_token_of_unknown_credentials() -> None:
    """It is installed, and no refusal is forgotten for it."""
    policy, token = Policy(), lease()
    failed_at(policy, 0, BAD)
    policy.landed(token, None, at(0))
    assert policy.decide(at(0)) == Decision(token)
    assert policy.known(A, at(0)) is not None


def test_login_without_credentials_that_failed_otherwise_cools_down() -> None:
    """A login that hung in the credentials callable until its deadline."""
    policy = Policy()
    failed_at(policy, 0, UNAVAILABLE, None)
    assert policy.decide(at(0.5)).failure is not None


@pytest.mark.parametrize("age", [900, 980], ids=["soft", "hard"])
@pytest.mark.parametrize(
    ("failure", "pause"),
    [(UNAVAILABLE, 1), (UNUSABLE, 1), (BAD, 60), (NOTHING_SENT, 1)],
    ids=lambda value: getattr(getattr(value, "kind", None), "__name__", None),
)
def test_failed_renewal_is_not_noticed_while_the_token_works(age: float, failure: Failure, pause: float) -> None:
    """F8: the token is used, and the next renewal waits. After that, the phases hold again."""
    policy, token = with_token()
    before = policy.decide(at(age))
    failed_at(policy, age, failure)
    last = min(age + pause, LIFE) - 0.01
    for now in (age, last):
        assert policy.decide(at(now)) == Decision(token)
    if age + pause < LIFE:
        assert policy.decide(at(age + pause)) == before
    assert policy.decide(at(LIFE)).lease is None


# What a 401 does


def test_rejected_token_is_dropped() -> None:
    """The request is sent again, and everyone waits for one login."""
    policy, token = with_token()
    assert policy.rejected(token, at(10)) is SEND_AGAIN
    assert policy.decide(at(10)) == REJECTED
    new = lease(10)
    policy.landed(new, A, at(10))
    assert policy.decide(at(10)) == Decision(new)


def test_late_401_leaves_a_newer_token_alone() -> None:
    """B1, B3: by generation and not by value, because two logins in one second bring the same token."""
    policy, token = with_token(life=None)
    twin = lease(life=None)
    assert policy.rejected(token, at(1)) is SEND_AGAIN
    policy.landed(twin, A, at(1))
    assert twin.token == token.token
    for _ in range(10):
        assert policy.rejected(token, at(1)) is SEND_AGAIN
    assert policy.decide(at(1)) == Decision(twin)


def test_budget_of_drops() -> None:
    """Three at once, one more every 10 s. Without a drop, the 401 goes to the caller and the token stays."""
    policy, token = with_token(life=None)
    drops = []
    for tenth in range(600):
        now = at(tenth / 10)
        if policy.rejected(token, now) is SEND_AGAIN:
            drops.append(tenth / 10)
            token = lease(tenth / 10, life=None)
            policy.landed(token, A, now)
        else:
            assert policy.decide(now) == Decision(token)
    assert drops == [0, 0.1, 0.2, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(("idle", "at_once"), [(0, 0), (9.9, 0), (10, 1), (25, 2), (30, 3), (1000, 3)])
def test_budget_is_refilled_by_time(idle: float, at_once: int) -> None:
    """One drop per 10 s, and never more than three."""
    drops = Drops()
    assert [drops.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [drops.take(100.0 + idle) for _ in range(4)] == [True] * at_once + [False] * (4 - at_once)


@pytest.mark.parametrize("age", [LIFE, 2 * LIFE])
def test_401_to_a_token_that_expired_on_the_way_costs_no_drop(age: float) -> None:
    """A long upload outlives a short token. A login is due anyway."""
    policy, token = with_token()
    for _ in range(10):
        assert policy.rejected(token, at(age)) is SEND_AGAIN
    assert policy.decide(at(age)) == RENEWAL
    policy.landed(lease(age), A, at(age))
    assert [policy.rejected(lease_, at(age)) for lease_ in [policy.lease] if lease_] == [SEND_AGAIN]


@pytest.mark.parametrize("failure", [UNAVAILABLE, UNUSABLE], ids=lambda failure: failure.kind.__name__)
def test_401_in_a_cool_down_takes_the_token_from_no_one(failure: Failure) -> None:
    """F8: the request fails as the login did. The token may still work for others. It costs no drop."""
    policy, token = with_token()
    failed = failed_at(policy, 850, failure)
    for _ in range(10):
        assert policy.rejected(token, at(850.5)) == failed._replace(cached=True)
    assert policy.decide(at(850.5)) == Decision(token)
    assert [policy.rejected(policy.lease or token, at(851)) for _ in range(1)] == [SEND_AGAIN]
    assert policy.decide(at(851)) == REJECTED


def test_401_while_the_credentials_are_known_to_be_refused() -> None:
    """The token stays. Within a second of the last look at the credentials, the request fails with the refusal.

    Later, it waits for a login that looks at them again. New credentials bring a new token.
    """
    policy, token = with_token()
    failed = failed_at(policy, 850, BAD)
    cached = failed._replace(cached=True)
    assert policy.rejected(token, at(850.5)) == cached
    assert policy.rejected(token, at(851)) is SEND_AGAIN
    assert policy.decide(at(851)) == Decision(token)
    assert policy.decide(at(851), other_than=token) == REJECTED
    policy.landed(cached, A, at(851))
    assert policy.usable(at(851), other_than=token) is None
    assert policy.decide(at(851.5), other_than=token) == Decision(failure=cached)
    new = lease(852)
    policy.landed(new, B, at(852))
    assert policy.decide(at(852), other_than=token) == Decision(new)


def test_401_after_the_refusal_has_passed() -> None:
    """The credentials may be right by now, so the token is dropped as ever."""
    policy, token = with_token()
    failed_at(policy, 850, BAD)
    assert policy.rejected(token, at(910)) is SEND_AGAIN
    assert policy.decide(at(910)) == REJECTED


# Reset, status, and the parts


def test_reset_forgets_everything() -> None:
    """Token, refusals, cool-down, and what was spent of the budget."""
    policy, token = with_token()
    for _ in range(3):
        policy.rejected(token, at(1))
        token = lease(1)
        policy.landed(token, A, at(1))
    assert policy.rejected(token, at(1)) is HAND_OVER
    failed_at(policy, 900, BAD)
    failed_at(policy, 900, Failure(LoginUnavailableError, "429.", retry_after=900))
    policy.reset()
    assert policy.resets == 1
    assert policy.decide(at(900)) == COLD
    assert policy.known(A, at(900)) is None
    token = lease(900)
    policy.landed(token, A, at(900))
    assert policy.rejected(token, at(900)) is SEND_AGAIN
    assert failed_at(policy, 900, UNAVAILABLE).until == at(901).monotonic


def test_status() -> None:
    """Phase, end, last failure, next attempt, and the counts, without a secret."""
    policy = Policy()
    assert policy.status(at(0)) == ("none", None, None, None, 0, 0)
    failed_at(policy, 0, BAD)
    assert policy.status(at(20)) == ("none", None, BadCredentialsError, 40, 0, 1)
    assert policy.status(at(60)) == ("none", None, BadCredentialsError, None, 0, 1)
    token = lease(60)
    policy.landed(token, A, at(60))
    seen = [policy.status(at(60 + age)) for age in (0, 900, 980, 1000)]
    assert [status.phase for status in seen] == ["fresh", "soft", "hard", "expired"]
    assert seen[0] == ("fresh", token.token.expires_at, None, None, 1, 1)
    assert token.token.value not in repr(seen)


def test_back_off() -> None:
    """It doubles up to its limit, and is longer only if asked to be. After a long time it begins anew."""
    backoff = Backoff(0.25, 0.75)
    assert [(backoff.extend(100.0), backoff.until)[1] for _ in range(3)] == [100.25, 100.5, 100.75]
    backoff.extend(100.0, 3.0)
    assert backoff.until == 103
    backoff = Backoff(1, 10)
    for now in (0, 100, 200):
        backoff.extend(now)
        assert backoff.until == now + 1
    backoff.extend(211)
    assert backoff.until == 211 + 2


def test_looks_at_the_credentials_have_a_bound() -> None:
    """A 401 while a refusal is remembered looks for new credentials. Each look costs a drop: they may be wrong too."""
    policy, token = with_token()
    failed = failed_at(policy, 850, BAD)
    for second in range(1, 4):
        assert policy.rejected(token, at(850 + 2 * second)) is SEND_AGAIN
    for _ in range(2):
        assert policy.rejected(token, at(857)) == failed._replace(cached=True)
    assert policy.decide(at(857)) == Decision(token)
    assert policy.rejected(token, at(862)) is SEND_AGAIN


def test_error_after_its_time() -> None:
    """A caller that was slow to raise it waits for nothing more."""
    error: Any = FailedLogin(BAD, at(10).monotonic).error(at(11))
    assert error.retry_after == 0
    error = FailedLogin(BAD, at(10).monotonic).error(at(9.75))
    assert error.retry_after == 0.25


def test_counts_go_on() -> None:
    """Over resets, and with each failure."""
    policy = Policy()
    for number in range(1, 4):
        failed_at(policy, 100 * number, UNAVAILABLE)
        assert policy.status(at(100 * number + 0.5)).next_attempt_in == 0.5
        policy.reset()
        assert (policy.resets, policy.status(at(100 * number)).failed_logins) == (number, number)
