"""One worker's engine over gRPC: the calls, their order and their ends. Implements `generation.GrpcEngine`.

What the two engines call things is in their adapters (`Messages`); what a failed call is called, and the
connection, are the channel's. Whoever closes an answer early gets the call cancelled and an abort sent by name,
since a servicer may hear of a cancelled call late, or of one of several choices not at all.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

from gateway.engines.generation import Embedding, EngineError, ErrorKind, Generate, Piece
from gateway.engines.grpc_channel import Channel
from gateway.engines.grpc_info import capabilities_from, load_from, sampling_defaults
from gateway.engines.grpc_pieces import Choices, Said
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Capabilities, Engine

ABORT_TIMEOUT_S = 3.0
MAX_CHOICES = 1024
MAX_ARCHIVE_BYTES = 300 * 1024 * 1024

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Messages(Protocol):
    """An engine's messages: an adapter."""

    @property
    def engine(self) -> Engine: ...

    @property
    def service(self) -> str:
        """The full name of its gRPC service."""
        ...

    @property
    def pb(self) -> Any:
        """Its module of messages, of which those without fields need no adapting."""
        ...

    def stub(self, channel: Any) -> Any: ...

    def generate(self, call: Generate, defaults: Mapping[str, object]) -> Any:
        """The request; ValueError and TypeError are the proto's own for values out of range."""
        ...

    def said(self, message: Any) -> Said | None: ...

    def embed(self, request_id: str, token_ids: Sequence[int], text: str) -> Any: ...

    def abort(self, request_id: str) -> Any: ...

    def told(self, model: Any, server: Any) -> dict[str, object]:
        """Model and server info (either may be None) as one flat record."""
        ...


