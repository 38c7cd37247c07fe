"""Requests as ids in fleets of several models, and of prefill and decode workers."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import pytest_asyncio

from gateway.completions.asked import MOST_ANSWERS, asked
from gateway.completions.prompts import AT_ONCE, prompts_for
from gateway.engines.generation import EngineError, ErrorKind, Generate, Piece
from gateway.errors import BadRequest
from gateway.proxy.engine_upstream import BEGUN_AT_ONCE
from gateway.proxy.generating import Generating
from gateway.proxy.messages import Request
from gateway.proxy.opening import open_exchange
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.model import Engine, ModelCard, Role
from tests.unit.completions_world import encoded, tokenizer
from tests.unit.proxy_scene import TEST, FakeClient, Scene
from tests.unit.test_proxy_generated import Engines, FakeEngine

PROMPT = "Which of them is it?"
FAMILIES = {"m": "qwen", "other": "llama3"}
"""Models and their tokenizers."""


class Tokenizers:
    def get(self, name: str) -> Tokenizer | None:
        return tokenizer(FAMILIES[name]) if name in FAMILIES else None

    def missing_for(self, models: Any) -> dict[str, str]:
        return dict.fromkeys(models, "it was never added")


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.now = 0
        self.over = False

    def tick(self) -> None:
        self.now += 1
        if not self.over:
            asyncio.get_running_loop().call_soon(self.tick)


@contextmanager
def counted_turns() -> Iterator[Turns]:
    turns = Turns()
    turns.tick()
    yield turns
    turns.over = True


class TimedEngine(FakeEngine):
    """Knows in which turn of the loop its calls began."""

    def __init__(self, says: FakeEngine, turns: Turns) -> None:
        super().__init__()
        self.says, self.turns = says.says, turns
        self.began: Counter[int] = Counter()

    async def generate(self, call: Generate, *, timeout_s: float) -> AsyncGenerator[Piece, None]:
        self.began[self.turns.now] += 1
        async for piece in super().generate(call, timeout_s=timeout_s):
            yield piece


class Fleet:
    """Engines by URL, and clients' requests to whatever serves them."""

    def __init__(self) -> None:
        self.scene = Scene(workers=0)
        self.engines: dict[str, FakeEngine] = {}
        self.parts = Generating(cast("Any", Tokenizers()), cast("Any", Engines(self.engines)), lambda: 1234.5)
        self.scene.traffic.generating = self.parts

    def add(self, url: str, model: str, **spec: Any) -> FakeEngine:
        self.scene.entries.append(self.scene.add(url, models=(ModelCard(model),), **spec))
        engine = self.engines[url] = FakeEngine()
        engine.says[0] = Piece(0, tuple(encoded("one", FAMILIES[model])))
        return engine

    async def ask(self, route: bytes, fields: dict[bytes, bytes] | None = None, **body: Any) -> FakeClient:
        """Post this and wait for the answer."""
        client, data, fields = FakeClient(), json.dumps(body).encode(), fields or {}
        request = Request(b"POST", route, route, list(fields.items()), fields, True, False, len(data), b"id-1", data)
        request.complete = True
        open_exchange(self.scene.traffic, client, request).begin()
        async with asyncio.timeout(5):
            while not client.ended:
                for _ in [timer for timer in self.scene.timers if not timer.cancelled]:
                    self.scene.tick()
                await asyncio.sleep(0)
        return client


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    made = Fleet()
    yield made
    await made.parts.scope.close()


async def test_a_prompt_without_a_model_goes_only_where_its_ids_mean_the_same(fleet: Fleet) -> None:
    engines = {model: fleet.add(f"grpc://{model}:1", model, engine=Engine.SGLANG) for model in FAMILIES}
    for _ in range(8):
        assert (await fleet.ask(b"/generate", text=PROMPT)).status == 200
    assert encoded(PROMPT, "qwen") != encoded(PROMPT, "llama3")
    for model, engine in engines.items():
        special = tokenizer(FAMILIES[model])
        meant = list(await special.encode(PROMPT, add_special_tokens=True))
        assert [list(call.token_ids) for call in engine.calls] == [meant] * len(engine.calls)
    assert sum(len(engine.calls) for engine in engines.values()) == 8


async def test_a_prompt_without_a_model_goes_to_a_model_that_has_a_worker_now(fleet: Fleet) -> None:
    down, up = (fleet.add(f"grpc://{model}:1", model, engine=Engine.SGLANG) for model in FAMILIES)
    fleet.scene.registry.cordon(fleet.scene.entries[0], "a test", TEST)
    client = await fleet.ask(b"/generate", text=PROMPT)
    assert (client.status, len(down.calls), len(up.calls)) == (200, 0, 1)
    assert list(up.calls[0].token_ids) == list(await tokenizer("llama3").encode(PROMPT, add_special_tokens=True))


