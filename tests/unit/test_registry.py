"""The registry's own promises: one writer, late answers dropped, drains that end when nothing is in flight."""

from dataclasses import replace

import pytest

from gateway.errors import Conflict, WorkerExists, WorkerNotFound
from gateway.workers.facts import Drained, Event, StateChanged
from gateway.workers.meters import EngineLoad, Outcome
from gateway.workers.model import Health, HealthOverride, HealthSettings, Intent, ModelCard, State, WorkerSpec
from tests.unit.world import TEST, World


def test_a_worker_is_ready_after_two_good_probes_and_discovery_in_either_order() -> None:
    world = World()
    one, two = world.add("http://a:1"), world.add("http://a:2")
    world.probe(one, True)
    assert one.worker.state is State.REGISTERING
    world.probe(one, True)
    assert one.worker.state is State.REGISTERING
    world.discover(one)
    assert one.worker.state is State.READY
    world.discover(two)
    world.probe(two, True, True)
    assert two.worker.state is State.READY


def test_a_late_probe_does_not_touch_the_replacement() -> None:
    world = World()
    entry = world.ready()
    world.registry.restart(entry, WorkerSpec(entry.worker.url, priority=9), "replaced", TEST)
    for _ in range(5):
        world.probe(entry, False, revision=1)
    world.discover(entry, "old", revision=1)
    world.registry.observe_load(entry.worker.id, 1, EngineLoad(0.0, waiting=7))
    assert world.registry.observe_traffic_failure(entry, 1, "late", TEST, gone=False) is False
    assert entry.health.counter.fail_run == 0
    assert entry.worker.capabilities.model_id is None
    assert entry.load is None
    assert world.registry.stale_observations == 7


def test_a_failed_request_and_one_failed_probe_are_enough_to_be_unhealthy() -> None:
    world = World()
    entry = world.ready()
    assert world.registry.observe_traffic_failure(entry, 1, "connection refused", TEST, gone=False) is True
    assert entry.worker.state is State.READY
    world.probe(entry, False)
    assert entry.worker.state is State.UNHEALTHY
    world.probe(entry, True)
    assert entry.worker.state is State.UNHEALTHY
    world.probe(entry, True)
    assert entry.worker.state is State.READY


def test_a_good_probe_after_a_failed_request_clears_the_suspicion() -> None:
    world = World()
    entry = world.ready()
    world.registry.observe_traffic_failure(entry, 1, "reset", TEST, gone=False)
    world.probe(entry, True, False, False)
    assert entry.worker.state is State.READY
    world.probe(entry, False)
    assert entry.worker.state is State.UNHEALTHY


def test_a_failed_worker_comes_back_by_itself() -> None:
    world = World()
    entry = world.add()
    world.probe(entry, False)
    world.registry.registration_timeout(entry.worker.id, 1, 1800, TEST)
    assert entry.worker.state is State.FAILED
    assert "connection refused" in entry.worker.reason
    world.probe(entry, True, True)
    world.discover(entry)
    assert entry.worker.state is State.READY


def test_unhealthy_becomes_failed_only_by_the_setting() -> None:
    for threshold, expected in ((0, State.UNHEALTHY), (10, State.FAILED)):
        world = World(HealthSettings(failed_threshold=threshold))
        entry = world.ready()
        world.probe(entry, *[False] * 50)
        assert entry.worker.state is expected


def test_draining_an_idle_worker_is_over_when_the_call_returns() -> None:
    world = World()
    held, leaving = world.ready("http://a:1"), world.ready("http://a:2")
    world.registry.drain(held, Intent.HOLD, None, "why", TEST)
    assert held.worker.drain is not None
    assert held.worker.drain.drained
    world.registry.drain(leaving, Intent.REMOVE, None, "why", TEST)
    assert leaving.worker.id not in world.registry.entries


def test_a_drain_ends_with_the_last_request_and_not_before() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    entry.meters.began()
    world.registry.drain(entry, Intent.REMOVE, None, "why", TEST)
    assert world.registry.routable(None) == ()
    entry.meters.ended(Outcome.CANCELLED, 1.0, 1.0)
    assert entry.worker.state is State.DRAINING
    world.now += 12
    entry.meters.ended(Outcome.OK, 1.0, 1.0)
    assert entry.worker.id not in world.registry.entries
    last = world.events()[-1].fact
    assert last == StateChanged(
        entry.worker.id, State.DRAINING, State.GONE, "drained: nothing in flight after 12.0 s", False
    )


def test_holding_tells_once_that_it_is_drained_and_removal_then_is_immediate() -> None:
    world = World()
    entry = world.ready()
    world.registry.drain(entry, Intent.HOLD, None, "why", TEST)
    world.registry.drain(entry, Intent.HOLD, None, "why", TEST)
    assert [type(event.fact) for event in world.events()].count(Drained) == 1
    world.registry.drain(entry, Intent.REMOVE, None, "why", TEST)
    assert not world.registry.entries


def test_the_deadline_removes_with_what_is_in_flight_and_says_so() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    deadline = world.wall() + 30
    world.registry.drain(entry, Intent.REMOVE, deadline, "why", TEST)
    world.registry.drain_deadline(entry.worker.id, deadline - 1, TEST)
    assert world.registry.entries
    world.registry.drain_deadline(entry.worker.id, deadline, TEST)
    fact = world.events()[-1].fact
    assert isinstance(fact, StateChanged)
    assert (fact.new, fact.forced) == (State.GONE, True)
    entry.meters.ended(Outcome.OK, 1.0, 1.0)
    assert entry.meters.in_flight == 0


