"""What the control API says of workers and events: complete enough to fold, in one form, and without secrets."""

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from gateway.api.schemas import event_json, facts_json, worker_json
from gateway.telemetry.samples import WorkerSample
from gateway.workers.model import HealthOverride, Intent, ModelCard, Role, Secret
from tests.unit.world import TEST, World

KEY = "sk-very-secret"
RESET: dict[str, Any] = {"health": "unknown", "discovered": False, "drain": None}


def eventful() -> World:
    """A fleet to which everything has happened that can happen to a worker."""
    world = World()
    first = world.ready(
        "http://a:1",
        api_key=Secret(KEY),
        role=Role.PREFILL,
        bootstrap_port=8998,
        models=(ModelCard("llama", aliases=("l",)),),
        health=HealthOverride(interval_s=5.0),
    )
    registry = world.registry
    registry.cordon(first, "disk", TEST)
    registry.uncordon(first, TEST)
    world.now += 3
    first.meters.began()
    registry.drain(first, Intent.HOLD, world.wall() + 60, "kernel", TEST)
    registry.resume(first, TEST)
    first.meters.in_flight = 0
    registry.drain(first, Intent.HOLD, None, "kernel", TEST)
    registry.patch(first, replace(first.worker.spec, labels={"rack": "r1"}), ["labels"], TEST)
    second = world.ready("http://a:2", "qwen")
    world.probe(second, False, False, False)
    registry.restart(second, second.worker.spec, "retry", TEST)
    third = world.ready("http://a:3")
    registry.remove_now(third, "gone", TEST)
    registry.note("started", "serving", TEST)
    return world


def folded(workers: dict[str, Any], event: dict[str, Any]) -> None:
    """What a client of the event stream does with an event, knowing nothing but its JSON."""
    data, worker_id = event["data"], event["worker"]
    if worker_id is None:
        return
    worker = workers.get(worker_id, {})
    match event["event"]:
        case "worker_state_changed" if data["new"] == "gone":
            del workers[worker_id]
        case "worker_state_changed":
            move = {
                "old": data["old"],
                "new": data["new"],
                "at": event["at"],
                "why": data["reason"],
                "who": event["actor"],
            }
            worker["transitions"] = [*worker["transitions"], move]
            worker |= {"state": data["new"], "since": event["at"], "reason": data["reason"]}
        case "worker_health_changed":
            worker["health"] = data["new"]
        case "worker_cordoned":
            worker |= {"cordoned": True, "cordon_reason": data["reason"], "cordoned_by": event["actor"]}
        case "worker_uncordoned":
            worker |= {"cordoned": False, "cordon_reason": "", "cordoned_by": ""}
        case "worker_drain_changed":
            worker["drain"] = data["drain"]
        case "worker_drained":
            worker["drain"] = worker["drain"] | {"drained": True}
        case "worker_capabilities_discovered":
            worker |= {"capabilities": data["capabilities"], "discovered": True}
        case "worker_spec_patched":
            worker["spec"] = data["spec"]
        case "worker_registration_restarted":
            worker |= {"spec": data["spec"], "revision": data["revision"], **RESET}
        case other:
            raise AssertionError(f"an event that clients cannot fold: {other}")


def test_a_snapshot_and_the_events_after_it_give_the_next_snapshot() -> None:
    world = eventful()
    entry = world.registry.find("http://a:1")
    world.registry.resume(entry, TEST)
    before: dict[str, Any] = {worker.id: facts_json(worker) for worker in world.registry.snapshot().workers}
    seq = world.registry.journal.seq
    world.now += 5
    entry.meters.began()
    world.registry.cordon(entry, "disk", TEST)
    world.registry.drain(entry, Intent.HOLD, world.wall() + 9, "kernel", TEST)
    entry.meters.in_flight = 0
    world.registry.drain(entry, Intent.HOLD, None, "kernel", TEST)
    world.registry.remove_now(world.registry.find("http://a:2"), "gone", TEST)
    for event in world.registry.journal.after(seq, 100):
        folded(before, json.loads(msgspec.json.encode(event_json(event))))
    after = {worker.id: facts_json(worker) for worker in world.registry.snapshot().workers}
    assert json.loads(msgspec.json.encode(before)) == json.loads(msgspec.json.encode(after))


def test_no_fact_and_no_worker_tells_a_key() -> None:
    world = eventful()
    kinds = {event.fact.kind for event in world.events()}
    assert len(kinds) == 11, "a fact that this test does not see"
    said: list[object] = [event_json(event) for event in world.events()]
    said += [facts_json(worker) for worker in world.registry.snapshot().workers]
    said += [worker_json(entry, WorkerSample(), world.now) for entry in world.registry.entries.values()]
    text = msgspec.json.encode(said).decode()
    assert world.registry.find("http://a:1").worker.spec.api_key == Secret(KEY)
    assert KEY not in text
    assert "api_key" not in text


def test_every_time_in_events_and_snapshots_is_rfc_3339() -> None:
    world = eventful()
    shown: list[Any] = [event_json(event) for event in world.events()]
    shown += [facts_json(worker) for worker in world.registry.snapshot().workers]
    times = [value for item in shown for value in named(item, {"at", "since", "registered_at", "deadline"})]
    assert len(times) > 20
    for value in times:
        assert value is None or datetime.fromisoformat(value).tzinfo is not None


def named(value: Any, names: set[str]) -> list[Any]:
    """Values of members of these names, however deep."""
    if isinstance(value, list):
        return [found for item in value for found in named(item, names)]
    if not isinstance(value, dict):
        return []
    here = [item for name, item in value.items() if name in names]
    return here + [found for item in value.values() for found in named(item, names)]


def test_optional_members_of_a_spec_are_left_out_and_given_ones_are_shown() -> None:
    world = eventful()
    prefill = worker_json(world.registry.find("http://a:1"), WorkerSample(), world.now)
    assert (prefill["worker_type"], prefill["bootstrap_port"]) == ("prefill", 8998)
    assert prefill["models"] == [{"id": "llama", "aliases": ["l"]}]
    assert prefill["health"] == {"check_interval_secs": 5.0}
    plain = worker_json(world.registry.find("http://a:2"), WorkerSample(), world.now)
    assert not {"bootstrap_port", "health", "load_monitor_interval_secs"} & set(plain)
