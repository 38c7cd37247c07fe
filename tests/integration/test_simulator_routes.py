"""Every route of every kind of simulated engine, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.engines.loads import SGLANG_LOADS, load_of, metrics_load
from gateway.simulator.planning import chat_prompt
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.text import answer
from tests.integration.simulator_world import MODEL, QUESTION, call, chat, client, stream

SAID = answer(chat_prompt(QUESTION), 16).text
FLAGS = ("--model", "/models/big", "--served-model-name", MODEL, "--instant", "--context-length", "4096")


@pytest.fixture
async def sglang() -> AsyncIterator[aiohttp.ClientSession]:
    async with SimulatorProcess(*FLAGS, "--tp-size", "2") as engine, client(engine.url) as session:
        yield session


@pytest.fixture
async def vllm() -> AsyncIterator[aiohttp.ClientSession]:
    async with SimulatorProcess(*FLAGS, "--engine", "vllm") as engine, client(engine.url) as session:
        yield session


@pytest.fixture
async def generic() -> AsyncIterator[aiohttp.ClientSession]:
    async with SimulatorProcess(*FLAGS, "--engine", "openai") as engine, client(engine.url) as session:
        yield session


async def test_sglang_tells_of_itself_under_the_older_and_the_newer_names(sglang: aiohttp.ClientSession) -> None:
    for path in ("/server_info", "/get_server_info"):
        status, info = await call(sglang, "GET", path)
        assert status == 200
        told = ("served_model_name", "model_path", "context_length", "tp_size", "dp_size")
        assert [info[name] for name in told] == [MODEL, "/models/big", 4096, 2, 1]
    for path in ("/model_info", "/get_model_info"):
        _, info = await call(sglang, "GET", path)
        assert (info["model_path"], info["is_generation"]) == ("/models/big", True)
    _, models = await call(sglang, "GET", "/v1/models")
    [card] = models["data"]
    assert (card["id"], card["root"], card["max_model_len"], card["owned_by"]) == (MODEL, "/models/big", 4096, "sglang")
    assert (await call(sglang, "GET", "/health"))[0] == 200


async def test_sglang_reports_its_load_in_three_places(sglang: aiohttp.ClientSession) -> None:
    for _ in range(2):
        body = chat(messages=[{"role": "user", "content": "word " * 100}])
        assert (await call(sglang, "POST", "/v1/chat/completions", body))[0] == 200
    _, loads = await call(sglang, "GET", SGLANG_LOADS)
    [rank] = loads["loads"]
    assert (rank["num_running_reqs"], rank["num_waiting_reqs"], rank["max_total_num_tokens"]) == (0, 0, 100_000)
    assert rank["cache_hit_rate"] == pytest.approx(96 / 202, abs=0.001)
    assert rank["gen_throughput"] == pytest.approx(32 / 3, abs=0.01)
    assert {"memory", "queues", "disaggregation"} <= set(rank)
    assert loads["aggregate"]["total_reqs"] == 0
    _, core = await call(sglang, "GET", "/v1/loads?include=core")
    assert "memory" not in core["loads"][0]
    status, refused = await call(sglang, "GET", "/v1/loads?include=cores")
    assert (status, "accepted: all, core" in refused["error"]["message"]) == (400, True)
    assert (await call(sglang, "GET", "/v1/loads?dp_rank=1"))[0] == 400
    _, old = await call(sglang, "GET", "/get_load")
    assert old == [{"dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0}]
    _, text = await call(sglang, "GET", "/metrics")
    read = metrics_load(text.encode(), 0.0)
    said = load_of(SGLANG_LOADS, loads, 0.0)
    assert read is not None
    assert said is not None
    assert (read.running, read.waiting, read.kv_usage) == (said.running, said.waiting, said.kv_usage) == (0, 0, 0.0)
    assert read.cache_hit_rate == pytest.approx(said.cache_hit_rate, abs=0.001)


async def test_a_flush_makes_the_next_prompt_cold(sglang: aiohttp.ClientSession) -> None:
    cached = []
    for flush in (False, False, True):
        if flush:
            assert (await call(sglang, "POST", "/flush_cache"))[0] == 200
        body = chat(messages=[{"role": "user", "content": "word " * 63}])
        _, whole = await call(sglang, "POST", "/v1/chat/completions", body)
        cached.append(whole["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 63, 0]


async def test_sglang_generates_from_text_ids_and_lists_whole_and_streamed(sglang: aiohttp.ClientSession) -> None:
    params = {"max_new_tokens": 5}
    _, one = await call(sglang, "POST", "/generate", {"text": "hello you", "sampling_params": params, "rid": "r1"})
    assert one["text"] == answer("hello you", 5).text
    meta = one["meta_info"]
    assert meta["finish_reason"] == {"type": "length", "length": 5}
    assert (meta["id"], meta["prompt_tokens"], meta["completion_tokens"], meta["cached_tokens"]) == ("r1", 2, 5, 0)
    _, many = await call(sglang, "POST", "/generate", {"text": ["hello you", "b"], "sampling_params": params})
    assert [each["text"] for each in many] == [one["text"], answer("b", 5).text]
    _, ids = await call(sglang, "POST", "/generate", {"input_ids": [1, 2, 3]})
    assert (ids["meta_info"]["prompt_tokens"], ids["text"]) == (3, answer("1 2 3", 128).text)
    events = await stream(sglang, "/generate", {"text": "hello you", "sampling_params": params})
    assert [len(event["text"]) for event in events] == sorted(len(event["text"]) for event in events)
    assert (len(events), events[-1]["text"]) == (5, one["text"])
    assert [event["meta_info"]["finish_reason"] for event in events[:4]] == [None] * 4
    assert events[-1]["meta_info"]["finish_reason"] == {"type": "length", "length": 5}
    wrong: dict[str, Any]
    for wrong in ({}, {"text": 5}, {"text": "x", "sampling_params": []}, {"input_ids": []}):
        status, body = await call(sglang, "POST", "/generate", wrong)
        assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_data_parallel_ranks_have_loads_of_their_own_and_a_request_may_name_one() -> None:
    async with SimulatorProcess("--dp-size", "2", "--instant") as engine, client(engine.url) as session:
        for _ in range(3):
            assert (await call(session, "POST", "/v1/chat/completions", chat(data_parallel_rank=1)))[0] == 200
        _, loads = await call(session, "GET", "/v1/loads")
        assert [rank["dp_rank"] for rank in loads["loads"]] == [0, 1]
        assert [rank["gen_throughput"] > 0 for rank in loads["loads"]] == [False, True]
        status, refused = await call(session, "POST", "/v1/chat/completions", chat(data_parallel_rank=2))
        assert (status, refused["error"]["param"]) == (400, "data_parallel_rank")


async def test_vllm_has_its_own_names_and_none_of_sglangs(vllm: aiohttp.ClientSession) -> None:
    for path in ("/server_info", "/get_server_info", "/get_model_info", "/v1/loads", "/get_load"):
        assert await call(vllm, "GET", path) == (404, {"detail": "Not Found"})
    assert (await call(vllm, "POST", "/generate", {"text": "x"}))[0] == 404
    assert (await call(vllm, "GET", "/version"))[1]["version"]
    assert await call(vllm, "GET", "/load") == (200, {"server_load": 0})
    _, text = await call(vllm, "GET", "/metrics")
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert f'vllm:{name}{{engine="0",model_name="{MODEL}"}} 0.0' in text
    assert (await call(vllm, "GET", "/v1/models"))[1]["data"][0]["owned_by"] == "vllm"
    _, tokens = await call(vllm, "POST", "/tokenize", {"model": MODEL, "prompt": "one two one"})
    assert (tokens["count"], tokens["max_model_len"]) == (3, 4096)
    assert tokens["tokens"][0] == tokens["tokens"][2] != tokens["tokens"][1]
    assert (await call(vllm, "POST", "/tokenize", {"messages": QUESTION}))[1]["count"] == 6
    assert (await call(vllm, "POST", "/tokenize", {"prompt": 5}))[0] == 400


async def test_a_generic_server_has_openais_routes_and_nothing_else(generic: aiohttp.ClientSession) -> None:
    for path in ("/server_info", "/version", "/metrics", "/load", "/v1/loads"):
        assert (await call(generic, "GET", path))[0] == 404
    _, models = await call(generic, "GET", "/v1/models")
    [card] = models["data"]
    assert (card["id"], "root" in card, card["owned_by"] in ("sglang", "vllm")) == (MODEL, False, False)
    assert (await call(generic, "GET", "/health"))[0] == 200
    _, whole = await call(generic, "POST", "/v1/chat/completions", chat())
    assert whole["choices"][0]["message"]["content"] == SAID
    status, _ = await call(generic, "GET", "/v1/chat/completions")
    assert status == 405


async def test_completions_take_texts_and_ids_and_number_their_choices(generic: aiohttp.ClientSession) -> None:
    body = {"model": MODEL, "prompt": ["a", "b"], "n": 2, "max_tokens": 3}
    _, whole = await call(generic, "POST", "/v1/completions", body)
    said = [choice["text"] for choice in whole["choices"]]
    assert said == [answer(prompt, 3, index=index).text for prompt in "ab" for index in range(2)]
    assert whole["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 12,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    events = await stream(generic, "/v1/completions", body)
    streamed = ["".join(c["text"] for e in events for c in e["choices"] if c["index"] == at) for at in range(4)]
    assert streamed == said
    _, ids = await call(generic, "POST", "/v1/completions", {"model": MODEL, "prompt": [5, 6]})
    assert ids["usage"]["completion_tokens"] == 16


async def test_stop_strings_end_an_answer_before_themselves(generic: aiohttp.ClientSession) -> None:
    stop = SAID.split()[5]
    _, whole = await call(generic, "POST", "/v1/chat/completions", chat(stop=[stop]))
    [choice] = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (SAID[: SAID.find(stop)], "stop")
    assert whole["usage"]["completion_tokens"] <= 6
    events = await stream(generic, "/v1/chat/completions", chat(stop=stop))
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == SAID[: SAID.find(stop)]


async def test_vectors_scores_and_labels_are_functions_of_their_input(generic: aiohttp.ClientSession) -> None:
    _, vectors = await call(generic, "POST", "/v1/embeddings", {"model": MODEL, "input": ["a", "b", "a"]})
    one, two, three = (each["embedding"] for each in vectors["data"])
    assert one == three != two
    assert vectors["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    documents = {"model": MODEL, "query": "q", "documents": ["x", "y", "z"], "top_n": 2}
    for path in ("/v1/rerank", "/rerank"):
        _, ranked = await call(generic, "POST", path, documents)
        scores = [each["relevance_score"] for each in ranked["results"]]
        assert (len(scores), scores) == (2, sorted(scores, reverse=True))
    _, classes = await call(generic, "POST", "/v1/classify", {"model": MODEL, "input": "good"})
    assert classes["data"][0]["label"] in ("negative", "positive")
    assert sum(classes["data"][0]["probs"]) == pytest.approx(1.0)
    for path in ("/v1/embeddings", "/v1/rerank", "/v1/classify"):
        status, refused = await call(generic, "POST", path, {"model": MODEL, "input": 5, "query": 5})
        assert (status, refused["error"]["param"] in ("input", "query")) == (400, True)


async def test_a_transcription_tells_what_arrived(generic: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData({"model": MODEL})
    form.add_field("file", b"\0" * 1234, filename="a.wav")
    async with generic.post("/v1/audio/transcriptions", data=form) as heard:
        assert (await heard.json())["text"] == "1234 bytes of sound"
    form = aiohttp.FormData({"model": "other"})
    form.add_field("file", b"\0", filename="a.wav")
    async with generic.post("/v1/audio/transcriptions", data=form) as unknown:
        assert unknown.status == 404
    assert (await call(generic, "POST", "/v1/audio/transcriptions", {"model": MODEL}))[0] == 400
    empty = aiohttp.FormData({"model": MODEL, "language": "en"}, default_to_multipart=True)
    async with generic.post("/v1/audio/transcriptions", data=empty) as missing:
        assert (missing.status, (await missing.json())["error"]["param"]) == (400, "file")


async def test_anthropics_messages_come_whole_and_as_named_events(generic: aiohttp.ClientSession) -> None:
    body = chat(system="Be short.")
    _, whole = await call(generic, "POST", "/v1/messages", body)
    said = answer(chat_prompt(QUESTION, system="Be short."), 16).text
    assert whole["content"] == [{"type": "text", "text": said}]
    assert (whole["type"], whole["role"], whole["stop_reason"]) == ("message", "assistant", "max_tokens")
    assert whole["usage"]["output_tokens"] == 16
    events = await stream(generic, "/v1/messages", body)
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == said
    assert events[-2]["usage"] == {"output_tokens": 16}
    stop = said.split()[3]
    _, stopped = await call(generic, "POST", "/v1/messages", {**body, "stop_sequences": [stop]})
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", stop)
    del body["max_tokens"]
    status, refused = await call(generic, "POST", "/v1/messages", body)
    assert (status, refused["type"], refused["error"]["type"]) == (400, "error", "invalid_request_error")


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/chat/completions", {}, 400, "messages"),
        ("/v1/chat/completions", {"messages": "hi"}, 400, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": 1}]}, 400, "messages[0].content"),
        ("/v1/chat/completions", chat(0), 400, "max_tokens"),
        ("/v1/chat/completions", chat(stream="yes"), 400, "stream"),
        ("/v1/chat/completions", chat(stream=True, stream_options=1), 400, "stream_options"),
        ("/v1/chat/completions", chat(messages=[{"role": "user", "content": "word " * 5000}]), 400, None),
        ("/v1/chat/completions", {**chat(), "model": "other"}, 404, "model"),
        ("/v1/completions", {"model": MODEL}, 400, "prompt"),
        ("/v1/responses", {"model": MODEL}, 400, "input"),
        ("/v1/chat/completions", [1], 400, None),
    ],
)
async def test_what_is_wrong_with_a_request_is_named_in_openais_shape(
    path: str, body: Any, status: int, param: str | None
) -> None:
    async with SimulatorProcess(*FLAGS) as engine, client(engine.url) as session:
        got, refused = await call(session, "POST", path, body)
        assert (got, refused["error"]["param"], refused["error"]["type"]) == (status, param, "invalid_request_error")
        assert refused["error"]["message"]
        async with session.post(path, data=b"{broken", headers={"Content-Type": "application/json"}) as broken:
            assert broken.status == 400
        assert (await call(session, "GET", "/health"))[0] == 200


async def test_a_key_opens_every_route_and_health_only_where_it_is_protected_too() -> None:
    async with (
        SimulatorProcess("--api-key", "k", "--instant") as engine,
        client(engine.url) as stranger,
        client(engine.url, Authorization="Bearer k") as friend,
    ):
        for method, path in (("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/chat/completions")):
            status, refused = await call(stranger, method, path, chat())
            assert (status, refused["error"]["code"]) == (401, "invalid_api_key")
            assert (await call(friend, method, path, chat()))[0] == 200
        assert (await call(stranger, "GET", "/health"))[0] == 200
    async with SimulatorProcess("--api-key", "k", "--protect-health") as engine, client(engine.url) as stranger:
        assert (await call(stranger, "GET", "/health"))[0] == 401


async def test_the_request_id_comes_back_and_what_arrived_can_be_seen() -> None:
    async with SimulatorProcess("--instant", "--health-path", "/ready") as engine, client(engine.url) as session:
        async with session.post("/v1/chat/completions", json=chat(stream=True), headers={"X-Request-Id": "r-7"}) as a:
            assert a.headers["X-Request-Id"] == "r-7"
            await a.read()
        assert (await call(session, "GET", "/ready"))[0] == 200
        assert (await call(session, "GET", "/health"))[0] == 404
        stats = await engine.stats()
        assert stats["requests"] == {"/v1/chat/completions": 1, "/ready": 1, "/health": 1}
        assert (await call(session, "POST", "/v1/chat/completions?x=1", chat()))[0] == 200
        last = (await engine.stats())["last"]
        assert (last["method"], last["path"]) == ("POST", "/v1/chat/completions?x=1")
        assert '"max_tokens": 16' in last["body"]
        assert (await engine.stats())["last_headers"]["Content-Type"] == "application/json"
