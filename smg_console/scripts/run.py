"""Runs one command: finds the gateway, asks it, writes, and ends with an exit code that scripts may rely on."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from gateway.errors import GatewayError
from gateway.settings.flags import UsageError
from smg_console.client import GatewayClient, Unreachable
from smg_console.scripts import doctor, events, watching, workers
from smg_console.scripts.exits import Ended, Exit
from smg_console.scripts.options import Spelled, parsed
from smg_console.scripts.out import Out, of_process
from smg_console.targets import NoGateway, actor_name, api_key, chosen_target

Job = Callable[[GatewayClient, Any, Out], Awaitable[Exit]]
ACTS = ("cordon", "uncordon", "drain", "resume", "remove", "probe", "retry", "reset-breaker")
JOBS: dict[tuple[str, ...], Job] = {
    ("workers", "list"): workers.listed,
    ("workers", "show"): workers.shown,
    ("workers", "add"): workers.added,
    ("workers", "wait"): workers.waited_for,
    **{("workers", verb): partial(workers.acted, verb=verb) for verb in ACTS},
    ("events",): events.told,
    ("loads",): watching.loads,
    ("top",): watching.top,
    ("doctor",): doctor.examined,
}


async def run(words: Sequence[str], client: GatewayClient, out: Out) -> int:
    """One command on a client that is open. What goes wrong is noted, and is the exit code."""
    try:
        spelled, given, text = parsed(words)
        if text is not None:
            out.write(text)
            return Exit.DONE
        return await _job(spelled, given, client, out)
    except UsageError as error:
        out.note(f"smg-console: {error}")
        return Exit.USAGE


async def _job(spelled: Spelled, given: Any, client: GatewayClient, out: Out) -> int:
    try:
        return await JOBS[spelled.words](client, given, out)
    except Ended as error:
        out.note(f"smg-console: {error}")
        return error.code
    except GatewayError as error:
        out.note(f"smg-console: {error.message}")
        return code_of(error)


def code_of(error: GatewayError) -> Exit:
    """The exit code for what the gateway, or the way to it, says."""
    if isinstance(error, Unreachable):
        return Exit.UNREACHABLE
    return Exit.NOT_FOUND if error.status == 404 else Exit.REFUSED


def main(words: Sequence[str]) -> int:
    """One command of a process, from its words. Raises UsageError."""
    spelled, given, text = parsed(words)
    out = of_process()
    if text is not None:
        return _written(lambda: out.write(text))
    if spelled.words == ("completion",):
        from smg_console.scripts.completion import script

        found = script(given.shell)
        return _written(lambda: out.write(found))
    try:
        target, key = chosen_target(given.gateway), api_key(given.api_key_file)
    except NoGateway as error:
        why = str(error)
        if spelled.words == ("doctor",):
            return _written(lambda: doctor.unreachable(given, out, why))
        out.note(f"smg-console: {why}")
        return Exit.UNREACHABLE
    client = GatewayClient(target, api_key=key, actor=actor_name("cli"))

    async def job() -> int:
        async with client:
            return await _job(spelled, given, client, out)

    begun = bool(getattr(given, "wait", False) or getattr(given, "max", None))
    return _written(lambda: _interruptible(job, out, begun=begun))


def _interruptible(job: Callable[[], Awaitable[int]], out: Out, *, begun: bool) -> int:
    """Until it ends or is interrupted; what was begun at the gateway goes on, and that is said."""

    async def whole() -> int:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await job()

    try:
        return asyncio.run(whole())
    except asyncio.CancelledError:
        if begun:
            out.note("interrupted; what drains goes on, smg-console workers resume calls it off")
        return Exit.INTERRUPTED


def _written(work: Callable[[], Any]) -> int:
    """A reader that has seen enough (`| head`) is no error."""
    try:
        found = work()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would be tried again at exit, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    return found if isinstance(found, int) and not isinstance(found, bool) else Exit.DONE


def complete(words: list[str], commands: tuple[str, ...]) -> int:
    """What the shells' scripts ask: the words that may come next, a line each. Never fails, never waits long."""
    from smg_console.scripts.completion import next_words, wants_workers

    found = next_words(words, commands)
    if wants_workers(words):
        found = [*_names(), *found]
    sys.stdout.write("".join(f"{word}\n" for word in found))
    return Exit.DONE


def _names() -> list[str]:
    """Names of the workers of the gateway that runs here; none where that cannot be told at once."""

    async def ask() -> list[str]:
        async with GatewayClient(chosen_target(None), api_key=api_key(None), timeout_s=1.0) as client:
            return [worker["name"] for worker in await workers.fetched(client)]

    try:
        return asyncio.run(ask())
    except (GatewayError, NoGateway, UsageError):
        return []
