"""Run the gateway, with its console or headless: the process, its loop, its signals and its exit code.

Exit codes: 0 after a wanted end, 1 when something broke (the last line or the log says what). What the gateway
does is `gateway.gateway`'s, what the screen shows is `app`'s.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from gateway.access import AccessRole
from gateway.errors import GatewayError
from gateway.gateway import Gateway
from gateway.presence import Person
from gateway.settings.load import Loaded
from gateway.tasks import first_of
from gateway.telemetry.logs import LogRing, configure, get_logger
from smg_console.process import new_loop, on_signals, settle_memory

log = get_logger(__name__)

QUIT_GRACE_S = 2.0
"""How long answers may go on after an operator confirmed quitting with requests in flight."""

Beside = Callable[[Gateway], AbstractAsyncContextManager[object]]
"""What runs beside a gateway, such as a demo's traffic."""


def alone(gateway: Gateway) -> AbstractAsyncContextManager[object]:
    """Nothing runs beside it."""
    return nullcontext()


def run(loaded: Loaded) -> int:
    """The main job: serve until told to stop."""
    return run_in_loop(loaded, lambda ring: serve(loaded, ring))


def run_in_loop(loaded: Loaded, main: Callable[[LogRing], Coroutine[Any, Any, int]]) -> int:
    """Run to the end on a fresh loop. What could not be opened becomes one line and exit code 1."""
    settings = loaded.settings
    try:
        ring = configure(
            level=settings.log_level,
            as_json=settings.log_json,
            directory=settings.log_dir,
            console=not settings.no_ui,
        )
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main(ring))
    except OSError as error:
        print(f"smg-console: {error.strerror or error}", file=sys.stderr)  # noqa: T201 - the terminal is ours again, or still
        return 1
    except GatewayError as error:  # no way to the API server was found, a worker given at start is impossible
        print(f"smg-console: {error}", file=sys.stderr)  # noqa: T201 - the same
        return 1


async def serve(loaded: Loaded, ring: LogRing, beside: Beside = alone) -> int:
    """Serve with the console, or headless."""
    async with Gateway(loaded.settings, loaded.origins) as gateway, beside(gateway), over_ssh(gateway, ring):
        if loaded.settings.no_ui:
            settle_memory()
            return await until_stopped(gateway)
        return await until_quit(gateway, ring)


def over_ssh(gateway: Gateway, ring: LogRing) -> AbstractAsyncContextManager[object]:
    """The console for SSH clients, where a port for them was given."""
    if gateway.settings.ssh_port is None:
        return nullcontext()
    from smg_console.ssh.server import SshServer

    return SshServer(gateway, ring)


async def until_stopped(gateway: Gateway) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then let requests in flight finish; a second signal ends at once."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    on_signals(lambda: hurry.set() if stop.is_set() else stop.set())
    await stop.wait()
    log.info("gateway_stopping", in_flight=gateway.in_flight)
    gateway.begin_stop()
    await first_of(gateway.drained(gateway.settings.shutdown_grace_period_secs), hurry.wait())
    return 0


async def until_quit(gateway: Gateway, ring: LogRing) -> int:
    """Serve while the console is open."""
    from smg_console.app import ConsoleApp
    from smg_console.local import LocalPlane
    from smg_console.memory import Memory, state_file

    settings = gateway.settings
    plane = LocalPlane.of(gateway, read_only=settings.read_only)
    app = ConsoleApp(
        plane,
        theme=settings.theme,
        ascii_only=settings.ascii,
        log=ring,
        settled=settle_memory,
        memory=Memory(state_file()),
    )
    on_signals(app.exit)
    here = gateway.presence.enter(Person("console", AccessRole.ADMIN, "", time.time()))
    await app.run_async()
    gateway.presence.leave(here)
    gateway.begin_stop()
    await gateway.drained(QUIT_GRACE_S)
    # Textual swallows a crash inside the app and tells it by its return code alone.
    return app.return_code or 0
