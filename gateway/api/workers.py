"""`/workers`: list, add, change, remove, and the commands cordon, uncordon, drain, resume, probe and retry."""

from uuid import UUID

from aiohttp import web

from gateway.api.app import PARTS, Handler, Route, cause_of, json_response, packed, seconds, whole_number
from gateway.api.bodies import (
    DrainBody,
    HealthBody,
    NoBody,
    PatchBody,
    ReasonBody,
    WorkerBody,
    decoded,
    judged,
    worker_spec,
)
from gateway.api.schemas import effect_json, event_json, plain, timestamp, worker_json
from gateway.api.shapes import AcceptedJson, AddedJson, DoneJson, EffectJson, HistoryJson, WorkerJson, WorkersJson
from gateway.errors import BadRequest
from gateway.events import JOURNAL_SIZE
from gateway.operations import (
    MAX_DRAIN_S,
    Add,
    Command,
    Cordon,
    Done,
    Patch,
    ProbeNow,
    Remove,
    Replace,
    ResetBreaker,
    Resume,
    Retry,
    StartDrain,
    Uncordon,
)
from gateway.tasks import in_slices
from gateway.workers.entry import Entry
from gateway.workers.identity import is_worker_id
from gateway.workers.model import Role, Secret

MOST_REASON = 1024


def entry_of(request: web.Request) -> Entry:
    """The worker named in the path by id, or by a name such as `w3`. Raises BadRequest and WorkerNotFound."""
    return named(request, request.match_info["id"], "id")


def named(request: web.Request, text: str, field: str) -> Entry:
    """The worker that a client means by an id, or by a name such as `w3`. Raises BadRequest and WorkerNotFound."""
    if is_worker_id(text):
        text = str(UUID(text))  # in any of its written forms
    elif not (text[:1] == "w" and text[1:].isascii() and text[1:].isdigit()):
        raise BadRequest(
            f"{field}: given {text[:80]!r}, expected a worker's id (a UUID) or its name, such as w1", field=field
        )
    return request.app[PARTS].registry.find(text)


def shown(request: web.Request, entry: Entry) -> WorkerJson:
    """The worker's JSON."""
    parts = request.app[PARTS]
    return worker_json(entry, parts.samples.sample(entry.worker.id), parts.mono())


async def execute(request: web.Request, command: Command) -> Done:
    """Give a command in the name of the API."""
    return await request.app[PARTS].operations.execute(command, cause_of(request))


async def listed(request: web.Request) -> web.Response:
    registry = request.app[PARTS].registry
    model = request.query.get("model")
    entries = [e for e in registry.entries.values() if model is None or model in e.worker.models]
    roles = [entry.worker.spec.role for entry in entries]
    stats = {f"{role.value}_count": roles.count(role) for role in (Role.PREFILL, Role.DECODE, Role.REGULAR)}
    workers = await in_slices(entries, lambda entry: packed(shown(request, entry)), size=10)
    return json_response({"workers": workers, "total": len(workers), "stats": stats})


async def add(request: web.Request) -> web.Response:
    spec = worker_spec(await request.read())
    done = await execute(request, Add(spec))
    location = f"/workers/{done.worker.id}"
    body: AddedJson = {
        "status": "accepted",
        "worker_id": done.worker.id,
        "url": done.worker.url,
        "location": location,
        "message": "Worker addition queued for background processing",
        "name": done.worker.name,
    }
    return json_response(body, 202, {"Location": location})


async def one(request: web.Request) -> web.Response:
    return json_response(shown(request, entry_of(request)))


def accepted(done: Done) -> web.Response:
    """SMG's answer to a change that may go on in the background."""
    body: AcceptedJson = {
        "status": "accepted",
        "worker_id": done.worker.id,
        "message": done.message,
        "changed": done.changed,
    }
    return json_response(body, 202)


async def replaced(request: web.Request) -> web.Response:
    entry = entry_of(request)
    return accepted(await execute(request, Replace(entry.worker.id, worker_spec(await request.read()))))


async def patched(request: web.Request) -> web.Response:
    entry = entry_of(request)
    given = decoded(await request.read())
    body = judged(PatchBody, given)
    if not given or all(value is None for value in given.values()):
        accepted_fields = ", ".join(PatchBody.model_fields)
        raise BadRequest(f"nothing to change; accepted fields: {accepted_fields}")
    if isinstance(given.get("health"), dict) and not given["health"]:
        raise BadRequest(f"health: empty; accepted fields: {', '.join(HealthBody.model_fields)}", field="health")
    command = Patch(
        entry.worker.id,
        priority=body.priority,
        cost=body.cost,
        labels=body.labels,
        api_key=None if body.api_key is None else Secret(body.api_key),
        health=body.health.override() if body.health else None,
        max_in_flight=body.max_in_flight,
    )
    return accepted(await execute(request, command))


