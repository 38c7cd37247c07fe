"""How requests find their workers, end to end: pairs, aliases, targets, caps, and the question why."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest

from gateway.simulator.process import SimulatorProcess
from gateway.tasks import Scope
from tests.integration.fleet import HeadlessGateway, until

MODEL = "sim-model"
CHAT = "/v1/chat/completions"


def chat(text: str = "hello", model: str = MODEL, **more: object) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
async def test_a_prefill_and_a_decode_worker_serve_together_and_readiness_needs_both(engine: str) -> None:
    async with (
        SimulatorProcess("--engine", engine, "--model", MODEL, "--instant") as prefill,
        SimulatorProcess("--engine", engine, "--model", MODEL, "--instant") as decode,
        HeadlessGateway("--pd-disaggregation", "--prefill", prefill.url, "8998", "--decode", decode.url) as gateway,
    ):
        await gateway.in_state(prefill.url, "ready")
        await gateway.in_state(decode.url, "ready")
        roles = {worker["url"]: worker["worker_type"] for worker in await gateway.workers()}
        assert roles == {prefill.url: "prefill", decode.url: "decode"}
        assert (await gateway.call("GET", "/readiness"))[0] == 200
        client = openai.AsyncOpenAI(base_url=f"{gateway.address}/v1", api_key="unused", max_retries=0)
        async with client:
            messages = [{"role": "user", "content": "Tell me about pairs."}]
            whole = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8)
            stream = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=8, stream=True)
            pieces = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content
        counted = {worker["url"]: (worker["requests"], worker["errors"]) for worker in await gateway.workers()}
        assert counted == {prefill.url: (2, 0), decode.url: (2, 0)}
        await gateway.call("POST", "/workers/w1/cordon")
        status, ready = await gateway.call("GET", "/readiness")
        assert (status, ready["workers"][0]["because"]) == (503, "cordoned: by api")
        status, refused = await gateway.call("POST", CHAT, chat())
        assert (status, refused["error"]["code"]) == (503, "no_available_workers")


async def test_other_names_for_a_model_reach_it_and_are_listed() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--instant") as worker,
        HeadlessGateway("--worker-urls", worker.url, "--model-alias", f"fast={MODEL}", "ghost=nobody") as gateway,
    ):
        await gateway.in_state(worker.url, "ready")
        _, models = await gateway.call("GET", "/v1/models")
        assert [model["id"] for model in models["data"]] == [MODEL, "fast"]
        status, answer = await gateway.call("POST", CHAT, chat(model="fast"))
        assert (status, answer["model"]) == (200, MODEL)
        status, refused = await gateway.call("POST", CHAT, chat(model="ghost"))
        assert (status, refused["error"]["code"]) == (404, "model_not_found")


async def test_a_client_may_name_its_worker_and_ask_why_it_went_where_it_went() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--instant") as one,
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--instant") as two,
        HeadlessGateway("--worker-urls", one.url, two.url) as gateway,
        aiohttp.ClientSession() as session,
    ):
        ids = {url: (await gateway.in_state(url, "ready"))["id"] for url in (one.url, two.url)}
        for target in (two.url, ids[two.url], "w2"):
            headers = {"X-SMG-Target-Worker": target}
            async with session.post(gateway.address + CHAT, json=chat(), headers=headers) as answer:
                assert (answer.status, answer.headers["x-smg-routed-worker-id"]) == (200, ids[two.url])
        long = "a long story about a cache " * 40
        _, first = await gateway.call("POST", CHAT, chat(long))
        assert first["choices"]
        _, told = await gateway.call("POST", "/routing/explain", {"request": chat(long)})
        (role,) = told["roles"]
        assert (role["role"], role["policy"], len(role["candidates"])) == ("regular", "cache_aware", 2)
        by_policy = {choice["policy"]: choice for choice in role["choices"]}
        assert set(by_policy) >= {"random", "round_robin", "power_of_two", "least_load", "cache_aware", "manual"}
        assert [name for name, choice in by_policy.items() if choice["in_use"]] == ["cache_aware"]
        chosen = by_policy["cache_aware"]
        assert "%" in chosen["why"]
        async with session.post(gateway.address + CHAT, json=chat(long)) as answer:
            assert answer.headers["x-smg-routed-worker-id"] == chosen["worker"]["id"]
        await gateway.call("POST", "/workers/w1/cordon", {"reason": "kernel"})
        _, told = await gateway.call("POST", "/routing/explain", {"request": chat(long)})
        assert told["roles"][0]["left_out"][0]["because"] == "cordoned: kernel"


async def test_the_policy_of_a_model_is_what_its_worker_says() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", "a", "--instant") as one,
        SimulatorProcess("--engine", "vllm", "--model", "b", "--instant") as two,
        HeadlessGateway("--worker-urls", one.url) as gateway,
    ):
        status, refused = await gateway.call("POST", "/workers", {"url": two.url, "labels": {"policy": "best"}})
        assert status == 400
        assert "expected as policy one of random" in refused["error"]
        assert (await gateway.call("POST", "/workers", {"url": two.url, "labels": {"policy": "round_robin"}}))[0] == 202
        await gateway.in_state(one.url, "ready")
        await gateway.in_state(two.url, "ready")
        used = {}
        for model in ("a", "b"):
            _, told = await gateway.call("POST", "/routing/explain", {"request": chat(model=model)})
            used[model] = told["roles"][0]["policy"]
        assert used == {"a": "cache_aware", "b": "round_robin"}


async def test_a_cap_holds_requests_back_in_order_and_too_many_are_sent_away() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--speed", "5") as worker,
        HeadlessGateway("--queue-size", "4") as gateway,
        aiohttp.ClientSession() as session,
    ):
        await gateway.call("POST", "/workers", {"url": worker.url, "max_in_flight": 2})
        await gateway.in_state(worker.url, "ready")
        seen: list[int] = []
        retry_after: list[str] = []

        async def one() -> None:
            async with session.post(gateway.address + CHAT, json=chat(max_tokens=40)) as answer:
                seen.append(answer.status)
                if answer.status == 429:
                    retry_after.append(answer.headers["retry-after"])
                    assert (await answer.json())["error"]["code"] == "rate_limit_exceeded"

        async with Scope("clients") as scope:
            tasks = [scope.spawn(one(), name=f"client {number}") for number in range(9)]

            async def full() -> bool:
                shown = await gateway.worker(worker.url)
                assert shown is not None
                return shown["in_flight"] == 2 and len(seen) >= 3

            await until(full, "two in flight, four waiting, three sent away")
            async with session.get(f"{gateway.metrics_address}/metrics") as metrics:
                assert "smg_admission_queued 4.0" in await metrics.text()
            await asyncio.wait(tasks, timeout=30)
        assert sorted(seen) == [200] * 6 + [429] * 3
        assert retry_after == ["1"] * 3
        assert (await gateway.call("PATCH", "/workers/w1", {"max_in_flight": 0}))[0] == 202
        assert "max_in_flight" not in (await gateway.worker(worker.url) or {})


async def test_requests_beyond_the_limit_wait_their_turn_or_time_out() -> None:
    async with (
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--speed", "0.5") as worker,
        HeadlessGateway(
            "--worker-urls", worker.url, "--max-concurrent-requests", "1", "--queue-timeout-secs", "0.3"
        ) as gateway,
        aiohttp.ClientSession() as session,
    ):
        await gateway.in_state(worker.url, "ready")
        async with session.post(gateway.address + CHAT, json=chat(max_tokens=50, stream=True)) as first:
            await first.content.readany()
            async with session.post(gateway.address + CHAT, json=chat()) as second:
                assert second.status == 408
                assert (await second.json())["error"]["code"] == "queue_timeout"
