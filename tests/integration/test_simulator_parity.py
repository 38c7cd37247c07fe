"""An engine over HTTP that counts with the real tokenizer and one over gRPC of the same model say, count and weigh
the same, so that whatever stands before them can be compared by it."""

from typing import Any

import pytest

from gateway.engines.generation import Generate, Sampling
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.tokenizer import sim_tokenizer
from tests.integration.grpc_world import KINDS, bench, ids_of, text_of
from tests.integration.simulator_world import call, chat, client, stream

LINES = ["<user> What does a drain do?"]


@pytest.mark.parametrize("kind", KINDS)
async def test_chats_have_the_same_text_counts_and_log_probabilities(kind: str) -> None:
    tokenizer = sim_tokenizer()
    ids = tokenizer.encode_chat(LINES)
    async with (
        SimulatorProcess("--engine", kind, "--tokenizer", "--instant") as http,
        client(http.url) as session,
        bench(kind, "--instant") as grpc,
    ):
        for name, limit in (("cut", 9), ("natural", 1000)):
            wanted: dict[str, Any] = chat(limit, logprobs=True, top_logprobs=2)
            _, whole = await call(session, "POST", "/v1/chat/completions", wanted)
            [choice] = whole["choices"]
            sent = Generate(name, ids, Sampling(max_new_tokens=limit), logprobs=2)
            pieces = [piece async for piece in grpc.client.generate(sent, timeout_s=20)]
            finish = pieces[-1].finish
            assert finish is not None
            assert (text_of(pieces), finish.reason) == (choice["message"]["content"], choice["finish_reason"])
            counts = {"prompt_tokens": pieces[-1].prompt_tokens, "completion_tokens": pieces[-1].completion_tokens}
            assert {key: whole["usage"][key] for key in counts} == counts
            records = [record for piece in pieces for record in piece.logprobs]
            assert [(tokenizer.text_of(record.token_id), record.logprob) for record in records] == [
                (each["token"], each["logprob"]) for each in choice["logprobs"]["content"]
            ]
            assert [[value for _, value in record.top] for record in records] == [
                [top["logprob"] for top in each["top_logprobs"]] for each in choice["logprobs"]["content"]
            ]
            events = await stream(session, "/v1/chat/completions", wanted)
            streamed = [c["logprobs"]["content"] for event in events for c in event["choices"] if c["logprobs"]]
            assert [each for part in streamed for each in part] == choice["logprobs"]["content"]


async def test_completions_of_texts_and_of_ids_are_the_same() -> None:
    text = "Tell me of workers, queues & blocks — 🙂"
    ids = sim_tokenizer().encode(text)
    async with (
        SimulatorProcess("--tokenizer", "--instant") as http,
        client(http.url) as session,
        bench("sglang", "--instant") as grpc,
    ):
        body: dict[str, Any] = {"model": "sim-model", "max_tokens": 6, "n": 2, "logprobs": 1}
        _, of_text = await call(session, "POST", "/v1/completions", {**body, "prompt": text})
        _, of_ids = await call(session, "POST", "/v1/completions", {**body, "prompt": ids})
        assert of_text["choices"] == of_ids["choices"]
        assert of_text["usage"]["prompt_tokens"] == of_ids["usage"]["prompt_tokens"] == len(ids)
        pieces = [p async for p in grpc.client.generate(Generate("r", ids, Sampling(6, n=2), logprobs=1), timeout_s=20)]
        for index, choice in enumerate(of_text["choices"]):
            assert choice["text"] == text_of(pieces, index)
            assert choice["logprobs"]["tokens"] == [sim_tokenizer().text_of(token) for token in ids_of(pieces, index)]
            lengths = [len(token) for token in choice["logprobs"]["tokens"]]
            assert choice["logprobs"]["text_offset"] == [sum(lengths[:at]) for at in range(6)]
        stop = of_text["choices"][0]["text"].split()[3]
        _, cut = await call(session, "POST", "/v1/completions", {**body, "n": 1, "prompt": text, "stop": stop})
        pieces = [p async for p in grpc.client.generate(Generate("s", ids, Sampling(6, stop=(stop,))), timeout_s=20)]
        assert cut["usage"]["completion_tokens"] == pieces[-1].completion_tokens
        assert cut["choices"][0]["finish_reason"] == "stop"
        _, told = await call(session, "POST", "/generate", {"text": text, "sampling_params": {"max_new_tokens": 6}})
        assert told["meta_info"]["prompt_tokens"] == len(ids)
        status, refused = await call(session, "POST", "/v1/completions", {**body, "prompt": [999_999]})
        assert (status, refused["error"]["param"]) == (400, "input_ids")


async def test_embeddings_are_the_same_to_the_last_bit() -> None:
    text = "Tell me of workers — 🙂"
    ids = sim_tokenizer().encode(text)
    async with (
        SimulatorProcess("--tokenizer", "--instant") as http,
        client(http.url) as session,
        bench("vllm", "--instant") as grpc,
    ):
        found = await grpc.client.embed("e", ids, timeout_s=5)
        for more in ({}, {"encoding_format": "float"}):
            wanted = {"model": "sim-model", "input": text, **more}
            _, told = await call(session, "POST", "/v1/embeddings", wanted)
            assert tuple(told["data"][0]["embedding"]) == found.values
            assert told["usage"]["prompt_tokens"] == found.prompt_tokens == len(ids)


async def test_generate_tells_the_ids_and_log_probabilities_that_the_engine_over_grpc_does() -> None:
    text = "Tell me of workers"
    ids = sim_tokenizer().encode(text)
    async with (
        SimulatorProcess("--tokenizer", "--instant") as http,
        client(http.url) as session,
        bench("sglang", "--instant") as grpc,
    ):
        sent = Generate("r", ids, Sampling(max_new_tokens=5), logprobs=2, prompt_logprobs=True)
        pieces = [piece async for piece in grpc.client.generate(sent, timeout_s=20)]
        records = [record for piece in pieces for record in piece.logprobs]
        body = {
            "text": text,
            "sampling_params": {"max_new_tokens": 5},
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": 2,
        }
        _, whole = await call(session, "POST", "/generate", body)
        events = await stream(session, "/generate", body)
        for told in (whole, events[-1]):
            meta = told["meta_info"]
            assert told["output_ids"] == ids_of(pieces)
            assert meta["output_token_logprobs"] == [[each.logprob, each.token_id, None] for each in records]
            assert meta["output_top_logprobs"] == [[[v, t, None] for t, v in each.top] for each in records]
            prompt = [[each.logprob, each.token_id, None] for each in pieces[0].prompt_logprobs]
            assert meta["input_token_logprobs"] == prompt
        assert [len(each["output_ids"]) for each in events] == [1, 2, 3, 4, 5]
        _, plain = await call(session, "POST", "/generate", {"text": text, "sampling_params": {"max_new_tokens": 999}})
        assert plain["meta_info"]["finish_reason"] == {"type": "stop", "matched": sim_tokenizer().end_id}
        assert "output_token_logprobs" not in plain["meta_info"]
