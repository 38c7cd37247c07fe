"""Owned tasks: they end with their owner, and their crashes are heard."""

import asyncio
from itertools import pairwise

import pytest

from gateway.tasks import Scope, first_of, supervise
from tests.unit.test_loops import Loops, in_virtual_time


async def test_leaving_a_scope_cancels_and_awaits_its_tasks() -> None:
    ended: list[str] = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async with Scope("test") as scope:
        scope.spawn(job(), name="job")
        await asyncio.sleep(0)
        assert scope.names() == ["test/job"]
    assert ended == ["cleaned up"]
    assert len(scope) == 0


async def test_a_crash_is_told_and_leaves_the_others_running() -> None:
    crashes: list[tuple[str, str]] = []

    async def crash() -> None:
        raise ValueError("broken")

    async with Scope("test", on_crash=lambda name, error: crashes.append((name, str(error)))) as scope:
        other = scope.spawn(asyncio.sleep(3600), name="other")
        failing = scope.spawn(crash(), name="failing")
        await asyncio.wait([failing])
        await asyncio.sleep(0)
        assert crashes == [("test/failing", "broken")]
        assert not other.done()


async def test_a_closed_scope_starts_nothing() -> None:
    scope = Scope("test")
    await scope.close()
    with pytest.raises(RuntimeError, match="closed"):
        scope.spawn(asyncio.sleep(0), name="late")


async def test_a_task_may_close_its_own_scope() -> None:
    scope = Scope("test")
    other = scope.spawn(asyncio.sleep(3600), name="other")
    await scope.spawn(scope.close(), name="closer")
    assert other.cancelled()


async def test_supervise_starts_a_crashing_job_again_until_it_returns() -> None:
    runs: list[int] = []
    crashes: list[str] = []

    async def job() -> None:
        runs.append(1)
        if len(runs) < 4:
            raise RuntimeError(f"crash {len(runs)}")

    await supervise("job", job, first_delay_s=0.001, on_crash=lambda _name, error: crashes.append(str(error)))
    assert len(runs) == 4
    assert crashes == ["crash 1", "crash 2", "crash 3"]


@in_virtual_time
async def test_supervise_waits_twice_as_long_after_each_crash_until_a_run_lasted(loops: Loops) -> None:
    began: list[float] = []

    async def job() -> None:
        began.append(loops.mono())
        if len(began) == 6:
            await asyncio.sleep(100)
        if len(began) < 9:
            raise RuntimeError("crash")

    await supervise("job", job, first_delay_s=1, max_delay_s=5, on_crash=lambda _name, _error: None)
    pauses = [round(b - a) for a, b in pairwise(began)]
    assert pauses == [1, 2, 4, 5, 5, 101, 2, 4]


async def test_supervise_ends_when_it_is_cancelled() -> None:
    async with Scope("test") as scope:
        task = scope.spawn(supervise("job", lambda: asyncio.sleep(3600)), name="supervised")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_first_of_cancels_the_slower_and_raises_what_the_first_raised() -> None:
    async def crash() -> None:
        raise KeyError("first")

    slow = asyncio.Event()
    await first_of(asyncio.sleep(0), slow.wait())
    with pytest.raises(KeyError):
        await first_of(crash(), slow.wait())
