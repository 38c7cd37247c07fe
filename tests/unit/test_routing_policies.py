"""The routing policies: tables for what they prefer, properties for what they may never do."""

import time
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.policies import DEFAULT_POLICY, POLICY_NAMES, make_policy
from gateway.routing.policy import Query
from gateway.routing.power_of_two import PowerOfTwo, better, expected_waits, pressure
from gateway.routing.round_robin import RoundRobin
from gateway.workers.meters import EngineLoad

NOW = 1000.0


@dataclass
class Meters:
    in_flight: int = 0


@dataclass
class Fake:
    name: str = ""
    meters: Meters = field(default_factory=Meters)
    load: EngineLoad | None = None


def worker(
    in_flight: int = 0,
    *,
    waiting: int | None = None,
    running: int | None = None,
    usage: float | None = None,
    at: float = NOW,
    silent: bool = False,
) -> Fake:
    load = None if silent else EngineLoad(at, running=running, waiting=waiting, kv_usage=usage)
    return Fake(meters=Meters(in_flight), load=load)


FIRST, SECOND = 0, 1


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
def test_power_of_two_prefers_the_shorter_expected_wait(one: Fake, other: Fake, chosen: int) -> None:
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


fleets = st.lists(
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


@given(st.sampled_from(POLICY_NAMES), fleets, st.integers())
def test_no_policy_chooses_outside_the_candidates(name: str, fleet: list[Fake], seed: int) -> None:
    policy = make_policy(name, Random(seed))
    assert policy.name == name
    for _ in range(5):
        chosen = policy.choose(tuple(fleet), Query("m"), NOW)
        assert any(chosen is one for one in fleet)


@given(st.integers(2, 6), st.integers())
def test_power_of_two_compares_two_different_candidates(count: int, seed: int) -> None:
    """With one loaded and all others idle, comparing the loaded one with itself would choose it."""
    fleet = [worker(5, silent=True), *(worker(0, silent=True) for _ in range(count - 1))]
    policy = PowerOfTwo(Random(seed))
    assert all(policy.choose(fleet, Query(), NOW) is not fleet[0] for _ in range(20))


def test_power_of_two_reaches_every_pair() -> None:
    fleet = [Fake(str(n)) for n in range(4)]
    policy = PowerOfTwo(Random(1))
    assert {policy.choose(fleet, Query(), NOW).name for _ in range(200)} == {"0", "1", "2", "3"}


def test_random_is_about_even() -> None:
    fleet = [Fake(str(n)) for n in range(4)]
    policy = make_policy("random", Random(1))
    counts = {one.name: 0 for one in fleet}
    for _ in range(4000):
        counts[policy.choose(fleet, Query(), NOW).name] += 1
    assert all(900 < count < 1100 for count in counts.values())


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 12)), min_size=1, max_size=6))
def test_round_robin_is_fair_between_changes_of_the_fleet(stretches: list[tuple[int, int]]) -> None:
    policy = RoundRobin()
    for size, requests in stretches:
        fleet = [Fake(str(n)) for n in range(size)]
        counts = dict.fromkeys(range(size), 0)
        for _ in range(requests):
            counts[int(policy.choose(fleet, Query("m"), NOW).name)] += 1
        assert max(counts.values()) - min(counts.values()) <= 1


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(
        ValueError, match="policy: there is no 'best'; expected one of random, round_robin, power_of_two"
    ):
        make_policy("best", Random())
    assert DEFAULT_POLICY in POLICY_NAMES


@pytest.mark.parametrize("name", POLICY_NAMES)
def test_a_choice_among_a_thousand_takes_no_longer_than_among_two(name: str) -> None:
    policy = make_policy(name, Random(1))

    def cost(size: int) -> float:
        fleet = tuple(worker(n % 7, waiting=n % 5, running=3, usage=0.5) for n in range(size))
        best = 1.0
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(200):
                policy.choose(fleet, Query("m"), NOW)
            best = min(best, (time.perf_counter() - began) / 200)
        return best

    few, many = cost(2), cost(1000)
    print(f"{name}: {few * 1e6:.2f} µs among 2, {many * 1e6:.2f} µs among 1,000")
    assert many < few * 5 + 2e-6
