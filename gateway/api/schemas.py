"""What the control API says: workers, events and capabilities as JSON values. Pure.

A worker's JSON is SMG's WorkerInfo plus our own members. Keys are `Secret`s and are never rendered. Times are
RFC 3339 in UTC; durations in the unit their name says.
"""

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast

from gateway.api.shapes import (
    BreakerJson,
    CapabilitiesJson,
    DrainJson,
    EffectJson,
    EventJson,
    GatewayJson,
    ListedState,
    PercentilesJson,
    PersonJson,
    SmgStatus,
    SpecJson,
    WindowsJson,
    WorkerJson,
)
from gateway.operations import Effect
from gateway.presence import Person
from gateway.telemetry.samples import WorkerSample
from gateway.telemetry.status import GatewayStatus
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.facts import Event
from gateway.workers.latency import FIVE_MINUTES, Percentiles
from gateway.workers.model import Breaker, Capabilities, Drain, Secret, State, Worker, WorkerSpec

Json = dict[str, Any]

SMG_STATUS: dict[State, SmgStatus] = {
    State.REGISTERING: "pending",
    State.READY: "ready",
    State.UNHEALTHY: "not_ready",
    State.FAILED: "failed",
    State.DRAINING: "draining",
}
"""Our states in SMG's words."""


def timestamp(wall: float | None) -> str | None:
    """Wall-clock seconds as RFC 3339."""
    return None if wall is None else datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


def plain(value: object) -> Any:
    """Dataclasses, enums and tuples as JSON values, without secrets."""
    if isinstance(value, Secret):
        return None
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.name != "api_key"}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def spec_json(spec: WorkerSpec) -> SpecJson:
    """SMG's WorkerSpec members; optional ones are left out where they are empty."""
    own = {
        "timeout_secs": spec.health.timeout_s,
        "check_interval_secs": spec.health.interval_s,
        "success_threshold": spec.health.success_threshold,
        "failure_threshold": spec.health.failure_threshold,
        "disable_health_check": spec.health.disabled,
        "endpoint": spec.health.endpoint,
    }
    found: Json = {
        "url": spec.url,
        "models": [_without_empty(plain(card)) for card in spec.models],
        "worker_type": spec.role.value,
        "connection_mode": "grpc" if spec.url.startswith("grpc") else "http",
        "priority": spec.priority,
        "cost": spec.cost,
        "bootstrap_port": spec.bootstrap_port,
        "max_in_flight": spec.max_in_flight,
        "health": _without_empty(own) or None,
        "load_monitor_interval_secs": spec.load_interval_s,
    }
    return cast("SpecJson", {name: value for name, value in found.items() if value is not None})


def _without_empty(value: Json) -> Json:
    return {name: item for name, item in value.items() if item not in (None, [], {}, ())}


def spec_facts(spec: WorkerSpec) -> Json:
    """The spec with all that an operator said, as events and snapshots give it: whoever folds them lacks nothing."""
    more = {"labels": dict(spec.labels), "runtime_type": spec.engine.value, "source": spec.source.value}
    return {**spec_json(spec), **more}


def gateway_json(status: GatewayStatus, boot: str) -> GatewayJson:
    """The gateway itself."""
    return {
        "version": status.version,
        "boot": boot,
        "address": status.address,
        "metrics_address": status.metrics_address,
        "started_at": timestamp(status.started_at),
        "at": timestamp(status.now),
        "policy": status.policy,
        "requests_per_s": round(status.requests_per_s, 3),
        "errors_per_s": round(status.errors_per_s, 3),
        "in_flight": status.in_flight,
        "loop_late_ms": round(status.loop_late_ms, 2),
        "stopping": status.stopping,
        "people": status.people,
    }


def person_json(person: Person) -> PersonJson:
    """Somebody with an open console."""
    return {
        "actor": person.actor,
        "role": person.role.value,
        "address": person.address,
        "since": timestamp(person.since),
        "doing": person.doing,
        "terminal": person.terminal,
    }


def effect_json(effect: Effect) -> EffectJson:
    """What taking a worker away would mean."""
    return {
        "in_flight": effect.in_flight,
        "model": effect.model,
        "role": effect.role.value,
        "left": effect.left,
        "routable": effect.routable,
    }


