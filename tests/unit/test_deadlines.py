"""Deadlines that follow a worker through drains, resumes and replacements."""

import asyncio

from gateway.workers.deadlines import Deadlines
from gateway.workers.model import Intent, State, WorkerSpec
from tests.unit.test_loops import Loops, in_virtual_time
from tests.unit.world import TEST


@in_virtual_time
async def test_a_worker_that_registers_again_after_a_drain_has_a_deadline_again(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=60):
        entry = loops.world.add()
        await asyncio.sleep(1)
        loops.registry.drain(entry, Intent.HOLD, None, "why", TEST)
        await asyncio.sleep(100)
        loops.registry.resume(entry, TEST)
        assert entry.worker.state is State.REGISTERING
        await asyncio.sleep(59)
        assert entry.worker.state is State.REGISTERING
        await asyncio.sleep(2)
        assert entry.worker.state is State.FAILED


@in_virtual_time
async def test_a_prolonged_drain_ends_at_the_later_deadline_and_a_resumed_one_not_at_all(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=1e6):
        first, second = loops.world.ready("http://a:1"), loops.world.ready("http://b:1")
        for entry in (first, second):
            entry.meters.began()
            loops.registry.drain(entry, Intent.REMOVE, loops.world.wall() + 10, "why", TEST)
        await asyncio.sleep(5)
        loops.registry.drain(first, Intent.REMOVE, loops.world.wall() + 30, "why", TEST)
        loops.registry.resume(second, TEST)
        await asyncio.sleep(20)
        assert first.worker.state is State.DRAINING
        assert second.worker.state is State.READY
        await asyncio.sleep(10)
        assert first.worker.id not in loops.registry.entries


@in_virtual_time
async def test_a_replaced_worker_does_not_fail_at_the_old_registrations_deadline(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=60):
        entry = loops.world.add()
        await asyncio.sleep(50)
        loops.registry.restart(entry, WorkerSpec(entry.worker.url, priority=9), "replaced", TEST)
        await asyncio.sleep(50)
        assert entry.worker.state is State.REGISTERING
        await asyncio.sleep(11)
        assert entry.worker.state is State.FAILED


@in_virtual_time
async def test_a_defect_at_one_deadline_does_not_take_the_others_with_it(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=60):
        crashes: list[str] = []
        act = loops.registry.registration_timeout

        def crash_once(*args: object) -> None:
            if not crashes:
                crashes.append("once")
                raise ZeroDivisionError("a defect of ours")
            act(*args)  # type: ignore[arg-type]

        loops.registry.registration_timeout = crash_once  # type: ignore[method-assign]
        loops.world.add("http://a:1")
        second = loops.world.add("http://b:1")
        await asyncio.sleep(63)
        assert crashes
        assert second.worker.state is State.FAILED
