"""Commands: checked, carried out once, and answered with what they did."""

import pytest

from gateway.errors import BadRequest, Conflict, GatewayError, WorkerNotFound
from gateway.operations import (
    Add,
    Command,
    Cordon,
    Operations,
    Patch,
    ProbeNow,
    Remove,
    Replace,
    Resume,
    Retry,
    StartDrain,
    Uncordon,
)
from gateway.workers.model import HealthOverride, Secret, State, WorkerId, WorkerSpec
from tests.unit.world import TEST, World


class Door:
    """Operations over a world, and what they asked to be probed."""

    def __init__(self) -> None:
        self.world = World()
        self.probed: list[WorkerId] = []
        self.operations = Operations(
            self.world.registry, wall=self.world.wall, drain_timeout_s=300, probe_now=self.probed.append
        )

    async def __call__(self, command: Command) -> tuple[bool, str]:
        done = await self.operations.execute(command, TEST)
        return done.changed, done.message


@pytest.fixture
def door() -> Door:
    return Door()


async def test_every_command_may_be_given_twice(door: Door) -> None:
    entry = door.world.ready()
    entry.meters.began()
    for command, first, second in (
        (Cordon("w1"), "w1 cordoned", "w1 is already cordoned"),
        (Uncordon("w1"), "w1 uncordoned", "w1 is not cordoned"),
        (StartDrain("w1"), "w1 drains, 1 in flight", "w1 is already draining"),
        (Resume("w1"), "w1 resumed", "w1 is not draining"),
        (Remove("w1"), "w1 drains, 1 in flight, then leaves", "w1 is already being removed"),
    ):
        assert await door(command) == (True, first)
        assert await door(command) == (False, second)


async def test_removing_a_registering_or_failed_worker_is_immediate(door: Door) -> None:
    door.world.add("http://a:1")
    failed = door.world.add("http://a:2")
    door.world.registry.registration_timeout(failed.worker.id, 1, 5, TEST)
    assert await door(Remove("w1")) == (True, "w1 removed")
    assert await door(Remove("w2")) == (True, "w2 removed")
    assert not door.world.registry.entries


async def test_probe_and_retry_ask_for_a_probe(door: Door) -> None:
    entry = door.world.add()
    await door(ProbeNow("w1"))
    door.world.registry.registration_timeout(entry.worker.id, 1, 5, TEST)
    await door(Retry("w1"))
    assert entry.worker.state is State.REGISTERING
    assert door.probed == [entry.worker.id] * 2
    door.world.ready("http://a:2")
    with pytest.raises(Conflict):
        await door(Retry("w2"))


async def test_patch_changes_what_is_given_and_merges_labels(door: Door) -> None:
    entry = door.world.ready(labels={"a": "1"}, api_key=Secret("old"))
    assert await door(Patch("w1", labels={"b": "2"}, priority=7)) == (True, "w1 changed: priority, labels")
    spec = entry.worker.spec
    assert (spec.labels, spec.priority, spec.api_key) == ({"a": "1", "b": "2"}, 7, Secret("old"))
    assert entry.worker.state is State.READY
    await door(Patch("w1", api_key=Secret("")))
    assert entry.worker.spec.api_key is None
    await door(Patch("w1", health=HealthOverride(timeout_s=3)))
    await door(Patch("w1", health=HealthOverride(interval_s=9)))
    assert entry.worker.spec.health == HealthOverride(interval_s=9, timeout_s=3)
    assert await door(Patch("w1", priority=7)) == (False, "w1 is already so")


async def test_put_registers_anew_and_keeps_the_address(door: Door) -> None:
    entry = door.world.ready()
    assert (await door(Replace("w1", WorkerSpec("http://a:1/", cost=2.0))))[0]
    assert (entry.worker.revision, entry.worker.state) == (2, State.REGISTERING)
    with pytest.raises(BadRequest, match="this worker is http://a:1"):
        await door(Replace("w1", WorkerSpec("http://b:1")))


@pytest.mark.parametrize(
    ("command", "field", "text"),
    [
        (Add(WorkerSpec("")), "url", "it must start with http"),
        (Add(WorkerSpec("ftp://a:1")), "url", "it must start with http"),
        (Add(WorkerSpec("http://a:1", priority=101)), "priority", "given 101, expected 0 to 100"),
        (Add(WorkerSpec("http://a:1", cost=-1.0)), "cost", "given -1, expected 0 to"),
        (Add(WorkerSpec("http://a:1", cost=float("nan"))), "cost", "given nan"),
        (Add(WorkerSpec("http://a:1", bootstrap_port=0)), "bootstrap_port", "given 0, expected 1 to 65535"),
        (Add(WorkerSpec("http://a:1", health=HealthOverride(interval_s=0))), "health.check_interval_secs", "given 0"),
        (Add(WorkerSpec("http://a:1", health=HealthOverride(endpoint="x"))), "health.endpoint", "a path"),
        (Add(WorkerSpec("http://a:1", health=HealthOverride(endpoint="/a\r\nb"))), "health.endpoint", "a path"),
        (Add(WorkerSpec("http://a:1", api_key=Secret("a\nb"))), "api_key", "given: hidden"),
        (StartDrain("w1", timeout_s=-1), "timeout_secs", "given -1"),
        (StartDrain("w1", timeout_s=float("inf")), "timeout_secs", "given inf"),
        (Patch("w1"), None, "accepted fields: priority, cost, labels, api_key, health"),
    ],
)
async def test_wrong_input_is_named_and_changes_nothing(
    door: Door, command: Command, field: str | None, text: str
) -> None:
    door.world.ready("http://listed:1")
    before = door.world.registry.journal.seq
    with pytest.raises(BadRequest, match=text) as error:
        await door(command)
    assert error.value.field == field
    assert door.world.registry.journal.seq == before


async def test_an_unknown_worker_is_an_error_of_its_own(door: Door) -> None:
    with pytest.raises(WorkerNotFound, match="w9"):
        await door(Cordon("w9"))
    with pytest.raises(GatewayError):
        door.operations.effect("w9")


async def test_the_effect_counts_who_is_left_for_the_model(door: Door) -> None:
    first = door.world.ready("http://a:1", "m")
    door.world.ready("http://a:2", "m")
    door.world.ready("http://a:3", "other")
    first.meters.began()
    effect = door.operations.effect("w1")
    assert (effect.in_flight, effect.model, effect.left, effect.routable) == (1, "m", 1, True)
    await door(Cordon("w2"))
    assert door.operations.effect("w1").left == 0
    assert door.operations.effect("w2").routable is False
