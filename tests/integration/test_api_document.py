"""The OpenAPI document tells the truth: real answers of every JSON route have the shapes it gives them."""

import math
from pathlib import Path
from typing import Any

from gateway.proxy.flights import Flight, Stage
from gateway.telemetry.history import COUNT, History
from gateway.tokenizers.places import place_of
from gateway.workers.ask import Answer
from gateway.workers.health import ProbeResult
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Engine
from tests.integration.control import TEST, Control, control
from tests.unit import tokenizer_families as families


class Judge:
    """Judges values by the document's schemas: the part of JSON Schema that they use, and no unknown members."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.paths = document["paths"]
        self._named = document["components"]["schemas"]

    def faults(self, schema: dict[str, Any], value: object, at: str) -> list[str]:
        if "$ref" in schema:
            return self.faults(self._named[schema["$ref"].rsplit("/", 1)[1]], value, at)
        if "anyOf" in schema:
            tried = [self.faults(option, value, at) for option in schema["anyOf"]]
            return [] if any(not found for found in tried) else [f"{at}: fits no option: {value!r}"]
        if "const" in schema or "enum" in schema:
            allowed = schema.get("enum", [schema.get("const")])
            return [] if value in allowed else [f"{at}: {value!r} is none of {allowed}"]
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, value, at)
        if kind == "array":
            if not isinstance(value, list):
                return [f"{at}: not an array"]
            return [fault for n, item in enumerate(value) for fault in self.faults(schema["items"], item, f"{at}.{n}")]
        types: dict[str, tuple[type, ...]] = {
            "string": (str,),
            "boolean": (bool,),
            "integer": (int,),
            "number": (int, float),
            "null": (type(None),),
        }
        good = kind is None or (isinstance(value, types[kind]) and (kind == "boolean" or not isinstance(value, bool)))
        return [] if good else [f"{at}: {value!r} is no {kind}"]

    def _object(self, schema: dict[str, Any], value: object, at: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{at}: not an object"]
        known, more = schema.get("properties", {}), schema.get("additionalProperties", False)
        faults = [f"{at}: lacks {name}" for name in schema.get("required", []) if name not in value]
        for name, item in value.items():
            if name in known:
                faults += self.faults(known[name], item, f"{at}.{name}")
            elif more is False:
                faults.append(f"{at}: has {name}, which the document does not know")
            elif isinstance(more, dict):
                faults += self.faults(more, item, f"{at}.{name}")
        return faults

    def answer(self, method: str, path: str, status: int, value: object) -> list[str]:
        """What is wrong with this answer of this route."""
        told = self.paths[path][method.lower()]["responses"]
        if str(status) not in told:
            return [f"{method} {path}: {status} is not in the document"]
        return self.faults(told[str(status)]["content"]["application/json"]["schema"], value, f"{method} {path}")


def busy(api: Control) -> None:
    """Workers of which there is something to tell in every member."""
    entry = api.ready("http://a:1", "llama", Engine.VLLM)
    entry.load = EngineLoad(0.0, running=1, waiting=3, kv_usage=0.5, throughput=10.0, cache_hit_rate=0.25)
    entry.meters.began()
    entry.meters.failed("reset", 1.0)
    entry.meters.blamed("reset", 1.0)
    history = api.samples.histories[None] = api.samples.histories[entry.worker.id] = History()
    for second in (1000, 1003):
        history.append(second, [1.5, *[math.nan] * (COUNT - 1)])
    api.flying = [
        Flight("r1", "/generate", "llama", Stage.ANSWERING, 2.5, 2.0, 2, entry.worker.id, None, True, 17),
        Flight("r2", "/generate", None, Stage.QUEUED, 1.0, None, 0, None, None, False, 0),
    ]
    other = api.ready("http://a:2").worker
    for _ in range(3):
        api.registry.observe_probe(other.id, other.revision, ProbeResult(False, 0.1, "refused"), TEST)
    api.ready("http://a:4")  # answers nothing
    api.answers["http://a:1/flush_cache"] = Answer(200, {}, b"")
    api.answers["http://a:1/get_server_info"] = Answer(200, {"content-type": "application/json"}, b'{"tp_size": 8}')


SPEC = {
    "url": "http://a:3",
    "models": [{"id": "m", "aliases": ["n"], "context_length": 4096}],
    "worker_type": "decode",
    "runtime": "sglang",
    "labels": {"rack": "r1"},
    "bootstrap_port": 8998,
    "health": {"timeout_secs": 3},
    "load_monitor_interval_secs": 5,
}
CALLS: list[tuple[str, str, int, object]] = [
    ("POST", "/workers", 202, SPEC),
    ("POST", "/workers", 409, SPEC),
    ("POST", "/workers", 400, {}),
    ("GET", "/workers/{id}", 200, None),
    ("PATCH", "/workers/{id}", 202, {"priority": 3}),
    ("PATCH", "/workers/{id}", 400, {}),
    ("PUT", "/workers/{id}", 400, SPEC),
    ("POST", "/workers/{id}/cordon", 200, {"reason": "disk"}),
    ("POST", "/workers/{id}/uncordon", 200, None),
    ("POST", "/workers/{id}/drain", 200, {"timeout_secs": 60}),
    ("GET", "/workers", 200, None),
    ("GET", "/workers/{id}/history", 200, None),
    ("GET", "/workers/{id}/effect", 200, None),
    ("GET", "/gateway", 200, None),
    ("GET", "/people", 200, None),
    ("GET", "/history", 200, None),
    ("GET", "/history?worker={id}&step_secs=10&measures=requests_per_s,p99_s&rows=2", 200, None),
    ("GET", "/history?model=nobody's", 200, None),
    ("GET", "/history?model=m&worker={id}", 400, None),
    ("GET", "/history?worker=w99", 404, None),
    ("GET", "/requests", 200, None),
    ("GET", "/requests?worker={id}&limit=1", 200, None),
    ("GET", "/requests?limit=0", 400, None),
    ("POST", "/workers/{id}/resume", 200, None),
    ("POST", "/workers/{id}/probe", 200, None),
    ("POST", "/workers/{id}/retry", 409, None),
    ("POST", "/workers/{id}/reset_breaker", 200, None),
    ("POST", "/routing/explain", 200, {"request": {"model": "llama", "messages": []}}),
    ("POST", "/routing/explain", 200, {"request": {"model": "nobody's"}, "headers": {"X-SMG-Routing-Key": "a"}}),
    ("POST", "/routing/explain", 400, {"request": {"messages": []}}),
    ("GET", "/journal", 200, None),
    ("GET", "/readiness", 200, None),
    ("GET", "/v1/models", 200, None),
    ("GET", "/loads", 200, None),
    ("GET", "/get_loads", 200, None),
    ("POST", "/flush_cache", 206, None),
    ("GET", "/get_server_info", 200, None),
    ("GET", "/get_model_info", 200, None),
    ("GET", "/openapi.json", 200, None),
    ("GET", "/discovery", 200, None),
    ("GET", "/settings", 200, None),
    ("GET", "/process", 200, None),
    ("GET", "/routing", 200, None),
    ("DELETE", "/workers/{id}", 202, None),
    ("POST", "/workers/{id}/cordon", 200, None),
]


async def test_real_answers_have_the_shapes_of_the_document() -> None:
    async with control() as api:
        _, document = await api.call("GET", "/openapi.json")
        assert isinstance(document, dict)
        judge = Judge(document)
        status, empty = await api.call("GET", "/readiness")
        assert judge.answer("GET", "/readiness", status, empty) == []
        status, nobody = await api.call("GET", "/get_server_info")
        assert judge.answer("GET", "/get_server_info", status, nobody) == []
        busy(api)
        for method, path, expected, body in CALLS:
            options = {} if body is None else {"json": body}
            status, value = await api.call(method, path.replace("{id}", "w1"), **options)
            assert status == expected, (method, path, value)
            assert judge.answer(method, path.partition("?")[0], status, value) == []


ROLLING_CALLS: list[tuple[str, str, int, object]] = [
    ("POST", "/rolling-drains", 202, {"workers": ["w1"], "floor": 0, "what": "model=m"}),
    ("POST", "/rolling-drains", 400, {"workers": []}),
    ("POST", "/rolling-drains", 404, {"workers": ["w99"]}),
    ("GET", "/rolling-drains", 200, None),
    ("GET", "/rolling-drains/{id}", 200, None),
    ("POST", "/rolling-drains/{id}/pause", 200, None),
    ("POST", "/rolling-drains/{id}/continue", 200, None),
    ("POST", "/rolling-drains/{id}/cancel", 200, None),
]


async def test_real_answers_about_rolling_drains_have_the_shapes_of_the_document() -> None:
    async with control() as api:
        _, document = await api.call("GET", "/openapi.json")
        assert isinstance(document, dict)
        judge = Judge(document)
        api.ready("http://a:1").meters.began()
        for method, path, expected, body in ROLLING_CALLS:
            options = {} if body is None else {"json": body}
            status, value = await api.call(method, path.replace("{id}", "j1"), **options)
            assert status == expected, (method, path, value)
            assert judge.answer(method, path, status, value) == []


TOKENIZER_CALLS: list[tuple[str, str, int, object]] = [
    ("POST", "/v1/tokenizers", 202, {"name": "other", "source": "SOURCE"}),
    ("POST", "/v1/tokenizers", 409, {"name": "qwen", "source": "SOURCE"}),
    ("POST", "/v1/tokenizers", 400, {"name": "none", "source": "/no/such/path"}),
    ("POST", "/v1/tokenizers", 400, {"name": "none"}),
    ("GET", "/v1/tokenizers", 200, None),
    ("GET", "/tokenizers", 200, None),
    ("GET", "/v1/tokenizers/{id}", 200, None),
    ("GET", "/v1/tokenizers/{id}/status", 200, None),
    ("POST", "/tokenizers/{id}/tokens", 200, {"text": "Hello"}),
    ("POST", "/tokenizers/{id}/tokens", 400, {"text": 7}),
    ("POST", "/v1/tokenize", 200, {"model": "qwen", "prompt": "Hello"}),
    ("POST", "/v1/tokenize", 200, {"model": "qwen", "prompt": ["Hello", "", "world"]}),
    ("POST", "/v1/tokenize", 400, {"model": "nobody's", "prompt": "Hello"}),
    ("POST", "/v1/detokenize", 200, {"model": "qwen", "tokens": [5, 6]}),
    ("POST", "/v1/detokenize", 200, {"model": "qwen", "tokens": [[5], [6]]}),
    ("POST", "/v1/detokenize", 400, {"model": "qwen", "tokens": ["a"]}),
    ("DELETE", "/v1/tokenizers/{id}", 200, None),
    ("DELETE", "/v1/tokenizers/{id}", 404, None),
    ("GET", "/v1/tokenizers/{id}", 404, None),
    ("POST", "/tokenizers/{id}/tokens", 404, {"text": "Hello"}),
    ("GET", "/v1/tokenizers/{id}/status", 404, None),
]


async def test_real_answers_about_tokenizers_have_the_shapes_of_the_document(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_bytes(families.trained("qwen"))
    async with control() as api:
        _, document = await api.call("GET", "/openapi.json")
        assert isinstance(document, dict)
        judge = Judge(document)
        api.tokenizers.add("qwen", place_of(str(file)))
        await api.tokenizers.wait("qwen", 20)
        for method, path, expected, body in TOKENIZER_CALLS:
            if isinstance(body, dict):
                body = {name: str(file) if value == "SOURCE" else value for name, value in body.items()}
            options = {} if body is None else {"json": body}
            status, value = await api.call(method, path.replace("{id}", "qwen"), **options)
            assert status == expected, (method, path, value)
            assert judge.answer(method, path, status, value) == []


async def test_every_json_answer_of_the_document_is_seen_by_the_tests_above() -> None:
    async with control() as api:
        _, document = await api.call("GET", "/openapi.json")
        assert isinstance(document, dict)
    documented = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if any("application/json" in told["content"] and code < "3" for code, told in operation["responses"].items())
    }
    called = {(method, path.partition("?")[0]) for method, path, status, _ in CALLS + TOKENIZER_CALLS + ROLLING_CALLS}
    assert documented - called == set()


async def test_the_judge_finds_faults() -> None:
    async with control() as api:
        _, document = await api.call("GET", "/openapi.json")
        assert isinstance(document, dict)
        judge = Judge(document)
        _, good = await api.call("GET", "/workers")
        assert isinstance(good, dict)
        wrong: list[object] = [{}, {**good, "total": "1"}, {**good, "more": 1}, {**good, "workers": [{}]}, []]
        for bad in wrong:
            assert judge.answer("GET", "/workers", 200, bad)
