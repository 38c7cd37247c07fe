"""What a filter may ask of a worker: fields of text and of numbers, with their units. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from gateway.workers.model import Circuit, Engine, Health, Role, Source, Worker
from smg_console.plane import WorkerRow
from smg_console.present.states import kept_out, state_word


class Unit(StrEnum):
    """How a number is typed and what it then means."""

    COUNT = "count"
    """`10`, `12k`, `3M`."""
    MILLISECONDS = "time"
    """Seconds inside; typed as `500` (milliseconds), `500ms`, `2s`, `1m`."""
    SECONDS = "age"
    """`90`, `90s`, `5m`, `2h`, `1d`."""
    PERCENT = "percent"
    """A share of 1 inside; typed as `5` or `5%`."""


FORMS = {
    Unit.COUNT: "a number such as 10 or 12k",
    Unit.MILLISECONDS: "a time such as 500 (ms), 500ms, 2s or 1m",
    Unit.SECONDS: "a time such as 90 (s), 5m, 2h or 1d",
    Unit.PERCENT: "a share such as 5%",
}
_FACTORS = {
    Unit.COUNT: {"": 1.0, "k": 1e3, "m": 1e6},
    Unit.MILLISECONDS: {"": 1e-3, "ms": 1e-3, "s": 1.0, "m": 60.0},
    Unit.SECONDS: {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0},
    Unit.PERCENT: {"": 0.01, "%": 0.01},
}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([a-z%]*)", re.IGNORECASE | re.ASCII)


def number(text: str, unit: Unit) -> float | None:
    """What was typed, in the field's own unit; None: it is no such number."""
    found = _NUMBER.fullmatch(text)
    factor = _FACTORS[unit].get(found[2].lower()) if found else None
    return float(found[1]) * factor if found is not None and factor is not None else None


@dataclass(frozen=True, slots=True)
class TextField:
    """Any of `of` may fit; `from_start`: as its beginning, else anywhere in it. All in small letters."""

    about: str
    of: Callable[[WorkerRow], Iterable[str]]
    from_start: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NumberField:
    """`of` gives None where there is no such number: then no comparison fits. `now` is wall-clock seconds."""

    about: str
    unit: Unit
    of: Callable[[WorkerRow, float], float | None]


Field = TextField | NumberField


def marks_of(worker: Worker) -> list[str]:
    """All that a filter may call the state."""
    marks = [state_word(worker), worker.state.value]
    marks += ["cordoned"] * worker.cordoned + ["ejected"] * bool(worker.ejected)
    if worker.breaker.state is not Circuit.CLOSED:
        marks.append("broken")
    return marks


def labels_of(worker: Worker) -> list[str]:
    """Labels as `name=value`, in small letters."""
    return [f"{name}={value}".lower() for name, value in worker.labels.items()]


def texts_of(row: WorkerRow) -> tuple[str, ...]:
    """Where a word without a field is looked for."""
    worker = row.worker
    models = (name.lower() for name in worker.models)
    return (worker.name, worker.url.lower(), *models, *marks_of(worker), *labels_of(worker))


def why_of(row: WorkerRow) -> str:
    """Why a worker is as it is: the cordon's reason, else that of its last move."""
    worker = row.worker
    if kept_out(worker) is None:
        return worker.reason
    return worker.cordon_reason if worker.cordoned else worker.ejected or worker.breaker.reason


_STATES = ("ready", "registering", "unhealthy", "failed", "draining", "drained", "cordoned", "ejected", "broken")

FIELDS: dict[str, Field] = {
    "state": TextField("its state, or cordoned, ejected, broken", lambda r: marks_of(r.worker), True, _STATES),
    "model": TextField("a model it serves", lambda r: [name.lower() for name in r.worker.models]),
    "name": TextField("its name or address", lambda r: (r.worker.name, r.worker.url.lower())),
    "role": TextField("regular, prefill, decode", lambda r: (r.worker.spec.role.value,), True, tuple(Role)),
    "engine": TextField("its engine", lambda r: (r.worker.engine.value,), False, tuple(Engine)),
    "label": TextField("a label: label:rack=b7", lambda r: labels_of(r.worker)),
    "policy": TextField("its policy label", lambda r: (r.worker.labels.get("policy", "").lower(),)),
    "health": TextField("what its probes say", lambda r: (r.worker.health.value,), True, tuple(Health)),
    "source": TextField("who brought it", lambda r: (r.worker.spec.source.value,), True, tuple(Source)),
    "why": TextField("the reason of its state", lambda r: (why_of(r).lower(),)),
    "version": TextField("its engine's version", lambda r: ((r.worker.capabilities.version or "").lower(),)),
    "inflight": NumberField("requests in flight", Unit.COUNT, lambda r, now: r.in_flight),
    "queue": NumberField("requests waiting", Unit.COUNT, lambda r, now: r.load.waiting if r.load else None),
    "kv": NumberField("KV cache in use", Unit.PERCENT, lambda r, now: r.load.kv_usage if r.load else None),
    "rps": NumberField("requests a second", Unit.COUNT, lambda r, now: r.sample.requests_per_s),
    "p50": NumberField("response time", Unit.MILLISECONDS, lambda r, now: r.sample.response.p50),
    "p95": NumberField("response time", Unit.MILLISECONDS, lambda r, now: r.sample.response.p95),
    "p99": NumberField("response time", Unit.MILLISECONDS, lambda r, now: r.sample.response.p99),
    "ttft": NumberField("time to first byte", Unit.MILLISECONDS, lambda r, now: r.sample.ttft.p50),
    "err": NumberField("failed requests of a minute", Unit.PERCENT, lambda r, now: r.sample.error_rate),
    "requests": NumberField("requests in all", Unit.COUNT, lambda r, now: r.requests),
    "since": NumberField("time in its state", Unit.SECONDS, lambda r, now: now - r.worker.since),
    "age": NumberField("time since it was added", Unit.SECONDS, lambda r, now: now - r.worker.registered_at),
    "priority": NumberField("its priority", Unit.COUNT, lambda r, now: r.worker.spec.priority),
    "cost": NumberField("its cost", Unit.COUNT, lambda r, now: r.worker.spec.cost),
}


def values_in(rows: Iterable[WorkerRow], name: str) -> list[str]:
    """What there is of a text field in the fleet, for completion: the field's choices first, no value twice."""
    field = FIELDS.get(name)
    if not isinstance(field, TextField):
        return []
    if field.choices:
        return list(field.choices)
    return sorted({value for row in rows for value in field.of(row) if value})
