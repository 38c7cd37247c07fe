"""A console attached to a test's fleet: the real control API over a real Unix socket, a real client and mirror.

Numbers are pushed every few milliseconds instead of every second, and what screens ask for is never too young to be
asked for again, so that a test need not wait; nothing else differs from a console attached to another machine.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch
from weakref import WeakKeyDictionary

from gateway.api.app import ApiParts, build_app
from gateway.proxy.control import ControlApp
from gateway.proxy.server import DataPlane, ProxySettings
from gateway.proxy.unix_socket import listening
from gateway.workers.ask import Unreachable
from smg_console.client import GatewayClient
from smg_console.remote.plane import RemotePlane
from smg_console.targets import Target
from tests.console.fleet import Fleet

TICK_S = 0.02


class Tokenizers:
    """Those of the fleet's own plane, which tests may put others in the place of."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def __getattr__(self, name: str) -> object:
        return getattr(self._fleet.plane._tokenizers, name)


SERVED: WeakKeyDictionary[Fleet, "Served"] = WeakKeyDictionary()


class Served:
    """A fleet's control API on a Unix socket."""

    def __init__(self, fleet: Fleet, path: Path, boot: str = "boot") -> None:
        self.fleet = fleet
        self.path = path
        self.target = Target("http://localhost", str(path))
        self._parts = self._made(boot)
        self._control = ControlApp(build_app(self._parts))
        self._plane = DataPlane(fleet.registry, control=self._control, settings=ProxySettings(worker_stall_s=0))

    def _made(self, boot: str) -> ApiParts:
        fleet = self.fleet

        async def ask(*_: object, **__: object) -> object:
            raise Unreachable("connection refused")

        return ApiParts(
            registry=fleet.registry,
            operations=fleet.operations,
            ask=ask,  # type: ignore[arg-type]  # takes what a real one takes
            samples=fleet.samples,
            stopping=lambda: False,
            mono=time.monotonic,
            fleet=fleet.routing,
            version="0.1.0",
            boot=boot,
            status=fleet.gateway_row,
            explainer=fleet.explainer,
            settings=fleet.settings,
            tokenizers=fleet.tokenizers,
            tokenizer_operations=Tokenizers(fleet),  # type: ignore[arg-type]  # whatever the fleet's plane has
            rolling=fleet.rolling,
            flights=fleet.flights_of,
        )

    def look(self) -> None:
        """A gateway discovers from its start on, or never; a test's fleet begins when the test says so."""
        if self.fleet.discovery is not None:
            object.__setattr__(self._parts, "discovery", lambda: self.fleet.discovery)

    async def __aenter__(self) -> "Served":
        SERVED[self.fleet] = self
        self.look()
        await self._control.__aenter__()
        await self._plane.__aenter__()
        self._socket = listening(str(self.path), 0)
        await self._plane.serve_also(self._socket.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()
        await self._plane.close()
        await self._control.__aexit__(None, None, None)


@asynccontextmanager
async def quickly() -> AsyncIterator[None]:
    """Numbers come every few milliseconds."""
    with (
        patch("gateway.api.events.TICK_S", TICK_S),
        patch("gateway.api.meters.LEAST_S", 0.0),
        patch.multiple("smg_console.remote.plane", FLIGHTS_S=0.0, FAILURES_S=0.0, ROUTES_S=0.0),
        patch.dict("smg_console.remote.asked.EVERY_S", {1: 0.0, 10: 0.0, 120: 0.0}),
    ):
        yield


@asynccontextmanager
async def attached(fleet: Fleet) -> AsyncIterator[RemotePlane]:
    """A plane attached to the fleet, as fresh as can be."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gw.sock"
        async with (
            quickly(),
            Served(fleet, path) as served,
            GatewayClient(served.target, actor="console") as client,
            RemotePlane(client, read_only=fleet.plane.read_only, wall=fleet.clock.wall) as plane,
        ):
            await settled(plane, fleet)
            yield plane


async def settled(plane: RemotePlane, fleet: Fleet) -> None:
    """Wait until all that is true of the fleet now has reached the plane."""
    mirror = plane._mirror
    SERVED[fleet].look()
    async with asyncio.timeout(10):
        ticks = mirror.ticks + 2  # one may have been under way
        while mirror.ticks < ticks or mirror.log.seq - mirror.base < fleet.registry.journal.seq:
            await mirror.moved.wait()
        await plane._asked.idle()
