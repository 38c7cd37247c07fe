"""What tests of gRPC engines share: a simulated engine as a process, and our client before it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.engines.generation import Generate, Piece, Sampling
from gateway.engines.grpc_channel import Channel
from gateway.engines.grpc_client import EngineClient
from gateway.engines.grpc_sglang import SglangMessages
from gateway.engines.grpc_vllm import VllmMessages
from gateway.simulator.process import SimulatorProcess
from gateway.simulator.tokenizer import sim_tokenizer
from gateway.tasks import Scope
from tests.integration.simulator_world import until

KINDS = ("sglang", "vllm")
LINES = ["<user> What does a drain do?"]
PROMPT = "\n".join(LINES)
IDS = sim_tokenizer().encode_chat(LINES)
MESSAGES: dict[str, Any] = {"sglang": SglangMessages, "vllm": VllmMessages}


@dataclass
class Bench:
    """An engine and a client of it."""

    kind: str
    engine: SimulatorProcess
    channel: Channel
    client: EngineClient

    async def ask(self, request_id: str = "r", timeout_s: float = 20.0, **sampling: Any) -> list[Piece]:
        """The pieces of one answer to the usual prompt."""
        call = Generate(request_id, IDS, Sampling(**sampling))
        return [piece async for piece in self.client.generate(call, timeout_s=timeout_s)]

    async def idle(self) -> dict[str, Any]:
        """The engine's counters once it has nothing to do."""

        async def check() -> dict[str, Any] | None:
            stats = await self.engine.stats()
            return stats if not stats["running"] and not stats["waiting"] else None

        found: dict[str, Any] = await until(check, "the engine to be idle")
        return found


@asynccontextmanager
async def bench(kind: str, *flags: str) -> AsyncIterator[Bench]:
    """A simulated engine over gRPC, and our client before it."""
    async with SimulatorProcess("--grpc", kind, *flags) as engine, Scope("test") as scope:
        channel = Channel(engine.url)
        client = EngineClient(MESSAGES[kind](), channel, lambda job, name: scope.spawn(job, name=name))
        try:
            yield Bench(kind, engine, channel, client)
        finally:
            await channel.close()


def ids_of(pieces: list[Piece], index: int = 0) -> list[int]:
    return [token for piece in pieces if piece.index == index for token in piece.token_ids]


def text_of(pieces: list[Piece], index: int = 0) -> str:
    found: str = sim_tokenizer().backend.decode(ids_of(pieces, index))
    return found
