"""Requests to gRPC workers when something is in the way: failures, retries, deadlines, routes, missing tokenizers,
and workers of the same model that speak HTTP."""

import asyncio
import io
import json
import socket
from typing import Any

import aiohttp
import openai
import pytest

from gateway.simulator.planning import chat_prompt
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.text import answer
from gateway.simulator.tokenizer import sim_tokenizer
from gateway.workers.model import Circuit
from tests.integration.fleet import HeadlessGateway
from tests.integration.grpc_world import KINDS
from tests.integration.simulator_world import until
from tests.integration.test_grpc_openai_client import MODEL, World, status_of, world
from tests.integration.test_grpc_workers import gateway, ready

MESSAGES = [{"role": "user", "content": "Name the engines."}]
CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 24}
SAID = answer(chat_prompt(MESSAGES), 24).text
QUIET: dict[str, Any] = {"health_check_interval_secs": 600, "load_monitor_interval": 600}
"""Nobody but the requests talks to the engines."""


async def generated(engine: SimulatorProcess) -> int:
    """How many requests it was asked to serve."""
    requests: dict[str, int] = (await engine.stats())["requests"]
    return sum(count for name, count in requests.items() if name in ("Generate", "Embed") or name.startswith("/v1/c"))


async def said(stream: Any, texts: list[str]) -> None:
    """Read a stream of one choice to its end, into `texts`."""
    async for chunk in stream:
        texts += [choice.delta.content or "" for choice in chunk.choices]


def breaker_failures(w: World) -> list[Circuit]:
    return [entry.worker.breaker.state for entry in w.running.registry.entries.values()]


async def test_the_simulators_count_requests_as_this_file_reads_them() -> None:
    async with world("sglang", **QUIET) as w:
        before = await generated(w.engines[0])
        await w.client.chat.completions.create(**CHAT)
        assert await generated(w.engines[0]) == before + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_engine_that_dies_in_mid_stream_ends_the_stream_with_an_error_event(kind: str) -> None:
    async with world(kind, **QUIET) as w:
        await w.engines[0].fault(drop_after=4)
        texts: list[str] = []
        stream = await w.client.chat.completions.create(stream=True, **CHAT)
        with pytest.raises(openai.APIError, match="worker w1: ") as caught:
            await said(stream, texts)
        assert caught.value.code == "worker_connection_lost"
        assert "".join(texts)
        assert SAID.startswith("".join(texts))


@pytest.mark.parametrize("status", [500, 503, 429])
@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_token_another_worker_answers(status: int, *, stream: bool) -> None:
    async with world("sglang", kinds=("sglang", "vllm"), policy="round_robin", **QUIET) as w:
        await w.engines[0].fault(status=status)
        for _ in range(2):
            got = await w.client.chat.completions.create(stream=stream, **CHAT)
            if stream:
                text = "".join([c.choices[0].delta.content or "" async for c in got])
            else:
                text = got.choices[0].message.content
            assert text == SAID
        assert w.running.data_plane.tally.retries >= 1
        assert await generated(w.engines[0]) >= 1


async def test_a_killed_engine_is_left_at_once_for_another() -> None:
    async with world("vllm", kinds=("vllm", "vllm"), policy="round_robin", **QUIET) as w:
        await w.engines[0].kill()
        for _ in range(4):
            got = await w.client.chat.completions.create(**CHAT)
            assert got.choices[0].message.content == SAID


async def test_an_engine_without_room_is_busy_and_not_broken() -> None:
    async with world("sglang", retry_max_retries=1, cb_failure_threshold=1, **QUIET) as w:
        await w.engines[0].fault(status=429)
        with pytest.raises(openai.RateLimitError):
            await w.client.chat.completions.create(**CHAT)
        assert breaker_failures(w) == [Circuit.CLOSED]
        await w.engines[0].fault(status=500)
        with pytest.raises(openai.InternalServerError):
            await w.client.chat.completions.create(**CHAT)
        assert breaker_failures(w) == [Circuit.OPEN]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_engine_refuses_is_the_clients_fault_and_not_tried_elsewhere(kind: str) -> None:
    async with world(kind, kinds=(kind, kind), cb_failure_threshold=1, **QUIET) as w:
        with pytest.raises(openai.BadRequestError, match="out of the vocabulary"):
            await w.client.completions.create(model=MODEL, prompt=[3, 999_999], max_tokens=4)
        assert breaker_failures(w) == [Circuit.CLOSED] * 2
        assert sum([await generated(engine) for engine in w.engines]) == 1


