"""What kind of server a simulated engine is: one typed value, made from the command line."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.simulator.engine import EngineSettings
from gateway.simulator.planning import Room

SGLANG_VERSION = "0.5.10"
VLLM_VERSION = "0.32.0"


class EngineKind(StrEnum):
    """Whose HTTP API it speaks."""

    SGLANG = "sglang"
    VLLM = "vllm"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One simulated engine process."""

    kind: EngineKind = EngineKind.SGLANG
    model: str = "sim-model"
    """The model's path; told as `root` and `model_path`."""
    served_model_name: str = ""
    """What clients call it; the path, if empty."""
    context_length: int = 32768
    api_key: str = ""
    protect_health: bool = False
    health_path: str = "/health"
    tp_size: int = 1
    dp_size: int = 1
    """Data-parallel ranks: each has a batch, a queue and a KV pool of its own."""
    startup_delay_s: float = 0.0
    """It listens, but is not up yet."""
    tokenizer: bool = False
    """Count tokens as the engines over gRPC do: with the real tokenizer of `gateway.simulator.tokenizer`."""
    role: str = "null"
    """SGLang's disaggregation mode: null, prefill or decode."""
    seed: int = 0
    """Of the draws that decide which requests a fault hits; answers do not depend on it."""
    engine: EngineSettings = field(default_factory=EngineSettings)

    @property
    def model_id(self) -> str:
        return self.served_model_name or self.model

    @property
    def room(self) -> Room:
        return Room(self.context_length, self.engine.kv_tokens)
