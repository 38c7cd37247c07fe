"""Prometheus metrics: read from the meters when they are scraped, and served on a port of their own.

SMG's names where they mean the same (its metric families), ours beside them under `smg_`. Labels are bounded:
workers that are listed, routes, statuses and codes of our own.
"""

import asyncio
import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from gateway.kubernetes.status import DiscoveryStatus
from gateway.proxy.server import DataPlane
from gateway.telemetry.lateness import LoopLateness
from gateway.telemetry.sampler import Sampler
from gateway.telemetry.tokenizers import tokenizer_families
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers import facts
from gateway.workers.checker import HealthChecker
from gateway.workers.entry import Entry
from gateway.workers.facts import Event
from gateway.workers.load import LoadMonitor
from gateway.workers.model import LISTED_STATES, Circuit, Health, State
from gateway.workers.registry import Registry

UNKNOWN_MODEL = "unknown"
SLICE = 5
"""Workers rendered at a time: about 1 ms."""


@dataclass(frozen=True, slots=True)
class MetricSources:
    """What is read at a scrape."""

    registry: Registry
    data_plane: DataPlane
    sampler: Sampler
    lateness: LoopLateness
    checker: HealthChecker
    load_monitor: LoadMonitor | None
    discovery: Callable[[], DiscoveryStatus] | None = None
    tokenizers: TokenizerRegistry | None = None


class FleetMetrics:
    """Metric families of the gateway's meters, as values of this moment."""

    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources
        self._transitions: Counter[tuple[str, str]] = Counter()
        sources.registry.watch(self._count)

    def _count(self, event: Event) -> None:
        if isinstance(event.fact, facts.StateChanged):
            self._transitions[event.fact.old.value, event.fact.new.value] += 1

    def gateway(self) -> Iterator[Metric]:
        """What is counted once."""
        yield from self._traffic()
        yield from self._fleet()
        yield from self._loops()
        if self._sources.discovery is not None:
            yield from _discovery(self._sources.discovery())
        if self._sources.tokenizers is not None:
            yield from tokenizer_families(self._sources.tokenizers)

    def workers(self, entries: Sequence[Entry]) -> Iterator[Metric]:
        """What is counted per worker, of these workers."""
        yield from _facts_and_requests(entries)
        yield from self._response_times(entries)
        yield from _engines(entries)

    def _traffic(self) -> Iterator[Metric]:
        tally = self._sources.data_plane.tally
        responses = CounterMetricFamily(
            "smg_http_responses", "Answers by route and status class", labels=["path", "status_code"]
        )
        for (route, status), count in tally.answered.items():
            responses.add_metric([route, f"{status}xx"], count)
        yield responses
        errors = CounterMetricFamily("smg_router_request_errors", "The gateway's own errors", labels=["error_type"])
        for code, count in tally.refused.items():
            errors.add_metric([code], count)
        yield errors
        yield CounterMetricFamily(
            "smg_http_client_left", "Requests whose client left before the answer was complete", tally.client_left
        )
        yield CounterMetricFamily("smg_worker_retries", "Attempts beyond the first of a request", tally.retries)
        yield CounterMetricFamily(
            "smg_worker_retries_exhausted", "Requests whose last attempt failed", tally.retries_exhausted
        )
        yield CounterMetricFamily(
            "smg_worker_retries_refused", "Attempts that the retry budget did not allow", tally.retries_refused
        )
        admission = self._sources.data_plane.admission
        yield GaugeMetricFamily("smg_admission_inflight", "Requests that hold a permit", admission.inside)
        yield GaugeMetricFamily("smg_admission_queued", "Requests that wait for their turn", admission.queued)
        yield GaugeMetricFamily("smg_http_requests_active", "Requests in flight", self._sources.data_plane.in_flight)
        yield GaugeMetricFamily(
            "smg_http_connections_active", "Open client connections", self._sources.data_plane.connections
        )

    def _fleet(self) -> Iterator[Metric]:
        registry = self._sources.registry
        workers = [entry.worker for entry in registry.entries.values()]
        sizes = Counter((w.spec.role.value, w.connection.value, w.model_id or UNKNOWN_MODEL) for w in workers)
        size = GaugeMetricFamily(
            "smg_worker_pool_size", "Listed workers", labels=["worker_type", "connection_mode", "model"]
        )
        for labels, count in sizes.items():
            size.add_metric(labels, count)
        yield size
        moves = CounterMetricFamily("smg_worker_transitions", "State changes", labels=["from", "to"])
        for (old, new), count in self._transitions.items():
            moves.add_metric([old, new], count)
        yield moves
        draining = sum(worker.state is State.DRAINING for worker in workers)
        yield GaugeMetricFamily("smg_worker_drains_active", "Workers that drain", draining)
        yield CounterMetricFamily("smg_journal_events", "Facts written", registry.journal.seq)
        yield CounterMetricFamily(
            "smg_stale_observations", "Answers for a worker or revision that had passed", registry.stale_observations
        )

    def _loops(self) -> Iterator[Metric]:
        sources = self._sources
        probes = CounterMetricFamily("smg_worker_health_checks", "Probes", labels=["result"])
        probes.add_metric(["success"], sources.checker.probes_ok)
        probes.add_metric(["failure"], sources.checker.probes_failed)
        yield probes
        yield GaugeMetricFamily(
            "smg_loop_lateness_seconds", "Worst lateness of the event loop in the last second", sources.lateness.worst_s
        )
        if sources.load_monitor is not None:
            polls = CounterMetricFamily("smg_engine_load_polls", "Load polls", labels=["result"])
            polls.add_metric(["success"], sources.load_monitor.polls_ok)
            polls.add_metric(["failure"], sources.load_monitor.polls_failed)
            yield polls

    def _response_times(self, entries: Sequence[Entry]) -> Iterator[Metric]:
        response = GaugeMetricFamily(
            "smg_worker_response_seconds", "Whole responses over the last minute", labels=["worker", "quantile"]
        )
        ttft = GaugeMetricFamily(
            "smg_worker_ttft_seconds",
            "Time to the first byte of streams over the last minute",
            labels=["worker", "quantile"],
        )
        for entry in entries:
            sample = self._sources.sampler.sample(entry.worker.id)
            for family, of in ((response, sample.response), (ttft, sample.ttft)):
                for quantile, value in (("0.5", of.p50), ("0.95", of.p95), ("0.99", of.p99)):
                    if value is not None:
                        family.add_metric([entry.worker.url, quantile], value)
        yield from (response, ttft)


