"""The worker's way through its states: every state, every trigger, every move, in one table.

Pure: a function of values. A pair that is not in the table is a defect of ours and raises; a pair that is
legal but changes nothing is in the table as `STAY`, so that leaving one out is never an accident. Nobody
else compares states to decide a move. Health verdicts come from `health`, availability for routing from
`availability`; writing the outcome down is the registry's.
"""

from dataclasses import replace
from enum import Enum, StrEnum

from gateway.workers.model import LISTED_STATES, Drain, Health, Intent, State, Worker


class Trigger(StrEnum):
    """What may happen to a worker."""

    HEALTHY = "healthy"
    """The verdict is healthy and capability discovery has ended."""
    UNHEALTHY = "unhealthy"
    """The verdict is unhealthy."""
    TIMEOUT = "registration timeout"
    """Registration took longer than the start-up timeout."""
    EXHAUSTED = "failed threshold"
    """Unhealthy for so many probes that an explicit setting calls it failed."""
    DRAIN = "drain"
    RESUME = "resume"
    REMOVE = "remove"
    REMOVE_NOW = "remove now"
    IDLE = "nothing in flight"
    DRAIN_DEADLINE = "drain deadline"
    RETRY = "retry"
    REPLACE = "replace"
    """The spec was replaced (PUT): everything known of the old one is void."""


class Move(Enum):
    """Targets that are not one fixed state."""

    STAY = "legal, and changes nothing"
    BY_HEALTH = "back to where the health verdict says"
    BY_INTENT = "gone if the drain is for removal, else stay"


class IllegalTransition(Exception):
    """A trigger reached a state that has no row for it: a defect, not a condition."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        super().__init__(f"no move for a worker that is {state} on {trigger.value!r}")


R, Y, U, F, D = LISTED_STATES
GONE, STAY = State.GONE, Move.STAY

# fmt: off
TABLE: dict[tuple[State, Trigger], State | Move] = {
    # registering: waits for the engine (a starting one fails its probes: that is why); leaves at once when told to
    (R, Trigger.HEALTHY): Y,         (R, Trigger.UNHEALTHY): STAY,
    (R, Trigger.TIMEOUT): F,         (R, Trigger.DRAIN): D,
    (R, Trigger.RESUME): STAY,       (R, Trigger.REMOVE): GONE,
    (R, Trigger.REMOVE_NOW): GONE,   (R, Trigger.RETRY): R,
    (R, Trigger.REPLACE): R,
    # ready
    (Y, Trigger.HEALTHY): STAY,      (Y, Trigger.UNHEALTHY): U,
    (Y, Trigger.DRAIN): D,           (Y, Trigger.RESUME): STAY,
    (Y, Trigger.REMOVE): D,          (Y, Trigger.REMOVE_NOW): GONE,
    (Y, Trigger.RETRY): STAY,        (Y, Trigger.REPLACE): R,
    # unhealthy: may still have requests in flight, so it drains like a ready one
    (U, Trigger.HEALTHY): Y,         (U, Trigger.UNHEALTHY): STAY,
    (U, Trigger.EXHAUSTED): F,       (U, Trigger.DRAIN): D,
    (U, Trigger.RESUME): STAY,       (U, Trigger.REMOVE): D,
    (U, Trigger.REMOVE_NOW): GONE,   (U, Trigger.RETRY): R,
    (U, Trigger.REPLACE): R,
    # failed: probed on with backoff, and comes back by itself
    (F, Trigger.HEALTHY): Y,         (F, Trigger.UNHEALTHY): STAY,
    (F, Trigger.DRAIN): D,           (F, Trigger.RESUME): STAY,
    (F, Trigger.REMOVE): GONE,       (F, Trigger.REMOVE_NOW): GONE,
    (F, Trigger.RETRY): R,           (F, Trigger.REPLACE): R,
    # draining: verdicts are noted for a later resume, but move nothing
    (D, Trigger.HEALTHY): STAY,      (D, Trigger.UNHEALTHY): STAY,
    (D, Trigger.DRAIN): STAY,        (D, Trigger.RESUME): Move.BY_HEALTH,
    (D, Trigger.REMOVE): STAY,       (D, Trigger.REMOVE_NOW): GONE,
    (D, Trigger.IDLE): Move.BY_INTENT,
    (D, Trigger.DRAIN_DEADLINE): Move.BY_INTENT,
    (D, Trigger.RETRY): STAY,        (D, Trigger.REPLACE): R,
}
# fmt: on


def step(worker: Worker, trigger: Trigger) -> State:
    """The state that follows. Raises `IllegalTransition` for a pair that has no row."""
    try:
        target = TABLE[worker.state, trigger]
    except KeyError:
        raise IllegalTransition(worker.state, trigger) from None
    if isinstance(target, State):
        return target
    if target is Move.BY_HEALTH:
        return resumed_state(worker)
    if target is Move.BY_INTENT and worker.drain is not None and worker.drain.intent is Intent.REMOVE:
        return State.GONE
    return worker.state


def resumed_state(worker: Worker) -> State:
    """Where a worker stands once it no longer drains: what its probes say, or waiting for them."""
    if worker.health is Health.HEALTHY and worker.discovered:
        return State.READY
    return State.UNHEALTHY if worker.health is Health.UNHEALTHY else State.REGISTERING


def due_trigger(worker: Worker) -> Trigger | None:
    """What the health verdict and the discovery flag ask for right now, if that would move the worker."""
    if worker.health is Health.UNHEALTHY:
        trigger = Trigger.UNHEALTHY
    elif worker.health is Health.HEALTHY and worker.discovered:
        trigger = Trigger.HEALTHY
    else:
        return None
    return trigger if step(worker, trigger) is not worker.state else None


def merged_drain(
    current: Drain | None, intent: Intent, now: float, deadline: float | None, in_flight: int = 0
) -> Drain:
    """The drain that holds after one more request: never a weaker intent, never an earlier deadline."""
    if current is None:
        return Drain(intent, now, deadline, began_with=in_flight)
    stronger = Intent.REMOVE if Intent.REMOVE in (intent, current.intent) else Intent.HOLD
    later = None if deadline is None or current.deadline is None else max(deadline, current.deadline)
    return replace(current, intent=stronger, deadline=later)
