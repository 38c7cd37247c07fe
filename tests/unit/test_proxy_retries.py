"""Another worker gets the request as long as nothing has gone out; who is blamed, who waits, and when it ends."""

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.fleet import Fleet, RoutingPlan
from gateway.proxy.messages import AnswerHead
from gateway.proxy.retry import RetryBudget, RetrySettings
from gateway.proxy.settings import ProxySettings
from gateway.proxy.upstream import UpstreamError
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Circuit, ModelCard
from tests.unit.proxy_scene import EVENTS, JSON, TEST, FakeClient, FakeUpstream, Scene

RESET = UpstreamError("connection reset before an answer")


def answer(scene: Scene, status: int = 200, body: bytes = b'{"ok":1}') -> None:
    exchange = scene.exchange
    exchange.on_head(AnswerHead(status, b"", JSON), len(body))
    exchange.on_body(body)
    exchange.on_end()


def test_a_refused_connection_goes_to_another_worker_at_once_and_ejects_the_first() -> None:
    scene = Scene(workers=2)
    scene.exchange.begin()
    first = scene.dialling
    first.refuse()
    assert scene.tick() == 0
    assert scene.dialling is not first
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200
    refused = scene.entries[0] if scene.places[scene.entries[0].worker.id] is first else scene.entries[1]
    assert refused.worker.ejected == "connection refused"
    assert "ejected until a probe passes" in availability(refused.worker).because
    assert scene.probed == [refused.worker.id]
    assert scene.books == {"in_flight": 0, "requests": 2, "ok": 1, "transport": 1}
    assert scene.traffic.tally.retries == 1


def test_a_lost_connection_goes_to_another_worker_after_the_first_backoff() -> None:
    scene = Scene(workers=2)
    scene.begun()
    scene.exchange.on_error(RESET)
    assert 0.04 <= scene.tick() <= 0.06
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200
    assert scene.client.got.count(b"x-smg-routed-worker-id") == 1


def test_a_lost_connection_is_not_tried_again_at_the_same_worker() -> None:
    """It may have been this very request that brought it down."""
    scene = Scene()
    scene.begun()
    scene.exchange.on_error(RESET)
    assert (scene.client.status, scene.client.code) == (502, "worker_connection_lost")
    assert not scene.timers


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_bad_status_goes_to_another_worker_and_its_connection_is_kept(status: int) -> None:
    scene = Scene(workers=2)
    upstream = scene.begun()
    scene.exchange.on_head(AnswerHead(status, b"", JSON), 4)
    assert upstream.sink is not None
    assert upstream.sink is not scene.exchange
    upstream.sink.on_body(b"busy")
    upstream.sink.on_end()
    assert not upstream.abandoned
    scene.tick()
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200
    assert b"busy" not in scene.client.got


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
def test_other_statuses_are_the_clients_answer(status: int) -> None:
    scene = Scene(workers=2)
    scene.begun()
    answer(scene, status)
    assert scene.client.status == status
    assert not scene.timers


def test_a_long_answer_that_nobody_will_see_is_broken_off() -> None:
    scene = Scene(workers=2)
    upstream = scene.begun()
    scene.exchange.on_head(AnswerHead(503, b"", JSON), None)
    assert upstream.sink is not None
    sink = upstream.sink
    for _ in range(9):
        assert not upstream.abandoned
        sink.on_body(b"x" * 8192)
        sink.on_flush()
    assert upstream.abandoned


@pytest.mark.parametrize("status", [429, 503])
def test_one_busy_worker_is_asked_five_times_in_all_and_then_its_own_answer_passes(status: int) -> None:
    scene = Scene()
    upstream = scene.begun()
    pauses = []
    for _ in range(4):
        scene.exchange.on_head(AnswerHead(status, b"", JSON), 0)
        assert upstream.sink is not None
        upstream.sink.on_end()
        pauses.append(scene.tick())
        upstream = scene.dialling.open()
    answer(scene, status, b'{"busy":1}')
    assert scene.client.status == status
    assert scene.client.got.endswith(b'{"busy":1}')
    for pause, wanted in zip(pauses, (0.05, 0.075, 0.1125, 0.16875), strict=True):
        assert wanted * 0.8 <= pause <= wanted * 1.2
    assert scene.entry.meters.requests == 5
    assert scene.traffic.tally.retries_exhausted == 1


