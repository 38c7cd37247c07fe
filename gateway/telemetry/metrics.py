"""Prometheus metrics: read from the meters when they are scraped, and served on a port of their own.

SMG's names where they mean the same (its metric families), ours beside them under `smg_`. Labels are bounded:
workers that are listed, routes, statuses and codes of our own.
"""

import asyncio
import errno
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from gateway.proxy.server import DataPlane
from gateway.telemetry.lateness import LoopLateness
from gateway.telemetry.sampler import Sampler
from gateway.workers import facts
from gateway.workers.checker import HealthChecker
from gateway.workers.facts import Event
from gateway.workers.load import LoadMonitor
from gateway.workers.model import LISTED_STATES, Health, State
from gateway.workers.registry import Entry, Registry


@dataclass(frozen=True, slots=True)
class MetricSources:
    """What is read at a scrape."""

    registry: Registry
    data_plane: DataPlane
    sampler: Sampler
    lateness: LoopLateness
    checker: HealthChecker
    load_monitor: LoadMonitor | None


class GatewayCollector:
    """A `prometheus-client` collector over the gateway's meters."""

    def __init__(self, sources: MetricSources) -> None:
        self._sources = sources
        self._transitions: Counter[tuple[str, str]] = Counter()
        sources.registry.watch(self._count)

    def _count(self, event: Event) -> None:
        if isinstance(event.fact, facts.StateChanged):
            self._transitions[event.fact.old.value, event.fact.new.value] += 1

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        """Runs in a thread beside the loop, so every dict that the loop may change is copied before it is walked."""
        yield from self._traffic()
        yield from self._workers()
        yield from self._response_times()
        yield from self._engines()
        yield from self._gateway()

    def _traffic(self) -> Iterator[Metric]:
        tally = self._sources.data_plane.tally
        responses = CounterMetricFamily(
            "smg_http_responses", "Answers by route and status class", labels=["path", "status_code"]
        )
        for (route, status), count in dict(tally.answered).items():
            responses.add_metric([route, f"{status}xx"], count)
        yield responses
        errors = CounterMetricFamily("smg_router_request_errors", "The gateway's own errors", labels=["error_type"])
        for code, count in dict(tally.refused).items():
            errors.add_metric([code], count)
        yield errors
        yield CounterMetricFamily(
            "smg_http_client_left", "Requests whose client left before the answer was complete", tally.client_left
        )
        yield GaugeMetricFamily("smg_http_requests_active", "Requests in flight", self._sources.data_plane.in_flight)
        yield GaugeMetricFamily(
            "smg_http_connections_active", "Open client connections", self._sources.data_plane.connections
        )

    def _workers(self) -> Iterator[Metric]:
        health = GaugeMetricFamily("smg_worker_health", "1: healthy, 0: not", labels=["worker"])
        states = GaugeMetricFamily("smg_worker_state", "1 for the state the worker is in", labels=["worker", "state"])
        cordoned = GaugeMetricFamily("smg_worker_cordoned", "1 if the worker is cordoned", labels=["worker"])
        active = GaugeMetricFamily("smg_worker_requests_active", "Requests in flight", labels=["worker"])
        requests = CounterMetricFamily("smg_worker_requests", "Requests dispatched", labels=["worker", "model"])
        errors = CounterMetricFamily("smg_worker_errors", "Requests that failed", labels=["worker", "error_type"])
        sizes: Counter[str] = Counter()
        for entry in self._entries():
            url, meters = entry.worker.url, entry.meters
            model = entry.worker.model_id or "unknown"
            sizes[model] += 1
            health.add_metric([url], float(entry.worker.health is Health.HEALTHY))
            for state in LISTED_STATES:
                states.add_metric([url, state.value], float(entry.worker.state is state))
            cordoned.add_metric([url], float(entry.worker.cordoned))
            active.add_metric([url], meters.in_flight)
            requests.add_metric([url, model], meters.requests)
            errors.add_metric([url, "server_error"], meters.server_errors)
            errors.add_metric([url, "transport"], meters.transport_errors)
            errors.add_metric([url, "client_cancelled"], meters.cancelled)
        size = GaugeMetricFamily(
            "smg_worker_pool_size", "Listed workers", labels=["worker_type", "connection_mode", "model"]
        )
        for model, count in sizes.items():
            size.add_metric(["regular", "http", model], count)
        yield from (health, states, cordoned, active, requests, errors, size)

    def _response_times(self) -> Iterator[Metric]:
        response = GaugeMetricFamily(
            "smg_worker_response_seconds", "Whole responses over the last minute", labels=["worker", "quantile"]
        )
        ttft = GaugeMetricFamily(
            "smg_worker_ttft_seconds",
            "Time to the first byte of streams over the last minute",
            labels=["worker", "quantile"],
        )
        for entry in self._entries():
            sample = self._sources.sampler.sample(entry.worker.id)
            for family, of in ((response, sample.response), (ttft, sample.ttft)):
                for quantile, value in (("0.5", of.p50), ("0.95", of.p95), ("0.99", of.p99)):
                    if value is not None:
                        family.add_metric([entry.worker.url, quantile], value)
        yield from (response, ttft)

    def _engines(self) -> Iterator[Metric]:
        names = {
            "running": "smg_engine_running_requests",
            "waiting": "smg_engine_waiting_requests",
            "kv_usage": "smg_engine_token_usage",
            "throughput": "smg_engine_gen_throughput",
            "cache_hit_rate": "smg_engine_cache_hit_rate",
        }
        for field, name in names.items():
            family = GaugeMetricFamily(name, f"Engine's own report: {field}", labels=["worker", "model"])
            for entry in self._entries():
                value = getattr(entry.load, field) if entry.load is not None else None
                if value is not None:
                    family.add_metric([entry.worker.url, entry.worker.model_id or "unknown"], value)
            yield family

    def _gateway(self) -> Iterator[Metric]:
        sources = self._sources
        probes = CounterMetricFamily("smg_worker_health_checks", "Probes", labels=["result"])
        probes.add_metric(["success"], sources.checker.probes_ok)
        probes.add_metric(["failure"], sources.checker.probes_failed)
        yield probes
        moves = CounterMetricFamily("smg_worker_transitions", "State changes", labels=["from", "to"])
        for (old, new), count in dict(self._transitions).items():
            moves.add_metric([old, new], count)
        yield moves
        draining = [e for e in self._entries() if e.worker.state is State.DRAINING]
        yield GaugeMetricFamily("smg_worker_drains_active", "Workers that drain", len(draining))
        yield CounterMetricFamily("smg_journal_events", "Facts written", sources.registry.journal.seq)
        yield CounterMetricFamily(
            "smg_stale_observations",
            "Answers for a worker or revision that had passed",
            sources.registry.stale_observations,
        )
        yield GaugeMetricFamily(
            "smg_loop_lateness_seconds", "Worst lateness of the event loop in the last second", sources.lateness.worst_s
        )
        if sources.load_monitor is not None:
            polls = CounterMetricFamily("smg_engine_load_polls", "Load polls", labels=["result"])
            polls.add_metric(["success"], sources.load_monitor.polls_ok)
            polls.add_metric(["failure"], sources.load_monitor.polls_failed)
            yield polls

    def _entries(self) -> list[Entry]:
        return list(self._sources.registry.entries.values())


class MetricsServer:
    """Serves `GET /metrics`. The text is made in a thread: for a thousand workers it takes tens of milliseconds."""

    def __init__(self, sources: MetricSources, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(GatewayCollector(sources))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self.port = port

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
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

    async def _metrics(self, request: web.Request) -> web.Response:
        text = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})