async def removed(request: web.Request) -> web.Response:
    entry = entry_of(request)
    now = request.query.get("now", "false").lower()
    if now not in ("true", "false", "1", "0", ""):
        raise BadRequest(f"now: given {now[:20]!r}, expected true or false", field="now")
    timeout_s = seconds(request, "timeout_secs", MAX_DRAIN_S)
    reason = request.query.get("reason", "")
    if len(reason) > MOST_REASON:
        raise BadRequest(f"reason: given {len(reason)} characters, expected at most {MOST_REASON}", field="reason")
    command = Remove(entry.worker.id, now=now in ("true", "1"), timeout_s=timeout_s, reason=reason)
    return accepted(await execute(request, command))


def command_handler(kind: str) -> Handler:
    """The handler of `POST /workers/{id}/<kind>`."""

    async def handle(request: web.Request) -> web.Response:
        entry = entry_of(request)
        given = decoded(await request.read())
        worker_id = entry.worker.id
        command: Command
        match kind:
            case "drain":
                drain = judged(DrainBody, given)
                command = StartDrain(worker_id, drain.timeout_secs, drain.reason)
            case "cordon":
                command = Cordon(worker_id, judged(ReasonBody, given).reason)
            case _:
                judged(NoBody, given)
                command = _PLAIN[kind](worker_id)
        done = await execute(request, command)
        body: DoneJson = {
            "status": "ok",
            "changed": done.changed,
            "message": done.message,
            "worker": shown(request, entry),
        }
        return json_response(body)

    return handle


_PLAIN: dict[str, type[Uncordon] | type[Resume] | type[ProbeNow] | type[Retry] | type[ResetBreaker]] = {
    "uncordon": Uncordon,
    "resume": Resume,
    "probe": ProbeNow,
    "retry": Retry,
    "reset_breaker": ResetBreaker,
}


async def effect(request: web.Request) -> web.Response:
    """For the question before it is done."""
    worker_id = entry_of(request).worker.id
    return json_response(effect_json(request.app[PARTS].operations.effect(worker_id)))


async def history(request: web.Request) -> web.Response:
    """What happened to a worker: its transitions, its last probes, how requests failed there, and its events
    that the journal still has."""
    entry = entry_of(request)
    worker = entry.worker
    journal = request.app[PARTS].registry.journal
    moves = [
        {"from": plain(move.old), "to": plain(move.new), "at": timestamp(move.at), "why": move.why, "who": move.who}
        for move in worker.transitions
    ]
    probes = [
        {"at": timestamp(probe.at), "ok": probe.ok, "latency_ms": round(probe.latency_s * 1000, 2)}
        for probe in entry.health.recent
    ]
    most = whole_number(request, "events", JOURNAL_SIZE, 0, JOURNAL_SIZE)
    past = journal.after(0, journal.seq) if most else []
    happened = [event for event in past if event.fact.worker == worker.id][-most:]
    events = await in_slices(happened, lambda event: packed(event_json(event)))
    failures = [
        {"at": timestamp(failure.at), "why": failure.why, "count": failure.count}
        for failure in entry.meters.failures or ()
    ]
    body = {"worker_id": worker.id, "transitions": moves, "probes": probes, "events": events, "failures": failures}
    return json_response(body)


ROUTES = [
    Route("GET", "/workers", listed, "All workers, in the order they were added", query=("model",), answer=WorkersJson),
    Route("POST", "/workers", add, "Add a worker", body=WorkerBody, statuses=(202, 400, 409), answer=AddedJson),
    Route("GET", "/workers/{id}", one, "One worker", statuses=(200, 400, 404), answer=WorkerJson),
    Route(
        "PUT",
        "/workers/{id}",
        replaced,
        "Replace a worker's spec",
        body=WorkerBody,
        statuses=(202, 400, 404),
        answer=AcceptedJson,
    ),
    Route(
        "PATCH",
        "/workers/{id}",
        patched,
        "Change parts of a spec",
        body=PatchBody,
        statuses=(202, 400, 404),
        answer=AcceptedJson,
    ),
    Route(
        "DELETE",
        "/workers/{id}",
        removed,
        "Drain a worker, then remove it",
        statuses=(202, 400, 404),
        query=("now", "timeout_secs", "reason"),
        answer=AcceptedJson,
    ),
    Route(
        "GET",
        "/workers/{id}/effect",
        effect,
        "What taking a worker away would mean for the traffic now",
        statuses=(200, 400, 404),
        answer=EffectJson,
    ),
    Route(
        "GET",
        "/workers/{id}/history",
        history,
        "What happened to a worker",
        statuses=(200, 400, 404),
        query=("events",),
        answer=HistoryJson,
    ),
    *(
        Route(
            "POST",
            f"/workers/{{id}}/{kind}",
            command_handler(kind),
            text,
            body=body,
            statuses=(200, 400, 404, 409),
            answer=DoneJson,
        )
        for kind, text, body in (
            ("cordon", "Send no new requests to a worker", ReasonBody),
            ("uncordon", "Send requests to a worker again", NoBody),
            ("drain", "Send no new requests and wait for those in flight; hold the worker listed", DrainBody),
            ("resume", "Call a drain off", NoBody),
            ("probe", "Probe a worker now", NoBody),
            ("retry", "Register an unhealthy or failed worker anew", NoBody),
            ("reset_breaker", "Close a worker's circuit breaker", NoBody),
        )
    ),
]