def test_an_internal_error_is_not_asked_for_again_where_there_is_no_other_worker() -> None:
    scene = Scene()
    scene.begun()
    answer(scene, 500, b'{"why":"shape"}')
    assert scene.client.status == 500
    assert scene.client.got.endswith(b'{"why":"shape"}')
    assert not scene.timers


def test_no_worker_is_asked_twice_while_another_has_not_been() -> None:
    scene = Scene(workers=4)
    upstream = scene.begun()
    for _ in range(3):
        scene.exchange.on_head(AnswerHead(503, b"", JSON), 0)
        assert upstream.sink is not None
        upstream.sink.on_end()
        scene.tick()
        upstream = scene.dialling.open()
    assert [entry.meters.requests for entry in scene.entries] == [1, 1, 1, 1]


def test_a_stream_whose_first_event_has_not_come_moves_on() -> None:
    scene = Scene(workers=2)
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    scene.exchange.on_flush()
    assert not scene.client.got, "a head alone binds us to this worker"
    scene.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
    scene.tick()
    scene.dialling.open()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    scene.exchange.on_body(b"data: 1\n\n")
    scene.exchange.on_flush()
    scene.exchange.on_end()
    assert scene.client.status == 200
    assert scene.client.got.count(b"data: ") == 1


def test_a_stream_under_way_ends_with_an_error_event() -> None:
    scene = Scene(workers=2)
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    scene.exchange.on_body(b"data: 1\n\n")
    scene.exchange.on_flush()
    scene.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
    assert not scene.timers
    assert b'data: {"error":' in scene.client.got
    assert scene.client.ended == ["kept"]


def test_a_short_answer_that_breaks_off_half_way_moves_on_too() -> None:
    scene = Scene(workers=2)
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", JSON), 100)
    scene.exchange.on_body(b'{"half":')
    scene.exchange.on_flush()
    assert not scene.client.got
    scene.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
    scene.tick()
    scene.dialling.open()
    answer(scene)
    assert scene.client.got.endswith(b'\r\n\r\n{"ok":1}')


def test_a_worker_that_hangs_loses_its_requests_once_it_is_unhealthy() -> None:
    scene = Scene(workers=2)
    upstream = scene.begun()
    busy = next(entry for entry in scene.entries if entry.meters.in_flight)
    other = next(entry for entry in scene.entries if entry is not busy)
    scene.exchange.worker_silent(other.worker.id)
    assert not upstream.abandoned
    scene.exchange.worker_silent(busy.worker.id)
    assert upstream.abandoned
    scene.tick()
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200


def test_the_first_byte_may_have_a_time_of_its_own() -> None:
    scene = Scene(workers=2, settings=ProxySettings(first_byte_timeout_s=20))
    upstream = scene.begun()
    assert scene.client.deadline == scene.now + 20
    scene.now += 20
    scene.exchange.overdue()
    assert upstream.abandoned
    scene.tick()
    assert scene.client.deadline == scene.now + 20
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200


def test_silence_between_two_pieces_ends_a_stream_and_any_piece_prolongs_it() -> None:
    scene = Scene(settings=ProxySettings(stream_idle_timeout_s=30))
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    for _ in range(3):
        scene.exchange.on_body(b"data: 1\n\n")
        scene.exchange.on_flush()
        scene.now += 29
        if scene.client.deadline <= scene.now:
            scene.exchange.overdue()
    assert not scene.client.ended
    scene.now += 2
    scene.exchange.overdue()
    assert b"nothing more came for 30 s" in scene.client.got
    assert scene.client.ended == ["kept"]


def test_a_client_that_reads_slowly_is_not_the_workers_silence() -> None:
    scene = Scene(settings=ProxySettings(stream_idle_timeout_s=30))
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    scene.exchange.on_body(b"data: 1\n\n")
    scene.exchange.on_flush()
    scene.exchange.client_slow(True)
    assert scene.client.deadline == 100 + 1800
    scene.now += 100
    scene.exchange.client_slow(False)
    assert scene.client.deadline == scene.now + 30


