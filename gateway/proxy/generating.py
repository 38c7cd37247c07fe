"""What exchanges with gRPC workers share: tokenizers, engines, and what stands in the way of a request to them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.engines.grpc_engines import Engines
from gateway.errors import GatewayError
from gateway.tasks import Scope
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.entry import Entry
from gateway.workers.model import Connection, Engine


class TokenizerMissing(GatewayError):
    """The workers take token ids, and nobody here can make them yet."""

    code = "tokenizer_not_ready"
    status = 503


class NotOverGrpc(GatewayError):
    """A route that engines serve over HTTP only."""

    code = "not_supported_over_grpc"
    status = 501


@dataclass(slots=True)
class Generating:
    """`wall` is a clock in Unix seconds. Whoever made it closes `scope`."""

    tokenizers: TokenizerRegistry
    engines: Engines
    wall: Callable[[], float] = time.time
    scope: Scope = field(default_factory=lambda: Scope("generations"))

    def tokenizer(self, model: str) -> Tokenizer:
        """The model's tokenizer. Raises TokenizerMissing."""
        found = self.tokenizers.get(model)
        if found is None:
            why = self.tokenizers.missing_for((model,)).get(model, "")
            raise TokenizerMissing(f"model '{model[:200]}' is served over gRPC, which takes a tokenizer: {why}")
        return found


def over_grpc(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Those that take token ids."""
    return tuple(entry for entry in entries if entry.worker.connection is Connection.GRPC)


def context_of(entries: Iterable[Entry], tokenizer: Tokenizer) -> int | None:
    """The most tokens a sequence may have at any of these workers, else what the model's files say."""
    told = [length for entry in entries if (length := entry.worker.capabilities.context_length)]
    return max(told, default=tokenizer.context_length)


def separator_of(entries: Iterable[Entry]) -> str:
    """What the engines put between the parts of a message."""
    return "\n" if all(entry.worker.engine is Engine.VLLM for entry in entries) else " "
