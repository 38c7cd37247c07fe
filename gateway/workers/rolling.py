"""A rolling drain, decided step by step: many workers, a few at a time, each awaited before the next. Pure.

The machine is told how the workers are and says which to drain now; giving the commands is the caller's, in this
process or from a command line elsewhere. It starts no more when one could not be drained, when the next would
leave fewer ready workers of its model and role than the floor, and when it was cancelled; what drains by then
drains on. It never resumes anybody by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from gateway.workers.impact import Serves


@dataclass(frozen=True, slots=True)
class Plan:
    """Which workers, in this order; `most` at a time; at least `floor` ready ones of each model and role stay."""

    workers: tuple[str, ...]
    """Ids."""
    most: int = 1
    floor: int = 1
    remove: bool = False
    """Each leaves the list once it is drained."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a worker is now, as far as the machine cares."""

    name: str
    serves: Serves
    routable: bool
    draining: bool = False
    drained: bool = False
    leaving: bool = False
    """It drains in order to leave the list."""
    overdue: bool = False
    """Its drain's deadline has passed with requests in flight."""


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    """Starts no more; some still drain."""
    DONE = "done"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


ENDS = (Phase.DONE, Phase.STOPPED, Phase.CANCELLED)


@dataclass(frozen=True, slots=True)
class Rolling:
    """How far it is. Ids in the plan's order; each is in exactly one of the four groups."""

    plan: Plan
    waiting: tuple[str, ...]
    under_way: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    paused: bool = False
    halt: str = ""
    """Why it starts no more."""
    cancelled: bool = False

    @property
    def phase(self) -> Phase:
        if self.halt:
            if self.under_way:
                return Phase.STOPPING
            return Phase.CANCELLED if self.cancelled else Phase.STOPPED
        if not self.waiting and not self.under_way:
            return Phase.DONE
        return Phase.PAUSED if self.paused else Phase.RUNNING


def begun(plan: Plan) -> Rolling:
    """The job before its first step."""
    return Rolling(plan, tuple(dict.fromkeys(plan.workers)))


def step(rolling: Rolling, seen: Mapping[str, Seen], ready: Mapping[Serves, int]) -> tuple[Rolling, tuple[str, ...]]:
    """The job after a look at its workers, and those to drain now. Who is not `seen` has left the list; `ready`
    counts the workers that take requests, of each model and role."""
    rolling = _noticed(rolling, seen)
    start: list[str] = []
    spare = dict(ready)
    while rolling.waiting and not rolling.halt and not rolling.paused and len(rolling.under_way) < rolling.plan.most:
        worker, rest = rolling.waiting[0], rolling.waiting[1:]
        now = seen.get(worker)
        if _is_done(rolling.plan, now):
            rolling = replace(rolling, waiting=rest, done=(*rolling.done, worker))
            continue
        assert now is not None
        problem = _below_floor(rolling.plan, now, spare)
        if problem:
            return replace(rolling, halt=problem), tuple(start)
        rolling = replace(rolling, waiting=rest, under_way=(*rolling.under_way, worker))
        if not now.draining or (rolling.plan.remove and not now.leaving):
            start.append(worker)
        if now.routable:
            spare[now.serves] = spare.get(now.serves, 0) - 1
    return rolling, tuple(start)


def _noticed(rolling: Rolling, seen: Mapping[str, Seen]) -> Rolling:
    """What became of those under way."""
    for worker in rolling.under_way:
        now = seen.get(worker)
        if _is_done(rolling.plan, now):
            rest = tuple(other for other in rolling.under_way if other != worker)
            rolling = replace(rolling, under_way=rest, done=(*rolling.done, worker))
        elif now is not None and (problem := _trouble(now)):
            rolling = failed(rolling, worker, problem)
    return rolling


def _is_done(plan: Plan, now: Seen | None) -> bool:
    return now is None or (now.drained and not plan.remove)


def _trouble(now: Seen) -> str:
    if now.overdue:
        return f"{now.name} was not drained by its deadline"
    return "" if now.draining else f"{now.name} was resumed before it was drained"


def _below_floor(plan: Plan, now: Seen, spare: Mapping[Serves, int]) -> str:
    """Why draining this worker would go too far; empty where it would not."""
    left = spare.get(now.serves, 0) - 1
    if not now.routable or left >= plan.floor:
        return ""
    model, role = now.serves
    whom = f"{model or 'any model'}{'' if role == 'regular' else f' ({role})'}"
    return f"draining {now.name} would leave {max(0, left)} ready for {whom}, the floor is {plan.floor}"


def failed(rolling: Rolling, worker: str, why: str) -> Rolling:
    """A worker under way could not be drained: the job starts no more."""
    rest = tuple(other for other in rolling.under_way if other != worker)
    return replace(rolling, under_way=rest, failed=(*rolling.failed, worker), halt=rolling.halt or why)


def paused(rolling: Rolling) -> Rolling:
    """Start no more for now."""
    return replace(rolling, paused=True)


def continued(rolling: Rolling) -> Rolling:
    return replace(rolling, paused=False)


def cancelled(rolling: Rolling, why: str) -> Rolling:
    """Start no more; what drains drains on."""
    return rolling if rolling.halt else replace(rolling, halt=why, cancelled=True)
