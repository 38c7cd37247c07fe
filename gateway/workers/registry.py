"""The one set of facts about workers, and their only writer.

Every method here is synchronous: it reads, decides by the pure rules and writes without an `await`, so on the
loop each is one step that nobody can interleave. Observations name the worker revision they were started for
and are dropped when that has passed. Routing reads `routable`, a view that is rebuilt only after a fact.
Validation and authorisation of commands are `gateway.operations`'; timers and sockets are the control loops'.
"""

import logging
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import copysign
from random import Random

from gateway.errors import Conflict, WorkerExists, WorkerNotFound
from gateway.events import Journal
from gateway.workers import facts, health, lifecycle
from gateway.workers.availability import availability
from gateway.workers.facts import Cause, Event, WorkerFact
from gateway.workers.health import HealthCounter, ProbeResult
from gateway.workers.identity import new_worker_id
from gateway.workers.lifecycle import Trigger
from gateway.workers.meters import EngineLoad, WorkerMeters
from gateway.workers.model import (
    Capabilities,
    Drain,
    Health,
    HealthSettings,
    Intent,
    State,
    Worker,
    WorkerId,
    WorkerSpec,
)

logger = logging.getLogger(__name__)

PROBES_KEPT = 60
_UNNAMED = "\0"
"""Key of the workers for models that nobody names; no model is called so."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One past probe, for the strip in the console. `at` is wall-clock seconds."""

    at: float
    ok: bool
    latency_s: float


class ProbeStrip:
    """The last probes, in 12 bytes each: as objects they would be a third of what an idle worker costs."""

    __slots__ = ("_at", "_signed")

    def __init__(self) -> None:
        self._at = array("d")
        self._signed = array("f")
        """Latency in seconds, negative for a bad probe."""

    def append(self, probe: Probe) -> None:
        """Keep one more; the oldest goes."""
        self._at.append(probe.at)
        self._signed.append(probe.latency_s if probe.ok else -probe.latency_s)
        del self._at[:-PROBES_KEPT], self._signed[:-PROBES_KEPT]

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Probe]:
        for at, signed in zip(self._at, self._signed, strict=True):
            yield Probe(at, copysign(1.0, signed) > 0, abs(signed))


class HealthStatus:
    """What the probes of one worker showed lately; numbers and texts, not facts."""

    __slots__ = ("counter", "last_change", "last_check", "last_error", "latency_ms", "recent")

    def __init__(self) -> None:
        self.counter = HealthCounter()
        self.last_check: float | None = None
        self.last_change: float | None = None
        self.last_error = ""
        """Of the last failed probe; kept after recovery, so that one can still ask what it was."""
        self.latency_ms: float | None = None
        self.recent = ProbeStrip()


class Entry:
    """A listed worker: its facts now, and its numbers. Facts are replaced, the entry stays the same object."""

    __slots__ = ("health", "load", "meters", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.meters = WorkerMeters()
        self.health = HealthStatus()
        self.load: EngineLoad | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.worker!r} · {self.meters.in_flight} in flight>"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All workers after event number `seq`, in the order they were added."""

    seq: int
    workers: tuple[Worker, ...]


Watcher = Callable[[Event], None]


