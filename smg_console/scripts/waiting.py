"""Waiting for workers: when each is as it should be, what to say meanwhile, and when waiting is in vain. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.workers.model import Role
from gateway.workers.rolling import Seen
from smg_console.present import numbers

Worker = Mapping[str, Any]
GONE = "gone"


def reached(worker: Worker | None, wanted: str) -> bool:
    """Whether the worker (None: it has left) is as it should be."""
    if worker is None:
        return wanted == GONE
    drain = worker["drain"]
    match wanted:
        case "ready":
            return bool(worker["state"] == "ready")
        case "healthy":
            return bool(worker["health_status"]["status"] == "healthy")
        case "routable":
            return bool(worker["routable"])
        case "drained":
            return drain is not None and bool(drain["drained"])
    return False


def in_vain(worker: Worker | None, wanted: str, now: float) -> str:
    """Why waiting any longer makes no sense; empty while it does. `now` is wall-clock seconds."""
    if worker is None:
        return "" if wanted == GONE else "it has left the list"
    name, drain = worker["name"], worker["drain"]
    if wanted in ("drained", GONE) and drain is None:
        return f"{name} is not draining (any more): it is {worker['state']}"
    if wanted == GONE and drain["intent"] == "hold":
        return f"{name} is held in its drain, it does not leave; remove it"
    if wanted == "drained" and overdue(worker, now):
        return f"{name} was not drained by its deadline: {worker['in_flight']} in flight"
    if wanted in ("ready", "routable") and worker["state"] == "failed":
        return f"{name} failed: {worker['reason']}"
    return ""


def overdue(worker: Worker, now: float) -> bool:
    """Whether the deadline of a drain that holds the worker has passed with requests in flight."""
    drain = worker["drain"]
    if drain is None or drain["intent"] != "hold" or drain["drained"] or drain["deadline"] is None:
        return False
    return bool(seconds_of(drain["deadline"]) <= now)


def seconds_of(stamp: str) -> float:
    """Wall-clock seconds of a time as the API writes it."""
    return datetime.fromisoformat(stamp).timestamp()


def progress(worker: Worker, now: float) -> str:
    """How far a worker is, in words."""
    drain = worker["drain"]
    if drain is None:
        return f"{worker['name']} is {worker['state']}: {worker['reason']}"
    if drain["drained"]:
        return f"{worker['name']} is drained"
    left = ""
    if drain["deadline"] is not None:
        left = f", {numbers.age(max(0.0, seconds_of(drain['deadline']) - now))} left"
    return f"{worker['name']} drains: {worker['in_flight']} in flight{left}"


def seen_of(worker: Worker, now: float) -> Seen:
    """The worker as a rolling drain sees it."""
    drain = worker["drain"]
    return Seen(
        name=worker["name"],
        serves=serves_of(worker),
        routable=worker["routable"],
        draining=worker["state"] == "draining",
        drained=drain is not None and drain["drained"],
        leaving=drain is not None and drain["intent"] == "remove",
        overdue=overdue(worker, now),
    )


def serves_of(worker: Worker) -> tuple[str | None, Role]:
    """What its capacity counts for."""
    return worker["model_id"], Role(worker["worker_type"])
