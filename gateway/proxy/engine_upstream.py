"""A request at a gRPC engine, as the exchange sees one at an HTTP worker: head, pieces of a body, an end or an error.

The head goes out with the engine's first token, so that until then another worker can answer. What the engine says
within one turn of the loop goes out together. While the client is slow, no more than a little is read ahead, and the
engine's stream waits in turn.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.completions.answer import Answer
from gateway.completions.vectors import embeddings_answer
from gateway.engines.generation import EngineError, ErrorKind, Generate, GrpcEngine, Piece
from gateway.proxy.answers import error_body
from gateway.proxy.generating import Generating
from gateway.proxy.messages import REASONS, AnswerHead
from gateway.proxy.upstream import Sink, UpstreamError
from gateway.workers.model import Worker

logger = logging.getLogger(__name__)

STREAM_HEAD = AnswerHead(
    200, b"OK", [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
)
_JSON = [(b"content-type", b"application/json")]
JSON_HEAD = AnswerHead(200, b"OK", _JSON)
READ_AHEAD = 64
"""Pieces that may wait for a slow client."""
LINGER_S = 1.0
LINGER_PIECES = 32
"""After the last token, and after a stop string, the engine ends by itself: it has so long before it is told to."""
BEGUN_AT_ONCE = 8
"""Calls of one request that begin in one turn of the loop."""
_CONNECTION = ("connection refused", "no connection in time", "cannot resolve host", "TLS: ")
TOLD = {ErrorKind.INVALID: 400, ErrorKind.UNSUPPORTED: 501, ErrorKind.EXHAUSTED: 429, ErrorKind.INTERNAL: 500}
"""Kinds of errors that are the engine's answer, each with its status."""


