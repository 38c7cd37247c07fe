"""The load monitor's promises: an unknown load is never an old one, and a source is neither lost nor worn out."""

import asyncio
from random import Random

import pytest

from gateway.engines.loads import METRICS, SGLANG_LOADS
from gateway.workers.ask import Answer
from gateway.workers.load import LOOK_AGAIN, LoadMonitor
from gateway.workers.model import Engine, Intent, State, Worker, WorkerSpec
from tests.unit.test_loops import Loops, in_virtual_time, json_answer, monitor
from tests.unit.world import TEST

GAUGES = Answer(200, {}, b"vllm:num_requests_waiting 4\n")
NOT_FOUND = Answer(404, {}, b"")


class Gate:
    """A worker that answers once it is let."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.asked = 0

    async def __call__(self, worker: Worker, method: str, path: str, **_: object) -> Answer:
        self.asked += 1
        await self.opened.wait()
        return GAUGES


@pytest.mark.parametrize("leaving", ["unhealthy", "removed", "replaced"])
def test_an_answer_that_comes_after_a_worker_left_ready_is_dropped(leaving: str) -> None:
    @in_virtual_time
    async def story(loops: Loops) -> None:
        gate = Gate()
        async with LoadMonitor(loops.registry, gate, mono=loops.mono, rng=Random(1), interval_s=10) as load_monitor:
            entry = loops.world.ready()
            await asyncio.sleep(1)
            assert gate.asked == 1
            if leaving == "unhealthy":
                loops.world.probe(entry, False, False, False)
            elif leaving == "removed":
                loops.registry.remove_now(entry, "why", TEST)
            else:
                loops.registry.restart(entry, WorkerSpec(entry.worker.url, priority=9), "why", TEST)
            gate.opened.set()
            await asyncio.sleep(100)
            assert entry.load is None
            assert gate.asked == 1
            assert load_monitor._polled == {}

    story()


@in_virtual_time
async def test_a_worker_that_was_silent_at_first_is_asked_again_at_the_next_poll(loops: Loops) -> None:
    loops.script.replies[METRICS] = None
    async with monitor(loops):
        entry = loops.world.ready()
        await asyncio.sleep(6)
        loops.script.replies[METRICS] = GAUGES
        await asyncio.sleep(20)
        assert entry.load is not None


@in_virtual_time
async def test_a_worker_that_has_no_load_to_tell_is_seldom_asked(loops: Loops) -> None:
    loops.script.replies |= {SGLANG_LOADS: NOT_FOUND, METRICS: NOT_FOUND}
    async with monitor(loops) as load_monitor:
        loops.world.ready(engine=Engine.GENERIC)
        await asyncio.sleep(10 * (LOOK_AGAIN - 6))
        assert len(loops.script.asked[METRICS]) == 1
        assert load_monitor.polls_failed == 1, "what was not asked did not fail"
        await asyncio.sleep(10 * LOOK_AGAIN)
        assert len(loops.script.asked[METRICS]) == 2


@in_virtual_time
async def test_a_source_that_vanished_is_replaced_by_the_next_one(loops: Loops) -> None:
    loops.script.replies |= {
        SGLANG_LOADS: json_answer('[{"num_running_reqs": 3}]'),
        METRICS: Answer(200, {}, b"sglang:num_running_reqs 5\n"),
    }
    async with monitor(loops):
        entry = loops.world.ready(engine=Engine.SGLANG)
        await asyncio.sleep(15)
        assert entry.load is not None
        assert entry.load.running == 3
        loops.script.replies[SGLANG_LOADS] = NOT_FOUND
        await asyncio.sleep(60)
        assert entry.load is not None
        assert entry.load.running == 5


@in_virtual_time
async def test_a_reply_nested_beyond_reason_is_no_load_and_polling_goes_on(loops: Loops) -> None:
    loops.script.replies[SGLANG_LOADS] = Answer(200, {}, b"[" * 100_000)
    async with monitor(loops):
        entry = loops.world.ready(engine=Engine.SGLANG)
        await asyncio.sleep(15)
        loops.script.replies[SGLANG_LOADS] = json_answer('[{"num_running_reqs": 3}]')
        await asyncio.sleep(20)
        assert entry.load is not None


@in_virtual_time
async def test_a_defect_in_one_poll_does_not_end_the_polling(loops: Loops) -> None:
    asked: list[float] = []

    async def ask(worker: Worker, method: str, path: str, **_: object) -> Answer:
        asked.append(loops.mono())
        if len(asked) == 1:
            raise ZeroDivisionError("a defect of ours")
        return GAUGES

    async with LoadMonitor(loops.registry, ask, mono=loops.mono, rng=Random(1), interval_s=10):
        entry = loops.world.ready()
        await asyncio.sleep(25)
        assert entry.load is not None


@in_virtual_time
async def test_workers_that_become_ready_together_are_soon_polled_apart(loops: Loops) -> None:
    loops.script.replies[METRICS] = GAUGES
    async with monitor(loops):
        for number in range(1, 201):
            loops.world.ready(f"http://a:{number}")
        await asyncio.sleep(30)
        late = [at for at in loops.script.asked[METRICS] if at >= 1020]
        fullest = max(sum(start <= at < start + 1 for at in late) for start in range(1020, 1030))
        assert fullest < 60, "about twenty a second of two hundred"


@in_virtual_time
async def test_a_draining_worker_is_polled_on_and_a_resumed_one_at_one_pace(loops: Loops) -> None:
    loops.script.replies[METRICS] = GAUGES
    async with monitor(loops):
        entry = loops.world.ready()
        entry.meters.began()
        await asyncio.sleep(12)
        loops.registry.drain(entry, Intent.HOLD, None, "why", TEST)
        await asyncio.sleep(30)
        assert entry.worker.state is State.DRAINING
        assert entry.load is not None
        assert entry.load.at > loops.mono() - 11
        loops.registry.resume(entry, TEST)
        await asyncio.sleep(1)
        before = len(loops.script.asked[METRICS])
        await asyncio.sleep(100)
        assert 9 <= len(loops.script.asked[METRICS]) - before <= 13


@in_virtual_time
async def test_an_engine_that_is_recognised_later_is_asked_in_its_own_way(loops: Loops) -> None:
    loops.script.replies |= {METRICS: NOT_FOUND, SGLANG_LOADS: json_answer('[{"num_running_reqs": 3}]')}
    async with monitor(loops):
        entry = loops.world.ready()
        await asyncio.sleep(5)
        assert entry.load is None
        found = entry.worker.capabilities.__class__(engine=Engine.SGLANG, model_id="m")
        loops.registry.observe_capabilities(entry.worker.id, 1, found, TEST)
        await asyncio.sleep(20)
        assert entry.load is not None
