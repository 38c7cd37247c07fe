"""Streams as clients see them: `openai` as the client, and clients that leave."""

import asyncio

import openai
from openai.types.chat import ChatCompletionMessageParam

from gateway.simulator.planning import chat_prompt
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.text import answer
from tests.integration.simulator_world import MODEL, QUESTION, chat, client, settled, stream, until

SAID = answer(chat_prompt(QUESTION), 16).text


def openai_client(engine: SimulatorProcess) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="unused", max_retries=0, timeout=20)


async def test_the_openai_client_reads_whole_answers_and_streams_alike() -> None:
    async with SimulatorProcess("--engine", "vllm", "--instant") as engine, openai_client(engine) as client:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION[0]["content"]}]
        whole = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=16, n=2)
        streams = await client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=16, n=2, stream=True, stream_options={"include_usage": True}
        )
        said, reasons, usage = ["", ""], ["", ""], None
        async for chunk in streams:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                said[choice.index] += choice.delta.content or ""
                reasons[choice.index] = choice.finish_reason or reasons[choice.index]
        assert said == [choice.message.content for choice in whole.choices] == [SAID, said[1]]
        assert said[0] != said[1]
        assert reasons == [choice.finish_reason for choice in whole.choices] == ["length", "length"]
        assert usage is not None
        assert whole.usage is not None
        assert usage.completion_tokens == whole.usage.completion_tokens == 32
        assert [model.id async for model in client.models.list()] == [MODEL]


async def test_the_openai_client_reads_completions_embeddings_and_responses() -> None:
    async with SimulatorProcess("--instant") as engine, openai_client(engine) as client:
        text = await client.completions.create(model=MODEL, prompt="Once", max_tokens=5)
        assert text.choices[0].text == answer("Once", 5).text
        vectors = await client.embeddings.create(model=MODEL, input=["a", "b"])
        assert len(vectors.data[0].embedding) == 16
        given = QUESTION[0]["content"]
        whole = await client.responses.create(model=MODEL, input=given, max_output_tokens=16)
        assert (whole.output_text, whole.status) == (SAID, "incomplete")
        events = [event async for event in await client.responses.create(model=MODEL, input=given, stream=True)]
        kinds = [event.type for event in events]
        assert kinds[:4] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        last = events[-1]
        assert last.type == "response.completed"
        deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert last.response.output_text == deltas == answer(chat_prompt(QUESTION)).text
        assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_every_token_is_an_event_between_the_role_and_the_reason() -> None:
    async with SimulatorProcess("--itl-ms", "1") as engine, client(engine.url) as session:
        events = await stream(session, "/v1/chat/completions", chat(5, stream_options={"include_usage": True}))
        choices = [event["choices"][0] for event in events[:-1]]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert ["".join(choice["delta"]) for choice in choices[1:6]] == ["content"] * 5
        assert [choice["finish_reason"] for choice in choices] == [None] * 6 + ["length"]
        assert events[-1]["choices"] == []
        assert events[-1]["usage"]["completion_tokens"] == 5
        assert len(events) == 8


async def test_choices_of_a_request_are_batched_side_by_side() -> None:
    async with SimulatorProcess("--itl-ms", "2") as engine, client(engine.url) as session:
        events = await stream(session, "/v1/chat/completions", chat(20, n=3))
        order = [event["choices"][0]["index"] for event in events]
        assert order.index(2) < max(at for at, index in enumerate(order) if index == 0) - 30


async def test_a_client_that_leaves_frees_slot_and_kv_at_once_streamed_or_not() -> None:
    async with SimulatorProcess("--itl-ms", "500", "--max-running", "1") as engine, client(engine.url) as session:
        async with session.post("/v1/chat/completions", json=chat(300, stream=True)) as left:
            await left.content.readline()
            stats = await engine.stats()
            assert (stats["running"], stats["kv_reserved"] > 96) == (1, True)
            left.close()
        stats = await settled(engine)
        assert (stats["kv_used"], stats["kv_reserved"], stats["cancelled"]) == (0, 0, 1)
        whole = asyncio.ensure_future(session.post("/v1/chat/completions", json=chat(300)))  # noqa: TID251

        async def running() -> bool:
            return bool((await engine.stats())["running"])

        await until(running, "the request to run")
        whole.cancel()
        stats = await settled(engine)
        assert (stats["kv_reserved"], stats["cancelled"]) == (0, 2)


async def test_a_full_batch_and_a_full_pool_make_others_wait() -> None:
    # Each needs about 30 + 100 tokens: two fit the pool, so one of three waits although the batch has room.
    flags = ("--itl-ms", "200", "--kv-tokens", "250", "--max-running", "8")
    async with SimulatorProcess(*flags) as engine, client(engine.url) as session, asyncio.TaskGroup() as group:

        async def ask(number: int) -> None:
            content = f"{number} " * 30
            body = chat(90, messages=[{"role": "user", "content": content}], ignore_eos=True)
            async with session.post("/v1/chat/completions", json=body) as answered:
                await answered.read()

        tasks = [group.create_task(ask(number)) for number in range(3)]

        async def one_waits() -> bool:
            stats = await engine.stats()
            return (stats["running"], stats["waiting"]) == (2, 1)

        await until(one_waits, "two to run and one to wait")
        stats = await engine.stats()
        assert 0 < stats["kv_used"] <= stats["kv_reserved"] <= stats["kv_tokens"] == 250
        for task in tasks:
            task.cancel()
        assert (await settled(engine))["kv_reserved"] == 0
