"""A rolling drain decided step by step, and carried out over a registry."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, Conflict, JobNotFound, WorkerNotFound
from gateway.operations import Operations, Resume
from gateway.workers import rolling
from gateway.workers.entry import Entry
from gateway.workers.facts import Notice
from gateway.workers.meters import Outcome
from gateway.workers.model import Role
from gateway.workers.rolling import Phase, Plan, Rolling, Seen, begun, step
from gateway.workers.rolling_jobs import (
    CancelRolling,
    ContinueRolling,
    PauseRolling,
    RollingDrains,
    RollingStatus,
    StartRolling,
)
from tests.unit.world import TEST, World

LLAMA = ("llama", Role.REGULAR)
READY = Seen("w", LLAMA, routable=True)
DRAINING = replace(READY, routable=False, draining=True)
DRAINED = replace(DRAINING, drained=True)
PLENTY = {LLAMA: 10}


def test_no_more_than_most_are_drained_at_once_and_each_is_awaited() -> None:
    job, start = step(begun(Plan(("a", "b", "c"), most=2)), dict.fromkeys("abc", READY), PLENTY)
    assert start == ("a", "b")
    job, start = step(job, {"a": DRAINING, "b": DRAINING, "c": READY}, PLENTY)
    assert start == ()
    job, start = step(job, {"a": DRAINED, "b": DRAINING, "c": READY}, PLENTY)
    assert start == ("c",)
    job, start = step(job, {"a": DRAINED, "b": DRAINED, "c": DRAINED}, PLENTY)
    assert (job.phase, job.done, start) == (Phase.DONE, ("a", "b", "c"), ())


def test_one_that_is_drained_or_gone_already_counts_as_done_and_one_that_drains_is_awaited() -> None:
    job, start = step(begun(Plan(("a", "b", "c", "d"))), {"b": DRAINED, "c": DRAINING, "d": READY}, PLENTY)
    assert (job.done, job.under_way, start) == (("a", "b"), ("c",), ())


def test_the_floor_stops_it_before_the_last_ready_worker() -> None:
    seen = {"a": replace(READY, name="w1"), "b": replace(READY, name="w2")}
    job, start = step(begun(Plan(("a", "b"), most=2)), seen, {LLAMA: 2})
    assert start == ("a",), "two at once would leave nobody"
    assert job.phase is Phase.STOPPING
    job, _ = step(job, {"a": DRAINED, "b": READY}, {LLAMA: 1})
    assert job.phase is Phase.STOPPED
    assert job.halt == "draining w2 would leave 0 ready for llama, the floor is 1"
    assert step(begun(Plan(("a", "b"), most=2, floor=0)), seen, {LLAMA: 2})[1] == ("a", "b")


def test_a_worker_that_takes_nothing_anyway_passes_under_the_floor() -> None:
    assert step(begun(Plan(("a",))), {"a": replace(READY, routable=False)}, {})[1] == ("a",)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (replace(DRAINING, overdue=True), "w was not drained by its deadline"),
        (READY, "w was resumed before it was drained"),
    ],
)
def test_the_first_failure_stops_it(now: Seen, why: str) -> None:
    job, _ = step(begun(Plan(("a", "b"))), dict.fromkeys("ab", READY), PLENTY)
    job, start = step(job, {"a": now, "b": READY}, PLENTY)
    assert (job.phase, job.failed, job.halt, start) == (Phase.STOPPED, ("a",), why, ())


def test_a_removal_is_done_when_the_worker_has_left() -> None:
    job, start = step(begun(Plan(("a",), remove=True)), {"a": DRAINED}, PLENTY)
    assert start == ("a",), "a held one still has to be told to leave"
    assert step(job, {"a": replace(DRAINED, leaving=True)}, PLENTY)[0].phase is Phase.RUNNING
    assert step(job, {}, PLENTY)[0].phase is Phase.DONE


def test_paused_it_starts_nothing_and_cancelled_it_waits_only_for_those_under_way() -> None:
    job, _ = step(begun(Plan(("a", "b"))), dict.fromkeys("ab", READY), PLENTY)
    job = rolling.paused(job)
    job, start = step(job, {"a": DRAINED, "b": READY}, PLENTY)
    assert (job.phase, start) == (Phase.PAUSED, ())
    job, start = step(rolling.continued(job), {"a": DRAINED, "b": READY}, PLENTY)
    assert start == ("b",)
    job = rolling.cancelled(job, "cancelled by anna")
    assert job.phase is Phase.STOPPING
    assert step(job, {"b": DRAINED}, PLENTY)[0].phase is Phase.CANCELLED


KINDS = st.sampled_from([READY, DRAINING, DRAINED, replace(DRAINING, overdue=True), None])


@given(
    st.lists(st.fixed_dictionaries(dict.fromkeys("abcde", KINDS)), max_size=12),
    st.integers(1, 3),
    st.integers(0, 3),
    st.booleans(),
)
def test_whatever_happens_no_worker_is_lost_and_never_more_than_most_are_started(
    looks: list[dict[str, Seen | None]], most: int, floor: int, remove: bool
) -> None:
    job: Rolling = begun(Plan(tuple("abcde"), most, floor, remove))
    for look in looks:
        seen = {name: now for name, now in look.items() if now is not None}
        ready = {LLAMA: sum(now.routable for now in seen.values())}
        before = job
        job, start = step(job, seen, ready)
        assert sorted((*job.waiting, *job.under_way, *job.done, *job.failed)) == list("abcde")
        assert len(job.under_way) <= most
        assert set(start) <= set(job.under_way) | set(job.failed)
        assert ready[LLAMA] - sum(seen[one].routable for one in start) >= min(floor, ready[LLAMA])
        assert not before.halt or not start


# --- over a registry ---


class Fleet:
    """Workers that can be rolled."""

    def __init__(self) -> None:
        self.world = World()
        registry = self.world.registry
        self.operations = Operations(registry, wall=self.world.wall, drain_timeout_s=300, probe_now=lambda _id: None)
        self.jobs = RollingDrains(registry, wall=self.world.wall, drain=self.operations.begin_drain)

    def busy(self, count: int) -> list[Entry]:
        """Ready workers with a request in flight each."""
        entries = [self.world.ready(f"http://a:{n}") for n in range(1, count + 1)]
        for entry in entries:
            entry.meters.began()
        return entries

    def finish(self, entry: Entry) -> None:
        entry.meters.ended(Outcome.OK, 0.1, self.world.now)

    @property
    def job(self) -> RollingStatus:
        return self.jobs.statuses()[-1]

    async def until(self, wanted: str) -> None:
        """The names that drain now, as text, or the phase."""
        async with asyncio.timeout(5):
            while wanted not in (" ".join(one.name for one in self.job.under_way), self.job.phase.value):  # noqa: ASYNC110
                await asyncio.sleep(0)  # steps of the job are turns of the loop

    def notes(self) -> list[str]:
        return [event.fact.text for event in self.world.events() if isinstance(event.fact, Notice)]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet()
    async with fleet.jobs:
        yield fleet


async def test_workers_are_drained_one_after_another_and_the_journal_says_who_asked(fleet: Fleet) -> None:
    a, b, c = fleet.busy(3)
    done = await fleet.jobs.execute(StartRolling(("w1", "w2"), what="model:m"), TEST)
    assert done.message == "rolling drain j1 of 2 workers, 1 at a time begins"
    await fleet.until("w1")
    assert [worker.worker.state.value for worker in (a, b, c)] == ["draining", "ready", "ready"]
    assert a.worker.reason == "rolling drain j1 asked by test"
    assert (fleet.job.under_way[0].in_flight, fleet.job.under_way[0].left_s) == (1, 300)
    fleet.finish(a)
    await fleet.until("w2")
    fleet.finish(b)
    await fleet.until("done")
    assert (fleet.job.done, fleet.job.ended_at) == (("w1", "w2"), fleet.world.wall())
    assert fleet.notes() == ["rolling drain j1 of 2 workers, 1 at a time: model:m", "j1 done: 2 of 2 drained"]


async def test_it_stops_at_the_floor_at_a_resume_and_at_a_deadline(fleet: Fleet) -> None:
    a, b, c = fleet.busy(3)
    await fleet.jobs.execute(StartRolling(("w1", "w2", "w3")), TEST)
    await fleet.until("w1")
    await fleet.operations.execute(Resume("w1"), TEST)
    await fleet.until("stopped")
    assert fleet.job.why == "w1 was resumed before it was drained"
    await fleet.jobs.execute(StartRolling(("w1", "w2"), timeout_s=5), TEST)
    await fleet.until("w1")
    fleet.world.now += 6
    await fleet.until("stopped")
    assert fleet.job.why == "w1 was not drained by its deadline"
    fleet.finish(a)
    await fleet.jobs.execute(StartRolling(("w1", "w2", "w3"), most=3), TEST)
    await fleet.until("w2")
    fleet.finish(b)
    await fleet.until("stopped")
    assert "w3 would leave 0 ready for m" in fleet.job.why
    assert c.worker.state.value == "ready"


async def test_paused_continued_and_cancelled(fleet: Fleet) -> None:
    a, _, c = fleet.busy(3)
    await fleet.jobs.execute(StartRolling(("w1", "w2", "w3")), TEST)
    await fleet.until("w1")
    assert (await fleet.jobs.execute(PauseRolling("j1"), TEST)).changed
    assert not (await fleet.jobs.execute(PauseRolling("j1"), TEST)).changed
    fleet.finish(a)
    await fleet.until("paused")
    assert fleet.job.waiting == ("w2", "w3")
    await fleet.jobs.execute(ContinueRolling("j1"), TEST)
    await fleet.until("w2")
    done = await fleet.jobs.execute(CancelRolling("j1"), TEST)
    assert done.message == "j1 cancelled; w2 drains on"
    assert fleet.job.phase is Phase.STOPPING
    assert c.worker.state.value == "ready"


async def test_a_rolling_removal_takes_each_off_the_list_before_the_next(fleet: Fleet) -> None:
    a, b, c = fleet.busy(3)
    await fleet.jobs.execute(StartRolling(("w1", "w2"), remove=True), TEST)
    await fleet.until("w1")
    fleet.finish(a)
    await fleet.until("w2")
    assert a.worker.id not in fleet.world.registry.entries
    fleet.finish(b)
    await fleet.until("done")
    assert list(fleet.world.registry.entries) == [c.worker.id]


async def test_bad_jobs_are_refused_with_a_sentence(fleet: Fleet) -> None:
    fleet.busy(2)
    for command, error, sentence in (
        (StartRolling(()), BadRequest, "expected at least one"),
        (StartRolling(("w1",), most=0), BadRequest, "max: given 0, expected 1 to 1000"),
        (StartRolling(("w1",), floor=-1), BadRequest, "floor: given -1"),
        (StartRolling(("w9",)), WorkerNotFound, "'w9'"),
        (PauseRolling("j9"), JobNotFound, "no rolling drain is called 'j9'"),
    ):
        with pytest.raises(error, match=sentence):
            await fleet.jobs.execute(command, TEST)
    await fleet.jobs.execute(StartRolling(("w1",)), TEST)
    with pytest.raises(Conflict, match="w1 is part of j1, which is running"):
        await fleet.jobs.execute(StartRolling(("w2", "w1")), TEST)


async def test_a_hundred_idle_workers_are_rolled_without_holding_the_loop(fleet: Fleet) -> None:
    entries = [fleet.world.ready(f"http://a:{n}") for n in range(1, 102)]
    await fleet.jobs.execute(StartRolling(tuple(entry.worker.id for entry in entries[:100])), TEST)
    turns = 0
    while fleet.job.phase is Phase.RUNNING:
        turns += 1
        await asyncio.sleep(0)
    assert fleet.job.phase is Phase.DONE
    assert turns >= 100, "traffic gets its turn between two workers"
