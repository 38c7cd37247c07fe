"""The pure mappings between our values and the engines' messages: nothing is lost, doubled or misread."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smg_grpc_proto.generated import sglang_scheduler_pb2 as sg
from smg_grpc_proto.generated import vllm_engine_pb2 as vl

from gateway.engines.generation import (
    MAX_ROOM,
    Bootstrap,
    Constraint,
    ConstraintKind,
    EngineError,
    ErrorKind,
    Finish,
    Generate,
    Piece,
    Sampling,
    TokenLogprob,
)
from gateway.engines.grpc_channel import _health_request, health_status, target_of
from gateway.engines.grpc_errors import error_of
from gateway.engines.grpc_info import capabilities_from, load_from, sampling_defaults
from gateway.engines.grpc_pieces import Choices, Said, aligned
from gateway.engines.grpc_sglang import SglangMessages
from gateway.engines.grpc_vllm import VllmMessages
from gateway.engines.meeting import meeting
from gateway.workers.model import Connection, Engine
from tests.unit.world import World

SGLANG, VLLM = SglangMessages(), VllmMessages()
ids = st.lists(st.integers(0, 2**32 - 1), max_size=30)


# --- streams ---


def streamed(messages: Any, chunks: list[tuple[int, list[int]]], n: int, *, repeat: str) -> list[Piece]:
    """The pieces of a stream whose chunks are (choice, ids); each choice then ends with a message that repeats the
    last chunk's ids, or all of them."""
    pb = messages.pb
    stream = [pb.GenerateResponse(chunk=pb.GenerateStreamChunk(index=index, token_ids=part)) for index, part in chunks]
    for index in range(n):
        parts = [part for at, part in chunks if at == index]
        said = parts[-1] if repeat == "last" else [token for part in parts for token in part]
        end = pb.GenerateComplete(index=index, output_ids=said, finish_reason="length", completion_tokens=len(said))
        stream.append(pb.GenerateResponse(complete=end))
    choices = Choices(n)
    found = [choices.piece(messages.said(message)) for message in stream]
    assert choices.ended
    return [piece for piece in found if piece is not None]


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
@pytest.mark.parametrize("repeat", ["last", "all"])
@given(st.data())
def test_every_id_appears_once_however_the_stream_is_cut_and_whatever_its_end_repeats(
    messages: Any, repeat: str, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 4))
    chunks = data.draw(st.lists(st.tuples(st.integers(0, n - 1), ids), max_size=20))
    chunks += [(index, [index]) for index in range(n)]
    pieces = streamed(messages, chunks, n, repeat=repeat)
    for index in range(n):
        wanted = [token for at, part in chunks if at == index for token in part]
        mine = [piece for piece in pieces if piece.index == index]
        assert [token for piece in mine for token in piece.token_ids] == wanted
        assert mine[-1].completion_tokens == len(wanted)
        assert [piece.finish for piece in mine if piece.finish] == [Finish("length")]
        counts = [piece.completion_tokens for piece in mine]
        assert counts == sorted(counts)


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
def test_an_answer_without_streaming_comes_whole_in_its_ending_message(messages: Any) -> None:
    pb = messages.pb
    end = pb.GenerateComplete(output_ids=[5, 6, 7], finish_reason="stop", prompt_tokens=4, cached_tokens=2)
    piece = Choices(1).piece(messages.said(pb.GenerateResponse(complete=end)))
    assert piece == Piece(0, (5, 6, 7), (), (), 4, 2, 3, Finish("stop"))


def test_choices_that_come_whole_and_without_their_numbers_are_taken_in_their_order() -> None:
    choices = Choices(3)
    ends = [Said(0, (at,), finish=Finish("stop")) for at in (7, 8, 9)]
    pieces = [choices.piece(end) for end in ends]
    assert [(piece.index, piece.token_ids) for piece in pieces if piece] == [(0, (7,)), (1, (8,)), (2, (9,))]
    assert choices.ended


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
@pytest.mark.parametrize(
    ("end", "finish"),
    [
        ({"finish_reason": "stop", "matched_token_id": 2}, Finish("stop", 2)),
        ({"finish_reason": "stop", "matched_token_id": 0}, Finish("stop", 0)),
        ({"finish_reason": "stop", "matched_stop_str": "\n\n"}, Finish("stop", "\n\n")),
        ({"finish_reason": "length"}, Finish("length")),
        ({"finish_reason": "abort"}, Finish("abort")),
        ({}, Finish("stop")),
    ],
)
def test_why_a_choice_ended_is_told_with_what_matched(messages: Any, end: dict[str, Any], finish: Finish) -> None:
    said = messages.said(messages.pb.GenerateResponse(complete=messages.pb.GenerateComplete(**end)))
    assert said is not None
    assert said.finish == finish


