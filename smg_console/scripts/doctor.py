"""`doctor`: looks at a gateway and its surroundings, says what is wrong, and what to do about it.

What is found is decided from what the API says alone, by pure functions; fetching it is at the end.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.errors import GatewayError
from smg_console.client import GatewayClient
from smg_console.scripts import waiting
from smg_console.scripts.exits import Exit
from smg_console.scripts.out import Out

Worker = dict[str, Any]


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


MARKS = {Level.OK: ("ok  ", "good"), Level.WARNING: ("warn", "warning"), Level.BAD: ("BAD ", "bad")}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; `advice`: what to do about it."""

    level: Level
    what: str
    advice: str = ""


def of_workers(workers: Sequence[Worker], now: float) -> list[Finding]:
    """Workers that do not serve, and models whose requests nobody takes."""
    if not workers:
        return [Finding(Level.BAD, "no worker is listed", "smg-console workers add URL, or start with --worker-urls")]
    found = [*_models(workers)]
    for worker in workers:
        found += _one(worker, now)
    routable = sum(worker["routable"] for worker in workers)
    said = f"{routable} of {len(workers)} workers take requests"
    return [Finding(Level.OK if routable == len(workers) else Level.WARNING, said), *found]


def _models(workers: Sequence[Worker]) -> list[Finding]:
    total: Counter[str] = Counter()
    able: Counter[str] = Counter()
    for worker in workers:
        model = worker["model_id"] or ""
        if worker["worker_type"] == "regular":
            total[model] += 1
            able[model] += worker["routable"]
    return [
        Finding(
            Level.BAD, f"{model or 'unnamed models'}: none of {count} workers takes requests", "see the workers below"
        )
        for model, count in total.items()
        if not able[model]
    ]


def _one(worker: Worker, now: float) -> list[Finding]:
    name, url = worker["name"], worker["url"]
    found = []
    match worker["state"]:
        case "unhealthy":
            why = worker["health_status"]["last_error"] or worker["reason"]
            found.append(
                Finding(Level.BAD, f"{name} is unhealthy: {why}", f"is the engine at {url} up? its log says more")
            )
        case "failed":
            what = f"{name} did not come up: {worker['reason']}"
            found.append(Finding(Level.BAD, what, f"mend it, then smg-console workers retry {name}; or remove it"))
        case "registering":
            found.append(Finding(Level.WARNING, f"{name} is still coming up: {worker['reason']}"))
    if worker["cordoned"]:
        found.append(Finding(Level.WARNING, f"{name} is cordoned", f"smg-console workers uncordon {name}"))
    if waiting.overdue(worker, now):
        what = f"{name} drains beyond its deadline: {worker['in_flight']} in flight"
        found.append(Finding(Level.WARNING, what, f"smg-console workers remove --now {name}, or resume it"))
    breaker = worker["circuit_breaker"]
    if breaker["state"] != "closed":
        why = breaker.get("reason") or "requests failed there"
        advice = f"smg-console workers show {name}; b in the console closes the breaker"
        found.append(Finding(Level.BAD, f"{name} has its circuit breaker {breaker['state']}: {why}", advice))
    if worker["ejected"]:
        found.append(Finding(Level.BAD, f"{name} is ejected: {worker['ejected']}", f"smg-console workers probe {name}"))
    if worker["overloaded"]:
        found.append(Finding(Level.WARNING, f"{name} says it is overloaded", "add a worker of its model"))
    return found


def of_discovery(told: Any) -> list[Finding]:
    """Service discovery, where it is on."""
    if not told.get("enabled", True):
        return []
    found = []
    if told.get("missing_permission"):
        advice = "smg-console k8s-manifests prints the Role it needs"
        found.append(Finding(Level.BAD, f"discovery lacks a permission: {told['missing_permission']}", advice))
    elif told.get("blind_since"):
        what = f"discovery is blind since {told['blind_since']}: {told.get('blind_why')}"
        found.append(Finding(Level.BAD, what, "workers stay as they are meanwhile; is the API server reachable?"))
    if skipped := told.get("skipped"):
        one = next(iter(skipped.items())) if isinstance(skipped, dict) else None
        such = f", such as {one[0]}: {one[1]}" if one else ""
        found.append(Finding(Level.WARNING, f"{len(skipped)} matching pods are not in service{such}"))
    return found or [Finding(Level.OK, "service discovery sees every change")]


def of_tokenizers(told: Sequence[Any]) -> list[Finding]:
    """Tokenizers that are missing where workers need them."""
    return [
        Finding(
            Level.BAD if one["users"] else Level.WARNING,
            f"the tokenizer of {one['name']} {one['message']}",
            "POST /v1/tokenizers adds one from a path or a HuggingFace id",
        )
        for one in told
        if one["status"] == "failed"
    ]


async def examined(client: GatewayClient, given: Any, out: Out) -> Exit:
    """All findings; the exit code is 1 where something is bad."""
    workers = (await client.get_json("/workers"))["workers"]
    found = [Finding(Level.OK, f"the gateway at {client.target} answers")]
    found += of_readiness(await _readiness(client))
    found += of_workers(workers, time.time())
    found += of_discovery(await client.get_json("/discovery"))
    found += of_tokenizers((await client.get_json("/tokenizers"))["tokenizers"])
    found += of_settings((await client.get_json("/settings"))["settings"])
    if given.json:
        out.json([{"level": one.level.value, "what": one.what, "advice": one.advice} for one in found])
    else:
        for one in found:
            mark, colour = MARKS[one.level]
            out.lines([f"{out.coloured(mark, colour)}  {one.what}", *([f"      {one.advice}"] if one.advice else [])])
    return Exit.REFUSED if any(one.level is Level.BAD for one in found) else Exit.DONE


async def _readiness(client: GatewayClient) -> str:
    """Why it is not ready; empty where it is."""
    try:
        await client.get_json("/readiness")
    except GatewayError as error:
        return error.message
    return ""


def of_readiness(why: str) -> list[Finding]:
    """What a load balancer in front is told."""
    if not why:
        return [Finding(Level.OK, "it is ready: load balancers send it traffic")]
    return [Finding(Level.BAD, f"it is not ready: {why}", "load balancers send it no traffic meanwhile")]


def of_settings(told: Sequence[Any]) -> list[Finding]:
    """Settings that work, but seldom as meant."""
    values = {one["name"]: one["value"] for one in told}
    found = []
    if values.get("disable_health_check"):
        found.append(Finding(Level.WARNING, "health checks are off: dead workers are noticed by requests alone"))
    if values.get("disable_retries") and values.get("disable_circuit_breaker"):
        found.append(Finding(Level.WARNING, "retries and breakers are both off: clients see every failure"))
    return found
