"""Whatever is observed and commanded, in whatever order: the facts hold together.

Hypothesis drives a registry with random observations and commands and checks after each that no illegal move
escapes, in-flight counts add up, only routable workers are routed to, and folding the journal gives the state.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from gateway.errors import GatewayError
from gateway.workers.entry import Entry
from gateway.workers.facts import StateChanged
from gateway.workers.lifecycle import TABLE
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import Circuit, Health, HealthOverride, HealthSettings, Intent, State, WorkerSpec
from tests.unit.world import TEST, World

OTHER_THAN_HEALTHY = (Health.UNKNOWN, Health.UNHEALTHY)


class Fleet(RuleBasedStateMachine):
    """Random histories of a small fleet."""

    workers = Bundle("workers")
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.world = World(HealthSettings(failed_threshold=5))
        self.flying: dict[int, int] = {}
        self.deadlines: dict[int, float] = {}

    def listed(self, entry: Entry) -> bool:
        return self.world.registry.entries.get(entry.worker.id) is entry

    @rule(target=workers, number=st.integers(0, 4))
    def register(self, number: int) -> object:
        try:
            entry = self.world.add(f"http://w:{8000 + number}")
        except GatewayError:
            return multiple()
        return entry

    @rule(entry=workers, model=st.sampled_from(["a", "b", None]))
    def comes_up(self, entry: Entry, model: str | None) -> None:
        """The usual course, so that random histories get past the beginning."""
        self.world.probe(entry, True, True)
        self.world.discover(entry, model)

    @rule(entry=workers, ok=st.booleans(), old=st.integers(0, 1))
    def probed(self, entry: Entry, ok: bool, old: int) -> None:
        before = entry.worker
        self.world.probe(entry, ok, revision=entry.worker.revision - old)
        if old:
            assert entry.worker is before, "a late answer touches nothing"
        elif ok and self.listed(entry):
            assert before.health in (entry.worker.health, *OTHER_THAN_HEALTHY), "a good probe makes nothing worse"
            assert entry.worker.state in (before.state, State.READY)

    @rule(entry=workers, disabled=st.booleans(), priority=st.integers(0, 100))
    def patched(self, entry: Entry, disabled: bool, priority: int) -> None:
        if not self.listed(entry):
            return
        before = entry.worker
        spec = replace(before.spec, priority=priority, health=HealthOverride(disabled=disabled))
        self.world.registry.patch(entry, spec, ("priority", "health"), TEST)
        assert (entry.worker.spec, entry.worker.revision) == (spec, before.revision)
        if disabled and not before.spec.health.disabled:
            assert entry.worker.health is Health.HEALTHY
        else:
            assert entry.worker.health is before.health

    @rule(entry=workers, model=st.sampled_from(["a", "b", None]), old=st.integers(0, 1))
    def discovered(self, entry: Entry, model: str | None, old: int) -> None:
        self.world.discover(entry, model, revision=entry.worker.revision - old)

    @rule(entry=workers, gone=st.booleans())
    def traffic_failed(self, entry: Entry, gone: bool) -> None:
        revision, why = entry.worker.revision, "connection refused"
        self.world.registry.observe_traffic_failure(entry, revision, why, TEST, gone=gone)
        if gone and self.listed(entry) and entry.worker.state is State.READY:
            assert bool(entry.worker.ejected) is not entry.worker.spec.health.disabled, "only a probe can bring it back"

    @rule(entry=workers, failures=st.integers(1, 12))
    def requests_failed(self, entry: Entry, failures: int) -> None:
        for _ in range(failures):
            self.world.registry.observe_failed_request(entry, entry.trials, "it answered 500", TEST)

    @rule(entry=workers)
    def trial_passed(self, entry: Entry) -> None:
        if entry.trials is not None:
            self.world.registry.observe_trial_passed(entry, entry.trials, TEST)

    @rule(entry=workers)
    def breaker_waited(self, entry: Entry) -> None:
        until = entry.worker.breaker.until
        if until is not None:
            self.world.registry.breaker_waited(entry.worker.id, until, TEST)

    @rule(entry=workers)
    def breaker_reset(self, entry: Entry) -> None:
        if self.listed(entry):
            self.world.registry.reset_breaker(entry, TEST)
            assert entry.worker.breaker.state is Circuit.CLOSED

    @rule(entry=workers, waiting=st.integers(0, 20))
    def load_reported(self, entry: Entry, waiting: int) -> None:
        load = EngineLoad(self.world.now, waiting=waiting)
        self.world.registry.observe_load(entry.worker.id, entry.worker.revision, load)

    @rule(target=requests, model=st.sampled_from(["a", "b", None]), pick=st.integers(0, 100))
    def dispatched(self, model: str | None, pick: int) -> object:
        candidates = self.world.registry.routable(model)
        if not candidates:
            return multiple()
        entry = candidates[pick % len(candidates)]
        assert entry.worker.state is State.READY
        assert not entry.worker.cordoned
        entry.meters.began()
        self.flying[id(entry)] = self.flying.get(id(entry), 0) + 1
        return entry

    @rule(entry=consumes(requests), outcome=st.sampled_from(Outcome))
    def ended(self, entry: Entry, outcome: Outcome) -> None:
        self.flying[id(entry)] -= 1
        entry.meters.ended(outcome, 0.1, self.world.now)

    @rule(entry=workers, now=st.booleans())
    def cordon(self, entry: Entry, now: bool) -> None:
        if self.listed(entry):
            registry = self.world.registry
            changed = registry.cordon(entry, "why", TEST) if now else registry.uncordon(entry, TEST)
            assert entry.worker.cordoned is now
            assert changed in (True, False)

    @rule(entry=workers, intent=st.sampled_from(Intent), seconds=st.integers(0, 50))
    def drain(self, entry: Entry, intent: Intent, seconds: int) -> None:
        if not self.listed(entry):
            return
        before = entry.worker.drain
        self.world.registry.drain(entry, intent, self.world.wall() + seconds, "why", TEST)
        after = entry.worker.drain
        if self.listed(entry) and before is not None and after is not None and before.deadline is not None:
            assert after.deadline is not None
            assert after.deadline >= before.deadline
            assert not (before.intent is Intent.REMOVE and after.intent is Intent.HOLD)

    @rule(entry=workers)
    def drain_deadline(self, entry: Entry) -> None:
        drain = entry.worker.drain
        if self.listed(entry) and drain is not None and drain.deadline is not None:
            self.world.registry.drain_deadline(entry.worker.id, drain.deadline, TEST)
            assert self.listed(entry) is (drain.intent is Intent.HOLD)

    @rule(entry=workers)
    def resume(self, entry: Entry) -> None:
        if self.listed(entry):
            self.world.registry.resume(entry, TEST)
            assert entry.worker.state is not State.DRAINING
            assert entry.worker.drain is None

    @rule(entry=workers)
    def remove_now(self, entry: Entry) -> None:
        if self.listed(entry):
            self.world.registry.remove_now(entry, "why", TEST)
            assert not self.listed(entry)

    @rule(entry=workers, other=st.booleans())
    def restart(self, entry: Entry, other: bool) -> None:
        if not self.listed(entry):
            return
        spec = WorkerSpec(entry.worker.url, priority=60) if other else entry.worker.spec
        revision = entry.worker.revision
        try:
            self.world.registry.restart(entry, spec, "why", TEST)
        except GatewayError:
            assert entry.worker.revision == revision
        else:
            assert (entry.worker.state, entry.worker.revision) == (State.REGISTERING, revision + 1)

    @rule(entry=workers)
    def timeout(self, entry: Entry) -> None:
        self.world.registry.registration_timeout(entry.worker.id, entry.worker.revision, 10, TEST)
        assert not self.listed(entry) or entry.worker.state is not State.REGISTERING

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def the_journal_folds_to_the_state(self) -> None:
        listed = {entry.worker.id: entry.worker for entry in self.world.registry.entries.values()}
        assert self.world.folded() == listed

    @invariant()
    def every_move_in_the_journal_is_in_the_table(self) -> None:
        legal = {(state, target) for (state, _), target in TABLE.items()}
        for event in self.world.events():
            fact = event.fact
            if isinstance(fact, StateChanged) and fact.old is not State.DRAINING:
                assert (fact.old, fact.new) in legal

    @invariant()
    def in_flight_counts_add_up(self) -> None:
        for entry in self.world.registry.entries.values():
            assert entry.meters.in_flight == self.flying.get(id(entry), 0) >= 0

    @invariant()
    def exactly_those_that_nothing_speaks_against_are_routable(self) -> None:
        registry = self.world.registry
        wanted = [
            entry
            for entry in registry.entries.values()
            if (worker := entry.worker).state is State.READY
            and not worker.cordoned
            and not worker.ejected
            and worker.breaker.state is not Circuit.OPEN
        ]
        calm = [entry for entry in wanted if not entry.overloaded]
        assert list(registry.routable(None)) == (calm or wanted)

    @invariant()
    def trials_exist_exactly_while_a_breaker_is_half_open(self) -> None:
        for entry in self.world.registry.entries.values():
            assert (entry.trials is not None) is (entry.worker.breaker.state is Circuit.HALF_OPEN)
            assert entry.limited is (entry.trials is not None)
            assert not entry.worker.ejected or entry.worker.state is State.READY

    @invariant()
    def a_worker_that_drains_for_removal_is_never_idle(self) -> None:
        for entry in self.world.registry.entries.values():
            drain = entry.worker.drain
            assert (entry.worker.state is State.DRAINING) is (drain is not None)
            if drain is not None and drain.intent is Intent.REMOVE:
                assert entry.meters.in_flight > 0


Fleet.TestCase.settings = settings(max_examples=400, stateful_step_count=60, deadline=None)
test_no_history_breaks_the_facts = Fleet.TestCase
