"""From the control API's JSON back to the values it was made of. Pure; the inverse of `gateway.api.schemas`.

A worker's key never travels, so a spec comes back without it. Times are to the millisecond, as the API gives them.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from gateway.workers import facts
from gateway.workers.facts import Cause, Event, Fact
from gateway.workers.model import (
    Breaker,
    Capabilities,
    Circuit,
    Connection,
    Drain,
    Engine,
    Health,
    HealthOverride,
    Intent,
    ModelCard,
    Role,
    Source,
    State,
    Transition,
    Worker,
    WorkerId,
    WorkerSpec,
)

Json = dict[str, Any]


def moment(text: str | None) -> float | None:
    """Wall-clock seconds of an RFC 3339 time."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def moment_or(text: str | None, otherwise: float) -> float:
    found = moment(text)
    return otherwise if found is None else found


def spec_of(value: Json) -> WorkerSpec:
    health = value.get("health", {})
    return WorkerSpec(
        url=value["url"],
        models=tuple(_card(card) for card in value.get("models", ())),
        role=Role(value["worker_type"]),
        engine=Engine(value.get("runtime_type", Engine.UNSPECIFIED)),
        labels=value.get("labels", {}),
        priority=value["priority"],
        cost=value["cost"],
        bootstrap_port=value.get("bootstrap_port"),
        max_in_flight=value.get("max_in_flight"),
        health=HealthOverride(
            interval_s=health.get("check_interval_secs"),
            timeout_s=health.get("timeout_secs"),
            success_threshold=health.get("success_threshold"),
            failure_threshold=health.get("failure_threshold"),
            disabled=health.get("disable_health_check"),
            endpoint=health.get("endpoint"),
        ),
        load_interval_s=value.get("load_monitor_interval_secs"),
        source=Source(value.get("source", Source.API)),
    )


def _card(value: Json) -> ModelCard:
    return ModelCard(
        id=value["id"],
        display_name=value.get("display_name"),
        aliases=tuple(value.get("aliases", ())),
        model_type=tuple(value.get("model_type", ())),
        context_length=value.get("context_length"),
        tokenizer_path=value.get("tokenizer_path"),
    )


_TUPLES = ("models", "missing")


def capabilities_of(value: Json) -> Capabilities:
    connection = value.get("connection")
    plain: Json = {name: tuple(item) if name in _TUPLES else item for name, item in value.items()}
    plain["engine"] = Engine(value["engine"])
    plain["connection"] = Connection(connection) if connection is not None else None
    return Capabilities(**plain)


def drain_of(value: Json | None) -> Drain | None:
    if value is None:
        return None
    since = moment_or(value["since"], 0.0)
    return Drain(Intent(value["intent"]), since, moment(value["deadline"]), value["drained"])


def breaker_of(value: Json) -> Breaker:
    return Breaker(Circuit(value["state"]), value["reason"] or "", moment(value["since"]), moment(value["until"]))


def _transition(value: Json) -> Transition:
    old = value["old"]
    return Transition(
        State(old) if old is not None else None,
        State(value["new"]),
        moment_or(value["at"], 0.0),
        value["why"],
        value["who"],
    )


def worker_of(value: Json) -> Worker:
    """A worker of a snapshot."""
    return Worker(
        id=WorkerId(value["id"]),
        name=value["name"],
        spec=spec_of(value["spec"]),
        revision=value["revision"],
        state=State(value["state"]),
        since=moment_or(value["since"], 0.0),
        registered_at=moment_or(value["registered_at"], 0.0),
        reason=value["reason"],
        health=Health(value["health"]),
        cordoned=value["cordoned"],
        cordon_reason=value["cordon_reason"],
        cordoned_by=value["cordoned_by"],
        drain=drain_of(value["drain"]),
        breaker=breaker_of(value["breaker"]),
        ejected=value["ejected"],
        capabilities=capabilities_of(value["capabilities"]),
        discovered=value["discovered"],
        transitions=tuple(_transition(move) for move in value["transitions"]),
    )


_FACTS: dict[str, Callable[[Json], Fact]] = {
    "worker_registered": lambda v: facts.Registered(v["worker"], v["name"], spec_of(v["spec"]), v["reason"]),
    "worker_state_changed": lambda v: facts.StateChanged(
        v["worker"], State(v["old"]), State(v["new"]), v["reason"], v["forced"]
    ),
    "worker_health_changed": lambda v: facts.HealthChanged(
        v["worker"], Health(v["old"]), Health(v["new"]), v["reason"]
    ),
    "worker_cordoned": lambda v: facts.Cordoned(v["worker"], v["reason"]),
    "worker_uncordoned": lambda v: facts.Uncordoned(v["worker"]),
    "worker_drain_changed": lambda v: facts.DrainChanged(v["worker"], drain_of(v["drain"])),
    "worker_drained": lambda v: facts.Drained(v["worker"]),
    "worker_breaker_changed": lambda v: facts.BreakerChanged(v["worker"], breaker_of(v["breaker"])),
    "worker_ejected": lambda v: facts.Ejected(v["worker"], v["reason"]),
    "worker_readmitted": lambda v: facts.Readmitted(v["worker"]),
    "worker_capabilities_discovered": lambda v: facts.Discovered(v["worker"], capabilities_of(v["capabilities"])),
    "worker_spec_patched": lambda v: facts.SpecPatched(v["worker"], spec_of(v["spec"]), tuple(v["fields"])),
    "worker_registration_restarted": lambda v: facts.RegistrationRestarted(
        v["worker"], spec_of(v["spec"]), v["revision"], v["reason"]
    ),
    "gateway_notice": lambda v: facts.Notice(v["topic"], v["text"]),
}


def event_of(value: Json, number: int = 0) -> Event:
    """An event of the journal; `number` is added to its own. One of a kind that a newer gateway knows is a notice."""
    kind, data = value["event"], cast("Json", value["data"])
    made = _FACTS.get(kind)
    at = moment_or(value["at"], 0.0)
    fact = made(data) if made is not None else facts.Notice(kind, _words(data))
    cause = Cause(value["actor"], value["correlation"] or "")
    return Event(value["seq"] + number, at, at, cause, fact)


def _words(data: Json) -> str:
    return ", ".join(f"{name} {item}" for name, item in data.items() if isinstance(item, str | int))[:200]
