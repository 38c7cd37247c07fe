"""Every command there is, and the one door through which all of them come.

API, console, command line and discovery build the same command values and call `Operations.execute` with who
asks. A command is checked, carried out on the registry and answered with what it did; every one may be given
twice without harm. Commands that take time (registering, draining) are under way when `execute` returns, and
the journal tells how they go on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from gateway.errors import BadRequest
from gateway.workers.address import worker_url
from gateway.workers.availability import availability
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.impact import JointEffect, joint_effect
from gateway.workers.model import HealthOverride, Intent, Role, Secret, Worker, WorkerId, WorkerSpec
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import StartRolling

ADDED = "added; it takes traffic once its probes pass"
MAX_DRAIN_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Add:
    verb: ClassVar[str] = "add"
    spec: WorkerSpec


@dataclass(frozen=True, slots=True)
class Replace:
    """PUT: the whole spec anew; the URL must stay."""

    verb: ClassVar[str] = "replace"
    worker: str
    spec: WorkerSpec


@dataclass(frozen=True, slots=True)
class Patch:
    """PATCH: only what is given (not None) changes; labels are merged, an empty api key takes it away."""

    verb: ClassVar[str] = "patch"
    worker: str
    priority: int | None = None
    cost: float | None = None
    labels: Mapping[str, str] | None = None
    api_key: Secret | None = None
    health: HealthOverride | None = None
    max_in_flight: int | None = None
    """0: no cap any more."""


@dataclass(frozen=True, slots=True)
class Cordon:
    verb: ClassVar[str] = "cordon"
    worker: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Uncordon:
    verb: ClassVar[str] = "uncordon"
    worker: str


@dataclass(frozen=True, slots=True)
class StartDrain:
    """Hold the worker without traffic, listed, until it is resumed or removed. `timeout_s` None: the default."""

    verb: ClassVar[str] = "drain"
    worker: str
    timeout_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    verb: ClassVar[str] = "resume"
    worker: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Drain, then leave; `now` skips the drain."""

    verb: ClassVar[str] = "remove"
    worker: str
    now: bool = False
    timeout_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProbeNow:
    verb: ClassVar[str] = "probe"
    worker: str


@dataclass(frozen=True, slots=True)
class Retry:
    verb: ClassVar[str] = "retry"
    worker: str


@dataclass(frozen=True, slots=True)
class ResetBreaker:
    """Close the circuit breaker and forget the failures it counted."""

    verb: ClassVar[str] = "reset"
    worker: str


Command = Add | Replace | Patch | Cordon | Uncordon | StartDrain | Resume | Remove | ProbeNow | Retry | ResetBreaker


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did. `changed` is False where everything already was as asked."""

    worker: Worker
    changed: bool
    message: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What a command would do to the traffic, for the question before it is given."""

    in_flight: int
    """Requests in flight at the worker now."""
    model: str | None
    left: int
    """Other workers that serve the same model and are routable: what is left to take its traffic."""
    routable: bool
    """Whether the worker itself draws traffic at present."""
    role: Role = Role.REGULAR
    """Only workers of its own role stand in for it."""


def effect_on(worker: Worker, in_flight: int, serving: Iterable[Worker]) -> Effect:
    """What taking a worker away would mean; `serving` are those that serve its model in its role. Pure."""
    left = sum(1 for other in serving if other.id != worker.id and availability(other).routable)
    return Effect(in_flight, worker.model_id, left, availability(worker).routable, worker.spec.role)


