"""The hash ring and the policies on it: who owns a key, who takes over, and what that costs the other keys."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.routing.consistent_hashing import ConsistentHashing
from gateway.routing.policy import Query
from gateway.routing.prefix_hash import PrefixHash
from gateway.routing.ring import JOINED_AT_ONCE, POINTS, Ring, Seats, place_of, points_of
from gateway.routing.settings import RoutingSettings
from gateway.workers.entry import Entry
from tests.unit.routing_scene import NOW, end, entry, fleet


def on_ring(ring: Ring, place: int) -> list[int]:
    return list(ring.clockwise(place))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=20), st.integers(0, 2**64 - 1))
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_ring_that_grew_and_shrank_is_the_one_built_of_those_that_stayed(
    changes: list[tuple[bool, int]], place: int
) -> None:
    workers = [entry(f"w{n}", priority=10 + 10 * n).worker for n in range(8)]
    ring, there = Ring(), set()
    for joins, which in changes:
        if joins:
            ring.put(workers[which])
            there.add(which)
        else:
            ring.take(workers[which].id)
            there.discard(which)
    fresh = Ring()
    names = {fresh.put(workers[which]): which for which in there}
    numbers = {ring.number(workers[which]): which for which in there}
    assert [numbers[one] for one in on_ring(ring, place)] == [names[one] for one in on_ring(fresh, place)]
    assert ring.points == fresh.points == sum(points_of(workers[which]) for which in there)


def test_points_go_by_weight_within_bounds() -> None:
    assert points_of(entry().worker) == POINTS
    assert points_of(entry(priority=100).worker) == 2 * POINTS
    assert points_of(entry(priority=0).worker) == 3
    assert points_of(entry(priority=1, cost=1000.0).worker) == 1
    assert points_of(entry(cost=0.0).worker) == 10 * POINTS


class RingMachine(RuleBasedStateMachine):
    """Workers join, leave, start anew and are avoided; the owner is always the next candidate on a fresh ring."""

    @initialize()
    def begin(self) -> None:
        self.policy, self.number = ConsistentHashing(Random(1)), 0
        self.all: list[Entry] = []
        self.join(50)

    @rule(priority=st.sampled_from([50, 50, 100, 10]))
    def join(self, priority: int) -> None:
        self.number += 1
        self.all.append(entry(f"w{self.number}", priority=priority))
        self.candidates = tuple(self.all)

    @rule(which=st.integers(0, 20), gone=st.booleans())
    def leave(self, which: int, gone: bool) -> None:
        if len(self.all) > 1:
            one = self.all.pop(which % len(self.all))
            self.candidates = tuple(self.all)
            if gone:
                self.policy.forget(one.worker.id)

    @rule(which=st.integers(0, 20))
    def start_anew(self, which: int) -> None:
        self.policy.forget(self.all[which % len(self.all)].worker.id)

    @rule(which=st.integers(0, 20), priority=st.sampled_from([50, 25]))
    def patch(self, which: int, priority: int) -> None:
        one = self.all[which % len(self.all)]
        one.worker = entry(one.worker.name, priority=priority).worker
        self.candidates = (*self.candidates,)

    @rule(key=st.text(min_size=1, max_size=3), avoided=st.sets(st.integers(0, 9), max_size=3))
    def choose(self, key: str, avoided: set[int]) -> None:
        self.policy._seats.adopt(self.candidates)
        while not self.policy._seats.complete:
            self.policy.tend(NOW)
        avoid = [c for n, c in enumerate(self.candidates) if n in avoided]
        if len(avoid) == len(self.candidates):
            avoid = []
        fresh = Ring()
        owners = {fresh.put(one.worker): one for one in self.candidates}
        expected = next(one for n in on_ring(fresh, place_of(key.encode())) if (one := owners[n]) not in avoid)
        if not avoid:
            assert self.policy.explain(self.candidates, Query(key=key), NOW).worker == expected.worker.id
        assert self.policy.choose(self.candidates, Query(key=key), NOW, avoid) is expected


TestRing = RingMachine.TestCase
TestRing.settings = hypothesis_settings(max_examples=30, stateful_step_count=30, deadline=None)


def owners(policy: ConsistentHashing, candidates: tuple[Entry, ...], avoid: tuple[Entry, ...] = ()) -> dict[str, Entry]:
    keys = [f"user-{n}" for n in range(3000)]
    return {key: policy.choose(candidates, Query(key=key), NOW, avoid) for key in keys}


def test_keys_are_spread_by_weight_and_only_those_of_a_lost_worker_move() -> None:
    policy, ten = ConsistentHashing(Random(1)), (*fleet(8), entry("heavy", priority=100), entry("light", priority=25))
    before = owners(policy, ten)
    counts = Counter(one.worker.name for one in before.values())
    assert all(150 < counts[f"w{n}"] < 450 for n in range(8))
    assert counts["heavy"] > 420 > 200 > counts["light"]
    assert owners(policy, ten, (ten[0],)) == owners(policy, ten[1:])
    after = owners(policy, ten[1:])
    assert {key for key in before if after[key] is not before[key]} == {
        key for key, one in before.items() if one is ten[0]
    }
    assert owners(policy, ten) == before


def test_two_gateways_agree_however_their_workers_came() -> None:
    ten = fleet(10)
    there, here = ConsistentHashing(Random(1)), ConsistentHashing(Random(2))
    owners(there, ten[5:])
    assert owners(there, tuple(reversed(ten))) == owners(here, ten)


def test_the_routing_key_goes_before_the_caller_and_without_either_the_lot_decides() -> None:
    policy, ten = ConsistentHashing(Random(1)), fleet(10)
    by_key = policy.choose(ten, Query(key="a"), NOW)
    assert all(policy.choose(ten, Query(key="a", caller=f"c{n}"), NOW) is by_key for n in range(20))
    by_caller = policy.choose(ten, Query(caller="a"), NOW)
    assert by_caller is by_key
    assert policy.explain(ten, Query(caller="a"), NOW).why.startswith("the caller's place on the ring is ")
    assert len({policy.choose(ten, Query(), NOW) for _ in range(100)}) > 5


def test_a_large_fleet_joins_the_ring_in_slices() -> None:
    seats, many = Seats(), fleet(25)
    seats.adopt(many)
    assert not seats.complete
    assert seats.so_far == f" (of 25 workers {JOINED_AT_ONCE} are on the ring yet)"
    seats.go_on()
    seats.go_on()
    assert seats.complete
    assert seats.so_far == ""


def test_a_key_of_any_characters_has_a_place() -> None:
    two = fleet(2)
    for key in ("", "\ud800", "é", "x" * 100_000):
        assert ConsistentHashing(Random(1)).choose(two, Query(key=key), NOW) in two
        assert PrefixHash(RoutingSettings()).choose(two, Query(text=key), NOW) in two
    assert PrefixHash(RoutingSettings()).choose(two, Query(tokens=[-1]), NOW) in two


# --- prefix_hash ---


def test_prompts_that_begin_alike_go_to_the_same_worker() -> None:
    policy, ten = PrefixHash(RoutingSettings(prefix_token_count=4)), fleet(10)
    homes = {policy.choose(ten, Query(text="0123456789abcdef" + tail), NOW) for tail in ("", "x", "y" * 99)}
    assert len(homes) == 1
    assert len({policy.choose(ten, Query(text=f"{n:>15}{n % 10}"), NOW) for n in range(100)}) > 5
    homes = {policy.choose(ten, Query(tokens=[1, 2, 3, 4, *tail]), NOW) for tail in ([], [5], [6] * 99)}
    assert len(homes) == 1


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.text(max_size=3), st.booleans())
def test_a_prefix_stays_at_home_until_that_is_loaded_above_the_average(
    loads: list[int], text: str, changed: bool
) -> None:
    policy, some = PrefixHash(RoutingSettings()), fleet(len(loads))
    home = policy.choose(some, Query(text=text), NOW)
    for one, load in zip(some, loads, strict=True):
        for _ in range(load):
            one.meters.began()
    if changed:
        some[0].meters.began()
        end(some[0])
        some = (*some,)
    chosen = policy.choose(some, Query(text=text), NOW)
    load = home.meters.in_flight
    if text and (load <= 10 or load <= 1.25 * (sum(loads) + 1) / len(loads)):
        assert chosen is home
    else:
        assert chosen.meters.in_flight == min(loads)


@pytest.mark.parametrize(
    ("text", "busy", "why"),
    [
        ("", False, "the request has no prompt; least in flight for its weight (0)"),
        (
            "hello",
            False,
            "the prompt's first characters or tokens belong to it, and its load (0 in flight) is not above",
        ),
        ("hello", True, "above 26.25, which is 1.25 times the average; least in flight for its weight (0)"),
    ],
)
def test_the_explanation_of_prefix_hash_tells_the_numbers(text: str, busy: bool, why: str) -> None:
    policy, two = PrefixHash(RoutingSettings()), fleet(2)
    home = policy.choose(two, Query(text=text), NOW)
    for _ in range(41 if busy else 0):
        home.meters.began()
    assert why in policy.explain(two, Query(text=text), NOW).why