async def test_an_engine_that_says_nothing_meets_the_requests_deadline_and_is_told_to_stop() -> None:
    async with world("sglang", request_timeout_secs=1, worker_stall_secs=0, **QUIET) as w:
        await w.engines[0].fault(hang=True)
        with pytest.raises(openai.InternalServerError) as caught:
            await w.client.chat.completions.create(**CHAT)
        assert caught.value.status_code == 504
        assert caught.value.code == "worker_timeout"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_leaves_before_the_first_token_frees_the_engine(kind: str) -> None:
    async with world(kind, "--prefill-rate", "1", **QUIET) as w:
        with pytest.raises(openai.APITimeoutError):
            await w.client.with_options(timeout=0.3).chat.completions.create(**CHAT)
        await w.idle(w.engines[0])

        async def over() -> bool:
            return not w.running.in_flight

        await until(over, "the request to be over")


async def test_a_slow_reader_holds_the_engines_stream_back_and_gets_every_word() -> None:
    async with world("sglang", "--itl-ms", "0.5", **QUIET) as w:  # an instant engine says all in one event
        body = {"text": "much", "stream": True, "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True}}
        host, port = "127.0.0.1", w.running.data_plane.address.port
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # little is under way in the kernel
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, (host, port))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=2**12)
        data = json.dumps(body).encode()
        head = (
            f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
        )
        writer.write(f"{head}connection: close\r\n\r\n".encode() + data)
        got = bytearray(await reader.read(1000))

        async def held() -> bool:  # the gateway keeps a bounded part of some 30 MB until it is read
            return w.running.in_flight == 1

        await until(held, "the answer to be under way")
        while piece := await reader.read(2**16):
            got += piece
        writer.close()
        last = bytes(got).rpartition(b'data: {"text":')[2]
        assert answer("much", 3000, ignore_eos=True).text.encode() in last
        assert b"data: [DONE]" in last


@pytest.mark.parametrize("path", ["/v1/rerank", "/v1/responses", "/v1/classify", "/v1/messages"])
async def test_routes_that_engines_have_over_http_only_are_refused_and_not_tried(path: str) -> None:
    async with world("vllm", **QUIET) as w:
        before = (await w.engines[0].stats())["requests"]
        status, told = await w.post(path, {"model": MODEL, "query": "q", "documents": ["d"], "input": "x"})
        assert (status, told["error"]["code"]) == (501, "not_supported_over_grpc")
        assert path in told["error"]["message"]
        assert (await w.engines[0].stats())["requests"] == before


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "tools"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"lora_path": "x"}, "lora_path"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    async with world("sglang", **QUIET) as w:
        status, told = await w.post("/v1/chat/completions", {**CHAT, **change})
        assert status == 400
        assert told["error"]["type"] == "invalid_request_error"
        assert told["error"]["param"].startswith(field)
        assert await generated(w.engines[0]) == 0


async def test_what_is_no_text_or_far_too_long_is_refused_and_the_loop_goes_on() -> None:
    async with world("vllm", **QUIET) as w:

        async def raw(path: str, body: bytes) -> tuple[int, Any]:
            head = {"content-type": "application/json"}
            url = w.running.address + path
            async with (
                aiohttp.ClientSession() as session,
                session.post(url, data=io.BytesIO(body), headers=head) as got,
            ):
                return got.status, await got.json()

        for path, body in (
            ("/v1/completions", b'{"model": "sim", "prompt": "half \\ud800 a pair"}'),
            ("/v1/completions", b'{"model": "sim", "prompt": "\xff\xfe"}'),
            ("/v1/completions", b'{"model": "sim", "prompt": ' + b"[" * 5000),
            ("/v1/completions", json.dumps({"model": MODEL, "prompt": "word " * 2_000_000}).encode()),
            ("/v1/completions", json.dumps({"model": MODEL, "prompt": [7] * 40_000}).encode()),
            ("/v1/chat/completions", b'{"model": "sim", "messages": [{"role": "user", "content": "\\udfff"}]}'),
            ("/v1/embeddings", b'{"model": "sim", "input": []}'),
            ("/generate", b'{"model": "sim", "text": 5}'),
        ):
            status, told = await raw(path, body)
            assert (status, told["error"]["type"]) == (400, "invalid_request_error"), (path, body[:60], told)
        assert await generated(w.engines[0]) == 0
        assert (await w.client.chat.completions.create(**CHAT)).choices[0].message.content == SAID


