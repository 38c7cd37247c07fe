"""The fold: what each fact makes of a worker's record, and what can have no place in a journal."""

import pytest

from gateway.workers import facts
from gateway.workers.facts import Cause, Event, Fact, fold
from gateway.workers.model import (
    TRANSITIONS_KEPT,
    Capabilities,
    Drain,
    Health,
    Intent,
    State,
    Transition,
    Worker,
    WorkerId,
    WorkerSpec,
)

ID, SPEC = WorkerId("1"), WorkerSpec("http://a:1")
REGISTERED = facts.Registered(ID, "w1", SPEC, "added")


def folded(*told: Fact) -> Worker | None:
    worker: Worker | None = None
    for number, fact in enumerate(told, 1):
        worker = fold(worker, Event(number, 100.0 + number, number, Cause("test"), fact))
    return worker


def after(*told: Fact) -> Worker:
    worker = folded(REGISTERED, *told)
    assert worker is not None
    return worker


def test_a_registered_worker_waits_and_has_its_first_transition() -> None:
    worker = after()
    assert (worker.state, worker.revision, worker.registered_at, worker.since) == (State.REGISTERING, 1, 101, 101)
    assert worker.transitions == (Transition(None, State.REGISTERING, 101, "added", "test"),)


def test_a_worker_that_is_gone_is_nothing() -> None:
    assert folded(REGISTERED, facts.StateChanged(ID, State.REGISTERING, State.GONE, "why")) is None


def test_a_new_registration_voids_what_was_observed_and_keeps_what_was_decided() -> None:
    worker = after(
        facts.HealthChanged(ID, Health.UNKNOWN, Health.HEALTHY, "why"),
        facts.Discovered(ID, Capabilities(model_id="m")),
        facts.Cordoned(ID, "careful"),
        facts.DrainChanged(ID, Drain(Intent.HOLD, 1.0, None)),
        facts.RegistrationRestarted(ID, SPEC, 2, "why"),
    )
    assert (worker.revision, worker.health, worker.discovered, worker.drain) == (2, Health.UNKNOWN, False, None)
    assert worker.capabilities == Capabilities()
    assert (worker.cordoned, worker.cordon_reason) == (True, "careful")


def test_only_the_last_transitions_stay_at_hand() -> None:
    flips = [
        facts.StateChanged(ID, old, new, f"flip {n}")
        for n in range(40)
        for old, new in ((State.READY, State.UNHEALTHY), (State.UNHEALTHY, State.READY))
    ]
    kept = after(*flips).transitions
    assert len(kept) == TRANSITIONS_KEPT
    assert kept[-1].why == "flip 39"


def test_a_notice_about_the_gateway_touches_no_worker() -> None:
    assert after(facts.Notice("started", "x")) == after()
    assert folded(facts.Notice("started", "x")) is None


@pytest.mark.parametrize("told", [(facts.Uncordoned(ID),), (REGISTERED, REGISTERED)], ids=["unknown", "twice"])
def test_a_fact_that_cannot_follow_is_a_defect_and_says_so(told: tuple[Fact, ...]) -> None:
    with pytest.raises(ValueError, match="registered"):
        folded(*told)
