"""`/rolling-drains`: begin, follow and steer the gateway's rolling drains.

A job is the gateway's: it goes on when whoever began it hangs up. It ends up listed for a while, with how it ended.
"""

from collections.abc import Callable
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from gateway.api.app import PARTS, Handler, Route, cause_of, json_response
from gateway.api.bodies import NoBody, decoded, judged
from gateway.api.schemas import timestamp
from gateway.api.shapes import RollingDoneJson, RollingDrainJson, RollingDrainsJson
from gateway.operations import MAX_DRAIN_S
from gateway.workers.rolling_jobs import (
    MOST_AT_ONCE,
    CancelRolling,
    ContinueRolling,
    PauseRolling,
    RollingCommand,
    RollingStatus,
    StartRolling,
)

MOST_WORKERS = 10_000


class RollingBody(BaseModel):
    """POST /rolling-drains. `max`: at a time; `floor`: ready workers of each model and role that stay."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workers: Annotated[list[Annotated[str, Field(max_length=2048)]], Field(min_length=1, max_length=MOST_WORKERS)]
    max: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 1
    floor: Annotated[int, Field(ge=0, le=MOST_WORKERS)] = 1
    remove: bool = False
    timeout_secs: Annotated[float, Field(ge=0, le=MAX_DRAIN_S, allow_inf_nan=False)] | None = None
    what: Annotated[str, Field(max_length=1024)] = ""


def rolling_json(job: RollingStatus) -> RollingDrainJson:
    """A job. Pure."""
    return {
        "id": job.id,
        "what": job.what,
        "actor": job.actor,
        "max": job.most,
        "floor": job.floor,
        "remove": job.remove,
        "total": job.total,
        "phase": job.phase.value,
        "why": job.why,
        "under_way": [
            {"name": one.name, "in_flight": one.in_flight, "began_with": one.began_with, "left_secs": one.left_s}
            for one in job.under_way
        ],
        "waiting": list(job.waiting),
        "done": list(job.done),
        "failed": list(job.failed),
        "began_at": timestamp(job.began_at),
        "ended_at": timestamp(job.ended_at),
    }


async def listed(request: web.Request) -> web.Response:
    body: RollingDrainsJson = {"rolling_drains": [rolling_json(job) for job in request.app[PARTS].rolling.statuses()]}
    return json_response(body)


async def one(request: web.Request) -> web.Response:
    return json_response(rolling_json(request.app[PARTS].rolling.status(request.match_info["id"])))


async def _done(request: web.Request, command: RollingCommand, status: int = 200) -> web.Response:
    done = await request.app[PARTS].rolling.execute(command, cause_of(request))
    body: RollingDoneJson = {
        "changed": done.changed,
        "message": done.message,
        "rolling_drain": rolling_json(done.job),
    }
    return json_response(body, status, {"Location": f"/rolling-drains/{done.job.id}"} if status == 202 else None)


async def begin(request: web.Request) -> web.Response:
    asked = judged(RollingBody, decoded(await request.read()))
    command = StartRolling(
        tuple(asked.workers),
        most=asked.max,
        floor=asked.floor,
        remove=asked.remove,
        timeout_s=asked.timeout_secs,
        what=asked.what,
    )
    return await _done(request, command, 202)


def steering(made: Callable[[str], RollingCommand]) -> Handler:
    """The handler of `POST /rolling-drains/{id}/<verb>`."""

    async def handle(request: web.Request) -> web.Response:
        judged(NoBody, decoded(await request.read()))
        return await _done(request, made(request.match_info["id"]))

    return handle


ROUTES = [
    Route(
        "GET", "/rolling-drains", listed, "Rolling drains under way, and the last that ended", answer=RollingDrainsJson
    ),
    Route(
        "POST",
        "/rolling-drains",
        begin,
        "Drain many workers, a few at a time",
        body=RollingBody,
        statuses=(202, 400, 404, 409),
        answer=RollingDoneJson,
    ),
    Route("GET", "/rolling-drains/{id}", one, "One rolling drain", statuses=(200, 404), answer=RollingDrainJson),
    *(
        Route(
            "POST",
            f"/rolling-drains/{{id}}/{made.verb}",
            steering(made),
            summary,
            body=NoBody,
            statuses=(200, 400, 404),
            answer=RollingDoneJson,
        )
        for made, summary in (
            (PauseRolling, "Start no more for now"),
            (ContinueRolling, "Go on with a paused one"),
            (CancelRolling, "Start no more; what drains by now drains on"),
        )
    ),
]