def test_an_end_with_an_error_and_a_choice_nobody_asked_for_are_failures_of_the_engine() -> None:
    with pytest.raises(EngineError, match="with an error"):
        Choices(1).piece(Said(0, (), finish=Finish("error")))
    with pytest.raises(EngineError, match="choice 3 of 2"):
        Choices(2).piece(Said(3, (1,)))


def test_what_comes_after_the_end_of_a_choice_is_dropped() -> None:
    choices = Choices(2)
    assert choices.piece(Said(0, (1,), finish=Finish("stop"))) is not None
    assert choices.piece(Said(0, (1,))) is None
    assert not choices.ended


def test_a_message_without_news_gives_no_piece() -> None:
    assert Choices(1).piece(Said(0, ())) is None
    assert SGLANG.said(sg.GenerateResponse()) is None
    assert VLLM.said(vl.GenerateResponse()) is None


# --- log probabilities ---


@given(ids, st.data())
def test_log_probabilities_are_matched_to_the_ids_also_where_some_are_missing_or_old(
    tokens: list[int], data: st.DataObject
) -> None:
    records = [TokenLogprob(token, -float(at)) for at, token in enumerate(tokens)]
    assert aligned(tokens, records) == tuple(records)
    old = [TokenLogprob(token, -99.0) for token in data.draw(ids)]
    assert aligned(tokens, [*old, *records]) == tuple(records)
    found = aligned(tokens, [])
    assert [record.token_id for record in found] == tokens
    assert all(record.logprob is None for record in found)


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
def test_log_probabilities_of_output_and_prompt_are_read_with_their_alternatives(messages: Any) -> None:
    pb = messages.pb
    top = pb.TopLogProbs(token_ids=[7, 8], values=[-0.5, -1.5])
    chunk = pb.GenerateStreamChunk(
        token_ids=[7],
        output_logprobs=pb.OutputLogProbs(token_logprobs=[-0.5], token_ids=[7], top_logprobs=[top]),
        input_logprobs=pb.InputLogProbs(
            token_logprobs=[pb.InputTokenLogProb(), pb.InputTokenLogProb(value=0.0)], token_ids=[1, 2]
        ),
    )
    piece = Choices(1).piece(messages.said(pb.GenerateResponse(chunk=chunk)))
    assert piece is not None
    assert piece.logprobs == (TokenLogprob(7, -0.5, ((7, -0.5), (8, -1.5))),)
    assert piece.prompt_logprobs == (TokenLogprob(1, None), TokenLogprob(2, 0.0))


def test_the_prompts_log_probabilities_are_told_once() -> None:
    choices, prompt = Choices(1), (TokenLogprob(1, None),)
    first = choices.piece(Said(0, (5,), prompt_logprobs=prompt))
    last = choices.piece(Said(0, (5,), prompt_logprobs=prompt, finish=Finish("stop")))
    assert first is not None
    assert last is not None
    assert (first.prompt_logprobs, last.prompt_logprobs) == (prompt, ())


# --- requests ---