class EngineClient:
    """One worker's engine. `spawn` runs aborts that outlive the request they are for."""

    def __init__(self, messages: Messages, channel: Channel, spawn: Spawn) -> None:
        self._messages = messages
        self._channel = channel
        self._spawn = spawn
        self._stub = messages.stub(channel.raw)
        self._defaults: Mapping[str, object] = {}
        """Sampling parameters of the model, as it told them last."""

    def __repr__(self) -> str:
        return f"<EngineClient {self.engine} {self._channel!r}>"

    @property
    def engine(self) -> Engine:
        return self._messages.engine

    async def generate(self, call: Generate, *, timeout_s: float) -> AsyncGenerator[Piece, None]:
        if not 1 <= call.sampling.n <= MAX_CHOICES:
            raise EngineError(ErrorKind.INVALID, f"n: given {call.sampling.n}, expected 1 to {MAX_CHOICES}", field="n")
        try:
            request = self._messages.generate(call, self._defaults)
        except (ValueError, TypeError) as error:
            raise EngineError(ErrorKind.INVALID, f"the request does not fit the worker's protocol: {error}") from None
        choices = Choices(call.sampling.n)
        answers = self._channel.stream(self._stub.Generate, request, timeout_s=timeout_s, doing="Generate")
        settled = False
        try:
            async with aclosing(answers):
                async for message in answers:
                    said = self._messages.said(message)
                    if said is not None and (piece := choices.piece(said)) is not None:
                        settled = choices.ended
                        yield piece
            settled = True
            if not choices.ended:
                raise EngineError(ErrorKind.UNAVAILABLE, "the stream ended before the answer was complete")
        except EngineError as error:
            settled = settled or error.kind not in (ErrorKind.TIMEOUT, ErrorKind.INTERNAL)
            raise
        finally:
            if not settled:
                self._spawn(self.abort(call.request_id), f"abort {call.request_id}")

    async def embed(self, request_id: str, token_ids: Sequence[int], *, text: str = "", timeout_s: float) -> Embedding:
        try:
            request = self._messages.embed(request_id, token_ids, text)
        except (ValueError, TypeError) as error:
            raise EngineError(ErrorKind.INVALID, f"the request does not fit the worker's protocol: {error}") from None
        answer = await self._channel.unary(self._stub.Embed, request, timeout_s=timeout_s, doing="Embed")
        return Embedding(tuple(answer.embedding), answer.prompt_tokens)

    async def healthy(self, *, timeout_s: float) -> None:
        request = self._messages.pb.HealthCheckRequest()
        try:
            answer = await self._channel.unary(
                self._stub.HealthCheck, request, timeout_s=timeout_s, doing="HealthCheck"
            )
        except EngineError as error:
            if error.kind is not ErrorKind.UNSUPPORTED:
                raise
            await self._serving(timeout_s)
        else:
            if not answer.healthy:
                raise EngineError(ErrorKind.UNAVAILABLE, f"HealthCheck: {answer.message or 'not healthy'}")

    async def _serving(self, timeout_s: float) -> None:
        """By the standard health service, which both engines have too. It must know the engine's service: any
        gRPC server might answer for itself."""
        if not await self._channel.serving(self._messages.service, timeout_s=timeout_s):
            raise EngineError(ErrorKind.UNAVAILABLE, "grpc.health.v1: not serving")

    async def info(self, *, timeout_s: float) -> Capabilities:
        pb, stub, missing = self._messages.pb, self._stub, []
        told: dict[str, Any] = {}
        last: EngineError | None = None
        for name, method, request in (
            ("GetModelInfo", stub.GetModelInfo, pb.GetModelInfoRequest()),
            ("GetServerInfo", stub.GetServerInfo, pb.GetServerInfoRequest()),
        ):
            try:
                told[name] = await self._channel.unary(method, request, timeout_s=timeout_s, doing=name)
            except EngineError as error:
                missing.append(f"{name}: {error.message}")
                last = error
        if last is not None and not told:
            raise last
        flat = self._messages.told(told.get("GetModelInfo"), told.get("GetServerInfo"))
        self._defaults = sampling_defaults(flat)
        version = "" if flat.get("version") else await self._version(timeout_s)
        return capabilities_from(flat, self.engine, version, missing)

    async def _version(self, timeout_s: float) -> str:
        """As it comes with the loads; none where there are no loads."""
        try:
            return str((await self._get_loads(timeout_s)).version)
        except EngineError:
            return ""

    async def _get_loads(self, timeout_s: float) -> Any:
        request = self._messages.pb.GetLoadsRequest(include=["core"])
        return await self._channel.unary(self._stub.GetLoads, request, timeout_s=timeout_s, doing="GetLoads")

    async def loads(self, *, now: float, timeout_s: float) -> EngineLoad | None:
        try:
            answer = await self._get_loads(timeout_s)
        except EngineError as error:
            if error.kind is ErrorKind.UNSUPPORTED:
                return None
            raise
        return load_from(answer.loads, now)

    async def flush_cache(self, *, timeout_s: float) -> str:
        from smg_grpc_proto.generated import common_pb2

        answer = await self._channel.unary(
            self._stub.FlushCache, common_pb2.FlushCacheRequest(), timeout_s=timeout_s, doing="FlushCache"
        )
        if not answer.success:
            raise EngineError(ErrorKind.EXHAUSTED, answer.message or "the engine did not flush its cache")
        return str(answer.message)

    async def tokenizer_archive(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        from smg_grpc_proto.generated import common_pb2

        request = common_pb2.GetTokenizerRequest()
        chunks = self._channel.stream(self._stub.GetTokenizer, request, timeout_s=timeout_s, doing="GetTokenizer")
        found, size, promised = hashlib.sha256(), 0, ""
        async with aclosing(chunks):
            async for chunk in chunks:
                size += len(chunk.data)
                if size > MAX_ARCHIVE_BYTES:
                    raise EngineError(ErrorKind.INTERNAL, f"the tokenizer is larger than {MAX_ARCHIVE_BYTES} bytes")
                found.update(chunk.data)
                promised = chunk.sha256 or promised
                yield chunk.data
        if not promised or promised.lower() != found.hexdigest():
            told = f"sha256 {promised[:64]}" if promised else "no sha256"
            raise EngineError(
                ErrorKind.INTERNAL,
                f"the tokenizer came damaged: {size} bytes of sha256 {found.hexdigest()}, told {told}",
            )

    async def abort(self, request_id: str) -> None:
        request = self._messages.abort(request_id)
        with suppress(EngineError):  # the best effort: the call itself has been cancelled
            await self._channel.unary(self._stub.Abort, request, timeout_s=ABORT_TIMEOUT_S, doing="Abort")
