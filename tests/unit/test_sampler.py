"""Rates, percentiles and history, sampled once a second."""

import math

from gateway.telemetry.lateness import LoopLateness
from gateway.telemetry.sampler import Sampler
from gateway.telemetry.samples import HISTORY, Measure
from gateway.workers.meters import Outcome
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
    assert sampler.series(idle.worker.id) is None, "an idle worker needs no history"
    series = sampler.series(busy.worker.id)
    assert series is not None
    assert list(series.last(Measure.REQUESTS, 3)) == [20, 20, 20]
    fleet = sampler.series()
    assert fleet is not None
    assert len(fleet.last(Measure.P99)) == HISTORY


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
    assert sampler.series(entry.worker.id) is None
    assert sampler._tracked == {}


async def test_a_loop_that_is_held_shows_as_late() -> None:
    import asyncio
    import time

    async with LoopLateness() as lateness:
        await asyncio.sleep(0.06)
        time.sleep(0.12)  # noqa: ASYNC251 - holding the loop is what is measured
        await asyncio.sleep(0.03)
        assert lateness.worst_s > 0.05
        assert lateness.window.percentiles(asyncio.get_running_loop().time()).count > 0
