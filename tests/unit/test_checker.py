"""The health checker: what a defect, a changed setting or a large fleet must not do to it."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.workers.health import ProbeResult
from gateway.workers.model import HealthOverride, State, WorkerId
from tests.unit.test_loops import OK, Loops, in_virtual_time
from tests.unit.world import TEST


@in_virtual_time
async def test_a_defect_while_a_probe_is_counted_does_not_end_the_probing_of_that_worker(loops: Loops) -> None:
    loops.script.replies["/health"] = OK
    count = loops.registry.observe_probe
    calls: list[WorkerId] = []

    def crash_once(worker_id: WorkerId, revision: int, result: ProbeResult, cause: object) -> None:
        calls.append(worker_id)
        if len(calls) == 1:
            raise ZeroDivisionError("a defect of ours")
        count(worker_id, revision, result, TEST)

    loops.registry.observe_probe = crash_once  # type: ignore[method-assign]
    async with loops.checker():
        loops.world.add()
        await asyncio.sleep(5)
        assert len(calls) >= 3


@in_virtual_time
async def test_a_worker_whose_probing_settings_change_is_probed_with_the_new_ones_at_once(loops: Loops) -> None:
    loops.script.replies |= {"/health": None, "/ping": OK}
    async with loops.checker():
        entry = loops.world.add(health=HealthOverride(timeout_s=3))
        await asyncio.sleep(1)
        spec = replace(entry.worker.spec, health=HealthOverride(timeout_s=3, endpoint="/ping"))
        loops.registry.patch(entry, spec, ("health",), TEST)
        await asyncio.sleep(2.5)
        assert loops.script.asked["/ping"][0] == pytest.approx(1003, abs=0.05)


@in_virtual_time
async def test_workers_that_drain_or_failed_are_probed_on(loops: Loops) -> None:
    async with loops.checker():
        failed, draining = loops.world.add("http://a:1"), loops.world.ready("http://b:1")
        draining.meters.began()
        loops.registry.drain(draining, "hold", None, "why", TEST)  # type: ignore[arg-type]  # the value of the intent
        loops.registry.registration_timeout(failed.worker.id, 1, 5, TEST)
        assert (failed.worker.state, draining.worker.state) == (State.FAILED, State.DRAINING)
        await asyncio.sleep(60)
        for entry in (failed, draining):
            times = [probe.at for probe in entry.health.recent]
            assert len(times) > 2
            assert entry.health.last_check is not None
        assert all(gap < 2 for gap in (b - a for a, b in pairwise(p.at for p in failed.health.recent)))


@in_virtual_time
async def test_two_thousand_workers_at_one_second_each_get_their_probe_every_second(loops: Loops) -> None:
    loops.script.replies["/health"] = OK
    async with loops.checker():
        entries = [loops.world.add(f"http://a:{n}", health=HealthOverride(interval_s=1)) for n in range(1, 2001)]
        await asyncio.sleep(5)
        assert loops.script.most_under_way <= 128
        assert min(len(entry.health.recent) for entry in entries) >= 5


@in_virtual_time
async def test_outdated_places_in_the_schedule_do_not_pile_up(loops: Loops) -> None:
    loops.script.replies["/health"] = OK
    async with loops.checker() as checker:
        entry = loops.world.add(health=HealthOverride(interval_s=3600))
        for _ in range(500):
            await asyncio.sleep(1)
            checker.probe_now(entry.worker.id)
        assert len(loops.script.asked["/health"]) >= 500
        assert len(checker._heap) < 50
