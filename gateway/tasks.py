"""Owned tasks: the one place where asyncio tasks are made.

A `Scope` names its tasks, keeps them, awaits their ends, and tells its owner when one crashes. It replaces
bare `asyncio.create_task`, whose tasks nobody awaits and whose errors surface at garbage collection, and
complements `asyncio.TaskGroup`, which ends all siblings when one fails: here a worker's crashed job must not
end its neighbour's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
OnCrash = Callable[[str, BaseException], None]


def _log_crash(name: str, error: BaseException) -> None:
    logger.error("task_crashed", exc_info=error, extra={"fields": {"task": name}})


class Scope:
    """A group of tasks with one owner. Leaving it cancels what still runs and waits until all of it ended.

    `on_crash(name, error)` hears of every task that ended with an exception other than cancellation; by
    default it is logged. The scope itself never raises a task's error.
    """

    __slots__ = ("_closed", "_on_crash", "_tasks", "name")

    def __init__(self, name: str, on_crash: OnCrash = _log_crash) -> None:
        self.name = name
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Scope {self.name} {len(self._tasks)} tasks>"

    def names(self) -> list[str]:
        """The names of the tasks under way, for the debug screen and for tests that look for leaks."""
        return sorted(task.get_name() for task in self._tasks)

    def spawn(self, job: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start a job owned by this scope. Raises RuntimeError once the scope is closed."""
        if self._closed:
            job.close()
            raise RuntimeError(f"scope {self.name} is closed; {name} was not started")
        task = asyncio.create_task(job, name=f"{self.name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_crash(task.get_name(), error)

    async def close(self) -> None:
        """Cancel what still runs and wait for its end. Safe to call twice, and from one of its own tasks."""
        self._closed = True
        me = asyncio.current_task()
        while waiting := [task for task in self._tasks if task is not me]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def supervise(
    name: str,
    job: Callable[[], Awaitable[None]],
    *,
    first_delay_s: float = 1.0,
    max_delay_s: float = 30.0,
    on_crash: OnCrash = _log_crash,
) -> None:
    """Run an endless job again whenever it crashes, after a doubling delay; a job that lived longer than
    `max_delay_s` starts over at `first_delay_s`. Ends when the job returns normally or is cancelled."""
    loop = asyncio.get_running_loop()
    delay = first_delay_s
    while True:
        began = loop.time()
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - the supervisor is the one place that contains any crash
            on_crash(name, error)
        else:
            return
        if loop.time() - began > max_delay_s:
            delay = first_delay_s
        await asyncio.sleep(delay)
        delay = min(delay * 2, max_delay_s)


async def first_of(*jobs: Coroutine[Any, Any, Any]) -> None:
    """Run the jobs side by side until one ends; the others are cancelled and awaited. Raises what that one raised."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()


async def in_slices(items: Iterable[T], render: Callable[[T], R], size: int = 25) -> list[R]:
    """The rendered items, letting the loop's other work in between after every `size` of them."""
    rendered: list[R] = []
    for number, item in enumerate(items, 1):
        rendered.append(render(item))
        if number % size == 0:
            await asyncio.sleep(0)
    return rendered
