"""OpenAI's client before workers of the same model, over HTTP and over gRPC: it sees no difference."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from gateway.gateway import Gateway
from gateway.simulator.planning import chat_prompt
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.text import answer
from gateway.simulator.tokenizer import sim_tokenizer
from tests.integration.simulator_world import until
from tests.integration.test_grpc_workers import gateway, ready

MODEL = "sim"
KINDS = ("http", "sglang", "vllm")
FLAGS = {"http": ("--tokenizer",), "sglang": ("--grpc", "sglang"), "vllm": ("--grpc", "vllm")}
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Was macht ein Drain? 🚰 déjà vu"}]
SAID = answer(chat_prompt(MESSAGES), 40)


@dataclass
class World:
    kind: str
    engines: list[SimulatorProcess]
    running: Gateway
    client: Any
    """OpenAI's; untyped, as plain dicts are given to it."""

    async def idle(self, engine: SimulatorProcess) -> dict[str, Any]:
        async def check() -> dict[str, Any] | None:
            stats = await engine.stats()
            return stats if not stats["running"] and not stats["waiting"] else None

        found: dict[str, Any] = await until(check, "the engine to be idle")
        return found

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.post(self.running.address + path, json=body) as got:
            return got.status, await got.json()


async def status_of(running: Gateway, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(running.address + path) as got:
        return got.status, await got.json()


@asynccontextmanager
async def world(kind: str, *flags: str, kinds: tuple[str, ...] = (), **settings: Any) -> AsyncIterator[World]:
    """Engines, a gateway that is ready, and a client. `kinds`: of several engines, in place of one."""
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(SimulatorProcess("--served-model-name", MODEL, *FLAGS[each], *flags))
            for each in kinds or (kind,)
        ]
        running = await stack.enter_async_context(gateway(*(engine.url for engine in engines), **settings))
        for engine in engines:
            await ready(running, engine.url)

        async def is_ready() -> bool:
            return (await status_of(running, "/readiness"))[0] == 200

        await until(is_ready, "the gateway to be ready")
        client = openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="k", max_retries=0)
        yield World(kind, engines, running, await stack.enter_async_context(client))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def w(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world(request.param) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


def usage_of(told: Any) -> tuple[int, int, int]:
    assert told.prompt_tokens_details.cached_tokens is not None
    return told.prompt_tokens, told.completion_tokens, told.total_tokens


async def streamed(w: World, **ask: Any) -> tuple[str, list[Any]]:
    """All text of a chat's first choice, and the chunks."""
    chunks = [chunk async for chunk in await w.client.chat.completions.create(model=MODEL, stream=True, **ask)]
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == 0]
    return "".join(choice.delta.content or "" for choice in choices), chunks


async def test_a_chat_is_answered_with_the_same_text_and_the_same_usage(w: World) -> None:
    got = await w.client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=40)
    assert got.object == "chat.completion"
    assert got.id.startswith("chatcmpl-")
    assert got.model == MODEL
    (choice,) = got.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", SAID.text)
    assert (choice.finish_reason, choice.logprobs) == ("length", None)
    prompt = len(sim_tokenizer().encode_chat([f"<{m['role']}> {m['content']}" for m in MESSAGES]))
    assert usage_of(got.usage) == (prompt, 40, prompt + 40)


async def test_a_stream_begins_with_the_role_and_ends_with_reason_and_usage(w: World) -> None:
    ask = {"messages": MESSAGES, "max_completion_tokens": 40, "stream_options": {"include_usage": True}}
    text, chunks = await streamed(w, **ask)
    assert text == SAID.text
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "length"
    assert all(choice.finish_reason is None for chunk in chunks[:-2] for choice in chunk.choices)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 40


async def test_an_answer_that_ends_by_itself_counts_its_end_token_and_hides_it(w: World) -> None:
    whole = answer(chat_prompt(MESSAGES))
    got = await w.client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert (got.choices[0].message.content, got.choices[0].finish_reason) == (whole.text, "stop")
    assert got.usage.completion_tokens == len(whole.pieces) + 1
    text, _ = await streamed(w, messages=MESSAGES)
    assert text == whole.text


@pytest.mark.parametrize("stream", [False, True])
async def test_stop_strings_cut_across_the_borders_of_tokens(w: World, *, stream: bool) -> None:
    words = SAID.text.split(" ")
    stop = f"{words[4][-2:]} {words[5]} {words[6][:2]}"
    wanted = SAID.text[: SAID.text.index(stop)]
    ask = {"messages": MESSAGES, "max_tokens": 40, "stop": [stop, "never said"]}
    if stream:
        text, chunks = await streamed(w, stream_options={"include_usage": True}, **ask)
        finish, usage = chunks[-2].choices[0].finish_reason, chunks[-1].usage
    else:
        got = await w.client.chat.completions.create(model=MODEL, **ask)
        text, finish, usage = got.choices[0].message.content, got.choices[0].finish_reason, got.usage
    assert (text, finish, usage.completion_tokens) == (wanted, "stop", 7)


