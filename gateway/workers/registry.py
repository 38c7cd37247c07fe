"""The one set of facts about workers, and their only writer.

Every method here is synchronous: it reads, decides by the pure rules and writes without an `await`, so on the
loop each is one step that nobody can interleave. Observations name the worker revision they were started for
and are dropped when that has passed. Routing reads `routable`, a view that is rebuilt only after a fact.
Validation and authorisation of commands are `gateway.operations`'; timers and sockets are the control loops'.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from gateway.errors import Conflict, WorkerExists, WorkerNotFound
from gateway.events import Journal
from gateway.workers import facts, health, lifecycle
from gateway.workers.availability import availability
from gateway.workers.breaker import BreakerSettings, FailureWindow, Trials
from gateway.workers.entry import Entry, HealthStatus, Probe
from gateway.workers.facts import Cause, Event, WorkerFact
from gateway.workers.health import HealthCounter, ProbeResult
from gateway.workers.identity import new_worker_id
from gateway.workers.lifecycle import Trigger
from gateway.workers.meters import EngineLoad
from gateway.workers.model import (
    Breaker,
    Capabilities,
    Circuit,
    Drain,
    Health,
    HealthSettings,
    Intent,
    Role,
    Source,
    State,
    Worker,
    WorkerId,
    WorkerSpec,
)
from gateway.workers.overload import OverloadSettings

logger = logging.getLogger(__name__)

_UNNAMED = "\0"
"""Key of the workers for models that nobody names; no model is called so."""


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
        breaker_settings: BreakerSettings | None = None,
        overload: OverloadSettings | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._wall = wall
        self._mono = mono
        self._rng = rng
        self._defaults = health_settings or HealthSettings()
        self.breaker_settings = breaker_settings or BreakerSettings()
        self._overload = overload or OverloadSettings()
        self.journal = journal or Journal(wall, mono)
        self.entries: dict[WorkerId, Entry] = {}
        self._by_url: dict[str, Entry] = {}
        self._named = 0
        self._watchers: list[Watcher] = []
        self._routable: dict[tuple[str | None, Role], tuple[Entry, ...]] = {}
        self.version = 0
        """Counts up whenever `routable` may answer differently than before."""
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

    def routable(self, model: str | None, role: Role = Role.REGULAR) -> tuple[Entry, ...]:
        """Workers of this role that may get a request for this model now (None: for any model).

        Those that name the model; where none is listed that does, those that name no model at all. The same
        tuple object until `version` changes.
        """
        key = (self.key_of(model), role)
        found = self._routable.get(key)
        if found is None:
            available = tuple(e for e in self.serving(model, role) if availability(e.worker).routable)
            found = self._routable[key] = tuple(e for e in available if not e.overloaded) or available
        return found

    def key_of(self, model: str | None) -> str | None:
        """The model itself if a worker names it, None for any, and one name for all models that nobody names:
        clients may make up endlessly many."""
        if self._models is None:
            self._models = frozenset(name for e in self.entries.values() for name in e.worker.models)
        return model if model is None or model in self._models else _UNNAMED

    def serving(self, model: str | None, role: Role | None = None) -> list[Entry]:
        """Listed workers that serve the model, routable or not; of one role, or of all."""
        listed = [e for e in self.entries.values() if role is None or e.worker.spec.role is role]
        if model is None:
            return listed
        named = [e for e in listed if model in e.worker.models]
        return named or [e for e in listed if not e.worker.models]

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each event right after it came true. For parts of the gateway that live as long
        as the registry; it must be quick and must not write facts from inside the call."""
        self._watchers.append(watcher)

    # --- writing: the one door ---

    def _write(self, fact: WorkerFact, cause: Cause) -> None:
        event = self.journal.append(fact, cause)
        entry = self.entries.get(fact.worker)
        worker = facts.fold(entry.worker if entry else None, event)
        self._models = None
        self._view_changed()
        if entry is None:
            if worker is not None:
                self._enlist(Entry(worker))
        elif worker is None:
            entry.meters.on_idle = None
            del self.entries[fact.worker]
            del self._by_url[entry.worker.url]
        else:
            entry.worker = worker
            if isinstance(fact, facts.BreakerChanged | facts.RegistrationRestarted):
                half = worker.breaker.state is Circuit.HALF_OPEN
                entry.trials = Trials(self.breaker_settings) if half else None
                entry.failures = None
            entry.limited = worker.spec.max_in_flight is not None or entry.trials is not None
        self._tell(event)

    def _view_changed(self) -> None:
        self._routable.clear()
        self.version += 1

    def _enlist(self, entry: Entry) -> None:
        entry.limited = entry.worker.spec.max_in_flight is not None
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
        if new is State.READY and entry.worker.breaker.state is Circuit.OPEN:
            self._set_breaker(entry, Circuit.HALF_OPEN, "its probes pass again", cause)
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
            if entry.worker.ejected:  # no probe will come to readmit it
                self._write(facts.Readmitted(entry.worker.id), cause)
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
        self._set_load(entry, None)
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
        """Send no new requests there; True if that is new. A cordon of discovery's (its pod is not ready) becomes
        the operator's who asks for one: discovery will not take it back then."""
        worker = entry.worker
        taken_over = worker.cordoned_by == Source.KUBERNETES != cause.actor
        if worker.cordoned and not taken_over:
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
        drain = lifecycle.merged_drain(worker.drain, intent, self._wall(), deadline, entry.meters.in_flight)
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
        elif entry.worker.ejected:
            self._write(facts.Readmitted(worker_id), cause)
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

    def observe_traffic_failure(self, entry: Entry, revision: int, why: str, cause: Cause, *, gone: bool) -> bool:
        """Real traffic could not reach the worker: the next failed probe is enough. True: probe it now.

        `gone`: it could not even be connected to. Then it gets no requests until a probe has passed.
        """
        worker = entry.worker
        if self.entries.get(worker.id) is not entry or worker.revision != revision:
            return False
        entry.meters.failed(why, self._wall())
        if self.health_settings(worker).disabled:
            return False
        entry.health.counter = health.suspected(entry.health.counter)
        if gone and worker.state is State.READY and not worker.ejected:
            self._write(facts.Ejected(worker.id, why), cause)
        return True

    def observe_silence(self, entry: Entry) -> None:
        """Requests are in flight and nothing comes from the worker: the next failed probe is enough."""
        if not self.health_settings(entry.worker).disabled:
            entry.health.counter = health.suspected(entry.health.counter)

    # --- the circuit breaker ---

    def observe_failed_request(self, entry: Entry, trial: Trials | None, why: str, cause: Cause) -> None:
        """A request failed at this worker. `trial` is what the entry had when it was sent there."""
        entry.meters.blamed(why, self._wall())
        settings, state = self.breaker_settings, entry.worker.breaker.state
        if settings.disabled or self.entries.get(entry.worker.id) is not entry:
            return
        if state is Circuit.HALF_OPEN and trial is not None and trial is entry.trials:
            self._set_breaker(entry, Circuit.OPEN, f"a trial request failed: {why}", cause)
        elif state is Circuit.CLOSED:
            if entry.failures is None:
                entry.failures = FailureWindow(settings)
            reason = entry.failures.failed(self._mono(), entry.meters.ok)
            if reason:
                self._set_breaker(entry, Circuit.OPEN, f"{reason}; the last: {why}", cause)

    def observe_trial_passed(self, entry: Entry, trial: Trials, cause: Cause) -> None:
        """A trial request of a half-open breaker succeeded."""
        trial.passed += 1
        current = trial is entry.trials and self.entries.get(entry.worker.id) is entry
        if current and trial.passed >= self.breaker_settings.success_threshold:
            self._set_breaker(entry, Circuit.CLOSED, f"{trial.passed} trial requests succeeded", cause)

    def breaker_waited(self, worker_id: WorkerId, until: float, cause: Cause) -> None:
        """The time of an open breaker is up. Ignored unless it is still open until then."""
        entry = self.entries.get(worker_id)
        if entry is not None and entry.worker.breaker.until == until:
            self._set_breaker(entry, Circuit.HALF_OPEN, f"open for {self.breaker_settings.open_s:g} s", cause)

    def reset_breaker(self, entry: Entry, cause: Cause) -> bool:
        """Close it and forget the failures; True if it was not closed."""
        entry.failures = None
        if entry.worker.breaker.state is Circuit.CLOSED:
            return False
        self._set_breaker(entry, Circuit.CLOSED, f"reset by {cause.actor}", cause)
        return True

    def _set_breaker(self, entry: Entry, state: Circuit, reason: str, cause: Cause) -> None:
        now = self._wall()
        until = now + self.breaker_settings.open_s if state is Circuit.OPEN else None
        self._write(facts.BreakerChanged(entry.worker.id, Breaker(state, reason, now, until)), cause)

    # --- other observations ---

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
            self._set_load(entry, load)

    def forget_load(self, worker_id: WorkerId) -> None:
        """The worker is no longer polled: an old report is worse than none."""
        entry = self.entries.get(worker_id)
        if entry is not None:
            self._set_load(entry, None)

    def _set_load(self, entry: Entry, load: EngineLoad | None) -> None:
        entry.load = load and replace(load, in_flight=entry.meters.in_flight)
        overloaded = self._overload.veto(load)
        if overloaded is not entry.overloaded:
            entry.overloaded = overloaded
            self._view_changed()

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
