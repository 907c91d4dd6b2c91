"""Every order of events, breadth first: each state is reached by its shortest way, and looked at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kyc_client._login.answer import Failure
from kyc_client._login.raised import Raised
from kyc_client._token.lease import Lease
from tests.explored.invariants import STATES, BrokenError, judge
from tests.explored.model import DEADLINE, FAILURES, MOST_WAITERS, TOKENS, World

if TYPE_CHECKING:
    from collections.abc import Callable


class Event(NamedTuple):
    """An event: whether it is possible in a world, and what it does to it."""

    possible: Callable[[World], bool]
    do: Callable[[World], None]


def _lands(way: str) -> Event:
    def possible(world) -> bool:
        flight = world.flight
        if flight is None or way == "silence":
            return flight is not None
        if (flight.known is not None) != (way == "known") or (flight.name is None) != (way == "no credentials"):
            return False
        in_time = world.now.monotonic < flight.began.monotonic + DEADLINE
        return in_time or way in {"silence", "unavailable", "known"}

    return Event(possible, lambda world: world.land(way))


def _passes(seconds: float, wall: float | None = None) -> Event:
    return Event(lambda _: True, lambda world: world.pass_time(seconds, wall))


def _reaches(share: float) -> Event:
    return Event(lambda world: world.seconds_to(share) > 0, lambda world: world.pass_time(world.seconds_to(share)))


def _looks(index: int) -> Event:
    def possible(world) -> bool:
        return len(world.waiters) > index and world.waiters[index].flight.landed

    return Event(possible, lambda world: world.look_again(index))


def _has_room(world) -> bool:
    return len(world.waiters) < MOST_WAITERS


def _configured(name: str | None) -> Event:
    def do(world) -> None:
        world.configured = name

    return Event(lambda world: world.configured != name, do)


EVENTS = {
    "a request comes": Event(_has_room, lambda world: world.request()),
    "401 to the token used last": Event(
        lambda world: _has_room(world) and world.carried is not None, lambda world: world.answer_401(world.carried)
    ),
    "401 to a token used earlier": Event(
        lambda world: _has_room(world) and world.older is not None, lambda world: world.answer_401(world.older)
    ),
    "the first waiter looks again": _looks(0),
    "the second waiter looks again": _looks(1),
    **{f"the login ends: {way}": _lands(way) for way in (*TOKENS, *FAILURES, "known", "silence")},
    "credentials A are configured": _configured("A"),
    "credentials B are configured": _configured("B"),
    "no credentials can be read": _configured(None),
    "reset": Event(lambda _: True, lambda world: world.reset()),
    "fork": Event(lambda world: world.flight is not None, lambda world: world.fork()),
    **{f"{seconds:g} s pass": _passes(seconds) for seconds in (0.5, 1, 10, 60)},
    "the token gets soft": _reaches(0.20),
    "the token gets hard": _reaches(0.05),
    "the token expires": _reaches(0.0),
    "the machine sleeps for 90 s": _passes(0.0, 90.0),
    "the wall clock jumps ahead": _passes(0.0, 3600.0),
    "the wall clock jumps back": _passes(0.0, -3600.0),
}


class Found(NamedTuple):
    """What a search has found."""

    states: int
    transitions: int
    broken: str | None
    events: list[str]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {event}" for number, event in enumerate(self.events, 1))
        return f"{self.broken}\nafter {len(self.events)} events:\n{steps}"


def explore(events, depth: int, world_class=World) -> Found:
    """Go every way of at most so many events, and stop at the first broken invariant."""
    start = world_class(judge)
    came_from = {shape(start): None}
    frontier, transitions = [(shape(start), start)], 0
    for _ in range(depth):
        reached = []
        for key, world in frontier:
            for event in events:
                possible, do = EVENTS[event]
                if not possible(world):
                    continue
                transitions += 1
                new = world.copy()
                try:
                    do(new)
                    new_key = shape(new)
                    if new_key in came_from:
                        continue
                    for invariant in STATES:
                        invariant(new)
                except BrokenError as broken:
                    return Found(len(came_from), transitions, str(broken), [*_way(came_from, key), event])
                came_from[new_key] = key, event
                reached.append((new_key, new))
        frontier = reached
    return Found(len(came_from), transitions, None, [])


def replay(events, judge) -> None:
    """Go one way only: a counterexample that is known."""
    world = World(judge)
    for event in events:
        possible, do = EVENTS[event]
        assert possible(world), event
        do(world)


def _way(came_from, key) -> list[str]:
    events = []
    while came_from[key] is not None:
        key, event = came_from[key]
        events.append(event)
    return events[::-1]


def shape(world) -> tuple:
    """What tells states apart: times count from now, counters do not count, and a token is current or it is not.

    It is coarse where the past is long. So a search may leave out a way, but each way that it reports is possible.
    """
    now, lease, history = world.now, world.policy.lease, world.history
    flight = world.flight and (_flight(world.flight, world), now.monotonic - world.flight.began.monotonic)
    waiters = sorted((_flight(w.flight, world), _rank(w.other_than, lease)) for w in world.waiters)
    carried = _rank(world.carried, lease), _rank(world.older, lease)
    past = (
        round(history.drops_left(now.monotonic), 2),
        history.current is lease,
        _shape((history.cooldown, history.refused, history.failed_at, history.failed_until), now),
        history.last_refused,
        now.monotonic - history.installed_at < 1,
    )
    return _shape(world.policy, now), world.configured, flight, tuple(waiters), carried, past


def _rank(lease, current) -> int:
    return 0 if lease is None else 2 if lease is current else 1


def _flight(flight, world) -> tuple:
    lease = _rank(flight.lease, world.policy.lease)
    failed = str(_shape(flight.failed, world.now))
    return str(flight.name), flight.known is None, flight.landed, flight.resets == world.policy.resets, lease, failed


def _shape(value, now):
    if isinstance(value, float):
        return _time(value, now.monotonic) if abs(value) > 100_000 else value
    if isinstance(value, Lease):
        monotonic, wall = value.fresh_until
        return _time(monotonic, now.monotonic), _time(wall, now.wall), value.phase(now).value
    if isinstance(value, Failure | Raised):
        return value.kind.__name__
    if hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return tuple([_shape(item, now) for item in value])
    return value if isinstance(value, bool | str) else None  # A number that is no time counts something.


def _time(value: float, now: float) -> float:
    left = round(value - now, 2)
    return left if left > 0 else 0.0 if left > -30 else -30.0
