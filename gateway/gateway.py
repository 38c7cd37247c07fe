"""The composition root: builds the gateway's parts, owns them, starts and stops them in order.

One event loop carries traffic and runs the control loops. A worker's trouble is data; a crash of a part is
logged, and ends the process through `crashed`, rather than leaving it to serve half-blind.
"""

import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gateway import __version__
from gateway.api.app import ApiParts, build_app
from gateway.completions.joining import TokenizerJoins
from gateway.engines.grpc_engines import Engines
from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import Add, Operations
from gateway.parts import (
    breaker_settings,
    health_settings,
    overload_settings,
    pod_rules,
    proxy_settings,
    routing_plan,
    wanted_tokenizers,
)
from gateway.presence import Presence
from gateway.proxy.control import ControlApp
from gateway.proxy.explain import Explainer
from gateway.proxy.fetch import Fetch
from gateway.proxy.fleet import Fleet
from gateway.proxy.generating import Generating
from gateway.proxy.server import DataPlane
from gateway.proxy.unix_socket import NoSocket, UnixSocket, listening
from gateway.settings import Settings
from gateway.settings.effective import effective
from gateway.settings.traffic import prefill_workers
from gateway.telemetry.lateness import LoopLateness
from gateway.telemetry.logs import get_logger
from gateway.telemetry.metrics import MetricSources, MetricsServer
from gateway.telemetry.sampler import Sampler
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.commands import TokenizerOperations
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers import facts
from gateway.workers.checker import HealthChecker
from gateway.workers.deadlines import Deadlines
from gateway.workers.discovery import Discovery
from gateway.workers.facts import Cause, Event
from gateway.workers.load import LoadMonitor
from gateway.workers.model import Role, Secret, Source, State, WorkerId, WorkerSpec
from gateway.workers.probing import Prober
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import RollingDrains

if TYPE_CHECKING:
    from gateway.kubernetes.discovery import PodDiscovery

log = get_logger(__name__)

ITSELF = Cause("gateway")
COMMAND_LINE = Cause("command line")


