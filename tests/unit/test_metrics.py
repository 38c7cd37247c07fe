"""Metrics as text: one family once, right values, and never at the expense of the loop."""

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.proxy.tally import Tally
from gateway.telemetry.metrics import SLICE, FleetMetrics, MetricSources, MetricsServer, fleet_text
from gateway.telemetry.samples import WorkerSample
from gateway.workers.latency import Percentiles
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import Intent, ModelCard, Role
from tests.unit.world import TEST, World

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def sources(world: World) -> MetricSources:
    """The registry as it is; the other parts as the plain numbers that are read from them."""
    tally = Tally()
    tally.answer("/v1/chat/completions", 200)
    tally.refusal("no_workers")
    sample = WorkerSample(response=Percentiles(0.1, 0.2, 0.3, 5))
    parts: dict[str, Any] = {
        "data_plane": SimpleNamespace(
            tally=tally, in_flight=2, connections=3, admission=SimpleNamespace(inside=2, queued=1)
        ),
        "sampler": SimpleNamespace(sample=lambda _: sample),
        "lateness": SimpleNamespace(worst_s=0.004),
        "checker": SimpleNamespace(probes_ok=7, probes_failed=1),
        "load_monitor": SimpleNamespace(polls_ok=4, polls_failed=0),
    }
    return MetricSources(registry=world.registry, **cast("Any", parts))


async def text_of(world: World, metrics: FleetMetrics | None = None) -> str:
    return await fleet_text(metrics or FleetMetrics(sources(world)), list(world.registry.entries.values()))


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


async def test_a_family_of_many_workers_is_one_block_with_one_head() -> None:
    world = World()
    count = 3 * SLICE + 1
    for number in range(count):
        world.ready(f"http://a:{number + 1}")
    text = await text_of(world)
    heads = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(heads) == len(set(heads))
    found = parsed(text)
    assert len(found["smg_worker_health"]) == len(found["smg_worker_requests_total"]) == count
    blocks = re.findall(r"^(\w+)(?:{.*)? \S+$", text, re.MULTILINE)
    changes = [name for before, name in zip(["", *blocks], blocks, strict=False) if name != before]
    assert len(changes) == len(set(changes)), "samples of one family are apart"


async def test_a_worker_is_counted_by_what_it_is_and_does() -> None:
    world = World()
    metrics = FleetMetrics(sources(world))
    prefill = world.ready("http://a:1", role=Role.PREFILL, models=(ModelCard("llama"),))
    world.ready("http://a:2", role=Role.DECODE, models=(ModelCard("llama"),))
    prefill.meters.began()
    prefill.meters.began()
    prefill.meters.ended(Outcome.TRANSPORT, 0.1, 1.0)
    prefill.load = EngineLoad(0.0, running=1, kv_usage=0.25)
    world.registry.cordon(prefill, "disk", TEST)
    world.registry.drain(prefill, Intent.HOLD, None, "kernel", TEST)
    found = parsed(await text_of(world, metrics))
    worker = ("worker", "http://a:1")
    assert found["smg_worker_pool_size"] == {
        (("connection_mode", "http"), ("model", "llama"), ("worker_type", role)): 1.0 for role in ("prefill", "decode")
    }
    assert found["smg_worker_requests_active"][(worker,)] == 1
    assert found["smg_worker_requests_total"][("model", "llama"), worker] == 2
    assert found["smg_worker_errors_total"][("error_type", "transport"), worker] == 1
    assert found["smg_worker_cordoned"][(worker,)] == 1
    states = {labels[0][1]: value for labels, value in found["smg_worker_state"].items() if worker in labels}
    assert states == {"registering": 0, "ready": 0, "unhealthy": 0, "failed": 0, "draining": 1}
    assert found["smg_worker_drains_active"][()] == 1
    assert found["smg_worker_transitions_total"][("from", "ready"), ("to", "draining")] == 1
    assert found["smg_engine_token_usage"] == {(("model", "llama"), worker): 0.25}
    assert "smg_engine_waiting_requests" not in found, "what is not reported is not made up"
    assert found["smg_worker_response_seconds"][("quantile", "0.95"), worker] == 0.2
    assert "smg_worker_ttft_seconds" not in found


async def test_what_the_gateway_counts_is_told_without_any_worker() -> None:
    found = parsed(await text_of(World()))
    assert found["smg_http_responses_total"] == {(("path", "/v1/chat/completions"), ("status_code", "2xx")): 1}
    assert found["smg_router_request_errors_total"] == {(("error_type", "no_workers"),): 1}
    assert found["smg_worker_health_checks_total"] == {(("result", "success"),): 7, (("result", "failure"),): 1}
    assert (found["smg_http_requests_active"][()], found["smg_http_connections_active"][()]) == (2, 3)
    assert found["smg_loop_lateness_seconds"][()] == 0.004


async def test_a_models_name_of_any_characters_stays_one_label() -> None:
    name = 'a"b\\c\nsmg_worker_health 9'
    world = World()
    world.ready("http://a:1", models=(ModelCard(name),))
    found = parsed(await text_of(world))
    assert found["smg_worker_requests_total"] == {(("model", name), ("worker", "http://a:1")): 0}
    assert len(found["smg_worker_health"]) == 1


async def test_a_scrape_of_many_workers_lets_the_loop_take_its_turns() -> None:
    world = World()
    for number in range(200):
        world.ready(f"http://a:{number + 1}")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.Task(others())
    await asyncio.sleep(0)
    await text_of(world)
    task.cancel()
    assert turns >= 200 / SLICE


async def test_a_worker_that_leaves_during_a_scrape_does_not_disturb_it() -> None:
    world = World()
    entries = [world.ready(f"http://a:{number + 1}") for number in range(2 * SLICE)]
    scrape = asyncio.Task(text_of(world))
    await asyncio.sleep(0)
    for entry in entries:
        world.registry.remove_now(entry, "gone", TEST)
    assert len(parsed(await scrape)["smg_worker_health"]) == 2 * SLICE
    assert "smg_worker_health" not in parsed(await text_of(world))


async def test_a_taken_port_is_one_clear_sentence() -> None:
    world = World()
    async with MetricsServer(sources(world), "127.0.0.1", 0) as first:
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:\d+ for metrics .*already in use"):
            await MetricsServer(sources(world), "127.0.0.1", first.port).__aenter__()
