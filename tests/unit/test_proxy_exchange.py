"""An exchange between a fake client and a fake worker: who is told what, and the accounts, in every order."""

import json
from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.exchange import Exchange
from gateway.proxy.messages import Headers, Request
from gateway.proxy.pool import Dial
from gateway.proxy.settings import ProxySettings
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import Sink, Upstream, UpstreamError
from gateway.routing.policies import make_policy
from gateway.workers.facts import Cause
from gateway.workers.health import ProbeResult
from gateway.workers.model import Capabilities, HealthOverride, ModelCard, WorkerId, WorkerSpec
from gateway.workers.registry import Registry

TEST = Cause("test")
JSON: Headers = [(b"content-type", b"application/json")]
EVENTS: Headers = [(b"content-type", b"text/event-stream")]


class FakeClient:
    def __init__(self) -> None:
        self.got = b""
        self.writes = 0
        self.ended: list[str] = []
        self.deadline = inf

    def writelines(self, pieces: Sequence[bytes]) -> None:
        assert not self.ended
        self.got += b"".join(pieces)
        self.writes += 1

    def done(self, *, keep: bool) -> None:
        self.ended.append("kept" if keep else "closed")

    def cut(self, *, reset: bool) -> None:
        self.ended.append("reset" if reset else "cut")

    def set_deadline(self, at: float) -> None:
        self.deadline = at

    def hold_upload(self, hold: bool) -> None:
        raise AssertionError("the body was complete")

    @property
    def status(self) -> int:
        return int(self.got.split(b" ")[1])

    @property
    def code(self) -> str:
        return str(json.loads(self.got.partition(b"\r\n\r\n")[2])["error"]["code"])


class FakeUpstream:
    def __init__(self, *, reused: bool) -> None:
        self.reused = reused
        self.answered = False
        self.sink: Sink | None = None
        self.sent = b""
        self.abandoned = False
        self.paused = False

    def send(self, method: bytes, pieces: Sequence[bytes], sink: Sink, *, more: bool = False) -> None:
        self.sent, self.sink = b"".join(pieces), sink

    def abandon(self) -> None:
        self.abandoned, self.sink = True, None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class FakePlace:
    """A worker's connections: idle ones as told; dials are answered by the test."""

    authority = b"worker:1"

    def __init__(self) -> None:
        self.idle: list[FakeUpstream] = []
        self.dials: list[tuple[Callable[[Upstream], None], Callable[[UpstreamError], None]]] = []
        self.cancelled = 0

    def take(self) -> Upstream | None:
        return cast("Upstream", self.idle.pop()) if self.idle else None

    def dial(self, opened: Callable[[Upstream], None], failed: Callable[[UpstreamError], None]) -> Dial:
        self.dials.append((opened, failed))
        return self

    def cancel(self) -> object:
        self.cancelled += 1
        return None

    def open(self) -> FakeUpstream:
        upstream = FakeUpstream(reused=False)
        self.dials.pop(0)[0](cast("Upstream", upstream))
        return upstream


class Scene:
    """One worker, one client, a clock that stands still unless moved."""

    def __init__(self, *, body: bytes = b'{"model":"m"}', http10: bool = False, keep_alive: bool = True) -> None:
        self.now = 100.0
        self.registry = Registry(wall=lambda: self.now, mono=lambda: self.now, rng=Random(1))
        spec = WorkerSpec("http://worker:1", (ModelCard("m"),), health=HealthOverride(success_threshold=1))
        self.entry = self.registry.register(spec, TEST)
        self.registry.observe_probe(self.entry.worker.id, 1, ProbeResult(True, 0.1), TEST)
        self.registry.observe_capabilities(self.entry.worker.id, 1, Capabilities(), TEST)
        self.place = FakePlace()
        self.probed: list[WorkerId] = []
        self.traffic = Traffic(
            self.registry,
            make_policy("round_robin", Random(1)),
            lambda worker: self.place,
            ProxySettings(),
            lambda: self.now,
            Random(1),
            self.probed.append,
        )
        self.client = FakeClient()
        route = b"/v1/chat/completions"
        request = Request(b"POST", route, route, [], {}, keep_alive, http10, len(body), b"id-1", body, complete=True)
        self.exchange = Exchange(self.traffic, self.client, request)

    def begun(self) -> FakeUpstream:
        """Dispatched over a new connection."""
        self.exchange.begin()
        return self.place.open()

    @property
    def books(self) -> dict[str, int]:
        m = self.entry.meters
        books = {"ok": m.ok, "server": m.server_errors, "transport": m.transport_errors, "cancelled": m.cancelled}
        return {"in_flight": m.in_flight, "requests": m.requests, **{k: v for k, v in books.items() if v}}


