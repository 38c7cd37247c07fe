"""The control API tells a day of measures and the requests under way, and refuses what it does not know by name."""

from collections.abc import AsyncIterator

import pytest

from gateway.proxy.flights import Flight, Stage
from gateway.telemetry.history import MEASURES, History
from gateway.telemetry.samples import Measure
from tests.integration.control import Control, control

START = 1_790_000_040


@pytest.fixture
async def api() -> AsyncIterator[Control]:
    async with control() as made:
        yield made


def counted(seconds: int) -> History:
    """A history in which requests per second count up and nothing else was measured."""
    history = History()
    for n in range(seconds):
        history.append(START + n, [n if measure is Measure.REQUESTS else float("nan") for measure in MEASURES])
    return history


async def test_a_worker_s_measures_come_in_rows_with_means_and_peaks(api: Control) -> None:
    entry = api.ready("http://a:1")
    api.samples.histories[entry.worker.id] = counted(25)
    status, body = await api.call("GET", "/history?worker=w1&step_secs=10&measures=requests_per_s,p99_s")
    assert (status, body) == (
        200,
        {
            "worker_id": entry.worker.id,
            "model": None,
            "step_secs": 10,
            "end": "2026-09-21T14:14:30.000+00:00",
            "measures": {
                "requests_per_s": {"mean": [4.5, 14.5, 22.0], "peak": [9, 19, 24]},
                "p99_s": {"mean": [None] * 3, "peak": [None] * 3},
            },
        },
    )


async def test_the_fleet_s_and_a_model_s_last_rows_can_be_asked_for_and_all_measures_come(api: Control) -> None:
    api.samples.histories = {None: counted(9), "llama": counted(4)}
    _, fleet = await api.call("GET", "/history?rows=2")
    _, model = await api.call("GET", "/history?rows=2&model=llama")
    _, nobody = await api.call("GET", "/history?model=nobody")
    assert isinstance(fleet, dict)
    assert isinstance(model, dict)
    assert isinstance(nobody, dict)
    assert list(fleet["measures"]) == [measure.value for measure in MEASURES]
    assert fleet["measures"]["requests_per_s"]["mean"] == [7, 8]
    assert model["measures"]["requests_per_s"]["mean"] == [2, 3]
    assert (nobody["end"], nobody["measures"]) == (None, {})


@pytest.mark.parametrize(
    ("path", "status", "complaint"),
    [
        ("/history?step_secs=7", 400, "step_secs: given '7', expected one of 1, 10, 120"),
        ("/history?measures=p99_s,speed", 400, "measures: given 'speed', expected some of requests_per_s, "),
        ("/history?rows=0", 400, "rows: given '0', expected a whole number from 1 to 721"),
        ("/history?worker=nobody", 400, "worker: given 'nobody', expected a worker's id (a UUID) or its name"),
        ("/history?worker=w9", 404, "w9"),
        ("/history?worker=w1&model=m", 400, "model: given with worker"),
        ("/requests?limit=many", 400, "limit: given 'many', expected a whole number from 1 to 1000"),
        ("/requests?worker=w9", 404, "w9"),
    ],
)
async def test_what_is_asked_wrongly_is_named(api: Control, path: str, status: int, complaint: str) -> None:
    answer, body = await api.call("GET", path)
    assert isinstance(body, dict)
    assert answer == status
    assert complaint in body["error"]


async def test_requests_under_way_are_told_of_all_or_of_a_worker(api: Control) -> None:
    entry = api.ready("http://a:1")
    api.flying = [
        Flight("r1", "/v1/chat/completions", "m", Stage.ANSWERING, 2.5004, 2.25, 2, entry.worker.id, None, True, 17),
        Flight("r2", "/v1/completions", "m", Stage.QUEUED, 1.0, None, 0, None, None, False, 0),
    ]
    _, everywhere = await api.call("GET", "/requests")
    _, there = await api.call("GET", f"/requests?worker={entry.worker.id}")
    assert isinstance(everywhere, dict)
    assert [request["request_id"] for request in everywhere["requests"]] == ["r1", "r2"]
    assert there == {
        "requests": [
            {
                "request_id": "r1",
                "route": "/v1/chat/completions",
                "model": "m",
                "stage": "answering",
                "age_secs": 2.5,
                "attempt_secs": 2.25,
                "attempts": 2,
                "worker": entry.worker.id,
                "prefill_worker": None,
                "streams": True,
                "tokens": 17,
            }
        ]
    }


async def test_a_worker_s_history_has_its_failures(api: Control) -> None:
    entry = api.ready("http://a:1")
    entry.meters.blamed("it answered 500", 1_790_000_000.0)
    entry.meters.blamed("it answered 500", 1_790_000_001.0)
    _, body = await api.call("GET", "/workers/w1/history")
    assert isinstance(body, dict)
    assert body["failures"] == [{"at": "2026-09-21T14:13:21.000+00:00", "why": "it answered 500", "count": 2}]
