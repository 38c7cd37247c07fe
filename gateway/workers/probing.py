"""Is the worker there, and over which protocol: one probe, whatever speaks at its address.

`grpc://` is asked over gRPC alone and `https://` over HTTP alone. An `http://` address may turn out to be either,
as operators and pods often name a port and nothing else: HTTP is tried first and wins, and only what does not
answer as HTTP but opens HTTP/2 is asked over gRPC. What was found last is tried first the next time.
"""

import asyncio
from dataclasses import dataclass

from gateway.engines.generation import EngineError
from gateway.engines.grpc_engines import Engines, speaks_http2
from gateway.workers.ask import Ask, Unreachable
from gateway.workers.model import Connection, HealthSettings, Worker, WorkerId

SNIFF_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a probe showed."""

    connection: Connection
    problem: str = ""
    """Why it is not healthy; empty: it is."""


class Prober:
    """Asks workers how they are. Without `engines`, over HTTP only."""

    def __init__(self, ask: Ask, engines: Engines | None = None) -> None:
        self._ask = ask
        self._engines = engines
        self._seen: dict[WorkerId, int] = {}
        """Workers at `http://` addresses that answered over gRPC, with the revision they had."""

    def connection(self, worker: Worker) -> Connection:
        """How the worker is spoken to, as far as it is known by now."""
        if self._engines is not None and self._seen.get(worker.id) == worker.revision:
            return Connection.GRPC
        return worker.connection

    def forget(self, worker_id: WorkerId) -> None:
        """The worker is gone, or registered anew."""
        self._seen.pop(worker_id, None)

    async def probe(self, worker: Worker, settings: HealthSettings) -> Found:
        """One probe; takes no longer than the timeout for each protocol that has to be tried."""
        engines = self._engines
        if engines is None or worker.url.startswith("https://"):
            return (await self._http(worker, settings))[0]
        if worker.url.startswith("grpc"):
            return await _grpc(engines, worker, settings)
        if self.connection(worker) is Connection.GRPC:
            over_grpc = await _grpc(engines, worker, settings)
            if not over_grpc.problem:
                return over_grpc
            over_http, _ = await self._http(worker, settings)
            if over_http.problem:
                return over_grpc
            self.forget(worker.id)
            return over_http
        over_http, ended = await self._http(worker, settings)
        if ended or not await speaks_http2(worker.url, min(SNIFF_TIMEOUT_S, settings.timeout_s)):
            return over_http
        over_grpc = await _grpc(engines, worker, settings)
        if not over_grpc.problem:
            self._seen[worker.id] = worker.revision
        return over_grpc

    async def _http(self, worker: Worker, settings: HealthSettings) -> tuple[Found, bool]:
        """What was found, and whether that is all there is to find: something answered as HTTP, or nothing did
        for so long that it is no gRPC server either, since those hang up on HTTP at once."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self._ask(worker, "GET", settings.endpoint, timeout_s=settings.timeout_s)
        except Unreachable as error:
            return Found(Connection.HTTP, str(error)), loop.time() - began >= settings.timeout_s
        return Found(Connection.HTTP, "" if answer.ok else f"{settings.endpoint} answered {answer.status}"), True


async def _grpc(engines: Engines, worker: Worker, settings: HealthSettings) -> Found:
    try:
        await engines.probe(worker, timeout_s=settings.timeout_s)
    except EngineError as error:
        return Found(Connection.GRPC, error.message)
    return Found(Connection.GRPC)