some = st.none() | st.floats(0.015625, 1.0, width=16)
samplings = st.builds(
    Sampling,
    max_new_tokens=st.none() | st.integers(0, 2**31),
    min_new_tokens=st.none() | st.integers(0, 1000),
    temperature=st.none() | st.sampled_from([0.0, 0.5, 1.5]),
    top_p=some,
    top_k=st.none() | st.integers(-1, 1000),
    min_p=some,
    frequency_penalty=st.none() | st.sampled_from([-2.0, 0.0, 0.5]),
    presence_penalty=some,
    repetition_penalty=some,
    stop=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3).map(tuple),
    stop_token_ids=ids.map(tuple),
    ignore_eos=st.booleans(),
    skip_special_tokens=st.booleans(),
    spaces_between_special_tokens=st.booleans(),
    no_stop_trim=st.booleans(),
    n=st.integers(1, 8),
    seed=st.none() | st.integers(0, 2**31 - 1),
    logit_bias=st.dictionaries(st.integers(0, 2**31 - 1), st.sampled_from([-100.0, 0.5, 100.0]), max_size=3),
)
SAME = (
    "temperature",
    "top_p",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "ignore_eos",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "n",
)
OFF = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
@given(samplings, st.none() | st.integers(0, 20), st.booleans(), ids)
def test_every_sampling_parameter_reaches_the_message_and_what_is_not_given_is_off(
    messages: Any, sampling: Sampling, logprobs: int | None, prompt: bool, tokens: list[int]
) -> None:
    call = Generate("r", tokens, sampling, stream=True, text="t", logprobs=logprobs, prompt_logprobs=prompt, rank=0)
    request = messages.generate(call, {})
    assert (request.request_id, list(request.tokenized.input_ids), request.stream) == ("r", tokens, True)
    assert request.HasField("data_parallel_rank")
    params = request.sampling_params
    for name in SAME:
        asked = getattr(sampling, name)
        assert getattr(params, name) == (OFF.get(name, 0.0) if asked is None else asked), name
    assert tuple(params.stop) == sampling.stop
    assert tuple(params.stop_token_ids) == sampling.stop_token_ids
    assert {int(key): value for key, value in params.logit_bias.items()} == sampling.logit_bias
    if messages is SGLANG:
        assert params.top_k == (sampling.top_k or -1)
        assert params.min_new_tokens == (sampling.min_new_tokens or 0)
        assert params.no_stop_trim == sampling.no_stop_trim
        assert _optional(params, "max_new_tokens") == sampling.max_new_tokens
        assert request.return_logprob == (logprobs is not None or prompt)
        assert request.logprob_start_len == (0 if prompt else -1)
        assert request.top_logprobs_num == (logprobs or 0)
    else:
        assert params.top_k == max(0, sampling.top_k or 0)
        assert params.min_tokens == (sampling.min_new_tokens or 0)
        assert params.include_stop_str_in_output == sampling.no_stop_trim
        assert _optional(params, "max_tokens") == sampling.max_new_tokens
        assert _optional(params, "seed") == sampling.seed
        assert _optional(params, "logprobs") == logprobs
        assert _optional(params, "prompt_logprobs") == ((logprobs or 0) if prompt else None)


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


@pytest.mark.parametrize("messages", [SGLANG, VLLM])
def test_the_models_own_defaults_hold_where_nothing_was_asked_for(messages: Any) -> None:
    defaults = sampling_defaults({"default_sampling_params_json": '{"temperature": 0.5, "top_k": 20, "x": "y"}'})
    params = messages.generate(Generate("r", [1]), defaults).sampling_params
    assert (params.temperature, params.top_k, params.top_p) == (0.5, 20, 1.0)
    asked = messages.generate(Generate("r", [1], Sampling(temperature=0.0, top_k=3)), defaults).sampling_params
    assert (asked.temperature, asked.top_k) == (0.0, 3)


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '{"temperature": "hot"}', '{"temperature": true}'])
def test_sampling_defaults_that_cannot_be_read_are_none(text: str) -> None:
    assert sampling_defaults({"default_sampling_params_json": text}) == {}


@pytest.mark.parametrize(
    ("constraint", "sglang", "vllm"),
    [
        (Constraint(ConstraintKind.JSON_SCHEMA, "{}"), ("json_schema", "{}"), ("json_schema", "{}")),
        (Constraint(ConstraintKind.REGEX, "a+"), ("regex", "a+"), ("regex", "a+")),
        (Constraint(ConstraintKind.EBNF, "root ::= x"), ("ebnf_grammar", "root ::= x"), ("grammar", "root ::= x")),
        (Constraint(ConstraintKind.STRUCTURAL_TAG, "{}"), ("structural_tag", "{}"), ("structural_tag", "{}")),
        (Constraint(ConstraintKind.JSON_OBJECT), ("json_schema", '{"type": "object"}'), ("json_object", True)),
    ],
)
def test_constraints_go_where_each_engine_has_them(
    constraint: Constraint, sglang: tuple[str, object], vllm: tuple[str, object]
) -> None:
    for messages, (name, value) in ((SGLANG, sglang), (VLLM, vllm)):
        params: Any = messages.generate(Generate("r", [1], Sampling(constraint=constraint)), {}).sampling_params
        assert params.WhichOneof("constraint") == name
        assert getattr(params, name) == value