class Operations:
    """Carries out commands. `probe_now` asks the health checker for an early probe of a worker."""

    def __init__(
        self,
        registry: Registry,
        *,
        wall: Callable[[], float],
        drain_timeout_s: float,
        probe_now: Callable[[WorkerId], None],
    ) -> None:
        self._registry = registry
        self._wall = wall
        self._drain_timeout_s = drain_timeout_s
        self._probe_now = probe_now

    async def execute(self, command: Command, cause: Cause) -> Done:
        """Do it. Raises a `GatewayError` that says what is wrong with the command; then nothing was changed."""
        if isinstance(command, Add):
            return self._add(command, cause)
        entry = self._registry.find(command.worker)
        match command:
            case Replace():
                return self._replace(entry, command, cause)
            case Patch():
                return self._patch(entry, command, cause)
            case Cordon(reason=reason):
                reason = reason or f"by {cause.actor}"
                return _done(entry, self._registry.cordon(entry, reason, cause), "cordoned", "is already cordoned")
            case Uncordon():
                return _done(entry, self._registry.uncordon(entry, cause), "uncordoned", "is not cordoned")
            case StartDrain():
                return self._drain(entry, command, cause)
            case Resume():
                return self._resume(entry, cause)
            case Remove():
                return self._remove(entry, command, cause)
            case ProbeNow():
                self._probe_now(entry.worker.id)
                return _done(entry, True, "is probed now", "")
            case Retry():
                self._registry.restart(entry, entry.worker.spec, f"retry asked by {cause.actor}", cause)
                self._probe_now(entry.worker.id)
                return _done(entry, True, "registers again", "")
            case ResetBreaker():
                changed = self._registry.reset_breaker(entry, cause)
                return _done(entry, changed, "has its circuit breaker closed", "has its circuit breaker closed already")

    def effect(self, worker: str) -> Effect:
        """What taking this worker away would mean now. Raises WorkerNotFound."""
        entry = self._registry.find(worker)
        listed = [e.worker for e in self._registry.serving(entry.worker.model_id, entry.worker.spec.role)]
        return effect_on(entry.worker, entry.meters.in_flight, listed)

    def joint_effect(self, workers: Iterable[str]) -> JointEffect:
        """What taking these workers away together would mean now. Raises WorkerNotFound."""
        chosen = {self._registry.find(worker).worker.id for worker in workers}
        return joint_effect(((e.worker, e.meters.in_flight) for e in self._registry.entries.values()), chosen)

    async def begin_drain(self, worker: WorkerId, asked: StartRolling, reason: str, cause: Cause) -> Done:
        """One worker of a rolling drain. Raises GatewayError."""
        if asked.remove:
            return await self.execute(Remove(worker, timeout_s=asked.timeout_s, reason=reason), cause)
        return await self.execute(StartDrain(worker, asked.timeout_s, reason), cause)

    def _add(self, command: Add, cause: Cause) -> Done:
        spec = checked_spec(command.spec)
        entry = self._registry.register(spec, cause)
        return _done(entry, True, ADDED, "")

    def _replace(self, entry: Entry, command: Replace, cause: Cause) -> Done:
        spec = checked_spec(command.spec)
        if spec.url != entry.worker.url:
            raise BadRequest(
                f"url: given {spec.url}, but this worker is {entry.worker.url}; add the other", field="url"
            )
        spec = replace(spec, source=entry.worker.spec.source)
        if spec == entry.worker.spec:
            return _done(entry, False, "", "has this spec already")
        self._registry.restart(entry, spec, f"spec replaced by {cause.actor}", cause)
        return _done(entry, True, "registers again with its new spec", "")

    def _patch(self, entry: Entry, command: Patch, cause: Cause) -> Done:
        given = [f.name for f in fields(command) if f.name != "worker" and getattr(command, f.name) is not None]
        if not given:
            accepted = ", ".join(f.name for f in fields(command) if f.name != "worker")
            raise BadRequest(f"nothing to change; accepted fields: {accepted}")
        old = entry.worker.spec
        spec = replace(
            old,
            priority=old.priority if command.priority is None else command.priority,
            cost=old.cost if command.cost is None else command.cost,
            labels={**old.labels, **(command.labels or {})},
            api_key=old.api_key if command.api_key is None else (command.api_key if command.api_key.reveal() else None),
            health=_merged_health(old.health, command.health),
            max_in_flight=old.max_in_flight if command.max_in_flight is None else command.max_in_flight or None,
        )
        spec = checked_spec(spec)
        if spec == old:
            return _done(entry, False, "", "is already so")
        self._registry.patch(entry, spec, given, cause)
        return _done(entry, True, f"changed: {', '.join(given)}", "")

    def _deadline(self, timeout_s: float | None) -> float:
        timeout_s = self._drain_timeout_s if timeout_s is None else timeout_s
        if not 0 <= timeout_s <= MAX_DRAIN_S:
            raise BadRequest(
                f"timeout_secs: given {timeout_s:g}, expected 0 to {MAX_DRAIN_S:g} seconds", field="timeout_secs"
            )
        return self._wall() + timeout_s

    def _drain(self, entry: Entry, command: StartDrain, cause: Cause) -> Done:
        deadline = self._deadline(command.timeout_s)
        reason = command.reason or f"drain asked by {cause.actor}"
        changed = self._registry.drain(entry, Intent.HOLD, deadline, reason, cause)
        return _done(entry, changed, f"drains, {entry.meters.in_flight} in flight", "is already draining")

    def _resume(self, entry: Entry, cause: Cause) -> Done:
        changed = self._registry.resume(entry, cause)
        if changed:
            self._probe_now(entry.worker.id)
        return _done(entry, changed, "resumed", "is not draining")

    def _remove(self, entry: Entry, command: Remove, cause: Cause) -> Done:
        reason = command.reason or f"removal asked by {cause.actor}"
        if command.now:
            self._registry.remove_now(entry, reason, cause)
        elif not self._registry.drain(entry, Intent.REMOVE, self._deadline(command.timeout_s), reason, cause):
            return _done(entry, False, "", "is already being removed")
        if entry.worker.id not in self._registry.entries:
            return _done(entry, True, "removed", "")
        return _done(entry, True, f"drains, {entry.meters.in_flight} in flight, then leaves", "")


