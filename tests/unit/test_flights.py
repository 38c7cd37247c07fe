"""Requests under way: where each stands, which are shown, and what they leave in a worker's numbers."""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.engines.generation import Finish, Piece
from gateway.proxy.admission import AdmissionSettings
from gateway.proxy.flights import Flight, Stage, oldest
from gateway.proxy.messages import AnswerHead
from gateway.proxy.settings import ProxySettings
from gateway.workers.meters import FAILURES_KEPT, TOLD_BYTES, TOLD_KEPT, Failure, WorkerMeters
from gateway.workers.model import Engine, WorkerId
from tests.unit.completions_world import encoded
from tests.unit.proxy_scene import EVENTS, JSON, FakeClient, Scene
from tests.unit.test_proxy_generated import RENDERED, SAID, world
from tests.unit.test_proxy_pairs import Pair, prefill_answers

TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}\n\n'


def test_a_request_says_where_it_stands_from_its_connection_to_its_last_token() -> None:
    scene = Scene(body=b'{"model":"m","stream":true}')
    exchange, worker = scene.exchange, scene.entries[0].worker.id
    exchange.begin()
    assert exchange.flight(scene.now).stage is Stage.CONNECTING
    scene.now += 2
    upstream = scene.places[worker].open()
    assert upstream.sink is not None
    scene.now += 1
    assert exchange.flight(scene.now) == Flight(
        request_id="id-1",
        route="/v1/chat/completions",
        model="m",
        stage=Stage.WAITING,
        age_s=3.0,
        attempt_s=3.0,
        attempts=1,
        worker=worker,
        prefill=None,
        streams=False,
        tokens=0,
    )
    upstream.sink.on_head(AnswerHead(200, b"OK", EVENTS), None)
    for piece in (TOKEN, TOKEN, TOKEN, DONE):
        upstream.sink.on_body(piece)
        upstream.sink.on_flush()
    told = exchange.flight(scene.now)
    assert (told.stage, told.streams, told.tokens) == (Stage.ANSWERING, True, 3)
    assert exchange.is_at(worker)
    assert not exchange.is_at(WorkerId("another"))


def test_a_request_that_waits_for_its_turn_and_one_that_is_tried_again_say_so() -> None:
    settings = ProxySettings(admission=AdmissionSettings(max_concurrent=1))
    scene = Scene(workers=1, settings=settings)
    scene.exchange.begin()
    second = scene.request(FakeClient())
    second.begin()
    scene.now += 5
    told = second.flight(scene.now)
    assert (told.stage, told.worker, told.attempts, told.age_s, told.model) == (Stage.QUEUED, None, 0, 5.0, "m")
    scene.places[scene.entries[0].worker.id].refuse()
    told = scene.exchange.flight(scene.now)
    assert (told.stage, told.worker, told.attempts, told.attempt_s) == (Stage.RETRYING, None, 1, None)


def test_a_request_of_two_workers_is_at_both_while_the_prefill_goes_on() -> None:
    pair = Pair(Engine.SGLANG, {"messages": []})
    pair.exchange.begin()
    prefill, decode = pair.prefills[0].worker.id, pair.decodes[0].worker.id
    upstream = pair.open(pair.prefills)
    told = pair.exchange.flight(pair.scene.now)
    assert (told.worker, told.prefill) == (decode, prefill)
    assert pair.exchange.is_at(prefill)
    prefill_answers(upstream)
    assert pair.exchange.flight(pair.scene.now).prefill is None
    assert not pair.exchange.is_at(prefill)


@dataclass
class Stub:
    """A connection with a request that came then, at that worker."""

    since: float
    worker: str | None = None

    @property
    def under_way(self) -> "Stub | None":
        return self if self.worker is not None else None

    def is_at(self, worker_id: WorkerId) -> bool:
        return self.worker == worker_id

    def flight(self, now: float) -> Flight:
        age = now - self.since
        return Flight("", "", None, Stage.WAITING, age, age, 1, WorkerId(self.worker or ""), None, False, 0)