async def test_in_a_mixed_fleet_workers_of_both_kinds_answer_and_tools_go_to_those_that_have_them() -> None:
    async with world("http", kinds=("http", "sglang", "vllm"), policy="round_robin", **QUIET) as w:
        for _ in range(6):
            got = await w.client.chat.completions.create(**CHAT)
            assert got.choices[0].message.content == SAID
        assert [await generated(engine) for engine in w.engines] == [2, 2, 2]
        tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        for _ in range(3):
            await w.client.chat.completions.create(tools=tools, **CHAT)
        status, _ = await w.post("/v1/rerank", {"model": MODEL, "query": "q", "documents": ["d"]})
        assert status == 200
        assert [await generated(engine) for engine in w.engines] == [5, 2, 2]


async def test_without_its_tokenizer_a_model_is_not_ready_and_says_why() -> None:
    async with SimulatorProcess("--grpc", "sglang", "--served-model-name", MODEL) as engine:
        await engine.fault(damaged_tokenizer=True)
        async with gateway(engine.url) as running:
            await ready(running, engine.url)

            async def failed() -> Any:
                status, told = await status_of(running, "/readiness")
                return told if status == 503 and "damaged" in str(told.get("tokenizers")) else None

            told = await until(failed, "readiness to name the tokenizer")
            assert told["reason"] == "tokenizer not yet registered"
            assert list(told["tokenizers"]) == [MODEL]
            async with openai.AsyncOpenAI(base_url=f"{running.address}/v1", api_key="k", max_retries=0) as client:
                with pytest.raises(openai.InternalServerError, match="damaged") as caught:
                    await client.chat.completions.create(**CHAT)
            assert (caught.value.status_code, caught.value.code) == (503, "tokenizer_not_ready")
            assert await generated(engine) == 0


async def test_prompts_that_begin_alike_go_to_the_worker_that_has_their_tokens() -> None:
    async with world("sglang", kinds=("sglang", "vllm"), policy="cache_aware", **QUIET) as w:
        system = {"role": "system", "content": "alpha beta gamma " * 60}
        for number in range(6):
            await w.client.chat.completions.create(
                model=MODEL, messages=[system, {"role": "user", "content": f"question {number}"}], max_tokens=2
            )
        assert sorted([await generated(engine) for engine in w.engines]) == [0, 6]
        got = await w.client.chat.completions.create(
            model=MODEL, messages=[system, {"role": "user", "content": "again"}], max_tokens=2
        )
        assert got.usage.prompt_tokens_details.cached_tokens > 100
        asked = {"request": {"model": MODEL, "messages": [system, {"role": "user", "content": "why"}]}}
        _, told = await w.post("/routing/explain", asked)
        (chosen,) = [choice for choice in told["roles"][0]["choices"] if choice["in_use"]]
        busy = [engine.url for engine in w.engines if await generated(engine)]
        assert [chosen["worker"]["url"]] == busy


async def test_ids_and_their_text_are_one_prompt_to_the_policy() -> None:
    async with world("sglang", kinds=("sglang", "vllm"), policy="prefix_hash", **QUIET) as w:
        text = "the words of a prompt that is long enough " * 10
        for prompt in (text, sim_tokenizer().encode(text), text):
            await w.client.completions.create(model=MODEL, prompt=prompt, max_tokens=2)
        assert sorted([await generated(engine) for engine in w.engines]) == [0, 3]


async def test_vllms_decode_worker_gets_what_the_prefill_worker_hands_over() -> None:
    flags = ("--grpc", "vllm", "--served-model-name", MODEL)
    async with SimulatorProcess(*flags) as prefill, SimulatorProcess(*flags) as decode:
        options = {"pd_disaggregation": True, "prefill": (prefill.url,), "decode": (decode.url,), **QUIET}
        async with gateway(**options) as running:
            for engine in (prefill, decode):
                await ready(running, engine.url)

            async def answered() -> Any:
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(f"{running.address}/v1/chat/completions", json=CHAT) as got,
                ):
                    return await got.json() if got.status == 200 else None

            told = await until(answered, "an answer, once the tokenizer is there")
            assert told["choices"][0]["message"]["content"] == SAID
            first, second = [json.loads((await engine.stats())["last"]["body"]) for engine in (prefill, decode)]
            assert (first["sampling_params"]["max_tokens"], second["sampling_params"]["max_tokens"]) == (1, 24)
            assert json.loads(first["kv_transfer_params_json"])["do_remote_decode"] is True
            assert json.loads(second["kv_transfer_params_json"])["remote_host"] == "127.0.0.1"


