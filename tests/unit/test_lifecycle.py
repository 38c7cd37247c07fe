"""Every state against every trigger: what moves, what stays, and what cannot happen."""

import pytest

from gateway.workers.lifecycle import TABLE, IllegalTransition, Trigger, due_trigger, merged_drain, step
from gateway.workers.model import LISTED_STATES, Drain, Health, Intent, State, Worker, WorkerId, WorkerSpec

R, Y, U, F, D, GONE = *LISTED_STATES, State.GONE


def worker(
    state: State, health: Health = Health.UNKNOWN, intent: Intent | None = None, *, known: bool = True
) -> Worker:
    drain = Drain(intent, 0.0, None) if intent is not None else None
    spec = WorkerSpec("http://a:1")
    return Worker(WorkerId("1"), "w1", spec, 1, state, 0.0, 0.0, "", health=health, drain=drain, discovered=known)


MOVES = {
    (R, Trigger.HEALTHY): Y,
    (R, Trigger.TIMEOUT): F,
    (R, Trigger.DRAIN): D,
    (R, Trigger.REMOVE): GONE,
    (R, Trigger.REMOVE_NOW): GONE,
    (Y, Trigger.UNHEALTHY): U,
    (Y, Trigger.DRAIN): D,
    (Y, Trigger.REMOVE): D,
    (Y, Trigger.REMOVE_NOW): GONE,
    (Y, Trigger.REPLACE): R,
    (U, Trigger.HEALTHY): Y,
    (U, Trigger.EXHAUSTED): F,
    (U, Trigger.DRAIN): D,
    (U, Trigger.REMOVE): D,
    (U, Trigger.REMOVE_NOW): GONE,
    (U, Trigger.RETRY): R,
    (U, Trigger.REPLACE): R,
    (F, Trigger.HEALTHY): Y,
    (F, Trigger.DRAIN): D,
    (F, Trigger.REMOVE): GONE,
    (F, Trigger.REMOVE_NOW): GONE,
    (F, Trigger.RETRY): R,
    (F, Trigger.REPLACE): R,
    (D, Trigger.REMOVE_NOW): GONE,
    (D, Trigger.REPLACE): R,
}
"""What changes the state, whatever else is known of the worker."""

ILLEGAL = {
    (R, Trigger.EXHAUSTED), (R, Trigger.IDLE), (R, Trigger.DRAIN_DEADLINE),
    (Y, Trigger.TIMEOUT), (Y, Trigger.EXHAUSTED), (Y, Trigger.IDLE), (Y, Trigger.DRAIN_DEADLINE),
    (U, Trigger.TIMEOUT), (U, Trigger.IDLE), (U, Trigger.DRAIN_DEADLINE),
    (F, Trigger.TIMEOUT), (F, Trigger.EXHAUSTED), (F, Trigger.IDLE), (F, Trigger.DRAIN_DEADLINE),
    (D, Trigger.TIMEOUT), (D, Trigger.EXHAUSTED),
}  # fmt: skip

DEPENDS = {(D, Trigger.RESUME), (D, Trigger.IDLE), (D, Trigger.DRAIN_DEADLINE)}


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("state", LISTED_STATES)
def test_every_pair_of_state_and_trigger_does_what_the_table_of_this_test_says(state: State, trigger: Trigger) -> None:
    if (state, trigger) in ILLEGAL:
        with pytest.raises(IllegalTransition, match=state.value):
            step(worker(state), trigger)
    elif (state, trigger) not in DEPENDS:
        assert step(worker(state), trigger) is MOVES.get((state, trigger), state)


def test_the_table_has_no_pair_that_this_test_does_not_know() -> None:
    assert not {key for key in TABLE if key in ILLEGAL}
    assert len(TABLE) + len(ILLEGAL) == len(LISTED_STATES) * len(Trigger)


@pytest.mark.parametrize(
    ("health", "known", "expected"),
    [
        (Health.HEALTHY, True, Y),
        (Health.HEALTHY, False, R),
        (Health.UNHEALTHY, True, U),
        (Health.UNKNOWN, True, R),
    ],
)
def test_a_resumed_worker_stands_where_its_probes_say(health: Health, known: bool, expected: State) -> None:
    assert step(worker(D, health, Intent.HOLD, known=known), Trigger.RESUME) is expected


@pytest.mark.parametrize("trigger", [Trigger.IDLE, Trigger.DRAIN_DEADLINE])
def test_only_a_drain_for_removal_ends_in_gone(trigger: Trigger) -> None:
    assert step(worker(D, intent=Intent.REMOVE), trigger) is GONE
    assert step(worker(D, intent=Intent.HOLD), trigger) is D


@pytest.mark.parametrize(
    ("state", "health", "known", "due"),
    [
        (R, Health.HEALTHY, True, Trigger.HEALTHY),
        (R, Health.HEALTHY, False, None),
        (R, Health.UNHEALTHY, True, None),
        (Y, Health.UNHEALTHY, True, Trigger.UNHEALTHY),
        (Y, Health.HEALTHY, True, None),
        (U, Health.HEALTHY, True, Trigger.HEALTHY),
        (F, Health.HEALTHY, True, Trigger.HEALTHY),
        (F, Health.UNHEALTHY, True, None),
        (D, Health.HEALTHY, True, None),
        (D, Health.UNHEALTHY, True, None),
    ],
)
def test_the_verdict_moves_a_worker_only_where_it_should(
    state: State, health: Health, known: bool, due: Trigger | None
) -> None:
    assert due_trigger(worker(state, health, known=known)) is due


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ((Intent.HOLD, 10.0), (Intent.HOLD, 5.0), (Intent.HOLD, 10.0)),
        ((Intent.HOLD, 10.0), (Intent.HOLD, 20.0), (Intent.HOLD, 20.0)),
        ((Intent.HOLD, 10.0), (Intent.REMOVE, 5.0), (Intent.REMOVE, 10.0)),
        ((Intent.REMOVE, 10.0), (Intent.HOLD, 5.0), (Intent.REMOVE, 10.0)),
        ((Intent.REMOVE, None), (Intent.REMOVE, 5.0), (Intent.REMOVE, None)),
    ],
)
def test_a_second_drain_never_shortens_or_weakens_the_first(
    first: tuple[Intent, float | None], second: tuple[Intent, float | None], merged: tuple[Intent, float | None]
) -> None:
    begun = merged_drain(None, first[0], 1.0, first[1])
    again = merged_drain(begun, second[0], 2.0, second[1])
    assert again == Drain(merged[0], 1.0, merged[1])
