"""Which workers a command means: by name, id, URL or an unambiguous beginning, or all that fit some filters. Pure.

Workers are as `GET /workers` shows them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smg_console.scripts.exits import Ended, Exit

Worker = dict[str, Any]
LEAST_BEGINNING = 3


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is given must fit."""

    model: str | None = None
    state: str | None = None
    role: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    everything: bool = False

    @property
    def given(self) -> bool:
        return self.everything or bool(self.model or self.state or self.role or self.labels)


def fits(worker: Worker, wanted: Filter) -> bool:
    """Whether a worker is one of those."""
    named = {worker["model_id"], *(model["id"] for model in worker.get("models", ()))}
    return (
        (wanted.model is None or wanted.model in named)
        and (wanted.state is None or wanted.state in states(worker))
        and (wanted.role is None or worker["worker_type"] == wanted.role)
        and all(worker["labels"].get(name) == value for name, value in wanted.labels)
    )


def states(worker: Worker) -> set[str]:
    """The words for how it is: its state, and what else one would ask for."""
    found = {worker["state"]}
    if worker["cordoned"]:
        found.add("cordoned")
    if worker["routable"]:
        found.add("routable")
    drain = worker["drain"]
    if drain is not None and drain["drained"]:
        found.add("drained")
    return found


STATES = ("registering", "ready", "unhealthy", "failed", "draining", "drained", "cordoned", "routable")


def chosen(workers: Sequence[Worker], names: Sequence[str], wanted: Filter) -> list[Worker]:
    """Those that were named, in that order, and of them only those that fit; without names all that fit. Raises
    Ended where a name is nobody's or several workers', and where nobody fits."""
    found = {worker["id"]: worker for worker in workers}
    if names:
        found = {worker["id"]: worker for worker in (by_name(workers, name) for name in names)}
    fitting = [worker for worker in found.values() if fits(worker, wanted)]
    if not fitting:
        raise Ended("no worker fits" if workers else "no worker is listed", Exit.NOT_FOUND)
    return fitting


def by_name(workers: Sequence[Worker], name: str) -> Worker:
    """The worker of this name, id or URL, or the only one that begins so. Raises Ended."""
    for worker in workers:
        if name in (worker["name"], worker["id"]) or name.rstrip("/") in (worker["url"], _host(worker["url"])):
            return worker
    beginning = [
        worker
        for worker in workers
        if len(name) >= LEAST_BEGINNING
        and (worker["id"].startswith(name) or worker["url"].startswith(name) or _host(worker["url"]).startswith(name))
    ]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        those = ", ".join(f"{worker['name']} ({_host(worker['url'])})" for worker in beginning[:8])
        raise Ended(f"{name!r} may be any of {len(beginning)} workers: {those}", Exit.USAGE)
    raise Ended(f"no worker has the name, id or URL {name!r}", Exit.NOT_FOUND)


def _host(url: str) -> str:
    return str(url.partition("://")[2])