def test_of_many_the_oldest_are_shown_and_of_one_worker_only_its_own() -> None:
    connections = [Stub(float(n), (None, "a", "b")[n % 3]) for n in range(100)]
    assert [flight.age_s for flight in oldest(connections, 3, 100.0)] == [99.0, 98.0, 96.0]
    assert [flight.age_s for flight in oldest(connections, 2, 100.0, WorkerId("b"))] == [98.0, 95.0]


def answered(scene: Scene, head: AnswerHead, *pieces: bytes) -> WorkerMeters:
    """The meters after an answer of these pieces."""
    scene.exchange.begin()
    upstream = scene.places[scene.entries[0].worker.id].open()
    assert upstream.sink is not None
    upstream.sink.on_head(head, None)
    for piece in pieces:
        upstream.sink.on_body(piece)
        upstream.sink.on_flush()
    upstream.sink.on_end()
    return scene.entries[0].meters


def test_events_of_a_stream_count_as_they_come_and_its_usage_is_kept_for_the_sampler() -> None:
    meters = answered(Scene(), AnswerHead(200, b"OK", EVENTS), TOKEN, TOKEN, USAGE, DONE)
    assert (meters.output_tokens, meters.told) == (3, [(USAGE, 3)])


def test_of_a_long_answer_only_its_end_is_kept_and_of_many_answers_only_the_first_ones() -> None:
    body = b"x" * 9000 + b'"usage":{"prompt_tokens":7,"completion_tokens":3}}'
    meters = answered(Scene(), AnswerHead(200, b"OK", JSON), body)
    assert meters.told == [(body[-TOLD_BYTES:], 0)]
    for _ in range(100):
        meters.tell(b"", 0)
    assert len(meters.told) == TOLD_KEPT


def test_an_answer_that_is_an_error_tells_no_usage() -> None:
    assert answered(Scene(), AnswerHead(400, b"Bad Request", JSON), b'{"error":"..."}').told == []


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_over_grpc_are_counted_exactly(*, stream: bool) -> None:
    async with world(stream=stream, max_tokens=5) as w:
        gate, more = asyncio.Event(), encoded(SAID)
        w.engine.says = [Piece(0, tuple(more[:2])), gate, Piece(0, tuple(more[2:])), Piece(0, finish=Finish("length"))]
        w.exchange.begin()
        await w.turns(lambda: w.engine.read == 1)
        await asyncio.sleep(0)
        meters = w.scene.entries[0].meters
        assert meters.prompt_tokens == len(encoded(RENDERED))
        if stream:
            await w.turns(lambda: w.exchange.flight(w.scene.now).tokens == 2)
        gate.set()
        await w.turns()
        assert (meters.output_tokens, meters.told) == (len(more), [])


def test_failures_are_kept_with_their_count_and_the_oldest_leave() -> None:
    meters = WorkerMeters()
    assert meters.failures is None
    for at, why in ((1.0, "reset"), (2.0, "it answered 500"), (3.0, "it answered 500")):
        meters.blamed(why, at)
    assert list(meters.failures or ()) == [Failure(1.0, "reset", 1), Failure(3.0, "it answered 500", 2)]
    for n in range(100):
        meters.blamed(f"why {n}", float(n))
    assert meters.failures is not None
    assert len(meters.failures) == FAILURES_KEPT
    assert meters.failures[-1].why == "why 99"


def test_a_status_that_counts_against_the_worker_is_among_its_failures() -> None:
    scene = Scene()
    scene.exchange.begin()
    upstream = scene.places[scene.entries[0].worker.id].open()
    assert upstream.sink is not None
    upstream.sink.on_head(AnswerHead(500, b"Oops", JSON), 2)
    upstream.sink.on_body(b"{}")
    upstream.sink.on_end()
    assert [failure.why for failure in scene.entries[0].meters.failures or ()] == ["it answered 500"]
