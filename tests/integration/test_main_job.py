"""The main job, end to end: real processes on sockets, the `openai` client as the client."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import openai
import pytest

from gateway.simulator.process import SimulatorProcess
from gateway.tasks import Scope
from tests.integration.fleet import HeadlessGateway, until

MODEL = "sim-model"
FAST_CHECKS = ("--health-check-interval-secs", "1", "--health-check-timeout-secs", "1", "--load-monitor-interval", "1")


@pytest.fixture
async def scope() -> AsyncIterator[Scope]:
    async with Scope("test") as scope:
        yield scope


def client_of(gateway: HeadlessGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.address}/v1", api_key="unused", max_retries=0, timeout=30)


async def ask(client: openai.AsyncOpenAI, text: str, max_tokens: int = 16) -> str:
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=max_tokens
    )
    return answer.choices[0].message.content or ""


async def test_the_openai_client_sees_no_difference_between_a_worker_and_the_gateway() -> None:
    async with (
        SimulatorProcess("--engine", "sglang", "--model", MODEL, "--instant") as sglang,
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--instant") as vllm,
        HeadlessGateway("--worker-urls", sglang.url, vllm.url, *FAST_CHECKS) as gateway,
    ):
        await gateway.in_state(sglang.url, "ready")
        await gateway.in_state(vllm.url, "ready")
        messages = [{"role": "user", "content": "Tell me about drains."}]
        said = []
        for base in (f"{sglang.url}/v1", f"{gateway.address}/v1"):
            async with openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0) as client:
                whole = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=24)
                stream = await client.chat.completions.create(
                    model=MODEL, messages=messages, max_tokens=24, stream=True, stream_options={"include_usage": True}
                )
                pieces, usage = [], None
                async for chunk in stream:
                    usage = chunk.usage or usage
                    pieces += [choice.delta.content or "" for choice in chunk.choices]
                assert "".join(pieces) == whole.choices[0].message.content
                assert usage is not None
                assert whole.usage is not None
                assert usage.completion_tokens == whole.usage.completion_tokens == 24
                models = [model.id async for model in client.models.list()]
                said.append((whole.choices[0].message.content, models))
                with pytest.raises(openai.NotFoundError):
                    await client.chat.completions.create(model="no-such", messages=messages)
        assert said[0] == said[1]
        assert len({w["id"] for w in await gateway.workers()}) == 2


async def test_workers_show_what_they_told_of_themselves() -> None:
    async with (
        SimulatorProcess(
            "--engine", "sglang", "--model", MODEL, "--context-length", "4096", "--tp-size", "2"
        ) as sglang,
        SimulatorProcess("--engine", "vllm", "--model", MODEL, "--context-length", "8192") as vllm,
        SimulatorProcess("--engine", "openai", "--model", MODEL) as generic,
        HeadlessGateway("--worker-urls", sglang.url, vllm.url, generic.url, *FAST_CHECKS) as gateway,
    ):
        told = {}
        for url in (sglang.url, vllm.url, generic.url):
            worker = await gateway.in_state(url, "ready")
            told[url] = (worker["model_id"], worker["capabilities"]["engine"], worker["capabilities"]["context_length"])
        assert told[sglang.url] == (MODEL, "sglang", 4096)
        assert told[vllm.url] == (MODEL, "vllm", 8192)
        assert told[generic.url][:2] == (MODEL, "generic")
        assert (await gateway.worker(sglang.url))["capabilities"]["tp_size"] == 2  # type: ignore[index]


async def test_draining_under_load_cuts_no_request_and_ends_with_the_last_one(scope: Scope) -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--speed", "1") as one,
        SimulatorProcess("--model", MODEL, "--speed", "1") as two,
        HeadlessGateway("--worker-urls", one.url, two.url, *FAST_CHECKS) as gateway,
        client_of(gateway) as client,
    ):
        leaving = await gateway.in_state(one.url, "ready")
        await gateway.in_state(two.url, "ready")
        stop = asyncio.Event()
        answers: list[str] = []

        async def keep_asking(number: int) -> None:
            while not stop.is_set():
                answers.append(await ask(client, f"client {number}, request {len(answers)}", max_tokens=30))

        clients = [scope.spawn(keep_asking(n), name=f"client {n}") for n in range(32)]
        await until(lambda: _in_flight(gateway, one.url), "requests in flight at the leaving worker")
        status, body = await gateway.call("DELETE", f"/workers/{leaving['id']}")
        assert (status, body["worker_id"]) == (202, leaving["id"])
        draining = await gateway.worker(one.url)
        assert draining is not None
        assert draining["state"] == "draining"
        assert draining["drain"]["in_flight"] == draining["in_flight"] > 0
        await gateway.gone(one.url)
        already = len(answers)
        await until(lambda: _more_than(answers, already + 32), "traffic going on at the other worker")
        stop.set()
        for task in clients:
            await task  # raises what any request raised: none was cut
        assert all(answers)

        moves = [
            (e["data"]["old"], e["data"]["new"])
            for e in await gateway.journal()
            if e["event"] == "worker_state_changed" and e["data"]["worker"] == leaving["id"]
        ]
        assert moves == [("registering", "ready"), ("ready", "draining"), ("draining", "gone")]
        last = [e for e in await gateway.journal() if e["data"].get("new") == "gone"][-1]
        assert last["data"]["reason"].startswith("drained: nothing in flight")
        assert last["data"]["forced"] is False


async def _in_flight(gateway: HeadlessGateway, url: str) -> int:
    worker = await gateway.worker(url)
    return worker["in_flight"] if worker else 0


async def _more_than(items: list[str], count: int) -> bool:
    return len(items) > count


async def test_an_idle_worker_drains_at_once() -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--instant") as engine,
        HeadlessGateway("--worker-urls", engine.url, *FAST_CHECKS) as gateway,
    ):
        worker = await gateway.in_state(engine.url, "ready")
        status, body = await gateway.call("POST", f"/workers/{worker['id']}/drain", {})
        assert status == 200
        assert body["worker"]["drain"]["drained"] is True
        status, _ = await gateway.call("POST", f"/workers/{worker['id']}/resume")
        assert (await gateway.in_state(engine.url, "ready"))["drain"] is None
        await gateway.call("DELETE", f"/workers/{worker['id']}")
        assert await gateway.workers() == []
        times = {e["data"]["new"]: e["at"] for e in await gateway.journal() if e["event"] == "worker_state_changed"}
        assert set(times) >= {"draining", "gone"}


async def test_a_killed_worker_is_unhealthy_after_one_failed_request_and_one_probe_and_comes_back() -> None:
    # The default interval of 30 s: only the failed request can be what brought the probe about.
    async with (
        SimulatorProcess("--model", MODEL, "--instant") as engine,
        HeadlessGateway("--worker-urls", engine.url) as gateway,
        client_of(gateway) as client,
    ):
        await gateway.in_state(engine.url, "ready")
        assert await ask(client, "before")
        await engine.kill()
        with pytest.raises(openai.APIStatusError) as refused:
            await ask(client, "while it is dead")
        assert refused.value.status_code == 502
        down = await gateway.in_state(engine.url, "unhealthy", timeout_s=3)
        assert down["health_status"]["consecutive_failures"] == 1
        assert "refused" in down["health_status"]["last_error"]
        with pytest.raises(openai.APIStatusError) as none_left:
            await ask(client, "while it is known to be dead")
        assert none_left.value.status_code == 503
        await engine.restart()
        back = await gateway.in_state(engine.url, "ready", timeout_s=5)
        assert back["health_status"]["consecutive_successes"] >= 2
        assert await ask(client, "after")


async def test_a_worker_whose_engine_is_still_loading_joins_soon_after_it_answers() -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--startup-delay", "4") as engine,
        HeadlessGateway("--worker-urls", engine.url) as gateway,
    ):
        waiting = await gateway.in_state(engine.url, "registering")
        assert waiting["routable"] is False
        ready = await gateway.in_state(engine.url, "ready", timeout_s=8)
        last_bad = max(e["at"] for e in await gateway.journal())
        assert ready["since"] <= last_bad


async def test_removing_a_registering_worker_cancels_its_registration() -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--startup-delay", "60") as engine,
        HeadlessGateway() as gateway,
    ):
        status, body = await gateway.call("POST", "/workers", {"url": engine.url})
        assert status == 202
        await gateway.in_state(engine.url, "registering")
        status, _ = await gateway.call("DELETE", f"/workers/{body['worker_id']}")
        assert status == 202
        assert await gateway.workers() == []


async def test_a_client_that_leaves_frees_the_engine_and_the_count() -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--speed", "0.2") as engine,
        HeadlessGateway("--worker-urls", engine.url, *FAST_CHECKS) as gateway,
        client_of(gateway) as client,
    ):
        await gateway.in_state(engine.url, "ready")
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "a long story"}], max_tokens=500, stream=True
        )
        async for _ in stream:
            break
        assert await _in_flight(gateway, engine.url) == 1
        await stream.close()

        async def freed() -> bool:
            return await _in_flight(gateway, engine.url) == 0 and (await engine.stats())["running"] == 0

        await until(freed, "the cancelled request to leave gateway and engine", timeout_s=2)


async def test_sigterm_lets_a_stream_finish_and_exits_with_0(scope: Scope) -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--speed", "1") as engine,
        HeadlessGateway("--worker-urls", engine.url, *FAST_CHECKS) as gateway,
        client_of(gateway) as client,
    ):
        await gateway.in_state(engine.url, "ready")
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "a story"}], max_tokens=40, stream=True
        )
        first = await anext(aiter(stream))
        assert first.choices
        ending = scope.spawn(gateway.terminate(), name="terminate")
        reasons = [chunk.choices[0].finish_reason async for chunk in stream if chunk.choices]
        assert reasons[-1] == "length"
        assert await ending == 0


async def test_the_process_ends_at_once_on_a_second_signal() -> None:
    async with (
        SimulatorProcess("--model", MODEL, "--speed", "0.1") as engine,
        HeadlessGateway("--worker-urls", engine.url, *FAST_CHECKS) as gateway,
        client_of(gateway) as client,
    ):
        await gateway.in_state(engine.url, "ready")
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "a story"}], max_tokens=500, stream=True
        )
        await anext(aiter(stream))
        os.kill(gateway.pid, signal.SIGTERM)
        await gateway.logged("gateway_stopping")
        assert await gateway.terminate(timeout_s=5) == 0
        await stream.close()
