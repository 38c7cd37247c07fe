"""The routing policies: tables for what they prefer, properties for what they may never do."""

import gc
import time
from dataclasses import replace
from random import Random
from types import FunctionType, ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.policies import DEFAULT_POLICY, POLICY_NAMES, make_policy
from gateway.routing.policy import Query
from gateway.routing.power_of_two import PowerOfTwo, better, expected_waits, pressure
from gateway.routing.round_robin import RoundRobin
from gateway.workers.entry import Entry
from gateway.workers.meters import EngineLoad
from gateway.workers.model import WorkerId
from tests.unit.routing_scene import NOW, entry, fleet


def worker(
    in_flight: int = 0,
    *,
    waiting: int | None = None,
    running: int | None = None,
    usage: float | None = None,
    at: float = NOW,
    silent: bool = False,
) -> Entry:
    load = None if silent else EngineLoad(at, running=running, waiting=waiting, kv_usage=usage)
    made = entry(in_flight=in_flight)
    made.load = load
    return made


FIRST, SECOND = 0, 1
COMPARE_ALL = {"least_load", "cache_aware", "bucket"}
"""Policies that look at every candidate's load."""


@pytest.mark.parametrize(
    ("one", "other", "chosen"),
    [
        # queue depths, both reported
        (worker(waiting=3), worker(waiting=5), FIRST),
        (worker(waiting=5), worker(waiting=3), SECOND),
        (worker(9, waiting=0, running=9), worker(0, waiting=2, running=4), FIRST),
        # what was sent since the report counts as waiting
        (worker(9, waiting=0, running=4), worker(4, waiting=0, running=4), SECOND),
        (worker(4, waiting=0, running=4), worker(9, waiting=0, running=4), FIRST),
        # the cache's pressure, where both report it
        (worker(waiting=0, usage=0.95), worker(waiting=0, usage=0.20), SECOND),
        (worker(waiting=0, usage=0.95), worker(waiting=5, usage=0.20), FIRST),
        (worker(2, waiting=0, running=2, usage=0.95), worker(1, waiting=0, running=1), SECOND),
        # one of them is silent, or says nothing of its queue, or spoke long ago: in flight decides
        (worker(2, waiting=0), worker(1, silent=True), SECOND),
        (worker(1, waiting=90), worker(2, silent=True), FIRST),
        (worker(1, waiting=90), worker(2, running=1), FIRST),
        (worker(1, waiting=90), worker(2, waiting=0, at=NOW - 31), FIRST),
        (worker(1, waiting=90, at=NOW - 31), worker(2, waiting=0), FIRST),
        # ties: fewer in flight, then the first
        (worker(3, waiting=1, running=9), worker(2, waiting=1, running=9), SECOND),
        (worker(2, waiting=1, running=9), worker(2, waiting=1, running=9), FIRST),
        (worker(2, silent=True), worker(2, silent=True), FIRST),
    ],
)
def test_power_of_two_prefers_the_shorter_expected_wait(one: Entry, other: Entry, chosen: int) -> None:
    assert better(one, other, NOW - 30) is (one, other)[chosen]


def test_a_missing_figure_is_never_taken_for_zero() -> None:
    assert expected_waits(worker(waiting=1), worker(running=1), 0.0) is None
    assert expected_waits(worker(waiting=1, usage=0.5), worker(waiting=1), 0.0) == (1.0, 1.0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_pressure_grows_with_usage_and_stays_finite(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= pressure(low) <= pressure(high) < 20


@given(st.floats(allow_nan=False))
def test_pressure_survives_reports_outside_0_and_1(usage: float) -> None:
    assert 0 <= pressure(usage) < 20


workers = st.lists(
    st.builds(
        worker,
        st.integers(0, 50),
        waiting=st.none() | st.integers(0, 50),
        running=st.none() | st.integers(0, 50),
        usage=st.none() | st.floats(0, 1),
        at=st.sampled_from([NOW, NOW - 100]),
        silent=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(st.sampled_from(POLICY_NAMES), workers, st.integers())
def test_no_policy_chooses_outside_the_candidates(name: str, some: list[Entry], seed: int) -> None:
    policy = make_policy(name, Random(seed))
    assert policy.name == name
    for _ in range(5):
        chosen = policy.choose(tuple(some), Query("m"), NOW)
        assert any(chosen is one for one in some)


@given(st.integers(2, 6), st.integers())
def test_power_of_two_compares_two_different_candidates(count: int, seed: int) -> None:
    """With one loaded and all others idle, comparing the loaded one with itself would choose it."""
    some = [worker(5, silent=True), *(worker(0, silent=True) for _ in range(count - 1))]
    policy = PowerOfTwo(Random(seed))
    assert all(policy.choose(some, Query(), NOW) is not some[0] for _ in range(20))


def test_power_of_two_reaches_every_worker() -> None:
    four = fleet(4)
    policy = PowerOfTwo(Random(1))
    assert {policy.choose(four, Query(), NOW) for _ in range(200)} == set(four)


def test_random_is_about_even() -> None:
    four = fleet(4)
    policy = make_policy("random", Random(1))
    counts = dict.fromkeys(four, 0)
    for _ in range(4000):
        counts[policy.choose(four, Query(), NOW)] += 1
    assert all(900 < count < 1100 for count in counts.values())


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12)), min_size=1, max_size=6))
def test_round_robin_is_fair_between_changes_of_the_fleet(stretches: list[tuple[int, int]]) -> None:
    policy = RoundRobin()
    for size, requests in stretches:
        some = fleet(size)
        counts = dict.fromkeys(some, 0)
        for _ in range(requests):
            counts[policy.choose(some, Query("m"), NOW)] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(
        ValueError, match="policy: there is no 'best'; expected one of random, round_robin, power_of_two"
    ):
        make_policy("best", Random())
    assert DEFAULT_POLICY in POLICY_NAMES


