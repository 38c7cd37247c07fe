"""`workers …`: list, show, add, cordon, drain and the like, one by one or rolling, with waiting."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.errors import GatewayError, WorkerNotFound
from gateway.workers import rolling
from smg_console.client import GatewayClient
from smg_console.present import numbers
from smg_console.scripts import choose, options, waiting
from smg_console.scripts.choose import Worker
from smg_console.scripts.exits import Ended, Exit
from smg_console.scripts.out import Out
from smg_console.scripts.table import table

LOOK_S = 0.3
NOTE_S = 1.0
"""Progress is told at most so often."""
STYLES = {"ready": "good", "unhealthy": "bad", "failed": "bad", "draining": "warning", "registering": "muted"}

TITLES = ("worker", "state", "*url", "*model", ">in flight", ">req/s", ">p50", ">p99", ">since", "*why not")
WIDE = ("role", "engine", "health", ">queue", ">kv", ">requests", ">errors", "*labels", "id")


async def fetched(client: GatewayClient) -> list[Worker]:
    """All workers."""
    told = await client.get_json("/workers")
    found: list[Worker] = told["workers"]
    return found


async def listed(client: GatewayClient, given: Any, out: Out) -> Exit:
    """`workers list`."""
    wanted = options.filter_of(given)
    found = [worker for worker in await fetched(client) if choose.fits(worker, wanted)]
    if given.json:
        out.json(found)
        return Exit.DONE
    out.lines(lines_of(found, out, time.time(), wide=given.wide))
    if not found:
        out.note("no worker fits" if wanted.given else "no worker is listed; smg-console workers add URL adds one")
    return Exit.DONE


def lines_of(found: Sequence[Worker], out: Out, now: float, *, wide: bool) -> list[str]:
    """Workers in a table."""
    rows = [_row(worker, now, wide=wide) for worker in found]
    head, *lines = table((*TITLES, *(WIDE if wide else ())), rows, out.width)
    tinted = [_tinted(worker, line, out) for worker, line in zip(found, lines, strict=True)]
    return [out.coloured(head, "bold"), *tinted]


def _tinted(worker: Worker, line: str, out: Out) -> str:
    style = STYLES.get(worker["state"])
    return line if style is None else line.replace(word := _state(worker), out.coloured(word, style), 1)


def _state(worker: Worker) -> str:
    drain = worker["drain"]
    word = "drained" if drain is not None and drain["drained"] else str(worker["state"])
    return f"{word}, cordoned" if worker["cordoned"] else word


def _ms(value: float | None) -> str:
    return numbers.duration(None if value is None else value / 1000)


def _row(worker: Worker, now: float, *, wide: bool) -> list[str]:
    health = worker["health_status"]
    row = [
        worker["name"],
        _state(worker),
        worker["url"],
        worker["model_id"] or "-",
        str(worker["in_flight"]),
        numbers.rate(worker["requests_per_s"]),
        _ms(worker["response_ms"]["p50"]),
        _ms(worker["response_ms"]["p99"]),
        numbers.age(now - waiting.seconds_of(worker["since"])) if worker["since"] else "-",
        "" if worker["routable"] else worker["because"],
    ]
    if wide:
        row += [
            worker["worker_type"],
            worker["runtime_type"],
            health["status"],
            numbers.count(worker["queue_depth"]),
            numbers.percent(worker["kv_usage"]),
            str(worker["requests"]),
            str(worker["errors"]),
            " ".join(f"{name}={value}" for name, value in worker["labels"].items()),
            worker["id"],
        ]
    return row


async def shown(client: GatewayClient, given: Any, out: Out) -> Exit:
    """`workers show`."""
    worker = choose.by_name(await fetched(client), given.worker)
    history = await client.get_json(f"/workers/{worker['id']}/history")
    if given.json:
        out.json({"worker": worker, "history": history})
        return Exit.DONE
    facts = [(name, value) for name, value in _flat("", worker) if value not in (None, "", [], {})]
    out.lines([f"{name:<34} {value}" for name, value in facts])
    out.lines(["", "transitions:"])
    moves = [(move["at"], move["from"] or "-", move["to"], move["why"], move["who"]) for move in history["transitions"]]
    out.lines([f"  {line}" for line in table(("at", "from", "to", "*why", "who"), moves, out.width)])
    return Exit.DONE


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else value)]
    return [pair for name, inner in value.items() for pair in _flat(f"{prefix}.{name}" if prefix else name, inner)]


async def added(client: GatewayClient, given: Any, out: Out) -> Exit:
    """`workers add`."""
    body: dict[str, Any] = {"url": given.url}
    if given.model:
        body["models"] = [{"id": given.model}]
    if role := options.one_of(given.role, "--role", options.ROLES):
        body["worker_type"] = role
    if found := options.labels(given.label or ()):
        body["labels"] = found
    if given.priority is not None:
        body["priority"] = options.whole(given.priority, "--priority", 0, 100)
    told = await client.command("POST", "/workers", body)
    _said(out, given, f"{told['name']} added: {told['url']}", told)
    return await awaited(client, given, out, [told["worker_id"]], "ready") if given.wait else Exit.DONE


def _said(out: Out, given: Any, text: str, told: Any) -> None:
    out.json(told) if given.json else out.lines([text])


async def acted(client: GatewayClient, given: Any, out: Out, verb: str) -> Exit:
    """The plain acts on one or several workers. A refusal of one does not keep the others from it."""
    wanted = options.filter_of(given)
    if not given.worker and not wanted.given:
        raise Ended("name workers, or say which with --model, --state, --role, --label or --all", Exit.USAGE)
    found = choose.chosen(await fetched(client), given.worker, wanted)
    if verb == "drain" and given.max is not None:
        return await _rolling(client, given, out, found)
    code, begun = Exit.DONE, []
    for worker in found:
        try:
            told = await _one(client, given, verb, worker)
        except GatewayError as error:
            if len(found) == 1:
                raise
            out.note(f"smg-console: {error.message}")
            code = Exit.REFUSED
        else:
            begun.append(worker["id"])
            _said(out, given, told["message"], told)
    if getattr(given, "wait", False) and begun:
        ended = await awaited(client, given, out, begun, "drained" if verb == "drain" else waiting.GONE)
        code = code or ended
    return code


async def _one(client: GatewayClient, given: Any, verb: str, worker: Worker) -> Any:
    path = f"/workers/{worker['id']}"
    deadline = getattr(given, "deadline", None)
    timeout_s = None if deadline is None else options.duration(deadline, "--deadline")
    if verb == "remove":
        params: dict[str, str | float] = {"now": "true"} if given.now else {}
        return await client.command(
            "DELETE", path, params=params | ({} if timeout_s is None else {"timeout_secs": timeout_s})
        )
    body: dict[str, Any] = {}
    if getattr(given, "reason", ""):
        body["reason"] = given.reason
    if verb == "drain" and timeout_s is not None:
        body["timeout_secs"] = timeout_s
    return await client.command("POST", f"{path}/{verb.replace('-', '_')}", body)


# --- waiting ---


class Patience:
    """How long to wait, and how often to say how it goes."""

    def __init__(self, given: Any, out: Out) -> None:
        timeout = getattr(given, "timeout", None)
        self._out = out
        self._until = None if timeout is None else time.monotonic() + options.duration(timeout, "--timeout")
        self._told: dict[str, tuple[str, float]] = {}

    async def pause(self, unfinished: str) -> None:
        """Wait for the next look. Raises Ended when it has been long enough."""
        now = time.monotonic()
        if self._until is not None and now >= self._until:
            raise Ended(f"waited long enough: {unfinished}", Exit.TIMED_OUT)
        left = LOOK_S if self._until is None else min(LOOK_S, self._until - now)
        await asyncio.sleep(left)

    def tell(self, worker: Worker) -> None:
        """Say how far a worker is, if that is news."""
        text, now = waiting.progress(worker, time.time()), time.monotonic()
        before, at = self._told.get(worker["id"], ("", 0.0))
        if text != before and now - at >= NOTE_S:
            self._told[worker["id"]] = (text, now)
            self._out.note(text)


async def waited_for(client: GatewayClient, given: Any, out: Out) -> Exit:
    """`workers wait`."""
    wanted = options.one_of(given.wanted, "--for", options.WAIT_FOR) or "ready"
    filters = options.filter_of(given)
    if not given.worker and not filters.given:
        raise Ended("name workers, or say which with --model, --state, --role, --label or --all", Exit.USAGE)
    try:
        found = choose.chosen(await fetched(client), given.worker, filters)
    except Ended as error:
        if wanted == waiting.GONE and error.code is Exit.NOT_FOUND:
            return Exit.DONE
        raise
    return await awaited(client, given, out, [worker["id"] for worker in found], wanted)


async def awaited(client: GatewayClient, given: Any, out: Out, ids: Sequence[str], wanted: str) -> Exit:
    """Wait until all are as they should be. Raises Ended where that cannot be, or takes too long."""
    patience, left = Patience(given, out), list(ids)
    while True:
        for worker_id in list(left):
            worker = await _now(client, worker_id)
            if waiting.reached(worker, wanted):
                left.remove(worker_id)
                if not given.json:
                    out.lines([f"{worker['name'] if worker is not None else 'the worker'} is {wanted}"])
                continue
            if why := waiting.in_vain(worker, wanted, time.time()):
                raise Ended(why, Exit.REFUSED)
            assert worker is not None
            patience.tell(worker)
            name = worker["name"]
        if not left:
            return Exit.DONE
        await patience.pause(f"{name if len(left) == 1 else f'{len(left)} workers'} not {wanted} yet; it goes on")


async def _now(client: GatewayClient, worker_id: str) -> Worker | None:
    try:
        found: Worker = await client.get_json(f"/workers/{worker_id}")
    except WorkerNotFound:
        return None
    return found


# --- rolling ---


async def _rolling(client: GatewayClient, given: Any, out: Out, found: Sequence[Worker]) -> Exit:
    """Drain some at a time; each is awaited. Ctrl+C starts no more, and what drains drains on."""
    most = options.whole(given.max, "--max", 1, 1000)
    floor = 1 if given.floor is None else options.whole(given.floor, "--floor", 0, 100_000)
    job = rolling.begun(rolling.Plan(tuple(worker["id"] for worker in found), most, floor))
    names = {worker["id"]: worker["name"] for worker in found}
    patience = Patience(given, out)
    while True:
        workers = {worker["id"]: worker for worker in await fetched(client)}
        now = time.time()
        ready = Counter(waiting.serves_of(worker) for worker in workers.values() if worker["routable"])
        before = job.done
        seen = {worker_id: waiting.seen_of(worker, now) for worker_id, worker in workers.items() if worker_id in names}
        job, start = rolling.step(job, seen, ready)
        for worker_id in job.done[len(before) :]:
            if not given.json:
                out.lines([f"{names[worker_id]} is drained ({len(job.done)} of {len(names)})"])
        for worker_id in start:
            try:
                await _one(client, given, "drain", workers[worker_id])
            except GatewayError as error:
                job = rolling.failed(job, worker_id, f"{names[worker_id]}: {error.message}")
        for worker_id in job.under_way:
            if worker_id in workers and workers[worker_id]["drain"] is not None:
                patience.tell(workers[worker_id])
        if job.phase in rolling.ENDS:
            break
        await patience.pause(f"{len(job.done)} of {len(names)} are drained; what drains goes on, no more is begun")
    if given.json:
        out.json({"phase": job.phase.value, "drained": [names[one] for one in job.done], "why": job.halt or None})
    if job.phase is not rolling.Phase.DONE:
        raise Ended(f"stopped after {len(job.done)} of {len(names)}: {job.halt}", Exit.REFUSED)
    return Exit.DONE