def test_the_time_of_the_whole_request_ends_it_between_two_attempts_too() -> None:
    scene = Scene(workers=2, settings=ProxySettings(request_timeout_s=10))
    scene.begun()
    scene.exchange.on_error(RESET)
    scene.now += 10
    scene.exchange.overdue()
    assert (scene.client.status, scene.client.code) == (504, "worker_timeout")
    assert all(timer.cancelled for timer in scene.timers)


def test_a_client_that_leaves_between_two_attempts_leaves_nothing_behind() -> None:
    scene = Scene(workers=2)
    scene.begun()
    scene.exchange.on_error(RESET)
    scene.exchange.client_left()
    assert all(timer.cancelled for timer in scene.timers)
    assert scene.traffic.in_flight == 0


def test_a_request_for_one_worker_goes_to_no_other() -> None:
    scene = Scene(workers=2)
    target = scene.entries[1]
    scene.exchange = scene.request(scene.client, fields={b"x-smg-target-worker": target.worker.id.encode()})
    scene.begun()
    assert target.meters.in_flight == 1
    scene.exchange.on_error(RESET)
    assert scene.client.status == 502
    client = FakeClient()
    scene.request(client, fields={b"x-smg-target-worker": b"http://nowhere:1"}).begin()
    assert client.status == 404
    assert "X-SMG-Target-Worker" in json.loads(client.got.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_worker_that_is_back_between_two_attempts_gets_the_request() -> None:
    scene = Scene()
    scene.exchange.begin()
    scene.dialling.refuse()
    assert not scene.traffic.fleet.group("m").candidates
    scene.tick()
    assert not scene.place.dials
    assert not scene.client.ended
    from gateway.workers.health import ProbeResult

    scene.registry.observe_probe(scene.entry.worker.id, 1, ProbeResult(True, 0.1), TEST)
    scene.tick()
    scene.dialling.open()
    answer(scene)
    assert scene.client.status == 200


def test_a_worker_that_stays_away_is_the_clients_answer_in_the_end() -> None:
    scene = Scene()
    scene.exchange.begin()
    scene.dialling.refuse()
    while scene.timers:
        scene.tick()
    assert (scene.client.status, scene.client.code) == (502, "worker_unreachable")
    assert scene.entry.meters.requests == 1


# --- circuit breaker ---


def one_request(scene: Scene, status: int) -> FakeClient:
    client = FakeClient()
    exchange = scene.request(client)
    exchange.begin()
    scene.dialling.open()
    exchange.on_head(AnswerHead(status, b"", JSON), 0)
    exchange.on_end()
    return client


def once() -> ProxySettings:
    return ProxySettings(retry=RetrySettings(attempts=1))


def test_ten_failures_open_the_breaker_and_it_says_so_everywhere() -> None:
    scene = Scene(settings=once())
    for _ in range(10):
        assert scene.entry.worker.breaker.state is Circuit.CLOSED
        one_request(scene, 500)
    breaker = scene.entry.worker.breaker
    assert breaker.state is Circuit.OPEN
    assert breaker.reason == "10 of 10 requests failed within 0.0 s; the last: it answered 500"
    assert breaker.until == scene.now + 60
    assert not availability(scene.entry.worker).routable
    client = FakeClient()
    scene.request(client).begin()
    assert (client.status, client.code) == (503, "no_available_workers")
    assert b"circuit breaker open" in client.got


def test_429_is_no_failure() -> None:
    scene = Scene(settings=once())
    for _ in range(30):
        one_request(scene, 429)
    assert scene.entry.worker.breaker.state is Circuit.CLOSED


def half_open(scene: Scene) -> None:
    for _ in range(10):
        one_request(scene, 500)
    scene.now += 60
    until = scene.entry.worker.breaker.until
    assert until is not None
    scene.registry.breaker_waited(scene.entry.worker.id, until, TEST)
    assert scene.entry.worker.breaker.state is Circuit.HALF_OPEN


def test_a_half_open_breaker_lets_three_requests_through_at_a_time_and_closes_after_three_successes() -> None:
    scene = Scene(settings=once())
    half_open(scene)
    clients = [FakeClient() for _ in range(5)]
    exchanges = [scene.request(client) for client in clients]
    for exchange in exchanges:
        exchange.begin()
    assert scene.entry.meters.in_flight == 3
    assert scene.traffic.admission.queued == 2
    for exchange in exchanges[:3]:
        scene.dialling.open()
        exchange.on_head(AnswerHead(200, b"", JSON), 0)
    for exchange in exchanges[:3]:
        exchange.on_end()
    assert scene.entry.worker.breaker.state is Circuit.CLOSED
    assert scene.traffic.admission.queued == 0
    assert scene.entry.meters.in_flight == 2


def test_one_failed_trial_opens_it_again() -> None:
    scene = Scene(settings=once())
    half_open(scene)
    one_request(scene, 500)
    assert scene.entry.worker.breaker.state is Circuit.OPEN
    assert "a trial request failed" in scene.entry.worker.breaker.reason


def test_what_began_before_it_opened_neither_closes_nor_opens_a_half_open_breaker() -> None:
    scene = Scene(settings=once())
    old = scene.request(FakeClient())
    old.begin()
    scene.dialling.open()
    half_open(scene)
    old.on_head(AnswerHead(500, b"", JSON), 0)
    old.on_end()
    assert scene.entry.worker.breaker.state is Circuit.HALF_OPEN


def test_a_trial_whose_client_leaves_makes_room_for_another() -> None:
    scene = Scene(settings=once())
    half_open(scene)
    for _ in range(7):
        exchange = scene.request(FakeClient())
        exchange.begin()
        assert scene.entry.meters.in_flight == 1
        exchange.client_left()
        scene.place.dials.clear()
    assert scene.entry.worker.breaker.state is Circuit.HALF_OPEN


def test_rare_failures_among_many_successes_do_not_open_it() -> None:
    scene = Scene(settings=once())
    for number in range(1000):
        one_request(scene, 500 if number % 20 == 0 else 200)
    assert scene.entry.worker.breaker.state is Circuit.CLOSED


def test_failures_older_than_the_window_do_not_count() -> None:
    scene = Scene(settings=once())
    for _ in range(30):
        one_request(scene, 500)
        scene.now += 14
    assert scene.entry.worker.breaker.state is Circuit.CLOSED


# --- room at the workers ---


def test_a_full_worker_gets_no_more_and_the_next_in_line_takes_its_place() -> None:
    scene = Scene(workers=2, max_in_flight=1)
    exchanges = [scene.request(FakeClient()) for _ in range(4)]
    for exchange in exchanges:
        exchange.begin()
    assert [entry.meters.in_flight for entry in scene.entries] == [1, 1]
    assert scene.traffic.admission.queued == 2
    exchanges[0].client_left()
    assert [entry.meters.in_flight for entry in scene.entries] == [1, 1]
    assert scene.traffic.admission.queued == 1
    exchanges[3].client_left()
    assert scene.traffic.admission.queued == 0


def test_who_waits_too_long_for_room_is_told_so() -> None:
    scene = Scene(max_in_flight=1)
    scene.begun()
    client = FakeClient()
    waiting = scene.request(client)
    waiting.begin()
    assert client.deadline == scene.now + 60
    scene.now += 60
    waiting.overdue()
    assert (client.status, client.code) == (408, "queue_timeout")
    assert scene.traffic.admission.queued == 0


def test_a_name_of_the_gateways_or_the_workers_own_reaches_the_worker_as_the_models() -> None:
    scene = Scene(
        body=b'{"x":1.50,"model":"nick","n":12345678901234567890}', models=(ModelCard("m", aliases=("nick",)),)
    )
    upstream = scene.begun()
    assert isinstance(upstream, FakeUpstream)
    assert upstream.sent.endswith(b'\r\n\r\n{"x":1.50,"model":"m","n":12345678901234567890}')


# --- the budget ---


def test_a_dead_fleet_is_not_hammered() -> None:
    budget = RetryBudget(RetrySettings())
    allowed = sum(budget.take(requests, 64, 100 + requests / 1000) for requests in range(5000) for _ in range(4))
    assert allowed <= 100 + 0.5 * 5000


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5), st.floats(0, 3)), max_size=200))
def test_the_floor_is_always_there_after_a_quiet_while(steps: list[tuple[int, int, float]]) -> None:
    budget, requests, now = RetryBudget(RetrySettings(budget_floor=3)), 0, 0.0
    for more, retries, passed in steps:
        requests += more
        now += passed
        for _ in range(retries):
            budget.take(requests, 0, now)
    assert [budget.take(requests, 0, now + 25) for _ in range(3)] == [True, True, True]