class EngineLost(UpstreamError):
    """The engine could not be reached (`gone`), or its stream broke."""

    def __init__(self, error: EngineError, *, answered: bool) -> None:
        super().__init__(error.message, timeout=error.kind is ErrorKind.TIMEOUT)
        self.gone = not answered and error.kind is ErrorKind.UNAVAILABLE and error.message.startswith(_CONNECTION)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the engine: for which prompt of the request, and for which of its choices from which on."""

    prompt: int
    first: int
    generate: Generate


@dataclass(frozen=True, slots=True)
class Generation:
    """What generates an answer."""

    calls: Sequence[Call]
    answer: Answer


@dataclass(frozen=True, slots=True)
class Embed:
    """What makes vectors of prompts."""

    request_id: str
    prompts: Sequence[Any] = field(default_factory=tuple)
    """`gateway.completions.prompts.Prompt`s."""
    model: str = ""
    base64: bool = False


class EngineUpstream:
    """One attempt. Everything of it is told to `sink`; nothing any more after `abandon`."""

    reused = False

    def __init__(
        self, parts: Generating, worker: Worker, work: Generation | Embed, sink: Sink, timeout_s: float
    ) -> None:
        self.answered = False
        self._parts = parts
        self._worker = worker
        self._work = work
        self._sink: Sink | None = sink
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._ended = self._paused = self._scheduled = False
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<EngineUpstream {self._worker.name}>"

    def begin(self) -> None:
        self._task = self._parts.scope.spawn(self._run(), name=f"generate at {self._worker.name}")

    # --- the exchange's side ---

    def pause(self) -> None:
        self._paused = True
        self._room.clear()

    def resume(self) -> None:
        self._paused = False
        self._room.set()
        if self._out or self._ended:
            self._deliver()

    def divert(self, sink: Sink) -> None:
        self._sink = sink

    def abandon(self) -> None:
        """Nobody wants the rest: the engine is told at once."""
        self._sink = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # --- the engine's side ---

    async def _run(self) -> None:
        work = self._work
        try:
            engine = self._parts.engines.known(self._worker) or await self._parts.engines.of(self._worker)
            if isinstance(work, Embed):
                self._out.append(await self._vectors(engine, work))
                self._end(JSON_HEAD)
            else:
                await all_of([self._read(engine, call, work.answer) for call in work.calls])
        except EngineError as error:
            self._failed(error)
        except Exception:  # whatever it is, the client gets an answer
            logger.exception("generation_failed")
            self._failed(EngineError(ErrorKind.INTERNAL, "the answer could not be read"))

    async def _read(self, engine: GrpcEngine, call: Call, answer: Answer) -> None:
        """One call's pieces. The last one of all calls ends the answer."""
        async with aclosing(engine.generate(call.generate, timeout_s=self._timeout_s)) as pieces:
            async for piece in pieces:
                self._took(answer, call, piece)
                if answer.ended(call.prompt, call.first, call.generate.sampling.n):
                    if answer.complete:
                        self._complete(answer)
                    await _linger(pieces)
                    return
                if self._paused and len(self._out) >= READ_AHEAD:
                    await self._room.wait()
        raise EngineError(ErrorKind.UNAVAILABLE, "the stream ended before the answer was complete")

    def _took(self, answer: Answer, call: Call, piece: Piece) -> None:
        events = answer.take(call.prompt, call.first + piece.index, piece)
        if events:
            self._out.append(events)
            self._schedule()

    def _complete(self, answer: Answer) -> None:
        self._out.append(answer.close())
        self._end(STREAM_HEAD if answer.asked.stream else JSON_HEAD)

    async def _vectors(self, engine: GrpcEngine, work: Embed) -> bytes:
        found: list[Any] = [None] * len(work.prompts)

        async def one(at: int) -> None:
            prompt, name = work.prompts[at], f"{work.request_id}-{at}"
            found[at] = await engine.embed(name, prompt.ids, text=prompt.text, timeout_s=self._timeout_s)

        await all_of([one(at) for at in range(len(work.prompts))])
        return embeddings_answer(work.model, found, as_base64=work.base64)

    def _end(self, head: AnswerHead) -> None:
        self._ended = True
        if head is not STREAM_HEAD and self._sink is not None:
            self.answered = True
            self._sink.on_head(head, sum(map(len, self._out)))
        self._schedule()

    # --- to the sink ---

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._loop.call_soon(self._deliver_now)

    def _deliver_now(self) -> None:
        self._scheduled = False
        if not self._paused:
            self._deliver()

    def _deliver(self) -> None:
        """Hand over all that came. The sink may pause, divert or abandon in the middle of it."""
        if self._sink is not None and not self.answered:
            self.answered = True
            self._sink.on_head(STREAM_HEAD, None)
        out, self._out = self._out, []
        if out and self._sink is not None:
            self._sink.on_body(b"".join(out))
        if self._ended:
            sink, self._sink = self._sink, None
            if sink is not None:
                sink.on_end()
        elif self._sink is not None:
            self._sink.on_flush()

    def _failed(self, error: EngineError) -> None:
        """Tell the sink: with an answer, where none has begun and the engine gave one."""
        if self._out:  # said before it broke
            self._deliver()
        sink, status = self._sink, TOLD.get(error.kind)
        if sink is None or self._ended:
            return
        if self.answered or status is None:
            self._sink = None
            sink.on_error(EngineLost(error, answered=self.answered))
            return
        code = "invalid_request" if status == 400 else error.code
        body = msgspec.json.encode(error_body(status, code, error.message, error.field))
        self._out = [body]
        self._end(AnswerHead(status, REASONS.get(status, b""), [*_JSON, (b"x-smg-error-code", code.encode())]))


async def _linger(pieces: Any) -> None:
    """Let the engine end by itself what is over for the client, for a moment: it does, after a stop string too."""
    try:
        async with asyncio.timeout(LINGER_S):
            for _ in range(LINGER_PIECES):
                await anext(pieces)
    except (StopAsyncIteration, TimeoutError, EngineError):
        pass


async def all_of(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run them side by side, begun a few in each turn of the loop: to begin one takes a moment. Raises the first
    one's EngineError, after the others were ended."""
    if len(jobs) == 1:
        await jobs[0]
        return
    begun = 0
    try:
        async with asyncio.TaskGroup() as group:
            for begun, job in enumerate(jobs, 1):
                group.create_task(job)
                if not begun % BEGUN_AT_ONCE:
                    await asyncio.sleep(0)
    except* EngineError as failed:
        first = failed.exceptions[0]
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    finally:
        for job in jobs[begun:]:
            job.close()
