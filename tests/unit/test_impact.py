"""The joint effect of taking several workers away: who loses what."""

from gateway.workers.entry import Entry
from gateway.workers.impact import JointEffect, Toll, joint_effect
from gateway.workers.model import Role
from tests.unit.world import TEST, World


def effect(world: World, *chosen: Entry) -> JointEffect:
    fleet = ((entry.worker, entry.meters.in_flight) for entry in world.registry.entries.values())
    return joint_effect(fleet, {entry.worker.id for entry in chosen})


def test_two_of_three_workers_leave_a_third_and_all_three_leave_nobody() -> None:
    world = World()
    a, b, c = (world.ready(f"http://a:{n}", "llama") for n in (1, 2, 3))
    for entry, flying in ((a, 3), (b, 2), (c, 7)):
        for _ in range(flying):
            entry.meters.began()
    assert effect(world, a, b) == JointEffect(2, 5, 2, (Toll("llama", Role.REGULAR, 2, 1),))
    assert effect(world, a, b, c).last == (Toll("llama", Role.REGULAR, 3, 0),)


def test_a_worker_that_takes_no_requests_costs_no_capacity() -> None:
    world = World()
    a, b = world.ready("http://a:1"), world.ready("http://a:2")
    world.registry.cordon(a, "disk", TEST)
    assert effect(world, a) == JointEffect(1, 0, 0, ())
    assert effect(world, b).last == (Toll("m", Role.REGULAR, 1, 0),), "the cordoned one does not stand in"


def test_roles_do_not_stand_in_for_each_other() -> None:
    world = World()
    prefill = world.ready("http://a:1", role=Role.PREFILL)
    for n in (2, 3):
        world.ready(f"http://a:{n}", role=Role.DECODE)
    assert effect(world, prefill).last == (Toll("m", Role.PREFILL, 1, 0),)


def test_the_model_that_loses_most_comes_first() -> None:
    world = World()
    a, b = world.ready("http://a:1", "x"), world.ready("http://a:2", "y")
    world.ready("http://a:3", "x")
    assert [toll.model for toll in effect(world, a, b).tolls] == ["y", "x"]
