"""The gRPC engines of the fleet: one client for each worker, made when it is first needed, closed with the worker.

The control loops and the data plane ask here, so a worker has one connection whoever calls. gRPC itself is loaded
with the first gRPC worker, in a thread, since that takes a tenth of a second. Which engine a worker runs is what
its operator declared, else the one whose health service answers.
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from gateway.engines.generation import EngineError, ErrorKind, GrpcEngine
from gateway.tasks import Scope
from gateway.workers import facts
from gateway.workers.facts import Event
from gateway.workers.model import Engine, Worker, WorkerId
from gateway.workers.registry import Registry

if TYPE_CHECKING:
    from gateway.engines.grpc_channel import Channel
    from gateway.engines.grpc_client import EngineClient, Messages

IDENTIFY_TIMEOUT_S = 5.0
GRACE_S = 1800.0
"""Most that answers under way may go on at a worker that was removed, as they may over HTTP."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
"""What a client opens HTTP/2 with: the magic line and empty settings. A server answers with its settings."""
SETTINGS = 4


class _Line:
    """A worker's channel and what was found at its end."""

    __slots__ = ("channel", "client", "revision")

    def __init__(self, revision: int, channel: "Channel") -> None:
        self.revision = revision
        self.channel = channel
        self.client: EngineClient | None = None


class Engines:
    """Clients by worker. An async context manager; leaving it closes every channel at once."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lines: dict[WorkerId, _Line] = {}
        self._scope = Scope("engines")

    async def __aenter__(self) -> Self:
        self._registry.watch(self._on_event)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()
        while self._lines:
            _, line = self._lines.popitem()
            await line.channel.close()

    def _on_event(self, event: Event) -> None:
        fact = event.fact
        if not self._lines or fact.worker is None or (line := self._lines.get(fact.worker)) is None:
            return
        entry = self._registry.entries.get(fact.worker)
        renewed = isinstance(fact, facts.SpecPatched) and "api_key" in fact.fields
        if entry is None or renewed or entry.worker.revision != line.revision:
            self._drop(fact.worker)

    def _drop(self, worker_id: WorkerId) -> None:
        line = self._lines.pop(worker_id)
        self._spawn(line.channel.close(GRACE_S), f"close {line.channel!r}")

    def _spawn(self, job: Coroutine[Any, Any, None], name: str) -> None:
        with suppress(RuntimeError):  # the gateway ends, and its channels with it
            self._scope.spawn(job, name=name)

    # --- a worker's engine ---

    def known(self, worker: Worker) -> GrpcEngine | None:
        """The worker's engine if it was found before: every worker's that is ready."""
        line = self._lines.get(worker.id)
        return line.client if line is not None and line.revision == worker.revision else None

    async def of(self, worker: Worker) -> GrpcEngine:
        """The worker's engine, found out first if need be. Raises EngineError."""
        return self.known(worker) or await self._identified(worker, IDENTIFY_TIMEOUT_S)

    async def probe(self, worker: Worker, *, timeout_s: float) -> None:
        """Return if the worker is healthy. Raises EngineError with the reason.

        Asked over the connection that requests take. If that is down and its next attempt to connect is yet to
        come, it is opened anew: a probe tells how the worker is now, and requests shall find it as the probe did.
        """
        line = self._lines.get(worker.id)
        if line is not None and line.channel.broken:
            self._drop(worker.id)
        client = self.known(worker)
        if client is not None:
            try:
                await client.healthy(timeout_s=timeout_s)
            except EngineError as error:
                if error.kind not in (ErrorKind.UNSUPPORTED, ErrorKind.INVALID) or _declared(worker):
                    raise
            else:
                return
        await self._identified(worker, timeout_s)

    async def _identified(self, worker: Worker, timeout_s: float) -> "EngineClient":
        """Ask for the health of either engine at once; whichever is healthy is it."""
        await _loaded()
        line = self._line(worker)
        clients = [_client(messages, line.channel, self._spawn) for messages in _adapters(worker)]
        found: list[EngineClient] = []
        failed: list[EngineError] = []

        async def healthy(client: "EngineClient") -> None:
            try:
                await client.healthy(timeout_s=timeout_s)
            except EngineError as error:
                failed.append(error)
            else:
                found.append(client)

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(healthy(client))
        if found and (line.client is None or line.client.engine is not found[0].engine):
            line.client = found[0]
        if not found or line.client is None:
            raise _why(failed, worker.spec.engine.value if _declared(worker) else "")
        return line.client

    def _line(self, worker: Worker) -> _Line:
        line = self._lines.get(worker.id)
        if line is None or line.revision != worker.revision:
            from gateway.engines.grpc_channel import Channel

            if line is not None:
                self._drop(worker.id)
            key = worker.spec.api_key
            line = _Line(worker.revision, Channel(worker.url, key.reveal() if key else None))
            entry = self._registry.entries.get(worker.id)
            if entry is None or entry.worker.revision != worker.revision:
                self._spawn(line.channel.close(), "close a late channel")  # it was removed meanwhile
            else:
                self._lines[worker.id] = line
        return line


def _declared(worker: Worker) -> bool:
    return worker.spec.engine in (Engine.SGLANG, Engine.VLLM)


def _why(failed: Sequence[EngineError], declared: str) -> EngineError:
    """Of what each engine's health service answered, what tells most."""
    unknown = (ErrorKind.UNSUPPORTED, ErrorKind.INVALID)
    for error in failed:
        if error.kind not in unknown:
            return error
    wanted = f"not {declared}'s" if declared else "neither sglang's nor vllm's"
    return EngineError(ErrorKind.UNSUPPORTED, f"it speaks gRPC, but {wanted} service")


def _import() -> None:
    # gRPC core writes to standard error of its own accord, which may be a console's terminal; what goes wrong
    # comes back as a status. An operator who wants to see its log sets the variable.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Whoever forks here runs another program at once: gRPC need not stop its threads for that.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import gateway.engines.grpc_client
    import gateway.engines.grpc_sglang
    import gateway.engines.grpc_vllm  # noqa: F401 - loaded for those who need it next


_imported = False


async def _loaded() -> None:
    global _imported
    if not _imported:
        await asyncio.to_thread(_import)
        _imported = True


def _adapters(worker: Worker) -> "list[Messages]":
    from gateway.engines.grpc_sglang import SglangMessages
    from gateway.engines.grpc_vllm import VllmMessages

    every: list[Messages] = [SglangMessages(), VllmMessages()]
    if _declared(worker):
        return [messages for messages in every if messages.engine is worker.spec.engine]
    return every


def _client(messages: "Messages", channel: "Channel", spawn: Any) -> "EngineClient":
    from gateway.engines.grpc_client import EngineClient

    return EngineClient(messages, channel, spawn)


async def speaks_http2(url: str, timeout_s: float) -> bool:
    """Whether what listens at this `http://` address opens HTTP/2 as a gRPC server does. Needs no gRPC, so that
    a worker that is merely down does not cause it to be loaded."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
            writer.write(PREFACE)
            head = await reader.readexactly(9)
    except (OSError, EOFError, TimeoutError, UnicodeError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    length, frame, stream = int.from_bytes(head[:3]), head[3], int.from_bytes(head[5:])
    return frame == SETTINGS and length % 6 == 0 and stream == 0
