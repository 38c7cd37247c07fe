"""What every process of ours needs of its loop, its signals and its memory, whether it is a gateway or looks at one."""

import asyncio
import gc
import signal
from collections.abc import Callable


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed (it halves the cost of a proxied request), else asyncio's own."""
    try:
        import uvloop
    except ImportError:  # Windows, PyPy
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def on_signals(stop: Callable[[], object]) -> None:
    """Call `stop` on SIGTERM and SIGINT, and on SIGHUP where there is one."""
    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            loop.add_signal_handler(number, stop)


def settle_memory() -> None:
    """What was imported and built so far lives as long as the process: no collection need look at it again.

    From here on garbage is collected; a start goes without.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