def test_a_resumed_worker_takes_requests_again_at_once() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    world.registry.drain(entry, Intent.REMOVE, None, "why", TEST)
    assert world.registry.resume(entry, TEST) is True
    assert world.registry.resume(entry, TEST) is False
    entry.meters.ended(Outcome.OK, 1.0, 1.0)
    assert world.registry.routable("m") == (entry,)


def test_health_seen_while_draining_counts_at_the_resume() -> None:
    world = World()
    entry = world.ready()
    entry.meters.began()
    world.registry.drain(entry, Intent.HOLD, None, "why", TEST)
    world.probe(entry, False, False, False)
    assert (entry.worker.state, entry.worker.health) == (State.DRAINING, Health.UNHEALTHY)
    world.registry.resume(entry, TEST)
    assert entry.worker.state is State.UNHEALTHY


def test_disabled_checks_make_a_worker_ready_once_it_was_asked_what_it_serves() -> None:
    world = World()
    entry = world.add(health=HealthOverride(disabled=True))
    assert entry.worker.state is State.REGISTERING
    world.discover(entry, None)
    assert entry.worker.state is State.READY
    assert world.registry.observe_traffic_failure(entry, 1, "refused", TEST, gone=False) is False


def test_checks_that_are_enabled_again_begin_from_the_verdict_that_held_without_them() -> None:
    for before in ((), (False, False, False)):
        world = World()
        entry = world.ready()
        world.probe(entry, *before)
        for disabled in (True, False):
            spec = replace(entry.worker.spec, health=HealthOverride(disabled=disabled))
            world.registry.patch(entry, spec, ("health",), TEST)
            assert (entry.worker.state, entry.worker.health) == (State.READY, Health.HEALTHY)
        world.probe(entry, True)
        assert (entry.worker.state, entry.worker.health) == (State.READY, Health.HEALTHY)
        world.probe(entry, False, False)
        assert entry.worker.state is State.READY
        world.probe(entry, False)
        assert (entry.worker.state, entry.worker.health) == (State.UNHEALTHY, Health.UNHEALTHY)


def test_a_worker_that_was_never_probed_before_its_checks_were_enabled_is_not_unknown() -> None:
    world = World()
    entry = world.add(health=HealthOverride(disabled=True))
    world.discover(entry)
    world.registry.patch(entry, replace(entry.worker.spec, health=HealthOverride()), ("health",), TEST)
    world.probe(entry, True)
    assert (entry.worker.state, entry.worker.health) == (State.READY, Health.HEALTHY)


@pytest.mark.parametrize(
    ("probes", "text"),
    [((), "last probe: never probed"), ((False,), "last probe: connection refused"), ((False, True), "probe: good")],
)
def test_a_registration_that_ran_out_of_time_says_how_the_last_probe_was(probes: tuple[bool, ...], text: str) -> None:
    world = World()
    entry = world.add()
    world.probe(entry, *probes)
    world.registry.registration_timeout(entry.worker.id, 1, 60, TEST)
    assert entry.worker.reason.startswith("not up within 60 s; ")
    assert entry.worker.reason.endswith(text)


def test_a_model_that_is_named_by_a_later_fact_is_routed_by_that_fact() -> None:
    world = World()
    silent = world.ready("http://a:1", None)  # type: ignore[arg-type]  # it does not say
    assert world.registry.routable("m") == (silent,)
    named = world.ready("http://a:2", "m")
    assert world.registry.routable("m") == (named,)
    world.registry.remove_now(named, "why", TEST)
    assert world.registry.routable("m") == (silent,)


def test_a_request_goes_to_workers_of_its_model_and_to_silent_ones_only_if_nobody_names_it() -> None:
    world = World()
    llama = world.ready("http://a:1", "llama")
    alias = world.ready("http://a:2", models=(ModelCard("base", aliases=("nick",)),))
    silent = world.ready("http://a:3", None)  # type: ignore[arg-type]  # it does not say
    registry = world.registry
    assert registry.routable("llama") == (llama,)
    assert registry.routable("nick") == registry.routable("base") == (alias,)
    assert registry.routable("unheard-of") == (silent,)
    assert registry.routable(None) == (llama, alias, silent)
    registry.cordon(llama, "why", TEST)
    assert registry.routable("llama") == ()


def test_names_that_clients_make_up_leave_nothing_behind() -> None:
    world = World()
    world.ready("http://a:1", "llama")
    for number in range(1000):
        assert world.registry.routable(f"no-{number}") == ()
    assert len(world.registry._routable) == 1


def test_workers_are_found_by_id_name_and_url_and_urls_are_unique() -> None:
    world = World()
    entry = world.add("http://a:1")
    for text in (entry.worker.id, "w1", "http://a:1", "http://a:1/"):
        assert world.registry.find(text) is entry
    with pytest.raises(WorkerNotFound, match="w2"):
        world.registry.find("w2")
    with pytest.raises(WorkerExists, match="already listed as w1"):
        world.add("http://a:1")
    world.registry.remove_now(entry, "why", TEST)
    assert world.add("http://a:1").worker.name == "w2"


def test_a_ready_worker_is_not_retried() -> None:
    world = World()
    entry = world.ready()
    with pytest.raises(Conflict, match="only an unhealthy or failed"):
        world.registry.restart(entry, entry.worker.spec, "why", TEST)


def test_a_watcher_that_fails_does_not_stop_the_writer(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("a defect")

    world.registry.watch(broken)
    world.registry.watch(seen.append)
    world.ready()
    assert [event.seq for event in seen] == list(range(1, world.registry.journal.seq + 1))
    assert "watcher_failed" in caplog.text