@given(st.integers(1, 40), st.floats(0, 1))
def test_backoff_stays_within_its_bounds(failed: int, chance: float) -> None:
    pause = RetrySettings().backoff(failed, chance)
    assert 0.04 <= pause <= 36


# --- many small pieces ---


def stream(scene: Scene, *events: bytes) -> None:
    for event in events:
        scene.exchange.on_body(event)
        scene.exchange.on_flush()


def test_the_first_piece_goes_at_once_and_what_comes_too_fast_goes_together() -> None:
    scene = Scene()
    scene.begun()
    scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
    stream(scene, b"data: 1\n\n")
    assert scene.client.writes == 1
    stream(scene, b"data: 2\n\n", b"data: 3\n\n", b"data: 4\n\n")
    assert scene.client.writes == 1
    assert scene.tick() == pytest.approx(0.002)
    assert scene.client.writes == 2
    assert scene.client.got.endswith(b"\r\n1b\r\ndata: 2\n\ndata: 3\n\ndata: 4\n\n\r\n")
    assert not scene.timers
    scene.now += 0.01
    stream(scene, b"data: 5\n\n")
    assert scene.client.writes == 3


def test_what_is_gathered_goes_out_before_the_end_and_before_an_error() -> None:
    for failed in (False, True):
        scene = Scene()
        scene.begun()
        scene.exchange.on_head(AnswerHead(200, b"", EVENTS), None)
        stream(scene, b"data: 1\n\n", b"data: 2\n\n", b"data: half")
        if failed:
            scene.exchange.on_error(UpstreamError("connection reset in the middle of an answer"))
            assert b'data: 2\n\ndata: half\n\ndata: {"error":' in scene.client.got
        else:
            scene.exchange.on_end()
        assert b"data: 2\n\ndata: half" in scene.client.got
        assert scene.client.ended == ["kept"]
        written = scene.client.writes
        scene.tick()
        assert scene.client.writes == written


