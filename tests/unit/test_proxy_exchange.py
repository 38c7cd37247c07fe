"""An exchange between a fake client and a fake worker: who is told what, and the accounts, in every order."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.messages import AnswerHead
from gateway.proxy.retry import RetrySettings
from gateway.proxy.settings import ProxySettings
from gateway.proxy.upstream import Upstream, UpstreamError
from tests.unit.proxy_scene import EVENTS, JSON, FakeUpstream, Scene


def test_time_to_the_first_byte_is_measured_for_streams_only() -> None:
    for headers, counted in ((EVENTS, 1), (JSON, 0)):
        scene = Scene()
        scene.begun()
        exchange = scene.exchange
        exchange.on_head(AnswerHead(200, b"OK", headers), None)
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
    scene.exchange.on_head(AnswerHead(200, b"OK", EVENTS), None)
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
    scene = Scene(settings=ProxySettings(retry=RetrySettings(attempts=1)))
    scene.begun()
    scene.exchange.on_head(AnswerHead(status, b"X", JSON), 0)
    scene.exchange.on_end()
    assert scene.books == {"in_flight": 0, "requests": 1, outcome: 1}
    assert scene.traffic.tally.answered == {("/v1/chat/completions", status // 100): 1}
    assert not scene.probed


def test_a_failure_before_anything_went_out_becomes_an_error_answer_though_the_head_had_come() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"OK", JSON), None)
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
    scene.exchange.on_head(AnswerHead(200, b"OK", JSON), 0)
    scene.exchange.on_end()
    scene.exchange.client_slow(True)
    assert not upstream.paused  # it may serve somebody else by now


def test_a_body_is_let_go_once_the_answer_began() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"OK", EVENTS), None)
    scene.exchange.on_flush()
    assert scene.exchange.request.body, "nothing has gone out: another worker may get it yet"
    scene.exchange.on_body(b"data: 1\n\n")
    scene.exchange.on_flush()
    assert scene.exchange.request.body == b""


def test_an_error_that_is_the_clients_does_not_touch_the_workers_books() -> None:
    scene = Scene(body=b"{")
    scene.exchange.begin()
    assert (scene.client.status, scene.client.code) == (400, "invalid_request")
    assert scene.books == {"in_flight": 0, "requests": 0}
    assert scene.traffic.in_flight == 0


WORKERS_DO = ("open", "refuse", "head", "stream", "busy", "body", "flush", "end", "error", "silent")
CLIENTS_AND_CLOCKS_DO = ("left", "overdue", "stop", "slow", "fast", "tick", "tick", "later")
steps = st.lists(st.sampled_from(WORKERS_DO + CLIENTS_AND_CLOCKS_DO), max_size=25)


@settings(max_examples=300)
@given(steps, st.integers(1, 3), st.booleans(), st.booleans())
def test_whatever_happens_in_whatever_order_each_attempt_is_accounted_for_once(
    story: list[str], workers: int, reused: bool, http10: bool
) -> None:
    scene = Scene(workers=workers, http10=http10)
    if reused:
        scene.place.idle.append(FakeUpstream(reused=True))
    exchange, client = scene.exchange, scene.client
    exchange.begin()
    headed: Upstream | None = None
    left = False

    def do(step: str) -> None:
        nonlocal headed, left
        upstream = exchange._upstream
        dialling = [place for place in scene.places.values() if place.dials]
        acts: dict[str, Callable[[], Any]] = {
            "left": exchange.client_left,
            "overdue": exchange.overdue,
            "stop": exchange.shut_down,
            "slow": lambda: exchange.client_slow(True),
            "fast": lambda: exchange.client_slow(False),
            "silent": lambda: exchange.worker_silent(scene.entry.worker.id),
        }
        if step in ("open", "refuse"):
            if dialling and not exchange.over:
                getattr(dialling[0], step)()
        elif step == "tick":
            if any(not timer.cancelled for timer in scene.timers):
                scene.tick()
        elif step == "later":
            scene.now += 1000
        elif step in acts:
            if not (left or client.ended):
                left = step == "left"
                acts[step]()
        elif upstream is not None:
            cast("FakeUpstream", upstream).answered = True
            if step in ("head", "stream", "busy") and headed is not upstream:
                headed = upstream
                status, kind = (503 if step == "busy" else 200), (EVENTS if step == "stream" else JSON)
                exchange.on_head(AnswerHead(status, b"", kind), None)
            elif headed is upstream and step == "body":
                exchange.on_body(b"data: 1\n\n")
            elif headed is upstream and step == "flush":
                exchange.on_flush()
            elif headed is upstream and step == "end":
                exchange.on_end()
            elif step == "error":
                exchange.on_error(UpstreamError("connection reset"))

    for step in story:
        do(step)
        scene.client.heads_are_sound()
    meters = [entry.meters for entry in scene.entries]
    over = bool(client.ended) or left
    ended = sum(m.ok + m.server_errors + m.transport_errors + m.cancelled for m in meters)
    flying = sum(m.in_flight for m in meters)
    assert sum(m.requests for m in meters) == ended + flying <= 5
    assert flying <= (0 if over else 1)
    assert scene.traffic.in_flight == (0 if over else 1)
    assert len(client.ended) == (1 if over and not left else 0)
    tally = scene.traffic.tally
    assert tally.requests + tally.client_left == (1 if over else 0)
    if over:
        assert not any(place.dials for place in scene.places.values())
        assert all(timer.cancelled for timer in scene.timers)