async def test_a_prompt_without_a_model_for_one_worker_is_made_of_its_ids(fleet: Fleet) -> None:
    first, second = (fleet.add(f"grpc://{model}:1", model, engine=Engine.SGLANG) for model in FAMILIES)
    client = await fleet.ask(b"/generate", {b"x-smg-target-worker": b"grpc://other:1"}, text=PROMPT)
    assert (client.status, len(first.calls), len(second.calls)) == (200, 0, 1)
    assert list(second.calls[0].token_ids) == list(await tokenizer("llama3").encode(PROMPT, add_special_tokens=True))


async def test_a_prompt_without_a_model_is_tokenized_by_what_there_is(fleet: Fleet) -> None:
    """A model whose tokenizer is still missing keeps nobody from another one's workers."""
    FAMILIES["late"] = "qwen"
    try:
        late = fleet.add("grpc://late:1", "late", engine=Engine.SGLANG)
    finally:
        del FAMILIES["late"]
    there = fleet.add("grpc://m:1", "m", engine=Engine.SGLANG)
    client = await fleet.ask(b"/generate", text=PROMPT)
    assert (client.status, len(late.calls), len(there.calls)) == (200, 0, 1)


async def test_a_prefill_half_that_breaks_its_promises_does_not_leave_the_client_waiting(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    prefill = fleet.add("grpc://prefill:1", "m", engine=Engine.SGLANG, role=Role.PREFILL)
    decode = fleet.add("grpc://decode:1", "m", engine=Engine.SGLANG, role=Role.DECODE)
    prefill.says = [ValueError("a bug")]
    decode.says = [asyncio.Event()]
    client = await fleet.ask(b"/v1/completions", model="m", prompt=PROMPT)
    await fleet.parts.scope.close()
    assert (client.status, decode.closed) == (502, len(decode.calls))
    assert "generation_failed" in caplog.text
    assert fleet.scene.traffic.in_flight == 0


async def test_calls_for_many_prompts_begin_a_few_at_a_time(fleet: Fleet) -> None:
    with counted_turns() as turns:
        engine = TimedEngine(fleet.add("grpc://m:1", "m", engine=Engine.VLLM), turns)
        fleet.engines["grpc://m:1"] = engine
        client = await fleet.ask(b"/v1/completions", model="m", prompt=[PROMPT] * 100)
        body = json.loads(client.got.partition(b"\r\n\r\n")[2])
    assert [choice["text"] for choice in body["choices"]] == ["one"] * 100
    assert (engine.began.total(), max(engine.began.values())) == (100, BEGUN_AT_ONCE)


async def test_calls_that_have_not_begun_are_forgotten_when_one_fails(fleet: Fleet) -> None:
    engine = fleet.add("grpc://m:1", "m", engine=Engine.VLLM)
    engine.says = [EngineError(ErrorKind.INVALID, "one too many")]
    client = await fleet.ask(b"/v1/completions", model="m", prompt=[PROMPT] * 100)
    await fleet.parts.scope.close()
    assert client.status == 400
    assert 1 <= len(engine.calls) <= 2 * BEGUN_AT_ONCE
    assert engine.closed == len(engine.calls)


async def test_many_short_prompts_are_encoded_a_few_in_a_turn() -> None:
    wanted = asked(b"/v1/completions", json.dumps({"model": "m", "prompt": [PROMPT] * 40}).encode())
    with counted_turns() as turns:
        before = turns.now
        made = await prompts_for(wanted, tokenizer(), None)
        assert (len(made), turns.now - before) == (40, 40 // AT_ONCE)


@pytest.mark.parametrize(("count", "fits"), [(16, True), (17, False)])
def test_choices_of_all_prompts_together_are_bounded(count: int, *, fits: bool) -> None:
    per_prompt = MOST_ANSWERS // 16
    native = json.dumps({"text": ["a"] * count, "sampling_params": {"n": per_prompt}}).encode()
    openai = json.dumps({"model": "m", "prompt": ["a"] * count, "n": per_prompt}).encode()
    for route, body, field in ((b"/generate", native, "sampling_params.n"), (b"/v1/completions", openai, "n")):
        if fits:
            assert asked(route, body).sampling.n == per_prompt
            continue
        with pytest.raises(BadRequest, match="choices over all 17 prompts") as caught:
            asked(route, body)
        assert caught.value.field == field
