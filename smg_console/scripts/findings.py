"""What the doctor makes of a gateway: from what its API says to what is wrong and what to do about it. Pure.

Values come as the API writes them; `now` is the wall clock of the machine where the doctor runs, in seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from smg_console.present import numbers
from smg_console.scripts import waiting
from smg_console.scripts.waiting import seconds_of

Worker = Mapping[str, Any]

FLAPS, FLAP_WINDOW_S = 3, 600.0
FORGOTTEN_S = 3600.0
"""A cordon or a finished drain that is this old may have been forgotten."""
FEW_REQUESTS, BAD_SHARE = 20, 0.05
"""From so many requests on, so large a share of failures is worth a word."""


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; `advice`: what to do about it. `about` names the kind, and never changes."""

    level: Level
    about: str
    what: str
    advice: str = ""


def of_workers(workers: Sequence[Worker], now: float) -> list[Finding]:
    """Workers that do not serve, and models whose requests nobody takes."""
    if not workers:
        advice = "smg-console workers add URL, or start with --worker-urls or --service-discovery"
        return [Finding(Level.BAD, "no_workers", "no worker is listed", advice)]
    routable = sum(worker["routable"] for worker in workers)
    said = f"{routable} of {len(workers)} workers take requests"
    found = [Finding(Level.OK if routable == len(workers) else Level.WARNING, "workers", said), *_models(workers)]
    for worker in workers:
        found += _one(worker, now)
    return [*found, *_versions(workers)]


def _models(workers: Sequence[Worker]) -> list[Finding]:
    """Models that nobody serves: a prefill worker needs a decode worker, and the other way round."""
    able: Counter[tuple[str, str]] = Counter()
    roles: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for worker in workers:
        model = worker["model_id"] or ""
        roles[model][worker["worker_type"]] += 1
        able[model, worker["worker_type"]] += worker["routable"]
    found = []
    for model, there in roles.items():
        if able[model, "regular"] or (able[model, "prefill"] and able[model, "decode"]):
            continue
        whom = model or "unnamed models"
        halves = [role for role in ("prefill", "decode") if not able[model, role]]
        if there["regular"] or len(halves) == 2:
            what, advice = f"{whom}: none of {there.total()} workers takes requests", "see its workers below"
        else:
            what = f"{whom}: no {halves[0]} worker takes requests, and the other half alone serves nothing"
            advice = f"add a worker with --role {halves[0]}, or see those below"
        found.append(Finding(Level.BAD, "model_without_workers", what, advice))
    return found


def _one(worker: Worker, now: float) -> list[Finding]:
    return [*_life(worker), *_held(worker, now), *_doubted(worker), *_failing(worker)]


def _life(worker: Worker) -> list[Finding]:
    name, url = worker["name"], worker["url"]
    match worker["state"]:
        case "unhealthy":
            why = worker["health_status"]["last_error"] or worker["reason"]
            advice = f"is the engine at {url} up? its log says more; smg-console workers probe {name} looks again"
            return [Finding(Level.BAD, "worker_unhealthy", f"{name} is unhealthy: {why}", advice)]
        case "failed":
            what = f"{name} did not come up: {worker['reason']}"
            advice = f"mend it, then smg-console workers retry {name}; or remove it"
            return [Finding(Level.BAD, "worker_failed", what, advice)]
        case "registering":
            what = f"{name} is still coming up: {worker['reason']}"
            return [Finding(Level.WARNING, "worker_registering", what, f"smg-console workers wait {name}")]
    return []


def _held(worker: Worker, now: float) -> list[Finding]:
    """By an operator: cordons and drains that may have been forgotten."""
    name, drain = worker["name"], worker["drain"]
    if worker["cordoned"]:
        advice = f"smg-console workers uncordon {name}"
        return [Finding(Level.WARNING, "worker_cordoned", f"{name} takes no requests: {worker['because']}", advice)]
    if drain is None:
        return []
    if waiting.overdue(worker, now):
        what = f"{name} drains beyond its deadline: {worker['in_flight']} in flight"
        advice = f"smg-console workers remove --now {name} takes it off the list; resume brings it back"
        return [Finding(Level.WARNING, "drain_overdue", what, advice)]
    since = now - seconds_of(drain["since"]) if drain["since"] else 0.0
    if drain["drained"] and drain["intent"] == "hold" and since >= FORGOTTEN_S:
        what = f"{name} was drained and is still held, since {numbers.age(since)}"
        advice = f"smg-console workers resume {name}, or remove it"
        return [Finding(Level.WARNING, "drain_forgotten", what, advice)]
    return []


def _doubted(worker: Worker) -> list[Finding]:
    """What the requests themselves say against it."""
    name, found = worker["name"], []
    breaker = worker["circuit_breaker"]
    if breaker["state"] != "closed":
        why = breaker["reason"] or "requests failed there"
        what = f"{name} has its circuit breaker {breaker['state'].replace('_', ' ')}: {why}"
        advice = f"it is tried again by itself; smg-console workers reset-breaker {name} closes it now"
        found.append(Finding(Level.BAD if breaker["state"] == "open" else Level.WARNING, "breaker_open", what, advice))
    if worker["ejected"]:
        what = f"{name} is left out until a probe passes: {worker['ejected']}"
        found.append(Finding(Level.BAD, "worker_ejected", what, f"smg-console workers probe {name}"))
    if worker["overloaded"]:
        what, advice = f"{name} says it is overloaded", f"add a worker for {worker['model_id'] or 'its model'}"
        found.append(Finding(Level.WARNING, "worker_overloaded", what, advice))
    return found


