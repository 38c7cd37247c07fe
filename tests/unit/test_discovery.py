"""Discovery under bad conditions: whatever a worker answers, it registers, and what was known is not lost."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.capabilities import MODELS, refreshed
from gateway.workers.ask import Answer
from gateway.workers.discovery import CONCURRENCY, Discovery
from gateway.workers.facts import Discovered
from gateway.workers.model import Capabilities, Engine, State, Worker
from tests.unit.test_loops import Loops, in_virtual_time, json_answer

NOT_FOUND = Answer(404, {}, b"")
LLAMA = {
    "/v1/models": json_answer('{"data": [{"id": "llama", "owned_by": "sglang", "max_model_len": 8192}]}'),
    "/server_info": json_answer('{"model_path": "/m/llama", "served_model_name": "llama", "tp_size": 2}'),
    "/model_info": json_answer('{"model_path": "/m/llama"}'),
    "/version": NOT_FOUND,
}


@in_virtual_time
async def test_a_reply_nested_beyond_reason_is_not_json_and_the_worker_registers(loops: Loops) -> None:
    loops.script.replies["/v1/models"] = Answer(200, {}, b"[" * 100_000)
    async with Discovery(loops.registry, loops.script):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(20)
        assert entry.worker.state is State.READY
        assert "/v1/models: not JSON" in entry.worker.capabilities.missing


@in_virtual_time
async def test_a_defect_in_asking_does_not_keep_a_healthy_worker_from_its_traffic(loops: Loops) -> None:
    async def ask(worker: Worker, method: str, path: str, **_: object) -> Answer:
        raise ZeroDivisionError("a defect of ours")

    async with Discovery(loops.registry, ask):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert (entry.worker.state, entry.worker.engine) == (State.READY, Engine.GENERIC)
        assert entry.worker.capabilities.missing == ("discovery failed: ZeroDivisionError",)


@in_virtual_time
async def test_a_fleet_that_starts_together_is_asked_a_few_workers_at_a_time(loops: Loops) -> None:
    loops.script.replies |= LLAMA
    async with Discovery(loops.registry, loops.script):
        entries = [loops.world.add(f"http://a:{n}") for n in range(1, 501)]
        for entry in entries:
            loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert all(entry.worker.state is State.READY for entry in entries)
        assert CONCURRENCY <= loops.script.most_under_way <= CONCURRENCY * 4


@in_virtual_time
async def test_an_endpoint_that_is_silent_for_once_takes_nothing_away_and_is_asked_again(loops: Loops) -> None:
    loops.script.replies |= LLAMA
    async with Discovery(loops.registry, loops.script) as discovery:
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        known = entry.worker.capabilities
        assert (known.model_id, known.tp_size, known.labels["tp_size"]) == ("llama", 2, "2")
        for silent in ("/server_info", "/v1/models"):
            loops.script.replies |= {**LLAMA, silent: None}
            discovery.discover_now(entry.worker.id)
            await asyncio.sleep(20)
            assert entry.worker.capabilities == known
        facts = [event.fact for event in loops.world.events()]
        assert sum(isinstance(fact, Discovered) for fact in facts) == 1, "a passing silence is no news"
        loops.script.replies |= {**LLAMA, "/v1/models": json_answer('{"data": [{"id": "qwen", "owned_by": "vllm"}]}')}
        await asyncio.sleep(40)
        assert entry.worker.model_id == "qwen"


@in_virtual_time
async def test_a_worker_that_is_down_is_not_asked_what_it_serves_until_it_is_back(loops: Loops) -> None:
    loops.script.replies["/v1/models"] = Answer(500, {}, b"")
    async with Discovery(loops.registry, loops.script):
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(10)
        loops.world.probe(entry, False, False, False)
        await asyncio.sleep(100)
        asked = len(loops.script.asked["/v1/models"])
        await asyncio.sleep(1000)
        assert len(loops.script.asked["/v1/models"]) == asked
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert len(loops.script.asked["/v1/models"]) > asked


@in_virtual_time
async def test_jobs_that_are_over_leave_nothing_behind(loops: Loops) -> None:
    loops.script.replies |= LLAMA
    async with Discovery(loops.registry, loops.script) as discovery:
        entry = loops.world.add()
        loops.world.probe(entry, True, True)
        await asyncio.sleep(1)
        assert discovery._jobs == {}


KNOWN = Capabilities(
    engine=Engine.SGLANG,
    model_id="m",
    models=("m", "n"),
    tp_size=2,
    labels={"tp_size": "2"},
    missing=("/version: 404",),
)


@pytest.mark.parametrize(
    ("found", "silent", "expected"),
    [
        (Capabilities(engine=Engine.VLLM, model_id="x", models=("x",)), {"/server_info"}, None),
        (Capabilities(engine=Engine.SGLANG, model_id="m", models=("m",)), set(), None),
        (Capabilities(engine=Engine.GENERIC), set(), KNOWN),
        (Capabilities(engine=Engine.GENERIC), {MODELS}, KNOWN),
        (Capabilities(engine=Engine.SGLANG, model_id="/path", models=("/path",)), {MODELS}, KNOWN),
        (Capabilities(engine=Engine.GENERIC, model_id="m", models=("m", "n")), {"/server_info"}, KNOWN),
        (
            Capabilities(engine=Engine.SGLANG, model_id="m", models=("m", "o"), tp_size=4, labels={"tp_size": "4"}),
            {"/model_info"},
            replace(KNOWN, models=("m", "o"), tp_size=4, labels={"tp_size": "4"}),
        ),
    ],
    ids=["another model", "all answered", "no model", "no models reply", "only a path", "no info reply", "some news"],
)
def test_what_only_silence_left_out_is_kept(
    found: Capabilities, silent: set[str], expected: Capabilities | None
) -> None:
    told = refreshed(KNOWN, found, silent)
    assert replace(told, missing=()) == replace(expected or found, missing=())


capabilities = st.builds(
    Capabilities,
    engine=st.sampled_from(Engine),
    version=st.none() | st.text(max_size=3),
    model_id=st.none() | st.sampled_from(["a", "b"]),
    tp_size=st.none() | st.integers(1, 8),
    labels=st.dictionaries(st.sampled_from(["x", "y"]), st.text(max_size=2)),
)


@given(capabilities, capabilities, st.sets(st.sampled_from([MODELS, "/version", "/server_info", "/model_info"])))
def test_asking_again_is_stable_and_what_was_found_of_the_same_model_wins(
    known: Capabilities, found: Capabilities, silent: set[str]
) -> None:
    told = refreshed(known, found, silent)
    assert refreshed(told, found, silent) == told
    if found.model_id == known.model_id is not None:
        assert found.tp_size in (None, told.tp_size)
        assert told.labels.items() >= found.labels.items()
    assert refreshed(Capabilities(), found, silent) == found
