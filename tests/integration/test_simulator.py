"""The simulated engine as others see it: its endpoints by kind, and every fault."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from gateway.simulator.process import SimulatorProcess

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6}


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def get(web: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    async with web.get(url) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


async def post(web: aiohttp.ClientSession, url: str, body: object, **options: Any) -> tuple[int, Any]:
    async with web.post(url, json=body, **options) as answer:
        return answer.status, await (answer.json() if answer.content_type == "application/json" else answer.text())


SGLANG = ("/get_server_info", "/server_info", "/get_model_info", "/model_info", "/v1/loads", "/get_load", "/metrics")
VLLM = ("/version", "/load", "/metrics")


@pytest.mark.parametrize(("engine", "has"), [("sglang", SGLANG), ("vllm", VLLM), ("openai", ())])
async def test_each_kind_has_its_own_endpoints_and_not_the_others(
    web: aiohttp.ClientSession, engine: str, has: tuple[str, ...]
) -> None:
    async with SimulatorProcess("--engine", engine, "--model", "m", "--instant") as sim:
        for path in {*SGLANG, *VLLM}:
            status, _ = await get(web, sim.url + path)
            assert status == (200 if path in has else 404), path
        assert (await get(web, f"{sim.url}/health"))[0] == 200
        _, models = await get(web, f"{sim.url}/v1/models")
        (card,) = models["data"]
        assert (card["id"], card["owned_by"]) == ("m", {"openai": "organization_owner"}.get(engine, engine))


async def test_loads_and_metrics_tell_the_same(web: aiohttp.ClientSession) -> None:
    async with SimulatorProcess("--engine", "sglang", "--model", "m", "--max-running", "2", "--itl-ms", "50") as sim:
        asks = [asyncio.Task(post(web, f"{sim.url}/v1/chat/completions", CHAT | {"n": 1, "seed": n})) for n in range(5)]
        for _ in range(100):
            _, loads = await get(web, f"{sim.url}/v1/loads?include=core")
            (load,) = loads["loads"]
            if (load["num_running_reqs"], load["num_waiting_reqs"]) == (2, 3):
                break
            await asyncio.sleep(0.01)
        assert (load["num_running_reqs"], load["num_waiting_reqs"]) == (2, 3)
        assert load["num_used_tokens"] > 0
        _, text = await get(web, f"{sim.url}/metrics")
        assert "sglang:num_queue_reqs" in text
        assert {status for status, _ in [await ask for ask in asks]} == {200}
        assert (await sim.stats())["kv_used"] == 0


async def test_the_openai_client_streams_stops_and_is_refused(web: aiohttp.ClientSession) -> None:
    async with (
        SimulatorProcess("--model", "m", "--instant", "--context-length", "64", "--api-key", "k") as sim,
        openai.AsyncOpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as client,
    ):
        messages: Any = [{"role": "user", "content": "Hello"}]
        whole = await client.chat.completions.create(model="m", messages=messages, max_tokens=12, n=2)
        first, second = (choice.message.content or "" for choice in whole.choices)
        assert first != second
        stop = first.split()[3]
        cut = await client.chat.completions.create(model="m", messages=messages, max_tokens=12, stop=[stop])
        assert cut.choices[0].finish_reason == "stop"
        assert stop not in (cut.choices[0].message.content or "")
        stream = await client.completions.create(model="m", prompt="Hello", max_tokens=5, stream=True)
        pieces = [chunk.choices[0].text async for chunk in stream if chunk.choices]
        assert len("".join(pieces).split()) == 5
        vector = await client.embeddings.create(model="m", input=["a", "b"])
        assert len(vector.data) == 2
        for wrong, error in (
            ({"model": "other"}, openai.NotFoundError),
            ({"max_tokens": 100}, openai.BadRequestError),
            ({"messages": []}, openai.BadRequestError),
        ):
            with pytest.raises(error):
                await client.chat.completions.create(**({"model": "m", "messages": messages, "max_tokens": 5} | wrong))
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").chat.completions.create(model="m", messages=messages)


async def test_the_other_routes_answer_in_their_shapes(web: aiohttp.ClientSession) -> None:
    async with SimulatorProcess("--engine", "sglang", "--model", "m", "--instant") as sim:
        for path, body, key in (
            ("/generate", {"text": "hi", "sampling_params": {"max_new_tokens": 3}}, "meta_info"),
            ("/v1/responses", {"model": "m", "input": "hi", "max_output_tokens": 3}, "output"),
            ("/v1/messages", {"model": "m", "messages": CHAT["messages"], "max_tokens": 3}, "stop_reason"),
            ("/v1/rerank", {"query": "a", "documents": ["b", "c"]}, "results"),
            ("/v1/classify", {"input": "a"}, "data"),
        ):
            status, answer = await post(web, sim.url + path, body)
            assert status == 200, (path, answer)
            assert key in answer
        form = aiohttp.FormData({"model": "m"})
        form.add_field("file", b"RIFF1234", filename="a.wav")
        async with web.post(f"{sim.url}/v1/audio/transcriptions", data=form) as answer:
            assert await answer.json() == {"text": "8 bytes of sound"}


async def test_a_client_that_leaves_frees_its_place_at_once(web: aiohttp.ClientSession) -> None:
    async with SimulatorProcess("--model", "m", "--itl-ms", "50") as sim:
        async with web.post(
            f"{sim.url}/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 500}
        ) as answer:
            await answer.content.readany()
            assert (await sim.stats())["running"] == 1
            answer.close()
        for _ in range(200):
            if (await sim.stats())["cancelled"] == 1:
                break
            await asyncio.sleep(0.01)
        stats = await sim.stats()
        assert (stats["running"], stats["kv_used"], stats["cancelled"]) == (0, 0, 1)


async def test_faults(web: aiohttp.ClientSession) -> None:
    async with SimulatorProcess("--model", "m", "--instant") as sim:
        url = f"{sim.url}/v1/chat/completions"
        await sim.fault(unhealthy=True)
        assert (await get(web, f"{sim.url}/health"))[0] == 503
        await sim.fault(reset=True, status=429)
        assert (await post(web, url, CHAT))[0] == 429
        await sim.fault(reset=True, models_error=True)
        assert (await get(web, f"{sim.url}/v1/models"))[0] == 500
        await sim.fault(reset=True, garbage=True)
        with pytest.raises(aiohttp.ClientError):
            await post(web, url, CHAT)
        await sim.fault(reset=True, drop_after=2)
        with pytest.raises(aiohttp.ClientError):
            await post(web, url, CHAT | {"stream": True, "max_tokens": 50})
        await sim.fault(reset=True, hang=True)
        with pytest.raises(TimeoutError):
            await post(web, url, CHAT, timeout=aiohttp.ClientTimeout(total=0.3))
        await sim.fault(reset=True, hang_health=True)
        with pytest.raises(TimeoutError):
            async with web.get(f"{sim.url}/health", timeout=aiohttp.ClientTimeout(total=0.3)):
                pass
        await sim.fault(reset=True, close_idle=True)
        assert (await post(web, url, CHAT))[0] == 200
        await sim.fault(reset=True, refuse_s=0.5)
        refused = 0
        for _ in range(200):
            try:
                async with aiohttp.ClientSession() as fresh, fresh.get(f"{sim.url}/health"):
                    if refused:
                        break
            except aiohttp.ClientConnectionError:
                refused += 1
            await asyncio.sleep(0.02)
        assert refused
        status, answer = await post(web, f"{sim.url}/_sim/faults", {"wrong": 1})
        assert status == 400
        assert "accepted: reset, unhealthy" in answer["error"]["message"]


async def test_it_ends_with_its_parent_and_on_a_signal_even_with_a_stream_open(web: aiohttp.ClientSession) -> None:
    sim = SimulatorProcess("--model", "m", "--itl-ms", "100")
    async with sim:
        async with web.post(
            f"{sim.url}/v1/chat/completions", json=CHAT | {"stream": True, "max_tokens": 500}
        ) as answer:
            await answer.content.readany()
            await sim.stop()
        assert sim.process is not None
        assert sim.process.returncode == 0
