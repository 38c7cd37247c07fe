"""Rates, percentiles and history, sampled once a second."""

import asyncio
import math

import pytest

from gateway.tasks import Scope
from gateway.telemetry.history import RECENT_S
from gateway.telemetry.lateness import LoopLateness
from gateway.telemetry.sampler import SLICE, Sampler, next_second
from gateway.telemetry.samples import Measure
from gateway.workers.latency import percentiles
from gateway.workers.meters import EngineLoad, Outcome
from tests.unit.world import World


async def test_rates_percentiles_and_error_shares_follow_the_meters() -> None:
    world = World()
    busy, idle = world.ready("http://a:1"), world.ready("http://a:2")
    sampler = Sampler(world.registry, mono=world.mono)
    for _ in range(10):
        for n in range(20):
            busy.meters.began()
            busy.meters.ended(Outcome.SERVER_ERROR if n == 0 else Outcome.OK, 0.2, world.now)
        busy.meters.ttft.add(0.05, world.now)
        world.now += 1
        await sampler.take()
    sample = sampler.sample(busy.worker.id)
    assert sample.requests_per_s == 20
    assert sample.errors_per_s == 1
    assert sample.error_rate is not None
    assert math.isclose(sample.error_rate, 0.05)
    assert sample.response.p50 is not None
    assert 0.18 < sample.response.p50 < 0.22
    assert sample.ttft.count == 10
    assert sampler.fleet.requests_per_s == 20
    assert sampler.history(idle.worker.id) is None, "an idle worker needs no history"
    series = sampler.history(busy.worker.id)
    assert series is not None
    assert list(series.last(Measure.REQUESTS, 3)) == [20, 20, 20]
    fleet = sampler.history()
    assert fleet is not None
    assert len(fleet.last(Measure.P99)) == RECENT_S


async def test_rates_fall_to_zero_and_percentiles_age_out_when_traffic_ends() -> None:
    world = World()
    entry = world.ready()
    sampler = Sampler(world.registry, mono=world.mono)
    entry.meters.began()
    entry.meters.ended(Outcome.OK, 0.2, world.now)
    for _ in range(75):
        world.now += 1
        await sampler.take()
    sample = sampler.sample(entry.worker.id)
    assert (sample.requests_per_s, sample.response.p50, sample.error_rate) == (0, None, None)


async def test_workers_that_left_are_forgotten() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    sampler = Sampler(world.registry, mono=world.mono)
    await sampler.take()
    from tests.unit.world import TEST

    world.registry.remove_now(entry, "why", TEST)
    await sampler.take()
    assert sampler.history(entry.worker.id) is None
    assert sampler._tracked == {}


async def test_a_loop_that_is_held_shows_as_late() -> None:
    import time

    async with LoopLateness() as lateness:
        await asyncio.sleep(0.06)
        time.sleep(0.12)  # noqa: ASYNC251 - holding the loop is what is measured
        await asyncio.sleep(0.03)
        assert lateness.worst_s > 0.05
        assert lateness.window.percentiles(asyncio.get_running_loop().time()).count > 0


async def test_the_first_second_of_traffic_shows_in_the_rates() -> None:
    world = World()
    entry = world.ready()
    sampler = Sampler(world.registry, mono=world.mono)
    await sampler.take()
    world.now += 1
    for _ in range(30):
        entry.meters.began()
        entry.meters.ended(Outcome.OK, 0.2, world.now)
    await sampler.take()
    assert sampler.sample(entry.worker.id).requests_per_s == 30
    assert sampler.fleet.requests_per_s == 30


async def test_the_fleets_percentiles_are_over_all_answers_and_not_over_the_workers_percentiles() -> None:
    world = World()
    fast, slow = world.ready("http://a:1"), world.ready("http://a:2")
    sampler = Sampler(world.registry, mono=world.mono)
    for entry, took_s, count in ((fast, 0.01, 990), (slow, 5.0, 10)):
        for _ in range(count):
            entry.meters.began()
            entry.meters.ended(Outcome.OK, took_s, world.now)
    await sampler.take()
    every = [counts for entry in (fast, slow) for counts in entry.meters.response.counts(world.now)]
    assert sampler.fleet.response == percentiles(every)
    assert sampler.fleet.response.p99 is not None
    assert sampler.fleet.response.p99 < 0.02
    assert sampler.fleet.response.count == 1000


async def test_a_worker_that_rests_is_seen_again_even_if_its_clients_leave_early() -> None:
    world = World()
    entry = world.ready()
    sampler = Sampler(world.registry, mono=world.mono)
    for _ in range(200):
        entry.meters.requests = max(entry.meters.requests, 1)
        world.now += 1
        await sampler.take()
    entry.meters.began()
    entry.meters.ttft.add(0.1, world.now)
    entry.meters.ended(Outcome.CANCELLED, 0.2, world.now)
    await sampler.take()
    assert sampler.sample(entry.worker.id).ttft.count == 1


