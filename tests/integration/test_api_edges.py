"""The control API at its edges: probes by HEAD, wrong methods, odd ids, hostile bodies, and anything at all."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api.bodies import worker_spec
from gateway.errors import BadRequest
from gateway.workers.model import Engine
from tests.integration.control import Control, control


@pytest.fixture
async def api() -> AsyncIterator[Control]:
    async with control() as made:
        yield made


async def test_probes_may_be_sent_as_head(api: Control) -> None:
    for path, status in (("/health", 200), ("/liveness", 200), ("/readiness", 503), ("/workers", 200)):
        async with api.client.head(path) as answer:
            assert answer.status == status
            assert await answer.read() == b""


async def test_a_stream_without_end_is_not_begun_for_head(api: Control) -> None:
    async with api.client.head("/events") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_a_data_route_with_another_method_is_405_as_in_smg(api: Control) -> None:
    async with api.client.get("/v1/chat/completions") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert answer.headers["X-SMG-Error-Code"] == "method_not_allowed"


async def test_an_id_may_be_written_in_any_form_of_a_uuid(api: Control) -> None:
    worker_id = api.ready("http://a:1").worker.id
    for form in (worker_id.upper(), UUID(worker_id).hex, UUID(worker_id).urn):
        status, worker = await api.call("GET", f"/workers/{form}")
        assert isinstance(worker, dict)
        assert (status, worker["id"]) == (200, worker_id)
    for form in ("w²", "w", "wx", "w1/..%2f", "%00", "%ff", "1"):
        assert (await api.call("GET", f"/workers/{form}"))[0] in (400, 404)


@pytest.mark.parametrize(
    ("body", "engine"),
    [
        ({"runtime": "vllm"}, Engine.VLLM),
        ({"runtime_type": "sglang"}, Engine.SGLANG),
        ({"runtime": "trtllm"}, Engine.UNSPECIFIED),
        ({"runtime": None}, Engine.UNSPECIFIED),
        ({}, Engine.UNSPECIFIED),
    ],
)
def test_an_engine_goes_by_smgs_names(body: dict[str, Any], engine: Engine) -> None:
    assert worker_spec(json.dumps({"url": "http://a:1", **body}).encode()).engine is engine


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"runtime": "sglangg"}, "runtime: given 'sglangg', expected 'unspecified', 'sglang'"),
        ({"health": {"interval": 1}}, "health.interval: unknown field; accepted: timeout_secs,"),
        ({"models": [{"id": "m", "name": "n"}]}, "models.0.name: unknown field; accepted: id, display_name,"),
        ({"models": {"api_key": "sk-secret"}}, "models: given an object"),
        ({"api_key": ["sk-secret"]}, "api_key: given (hidden)"),
        ({"labels": [["api_key", "sk-secret"]]}, "labels: given an array"),
        ({"labels": {"a": "x" * 1025}}, "labels: given an object, expected names of at most"),
        ({"priority": 10**400}, "priority: given 401 characters"),
    ],
)
def test_a_refusal_names_the_right_fields_and_repeats_no_secret(body: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest) as refused:
        worker_spec(json.dumps({"url": "http://a:1", **body}).encode())
    assert text in refused.value.message
    assert "sk-secret" not in refused.value.message
    assert len(refused.value.message) < 500


@pytest.mark.parametrize(
    "body",
    [
        {"models": [1] * 80_000},
        {"models": [{"id": "m", "x": 1}] * 10_000},
        {"models": [{"id": "m"}] * 18_000},
        {"models": [{"id": "m", "aliases": ["b"] * 40_000}]},
        {"labels": {str(n): 1 for n in range(22_000)}},
        {str(n): 1 for n in range(22_000)},
    ],
)
def test_no_body_of_the_size_that_is_taken_holds_the_loop_for_long(body: dict[str, Any]) -> None:
    data = json.dumps({"url": "http://a:1", **body}).encode()
    assert 180_000 < len(data) < 262_144
    began = time.process_time()
    with pytest.raises(BadRequest):
        worker_spec(data)
    assert time.process_time() - began < 0.25  # about 0.02; before there were limits, up to 0.5


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("http://a:1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(
    ["url", "models", "worker_type", "labels", "priority", "cost", "api_key", "health", "timeout_secs", "reason"]
)
bodies = (
    st.dictionaries(members, values, max_size=4).map(lambda body: json.dumps(body).encode())
    | values.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
)
routes = st.sampled_from(
    [
        ("POST", "/workers"),
        ("PUT", "/workers/w1"),
        ("PATCH", "/workers/w1"),
        *(("POST", f"/workers/w1/{verb}") for verb in ("cordon", "uncordon", "drain", "resume", "probe", "retry")),
    ]
)
kinds = st.sampled_from(["application/json", "", "text/plain", "multipart/form-data; boundary=x", "a/b; charset=nope"])


async def test_no_body_on_any_route_is_a_failure_of_ours() -> None:
    async with control() as api:
        api.ready("http://listed:1")
        calls: list[tuple[tuple[str, str], bytes, str]] = []

        @settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
        @given(routes, bodies, kinds)
        def collect(route: tuple[str, str], body: bytes, kind: str) -> None:
            calls.append((route, body, kind))

        collect()
        for (method, path), body, kind in calls:
            headers = {"Content-Type": kind}
            status, answer = await api.call(method, path, data=body, headers=headers)
            assert status in (200, 202, 400, 409), (method, path, body, answer)
            assert isinstance(answer, dict)
            assert status < 400 or set(answer) == {"error", "code"}
        assert (await api.call("GET", "/workers"))[0] == 200


segments = st.lists(st.binary(max_size=6).map(lambda part: "".join(f"%{byte:02x}" for byte in part)), max_size=3)
paths = st.tuples(st.sampled_from(["/workers", "/x", "/v1"]), segments).map(lambda pair: "/".join([pair[0], *pair[1]]))


async def test_no_path_or_query_is_a_failure_of_ours() -> None:
    async with control() as api:
        api.ready("http://listed:1")
        calls: list[tuple[str, str, bytes]] = []

        @settings(max_examples=300, deadline=None, database=None)
        @given(
            paths | st.sampled_from(["/workers", "/journal", "/events", "/workers/w1"]),
            st.sampled_from(["model", "limit", "after", "worker", "meters", "now", "timeout_secs"]),
            st.binary(max_size=6) | st.sampled_from([b"nan", b"1e9", b"-1", b"9" * 30, b"inf"]),
        )
        def collect(path: str, name: str, value: bytes) -> None:
            calls.append((path, name, value))

        collect()
        for path, name, value in calls:
            if path == "/events" and name not in ("after", "meters"):
                continue  # a stream that has begun
            query = f"{name}={''.join(f'%{byte:02x}' for byte in value)}"
            async with api.client.get(f"{path}?{query}") as answer:
                assert answer.status in (200, 400, 404), (path, query)