def test_time_to_the_first_byte_is_measured_for_streams_only() -> None:
    for headers, counted in ((EVENTS, 1), (JSON, 0)):
        scene = Scene()
        scene.begun()
        exchange = scene.exchange
        exchange.on_head(200, b"OK", headers, None)
        exchange.on_flush()
        scene.now += 0.25
        exchange.on_body(b"data: 1\n\n")
        exchange.on_body(b"data: 2\n\n")
        exchange.on_flush()
        scene.now += 0.75
        exchange.on_end()
        ttft = scene.entry.meters.ttft.percentiles(scene.now)
        assert ttft.count == counted
        if counted:
            assert ttft.p50 == pytest.approx(0.25, rel=0.07)
        response = scene.entry.meters.response.percentiles(scene.now)
        assert response.p50 == pytest.approx(1.0, rel=0.07)


def test_what_one_read_brought_leaves_in_one_write_and_one_chunk() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(200, b"OK", EVENTS, None)
    scene.exchange.on_body(b"data: 1\n\n")
    scene.exchange.on_body(b"data: 2\n\n")
    scene.exchange.on_flush()
    assert scene.client.writes == 1
    assert scene.client.got.endswith(b"\r\n\r\n12\r\ndata: 1\n\ndata: 2\n\n\r\n")
    scene.exchange.on_end()
    assert scene.client.got.endswith(b"0\r\n\r\n")
    assert scene.client.ended == ["kept"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (404, "ok"), (429, "ok"), (500, "server"), (503, "server")]
)
def test_a_complete_answer_counts_by_its_status(status: int, outcome: str) -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(status, b"X", JSON, 0)
    scene.exchange.on_end()
    assert scene.books == {"in_flight": 0, "requests": 1, outcome: 1}
    assert scene.traffic.tally.answered == {("/v1/chat/completions", status // 100): 1}
    assert not scene.probed


def test_a_failure_before_anything_went_out_becomes_an_error_answer_though_the_head_had_come() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(200, b"OK", JSON, None)
    scene.exchange.on_body(b"half")
    scene.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
    assert (scene.client.status, scene.client.code) == (502, "worker_connection_lost")
    assert b"half" not in scene.client.got
    assert scene.books == {"in_flight": 0, "requests": 1, "transport": 1}
    assert scene.probed == [scene.entry.worker.id]


def test_only_a_reused_connection_without_any_answer_is_replaced() -> None:
    scene = Scene()
    old = FakeUpstream(reused=True)
    scene.place.idle.append(old)
    scene.exchange.begin()
    assert old.sent.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: worker:1\r\n")
    scene.exchange.on_error(UpstreamError("connection closed before an answer"))
    new = scene.place.open()
    assert new.sent == old.sent
    assert scene.books == {"in_flight": 1, "requests": 1}
    scene.exchange.on_error(UpstreamError("connection closed before an answer"))
    assert scene.client.status == 502
    assert scene.books == {"in_flight": 0, "requests": 1, "transport": 1}
    assert not scene.place.dials

    again = Scene()
    answered = FakeUpstream(reused=True)
    answered.answered = True
    again.place.idle.append(answered)
    again.exchange.begin()
    again.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
    assert again.client.status == 502
    assert not again.place.dials


def test_the_deadline_abandons_the_worker() -> None:
    scene = Scene()
    upstream = scene.begun()
    assert scene.client.deadline == scene.now + 1800
    scene.exchange.overdue()
    assert upstream.abandoned
    assert (scene.client.status, scene.client.code) == (504, "worker_timeout")
    waiting = Scene()
    waiting.exchange.begin()
    waiting.exchange.overdue()
    assert waiting.place.cancelled == 1
    assert (waiting.client.status, waiting.books["in_flight"]) == (504, 0)


def test_a_client_that_leaves_ends_the_attempt_wherever_it_is() -> None:
    dialling = Scene()
    dialling.exchange.begin()
    dialling.exchange.client_left()
    assert dialling.place.cancelled == 1
    waiting = Scene()
    upstream = waiting.begun()
    waiting.exchange.client_left()
    assert upstream.abandoned
    for scene in (dialling, waiting):
        assert scene.books == {"in_flight": 0, "requests": 1, "cancelled": 1}
        assert scene.traffic.in_flight == 0
        assert not scene.client.ended
        assert not scene.client.got


def test_a_slow_client_pauses_its_own_upstream_only_while_it_has_one() -> None:
    scene = Scene()
    upstream = scene.begun()
    scene.exchange.client_slow(True)
    assert upstream.paused
    scene.exchange.client_slow(False)
    assert not upstream.paused
    scene.exchange.on_head(200, b"OK", JSON, 0)
    scene.exchange.on_end()
    scene.exchange.client_slow(True)
    assert not upstream.paused  # it may serve somebody else by now


def test_a_body_is_let_go_once_the_answer_began() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(200, b"OK", EVENTS, None)
    assert scene.exchange.request.body == b""


def test_an_error_that_is_the_clients_does_not_touch_the_workers_books() -> None:
    scene = Scene(body=b"{")
    scene.exchange.begin()
    assert (scene.client.status, scene.client.code) == (400, "invalid_request")
    assert scene.books == {"in_flight": 0, "requests": 0}
    assert scene.traffic.in_flight == 0


steps = st.lists(
    st.sampled_from(
        ["open", "refuse", "head", "stream", "body", "flush", "end", "error", "left", "overdue", "stop", "slow", "fast"]
    ),
    max_size=14,
)


@given(steps, st.booleans(), st.booleans())
def test_whatever_happens_in_whatever_order_each_request_is_accounted_for_once(
    story: list[str], reused: bool, http10: bool
) -> None:
    scene = Scene(http10=http10)
    if reused:
        scene.place.idle.append(FakeUpstream(reused=True))
    exchange, place, client = scene.exchange, scene.place, scene.client
    exchange.begin()
    headed = left = False

    def connected() -> bool:
        return exchange._upstream is not None

    def do(step: str) -> None:
        nonlocal headed, left
        acts: dict[str, Callable[[], Any]] = {
            "left": exchange.client_left,
            "overdue": exchange.overdue,
            "stop": exchange.shut_down,
            "slow": lambda: exchange.client_slow(True),
            "fast": lambda: exchange.client_slow(False),
        }
        if step in ("open", "refuse"):
            if place.dials and not exchange.over:
                place.open() if step == "open" else place.dials.pop(0)[1](UpstreamError("connection refused"))
        elif step in acts:
            if not (left or client.ended):
                left = step == "left"
                acts[step]()
        elif connected():
            cast("FakeUpstream", exchange._upstream).answered = True
            if step in ("head", "stream") and not headed:
                headed = True
                exchange.on_head(200, b"OK", EVENTS if step == "stream" else JSON, None)
            elif headed and step == "body":
                exchange.on_body(b"data: 1\n\n")
            elif headed and step == "flush":
                exchange.on_flush()
            elif headed and step == "end":
                exchange.on_end()
            elif step == "error":
                exchange.on_error(UpstreamError("connection reset"))

    for step in story:
        do(step)
    meters = scene.entry.meters
    over = bool(client.ended) or left
    ended = meters.ok + meters.server_errors + meters.transport_errors + meters.cancelled
    assert (meters.in_flight, ended) == ((0, 1) if over else (1, 0))
    assert meters.requests == 1
    assert scene.traffic.in_flight == meters.in_flight
    assert len(client.ended) == (1 if over and not left else 0)
    tally = scene.traffic.tally
    assert tally.requests + tally.client_left == (1 if over else 0)
