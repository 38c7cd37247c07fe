"""`GET /history`: a day of measures of the fleet, a model or a worker. `GET /requests`: those under way now."""

from collections.abc import Iterable
from functools import partial

from aiohttp import web

from gateway.api.app import PARTS, Route, json_response, packed, whole_number
from gateway.api.schemas import plain, timestamp
from gateway.api.shapes import FlightJson, FlightsJson, MeasuresJson
from gateway.api.workers import named
from gateway.errors import BadRequest
from gateway.proxy.flights import Flight
from gateway.tasks import in_slices
from gateway.telemetry.history import MEASURES, ROWS, STEPS, Track
from gateway.telemetry.samples import Measure

MOST_FLIGHTS = 1000
MOST_ROWS = max(ROWS) + 1


async def history(request: web.Request) -> web.Response:
    """Means and peaks in rows of one length, oldest first."""
    parts, query = request.app[PARTS], request.query
    worker, model = query.get("worker"), query.get("model")
    if worker is not None and model is not None:
        raise BadRequest("model: given with worker, expected one of the two, or neither for the fleet", field="model")
    worker_id = named(request, worker, "worker").worker.id if worker is not None else None
    step_s, measures = _step(request), _measures(query.get("measures"))
    rows = whole_number(request, "rows", MOST_ROWS, 1, MOST_ROWS)
    kept = parts.samples.history(worker_id, model)
    tracks: dict[Measure, Track] = {}
    end = None
    if kept is not None and kept.end:
        stretch = kept.read(step_s, measures)
        end, tracks = stretch.end, stretch.tracks
    told = await in_slices(tracks.values(), partial(_track, rows), size=1)
    body = {
        "worker_id": worker_id,
        "model": model,
        "step_secs": step_s,
        "end": timestamp(end),
        "measures": {name.value: value for name, value in zip(tracks, told, strict=True)},
    }
    return json_response(body)


def _step(request: web.Request) -> int:
    text = request.query.get("step_secs", str(STEPS[0]))
    if text not in map(str, STEPS):
        raise BadRequest(
            f"step_secs: given {text[:20]!r}, expected one of {', '.join(map(str, STEPS))}", field="step_secs"
        )
    return int(text)


def _measures(text: str | None) -> tuple[Measure, ...]:
    if text is None:
        return MEASURES
    names = text.split(",")
    unknown = next((name for name in names if name not in {measure.value for measure in MEASURES}), None)
    if unknown is not None:
        known = ", ".join(MEASURES)
        raise BadRequest(f"measures: given {unknown[:40]!r}, expected some of {known}", field="measures")
    return tuple(Measure(name) for name in dict.fromkeys(names))


def _track(rows: int, track: Track) -> object:
    return packed({"mean": _rounded(track.means[-rows:]), "peak": _rounded(track.peaks[-rows:])})


def _rounded(values: Iterable[float]) -> list[float]:
    """As JSON: what is NaN becomes null."""
    return [round(value, 4) for value in values]


async def flights(request: web.Request) -> web.Response:
    """The requests that have been under way for longest."""
    parts = request.app[PARTS]
    worker = request.query.get("worker")
    worker_id = named(request, worker, "worker").worker.id if worker is not None else None
    most = whole_number(request, "limit", 100, 1, MOST_FLIGHTS)
    told = await in_slices(parts.flights(most, worker_id), lambda flight: packed(flight_json(flight)))
    return json_response({"requests": told})


def flight_json(flight: Flight) -> FlightJson:
    return {
        "request_id": flight.request_id,
        "route": flight.route,
        "model": flight.model,
        "stage": plain(flight.stage),
        "age_secs": round(flight.age_s, 3),
        "attempt_secs": None if flight.attempt_s is None else round(flight.attempt_s, 3),
        "attempts": flight.attempts,
        "worker": flight.worker,
        "prefill_worker": flight.prefill,
        "streams": flight.streams,
        "tokens": flight.tokens,
    }


ROUTES = [
    Route(
        "GET",
        "/history",
        history,
        "Up to 24 hours of measures: of the fleet, a model or a worker",
        statuses=(200, 400, 404),
        query=("worker", "model", "step_secs", "measures", "rows"),
        answer=MeasuresJson,
    ),
    Route(
        "GET",
        "/requests",
        flights,
        "The requests under way, the oldest first; of all, or of a worker",
        statuses=(200, 400, 404),
        query=("worker", "limit"),
        answer=FlightsJson,
    ),
]