async def test_workers_without_traffic_are_not_tracked() -> None:
    world = World()
    world.ready()
    sampler = Sampler(world.registry, mono=world.mono)
    await sampler.take()
    assert sampler._tracked == {}


async def test_a_sample_of_many_workers_lets_others_run_in_between() -> None:
    world = World()
    for number in range(1, 201):
        entry = world.ready(f"http://a:{number}")
        entry.meters.began()
    sampler = Sampler(world.registry, mono=world.mono)
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with Scope("test") as scope:
        scope.spawn(neighbour(), name="neighbour")
        await sampler.take()
    assert turns >= 200 // SLICE


async def test_a_model_s_numbers_are_those_of_its_workers_together() -> None:
    world = World()
    entries = [world.ready(f"http://a:{n}", model="x" if n < 2 else "y") for n in range(3)]
    sampler = Sampler(world.registry, mono=world.mono, wall=world.wall, queued=lambda: 5)
    for n, entry in enumerate(entries):
        entry.load = EngineLoad(world.now, running=1, waiting=n)
        for _ in range(10 * (n + 1)):
            entry.meters.began()
            entry.meters.ended(Outcome.OK, 0.1 * (n + 1), world.now)
        entry.meters.began()
        entry.meters.ttft.add(0.02 * (n + 1), world.now)
    await sampler.take()

    def value(measure: Measure, model: str | None) -> float:
        history = sampler.history(model=model)
        assert history is not None
        return history.last(measure)[-1]

    assert [value(Measure.REQUESTS, model) for model in ("x", "y", None)] == [30, 30, 60]
    assert [value(Measure.IN_FLIGHT, model) for model in ("x", "y", None)] == [2, 1, 3]
    assert [value(Measure.QUEUE, model) for model in ("x", "y", None)] == [1, 2, 8]
    assert value(Measure.P99, "x") < 0.22 < value(Measure.P99, "y")
    assert value(Measure.TTFT_P99, "x") < 0.045 < value(Measure.TTFT_P99, "y")
    assert math.isnan(value(Measure.OUTPUT, "x"))
    assert sampler.history(model="z") is None


async def test_a_model_is_remembered_for_an_hour_after_its_last_worker() -> None:
    world = World()
    old = world.ready("http://a:1", model="x")
    sampler = Sampler(world.registry, mono=world.mono, wall=world.wall)
    old.meters.began()
    await sampler.take()
    from tests.unit.world import TEST

    world.registry.remove_now(old, "why", TEST)
    world.now += 1800
    await sampler.take()
    assert sampler.history(model="x") is not None
    world.now += 1900
    await sampler.take()
    assert sampler.history(model="x") is None


async def test_tokens_come_from_events_and_from_the_usage_that_answers_tell() -> None:
    world = World()
    entry = world.ready()
    sampler = Sampler(world.registry, mono=world.mono, wall=world.wall)
    entry.meters.began()
    for _ in range(6):
        entry.meters.output_tokens += 20
        entry.meters.tell(b'"usage":{"prompt_tokens":50,"completion_tokens":30}', 20)
        world.now += 1
        await sampler.take()
    sample = sampler.sample(entry.worker.id)
    assert (sample.prompt_per_s, sample.output_per_s) == (50, 30)
    assert entry.meters.told == []


async def test_seconds_in_which_the_process_stood_still_are_a_gap() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    sampler = Sampler(world.registry, mono=world.mono, wall=world.wall)
    for pause in (1, 1, 1, 30, 1):
        world.now += pause
        await sampler.take()
    for history in (sampler.history(), sampler.history(entry.worker.id), sampler.history(model="m")):
        assert history is not None
        last = list(history.last(Measure.IN_FLIGHT, 35))
        assert last[-34:-31] == [1, 1, 1]
        assert all(math.isnan(value) for value in last[-31:-2])
        assert last[-2:] == [1, 1]
        assert history.end == int(world.wall()) + 1


@pytest.mark.parametrize(
    ("last", "wall", "wanted"),
    [
        (0, 1000.7, 1000),
        (1000, 1001.0, 1001),
        (1000, 1001.9, 1001),
        (1000, 1000.2, 1001),
        (1000, 1003.0, 1001),
        (1000, 1003.5, 1003),
        (1000, 1060.5, 1060),
        (1000, 400.0, 1001),
    ],
)
def test_samples_are_numbered_in_turn_but_for_gaps(last: int, wall: float, wanted: int) -> None:
    assert next_second(last, wall) == wanted
