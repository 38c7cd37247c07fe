"""How long a helper process lives: until a signal, or until the process that wanted it is gone."""

import asyncio
import os
import signal

POLL_S = 0.5


def watcher_alive(pid: int, parent: int) -> bool:
    """Whether process `pid` is still there. `parent` is the parent this process had when it started: a parent is
    gone as soon as it is no longer ours, even if its number has been given to another process."""
    if parent == pid:
        return os.getppid() == pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def until_told_to_end(pid: int) -> None:
    """Return on SIGTERM, on SIGINT, or once process `pid` is gone (0: nobody to watch)."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    parent = os.getppid()
    while not told.is_set():
        if pid and not watcher_alive(pid, parent):
            return
        try:
            async with asyncio.timeout(POLL_S if pid else None):
                await told.wait()
        except TimeoutError:
            continue
