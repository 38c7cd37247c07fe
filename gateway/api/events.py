"""The journal over HTTP: pages at `/journal`, and `/events` as a stream of a snapshot and what follows it.

An event's id is `<boot>-<number>`, so that a client that reconnects to a restarted gateway gets a snapshot and
not another process's events. A client that stops reading holds nothing but its place in the journal: its
handler waits in a write, and is dropped when that takes too long.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from aiohttp import web

from gateway.access import AccessRole
from gateway.api.app import PARTS, ApiParts, Route, actor_of, is_local, json_response, packed, whole_number
from gateway.api.meters import Board, Mark, sse
from gateway.api.schemas import event_json, facts_json, gateway_json
from gateway.api.shapes import JournalJson
from gateway.errors import BadRequest
from gateway.events import JOURNAL_SIZE, Event, Lagged, Reader
from gateway.presence import Person
from gateway.tasks import in_slices

KEEPALIVE_S = 15.0
STUCK_S = 60.0
BATCH = 200
PIECE = 32 * 1024
CONSOLE = "attach"
"""How the names of those begin who look with a console: `attach:anna`."""
BOARD = web.AppKey("board", Board)
TICK_S = 1.0
"""What `meters` counts."""


async def journal(request: web.Request) -> web.Response:
    """Events after a number, oldest first."""
    registry = request.app[PARTS].registry
    after = whole_number(request, "after", 0, 0, 1 << 60)
    limit = whole_number(request, "limit", 1000, 1, JOURNAL_SIZE)
    worker = request.query.get("worker")
    if worker is not None:
        worker = registry.find(worker).worker.id
    events = registry.journal.after(after, JOURNAL_SIZE)
    if worker is not None:
        events = [event for event in events if event.fact.worker == worker]
    seq, oldest = registry.journal.seq, registry.journal.oldest  # of the same moment as the events
    shown = await in_slices(events[:limit], lambda event: packed(event_json(event)))
    return json_response({"events": shown, "seq": seq, "oldest": oldest})


async def stream(request: web.Request) -> web.StreamResponse:
    """A snapshot, then every event; after a reconnect with Last-Event-ID only what was missed."""
    parts = request.app[PARTS]
    meters_s = whole_number(request, "meters", 0, 0, 3600) * TICK_S
    reader = _resumed(request, parts)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    with _present(request, parts):
        try:
            if reader is None:
                reader = parts.registry.journal.reader()  # before the snapshot, which is of this moment too
                await write(response, await _snapshot(parts))
            await _follow(request, response, reader, meters_s)
        except TimeoutError:  # the client stopped reading: end its connection rather than wait for it for ever
            if request.transport is not None:
                request.transport.abort()
    return response


@contextmanager
def _present(request: web.Request, parts: ApiParts) -> Iterator[None]:
    """While an attached console follows, it is one of those that are here. Of programs nobody is told."""
    actor = actor_of(request)
    if CONSOLE not in actor.split(":")[:-1]:
        yield
        return
    # Nobody was asked for a key, so whoever gets here may do everything.
    person = Person(actor, AccessRole.ADMIN, request.remote or "", parts.status().now, doing="attached")
    number = parts.presence.enter(person)
    try:
        yield
    finally:
        parts.presence.leave(number)


async def _follow(request: web.Request, response: web.StreamResponse, reader: Reader, meters_s: float) -> None:
    """Send what happens until the gateway stops. Raises TimeoutError when the client takes nothing any more."""
    parts = request.app[PARTS]
    loop = asyncio.get_running_loop()
    meters_due = loop.time() if meters_s else inf
    quiet_until = loop.time() + KEEPALIVE_S
    board, mark = request.app[BOARD], Mark()
    local = is_local(request)  # an operator, who may watch the gateway stop
    while local or not parts.stopping():
        news = await _next(reader, min(meters_due, quiet_until) - loop.time())
        now = loop.time()
        if isinstance(news, Lagged):
            await write(response, await _snapshot(parts))
        elif news:
            messages = await in_slices(news, lambda event: _message(parts, event))
            await write(response, b"".join(messages))
        if now >= meters_due:
            message, mark = await board.news(mark)
            await write(response, message)
            meters_due = now + meters_s
        elif not news:
            if now < quiet_until:  # a timer may be early by its resolution
                continue
            await write(response, b": still here\n\n")
        quiet_until = loop.time() + KEEPALIVE_S


async def _next(reader: Reader, patience_s: float) -> list[Event] | Lagged:
    """The next events; none if nothing happens for so long."""
    try:
        async with asyncio.timeout(max(0.0, patience_s)):
            return await reader.next(BATCH)
    except TimeoutError:
        return []


def _resumed(request: web.Request, parts: ApiParts) -> Reader | None:
    """The place to go on from, if the client names one that this journal still has."""
    last = request.headers.get("Last-Event-ID") or request.query.get("after")
    if not last:
        return None
    boot, _, number = last.rpartition("-")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise BadRequest(f"Last-Event-ID: given {last[:80]!r}, expected an id of an event", field="Last-Event-ID")
    log = parts.registry.journal
    if boot != parts.boot or not log.oldest - 1 <= int(number) <= log.seq:
        return None
    return log.reader(int(number))


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Write in pieces, each of which waits until the client has room. Raises TimeoutError for one that is stuck,
    not for one that is merely slow."""
    for start in range(0, len(data), PIECE):
        async with asyncio.timeout(STUCK_S):
            await response.write(data[start : start + PIECE])


def _message(parts: ApiParts, event: Event) -> bytes:
    return sse(event.fact.kind, f"{parts.boot}-{event.seq}", event_json(event))


async def _snapshot(parts: ApiParts) -> bytes:
    snapshot = parts.registry.snapshot()  # of one moment; rendering it may take several
    body = {
        "seq": snapshot.seq,
        "workers": await in_slices(snapshot.workers, lambda worker: packed(facts_json(worker)), size=10),
        "gateway": gateway_json(parts.status(), parts.boot),
    }
    return sse("snapshot", f"{parts.boot}-{snapshot.seq}", body)


ROUTES = [
    Route(
        "GET",
        "/journal",
        journal,
        "Events after a number",
        statuses=(200, 400, 404),
        query=("after", "limit", "worker"),
        answer=JournalJson,
    ),
    Route(
        "GET",
        "/events",
        stream,
        "A snapshot, then every event, as server-sent events",
        statuses=(200, 400),
        query=("after", "meters"),
        media="text/event-stream",
        head=False,
    ),
]