# --- overload, by the engines' own reports ---


def report(scene: Scene, entry: Entry, waiting: int, usage: float = 0.1) -> None:
    load = EngineLoad(scene.now, running=1, waiting=waiting, kv_usage=usage)
    scene.registry.observe_load(entry.worker.id, 1, load)


def sent_to(scene: Scene) -> Entry:
    before = {entry.worker.id: entry.meters.requests for entry in scene.entries}
    scene.request(FakeClient()).begin()
    (chosen,) = [entry for entry in scene.entries if entry.meters.requests > before[entry.worker.id]]
    return chosen


@pytest.mark.parametrize(("waiting", "usage"), [(8, 0.1), (0, 0.8), (20, 0.99)])
def test_an_overloaded_worker_gets_nothing_while_another_is_not(waiting: int, usage: float) -> None:
    scene = Scene(workers=2)
    loaded, calm = scene.entries
    report(scene, loaded, waiting, usage)
    report(scene, calm, 7, 0.79)
    assert {sent_to(scene).worker.id for _ in range(4)} == {calm.worker.id}
    report(scene, calm, waiting, usage)
    assert {sent_to(scene).worker.id for _ in range(4)} == {loaded.worker.id, calm.worker.id}
    report(scene, loaded, 0)
    assert {sent_to(scene).worker.id for _ in range(4)} == {loaded.worker.id}


def test_requests_are_refused_rather_than_loaded_on_top_where_that_was_chosen() -> None:
    scene = Scene(workers=2)
    plan = RoutingPlan("round_robin", shed_overload=True)
    scene.traffic.fleet = Fleet(scene.registry, plan, Random(1))
    report(scene, scene.entries[0], 9)
    assert sent_to(scene) is scene.entries[1]
    report(scene, scene.entries[1], 9)
    client = FakeClient()
    scene.request(client).begin()
    assert (client.status, client.code) == (503, "worker_overload_protection_shed")
    assert b"retry-after: 1\r\n" in client.got


def test_a_veto_ends_with_the_reports() -> None:
    scene = Scene(workers=2)
    report(scene, scene.entries[0], 50)
    scene.registry.forget_load(scene.entries[0].worker.id)
    assert {sent_to(scene).worker.id for _ in range(4)} == {entry.worker.id for entry in scene.entries}