def worker_json(entry: Entry, sample: WorkerSample, now: float) -> WorkerJson:
    """A worker as the API shows it. `now` is monotonic, for the latency windows."""
    worker, health, meters, load = entry.worker, entry.health, entry.meters, entry.load
    available = availability(worker)
    return {
        "id": worker.id,
        "model_id": worker.model_id,
        **spec_json(worker.spec),
        "connection_mode": worker.connection.value,
        "runtime_type": worker.engine.value,
        "labels": worker.labels,
        "is_healthy": worker.state is State.READY,
        "status": SMG_STATUS[worker.state],
        "load": meters.in_flight,
        "name": worker.name,
        "state": cast("ListedState", worker.state.value),
        "since": timestamp(worker.since),
        "reason": worker.reason,
        "revision": worker.revision,
        "source": worker.spec.source.value,
        "cordoned": worker.cordoned,
        "routable": available.routable,
        "because": available.because,
        "in_flight": meters.in_flight,
        "queue_depth": load.waiting if load else None,
        "kv_usage": load.kv_usage if load else None,
        "requests": meters.requests,
        "errors": meters.errors,
        "requests_per_s": round(sample.requests_per_s, 3),
        "errors_per_s": round(sample.errors_per_s, 3),
        "last_request_error": meters.last_error or None,
        "health_status": {
            "status": worker.health.value,
            "consecutive_failures": health.counter.fail_run,
            "consecutive_successes": health.counter.ok_run,
            "last_check": timestamp(health.last_check),
            "last_error": health.last_error or None,
            "latency_ms": _rounded(health.latency_ms),
            "last_change": timestamp(health.last_change),
        },
        "response_ms": windows_json(sample.response, meters.response.percentiles(now, FIVE_MINUTES)),
        "ttft_ms": windows_json(sample.ttft, meters.ttft.percentiles(now, FIVE_MINUTES)),
        "drain": drain_json(worker.drain, meters.in_flight),
        "circuit_breaker": breaker_json(worker.breaker, entry.failures.count(now) if entry.failures else 0),
        "ejected": worker.ejected or None,
        "overloaded": entry.overloaded,
        "capabilities": capabilities_json(worker.capabilities),
    }


def windows_json(minute: Percentiles, five: Percentiles) -> WindowsJson:
    """Percentiles in milliseconds over the last minute, and under `window_5m` over the last five."""
    return {**percentiles_json(minute), "window_5m": percentiles_json(five)}


def percentiles_json(of: Percentiles) -> PercentilesJson:
    return {"p50": _milliseconds(of.p50), "p95": _milliseconds(of.p95), "p99": _milliseconds(of.p99)}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def drain_json(drain: Drain | None, in_flight: int) -> DrainJson | None:
    """A drain under way."""
    if drain is None:
        return None
    return {
        "intent": drain.intent.value,
        "since": timestamp(drain.since),
        "deadline": timestamp(drain.deadline),
        "in_flight": in_flight,
        "drained": drain.drained,
    }


def breaker_json(breaker: Breaker, failures: int) -> BreakerJson:
    """A worker's circuit breaker."""
    return {
        "state": breaker.state.value,
        "reason": breaker.reason or None,
        "since": timestamp(breaker.since),
        "until": timestamp(breaker.until),
        "failures": failures,
    }


def capabilities_json(capabilities: Capabilities) -> CapabilitiesJson:
    found: Json = plain(capabilities)
    del found["labels"]  # merged into the worker's labels
    return cast("CapabilitiesJson", found)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def event_json(event: Event) -> EventJson:
    """A journal event: number, time, who, what."""
    fact: Json = plain(event.fact)
    spec = getattr(event.fact, "spec", None)
    if isinstance(spec, WorkerSpec):
        fact["spec"] = spec_facts(spec)
    drain = getattr(event.fact, "drain", None)
    if isinstance(drain, Drain):
        fact["drain"] = _period_facts(drain)
    breaker = getattr(event.fact, "breaker", None)
    if isinstance(breaker, Breaker):
        fact["breaker"] = _period_facts(breaker)
    return {
        "seq": event.seq,
        "at": timestamp(event.at),
        "actor": event.cause.actor,
        "correlation": event.cause.correlation or None,
        "event": event.fact.kind,
        "worker": event.fact.worker,
        "data": fact,
    }


def facts_json(worker: Worker) -> Json:
    """A worker's facts alone, for the snapshot that opens an event stream: what folding events gives, in the
    same words and forms that events use."""
    found: Json = plain(worker)
    found["spec"] = spec_facts(worker.spec)
    found["since"] = timestamp(worker.since)
    found["registered_at"] = timestamp(worker.registered_at)
    found["drain"] = worker.drain and _period_facts(worker.drain)
    found["breaker"] = _period_facts(worker.breaker)
    for move in found["transitions"]:
        move["at"] = timestamp(move["at"])
    return found


def _period_facts(value: Drain | Breaker) -> Json:
    """A value with moments in it, in the form that the API gives moments."""
    found: Json = plain(value)
    moments = ("since", "until", "deadline")
    return {name: timestamp(item) if name in moments else item for name, item in found.items()}
