"""The data plane as a part of the gateway: listens, counts what is under way, and stops in good order.

Composes listener, exchanges, pools and policy; decides nothing about requests itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Self

from gateway.proxy.addresses import Address, bound_sockets
from gateway.proxy.control import ControlDoor
from gateway.proxy.front import Front
from gateway.proxy.listener import ClientConnection
from gateway.proxy.pool import Pools
from gateway.proxy.settings import ProxySettings
from gateway.proxy.tally import Tally
from gateway.proxy.traffic import Traffic
from gateway.routing.policies import DEFAULT_POLICY, make_policy
from gateway.workers.model import WorkerId
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)

__all__ = ["DataPlane", "ProxySettings"]

BACKLOG = 4096
FLUSH_S = 1.0
"""How long closing waits for last words to leave."""


def _nobody_probes(worker_id: WorkerId) -> None:
    """No health checker was given."""


class DataPlane:
    """The proxy on its port. An async context manager; leaving it ends what is still under way.

    `control` is where requests go that are not the data plane's. `probe_now` is called with the id of a
    worker that real traffic could not reach. `mono` is monotonic seconds.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        policy: str = DEFAULT_POLICY,
        settings: ProxySettings | None = None,
        control: ControlDoor | None = None,
        probe_now: Callable[[WorkerId], None] = _nobody_probes,
        mono: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self.settings = settings or ProxySettings()
        self._registry = registry
        self._rng = rng or Random()
        self._pools = Pools(self.settings)
        self._traffic = Traffic(
            registry=registry,
            policy=make_policy(policy, self._rng),
            place_of=self._pools.of,
            settings=self.settings,
            mono=mono,
            rng=self._rng,
            probe_now=probe_now,
        )
        self._control = control
        self._front: Front | None = None
        self._servers: list[asyncio.Server] = []
        self._addresses: tuple[Address, ...] = ()

    async def __aenter__(self) -> Self:
        self._front = Front(asyncio.get_running_loop(), self._traffic, self._control)
        self._registry.watch(self._pools.heed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- numbers to sample ---

    @property
    def address(self) -> Address:
        """Where it listens; of several addresses the first. Raises RuntimeError before `start`."""
        if not self._addresses:
            raise RuntimeError("the data plane does not listen yet")
        return self._addresses[0]

    @property
    def addresses(self) -> tuple[Address, ...]:
        return self._addresses

    @property
    def in_flight(self) -> int:
        """Requests on data routes that have not got all of their answer."""
        return self._traffic.in_flight

    @property
    def connections(self) -> int:
        """Open client connections."""
        return len(self._front.connections) if self._front is not None else 0

    @property
    def tally(self) -> Tally:
        return self._traffic.tally

    @property
    def requests(self) -> int:
        return self._traffic.tally.requests

    @property
    def errors(self) -> int:
        return self._traffic.tally.errors

    @property
    def policy(self) -> str:
        return self._traffic.policy.name

    @property
    def stopping(self) -> bool:
        return self._traffic.stopping

    # --- start and stop ---

    async def start(self, host: str | Sequence[str] = "0.0.0.0", port: int = 30000) -> Address:
        """Listen on every address of `host` (or of each of several). Raises OSError with a sentence for people."""
        front = self._front
        if front is None:
            raise RuntimeError("start the data plane inside `async with`")
        sockets = await bound_sockets([host] if isinstance(host, str) else list(host), port)
        for sock in sockets:
            server = await front.loop.create_server(lambda: ClientConnection(front), sock=sock, backlog=BACKLOG)
            self._servers.append(server)
        self._addresses = tuple(Address.of(sock) for sock in sockets)
        return self._addresses[0]

    def begin_stop(self) -> None:
        """Take no new connections, close idle ones, and make every answer the last of its connection."""
        if self._traffic.stopping:
            return
        self._traffic.stopping = True
        for server in self._servers:
            server.close()
        if self._front is not None:
            for connection in tuple(self._front.connections):
                connection.close_if_idle()

    async def drained(self, timeout_s: float) -> bool:
        """Wait until no request on a data route is under way; False if some still were after `timeout_s`."""
        if not self._traffic.in_flight:
            return True
        idle = asyncio.Event()
        self._traffic.on_idle = idle.set
        try:
            async with asyncio.timeout(timeout_s):
                await idle.wait()
        except TimeoutError:
            return False
        finally:
            self._traffic.on_idle = None
        return True

    async def close(self) -> None:
        """Stop, ending what is still under way: streams with an error event, other answers by closing."""
        self.begin_stop()
        front = self._front
        if front is not None:
            cut_short = self._traffic.in_flight
            for connection in tuple(front.connections):
                connection.shut_down()
            if cut_short:
                logger.warning("requests_cut_short", extra={"fields": {"requests": cut_short}})
            await self._flushed(front)
        await self._pools.close()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def _flushed(self, front: Front) -> None:
        """Give last words a moment to leave, then close what has not gone."""
        for timeout_s in (FLUSH_S, FLUSH_S):
            if not front.connections:
                return
            gone = asyncio.Event()
            front.on_empty = gone.set
            try:
                async with asyncio.timeout(timeout_s):
                    await gone.wait()
            except TimeoutError:
                for connection in tuple(front.connections):
                    connection.abort()
            finally:
                front.on_empty = None
