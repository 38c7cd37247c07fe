"""The control loops against scripted workers, in virtual time: when they ask, and what they make of the answers."""

import asyncio
import selectors
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from itertools import pairwise
from random import Random

import pytest

from gateway.engines.loads import METRICS, SGLANG_LOAD, SGLANG_LOADS
from gateway.workers.ask import Answer, Unreachable
from gateway.workers.checker import HealthChecker
from gateway.workers.deadlines import Deadlines
from gateway.workers.discovery import Discovery
from gateway.workers.load import LoadMonitor
from gateway.workers.model import Engine, HealthOverride, HealthSettings, Intent, State, Worker
from tests.unit.world import TEST, World

Reply = Answer | str | None
"""What a worker gives: an answer, the text of a failure, or nothing at all (it hangs)."""

OK = Answer(200, {}, b"{}")


class Script:
    """Workers that answer as told, and remember when they were asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        self.under_way = 0
        self.most_under_way = 0

    async def __call__(self, worker: Worker, method: str, path: str, *, timeout_s: float, **_: object) -> Answer:
        loop = asyncio.get_running_loop()
        self.asked[path].append(loop.time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            reply = self.replies.get(f"{worker.url}{path}", self.replies.get(path, "connection refused"))
            if reply is None:
                await asyncio.sleep(timeout_s)
                raise Unreachable(f"no answer within {timeout_s:g} s")
            if isinstance(reply, str):
                raise Unreachable(reply)
            return reply
        finally:
            self.under_way -= 1


class JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: the time that it was to wait has passed when it returns."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0 if timeout else timeout)
        if not found and timeout:
            self.passed += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return 1000.0 + self.jumping.passed


class Loops:
    """A world whose clocks are the loop's, and its scripted workers."""

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self.script = Script()
        self.mono: Callable[[], float] = asyncio.get_running_loop().time
        self.world = World(settings, mono=self.mono)
        self.registry = self.world.registry

    def checker(self, concurrency: int = 128) -> HealthChecker:
        return HealthChecker(self.registry, self.script, mono=self.mono, rng=Random(1), concurrency=concurrency)


Test = Callable[[Loops], Coroutine[None, None, None]]


def in_virtual_time(test: Test) -> Callable[[], None]:
    """Run the test on a loop of its own whose clock jumps."""

    async def main() -> None:
        await test(Loops())

    def run() -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    run.__name__ = test.__name__
    return run


@in_virtual_time
async def test_the_clock_of_these_tests_jumps(loops: Loops) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(3600)
    assert loop.time() - began == pytest.approx(3600, abs=1)


@in_virtual_time
async def test_the_clock_of_these_tests_does_not_wait_for_a_timer_that_was_called_off(loops: Loops) -> None:
    loop = asyncio.get_running_loop()
    began, real = loop.time(), time.monotonic()
    loop.call_later(10, print).cancel()
    await asyncio.sleep(20)
    assert loop.time() - began == pytest.approx(20, abs=1)
    assert time.monotonic() - real < 5


@in_virtual_time
async def test_a_new_worker_is_probed_at_once_then_every_second_and_joins_quickly(loops: Loops) -> None:
    async with loops.checker():
        entry = loops.world.add()
        await asyncio.sleep(10.5)
        times = loops.script.asked["/health"]
        assert times[0] == pytest.approx(1000, abs=0.05)
        gaps = [b - a for a, b in pairwise(times)]
        assert all(0.85 <= gap <= 1.01 for gap in gaps), gaps
        loops.world.discover(entry)
        loops.script.replies["/health"] = OK
        answering_since = loops.mono()
        ready_at: list[float] = []
        loops.registry.watch(lambda _event: ready_at.append(loops.mono()))
        await asyncio.sleep(3)
        assert entry.worker.state is State.READY
        assert ready_at[-1] - answering_since < 1.5


@in_virtual_time
async def test_a_ready_worker_is_probed_at_its_interval_with_jitter(loops: Loops) -> None:
    loops.script.replies["/health"] = OK
    async with loops.checker():
        entry = loops.world.add()
        loops.world.discover(entry)
        await asyncio.sleep(600)
        gaps = [b - a for a, b in pairwise(loops.script.asked["/health"][2:])]
        assert all(26.9 <= gap <= 30.1 for gap in gaps)
        assert len({round(gap, 2) for gap in gaps}) > 5