@pytest.mark.parametrize("stream", [False, True])
async def test_sglangs_prefill_and_decode_workers_meet_over_grpc(*, stream: bool) -> None:
    flags = ("--grpc", "sglang", "--served-model-name", MODEL, "--disaggregation-mode")
    async with SimulatorProcess(*flags, "prefill") as prefill, SimulatorProcess(*flags, "decode") as decode:
        options = {"pd_disaggregation": True, "prefill": (prefill.url, "8998"), "decode": (decode.url,), **QUIET}
        async with gateway(**options) as running:
            for engine in (prefill, decode):
                await ready(running, engine.url)

            async def is_ready() -> bool:
                return (await status_of(running, "/readiness"))[0] == 200

            await until(is_ready, "the pair to be ready")
            async with aiohttp.ClientSession() as session:
                url, ask = f"{running.address}/v1/chat/completions", {**CHAT, "stream": stream, "n": 2}
                async with session.post(url, json=ask) as got:
                    assert got.status == 200
                    assert {"x-smg-prefill-worker-id", "x-smg-routed-worker-id"} <= set(got.headers)
                    raw = await got.read()
            if stream:
                events = [json.loads(line[6:]) for line in raw.split(b"\n\n") if line and b"[DONE]" not in line]
                deltas = [c["delta"].get("content") or "" for e in events for c in e["choices"] if c["index"] == 0]
                assert "".join(deltas) == SAID
            else:
                assert [c["message"]["content"] for c in json.loads(raw)["choices"]] == [SAID, SAID]
            asked = [json.loads((await engine.stats())["last"]["body"]) for engine in (prefill, decode)]
            meets = [each["disaggregated_params"] for each in asked]
            assert [meet["bootstrap_port"] for meet in meets] == [8998, 8998]
            assert [await generated(engine) for engine in (prefill, decode)] == [2, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_gateway_as_a_process_on_its_own_loop_serves_ends_and_leaves_nothing(kind: str) -> None:
    async with (
        SimulatorProcess("--grpc", kind, "--served-model-name", MODEL) as engine,
        HeadlessGateway("--worker-urls", engine.url) as process,
    ):

        async def is_ready() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{process.address}/readiness") as got:
                return got.status == 200

        await until(is_ready, "the gateway to be ready")
        async with openai.AsyncOpenAI(base_url=f"{process.address}/v1", api_key="k", max_retries=0) as client:
            stream = await client.chat.completions.create(stream=True, **CHAT)
            texts: list[str] = []
            await said(stream, texts)
            assert "".join(texts) == SAID
            stream = await client.chat.completions.create(stream=True, model=MODEL, messages=MESSAGES)
            async for _ in stream:
                break
            assert process.process is not None
            process.process.terminate()  # the stream goes on to its end, then the gateway is gone
            await said(stream, texts)
            assert "".join(texts).endswith(answer(chat_prompt(MESSAGES)).text[-20:])
        async with asyncio.timeout(20):
            assert await process.process.wait() == 0
        bad = [event for event in process.events if event.get("level") in ("error", "critical")]
        assert not bad


@pytest.mark.parametrize(("fault", "status"), [(500, 502), (400, 400)])
async def test_what_happens_to_the_prefill_half_is_the_whole_requests(fault: int, status: int) -> None:
    flags = ("--grpc", "sglang", "--served-model-name", MODEL, "--disaggregation-mode")
    async with SimulatorProcess(*flags, "prefill") as prefill, SimulatorProcess(*flags, "decode") as decode:
        options = {"pd_disaggregation": True, "prefill": (prefill.url, "8998"), "decode": (decode.url,), **QUIET}
        async with gateway(retry_max_retries=1, **options) as running:
            for engine in (prefill, decode):
                await ready(running, engine.url)

            async def is_ready() -> bool:
                return (await status_of(running, "/readiness"))[0] == 200

            await until(is_ready, "the pair to be ready")
            await prefill.fault(status=fault)
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{running.address}/v1/chat/completions", json=CHAT) as got,
            ):
                told = await got.json()
                assert (got.status, told["error"]["code"]) == (status, "prefill_error")
                assert f"simulated {fault}" in told["error"]["message"]

            async def free() -> bool:
                stats = await decode.stats()
                return not stats["running"] and not stats["waiting"] and not running.in_flight

            await until(free, "the decode worker to be told")