@pytest.mark.parametrize("name", [name for name in POLICY_NAMES if name not in COMPARE_ALL])
def test_a_choice_among_a_thousand_takes_no_longer_than_among_two(name: str) -> None:
    few, many = cost(name, 2), cost(name, 1000)
    print(f"{name}: {few * 1e6:.2f} µs among 2, {many * 1e6:.2f} µs among 1,000")
    assert many < few * 5 + 2e-6


@pytest.mark.parametrize("name", sorted(COMPARE_ALL))
def test_comparing_a_thousand_costs_far_less_than_a_loop_over_them(name: str) -> None:
    few, many = cost(name, 2), cost(name, 1000)
    print(f"{name}: {few * 1e6:.2f} µs among 2, {many * 1e6:.2f} µs among 1,000")
    assert many < few + 200e-6


def cost(name: str, size: int) -> float:
    policy = make_policy(name, Random(1))
    some = tuple(worker(n % 7, waiting=n % 5, running=3, usage=0.5) for n in range(size))
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(200):
            policy.choose(some, Query("m", text="Hello, world", size=99, key="k"), NOW)
        best = min(best, (time.perf_counter() - began) / 200)
    return best


@given(st.sampled_from(POLICY_NAMES), workers, st.integers(), st.data())
def test_what_is_explained_is_what_is_chosen_next(name: str, some: list[Entry], seed: int, data: st.DataObject) -> None:
    policy, candidates = make_policy(name, Random(seed)), tuple(some)
    for number, one in enumerate(some):
        one.worker = replace(one.worker, id=WorkerId(f"id{number}"), name=f"w{number}")
    for _ in range(6):
        text = data.draw(st.text("ab", max_size=12))
        key, caller = data.draw(st.sampled_from([None, "a", "b"])), data.draw(st.sampled_from([None, "c"]))
        query = Query("m", text=text, size=len(text) * 400, key=key, caller=caller)
        explained = policy.explain(candidates, query, NOW)
        assert explained == policy.explain(candidates, query, NOW)
        assert explained.why
        chosen = policy.choose(candidates, query, NOW)
        assert chosen.worker.id == explained.worker
        chosen.meters.began()


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_workers_that_come_and_go_leave_nothing_behind(name: str) -> None:
    policy = make_policy(name, Random(1))

    def held() -> int:
        gc.collect()
        seen: set[int] = set()
        todo: list[object] = [policy]
        while todo:
            one = todo.pop()
            if id(one) not in seen and not isinstance(one, type | ModuleType | FunctionType):
                seen.add(id(one))
                todo.extend(gc.get_referents(one))
        return len(seen)

    def come_and_go(first: int) -> None:
        some = [entry(f"w{number}") for number in range(first, first + 5)]
        for turn in range(40):
            candidates = tuple(some)
            text = f"{first} {turn % 7}"
            policy.choose(candidates, Query("m", text=text, size=turn, key=text, caller="c"), NOW)
            policy.tend(NOW)
            gone = some.pop(0)
            some.append(entry(f"w{first}-{turn}"))
            policy.forget(gone.worker.id)
            policy.tend(NOW)
        for one in some:
            policy.forget(one.worker.id)
        policy.choose(stayed, Query("m", key="k", caller="c"), NOW)
        for _ in range(3):
            policy.tend(NOW + 1e5)

    stayed = fleet(5)
    come_and_go(0)
    come_and_go(1000)
    before = held()
    for turn in range(2, 6):
        come_and_go(1000 * turn)
    assert held() < before + 60  # each of 160 workers would leave several
