"""Policies that look at prompts look at ids where there are any: those are what the workers' caches hold."""

from array import array
from random import Random

import pytest

from gateway.routing.policies import make_policy
from gateway.routing.policy import Query
from gateway.routing.settings import RoutingSettings
from tests.unit.routing_scene import NOW, end, fleet


@pytest.mark.parametrize("policy", ["cache_aware", "prefix_hash"])
def test_prompts_whose_ids_begin_alike_go_to_one_worker_whatever_their_text(policy: str) -> None:
    workers, chooser = fleet(4), make_policy(policy, Random(1), RoutingSettings())
    head = list(range(300, 900))
    first = chooser.choose(workers, Query("m", tokens=array("I", head), text="a text"), NOW)
    for number in range(8):
        tokens = [*head, number, number + 1]
        assert chooser.choose(workers, Query("m", tokens=tokens, text=f"{number} other text"), NOW) is first


@pytest.mark.parametrize("policy", ["cache_aware", "prefix_hash"])
def test_ids_that_differ_from_the_first_on_are_spread(policy: str) -> None:
    workers, chooser = fleet(4), make_policy(policy, Random(1), RoutingSettings())
    same = "the same text for all of them"
    chosen = set()
    for number in range(40):
        worker = chooser.choose(workers, Query("m", tokens=[number * 100 + at for at in range(50)], text=same), NOW)
        chosen.add(worker.worker.name)
    assert len(chosen) == 4


def test_ids_are_not_mistaken_for_a_text_of_the_same_characters() -> None:
    workers, chooser = fleet(2), make_policy("cache_aware", Random(1), RoutingSettings())
    text = "abc" * 100
    first = chooser.choose(workers, Query("m", text=text), NOW)
    first.meters.began()
    other = chooser.choose(workers, Query("m", tokens=[ord(char) for char in text]), NOW)
    assert other is not first
    end(first)
