"""bucket: which range of lengths a request falls in, how ranges are drawn, and when the load decides instead."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.routing.bucket import SAMPLE, Bucket, Lengths, bounds_of, first_bounds
from gateway.routing.policy import Query
from gateway.routing.settings import RoutingSettings
from gateway.routing.weights import Weights
from gateway.workers.entry import Entry
from tests.unit.routing_scene import NOW, end, entry, fleet

CALM = RoutingSettings(balance_abs_threshold=10**9)
"""The load never decides."""


def test_the_first_ranges_part_4096_characters_by_weight() -> None:
    assert first_bounds([1.0, 1.0, 1.0, 1.0]) == [1024, 2048, 3072]
    assert first_bounds([1.5, 0.5]) == [3072]
    assert first_bounds([1.0]) == []


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60), st.lists(st.floats(0.1, 3), min_size=1, max_size=6))
def test_each_range_holds_no_more_than_its_share_and_one_request(lengths: list[int], weights: list[float]) -> None:
    bounds = bounds_of(lengths, weights)
    assert bounds == sorted(bounds)
    assert len(bounds) == len(weights) - 1
    for n, bound in enumerate(bounds):
        below = [one for one in lengths if one < bound]
        assert sum(below) <= sum(lengths) * sum(weights[: n + 1]) / sum(weights) + 1e-6


def test_short_and_long_requests_go_to_different_workers_and_ranges_follow_what_came() -> None:
    policy, two = Bucket(CALM), fleet(2)
    assert policy.choose(two, Query(size=2048), NOW) is two[0]
    assert policy.choose(two, Query(size=2049), NOW) is two[1]
    for _ in range(10):
        policy.choose(two, Query(size=10_000), NOW)
    for _ in range(10):
        policy.choose(two, Query(size=30_000), NOW)
    assert policy.choose(two, Query(size=10_000), NOW + 4.9) is two[1]
    policy.tend(NOW + 5)
    assert policy.choose(two, Query(size=10_000), NOW + 5) is two[0]
    assert policy.choose(two, Query(size=30_000), NOW + 5) is two[0]
    assert policy.choose(two, Query(size=30_001), NOW + 5) is two[1]


def test_where_all_requests_are_of_one_length_all_workers_share_its_range() -> None:
    policy, three = Bucket(CALM), fleet(3)
    for _ in range(30):
        one = policy.choose(three, Query(size=500), NOW)
        one.meters.began()
        end(one)
    taken = []
    for _ in range(4):
        taken.append(policy.choose(three, Query(size=500), NOW + 6))
        taken[-1].meters.began()
    assert set(taken) == set(three[:2])  # the last range is for what is longer


def test_a_sample_of_lengths_stays_small_and_even() -> None:
    lengths = Lengths()
    for number in range(50_000):
        lengths.add(number)
    assert SAMPLE / 2 - 1 <= len(lengths.kept) <= SAMPLE
    assert sum(lengths.kept) / len(lengths.kept) == pytest.approx(25_000, rel=0.05)


class BucketMachine(RuleBasedStateMachine):
    """Requests of two sizes begin and end; the characters outstanding are reckoned by hand."""

    @initialize()
    def begin(self) -> None:
        self.settings = RoutingSettings(balance_abs_threshold=300)
        self.policy, self.now, self.number = Bucket(self.settings), NOW, 0
        self.all: list[Entry] = []
        self.outstanding: dict[Entry, float] = {}
        self.lengths: list[int] = []
        self.adjusted: float | None = None
        for _ in range(3):
            self.join(50)

    @rule(priority=st.sampled_from([50, 100]))
    def join(self, priority: int) -> None:
        self.number += 1
        self.all.append(entry(f"w{self.number}", priority=priority))
        self.outstanding[self.all[-1]] = 0.0
        self.renew()

    @rule(which=st.integers(0, 20))
    def leave(self, which: int) -> None:
        if len(self.all) > 1:
            del self.outstanding[self.all.pop(which % len(self.all))]
            self.renew()

    @rule()
    def renew(self) -> None:
        self.candidates = tuple(self.all)
        self.choose(1, set())

    @rule(which=st.integers(0, 20))
    def finish(self, which: int) -> None:
        one = self.all[which % len(self.all)]
        if (before := one.meters.in_flight) > 0:
            end(one)
            self.outstanding[one] *= (before - 1) / before

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(size=st.sampled_from([100, 100, 700, 1500, 5000]), avoided=st.sets(st.integers(0, 9), max_size=2))
    def choose(self, size: int, avoided: set[int]) -> None:
        avoid = [c for n, c in enumerate(self.candidates) if n in avoided]
        if len(avoid) == len(self.candidates):
            avoid = []
        explained = None if avoid else self.policy.explain(self.candidates, Query(size=size), self.now)
        chosen = self.policy.choose(self.candidates, Query(size=size), self.now, avoid)
        loads = {one: self.outstanding[one] / w for one, w in self.weights().items()}
        lopsided = max(loads.values()) - min(loads.values()) > 300 and max(loads.values()) > 1.5 * min(loads.values())
        free = {one: load for one, load in loads.items() if one not in avoid}
        fewest = [one for one, load in free.items() if load == pytest.approx(min(free.values()), rel=1e-9, abs=1e-6)]
        board = self.policy._board
        assert board is not None
        home = self.candidates[sum(1 for bound in board.bounds if bound < size)]
        shared = board.bounds.count(size) > 1  # several ranges end there: any of their workers will do
        if lopsided or (home in avoid and not shared):
            assert chosen in fewest
        elif not shared:
            assert chosen is home
        assert explained is None or explained.worker == chosen.worker.id
        self.outstanding[chosen] += size
        chosen.meters.began()

    def weights(self) -> dict[Entry, float]:
        return dict(zip(self.candidates, Weights(self.candidates).each, strict=True))


TestBucket = BucketMachine.TestCase
TestBucket.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize(
    ("size", "busy", "why"),
    [
        (100, 0, "its range of lengths is from 0 to 2,048 characters, and the request has 100"),
        (9000, 0, "its range of lengths is from 2,048 up characters, and the request has 9,000"),
        (9000, 1, "the characters outstanding are lopsided (from 0 to 50,000 at a worker); it has the fewest (0)"),
    ],
)
def test_the_explanation_tells_the_range_or_the_load(size: int, busy: int, why: str) -> None:
    policy, two = Bucket(RoutingSettings()), fleet(2)
    for _ in range(busy):
        policy.choose(two, Query(size=50_000), NOW).meters.began()
    assert policy.explain(two, Query(size=size), NOW).why == why


def test_a_worker_that_starts_anew_has_nothing_outstanding() -> None:
    policy, two = Bucket(RoutingSettings()), fleet(2)
    busy = policy.choose(two, Query(size=50_000), NOW)
    busy.meters.began()
    policy.forget(busy.worker.id)
    assert "range" in policy.explain(two, Query(size=9000), NOW).why
