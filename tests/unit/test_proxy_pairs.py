"""Prefill and decode on two workers: what each is sent, whose failure ends what, and the books of both."""

import json
from typing import Any

import pytest

from gateway.proxy.messages import AnswerHead
from gateway.proxy.opening import open_exchange
from gateway.proxy.pairs import PairExchange
from gateway.proxy.upstream import UpstreamError
from gateway.workers.entry import Entry
from gateway.workers.model import Engine, ModelCard, Role
from tests.unit.proxy_scene import EVENTS, JSON, TEST, FakeClient, FakePlace, FakeUpstream, Scene


class Pair:
    """Prefill and decode workers of one engine, and a request for them."""

    def __init__(self, engine: Engine, body: dict[str, Any], prefills: int = 1, decodes: int = 1, **spec: Any) -> None:
        self.scene = scene = Scene(workers=0)
        known = {"engine": engine, **spec}
        self.prefills = [
            scene.add(f"http://prefill{n}:1", role=Role.PREFILL, bootstrap_port=8998 + n, **known)
            for n in range(prefills)
        ]
        self.decodes = [scene.add(f"http://decode{n}:1", role=Role.DECODE, **known) for n in range(decodes)]
        scene.entries = [*self.prefills, *self.decodes]
        scene.places = {entry.worker.id: FakePlace(entry.worker.url[7:].encode()) for entry in scene.entries}
        self.client = FakeClient()
        request = scene.request(self.client, json.dumps({"model": "m", **body}).encode()).request
        exchange = open_exchange(scene.traffic, self.client, request)
        assert isinstance(exchange, PairExchange)
        self.exchange = exchange

    def open(self, entries: list[Entry]) -> FakeUpstream:
        """Connect the one of these workers that is being connected to."""
        (place,) = [place for entry in entries if (place := self.scene.places[entry.worker.id]).dials]
        return place.open()

    def dialled(self, entries: list[Entry]) -> bool:
        return any(self.scene.places[entry.worker.id].dials for entry in entries)

    def answered(self, body: bytes = b'{"ok":1}', status: int = 200) -> None:
        self.exchange.on_head(AnswerHead(status, b"", JSON), len(body))
        self.exchange.on_body(body)
        self.exchange.on_end()


def body_of(upstream: FakeUpstream) -> dict[str, Any]:
    head, _, body = upstream.sent.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head
    found = json.loads(body)
    assert isinstance(found, dict)
    return found


def prefill_answers(upstream: FakeUpstream, body: bytes = b"{}", status: int = 200) -> None:
    assert upstream.sink is not None
    upstream.sink.on_head(AnswerHead(status, b"", JSON), len(body))
    upstream.sink.on_body(body)
    upstream.sink.on_end()


def test_sglang_gets_the_same_request_twice_at_once_with_one_room() -> None:
    pair = Pair(Engine.SGLANG, {"messages": [], "temperature": 0.10})
    pair.exchange.begin()
    prefill, decode = pair.open(pair.prefills), pair.open(pair.decodes)
    told = body_of(prefill)
    assert told == body_of(decode)
    assert (told["bootstrap_host"], told["bootstrap_port"]) == ("prefill0", 8998)
    assert 0 <= told["bootstrap_room"] < 2**63
    assert b'"temperature":0.1' in prefill.sent
    assert prefill.sent.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: prefill0:1\r\n")
    prefill_answers(prefill)
    pair.answered()
    assert pair.client.status == 200
    assert b"x-smg-routed-worker-id: " + pair.decodes[0].worker.id.encode() in pair.client.got
    assert b"x-smg-prefill-worker-id: " + pair.prefills[0].worker.id.encode() in pair.client.got
    assert pair.scene.books == {"in_flight": 0, "requests": 2, "ok": 2}


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"prompt": ["a", "b", "c"]}, 3),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": [1, 2, 3]}, None),
        ({"prompt": "a", "n": 4}, 4),
        ({"prompt": ["a", "b"], "n": 2}, 4),
        ({"messages": [], "n": 1}, None),
        ({"text": ["a"]}, 1),
        ({"input_ids": [[1], [2]]}, 2),
    ],
)
def test_a_batch_gets_a_room_for_each(body: dict[str, Any], size: int | None) -> None:
    pair = Pair(Engine.SGLANG, body)
    pair.exchange.begin()
    told = body_of(pair.open(pair.prefills))
    if size is None:
        assert isinstance(told["bootstrap_room"], int)
        return
    assert told["bootstrap_host"] == ["prefill0"] * size
    assert told["bootstrap_port"] == [8998] * size
    assert len(set(told["bootstrap_room"])) == size


