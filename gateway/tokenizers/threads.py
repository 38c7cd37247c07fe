"""The threads that encode and decode long texts, arranged so that the loop finds a free core when it wakes.

The kernel lets a thread that computes keep its core for a slice of some 3 ms, whatever its priority. With a thread
at work on each core, every wake-up of the loop may have to wait so long; so one core is left to the loop, and the
thread for it works only while the others do not keep up.
"""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from threading import Condition, Lock, Thread, get_native_id
from typing import Any, TypeVar

CORES = os.cpu_count() or 1
USUAL = max(1, min(3, CORES - 1))
BEHIND = 2
"""Jobs waiting for each of the usual threads from which on the spare one helps."""
NICE = 10

T = TypeVar("T")
Job = tuple["Future[Any]", Callable[[], Any]]


class EncodingThreads(Executor):
    """An executor of `usual` threads, and a spare one where there are more cores."""

    def __init__(self, usual: int = USUAL, cores: int = CORES) -> None:
        lock = Lock()
        self._work = Condition(lock)
        self._backlog = Condition(lock)
        self._behind = BEHIND * usual
        self._jobs: deque[Job] = deque()
        self._closed = False
        self._threads = [Thread(target=self._run, args=(self._work, 1), daemon=True) for _ in range(usual)]
        if cores > usual:
            self._threads.append(Thread(target=self._run, args=(self._backlog, self._behind), daemon=True))
        self._started = False

    def submit(self, fn: "Callable[..., T]", /, *args: Any, **kwargs: Any) -> "Future[T]":
        """As of any executor."""
        future: Future[T] = Future()
        with self._work:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if not self._started:
                self._started = True
                for thread in self._threads:
                    thread.start()
            self._jobs.append((future, partial(fn, *args, **kwargs)))
            self._work.notify()
            if len(self._jobs) >= self._behind:
                self._backlog.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of any executor; what is not cancelled is still done."""
        with self._work:
            self._closed = True
            if cancel_futures:
                for future, _ in self._jobs:
                    future.cancel()
                self._jobs.clear()
            self._work.notify_all()
            self._backlog.notify_all()
        if wait and self._started:
            for thread in self._threads:
                thread.join()

    def _run(self, turn: Condition, least: int) -> None:
        """Do jobs while at least so many wait, until all is closed and done."""
        behind_the_loop()
        while True:
            with turn:
                while len(self._jobs) < least and not self._closed:
                    turn.wait()
                if not self._jobs:
                    return
                future, job = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                _settle(future, job)
            del future, job  # not kept while waiting for the next


def _settle(future: "Future[Any]", job: Callable[[], Any]) -> None:
    try:
        result = job()
    except BaseException as error:  # noqa: BLE001 - told to whoever waits for it
        future.set_exception(error)
    else:
        future.set_result(result)


def behind_the_loop() -> None:
    """Let the loop's thread go first where cores are few. Only Linux knows priorities of threads. Not for threads
    that run Python: one that is put aside while it holds the interpreter lock keeps the loop waiting."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), NICE)
