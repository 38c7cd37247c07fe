"""Priority and cost: the shares of the requests they give, and what they make of a load."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.policies import make_policy
from gateway.routing.policy import Query
from gateway.routing.power_of_two import PowerOfTwo
from gateway.routing.round_robin import RoundRobin
from gateway.routing.weights import Weights, weight
from gateway.workers.entry import Entry
from tests.unit.routing_scene import NOW, entry, fleet


@pytest.mark.parametrize(
    ("priority", "cost", "expected"),
    [(50, 1.0, 1.0), (100, 1.0, 2.0), (50, 2.0, 0.5), (0, 1.0, 0.02), (25, 0.5, 1.0), (50, 0.0, 100.0)],
)
def test_weight_grows_with_priority_and_falls_with_cost(priority: int, cost: float, expected: float) -> None:
    assert weight(entry(priority=priority, cost=cost).worker) == pytest.approx(expected)


def test_weights_are_in_relation_to_their_mean_and_1_where_all_are_equal() -> None:
    assert Weights([entry(priority=100), entry(priority=100)]).each == [1.0, 1.0]
    assert Weights([entry(priority=75), entry(priority=25)]).each == pytest.approx([1.5, 0.5])


def counts(policy_name: str, candidates: tuple[Entry, ...], requests: int) -> list[int]:
    policy = make_policy(policy_name, Random(1))
    counter = Counter(policy.choose(candidates, Query("m"), NOW).worker.id for _ in range(requests))
    return [counter[one.worker.id] for one in candidates]


def test_random_and_round_robin_give_shares_by_weight() -> None:
    uneven = (entry("a", priority=100), entry("b"), entry("c", cost=2.0))
    assert counts("round_robin", uneven, 700) == pytest.approx([400, 200, 100], abs=1)
    assert counts("random", uneven, 7000) == pytest.approx([4000, 2000, 1000], abs=150)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(1, 60))
def test_round_robin_never_strays_more_than_a_turn_or_so_from_the_shares(priorities: list[int], requests: int) -> None:
    some = tuple(entry(str(n), priority=priority) for n, priority in enumerate(priorities))
    for got, priority in zip(counts("round_robin", some, requests), priorities, strict=True):
        assert abs(got - requests * priority / sum(priorities)) < len(some) + 1


def test_a_worker_that_joins_an_uneven_round_waits_a_stride_and_gets_no_backlog() -> None:
    policy, before = RoundRobin(), (entry("a", priority=100), entry("b"))
    for _ in range(300):
        policy.choose(before, Query(), NOW)
    after = (*before, entry("c"))
    counter = Counter(policy.choose(after, Query(), NOW).worker.name for _ in range(40))
    assert counter == pytest.approx({"a": 20, "b": 10, "c": 10}, abs=1)


def test_an_avoided_worker_is_left_out_of_an_uneven_round_and_keeps_its_turn() -> None:
    policy, some = RoundRobin(), (entry("a", priority=100), entry("b"), entry("c", priority=75))
    assert all(policy.choose(some, Query(), NOW, [some[0]]) is not some[0] for _ in range(20))
    assert policy.choose(some, Query(), NOW) is some[0]


def test_power_of_two_takes_a_heavier_worker_for_less_busy() -> None:
    heavy, light = entry("a", 5, priority=100), entry("b", 3, priority=50)
    policy = PowerOfTwo(Random(1))
    assert all(policy.choose((heavy, light), Query(), NOW) is heavy for _ in range(10))
    heavy.meters.began()
    heavy.meters.began()
    heavy.meters.began()
    assert all(policy.choose((heavy, light), Query(), NOW) is light for _ in range(10))


@pytest.mark.parametrize("name", ["random", "round_robin", "power_of_two", "least_load"])
def test_a_changed_priority_counts_from_the_next_tuple_on(name: str) -> None:
    plain = fleet(2)
    policy = make_policy(name, Random(1))
    policy.choose(plain, Query(), NOW)
    preferred = entry("w0", priority=100).worker
    plain[0].worker = preferred
    after = tuple(plain)[:1] + plain[1:]
    assert after is not plain
    counter = Counter(policy.choose(after, Query(), NOW).worker.name for _ in range(300))
    assert counter["w0"] > counter["w1"]
