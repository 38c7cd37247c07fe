"""least_load against its plain definition, and the boards behind it: always current, and gone when not needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.routing import board
from gateway.routing.board import LoadBoard, Ranking
from gateway.routing.least_load import LeastLoad
from gateway.routing.policies import make_policy
from gateway.routing.policy import Query
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.entry import Entry
from gateway.workers.meters import EngineLoad
from tests.unit.routing_scene import NOW, end, entry, fleet

SETTINGS = RoutingSettings()


def waits(candidates: Sequence[Entry], now: float) -> list[float]:
    """The plain definition: seconds (or requests, where nobody reports) for each candidate."""
    weights = Weights(candidates).each
    told = [c.load if c.load and c.load.waiting is not None and c.load.at >= now - 30 else None for c in candidates]
    speeds = [round(max(2000.0, load.throughput or 0.0)) for load in told if load is not None]
    each = []
    for one, load, weight in zip(candidates, told, weights, strict=True):
        in_flight = one.meters.in_flight
        tie = (in_flight + 1) * 1e-6
        if load is not None:
            assert load.waiting is not None
            queued = max(load.waiting, in_flight - (load.running or 0))
            used = min(load.kv_usage or 0.0, 0.99)
            wait = queued * 1024 / round(max(2000.0, load.throughput or 0.0)) + 0.15 * used / (1 - used) + tie
        else:
            wait = (in_flight + tie) * (1024 * len(speeds) / sum(speeds) if speeds else 1.0)
        each.append(wait / weight)
    return each


class LeastLoadMachine(RuleBasedStateMachine):
    """Workers come and go, work and report; every choice is one of the plain definition's best."""

    @initialize(scanned=st.sampled_from([0, 64]))
    def begin(self, scanned: int) -> None:
        self.was, board.SCANNED = board.SCANNED, scanned
        self.policy, self.now, self.number = LeastLoad(SETTINGS), NOW, 0
        self.all: list[Entry] = []
        self.candidates: tuple[Entry, ...] = ()
        self.join(50)

    def teardown(self) -> None:
        board.SCANNED = self.was

    @rule(priority=st.sampled_from([50, 50, 50, 100, 25]))
    def join(self, priority: int) -> None:
        self.number += 1
        self.all.append(entry(f"w{self.number}", priority=priority))
        self.candidates = tuple(self.all)

    @rule(which=st.integers(0, 20))
    def leave(self, which: int) -> None:
        if len(self.all) > 1:
            self.all.pop(which % len(self.all))
            self.candidates = tuple(self.all)

    @rule()
    def another_fact(self) -> None:
        self.candidates = (*self.candidates,)

    @rule(which=st.integers(0, 20), more=st.integers(-3, 5))
    def work(self, which: int, more: int) -> None:
        one = self.all[which % len(self.all)]
        for _ in range(more):
            one.meters.began()
        for _ in range(min(-more, one.meters.in_flight)):
            end(one)

    @rule(
        which=st.integers(0, 20),
        waiting=st.none() | st.integers(0, 9),
        running=st.none() | st.integers(0, 9),
        usage=st.none() | st.sampled_from([0.0, 0.5, 0.9, 1.0]),
        throughput=st.none() | st.sampled_from([0.0, 500.0, 4000.5]),
    )
    def report(
        self, which: int, waiting: int | None, running: int | None, usage: float | None, throughput: float | None
    ) -> None:
        load = EngineLoad(self.now, running, waiting, usage, throughput)
        self.all[which % len(self.all)].load = load

    @rule(which=st.integers(0, 20))
    def forget_report(self, which: int) -> None:
        self.all[which % len(self.all)].load = None

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(avoided=st.sets(st.integers(0, 20), max_size=3))
    def choose(self, avoided: set[int]) -> None:
        avoid = [c for n, c in enumerate(self.candidates) if n in avoided]
        if len(avoid) == len(self.candidates):
            avoid = []
        if not avoid:
            explained = self.policy.explain(self.candidates, Query(), self.now)
        chosen = self.policy.choose(self.candidates, Query(), self.now, avoid)
        assert chosen in self.candidates
        assert chosen not in avoid
        assert avoid or explained.worker == chosen.worker.id
        plain = waits(self.candidates, self.now)
        best = min(wait for c, wait in zip(self.candidates, plain, strict=True) if c not in avoid)
        assert plain[self.candidates.index(chosen)] == pytest.approx(best, rel=1e-12)
        chosen.meters.began()