@in_virtual_time
async def test_a_failed_request_and_the_probe_it_brings_make_a_worker_unhealthy_at_once(loops: Loops) -> None:
    loops.script.replies["/health"] = OK
    async with loops.checker() as checker:
        entry = loops.world.add()
        loops.world.discover(entry)
        await asyncio.sleep(5)
        assert entry.worker.state is State.READY
        loops.script.replies["/health"] = "connection refused"
        if loops.registry.observe_traffic_failure(entry, 1, "connection refused", TEST, gone=False):
            checker.probe_now(entry.worker.id)
        await asyncio.sleep(0.1)
        assert entry.worker.state is State.UNHEALTHY
        loops.script.replies["/health"] = OK
        await asyncio.sleep(2)
        assert entry.worker.state is State.READY


@in_virtual_time
async def test_a_probe_asked_for_while_one_is_under_way_follows_it(loops: Loops) -> None:
    loops.script.replies["/health"] = None
    async with loops.checker() as checker:
        entry = loops.world.add(health=HealthOverride(timeout_s=2))
        await asyncio.sleep(1)
        checker.probe_now(entry.worker.id)
        await asyncio.sleep(0.1)
        assert len(loops.script.asked["/health"]) == 1
        await asyncio.sleep(1)
        assert len(loops.script.asked["/health"]) == 2
        assert loops.script.most_under_way == 1
        assert "no answer within 2 s" in entry.health.last_error


@in_virtual_time
async def test_no_more_probes_than_allowed_are_under_way_and_all_workers_get_theirs(loops: Loops) -> None:
    loops.script.replies["/health"] = None
    async with loops.checker(concurrency=5):
        entries = [loops.world.add(f"http://a:{n}", health=HealthOverride(timeout_s=1)) for n in range(1, 31)]
        await asyncio.sleep(8)
        assert loops.script.most_under_way == 5
        assert all(entry.health.last_check is not None for entry in entries)


@in_virtual_time
async def test_a_workers_own_path_and_a_bad_status_are_used_and_told(loops: Loops) -> None:
    loops.script.replies["/ping"] = Answer(503, {}, b"")
    async with loops.checker():
        entry = loops.world.add(health=HealthOverride(endpoint="/ping"))
        await asyncio.sleep(0.5)
        assert entry.health.last_error == "/ping answered 503"


@in_virtual_time
async def test_a_disabled_check_asks_nothing_and_a_removed_worker_is_forgotten(loops: Loops) -> None:
    async with loops.checker() as checker:
        loops.world.add("http://a:1", health=HealthOverride(disabled=True))
        await asyncio.sleep(100)
        assert not loops.script.asked
        gone = loops.world.add("http://a:2")
        await asyncio.sleep(1)
        loops.registry.remove_now(gone, "why", TEST)
        asked = len(loops.script.asked["/health"])
        await asyncio.sleep(100)
        assert len(loops.script.asked["/health"]) == asked
        checker.probe_now(gone.worker.id)


@in_virtual_time
async def test_removing_a_worker_cancels_its_probe(loops: Loops) -> None:
    loops.script.replies["/health"] = None
    async with loops.checker():
        entry = loops.world.add()
        await asyncio.sleep(0.1)
        assert loops.script.under_way == 1
        loops.registry.remove_now(entry, "why", TEST)
        await asyncio.sleep(0.1)
        assert loops.script.under_way == 0


@in_virtual_time
async def test_the_startup_timeout_fails_a_worker_and_a_retry_gets_its_own(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=60):
        entry = loops.world.add()
        await asyncio.sleep(59)
        assert entry.worker.state is State.REGISTERING
        await asyncio.sleep(2)
        assert entry.worker.state is State.FAILED
        loops.registry.restart(entry, entry.worker.spec, "retry", TEST)
        await asyncio.sleep(59)
        assert entry.worker.state is State.REGISTERING
        await asyncio.sleep(2)
        assert entry.worker.state is State.FAILED


@in_virtual_time
async def test_a_removal_ends_at_its_deadline_though_the_wall_clock_jumps(loops: Loops) -> None:
    async with Deadlines(loops.registry, mono=loops.mono, startup_s=1e6):
        entry = loops.world.ready()
        entry.meters.began()
        loops.registry.drain(entry, Intent.REMOVE, loops.world.wall() + 30, "why", TEST)
        loops.world.now += 86_400  # the wall clock alone
        await asyncio.sleep(29)
        assert entry.worker.id in loops.registry.entries
        await asyncio.sleep(2)
        assert entry.worker.id not in loops.registry.entries


def json_answer(text: str) -> Answer:
    return Answer(200, {"content-type": "application/json"}, text.encode())