def _failing(worker: Worker) -> list[Finding]:
    total, errors = worker["requests"], worker["errors"]
    recent = worker["errors_per_s"] >= BAD_SHARE * worker["requests_per_s"] and worker["errors_per_s"] > 0
    if total < FEW_REQUESTS or errors < BAD_SHARE * total or not recent:
        return []
    why = f", the last: {worker['last_request_error']}" if worker["last_request_error"] else ""
    what = f"{worker['name']} fails {numbers.percent(errors / total)} of its requests{why}"
    return [Finding(Level.WARNING, "worker_failing", what, f"smg-console workers show {worker['name']}")]


def _versions(workers: Sequence[Worker]) -> list[Finding]:
    """Engines of one model that are not alike answer one prompt in several ways."""
    by_model: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in workers:
        told = worker["capabilities"]
        if worker["model_id"] and told["version"]:
            by_model[worker["model_id"]][f"{told['engine']} {told['version']}"].append(worker["name"])
    found = []
    for model, versions in by_model.items():
        if len(versions) > 1:
            those = "; ".join(f"{version} ({_some(names)})" for version, names in sorted(versions.items()))
            what = f"{model} is served by several versions: {those}"
            found.append(Finding(Level.WARNING, "versions_differ", what, "fine during an upgrade, else level them"))
    return found


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def of_readiness(why: str) -> list[Finding]:
    """What a load balancer in front is told; `why`: it is not ready."""
    if not why:
        return [Finding(Level.OK, "ready", "it is ready: load balancers send it traffic")]
    advice = "load balancers send it no traffic meanwhile"
    return [Finding(Level.BAD, "not_ready", f"it is not ready: {why}", advice)]


def of_discovery(told: Mapping[str, Any]) -> list[Finding]:
    """Service discovery, where it is on."""
    if not told["enabled"]:
        return []
    found = []
    if told["missing_permission"]:
        what = f"discovery {told['missing_permission']}"
        advice = "smg-console k8s-manifests prints the Role it needs"
        found.append(Finding(Level.BAD, "discovery_forbidden", what, advice))
    elif told["blind"] is not None:
        what = f"discovery hears nothing of the cluster since {told['blind']['since']}: {told['blind']['why']}"
        advice = "workers stay as they are, and health decides; is the API server reachable from the gateway?"
        found.append(Finding(Level.BAD, "discovery_blind", what, advice))
    elif not told["synced"]:
        found.append(Finding(Level.WARNING, "discovery_starting", "discovery has not read the cluster yet"))
    elif not told["pods_matched"]:
        what = f"discovery sees no pod that matches {told['selector']} in {told['namespace'] or 'any namespace'}"
        found.append(Finding(Level.WARNING, "discovery_empty", what, "are selector and namespace as meant?"))
    if skipped := told["skipped"]:
        what = f"{_pods(len(skipped))} out of service: {skipped[0]['pod']}: {skipped[0]['because']}"
        found.append(Finding(Level.WARNING, "pods_skipped", what, "GET /discovery names all of them"))
    if notes := told["notes"]:
        what = f"{_pods(len(notes))} not quite as annotated: {notes[0]['pod']}: {notes[0]['because']}"
        found.append(Finding(Level.WARNING, "pods_noted", what, "GET /discovery names all of them"))
    if told["sharing"] is not None and told["sharing"]["problem"]:
        what = f"operators' cordons and drains do not reach the pods: {told['sharing']['problem']}"
        found.append(Finding(Level.WARNING, "sharing_fails", what, "other replicas do not honour them meanwhile"))
    return found or [Finding(Level.OK, "discovery", f"discovery sees {told['pods_matched']} matching pods")]


def _pods(count: int) -> str:
    return "1 matching pod is" if count == 1 else f"{count} matching pods are"


def of_tokenizers(told: Sequence[Mapping[str, Any]], workers: Sequence[Worker]) -> list[Finding]:
    """Tokenizers that failed, and models over gRPC that have none: those workers take token ids only."""
    found, advice = [], "z in the console adds one, as POST /v1/tokenizers does, from a path or a HuggingFace id"
    for one in told:
        if one["status"] == "failed":
            level = Level.BAD if one["users"] else Level.WARNING
            what = f"the tokenizer of {one['name']} failed: {one['message']}"
            found.append(Finding(level, "tokenizer_failed", what, advice))
        elif one["chat_template_error"]:
            what = f"the chat template of {one['name']} cannot be used: {one['chat_template_error']}"
            found.append(Finding(Level.WARNING, "chat_template", what, "--chat-template replaces it"))
    known = {model for one in told for model in (one["name"], *one["models"])}
    over_grpc = {worker["model_id"] for worker in workers if worker["connection_mode"] == "grpc"}
    for model in sorted(over_grpc - known - {None}):
        what = f"{model} has workers over gRPC and no tokenizer"
        found.append(Finding(Level.BAD, "tokenizer_missing", what, advice))
    return found


def of_journal(events: Sequence[Mapping[str, Any]], names: Mapping[str, str], now: float) -> list[Finding]:
    """Workers that come and go: each time a probe passed before the next one failed."""
    downs: Counter[str] = Counter()
    for event in events:
        down = event["event"] == "worker_state_changed" and event["data"]["new"] in ("unhealthy", "failed")
        if down and now - seconds_of(event["at"]) <= FLAP_WINDOW_S:
            downs[event["worker"]] += 1
    advice = "a crash loop, or probes that time out under load: see its log, and --health-check-timeout-secs"
    return [
        Finding(
            Level.WARNING,
            "worker_flapping",
            f"{names[worker]} went down {times} times within {numbers.age(FLAP_WINDOW_S)}",
            advice,
        )
        for worker, times in downs.items()
        if times >= FLAPS and worker in names
    ]