class Gateway:
    """A gateway from settings. Enter it to serve; it is listening when that returns.

    Raises OSError, with a message for people, if a port cannot be opened.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str] | None = None) -> None:
        """`origins`: where each setting came from, for those who ask."""
        self.settings = settings
        self.effective = effective(settings, origins or {})
        self.started_at = time.time()
        self.stopping = False
        self.boot = uuid.uuid4().hex[:8]
        """Tells this process's event numbers from another's."""
        rng = Random()
        ask = self._ask = Fetch(proxy_settings(settings))
        self.registry = Registry(
            wall=time.time,
            mono=time.monotonic,
            rng=rng,
            health_settings=health_settings(settings),
            breaker_settings=breaker_settings(settings),
            overload=overload_settings(settings),
        )
        self.fleet = Fleet(self.registry, routing_plan(settings), rng)
        self.sampler = Sampler(self.registry, mono=time.monotonic, queued=lambda: self.data_plane.admission.queued)
        self.lateness = LoopLateness()
        self.presence = Presence()
        self.engines = Engines(self.registry)
        prober = Prober(ask, self.engines)
        self.checker = HealthChecker(
            self.registry,
            ask,
            mono=time.monotonic,
            rng=rng,
            concurrency=settings.health_check_concurrency,
            start_cap_s=settings.worker_startup_check_interval,
            prober=prober,
        )
        self.discovery = Discovery(self.registry, ask, engines=self.engines, prober=prober)
        self.deadlines = Deadlines(self.registry, mono=time.monotonic, startup_s=settings.worker_startup_timeout_secs)
        self.load_monitor = (
            None
            if settings.disable_load_monitoring
            else LoadMonitor(
                self.registry,
                ask,
                mono=time.monotonic,
                rng=rng,
                interval_s=settings.load_monitor_interval,
                engines=self.engines,
            )
        )
        self.operations = Operations(
            self.registry, wall=time.time, drain_timeout_s=settings.drain_timeout_secs, probe_now=self._look_again
        )
        self.rolling = RollingDrains(self.registry, wall=time.time, drain=self.operations.begin_drain)
        self.tokenizers = TokenizerRegistry(
            wanted_tokenizers(settings),
            wall=time.time,
            rng=rng,
            note=lambda topic, text, actor: self.registry.note(topic, text, Cause(actor) if actor else ITSELF),
        )
        self.tokenizer_operations = TokenizerOperations(
            self.tokenizers, lambda: (entry.worker for entry in self.registry.entries.values())
        )
        self.explainer = Explainer(self.fleet, self.tokenizers, time.monotonic)
        self.pods = self._pod_discovery(rng) if settings.service_discovery else None
        self.control = ControlApp(build_app(self._api_parts()))
        self.data_plane = DataPlane(
            self.registry,
            fleet=self.fleet,
            settings=proxy_settings(settings),
            control=self.control,
            probe_now=self.checker.probe_now,
            rng=rng,
            generating=Generating(self.tokenizers, self.engines),
        )
        self._stack = AsyncExitStack()
        self.address = ""
        self.metrics_address: str | None = None
        self.control_socket: UnixSocket | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.registry.watch(_logged)
            await stack.enter_async_context(self.engines)
            for part in (self.lateness, self.sampler, self.checker, self.discovery, self.deadlines, self.load_monitor):
                if part is not None:
                    await stack.enter_async_context(part)
            await stack.enter_async_context(self.rolling)
            await stack.enter_async_context(self.tokenizers)
            await stack.enter_async_context(TokenizerJoins(self.registry, self.tokenizers, self.engines))
            await stack.enter_async_context(self.control)
            await stack.enter_async_context(self.data_plane)
            settings = self.settings
            bound = await self.data_plane.start(settings.host, settings.port)
            self.address = url_of(bound.host, bound.port)
            await self._open_control_socket(stack, bound.port)
            if not settings.disable_prometheus:
                host = settings.prometheus_host or settings.host
                metrics = MetricsServer(self._metric_sources(), host, settings.prometheus_port)
                await stack.enter_async_context(metrics)
                self.metrics_address = url_of(host, metrics.port)
            await self._add_static_workers()
            if self.pods is not None:  # after the static ones: an address that is listed already stays theirs
                await stack.enter_async_context(self.pods)
            self._stack = stack.pop_all()
        log.info(
            "gateway_listening",
            address=self.address,
            metrics_address=self.metrics_address,
            control_socket=str(self.control_socket.path) if self.control_socket else None,
            version=__version__,
        )
        self.registry.note("started", f"serving on {self.address}", ITSELF)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.begin_stop()
        await self._stack.aclose()
        log.info("gateway_stopped", address=self.address)

    async def _open_control_socket(self, stack: AsyncExitStack, port: int) -> None:
        """Listen on the Unix socket. Where nobody asked for one, a gateway goes without rather than not at all."""
        given = self.settings.control_socket
        if given == "none" or not hasattr(socket, "AF_UNIX"):
            return
        try:
            found = listening(given, port)
        except NoSocket as error:
            if given is not None:
                raise OSError(error.errno, f"--control-socket: {error.strerror}") from None
            log.warning("control_socket_missing", why=error.strerror)
            return
        stack.callback(found.close)
        await self.data_plane.serve_also(found.socket)
        self.control_socket = found

    def _api_parts(self) -> ApiParts:
        return ApiParts(
            registry=self.registry,
            operations=self.operations,
            ask=self._ask,
            engines=self.engines,
            samples=self.sampler,
            stopping=lambda: self.stopping,
            mono=time.monotonic,
            fleet=self.fleet,
            version=__version__,
            boot=self.boot,
            status=self.status,
            explainer=self.explainer,
            settings=self.effective,
            tokenizers=self.tokenizers,
            tokenizer_operations=self.tokenizer_operations,
            rolling=self.rolling,
            discovery=self._discovery_status(),
            presence=self.presence,
            flights=lambda most, worker_id: self.data_plane.flights(most, worker_id),
        )

    def _metric_sources(self) -> MetricSources:
        return MetricSources(
            self.registry,
            self.data_plane,
            self.sampler,
            self.lateness,
            self.checker,
            self.load_monitor,
            self._discovery_status(),
            self.tokenizers,
        )

    def _pod_discovery(self, rng: Random) -> "PodDiscovery":
        # Only here: most gateways look for no pods, and a start would take a tenth longer.
        from gateway.kubernetes.access import Access, find
        from gateway.kubernetes.discovery import PodDiscovery
        from gateway.kubernetes.reflector import Reflector
        from gateway.kubernetes.selectors import common

        settings, rules = self.settings, pod_rules(self.settings)
        reflector = Reflector(
            Access(find(settings.kubeconfig, settings.kube_context), mono=time.monotonic, wall=time.time),
            namespace=settings.service_discovery_namespace,
            selector=str(common(selector for _, selector in rules.selectors)),
            mono=time.monotonic,
            wall=time.time,
            rng=rng,
        )
        return PodDiscovery(
            reflector, rules, self.registry, self.operations, wall=time.time, mono=time.monotonic, rng=rng
        )

    def _discovery_status(self) -> Callable[[], DiscoveryStatus] | None:
        pods = self.pods
        return None if pods is None else lambda: pods.status

    async def _add_static_workers(self) -> None:
        key = self.settings.worker_api_key
        found: list[tuple[str, Role, int | None]] = [(url, Role.REGULAR, None) for url in self.settings.worker_urls]
        found += [(url, Role.PREFILL, port) for url, port in prefill_workers(self.settings.prefill)]
        found += [(url, Role.DECODE, None) for url in self.settings.decode]
        for url, role, bootstrap_port in found:
            spec = WorkerSpec(
                url=url,
                role=role,
                bootstrap_port=bootstrap_port,
                api_key=Secret(key.get_secret_value()) if key is not None else None,
                source=Source.STATIC,
            )
            await self.operations.execute(Add(spec), COMMAND_LINE)

    def _look_again(self, worker_id: WorkerId) -> None:
        """An operator wants to know how a worker is now: probe it, and ask what it serves."""
        self.checker.probe_now(worker_id)
        if self.registry.entries[worker_id].worker.discovered:
            self.discovery.discover_now(worker_id)

    # --- numbers and the end ---

    @property
    def in_flight(self) -> int:
        """Requests on their way through the gateway."""
        return self.data_plane.in_flight

    def status(self) -> GatewayStatus:
        """The gateway itself, now."""
        fleet = self.sampler.fleet
        return GatewayStatus(
            version=__version__,
            address=self.address,
            metrics_address=self.metrics_address,
            started_at=self.started_at,
            now=time.time(),
            policy=self.settings.policy,
            requests_per_s=fleet.requests_per_s,
            errors_per_s=fleet.errors_per_s,
            in_flight=self.in_flight,
            loop_late_ms=self.lateness.worst_s * 1000,
            stopping=self.stopping,
            people=len(self.presence.people()),
        )

    def begin_stop(self) -> None:
        """Not ready any more, and no new connections; requests in flight go on."""
        if self.stopping:
            return
        self.stopping = True
        self.registry.note("stopping", f"{self.in_flight} requests in flight", ITSELF)
        self.data_plane.begin_stop()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no request is in flight; False if that took longer."""
        return await self.data_plane.drained(timeout_s)


def url_of(host: str, port: int) -> str:
    """The URL under which this machine reaches a bound address; for `any` address that is loopback."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _logged(event: Event) -> None:
    """Every fact is also a log line; what an operator would miss at `warn` is a warning."""
    fact = event.fact
    if isinstance(fact, facts.StateChanged):
        bad = fact.new in (State.UNHEALTHY, State.FAILED) or fact.forced
        tell = log.warning if bad else log.info
        tell(
            fact.kind,
            worker=fact.worker,
            old=fact.old.value,
            new=fact.new.value,
            why=fact.reason,
            who=event.cause.actor,
        )
    elif isinstance(fact, facts.Registered):
        log.info(fact.kind, worker=fact.worker, name=fact.name, url=fact.spec.url, who=event.cause.actor)
    elif isinstance(fact, facts.Notice):
        log.info(fact.kind, topic=fact.topic, text=fact.text)
    else:
        log.debug(fact.kind, worker=fact.worker, who=event.cause.actor)