def test_a_choice_is_a_list_for_vllm_and_an_expression_of_exactly_these_for_sglang() -> None:
    constraint = Constraint(ConstraintKind.CHOICE, choices=("yes (sure)", "no."))
    call = Generate("r", [1], Sampling(constraint=constraint))
    assert list(VLLM.generate(call, {}).sampling_params.choice.choices) == ["yes (sure)", "no."]
    assert SGLANG.generate(call, {}).sampling_params.regex == r"(yes \(sure\))|(no\.)"


def test_disaggregation_parameters_go_to_the_engine_that_has_them_and_are_refused_by_the_other() -> None:
    meet = Generate("r", [1], bootstrap=Bootstrap("p", 8998, 2**31 - 1))
    params = SGLANG.generate(meet, {}).disaggregated_params
    assert (params.bootstrap_host, params.bootstrap_port, params.bootstrap_room) == ("p", 8998, 2**31 - 1)
    hand = Generate("r", [1], kv_transfer={"do_remote_decode": True})
    assert json.loads(VLLM.generate(hand, {}).kv_transfer_params_json) == {"do_remote_decode": True}
    for messages, call in ((VLLM, meet), (SGLANG, hand)):
        with pytest.raises(EngineError) as error:
            messages.generate(call, {})
        assert error.value.kind is ErrorKind.UNSUPPORTED


@pytest.mark.parametrize(
    ("end", "found"),
    [
        ({"kv_transfer_params_json": '{"remote_host": "p"}'}, {"remote_host": "p"}),
        ({"kv_transfer_params": {"remote_host": "p", "remote_port": 5}}, {"remote_host": "p", "remote_port": 5}),
        ({}, None),
    ],
)
def test_what_a_prefill_worker_of_vllm_hands_over_is_read(end: dict[str, Any], found: object) -> None:
    said = VLLM.said(vl.GenerateResponse(complete=vl.GenerateComplete(**end)))
    assert said is not None
    assert said.kv_transfer == found


def test_a_request_meets_at_its_prefill_worker_in_a_room_that_fits_the_proto() -> None:
    world = World()
    known = world.add("grpc://10.0.0.7:30000", bootstrap_port=8998).worker
    rooms = {meeting(known, Random(seed)).room for seed in range(200)}
    assert len(rooms) == 200
    assert all(0 <= room <= MAX_ROOM for room in rooms)
    assert meeting(known, Random(1)).host == "10.0.0.7"
    for worker, port in ((known, 8998), (world.add("grpc://a:1").worker, 0)):
        request = SGLANG.generate(Generate("r", [1], bootstrap=meeting(worker, Random(1))), {})
        assert request.disaggregated_params.bootstrap_port == port
    with pytest.raises(ValueError, match="out of range"):
        SGLANG.generate(Generate("r", [1], bootstrap=Bootstrap("a", 1, MAX_ROOM + 1)), {})


def test_a_handover_that_is_no_object_is_the_engines_failure() -> None:
    with pytest.raises(EngineError, match="not a JSON object"):
        VLLM.said(vl.GenerateResponse(complete=vl.GenerateComplete(kv_transfer_params_json="[1]")))


# --- info and loads ---


def test_sglangs_infos_become_capabilities_under_the_names_http_uses() -> None:
    server = sg.GetServerInfoResponse(sglang_version="0.5.10", max_total_num_tokens=5000)
    server.server_args.update({"tp_size": 2, "dp_size": 4, "disaggregation_mode": "prefill", "pp_size": 1})
    model = sg.GetModelInfoResponse(
        model_path="/m", served_model_name="big", max_context_length=4096, is_generation=False, tokenizer_path="/t"
    )
    found = capabilities_from(SGLANG.told(model, server), Engine.SGLANG, "", ())
    assert (found.model_id, found.models, found.model_path, found.tokenizer_path) == ("big", ("big",), "/m", "/t")
    assert (found.version, found.tp_size, found.dp_size, found.context_length) == ("0.5.10", 2, 4, 4096)
    assert (found.max_total_tokens, found.is_generation) == (5000, False)
    assert (found.engine, found.connection) == (Engine.SGLANG, Connection.GRPC)
    assert found.labels["disaggregation_mode"] == "prefill"