@in_virtual_time
async def test_discovery_runs_when_a_worker_turns_healthy_and_tells_what_was_missing(loops: Loops) -> None:
    loops.script.replies |= {
        "/v1/models": json_answer('{"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}'),
        "/version": json_answer('{"version": "0.32.0"}'),
        "/server_info": Answer(404, {}, b""),
        "/get_server_info": Answer(404, {}, b""),
    }
    async with Discovery(loops.registry, loops.script):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert entry.worker.state is State.READY
        told = entry.worker.capabilities
        assert (told.engine, told.version, told.model_id, told.context_length) == (Engine.VLLM, "0.32.0", "m", 4096)
        assert told.missing == ("/get_model_info: no answer (connection refused)", "/get_server_info: 404")


@in_virtual_time
async def test_a_worker_whose_models_fail_still_registers_and_is_asked_again(loops: Loops) -> None:
    loops.script.replies |= {"/v1/models": Answer(500, {}, b""), "/version": Answer(404, {}, b"")}
    async with Discovery(loops.registry, loops.script):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert entry.worker.state is State.READY
        assert (entry.worker.engine, entry.worker.model_id) == (Engine.GENERIC, None)
        loops.script.replies["/v1/models"] = json_answer('{"data": [{"id": "late"}]}')
        await asyncio.sleep(60)
        assert entry.worker.model_id == "late"


@in_virtual_time
async def test_discovery_of_a_worker_that_hangs_is_given_up_in_bounded_time(loops: Loops) -> None:
    for path in ("/v1/models", "/version", "/server_info", "/get_server_info", "/model_info", "/get_model_info"):
        loops.script.replies[path] = None
    async with Discovery(loops.registry, loops.script):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(11)
        assert entry.worker.state is State.READY
        assert any("gave up" in text for text in entry.worker.capabilities.missing)


@in_virtual_time
async def test_a_recovered_worker_is_asked_again_but_a_silent_one_is_not_unlearned(loops: Loops) -> None:
    loops.script.replies["/v1/models"] = json_answer('{"data": [{"id": "old"}]}')
    async with Discovery(loops.registry, loops.script) as discovery:
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert entry.worker.model_id == "old"
        loops.world.probe(entry, False, False, False)
        loops.script.replies["/v1/models"] = json_answer('{"data": [{"id": "new"}]}')
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert entry.worker.model_id == "new"
        loops.script.replies["/v1/models"] = "connection refused"
        discovery.discover_now(entry.worker.id)
        await asyncio.sleep(30)
        assert entry.worker.model_id == "new"


def monitor(loops: Loops) -> LoadMonitor:
    return LoadMonitor(loops.registry, loops.script, mono=loops.mono, rng=Random(1), interval_s=10)


@in_virtual_time
async def test_loads_are_polled_from_the_best_source_that_answers(loops: Loops) -> None:
    loops.script.replies |= {
        SGLANG_LOADS: Answer(404, {}, b""),
        SGLANG_LOAD: json_answer('[{"num_reqs": 3, "num_waiting_reqs": 1}]'),
    }
    async with monitor(loops):
        entry = loops.world.ready(engine=Engine.SGLANG)
        await asyncio.sleep(45)
        assert entry.load is not None
        assert (entry.load.running, entry.load.waiting, entry.load.kv_usage) == (2, 1, None)
        assert len(loops.script.asked[SGLANG_LOADS]) == 1, "a source that does not exist is not asked again and again"
        assert 4 <= len(loops.script.asked[SGLANG_LOAD]) <= 6


@in_virtual_time
async def test_a_load_that_can_no_longer_be_had_is_unknown_and_gone_with_the_state(loops: Loops) -> None:
    loops.script.replies[METRICS] = Answer(200, {}, b"vllm:num_requests_waiting 4\n")
    async with monitor(loops):
        entry = loops.world.ready()
        await asyncio.sleep(1)
        assert entry.load is not None
        assert (entry.load.waiting, entry.load.running) == (4, None)
        loops.script.replies[METRICS] = None
        await asyncio.sleep(30)
        assert entry.load is None
        loops.script.replies[METRICS] = Answer(200, {}, b"vllm:num_requests_waiting 4\n")
        await asyncio.sleep(30)
        assert entry.load is not None
        loops.world.probe(entry, False, False, False)
        assert entry.load is None
        asked = len(loops.script.asked[METRICS])
        await asyncio.sleep(100)
        assert len(loops.script.asked[METRICS]) == asked
