"""What a worker costs: under 36 KB with five minutes of traffic; a day of history adds some 50."""

import gc
import tracemalloc

from gateway.telemetry.sampler import Sampler
from gateway.workers.meters import Outcome
from tests.unit.world import World

WORKERS = 100


async def test_a_worker_costs_less_than_36_kb_under_traffic_and_5_without() -> None:
    world = World(journal_size=100)
    sampler = Sampler(world.registry, mono=world.mono)
    await sampler.take()
    gc.collect()
    tracemalloc.start()
    try:
        entries = [world.ready(f"http://10.0.0.{n}:8000") for n in range(WORKERS)]
        for entry in entries:
            world.probe(entry, *[True] * 60)
        await sampler.take()
        gc.collect()
        idle = tracemalloc.get_traced_memory()[0] / WORKERS
        for _ in range(300):
            world.now += 1
            for entry in entries:
                entry.meters.began()
                entry.meters.ended(Outcome.OK, 0.2, world.now)
                entry.meters.ttft.add(0.1, world.now)
            await sampler.take()
        gc.collect()
        busy = tracemalloc.get_traced_memory()[0] / WORKERS
    finally:
        tracemalloc.stop()
    assert idle < 5 * 1024, idle
    assert busy < 36 * 1024, busy
