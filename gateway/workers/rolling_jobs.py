"""Rolling drains under way: each is a task of the gateway's, not of a screen, so that it outlives whoever asked.

What comes next is decided by `rolling`; this module looks at the registry, gives the commands it was handed, and
writes beginnings and ends into the journal. A drain begun by a job is an ordinary one: anybody may resume it,
and the job then stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

from gateway.errors import BadRequest, Conflict, GatewayError, JobNotFound
from gateway.tasks import Scope
from gateway.workers import rolling
from gateway.workers.availability import availability
from gateway.workers.facts import Cause, Event, Notice
from gateway.workers.impact import Serves, ready_of, serves
from gateway.workers.model import Intent, State, WorkerId
from gateway.workers.registry import Registry
from gateway.workers.rolling import ENDS, Phase, Plan, Rolling, Seen

TOPIC = "rolling drain"
ENDED_KEPT = 20
MOST_AT_ONCE = 1000
LOOK_S = 1.0
"""A deadline that passes is no event."""


@dataclass(frozen=True, slots=True)
class StartRolling:
    """Drain workers (ids, names or URLs) a few at a time. `what` is how the operator put it, for the journal."""

    verb: ClassVar[str] = "roll"
    workers: tuple[str, ...]
    most: int = 1
    floor: int = 1
    remove: bool = False
    timeout_s: float | None = None
    """For each worker; None: the gateway's default."""
    what: str = ""


@dataclass(frozen=True, slots=True)
class PauseRolling:
    verb: ClassVar[str] = "pause"
    job: str


@dataclass(frozen=True, slots=True)
class ContinueRolling:
    verb: ClassVar[str] = "continue"
    job: str


@dataclass(frozen=True, slots=True)
class CancelRolling:
    verb: ClassVar[str] = "cancel"
    job: str