class Registry:
    """Listed workers by id. `wall` and `mono` are clocks in seconds, `rng` gives ids."""

    def __init__(
        self,
        *,
        wall: Callable[[], float],
        mono: Callable[[], float],
        rng: Random,
        health_settings: HealthSettings | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._wall = wall
        self._mono = mono
        self._rng = rng
        self._defaults = health_settings or HealthSettings()
        self.journal = journal or Journal(wall, mono)
        self.entries: dict[WorkerId, Entry] = {}
        self._by_url: dict[str, Entry] = {}
        self._named = 0
        self._watchers: list[Watcher] = []
        self._routable: dict[str | None, tuple[Entry, ...]] = {}
        self._models: frozenset[str] | None = None
        """Every model that a listed worker names; None: not gathered since the last fact."""
        self.stale_observations = 0
        """Answers that came for a worker or revision that has passed, and were dropped."""

    # --- reading ---

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, worker_id: str) -> Entry:
        """The entry with this id. Raises WorkerNotFound."""
        entry = self.entries.get(WorkerId(worker_id))
        if entry is None:
            raise WorkerNotFound(f"no worker has the id {worker_id}")
        return entry

    def find(self, text: str) -> Entry:
        """The entry an operator means by an id, a name such as `w3`, or a URL. Raises WorkerNotFound."""
        if entry := self.entries.get(WorkerId(text)) or self._by_url.get(text.rstrip("/")):
            return entry
        for entry in self.entries.values():
            if entry.worker.name == text:
                return entry
        raise WorkerNotFound(f"no worker has the id, name or URL {text!r}")

    def by_url(self, url: str) -> Entry | None:
        return self._by_url.get(url)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.journal.seq, tuple(entry.worker for entry in self.entries.values()))

    def health_settings(self, worker: Worker) -> HealthSettings:
        """The probe settings that hold for this worker."""
        return self._defaults.with_override(worker.spec.health)

    def routable(self, model: str | None) -> tuple[Entry, ...]:
        """Workers that may get a request for this model now (None: for any model).

        Those that name the model; where none is listed that does, those that name no model at all.
        """
        found = self._routable.get(model)
        if found is None:
            named = model is None or model in self._named_models()
            if not named:  # clients may make up endlessly many names: they all share one place
                found = self._routable.get(_UNNAMED)
            if found is None:
                found = tuple(e for e in self.serving(model) if availability(e.worker).routable)
                self._routable[model if named else _UNNAMED] = found
        return found

    def _named_models(self) -> frozenset[str]:
        if self._models is None:
            self._models = frozenset(name for e in self.entries.values() for name in e.worker.models)
        return self._models

    def serving(self, model: str | None) -> list[Entry]:
        """Listed workers that serve the model, routable or not."""
        if model is None:
            return list(self.entries.values())
        named = [e for e in self.entries.values() if model in e.worker.models]
        return named or [e for e in self.entries.values() if not e.worker.models]

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each event right after it came true. For parts of the gateway that live as long
        as the registry; it must be quick and must not write facts from inside the call."""
        self._watchers.append(watcher)

    # --- writing: the one door ---

    def _write(self, fact: WorkerFact, cause: Cause) -> None:
        event = self.journal.append(fact, cause)
        entry = self.entries.get(fact.worker)
        worker = facts.fold(entry.worker if entry else None, event)
        self._routable.clear()
        self._models = None
        if entry is None:
            if worker is not None:
                self._enlist(Entry(worker))
        elif worker is None:
            entry.meters.on_idle = None
            del self.entries[fact.worker]
            del self._by_url[entry.worker.url]
        else:
            entry.worker = worker
        self._tell(event)

    def _enlist(self, entry: Entry) -> None:
        self.entries[entry.worker.id] = entry
        self._by_url[entry.worker.url] = entry

    def note(self, topic: str, text: str, cause: Cause) -> None:
        """Write something about the gateway itself into the journal."""
        self._tell(self.journal.append(facts.Notice(topic, text), cause))

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            try:
                watcher(event)
            except Exception:  # a reader's defect must not stop the writer half-way
                logger.exception("watcher_failed")

    def _move(self, entry: Entry, trigger: Trigger, reason: str, cause: Cause, *, forced: bool = False) -> bool:
        """Apply a trigger; True if the state changed."""
        worker = entry.worker
        new = lifecycle.step(worker, trigger)
        if new is worker.state:
            return False
        self._write(facts.StateChanged(worker.id, worker.state, new, reason, forced), cause)
        return True

    def _settle(self, entry: Entry, reason: str, cause: Cause) -> None:
        """Make the move that the verdict and the discovery flag now ask for, if any."""
        trigger = lifecycle.due_trigger(entry.worker)
        if trigger is not None:
            self._move(entry, trigger, reason, cause)

    def _current(self, worker_id: WorkerId, revision: int) -> Entry | None:
        entry = self.entries.get(worker_id)
        if entry is None or entry.worker.revision != revision:
            self.stale_observations += 1
            return None
        return entry

    # --- commands ---

    def register(self, spec: WorkerSpec, cause: Cause) -> Entry:
        """List a new worker; it starts registering. Raises WorkerExists where its URL is already listed."""
        if (known := self._by_url.get(spec.url)) is not None:
            raise WorkerExists(f"{spec.url} is already listed as {known.worker.name} ({known.worker.state})")
        self._named += 1
        worker_id = new_worker_id(self._wall(), self._rng)
        self._write(facts.Registered(worker_id, f"w{self._named}", spec, f"added by {cause.actor}"), cause)
        entry = self.entries[worker_id]
        self._take_unchecked_as_healthy(entry, cause)
        return entry

    def _take_unchecked_as_healthy(self, entry: Entry, cause: Cause) -> None:
        if self.health_settings(entry.worker).disabled:
            # once probes are enabled again, they need a full streak to say otherwise
            entry.health.counter = HealthCounter(verdict=Health.HEALTHY)
            self._verdict(entry, Health.HEALTHY, "health checks are disabled", cause)

    def restart(self, entry: Entry, spec: WorkerSpec, reason: str, cause: Cause) -> None:
        """Begin the registration anew under a new revision, with this spec (its URL must be the old one)."""
        trigger = Trigger.REPLACE if spec != entry.worker.spec else Trigger.RETRY
        if lifecycle.step(entry.worker, trigger) is not State.REGISTERING:
            raise Conflict(
                f"{entry.worker.name} is {entry.worker.state}; only an unhealthy or failed worker is retried"
            )
        worker = entry.worker
        entry.meters.on_idle = None
        entry.health = HealthStatus()
        entry.load = None
        self._write(facts.RegistrationRestarted(worker.id, spec, worker.revision + 1, reason), cause)
        if worker.state is not State.REGISTERING:
            self._write(facts.StateChanged(worker.id, worker.state, State.REGISTERING, reason), cause)
        self._take_unchecked_as_healthy(entry, cause)

    def patch(self, entry: Entry, spec: WorkerSpec, fields: Iterable[str], cause: Cause) -> None:
        """Change fields of the spec in place."""
        was_disabled = self.health_settings(entry.worker).disabled
        self._write(facts.SpecPatched(entry.worker.id, spec, tuple(fields)), cause)
        if not was_disabled:
            self._take_unchecked_as_healthy(entry, cause)

    def cordon(self, entry: Entry, reason: str, cause: Cause) -> bool:
        """Send no new requests there; True if that is new."""
        if entry.worker.cordoned:
            return False
        self._write(facts.Cordoned(entry.worker.id, reason), cause)
        return True

    def uncordon(self, entry: Entry, cause: Cause) -> bool:
        if not entry.worker.cordoned:
            return False
        self._write(facts.Uncordoned(entry.worker.id), cause)
        return True

    def drain(self, entry: Entry, intent: Intent, deadline: float | None, reason: str, cause: Cause) -> bool:
        """Send no new requests and wait for those in flight. `deadline` is wall-clock seconds, None: none.

        True if this changed anything: a repeated request may prolong a drain or turn holding into removal,
        never shorten or weaken it. A worker with nothing in flight is drained (or gone) when this returns.
        """
        worker = entry.worker
        trigger = Trigger.REMOVE if intent is Intent.REMOVE else Trigger.DRAIN
        target = lifecycle.step(worker, trigger)
        if target is State.GONE:
            return self._move(entry, trigger, reason, cause)
        drain = lifecycle.merged_drain(worker.drain, intent, self._wall(), deadline)
        if drain == worker.drain:
            return False
        self._write(facts.DrainChanged(worker.id, drain), cause)
        self._move(entry, trigger, reason, cause)
        entry.meters.on_idle = lambda: self._idle(entry, cause)
        if not entry.meters.in_flight:
            self._idle(entry, cause)
        return True

    def _idle(self, entry: Entry, cause: Cause) -> None:
        """Nothing is in flight at a draining worker."""
        drain = entry.worker.drain
        if drain is None or self.entries.get(entry.worker.id) is not entry:
            return
        if not self._move(entry, Trigger.IDLE, _drained_text(drain, self._wall()), cause) and not drain.drained:
            self._write(facts.Drained(entry.worker.id), cause)

    def drain_deadline(self, worker_id: WorkerId, deadline: float, cause: Cause) -> None:
        """The time of a drain is up. Ignored unless it is still the drain with this deadline."""
        entry = self.entries.get(worker_id)
        drain = entry.worker.drain if entry else None
        if entry is None or drain is None or drain.deadline != deadline or entry.worker.state is not State.DRAINING:
            return
        left = entry.meters.in_flight
        reason = f"drain deadline passed with {left} in flight"
        self._move(entry, Trigger.DRAIN_DEADLINE, reason, cause, forced=left > 0)

    def resume(self, entry: Entry, cause: Cause) -> bool:
        """Call a drain off; the worker is again what its probes say. True if there was one."""
        if entry.worker.state is not State.DRAINING:
            lifecycle.step(entry.worker, Trigger.RESUME)
            return False
        entry.meters.on_idle = None
        self._move(entry, Trigger.RESUME, f"drain called off by {cause.actor}", cause)
        self._write(facts.DrainChanged(entry.worker.id, None), cause)
        self._settle(entry, "resumed", cause)
        return True

    def remove_now(self, entry: Entry, reason: str, cause: Cause) -> None:
        """Take the worker off the list at once. Requests in flight go on to their end, unlisted."""
        self._move(entry, Trigger.REMOVE_NOW, reason, cause, forced=entry.meters.in_flight > 0)

    # --- observations ---

    def observe_probe(self, worker_id: WorkerId, revision: int, result: ProbeResult, cause: Cause) -> None:
        """Count a probe and draw the consequences."""
        entry = self._current(worker_id, revision)
        if entry is None:
            return
        status, now = entry.health, self._wall()
        settings = self.health_settings(entry.worker)
        status.counter = health.counted(status.counter, result.ok, settings)
        status.last_check = now
        status.latency_ms = result.latency_s * 1000
        status.recent.append(Probe(now, result.ok, result.latency_s))
        if not result.ok:
            status.last_error = result.error
        reason = _verdict_text(status.counter, result)
        self._verdict(entry, status.counter.verdict, reason, cause)
        if entry.worker.state is State.UNHEALTHY and health.exhausted(status.counter, settings):
            self._move(entry, Trigger.EXHAUSTED, f"{status.counter.fail_run} failed probes: {result.error}", cause)

    def _verdict(self, entry: Entry, verdict: Health, reason: str, cause: Cause) -> None:
        worker = entry.worker
        if verdict is not worker.health:
            entry.health.last_change = self._wall()
            self._write(facts.HealthChanged(worker.id, worker.health, verdict, reason), cause)
        self._settle(entry, reason, cause)

    def observe_traffic_failure(self, worker_id: WorkerId, revision: int, why: str) -> bool:
        """Real traffic could not reach the worker: the next failed probe is enough. True: probe it now."""
        entry = self.entries.get(worker_id)
        if entry is None or entry.worker.revision != revision:
            return False
        entry.meters.failed(why, self._wall())
        if self.health_settings(entry.worker).disabled:
            return False
        entry.health.counter = health.suspected(entry.health.counter)
        return True

    def observe_capabilities(self, worker_id: WorkerId, revision: int, found: Capabilities, cause: Cause) -> None:
        """Capability discovery ended, with or without a finding."""
        entry = self._current(worker_id, revision)
        if entry is None:
            return
        if not entry.worker.discovered or found != entry.worker.capabilities:
            self._write(facts.Discovered(worker_id, found), cause)
        self._settle(entry, f"serves {entry.worker.model_id or 'any model'}", cause)

    def observe_load(self, worker_id: WorkerId, revision: int, load: EngineLoad | None) -> None:
        """The engine's own load report; None: it has none, or did not answer."""
        entry = self._current(worker_id, revision)
        if entry is not None:
            entry.load = load

    def registration_timeout(self, worker_id: WorkerId, revision: int, after_s: float, cause: Cause) -> None:
        """The start-up timeout passed. Ignored unless that registration still waits."""
        entry = self.entries.get(worker_id)
        if entry is None or entry.worker.revision != revision or entry.worker.state is not State.REGISTERING:
            return
        self._move(entry, Trigger.TIMEOUT, f"not up within {after_s:g} s; last probe: {_last_probe(entry)}", cause)


def _last_probe(entry: Entry) -> str:
    if entry.health.last_check is None:
        return "never probed"
    return "good" if entry.health.counter.ok_run else entry.health.last_error


def _drained_text(drain: Drain, now: float) -> str:
    return f"drained: nothing in flight after {max(0.0, now - drain.since):.1f} s"


def _verdict_text(counter: HealthCounter, result: ProbeResult) -> str:
    if result.ok:
        return f"{counter.ok_run} good probe{'s' if counter.ok_run != 1 else ''} in a row"
    if counter.suspect:
        return f"a request and then a probe failed: {result.error}"
    return f"{counter.fail_run} failed probe{'s' if counter.fail_run != 1 else ''} in a row: {result.error}"