def test_vllm_is_asked_in_turn_and_the_place_of_the_cache_is_passed_on() -> None:
    given = {"messages": [], "stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 50}
    pair = Pair(Engine.VLLM, given)
    pair.exchange.begin()
    assert not pair.dialled(pair.decodes)
    prefill = pair.open(pair.prefills)
    told = body_of(prefill)
    assert (told["max_tokens"], told["max_completion_tokens"], told["stream"]) == (1, 1, False)
    assert "stream_options" not in told
    assert told["kv_transfer_params"] == {"do_remote_decode": True, "do_remote_prefill": False}
    place = {"do_remote_prefill": True, "remote_block_ids": [1, 2], "remote_engine_id": "e", "remote_port": 5}
    prefill_answers(prefill, json.dumps({"kv_transfer_params": place}).encode())
    decode = pair.open(pair.decodes)
    assert body_of(decode) == {"model": "m", **given, "kv_transfer_params": place}
    pair.answered()
    assert pair.client.status == 200
    assert pair.scene.books == {"in_flight": 0, "requests": 2, "ok": 2}


def test_mooncake_is_told_where_to_fetch_from() -> None:
    labels = {"kv_connector": "MooncakeConnector", "kv_engine_id": "e7"}
    pair = Pair(Engine.VLLM, {"messages": []}, labels=labels)
    pair.exchange.begin()
    prefill = pair.open(pair.prefills)
    transfer = body_of(prefill)["kv_transfer_params"]["transfer_id"]
    prefill_answers(prefill)
    assert body_of(pair.open(pair.decodes))["kv_transfer_params"] == {
        "do_remote_decode": False,
        "do_remote_prefill": True,
        "transfer_id": transfer,
        "remote_bootstrap_addr": "http://prefill0:8998",
        "remote_engine_id": "e7",
    }


@pytest.mark.parametrize("engine", [Engine.SGLANG, Engine.VLLM])
def test_a_prefill_worker_that_cannot_be_reached_is_replaced_and_the_decode_worker_let_go(engine: Engine) -> None:
    pair = Pair(engine, {"messages": []}, prefills=2, decodes=2)
    pair.exchange.begin()
    (place,) = [place for e in pair.prefills if (place := pair.scene.places[e.worker.id]).dials]
    place.refuse()
    assert not pair.dialled(pair.decodes)
    pair.scene.tick()
    prefill = pair.open(pair.prefills)
    prefill_answers(prefill)
    pair.open(pair.decodes)
    pair.answered()
    assert pair.client.status == 200
    assert pair.scene.books["in_flight"] == 0
    assert pair.scene.books_of(*pair.prefills) == {"in_flight": 0, "requests": 2, "ok": 1, "transport": 1}
    assert "transport" not in pair.scene.books_of(*pair.decodes)


def test_a_decode_worker_that_breaks_off_cancels_the_prefill() -> None:
    pair = Pair(Engine.SGLANG, {"messages": []})
    pair.exchange.begin()
    prefill = pair.open(pair.prefills)
    pair.open(pair.decodes)
    pair.exchange.on_error(UpstreamError("connection reset before an answer"))
    assert prefill.abandoned
    assert pair.client.status == 502
    assert pair.scene.books == {"in_flight": 0, "requests": 2, "transport": 1, "cancelled": 1}


def test_an_error_of_the_prefill_worker_is_the_clients_and_cancels_the_decode() -> None:
    pair = Pair(Engine.SGLANG, {"messages": []})
    pair.exchange.begin()
    prefill, decode = pair.open(pair.prefills), pair.open(pair.decodes)
    prefill_answers(prefill, b'{"error": "too long"}', 400)
    assert decode.abandoned
    assert (pair.client.status, pair.client.code) == (400, "prefill_error")
    assert b"too long" in pair.client.got
    assert pair.scene.books == {"in_flight": 0, "requests": 2, "ok": 1, "cancelled": 1}


def test_a_busy_prefill_worker_sends_the_request_to_another_pair() -> None:
    pair = Pair(Engine.VLLM, {"messages": []}, prefills=2, decodes=2)
    pair.exchange.begin()
    prefill_answers(pair.open(pair.prefills), status=503)
    pair.scene.tick()
    prefill_answers(pair.open(pair.prefills))
    pair.open(pair.decodes)
    pair.answered()
    assert pair.client.status == 200


def test_a_busy_decode_worker_ends_its_prefill_and_a_new_pair_is_formed() -> None:
    pair = Pair(Engine.SGLANG, {"messages": []}, prefills=1, decodes=2)
    pair.exchange.begin()
    first = pair.open(pair.prefills)
    pair.open(pair.decodes)
    pair.exchange.on_head(AnswerHead(503, b"", JSON), 0)
    assert first.abandoned
    pair.scene.tick()
    second = pair.open(pair.prefills)
    pair.open(pair.decodes)
    assert body_of(first)["bootstrap_room"] != body_of(second)["bootstrap_room"]
    prefill_answers(second)
    pair.answered()
    assert pair.client.status == 200
    assert pair.scene.books["in_flight"] == 0


def test_a_prefill_that_breaks_off_in_the_middle_of_a_stream_ends_it() -> None:
    pair = Pair(Engine.SGLANG, {"messages": [], "stream": True})
    pair.exchange.begin()
    prefill = pair.open(pair.prefills)
    pair.open(pair.decodes)
    pair.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    pair.exchange.on_body(b"data: 1\n\n")
    pair.exchange.on_flush()
    assert prefill.sink is not None
    prefill.sink.on_error(UpstreamError("connection reset before an answer"))
    assert b'data: {"error":' in pair.client.got
    assert pair.scene.books["in_flight"] == 0


@pytest.mark.parametrize("engine", [Engine.SGLANG, Engine.VLLM])
@pytest.mark.parametrize("opened", [False, True])
def test_a_client_that_leaves_ends_both_halves(engine: Engine, opened: bool) -> None:
    pair = Pair(engine, {"messages": []})
    pair.exchange.begin()
    prefill = pair.open(pair.prefills) if opened else None
    pair.exchange.client_left()
    assert prefill is None or prefill.abandoned
    assert pair.scene.books["in_flight"] == 0
    assert pair.scene.traffic.in_flight == 0
    assert not pair.dialled(pair.scene.entries)


def test_a_hanging_prefill_worker_is_left_once_it_is_unhealthy() -> None:
    pair = Pair(Engine.VLLM, {"messages": []}, prefills=2)
    pair.exchange.begin()
    busy = next(entry for entry in pair.prefills if entry.meters.in_flight)
    pair.open(pair.prefills)
    pair.exchange.worker_silent(busy.worker.id)
    pair.scene.tick()
    prefill_answers(pair.open(pair.prefills))
    pair.open(pair.decodes)
    pair.answered()
    assert pair.client.status == 200


def test_a_missing_role_is_said() -> None:
    pair = Pair(Engine.SGLANG, {"messages": []})
    pair.scene.registry.cordon(pair.prefills[0], "disk", TEST)
    pair.exchange.begin()
    assert (pair.client.status, pair.client.code) == (503, "no_available_workers")
    assert b"cordoned" in pair.client.got


def test_regular_workers_serve_alone_and_what_is_not_generated_has_no_pair() -> None:
    scene = Scene(workers=1)
    scene.add("http://prefill:1", role=Role.PREFILL)
    scene.add("http://decode:1", role=Role.DECODE)
    assert not isinstance(open_exchange(scene.traffic, scene.client, scene.exchange.request), PairExchange)
    other = Pair(Engine.SGLANG, {"messages": []}, models=(ModelCard("m"),))
    other.exchange.request.route = b"/v1/embeddings"
    assert not isinstance(open_exchange(other.scene.traffic, other.client, other.exchange.request), PairExchange)
