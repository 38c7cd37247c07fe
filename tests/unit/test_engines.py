"""What engines say, however they say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.capabilities import Replies, capabilities_of, engine_of
from gateway.engines.loads import METRICS, SGLANG_LOAD, SGLANG_LOADS, SOURCES, VLLM_LOAD, load_of, metrics_load
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Engine

VLLM_MODELS = {
    "object": "list",
    "data": [
        {"id": "qwen", "object": "model", "owned_by": "vllm", "root": "/models/qwen", "max_model_len": 32768},
        {"id": "adapter", "object": "model", "owned_by": "vllm", "root": "/lora", "parent": "qwen"},
    ],
}
SERVER_INFO = {
    "model_path": "/models/llama",
    "served_model_name": "llama",
    "tokenizer_path": "/models/llama",
    "tp_size": 2,
    "dp_size": 1,
    "context_length": None,
    "max_running_requests": 64,
    "max_total_num_tokens": 500000,
    "version": "0.5.10",
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
named = st.dictionaries(
    st.sampled_from(["data", "id", "loads", "version", "model_path", "tp_size", "served_model_name", "token_usage"]),
    anything,
)


def test_vllm_tells_its_models_and_version() -> None:
    told = capabilities_of(Replies(models=VLLM_MODELS, version={"version": "0.32.0"}))
    assert (told.engine, told.version, told.model_id) == (Engine.VLLM, "0.32.0", "qwen")
    assert told.models == ("qwen", "adapter")
    assert (told.model_path, told.context_length) == ("/models/qwen", 32768)
    assert told.labels["max_model_len"] == "32768"


def test_sglang_tells_more_and_its_context_falls_back_to_the_models() -> None:
    models = {"data": [{"id": "llama", "owned_by": "sglang", "root": "/models/llama", "max_model_len": 8192}]}
    told = capabilities_of(Replies(models=models, server_info=SERVER_INFO, model_info={"is_generation": True}))
    assert (told.engine, told.model_id, told.tp_size, told.context_length) == (Engine.SGLANG, "llama", 2, 8192)
    assert (told.max_running_requests, told.max_total_tokens, told.is_generation) == (64, 500000, True)
    assert told.labels["tp_size"] == "2"
    assert told.labels["is_generation"] == "true"
    assert "context_length" not in told.labels


def test_a_server_that_tells_nothing_is_generic_and_of_unknown_model() -> None:
    told = capabilities_of(Replies(missing=("/v1/models: 500",)))
    assert (told.engine, told.model_id, told.models, told.missing) == (Engine.GENERIC, None, (), ("/v1/models: 500",))


@pytest.mark.parametrize(
    ("replies", "declared", "engine"),
    [
        (Replies(models=VLLM_MODELS), Engine.UNSPECIFIED, Engine.VLLM),
        (Replies(models=VLLM_MODELS), Engine.SGLANG, Engine.SGLANG),
        (Replies(version={"version": "1"}), Engine.UNSPECIFIED, Engine.VLLM),
        (Replies(server_info=SERVER_INFO), Engine.UNSPECIFIED, Engine.SGLANG),
        (Replies(models={"data": [{"id": "x", "owned_by": "nvidia"}]}), Engine.UNSPECIFIED, Engine.SGLANG),
        (Replies(models={"data": [{"id": "x", "owned_by": "me"}]}), Engine.UNSPECIFIED, Engine.GENERIC),
    ],
)
def test_who_it_is(replies: Replies, declared: Engine, engine: Engine) -> None:
    assert engine_of(replies, declared) is engine


@given(anything | named, anything | named, anything | named, anything | named)
def test_any_json_gives_capabilities(models: object, version: object, server: object, model: object) -> None:
    told = capabilities_of(Replies(models, version, server, model))
    assert told.engine in Engine
    assert all(isinstance(name, str) and name for name in told.models)
    assert (told.model_id is None) is (not told.models)


def test_loads_of_several_ranks_add_up_and_ratios_are_averaged() -> None:
    reply = {
        "loads": [
            {"num_running_reqs": 3, "num_waiting_reqs": 1, "token_usage": 0.2, "num_used_tokens": 10},
            {"num_running_reqs": 4, "num_waiting_reqs": 0, "token_usage": 0.4, "num_used_tokens": 30},
        ]
    }
    load = load_of(SGLANG_LOADS, reply, 5.0)
    assert load is not None
    assert (load.running, load.waiting, load.used_tokens, load.kv_usage) == (7, 1, 40, pytest.approx(0.3))


def test_old_sglang_and_vllm_say_less_and_the_rest_stays_unknown() -> None:
    assert load_of(SGLANG_LOAD, [{"num_reqs": 5, "num_waiting_reqs": 2, "num_tokens": 9}], 1.0) == EngineLoad(
        1.0, running=3, waiting=2, used_tokens=9
    ), "num_reqs counts those that wait as well"
    assert load_of(VLLM_LOAD, {"server_load": 4}, 1.0) == EngineLoad(1.0, running=4)
    assert load_of(SGLANG_LOADS, {"loads": []}, 1.0) is None
    assert load_of(VLLM_LOAD, {"status": "ok"}, 1.0) is None


def test_gauges_are_found_among_everything_else() -> None:
    text = b"""# HELP vllm:num_requests_running Number of requests
vllm:num_requests_running{engine="0",model_name="a b}c"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0"} 4.0
vllm:kv_cache_usage_perc{engine="0"} 0.5
vllm:kv_cache_usage_perc{engine="1"} 0.7
vllm:num_requests_running_total{engine="1"} 99
python_info 1
"""
    load = metrics_load(text, 2.0)
    assert load is not None
    assert (load.running, load.waiting, load.kv_usage, load.cache_hit_rate) == (5, 4, pytest.approx(0.6), None)


def test_a_missing_gauge_is_unknown_and_none_at_all_is_no_load() -> None:
    assert metrics_load(b"sglang:num_running_reqs 2\n", 1.0) == EngineLoad(1.0, running=2)
    assert metrics_load(b"sglang:num_running_reqs NaN\n", 1.0) is None
    assert metrics_load(b"process_cpu_seconds_total 1\n", 1.0) is None
    assert metrics_load(b"", 1.0) is None


@given(st.sampled_from([path for paths in SOURCES.values() for path in paths if path != METRICS]), anything | named)
def test_any_json_gives_a_load_or_none(path: str, reply: object) -> None:
    load = load_of(path, reply, 1.0)
    assert load is None or load.running is None or load.running >= 0


@given(st.binary(max_size=300) | st.text('vlm:nu_requstigkcahp{}"= 0.1eN\n', max_size=300).map(str.encode))
def test_any_metrics_text_gives_a_load_or_none(text: bytes) -> None:
    load = metrics_load(text, 1.0)
    assert load is None or load.kv_usage is None or 0 <= load.kv_usage <= 1