async def test_several_choices_are_told_apart(w: World) -> None:
    wanted = [answer(chat_prompt(MESSAGES), 12, index=index).text for index in range(3)]
    got = await w.client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=12, n=3)
    assert [choice.message.content for choice in got.choices] == wanted
    assert got.usage.completion_tokens == 36
    texts = ["", "", ""]
    ask = {"messages": MESSAGES, "max_tokens": 12, "n": 3, "stream": True}
    async for chunk in await w.client.chat.completions.create(model=MODEL, **ask):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == wanted


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_name_each_token_with_its_bytes_and_alternatives(w: World, *, stream: bool) -> None:
    ask = {"messages": MESSAGES, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    if stream:
        _, chunks = await streamed(w, **ask)
        told = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
        content = [token for each in told for token in each.content]
    else:
        got = await w.client.chat.completions.create(model=MODEL, **ask)
        content = got.choices[0].logprobs.content
    assert [token.token for token in content] == list(SAID.pieces[:6])
    assert [bytes(token.bytes).decode() for token in content] == list(SAID.pieces[:6])
    ids = sim_tokenizer().ids_of(SAID.pieces[:6])
    assert [token.logprob for token in content] == [sim_tokenizer().logprobs(ids, at, 1)[0] for at in range(6)]
    assert [len(token.top_logprobs) for token in content] == [2] * 6
    assert [token.top_logprobs[0].token for token in content] == list(SAID.pieces[:6])


async def test_completions_of_texts_and_of_ids_with_logprobs(w: World) -> None:
    prompts = ["Once upon a time", "Zwölf Boxkämpfer 🥊"]
    wanted = [answer(prompt, 5).text for prompt in prompts]
    got = await w.client.completions.create(model=MODEL, prompt=prompts, max_tokens=5, logprobs=1)
    assert (got.object, [choice.text for choice in got.choices]) == ("text_completion", wanted)
    first = got.choices[0].logprobs
    assert first.tokens == list(answer(prompts[0], 5).pieces)
    assert first.text_offset[:2] == [0, len(first.tokens[0])]
    assert [list(each) for each in first.top_logprobs] == [[token] for token in first.tokens]
    ids = [sim_tokenizer().encode(prompt) for prompt in prompts]
    for given, texts in ((ids[0], wanted[:1]), (ids, wanted)):
        got = await w.client.completions.create(model=MODEL, prompt=given, max_tokens=5)
        assert [choice.text for choice in got.choices] == texts
        assert got.usage.prompt_tokens == sum(map(len, ids[: len(texts)]))
    chunks = [c async for c in await w.client.completions.create(model=MODEL, prompt=prompts[0], stream=True)]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == answer(prompts[0], 16).text


async def test_embeddings_in_both_encodings(w: World) -> None:
    texts = ["one", "zwei"]
    plain = await w.client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    packed = await w.client.embeddings.create(model=MODEL, input=texts)
    assert [each.index for each in plain.data] == [0, 1]
    assert plain.data[0].embedding == pytest.approx(packed.data[0].embedding)
    assert plain.data[0].embedding != plain.data[1].embedding
    assert plain.usage.prompt_tokens == sum(len(sim_tokenizer().encode(text)) for text in texts)
    ask = {"model": MODEL, "input": "one", "encoding_format": "base64"}
    raw = (await w.post("/v1/embeddings", ask))[1]["data"][0]["embedding"]
    assert len(base64.b64decode(raw)) == 4 * len(plain.data[0].embedding)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"max_tokens": 1_000_000}, "context_length_exceeded", "maximum context length is 32768"),
        ({"temperature": 3}, None, "temperature"),
        ({"n": 0}, None, "n: given 0"),
        ({"max_tokens": "many"}, None, "max_tokens"),
        ({"messages": []}, None, "messages"),
        ({"stop": 5}, None, "stop"),
        ({"top_logprobs": 99, "logprobs": True}, None, "top_logprobs"),
    ],
)
async def test_bad_requests_are_refused_alike(w: World, change: dict[str, Any], code: str | None, says: str) -> None:
    ask = {"model": MODEL, "messages": MESSAGES, **change}
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        await w.client.chat.completions.create(**ask)
    assert caught.value.type == "invalid_request_error"
    assert code is None or caught.value.code == code
    got = await w.client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert got.choices[0].message.content == SAID.pieces[0]


async def test_a_model_that_nobody_serves_is_not_found(w: World) -> None:
    with pytest.raises(openai.NotFoundError, match="other"):
        await w.client.chat.completions.create(model="other", messages=MESSAGES)


async def test_the_native_route_streams_the_text_said_so_far(w: World) -> None:
    body = {"text": "Say it", "sampling_params": {"max_new_tokens": 6}, "return_logprob": True, "model": MODEL}
    if w.kind == "vllm":
        body["top_logprobs_num"] = 1
    said = answer("Say it", 6)
    status, got = await w.post("/generate", body)
    assert (status, got["text"], got["output_ids"]) == (200, said.text, sim_tokenizer().ids_of(said.pieces))
    meta = got["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": 6}
    assert (meta["prompt_tokens"], meta["completion_tokens"]) == (len(sim_tokenizer().encode("Say it")), 6)
    ids = sim_tokenizer().ids_of(said.pieces)
    assert meta["output_token_logprobs"] == [
        [sim_tokenizer().logprobs(ids, at, 1)[0], ids[at], None] for at in range(6)
    ]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{w.running.address}/generate", json={**body, "stream": True}) as answered,
    ):
        assert answered.headers["content-type"].startswith("text/event-stream")
        lines = [line[6:] for line in (await answered.read()).split(b"\n\n") if line]
    assert lines[-1] == b"[DONE]"
    texts = [json.loads(line)["text"] for line in lines[:-1]]
    assert texts == sorted(texts, key=len)
    assert texts[-1] == said.text


async def test_a_client_that_leaves_frees_the_engine(w: World) -> None:
    stream = await w.client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    stats = await w.idle(w.engines[0])
    assert stats["running"] == 0

    async def let_go() -> bool:
        return w.running.in_flight == 0

    await until(let_go, "the request to be over")


async def test_many_chats_at_once_each_get_their_own_answer(w: World) -> None:
    async def one(number: int) -> None:
        ask = [{"role": "user", "content": f"chat {number}"}]
        text, _ = await streamed(w, messages=ask, max_tokens=20)
        assert text == answer(chat_prompt(ask), 20).text

    async with asyncio.TaskGroup() as group:
        for number in range(24):
            group.create_task(one(number))
