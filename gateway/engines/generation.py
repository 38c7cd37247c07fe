"""What a gRPC engine is asked and what it gives, in words of our own: the values between the OpenAI surface and
the adapters of SGLang and vLLM.

Everything here is plain: no stubs, no sockets, no tokenizer. Prompts and answers are token ids; an adapter maps
these values to its engine's messages, and hides what that engine does differently (repeated ids, counts that are
not totals, names of finish reasons). What an engine's proto cannot carry is refused, never dropped in silence.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gateway.errors import GatewayError
from gateway.workers.meters import EngineLoad
from gateway.workers.model import Capabilities, Engine

MAX_ROOM = (1 << 31) - 1
"""The proto's `bootstrap_room` has 32 bits with a sign, where the HTTP field has 64."""


class ErrorKind(StrEnum):
    """What became of a call, as far as the caller has to decide something."""

    INVALID = "invalid"
    """The engine refuses this input; another worker of the model would too."""
    UNAVAILABLE = "unavailable"
    """No connection, or it broke: another worker may serve the request."""
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    """The engine, or its protocol, does not have this."""
    EXHAUSTED = "exhausted"
    """The engine has no room; it, or another worker, may have some later."""
    INTERNAL = "internal"
    """The engine failed, or answered what it must not."""


_STATUS = {
    ErrorKind.INVALID: 400,
    ErrorKind.UNAVAILABLE: 502,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.UNSUPPORTED: 501,
    ErrorKind.EXHAUSTED: 503,
    ErrorKind.INTERNAL: 500,
}


class EngineError(GatewayError):
    """A call to an engine failed. `status` is the HTTP status that says the same."""

    def __init__(self, kind: ErrorKind, message: str, *, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.kind = kind
        self.code = f"engine_{kind.value}"
        self.status = _STATUS[kind]

    def __repr__(self) -> str:
        return f"<EngineError {self.kind} {self.message!r}>"


class ConstraintKind(StrEnum):
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    EBNF = "ebnf"
    STRUCTURAL_TAG = "structural_tag"
    JSON_OBJECT = "json_object"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the answer must look like. SGLang's proto has no choice and vLLM's has all six; a JSON object without
    a schema is sent to SGLang as the schema of any object, a choice as a regex."""

    kind: ConstraintKind
    text: str = ""
    """The schema, expression, grammar or tag."""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. None: the model's own default where the worker tells one (the sampling defaults of its
    model info), else the neutral value that means "off"."""

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    """-1 or 0: all tokens."""
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] = ()
    """Stop strings for the engine to look for. It needs its own tokenizer for that; it may also be left to us."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    no_stop_trim: bool = False
    """Keep the stop string or token in the answer (vLLM: include_stop_str_in_output)."""
    n: int = 1
    seed: int | None = None
    """vLLM only: SGLang's proto has no place for it, and there it is ignored, as SMG does."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Where a prefill and a decode worker of SGLang meet (DisaggregatedParams)."""

    host: str
    port: int | None
    """Of the prefill worker's bootstrap server; None: the engine's own idea of it."""
    room: int
    """From 0 to `MAX_ROOM`; both legs of a request name the same."""


@dataclass(frozen=True, slots=True)
class Generate:
    """One request. Its id must be unique at the engine: it is what an abort names."""

    request_id: str
    token_ids: Sequence[int]
    sampling: Sampling = Sampling()
    stream: bool = True
    text: str = ""
    """What the ids were made of, where known; engines only log it."""
    logprobs: int | None = None
    """None: none; n: the chosen token's and those of the n likeliest."""
    prompt_logprobs: bool = False
    """The prompt's too (OpenAI's `echo`, SGLang's `logprob_start_len: 0`), with as many alternatives as `logprobs`."""
    rank: int | None = None
    """Data-parallel rank it is pinned to."""
    bootstrap: Bootstrap | None = None
    kv_transfer: Mapping[str, object] | None = None
    """vLLM's kv_transfer_params, passed as they are."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token and what it might have been instead."""

    token_id: int
    logprob: float | None
    """None for the first token of a prompt, and where the engine gave none."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, logprob), in the engine's order: vLLM names the chosen token first, then by rank."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Why a choice ended."""

    reason: str
    """`stop`, `length`, `abort`, or what else the engine says."""
    matched: str | int | None = None
    """The stop string or stop token id that ended it, where the engine tells. A stop token is among the ids (the
    engines count it), though its text does not belong to the answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """New tokens of one choice. Over a stream every id appears exactly once, whatever the engine repeats; the last
    piece of a choice has `finish` (and may have no ids)."""

    index: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each id, if asked for."""
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """On one piece of the stream only, if asked for."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    """Totals of this choice so far; the last is counted here, not taken from the engine."""
    finish: Finish | None = None
    kv_transfer: Mapping[str, object] | None = None
    """What a vLLM prefill worker gives for the decode worker; with `finish` only."""


@dataclass(frozen=True, slots=True)
class Embedding:
    values: tuple[float, ...]
    prompt_tokens: int


class GrpcEngine(Protocol):
    """One worker's engine. Every method raises EngineError, and nothing else but CancelledError."""

    @property
    def engine(self) -> Engine: ...

    def generate(self, call: Generate, *, timeout_s: float) -> AsyncGenerator[Piece, None]:
        """The answer. Close the iterator (`aclosing`) or cancel the task that awaits it: that cancels the RPC and
        aborts the request at the engine. A stream that breaks after its first piece raises UNAVAILABLE."""
        ...

    async def embed(self, request_id: str, token_ids: Sequence[int], *, text: str = "", timeout_s: float) -> Embedding:
        """A vector of the prompt; UNSUPPORTED where the engine has none."""
        ...

    async def healthy(self, *, timeout_s: float) -> None:
        """Return if the engine says it is healthy; otherwise raise what it said."""
        ...

    async def info(self, *, timeout_s: float) -> Capabilities:
        """What the engine tells of itself and its model."""
        ...

    async def loads(self, *, now: float, timeout_s: float) -> EngineLoad | None:
        """Queue and KV usage at `now` (monotonic seconds); None: it does not report them."""
        ...

    async def flush_cache(self, *, timeout_s: float) -> str:
        """Empty the prefix cache; what the engine said. Raises EngineError if it could not."""
        ...

    def tokenizer_archive(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """The model's tokenizer directory as a zip, in pieces. Its checksum is verified: a wrong one raises
        EngineError after the last piece, so nothing may be used before the iterator ended."""
        ...

    async def abort(self, request_id: str) -> None:
        """Stop a request at the engine, if it runs there. Never raises EngineError: it is the best effort."""
        ...
