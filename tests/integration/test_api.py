"""The control API, route by route: SMG's JSON, errors that name the field, commands that may be repeated."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api.bodies import decoded, worker_spec
from gateway.errors import BadRequest
from gateway.workers.ask import Answer
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import Engine
from tests.integration.control import TEST, Control, control


@pytest.fixture
async def api() -> AsyncIterator[Control]:
    async with control() as made:
        yield made


async def test_adding_a_worker_is_accepted_as_smg_does(api: Control) -> None:
    async with api.client.post("/workers", json={"url": "http://a:1/"}) as answer:
        body = await answer.json()
        assert answer.status == 202
        assert answer.headers["Location"] == f"/workers/{body['worker_id']}" == body["location"]
        assert (body["status"], body["url"], body["name"]) == ("accepted", "http://a:1", "w1")
    status, worker = await api.call("GET", body["location"])
    assert status == 200
    assert isinstance(worker, dict)
    assert (worker["status"], worker["state"], worker["is_healthy"]) == ("pending", "registering", False)


async def test_a_ready_worker_shows_smgs_members_and_ours(api: Control) -> None:
    entry = api.ready("http://a:1", "llama")
    entry.meters.began()
    entry.meters.ttft.add(0.1, asyncio.get_running_loop().time())
    entry.load = EngineLoad(0.0, running=1, waiting=3, kv_usage=0.5)
    _, listed = await api.call("GET", "/workers")
    assert isinstance(listed, dict)
    assert listed["total"] == 1
    assert listed["stats"] == {"prefill_count": 0, "decode_count": 0, "regular_count": 1}
    (worker,) = listed["workers"]
    smg = {"id", "model_id", "url", "models", "worker_type", "connection_mode", "priority", "cost", "labels"}
    smg |= {"runtime_type", "is_healthy", "status", "load"}
    ours = {"state", "cordoned", "in_flight", "queue_depth", "health_status", "response_ms", "ttft_ms", "drain"}
    assert smg | ours <= set(worker)
    assert (worker["model_id"], worker["status"], worker["load"], worker["queue_depth"]) == ("llama", "ready", 1, 3)
    assert set(worker["health_status"]) >= {
        "status",
        "consecutive_failures",
        "consecutive_successes",
        "last_check",
        "last_error",
        "latency_ms",
    }
    assert set(worker["response_ms"]) == set(worker["ttft_ms"]) == {"p50", "p95", "p99", "window_5m"}
    assert worker["drain"] is None


async def test_registering_workers_are_listed_and_the_model_filter_counts(api: Control) -> None:
    await api.call("POST", "/workers", json={"url": "http://a:1"})
    api.ready("http://a:2", "llama")
    _, everything = await api.call("GET", "/workers")
    assert isinstance(everything, dict)
    assert [w["state"] for w in everything["workers"]] == ["registering", "ready"]
    _, filtered = await api.call("GET", "/workers?model=llama")
    assert isinstance(filtered, dict)
    assert filtered["total"] == 1


@pytest.mark.parametrize("command", ["cordon", "uncordon", "drain", "resume", "probe"])
async def test_commands_answer_with_the_worker_and_may_be_repeated(api: Control, command: str) -> None:
    entry = api.ready("http://a:1")
    entry.meters.began()
    for _ in range(2):
        for name in (entry.worker.id, entry.worker.name):
            status, body = await api.call("POST", f"/workers/{name}/{command}")
            assert status == 200, body
            assert isinstance(body, dict)
            assert body["status"] == "ok"
            assert body["worker"]["id"] == entry.worker.id
    expected = {"cordon": "ready", "drain": "draining"}.get(command, "ready")
    assert entry.worker.state == expected


async def test_a_drain_shows_how_far_it_is_and_ends_with_the_last_request(api: Control) -> None:
    entry = api.ready("http://a:1")
    entry.meters.began()
    _, body = await api.call("POST", "/workers/w1/drain", json={"timeout_secs": 60, "reason": "kernel update"})
    assert isinstance(body, dict)
    drain = body["worker"]["drain"]
    assert (drain["intent"], drain["in_flight"], drain["drained"]) == ("hold", 1, False)
    assert "kernel update" in body["worker"]["reason"]
    entry.meters.ended(Outcome.OK, 1.0, 1.0)
    _, worker = await api.call("GET", "/workers/w1")
    assert isinstance(worker, dict)
    assert worker["drain"]["drained"] is True
    status, _ = await api.call("DELETE", "/workers/w1")
    assert status == 202
    assert (await api.call("GET", "/workers/w1"))[0] == 404


async def test_removing_now_does_not_wait(api: Control) -> None:
    entry = api.ready("http://a:1")
    entry.meters.began()
    assert (await api.call("DELETE", "/workers/w1?timeout_secs=5"))[0] == 202
    assert (await api.call("GET", "/workers/w1"))[0] == 200
    assert (await api.call("DELETE", "/workers/w1?now=true"))[0] == 202
    assert (await api.call("GET", "/workers/w1"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "text"),
    [
        ("POST", "/workers", {"url": "a"}, 400, "BAD_REQUEST", "url: it must start with"),
        ("POST", "/workers", {"url": "ipc://a:1"}, 400, "BAD_REQUEST", "it must start with"),
        ("POST", "/workers", {}, 400, "BAD_REQUEST", "url: missing"),
        ("POST", "/workers", {"url": 5}, 400, "BAD_REQUEST", "url: given 5"),
        (
            "POST",
            "/workers",
            {"url": "http://a:9", "prio": 1},
            400,
            "BAD_REQUEST",
            "prio: unknown field; accepted: url",
        ),
        ("POST", "/workers", {"url": "http://a:9", "priority": 1000}, 400, "BAD_REQUEST", "priority: given 1000"),
        ("POST", "/workers", {"url": "http://a:9", "priority": "9"}, 400, "BAD_REQUEST", "priority: given '9'"),
        ("POST", "/workers", {"url": "http://a:9", "worker_type": "x"}, 400, "BAD_REQUEST", "worker_type: given 'x'"),
        ("POST", "/workers", {"url": "http://a:9", "api_key": "a\nb"}, 400, "BAD_REQUEST", "given: hidden"),
        ("POST", "/workers", {"url": "http://a:9", "health": {"interval": 1}}, 400, "BAD_REQUEST", "health.interval"),
        ("POST", "/workers", {"url": "http://listed:1"}, 409, "WORKER_ALREADY_EXISTS", "already listed as w1"),
        ("PATCH", "/workers/w1", {}, 400, "BAD_REQUEST", "accepted fields: priority"),
        ("PATCH", "/workers/w1", {"url": "http://b:1"}, 400, "BAD_REQUEST", "url: unknown field"),
        ("PATCH", "/workers/w1", {"cost": None}, 400, "BAD_REQUEST", "nothing to change"),
        ("PATCH", "/workers/w1", {"health": {}}, 400, "BAD_REQUEST", "health: empty"),
        ("PUT", "/workers/w1", {"url": "http://other:1"}, 400, "BAD_REQUEST", "this worker is http://listed:1"),
        ("GET", "/workers/nonsense", None, 400, "BAD_REQUEST", "expected a worker's id"),
        ("GET", "/workers/w99", None, 404, "WORKER_NOT_FOUND", "w99"),
        ("GET", "/workers/0190a000-0000-7000-8000-000000000000", None, 404, "WORKER_NOT_FOUND", "no worker"),
        ("DELETE", "/workers/w99", None, 404, "WORKER_NOT_FOUND", "w99"),
        ("DELETE", "/workers/w1?now=perhaps", None, 400, "BAD_REQUEST", "now: given 'perhaps'"),
        ("DELETE", "/workers/w1?timeout_secs=-1", None, 400, "BAD_REQUEST", "timeout_secs: given '-1'"),
        ("POST", "/workers/w1/drain", {"timeout": 1}, 400, "BAD_REQUEST", "timeout: unknown field"),
        ("POST", "/workers/w1/resume", {"x": 1}, 400, "BAD_REQUEST", "x: unknown field"),
        ("POST", "/workers/w1/retry", None, 409, "CONFLICT", "only an unhealthy or failed"),
        ("GET", "/journal?limit=0", None, 400, "BAD_REQUEST", "limit: given '0'"),
        ("GET", "/journal?after=x", None, 400, "BAD_REQUEST", "after: given 'x'"),
        ("GET", "/journal?worker=w7", None, 404, "WORKER_NOT_FOUND", "w7"),
        ("GET", "/events?after=x-y", None, 400, "BAD_REQUEST", "Last-Event-ID"),
    ],
)
async def test_wrong_input_names_what_is_wrong_and_changes_nothing(
    api: Control, method: str, path: str, body: object, status: int, code: str, text: str
) -> None:
    api.ready("http://listed:1")
    before = api.registry.journal.seq
    answered, error = await api.call(method, path, **({} if body is None else {"json": body}))
    assert isinstance(error, dict)
    assert (answered, error["code"]) == (status, code), error
    assert text in error["error"]
    assert api.registry.journal.seq == before


async def test_bodies_that_are_not_json_are_400(api: Control) -> None:
    for data in (b"{", b"[]", b"\xff\xfe", b"nul", b'{"url": 1e999}', b"[" * 100_000):
        status, error = await api.call("POST", "/workers", data=data)
        assert status == 400, data[:20]
        assert isinstance(error, dict)
        assert error["code"] == "BAD_REQUEST"
    status, error = await api.call("POST", "/workers", data=BytesIO(b" " * (1024 * 1024 + 1)))
    assert status == 413


async def test_unknown_urls_and_methods_answer_as_smg_does(api: Control) -> None:
    async with api.client.get("/nope") as answer:
        assert answer.status == 404
        assert answer.headers["X-SMG-Error-Code"] == "unknown_url"
        assert (await answer.json())["error"]["message"] == "Invalid URL (GET /nope)"
    async with api.client.delete("/workers") as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}
        assert (await answer.json())["error"]["code"] == "method_not_allowed"


async def test_readiness_says_why_not(api: Control) -> None:
    assert await api.call("GET", "/health") == (200, "OK")
    assert await api.call("GET", "/liveness") == (200, "OK")
    status, body = await api.call("GET", "/readiness")
    assert isinstance(body, dict)
    assert (status, body["status"], body["reason"]) == (503, "not ready", "insufficient healthy workers")
    entry = api.ready("http://a:1")
    assert await api.call("GET", "/readiness") == (200, {"status": "ready", "healthy_workers": 1, "total_workers": 1})
    api.registry.cordon(entry, "disk", TEST)
    status, body = await api.call("GET", "/readiness")
    assert isinstance(body, dict)
    assert body["workers"] == [{"name": "w1", "url": "http://a:1", "because": "cordoned: disk"}]
    api.registry.uncordon(entry, TEST)
    api.stopping = True
    status, body = await api.call("GET", "/readiness")
    assert isinstance(body, dict)
    assert (status, body["reason"]) == (503, "draining")


async def test_models_are_those_of_all_workers(api: Control) -> None:
    api.ready("http://a:1", "llama")
    api.ready("http://a:2", "llama")
    api.ready("http://a:3", "qwen")
    _, body = await api.call("GET", "/v1/models")
    assert isinstance(body, dict)
    assert [card["id"] for card in body["data"]] == ["llama", "qwen"]
    assert {card["owned_by"] for card in body["data"]} == {"self_hosted"}


async def test_loads_leave_out_what_is_not_reported(api: Control) -> None:
    api.ready("http://a:1").load = EngineLoad(0.0, running=2, waiting=1, kv_usage=0.5)
    api.ready("http://a:2")
    for path in ("/loads", "/get_loads"):
        _, body = await api.call("GET", path)
        assert isinstance(body, dict)
        first, second = body["loads"]
        assert (first["num_running_reqs"], first["num_total_reqs"], first["token_usage"]) == (2, 3, 0.5)
        assert not {"num_running_reqs", "token_usage"} & set(second)
        assert (body["aggregate"]["total_reqs"], body["aggregate"]["avg_token_usage"]) == (3, 0.5)


async def test_flushing_tells_who_did_not(api: Control) -> None:
    assert (await api.call("POST", "/flush_cache"))[0] == 200
    api.ready("http://a:1")
    api.ready("http://a:2")
    api.answers["http://a:1/flush_cache"] = Answer(200, {}, b"")
    status, body = await api.call("POST", "/flush_cache")
    assert isinstance(body, dict)
    assert (status, body["status"], body["workers_flushed"]) == (206, "partial_success", 1)
    assert body["failed"] == [{"worker": "http://a:2", "error": "connection refused"}]


async def test_info_comes_from_the_engine_or_from_what_is_known(api: Control) -> None:
    assert (await api.call("GET", "/get_server_info"))[0] == 503
    api.ready("http://a:1", "llama", Engine.VLLM)
    api.answers["http://a:1/server_info"] = Answer(404, {}, b"")
    _, known = await api.call("GET", "/get_model_info")
    assert isinstance(known, dict)
    assert (known["model_path"], known["source"]) == ("llama", "registry")
    api.answers["http://a:1/get_server_info"] = Answer(200, {"content-type": "application/json"}, b'{"tp_size": 8}')
    assert await api.call("GET", "/get_server_info") == (200, {"tp_size": 8})


async def test_engine_metrics_are_labelled_with_their_worker(api: Control) -> None:
    assert (await api.call("GET", "/engine_metrics"))[0] == 500
    for url in ("http://a:1", "http://a:2"):
        api.ready(url)
        api.answers[f"{url}/metrics"] = Answer(200, {}, b'# TYPE x gauge\nx{a="b"} 1\ny 2\nz{} 3\n')
    status, text = await api.call("GET", "/engine_metrics")
    assert status == 200
    assert isinstance(text, str)
    assert text.count("# TYPE x gauge") == 1
    assert 'x{worker_addr="http://a:1",a="b"} 1' in text
    assert 'y{worker_addr="http://a:2"} 2' in text
    assert 'z{worker_addr="http://a:2"} 3' in text


async def test_history_has_transitions_probes_and_events(api: Control) -> None:
    entry = api.ready("http://a:1")
    await api.call("POST", "/workers/w1/drain")
    _, body = await api.call("GET", "/workers/w1/history")
    assert isinstance(body, dict)
    assert [(move["from"], move["to"]) for move in body["transitions"]] == [
        (None, "registering"),
        ("registering", "ready"),
        ("ready", "draining"),
    ]
    assert body["transitions"][-1]["who"] == "api"
    assert len(body["probes"]) == 2
    assert {event["worker"] for event in body["events"]} == {entry.worker.id}


async def test_a_key_is_never_told(api: Control) -> None:
    key = "sk-very-secret-0123456789"
    body = {"url": "http://a:1", "api_key": key}
    await api.call("POST", "/workers", json=body)
    await api.call("PATCH", "/workers/w1", json={"api_key": key + "2"})
    await api.call("PUT", "/workers/w1", json={**body, "priority": 3})
    await api.call("PATCH", "/workers/w1", json={"api_key": [key]})
    said = ""
    for path in ("/workers", "/workers/w1", "/workers/w1/history", "/journal", "/readiness", "/loads"):
        said += json.dumps((await api.call("GET", path))[1])
    async with api.client.get("/events") as stream:
        said += (await stream.content.readuntil(b"\n\n")).decode()
    assert "very-secret" not in said
    assert api.registry.find("w1").worker.spec.api_key is not None


async def test_the_openapi_document_names_every_route_and_no_other(api: Control) -> None:
    _, document = await api.call("GET", "/openapi.json")
    assert isinstance(document, dict)
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (route.method, route.resource.canonical)
        for route in api.client.app.router.routes()  # type: ignore[union-attr]  # it has an application
        if route.resource is not None and route.method != "HEAD"
    }
    assert told == served
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "url",
    "models",
    "worker_type",
    "labels",
    "priority",
    "cost",
    "api_key",
    "health",
    "bootstrap_port",
    "runtime",
]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | values)
def test_any_body_is_a_spec_or_a_clear_refusal(body: Any) -> None:
    try:
        text = json.dumps(body).encode()
    except (UnicodeEncodeError, ValueError):
        return
    try:
        spec = worker_spec(text)
    except BadRequest:
        return
    assert isinstance(spec.url, str)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_clear_refusal(data: bytes) -> None:
    try:
        value = decoded(data)
    except BadRequest:
        return
    assert isinstance(value, dict)