_CIRCUIT = {Circuit.CLOSED: 0, Circuit.OPEN: 1, Circuit.HALF_OPEN: 2}


def _discovery(status: DiscoveryStatus) -> Iterator[Metric]:
    """What discovery sees and does, under SMG's names where they mean the same."""
    source, watch = "kubernetes", status.watch
    added = CounterMetricFamily("smg_discovery_registrations", "Workers registered", labels=["source", "result"])
    left = CounterMetricFamily("smg_discovery_deregistrations", "Workers taken off", labels=["source", "reason"])
    reasons = {"Leave": "pod_left", "LeaveNow": "address_reused"}
    for (kind, done), count in status.carried_out.items():
        if kind == "Register":
            added.add_metric([source, "success" if done else "failed"], count)
        elif kind in reasons and done:
            left.add_metric([source, reasons[kind]], count)
    yield added
    yield left
    known = GaugeMetricFamily("smg_discovery_workers_discovered", "Listed workers it brought", labels=["source"])
    known.add_metric([source], status.registered)
    yield known
    pods = GaugeMetricFamily("smg_discovery_pods", "Pods that a selector matches", labels=["state"])
    pods.add_metric(["ready"], status.ready)
    pods.add_metric(["not_ready"], status.matched - status.ready)
    yield pods
    yield GaugeMetricFamily("smg_discovery_watching", "1 while a watch is open", watch.watching)
    yield CounterMetricFamily("smg_discovery_passes", "Passes over all pods", status.passes)
    yield CounterMetricFamily("smg_discovery_pass_seconds", "Time spent in them", status.pass_seconds)
    yield CounterMetricFamily("smg_discovery_lists", "Complete lists read", watch.counts.lists)
    yield CounterMetricFamily("smg_discovery_watches", "Watches opened", watch.counts.watches)
    yield CounterMetricFamily("smg_discovery_failures", "Lists and watches that failed", watch.counts.failures)
    events = CounterMetricFamily("smg_discovery_watch_events", "Watch events", labels=["type"])
    for kind in ("added", "modified", "deleted", "bookmarks", "stale", "gaps", "unreadable"):
        events.add_metric([kind], getattr(watch.counts, kind))
    yield events


