"""The policy in all orders of its events: no invariant of the contract breaks, and each planted bug is found.

Together, the searches look at 28,000 states by way of 97,000 transitions. Each puts the events of one theme into
every order, as deep as its rules go. States that differ only in a distant past count as one (`shape`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kyc_client._token.policy import Policy
from tests.explored.invariants import BrokenError, a_token_stays_while_its_successor_is_refused
from tests.explored.model import FAILURES, TOKENS, Rejected, World
from tests.explored.planted import PLANTED
from tests.explored.search import EVENTS, explore, replay

if TYPE_CHECKING:
    from collections.abc import Iterator


class Search(NamedTuple):
    """Events, how many of them make the longest way, and how many states there are at least."""

    depth: int
    states: int
    events: list[str]


def _ends(*ways: str) -> list[str]:
    return [f"the login ends: {way}" for way in ways]


REQUEST, LOOKS = "a request comes", "the first waiter looks again"
EARLY, LATE = "401 to the token used last", "401 to a token used earlier"
SOFT, HARD, EXPIRES = "the token gets soft", "the token gets hard", "the token expires"
A, B, NONE = "credentials A are configured", "credentials B are configured", "no credentials can be read"

SEARCHES = {
    "all events": Search(6, 11_000, list(EVENTS)),
    "401": Search(
        16,
        900,
        [
            *(REQUEST, EARLY, LATE, LOOKS, "the second waiter looks again", "reset", "fork", "10 s pass"),
            *_ends("a token of unknown lifetime"),
        ],
    ),
    "failures": Search(
        8,
        9_000,
        [
            *(REQUEST, EARLY, LATE, LOOKS, A, B, NONE, SOFT, "1 s pass", "60 s pass"),
            *_ends("a token of 100 s", "known", *FAILURES),
        ],
    ),
    "clocks": Search(
        7,
        4_000,
        [
            *(REQUEST, LOOKS, "reset", SOFT, HARD, EXPIRES, "0.5 s pass", "10 s pass"),
            *("the machine sleeps for 90 s", "the wall clock jumps back"),
            *_ends(*TOKENS, "unavailable", "silence"),
        ],
    ),
}

# Orders of events after which the configured credentials are known to be refused, and a 401 comes.
REFUSED_THEN_NONE = [
    *(REQUEST, *_ends("a token of 100 s"), LOOKS),
    *(SOFT, REQUEST, *_ends("refused"), "1 s pass"),
    *(NONE, EARLY, *_ends("no credentials")),
    *(A, EARLY),
]
REFUSED_THEN_OTHERS = [
    *(REQUEST, *_ends("refused"), B, "1 s pass"),
    *(REQUEST, *_ends("a token of 100 s"), LOOKS),
    *(A, EARLY),
]


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Do not measure coverage here: it makes a search four times slower, and other tests cover the policy."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.mark.parametrize("name", SEARCHES)
def test_no_invariant_breaks(name):
    """Whatever the order of the events, every invariant holds, and from each state a request gets a token."""
    depth, least, events = SEARCHES[name]
    found = explore(events, depth)
    went = f"{name}, {depth} events deep: {found.states:,} states, {found.transitions:,} transitions"
    print(went)  # noqa: T201 - shown with -s, and if the test fails
    assert not found.broken, str(found)
    assert found.states >= least


@pytest.mark.parametrize(("bug", "name", "invariant"), PLANTED, ids=[bug.__name__ for bug, *_ in PLANTED])
def test_a_planted_bug_is_found(bug, name, invariant):
    """A policy with one wrong rule, or a request that does not look again, breaks the invariant of that rule."""
    world_class = type("Planted", (World,), {"policy_class": bug}) if issubclass(bug, Policy) else bug
    found = explore(SEARCHES[name].events, SEARCHES[name].depth, world_class)
    assert found.broken, "not found"
    assert found.broken.startswith(f"{invariant}:"), str(found)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(REFUSED_THEN_NONE, id="no credentials meanwhile"),
        pytest.param(
            REFUSED_THEN_OTHERS,
            id="other credentials meanwhile",
            # The policy cannot know which credentials come next. Those that worked last are its best guess.
            marks=pytest.mark.xfail(raises=BrokenError, strict=True, reason="the refused credentials come back unseen"),
        ),
    ],
)
def test_memory_of_refusals(events):
    """A 401 drops no token while the configured credentials are known to be refused, whatever happened since."""
    strict = a_token_stays_while_its_successor_is_refused

    def judge(world, act) -> None:
        if isinstance(act, Rejected) and not strict(world, act, world.history, world.now.monotonic):
            raise BrokenError(strict)

    replay(events, judge)
