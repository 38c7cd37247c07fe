"""Owned tasks: they end with their owner, and their crashes are heard."""

import asyncio

import pytest

from gateway.tasks import Scope, first_of, supervise


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


async def test_first_of_cancels_the_slower_and_raises_what_the_first_raised() -> None:
    async def crash() -> None:
        raise KeyError("first")

    slow = asyncio.Event()
    await first_of(asyncio.sleep(0), slow.wait())
    with pytest.raises(KeyError):
        await first_of(crash(), slow.wait())