def _facts_and_requests(entries: Sequence[Entry]) -> Iterator[Metric]:
    health = GaugeMetricFamily("smg_worker_health", "1: healthy, 0: not", labels=["worker"])
    states = GaugeMetricFamily("smg_worker_state", "1 for the state the worker is in", labels=["worker", "state"])
    cordoned = GaugeMetricFamily("smg_worker_cordoned", "1 if the worker is cordoned", labels=["worker"])
    breaker = GaugeMetricFamily(
        "smg_worker_cb_state", "Circuit breaker; 0: closed, 1: open, 2: half-open", labels=["worker"]
    )
    ejected = GaugeMetricFamily("smg_worker_ejected", "1 until a probe passes", labels=["worker"])
    overloaded = GaugeMetricFamily("smg_worker_overloaded", "1 if its own report says so", labels=["worker"])
    active = GaugeMetricFamily("smg_worker_requests_active", "Requests in flight", labels=["worker"])
    requests = CounterMetricFamily("smg_worker_requests", "Requests dispatched", labels=["worker", "model"])
    errors = CounterMetricFamily("smg_worker_errors", "Requests that failed", labels=["worker", "error_type"])
    for entry in entries:
        worker, meters = entry.worker, entry.meters
        url = worker.url
        health.add_metric([url], float(worker.health is Health.HEALTHY))
        for state in LISTED_STATES:
            states.add_metric([url, state.value], float(worker.state is state))
        cordoned.add_metric([url], float(worker.cordoned))
        breaker.add_metric([url], _CIRCUIT[worker.breaker.state])
        ejected.add_metric([url], float(bool(worker.ejected)))
        overloaded.add_metric([url], float(entry.overloaded))
        active.add_metric([url], meters.in_flight)
        requests.add_metric([url, worker.model_id or UNKNOWN_MODEL], meters.requests)
        errors.add_metric([url, "server_error"], meters.server_errors)
        errors.add_metric([url, "transport"], meters.transport_errors)
        errors.add_metric([url, "client_cancelled"], meters.cancelled)
    yield from (health, states, cordoned, breaker, ejected, overloaded, active, requests, errors)


def _engines(entries: Sequence[Entry]) -> Iterator[Metric]:
    names = {
        "running": "smg_engine_running_requests",
        "waiting": "smg_engine_waiting_requests",
        "kv_usage": "smg_engine_token_usage",
        "throughput": "smg_engine_gen_throughput",
        "cache_hit_rate": "smg_engine_cache_hit_rate",
    }
    for field, name in names.items():
        family = GaugeMetricFamily(name, f"Engine's own report: {field}", labels=["worker", "model"])
        for entry in entries:
            value = getattr(entry.load, field) if entry.load is not None else None
            if value is not None:
                family.add_metric([entry.worker.url, entry.worker.model_id or UNKNOWN_MODEL], value)
        yield family


class _Only:
    """One family as a registry, for `generate_latest`."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def rendered(family: Metric) -> tuple[str, str]:
    """A family in Prometheus text: its head (help and type), and its samples."""
    text = generate_latest(_Only(family)).decode()
    samples = text.find("\n", text.find("\n") + 1) + 1
    return text[:samples], text[samples:]


async def fleet_text(metrics: FleetMetrics, entries: Sequence[Entry]) -> str:
    """The text of a whole fleet, letting the loop's other work in between after every few workers.

    Not in a thread: a thousand workers take some 200 ms of pure Python, during which a thread would take the
    interpreter from the loop for 5 ms (the switch interval) at each of its turns.
    """
    parts = ["".join(rendered(family)) for family in metrics.gateway()]
    heads: dict[str, str] = {}
    samples: dict[str, list[str]] = {}
    for start in range(0, max(1, len(entries)), SLICE):
        for family in metrics.workers(entries[start : start + SLICE]):
            heads[family.name], text = rendered(family)
            samples.setdefault(family.name, []).append(text)
        await asyncio.sleep(0)
    return "".join([*parts, *(heads[name] + "".join(texts) for name, texts in samples.items())])


class MetricsServer:
    """Serves `GET /metrics`."""

    def __init__(self, sources: MetricSources, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._entries = sources.registry.entries
        self._metrics = FleetMetrics(sources)
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)
        self.port = port

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            reason = "the port is already in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            where = f"{self._host}:{self._port} for metrics (--prometheus-port)"
            raise OSError(error.errno, f"cannot listen on {where}: {reason}") from None
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        fleet = await fleet_text(self._metrics, list(self._entries.values()))
        body = fleet.encode() + generate_latest(self._process)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