RollingCommand = StartRolling | PauseRolling | ContinueRolling | CancelRolling


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A worker that drains now. `left_s`: until its deadline, None: it has none."""

    name: str
    in_flight: int
    began_with: int
    left_s: float | None


@dataclass(frozen=True, slots=True)
class RollingStatus:
    """A job as it is shown. Workers by name; times are wall-clock seconds."""

    id: str
    what: str
    actor: str
    most: int
    floor: int
    remove: bool
    total: int
    phase: Phase
    why: str
    under_way: tuple[UnderWay, ...]
    waiting: tuple[str, ...]
    done: tuple[str, ...]
    failed: tuple[str, ...]
    began_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class RollingDone:
    """What a command did."""

    job: RollingStatus
    changed: bool
    message: str


Drain = Callable[[WorkerId, StartRolling, str, Cause], Awaitable[object]]
"""Begins to drain a worker, for a reason. Raises GatewayError."""


class Job:
    """One rolling drain. `state` is replaced by each step."""

    def __init__(self, number: int, asked: StartRolling, plan: Plan, names: dict[str, str], cause: Cause) -> None:
        self.id = f"j{number}"
        self.asked = asked
        self.names = names
        self.cause = cause
        self.state: Rolling = rolling.begun(plan)
        self.changed = asyncio.Event()
        self.began_at = 0.0
        self.ended_at: float | None = None

    @property
    def text(self) -> str:
        verb = "removal" if self.asked.remove else "drain"
        return f"rolling {verb} {self.id} of {len(self.state.plan.workers)} workers, {self.asked.most} at a time"


class RollingDrains:
    """Owns the jobs. `drain` begins to drain one worker; `wall` is a clock in seconds."""

    def __init__(self, registry: Registry, *, wall: Callable[[], float], drain: Drain) -> None:
        self._registry = registry
        self._wall = wall
        self._drain = drain
        self._jobs: dict[str, Job] = {}
        self._number = 0
        self._scope = Scope("rolling drains")
        registry.watch(self._on_event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    def statuses(self) -> tuple[RollingStatus, ...]:
        """All jobs still known, the oldest first; ended ones for a while."""
        return tuple(self._status(job) for job in self._jobs.values())

    def status(self, job_id: str) -> RollingStatus:
        """One of them. Raises JobNotFound."""
        return self._status(self._find(job_id))

    def _find(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            known = ", ".join(self._jobs) or "none"
            raise JobNotFound(f"no rolling drain is called {job_id!r}; there are {known}")
        return job

    async def execute(self, command: RollingCommand, cause: Cause) -> RollingDone:
        """Do it. Raises a GatewayError that says what is wrong with the command; then nothing was changed."""
        if isinstance(command, StartRolling):
            return self._start(command, cause)
        job = self._find(command.job)
        if job.state.phase in ENDS:
            return RollingDone(self._status(job), False, f"{job.id} has ended: {job.state.phase}")
        return self._steer(job, command, cause)

    def _start(self, command: StartRolling, cause: Cause) -> RollingDone:
        if not command.workers:
            raise BadRequest("workers: given none, expected at least one", field="workers")
        if not 1 <= command.most <= MOST_AT_ONCE:
            raise BadRequest(f"max: given {command.most}, expected 1 to {MOST_AT_ONCE}", field="max")
        if command.floor < 0:
            raise BadRequest(f"floor: given {command.floor}, expected 0 or more ready workers", field="floor")
        found = [self._registry.find(worker).worker for worker in command.workers]
        names: dict[str, str] = {worker.id: worker.name for worker in found}
        self._check_free(names)
        self._number += 1
        plan = Plan(tuple(names), command.most, command.floor, command.remove)
        job = Job(self._number, command, plan, names, cause)
        job.began_at = self._wall()
        self._jobs[job.id] = job
        self._forget_old()
        asked = f": {command.what}" if command.what else ""
        self._registry.note(TOPIC, f"{job.text}{asked}", cause)
        self._scope.spawn(self._run(job), name=job.id)
        return RollingDone(self._status(job), True, f"{job.text} begins")

    def _check_free(self, names: Mapping[str, str]) -> None:
        """Two jobs over one worker would each take the other's drain for its own."""
        for job in self._jobs.values():
            busy = () if job.state.phase in ENDS else (*job.state.under_way, *job.state.waiting)
            if shared := [names[worker] for worker in busy if worker in names]:
                raise Conflict(f"{shared[0]} is part of {job.id}, which is {job.state.phase}; cancel that first")

    def _steer(self, job: Job, command: RollingCommand, cause: Cause) -> RollingDone:
        before = job.state
        match command:
            case PauseRolling():
                job.state, did = rolling.paused(before), "paused: it starts no more until it is continued"
            case ContinueRolling():
                job.state, did = rolling.continued(before), "goes on"
            case _:
                job.state, did = rolling.cancelled(before, f"cancelled by {cause.actor}"), "cancelled"
                if before.under_way:
                    did += f"; {_drain_on([job.names[worker] for worker in before.under_way])}"
        changed = job.state != before
        if changed:
            self._registry.note(TOPIC, f"{job.id} {did}", cause)
            job.changed.set()
        return RollingDone(self._status(job), changed, f"{job.id} {did}" if changed else f"{job.id} is so already")

    def _forget_old(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.ended_at is not None]
        for old in ended[:-ENDED_KEPT]:
            del self._jobs[old]

    def _on_event(self, event: Event) -> None:
        if isinstance(event.fact, Notice):
            return
        for job in self._jobs.values():
            if job.ended_at is None:
                job.changed.set()

    async def _run(self, job: Job) -> None:
        while True:
            job.changed.clear()
            job.state, start = rolling.step(job.state, *self._look(job))
            for worker in start:
                await self._begin(job, worker)
            if job.state.phase in ENDS:
                break
            await asyncio.sleep(0)  # idle workers are drained at once: hundreds of them must not hold the loop
            if not start:
                try:
                    async with asyncio.timeout(LOOK_S):
                        await job.changed.wait()
                except TimeoutError:
                    pass
        job.ended_at = self._wall()
        self._registry.note(TOPIC, f"{job.id} {self._ending(job)}", job.cause)

    async def _begin(self, job: Job, worker: str) -> None:
        reason = f"rolling {'removal' if job.asked.remove else 'drain'} {job.id} asked by {job.cause.actor}"
        try:
            await self._drain(WorkerId(worker), job.asked, reason, job.cause)
        except GatewayError as error:
            if worker in self._registry.entries:  # else it left meanwhile, which the next look sees
                job.state = rolling.failed(job.state, worker, f"{job.names[worker]}: {error.message}")

    def _look(self, job: Job) -> tuple[dict[str, Seen], dict[Serves, int]]:
        seen: dict[str, Seen] = {}
        for worker in (*job.state.under_way, *job.state.waiting[: job.state.plan.most]):
            if (found := self._seen(worker)) is not None:
                seen[worker] = found
        routable = (e.worker for e in self._registry.entries.values() if availability(e.worker).routable)
        return seen, ready_of(routable, {one.serves for one in seen.values()})

    def _seen(self, worker_id: str) -> Seen | None:
        entry = self._registry.entries.get(WorkerId(worker_id))
        if entry is None:
            return None
        worker = entry.worker
        draining, drain = worker.state is State.DRAINING, worker.drain
        drained = draining and drain is not None and drain.drained
        late = draining and drain is not None and drain.deadline is not None and drain.deadline <= self._wall()
        leaving = draining and drain is not None and drain.intent is Intent.REMOVE
        routable = availability(worker).routable
        overdue = late and not drained and not leaving  # one that leaves is gone at its deadline
        return Seen(worker.name, serves(worker), routable, draining, drained, leaving, overdue)

    def _ending(self, job: Job) -> str:
        state = job.state
        counted = f"{len(state.done)} of {len(state.plan.workers)} {'removed' if job.asked.remove else 'drained'}"
        return f"{state.phase}: {counted}{f'; {state.halt}' if state.halt else ''}"

    def _status(self, job: Job) -> RollingStatus:
        state = job.state
        return RollingStatus(
            id=job.id,
            what=job.asked.what,
            actor=job.cause.actor,
            most=job.asked.most,
            floor=job.asked.floor,
            remove=job.asked.remove,
            total=len(state.plan.workers),
            phase=state.phase,
            why=state.halt,
            under_way=tuple(found for worker in state.under_way if (found := self._under_way(worker)) is not None),
            waiting=tuple(job.names[worker] for worker in state.waiting),
            done=tuple(job.names[worker] for worker in state.done),
            failed=tuple(job.names[worker] for worker in state.failed),
            began_at=job.began_at,
            ended_at=job.ended_at,
        )

    def _under_way(self, worker_id: str) -> UnderWay | None:
        entry = self._registry.entries.get(WorkerId(worker_id))
        if entry is None:
            return None
        drain = entry.worker.drain
        left = drain.deadline - self._wall() if drain is not None and drain.deadline is not None else None
        began_with = drain.began_with if drain is not None else entry.meters.in_flight
        return UnderWay(entry.worker.name, entry.meters.in_flight, began_with, left)


def _drain_on(names: list[str]) -> str:
    return f"{', '.join(names)} {'drains' if len(names) == 1 else 'drain'} on"