def test_vllms_infos_become_capabilities_with_the_version_from_elsewhere() -> None:
    server = vl.GetServerInfoResponse(kv_connector="NixlConnector", kv_role="kv_both", max_num_seqs=64)
    model = vl.GetModelInfoResponse(
        model_path="/m", served_model_name="big", max_context_length=4096, vocab_size=10, eos_token_ids=[1, 2]
    )
    found = capabilities_from(VLLM.told(model, server), Engine.VLLM, "0.32.0", ("x: y",))
    assert (found.model_id, found.version, found.max_running_requests) == ("big", "0.32.0", 64)
    assert (found.labels["kv_connector"], found.labels["vocab_size"]) == ("NixlConnector", "10")
    assert found.labels["eos_token_ids"] == "[1,2]"
    assert found.missing == ("x: y",)


def test_a_server_that_tells_nothing_has_empty_capabilities() -> None:
    for messages in (SGLANG, VLLM):
        found = capabilities_from(messages.told(None, None), messages.engine, "", ())
        assert (found.model_id, found.models, found.engine) == (None, (), messages.engine)


def test_loads_of_ranks_are_summed_and_what_the_engine_does_not_know_is_left_out() -> None:
    ranks = [
        vl.SchedulerLoad(num_running_reqs=2, num_waiting_reqs=1, token_usage=0.5),
        vl.SchedulerLoad(num_running_reqs=3, token_usage=0.25),
    ]
    load = load_from(ranks, 7.0)
    assert load is not None
    assert (load.at, load.running, load.waiting, load.kv_usage) == (7.0, 5, 1, 0.375)
    assert (load.used_tokens, load.max_tokens) == (None, None)
    known = load_from([sg.SchedulerLoad(num_used_tokens=0, max_total_num_tokens=100)], 7.0)
    assert known is not None
    assert (known.used_tokens, known.max_tokens) == (0, 100)
    assert load_from([], 7.0) is None


# --- failures and addresses ---


@pytest.mark.parametrize(
    ("code", "details", "kind", "status", "text"),
    [
        ("INVALID_ARGUMENT", "n must be 1", "invalid", 400, "n must be 1"),
        ("FAILED_PRECONDITION", "under its constraint", "invalid", 400, "under its constraint"),
        ("RESOURCE_EXHAUSTED", "the queue is full", "exhausted", 503, "the queue is full"),
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (9 vs. 5)", "invalid", 400, "too large"),
        (
            "UNAVAILABLE",
            "last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused (111)",
            "unavailable",
            502,
            "refused",
        ),
        ("UNAVAILABLE", "recvmsg:Connection reset by peer", "unavailable", 502, "connection lost"),
        ("UNAVAILABLE", "the model is being loaded", "unavailable", 502, "being loaded"),
        ("CANCELLED", "", "unavailable", 502, "Generate: cancelled"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "timeout", 504, "no answer in time"),
        ("UNIMPLEMENTED", "Method not found!", "unsupported", 501, "does not have Generate"),
        ("INTERNAL", "boom", "internal", 500, "boom"),
        ("UNAUTHENTICATED", "Unauthorized", "internal", 500, "Unauthorized"),
        ("UNKNOWN", None, "internal", 500, "Generate: unknown"),
        ("INTERNAL", "x" * 9000, "internal", 500, "…"),
    ],
)
def test_a_status_is_told_as_what_it_means_for_the_caller(
    code: str, details: str | None, kind: str, status: int, text: str
) -> None:
    error = error_of(code, details, doing="Generate")
    assert (error.kind, error.status, error.code) == (kind, status, f"engine_{kind}")
    assert text in error.message
    assert len(error.message) <= 600


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("grpc://a:5", ("a:5", False)),
        ("grpcs://a:5", ("a:5", True)),
        ("http://a:5", ("a:5", False)),
        ("http://a", ("a:80", False)),
        ("grpc://[::1]:5", ("[::1]:5", False)),
    ],
)
def test_a_workers_url_gives_the_channels_target(url: str, target: tuple[str, bool]) -> None:
    assert target_of(url) == target


def test_the_health_services_messages_are_written_and_read_as_protobuf_does() -> None:
    assert _health_request("") == b""
    assert _health_request("ab") == b"\x0a\x02ab"
    assert (health_status(b"\x08\x01"), health_status(b"\x08\x02"), health_status(b"")) == (1, 2, 0)