TestLeastLoad = LeastLoadMachine.TestCase
TestLeastLoad.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_an_idle_fleet_is_served_in_turn() -> None:
    policy, four = make_policy("least_load", Random(1)), fleet(4)
    assert [policy.choose(four, Query(), NOW).worker.name for _ in range(5)] == ["w0", "w1", "w2", "w3", "w0"]


def test_a_worker_that_has_just_reported_does_not_get_everything() -> None:
    policy, two = make_policy("least_load", Random(1)), fleet(2)
    for one in two:
        for _ in range(8):
            one.meters.began()
        one.load = EngineLoad(NOW, running=8, waiting=0)
    two[0].load = EngineLoad(NOW + 5, running=8, waiting=0)
    taken = []
    for _ in range(10):
        taken.append(policy.choose(two, Query(), NOW + 5))
        taken[-1].meters.began()
    assert taken.count(two[0]) == taken.count(two[1]) == 5


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1.0])
def test_figures_that_no_engine_can_mean_do_no_harm(odd: float) -> None:
    policy, two = make_policy("least_load", Random(1)), fleet(2)
    policy.choose(two, Query(), NOW)
    two[0].load = EngineLoad(NOW, running=0, waiting=0, kv_usage=odd, throughput=odd)
    assert policy.choose(two, Query(), NOW) in two


@dataclass
class Listening:
    told: list[object]

    def moved(self, in_flight: int) -> None:
        self.told.append(in_flight)

    def reported(self, load: EngineLoad | None) -> None:
        self.told.append(load)


def test_mirrors_are_told_of_every_change_of_requests_in_flight_and_of_every_report() -> None:
    one, load = entry(), EngineLoad(NOW)
    listening = Listening([])
    one.meters.mirrors = (listening,)
    one.meters.began()
    one.meters.began()
    end(one)
    one.load = load
    one.load = None
    assert listening.told == [1, 2, 1, load, None]


@pytest.mark.parametrize("name", ["least_load", "cache_aware", "prefix_hash", "bucket"])
def test_a_policy_leaves_the_meters_when_the_fleet_changes_and_when_it_is_dropped(name: str) -> None:
    some = fleet(3)
    first, second = make_policy(name, Random(1)), make_policy(name, Random(1))
    query = Query(text="hello", key="k", size=5)
    first.choose(some, query, NOW)
    second.choose(some, query, NOW)
    assert [len(one.meters.mirrors) for one in some] == [2, 2, 2]
    first.choose(some[:2], query, NOW)
    assert [len(one.meters.mirrors) for one in some] == [2, 2, 1]
    del first
    assert [len(one.meters.mirrors) for one in some] == [1, 1, 1]
    del second
    assert [len(one.meters.mirrors) for one in some] == [0, 0, 0]


def test_a_load_board_follows_the_meters_and_knows_how_far_apart_they_are() -> None:
    some = fleet(3)
    followed = LoadBoard.renewed(None, some)
    for _ in range(7):
        some[1].meters.began()
    some[2].meters.began()
    assert followed.loads == [0, 7, 1]
    assert followed.spread(6) == (7, 0)
    assert followed.spread(7) is None
    assert LoadBoard.renewed(followed, (*some,)) is followed
    for _ in range(5):
        end(some[1])
    assert followed.loads == [0, 2, 1]
    assert followed.spread(2) is None
    assert followed.spread(1) == (2, 0)
    other = LoadBoard.renewed(followed, some[1:])
    some[1].meters.began()
    assert (other.loads, followed.loads) == ([3, 1], [0, 2, 1])
    assert inf not in other.loads


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0, inf])), max_size=60), st.booleans())
def test_a_ranking_finds_the_least_and_takes_equals_in_turn(changes: list[tuple[int, float]], by_heap: bool) -> None:
    was, board.SCANNED = board.SCANNED, 0 if by_heap else 64
    try:
        ranking, plain = Ranking([0.0] * 5), [0.0] * 5
    finally:
        board.SCANNED = was
    for place, score in changes:
        ranking.set(place, score)
        plain[place] = score
        least = ranking.least()
        assert plain[least] == min(plain)
        ranking.took(least)
    equals = {place for place, score in enumerate(plain) if score == min(plain)}
    taken = []
    for _ in equals:
        taken.append(ranking.least())
        ranking.took(taken[-1])
    assert min(plain) == inf or sorted(taken) == sorted(equals)
