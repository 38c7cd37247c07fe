"""The data plane as a part of the gateway: listens, counts what is under way, and stops in good order.

Composes listener, exchanges, pools and policy; decides nothing about requests itself.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from types import TracebackType
from typing import Self

from gateway.proxy.addresses import Address, bound_sockets
from gateway.proxy.admission import Admission
from gateway.proxy.control import ControlDoor
from gateway.proxy.fleet import Fleet, RoutingPlan
from gateway.proxy.flights import Flight, oldest
from gateway.proxy.front import Front
from gateway.proxy.generating import Generating
from gateway.proxy.listener import ClientConnection
from gateway.proxy.pool import Pools
from gateway.proxy.settings import ProxySettings
from gateway.proxy.tally import Tally
from gateway.proxy.traffic import Traffic
from gateway.routing.policies import DEFAULT_POLICY
from gateway.tasks import Scope, supervise
from gateway.workers import facts
from gateway.workers.facts import Event
from gateway.workers.model import State, WorkerId
from gateway.workers.registry import Registry

logger = logging.getLogger(__name__)

__all__ = ["DataPlane", "ProxySettings"]

BACKLOG = 4096
TEND_S = 1.0
FLUSH_S = 1.0
"""How long closing waits for last words to leave."""


def _nobody_probes(worker_id: WorkerId) -> None:
    """No health checker was given."""


def _load_what_ids_take() -> None:
    """Ahead of the first request that needs it, and off the loop: some 20 ms."""
    import gateway.proxy.generated
    import gateway.proxy.generated_pairs  # noqa: F401 - loaded for `opening`


class DataPlane:
    """The proxy on its port. An async context manager; leaving it ends what is still under way.

    `control` is where requests go that are not the data plane's. `probe_now` is called with the id of a
    worker that real traffic could not reach. `mono` is monotonic seconds. Without `generating` no request goes to
    gRPC workers.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        policy: str = DEFAULT_POLICY,
        fleet: Fleet | None = None,
        settings: ProxySettings | None = None,
        control: ControlDoor | None = None,
        probe_now: Callable[[WorkerId], None] = _nobody_probes,
        mono: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
        generating: Generating | None = None,
    ) -> None:
        self.settings = settings or ProxySettings()
        self._registry = registry
        self._scope = Scope("data plane")
        self._rng = rng or Random()
        self._pools = Pools(self.settings)
        self._traffic = Traffic(
            registry=registry,
            fleet=fleet or Fleet(registry, RoutingPlan(policy), self._rng),
            place_of=self._pools.of,
            settings=self.settings,
            mono=mono,
            later=self._later,
            rng=self._rng,
            probe_now=probe_now,
            generating=generating,
        )
        self._control = control
        self._knows_ids = False
        """What gRPC workers take has been loaded, or is being."""
        self._front: Front | None = None
        self._servers: list[asyncio.Server] = []
        self._private: list[asyncio.Server] = []
        """Those that go on while the others take no new connections."""
        self._addresses: tuple[Address, ...] = ()

    async def __aenter__(self) -> Self:
        self._front = Front(asyncio.get_running_loop(), self._traffic, self._control)
        self._registry.watch(self._pools.heed)
        self._registry.watch(self._traffic.fleet.heed)
        self._registry.watch(self._heed)
        self._scope.spawn(supervise("data plane", self._tend), name="upkeep")
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
        """The policy of models whose workers name no other."""
        return self._traffic.fleet.plan.policy

    @property
    def fleet(self) -> Fleet:
        return self._traffic.fleet

    @property
    def admission(self) -> Admission:
        return self._traffic.admission

    @property
    def stopping(self) -> bool:
        return self._traffic.stopping

    def flights(self, most: int, worker_id: WorkerId | None = None) -> list[Flight]:
        """The requests under way, the oldest first; of one worker, or of all."""
        connections = self._front.connections if self._front is not None else ()
        return oldest(connections, most, self._traffic.mono(), worker_id)

    # --- what goes on beside the requests ---

    def _later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        assert self._front is not None
        return self._front.loop.call_later(delay_s, call)

    def _heed(self, event: Event) -> None:
        """After a fact: those who wait for room may have some, and a silent worker's requests move on."""
        fact, traffic = event.fact, self._traffic
        if traffic.admission.anybody_waits_for_room:
            self._later(0.0, traffic.admission.room_freed)
        if isinstance(fact, facts.StateChanged) and fact.new is State.UNHEALTHY:
            self._later(0.0, partial(self._move_on, fact.worker))
        if self._knows_ids or traffic.stopping or not isinstance(fact, facts.StateChanged | facts.Discovered):
            return
        if traffic.fleet.special:
            self._knows_ids = True
            self._scope.spawn(asyncio.to_thread(_load_what_ids_take), name="load")

    def _move_on(self, worker_id: WorkerId) -> None:
        """A worker is unhealthy. If it is also silent, nobody should wait for it who can still ask another."""
        entry = self._registry.entries.get(worker_id)
        if entry is None or self._front is None or not self.settings.worker_stall_s:
            return
        if self._traffic.mono() - entry.meters.heard >= self.settings.worker_stall_s:
            for connection in tuple(self._front.connections):
                connection.worker_silent(worker_id)

    async def _tend(self) -> None:
        """Upkeep of the policies, and a look for workers that have stopped answering."""
        asked: dict[WorkerId, float] = {}
        while True:
            await asyncio.sleep(TEND_S)
            now = self._traffic.mono()
            self._traffic.fleet.tend(now)
            self._look_for_stalls(now, asked)
            if self._traffic.admission.anybody_waits_for_room:
                self._traffic.admission.room_freed()

    def _look_for_stalls(self, now: float, asked: dict[WorkerId, float]) -> None:
        stall_s = self.settings.worker_stall_s
        for worker_id, entry in self._registry.entries.items() if stall_s else ():
            silent_since = now - stall_s
            if not entry.meters.in_flight or entry.meters.heard > silent_since:
                continue
            if entry.worker.state is State.READY and asked.get(worker_id, 0.0) <= silent_since:
                asked[worker_id] = now
                self._registry.observe_silence(entry)
                self._traffic.probe_now(worker_id)
        for gone in [worker_id for worker_id in asked if worker_id not in self._registry.entries]:
            del asked[gone]

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

    async def serve_also(self, sock: socket.socket) -> None:
        """Serve on this listening Unix socket too, and go on while the data plane stops: operators watch it stop."""
        front = self._front
        if front is None:
            raise RuntimeError("serve inside `async with`")
        self._private.append(await front.loop.create_unix_server(lambda: ClientConnection(front), sock=sock))

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
        for server in self._private:
            server.close()
        front = self._front
        if front is not None:
            cut_short = self._traffic.in_flight
            for connection in tuple(front.connections):
                connection.shut_down()
            if cut_short:
                logger.warning("requests_cut_short", extra={"fields": {"requests": cut_short}})
            await self._flushed(front)
        self._traffic.admission.close()
        await self._scope.close()
        if self._traffic.generating is not None:
            await self._traffic.generating.scope.close()
        await self._pools.close()
        for server in (*self._servers, *self._private):
            await server.wait_closed()
        self._servers.clear()
        self._private.clear()

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