def _done(entry: Entry, changed: bool, did: str, was: str) -> Done:
    return Done(entry.worker, changed, f"{entry.worker.name} {did if changed else was}")


def checked_spec(spec: WorkerSpec) -> WorkerSpec:
    """The spec in normal form. Raises BadRequest naming the field, what was given and what is accepted."""
    try:
        url = worker_url(spec.url)
    except ValueError as error:
        raise BadRequest(f"url: {error}", field="url") from None
    _within("priority", spec.priority, 0, 100)
    _within("cost", spec.cost, 0.0, 1e6)
    if spec.bootstrap_port is not None:
        _within("bootstrap_port", spec.bootstrap_port, 1, 65535)
    _within("max_in_flight", spec.max_in_flight, 1, 1_000_000)
    own = spec.health
    _within("health.check_interval_secs", own.interval_s, 0.1, 86400)
    _within("health.timeout_secs", own.timeout_s, 0.1, 3600)
    _within("health.success_threshold", own.success_threshold, 1, 1000)
    _within("health.failure_threshold", own.failure_threshold, 1, 1000)
    if own.endpoint is not None and not _is_path(own.endpoint):
        raise BadRequest(
            f"health.endpoint: given {own.endpoint!r}, expected a path such as /health", field="health.endpoint"
        )
    if spec.api_key is not None and not _is_header_value(spec.api_key.reveal()):
        raise BadRequest("api_key: expected visible ASCII characters (given: hidden)", field="api_key")
    return replace(spec, url=url)


def _within(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not least <= value <= most:
        raise BadRequest(f"{name}: given {value:g}, expected {least:g} to {most:g}", field=name)


def _is_path(text: str) -> bool:
    return text.startswith("/") and _is_header_value(text) and " " not in text


def _is_header_value(text: str) -> bool:
    """Whether the text may stand in an HTTP head: nothing that could end the line."""
    return all(32 <= ord(c) < 127 for c in text)


def _merged_health(old: HealthOverride, new: HealthOverride | None) -> HealthOverride:
    if new is None:
        return old
    return replace(old, **{f.name: v for f in fields(new) if (v := getattr(new, f.name)) is not None})
