"""The prefill half of a request that two gRPC workers serve: its calls, until all have ended. Implements `leg.Leg`."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import msgspec

from gateway.engines.generation import EngineError, ErrorKind, GrpcEngine
from gateway.proxy.dispatch import Dispatch
from gateway.proxy.engine_upstream import TOLD, Call, EngineLost, all_of
from gateway.proxy.generating import Generating
from gateway.proxy.leg import Whole
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import UpstreamError
from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome

logger = logging.getLogger(__name__)


class GeneratedLeg:
    """What its worker says is dropped, but for what the decode worker needs (vLLM's kv_transfer_params)."""

    def __init__(self, parts: Generating, traffic: Traffic, whole: Whole, entry: Entry, now: float) -> None:
        self._parts = parts
        self._traffic = traffic
        self._whole = whole
        self._task: asyncio.Task[None] | None = None
        self._handed_over: Mapping[str, object] | None = None
        self.dispatch = Dispatch(entry, now)
        self.status = 0
        self.body = b""

    def begin(self, calls: Sequence[Call], timeout_s: float) -> None:
        """Send it."""
        name = f"prefill at {self.dispatch.worker.name}"
        self._task = self._parts.scope.spawn(self._run(calls, timeout_s), name=name)

    async def _run(self, calls: Sequence[Call], timeout_s: float) -> None:
        try:
            worker = self.dispatch.worker
            engine = self._parts.engines.known(worker) or await self._parts.engines.of(worker)
            await all_of([self._read(engine, call, timeout_s) for call in calls])
        except EngineError as error:
            self._failed(error)
        except Exception:  # whatever it is, the client gets an answer
            logger.exception("generation_failed")
            self._failed(EngineError(ErrorKind.INTERNAL, "the prefill could not be read"))
        else:
            self._done(200, {"kv_transfer_params": self._handed_over} if self._handed_over else {})

    async def _read(self, engine: GrpcEngine, call: Call, timeout_s: float) -> None:
        async with aclosing(engine.generate(call.generate, timeout_s=timeout_s)) as pieces:
            async for piece in pieces:
                self.dispatch.entry.meters.heard = self._traffic.mono()
                self._handed_over = piece.kv_transfer or self._handed_over

    def _failed(self, error: EngineError) -> None:
        status = TOLD.get(error.kind)
        if status is not None:
            self._done(status, {"error": {"message": error.message}})
            return
        lost = EngineLost(error, answered=False)
        self._lost(lost, gone=lost.gone)

    def _done(self, status: int, body: Mapping[str, object]) -> None:
        if self.dispatch.ended:
            return
        self._task = None
        self.status, self.body = status, msgspec.json.encode(body)
        outcome = Outcome.OK if status < 500 else Outcome.SERVER_ERROR
        self.dispatch.end(self._traffic, outcome, f"it answered {status}" if status == 500 else "")
        self._whole.prefilled(self)

    def _lost(self, error: UpstreamError, *, gone: bool) -> None:
        if self.dispatch.ended:
            return
        self._release()
        self.dispatch.lost(self._traffic, str(error), gone=gone)
        self._whole.prefill_lost(self, error, gone=gone)

    def _release(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._release()
        self.dispatch.end(self._traffic, Outcome.CANCELLED)

    def fail(self, error: UpstreamError) -> None:
        """Wait no longer: the worker does not answer."""
        self._lost(error, gone=False)
