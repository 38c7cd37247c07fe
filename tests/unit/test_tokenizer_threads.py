"""The encoding threads: the spare one helps only with a backlog; cancelling, failing and closing lose nothing."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from threading import Event, get_ident, get_native_id

import pytest

from gateway.tokenizers.threads import BEHIND, NICE, EncodingThreads

LONG_S = 20.0


@pytest.fixture
def pool() -> Iterator[EncodingThreads]:
    """One usual thread, and a spare one."""
    made = EncodingThreads(usual=1, cores=2)
    yield made
    made.shutdown()


class Held:
    """Jobs that tell their thread and wait to be let go."""

    def __init__(self) -> None:
        self.begun: list[Event] = []
        self.go = Event()

    def submit(self, pool: EncodingThreads) -> "Future[int]":
        begun = Event()
        self.begun.append(begun)

        def job() -> int:
            begun.set()
            assert self.go.wait(LONG_S)
            return get_ident()

        return pool.submit(job)


def test_one_thread_works_until_jobs_wait_then_the_spare_one_helps(pool: EncodingThreads) -> None:
    held = Held()
    jobs = [held.submit(pool)]
    assert held.begun[0].wait(LONG_S)
    jobs += [held.submit(pool) for _ in range(BEHIND - 1)]  # a backlog too short for help
    assert not held.begun[1].wait(0.05)
    jobs.append(held.submit(pool))
    assert held.begun[1].wait(LONG_S)
    held.go.set()
    threads = {job.result(LONG_S) for job in jobs}
    assert len(threads) == 2


def test_jobs_that_come_one_by_one_are_all_done_by_the_usual_thread(pool: EncodingThreads) -> None:
    assert len({pool.submit(get_ident).result(LONG_S) for _ in range(50)}) == 1


def test_with_one_core_there_is_no_spare_thread() -> None:
    made = EncodingThreads(usual=1, cores=1)
    held = Held()
    jobs = [held.submit(made) for _ in range(10)]
    held.go.set()
    assert len({job.result(LONG_S) for job in jobs}) == 1
    made.shutdown()


def test_a_job_cancelled_while_it_waits_is_never_begun(pool: EncodingThreads) -> None:
    held = Held()
    first = held.submit(pool)
    assert held.begun[0].wait(LONG_S)
    second = held.submit(pool)
    assert second.cancel()
    held.go.set()
    assert pool.submit(lambda: 7).result(LONG_S) == 7
    assert not held.begun[1].is_set()
    assert first.result(LONG_S)


def test_what_a_job_raises_reaches_who_waits_and_the_thread_goes_on(pool: EncodingThreads) -> None:
    def fails() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        pool.submit(fails).result(LONG_S)
    assert pool.submit(lambda: 1).result(LONG_S) == 1


def test_closing_does_what_waits_or_cancels_it_and_takes_no_more() -> None:
    done, dropped = EncodingThreads(usual=1, cores=1), EncodingThreads(usual=1, cores=1)
    jobs = [done.submit(lambda n=n: n) for n in range(20)]
    done.shutdown()
    assert [job.result(0) for job in jobs] == list(range(20))
    held = Held()
    first = held.submit(dropped)
    assert held.begun[0].wait(LONG_S)
    waiting = [dropped.submit(lambda: 1) for _ in range(5)]
    held.go.set()
    dropped.shutdown(cancel_futures=True)
    assert first.result(LONG_S)
    for job in waiting:
        try:
            assert job.result(LONG_S) == 1  # it was begun before the closing
        except CancelledError:
            assert job.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        done.submit(lambda: 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_its_threads_stand_behind_the_loops(pool: EncodingThreads) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, get_native_id())

    assert pool.submit(priority).result(LONG_S) == max(NICE, priority())


def test_no_thread_is_left_after_closing() -> None:
    before = threading.active_count()
    made = EncodingThreads(usual=2, cores=3)
    for job in [made.submit(lambda: 1) for _ in range(30)]:
        job.result(LONG_S)
    made.shutdown()
    assert threading.active_count() == before
