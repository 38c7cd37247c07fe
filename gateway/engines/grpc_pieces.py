"""What all engines' streams have in common: choices that end apart, ids that must appear once, totals that must
be counted. Pure; an adapter takes its engine's message apart, and this makes pieces of what it says.

Both engines end a streamed choice with a message that repeats ids of its chunks (vLLM the last chunk's, other
servers all of them), so ids come from chunks; from the ending message only where the choice had no chunk at all,
which is how an answer without streaming comes. Totals are counted here: vLLM's are of the chunk.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.engines.generation import EngineError, ErrorKind, Finish, Piece, TokenLogprob

Top = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a stream, in words of our own."""

    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish: Finish | None = None
    """Only in a choice's ending message."""
    kv_transfer: Mapping[str, object] | None = None


class Choices:
    """The choices of one answer on their way."""

    def __init__(self, n: int) -> None:
        self._open = set(range(n))
        self._chunked: set[int] = set()
        self._count = [0] * n
        self._prompt_told: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether every choice has ended."""
        return not self._open

    def piece(self, said: Said) -> Piece | None:
        """The piece of a message; None where it tells nothing new. Raises EngineError for one that cannot be."""
        index, ends = said.index, said.finish is not None
        if index >= len(self._count):
            raise EngineError(ErrorKind.INTERNAL, f"the engine sent choice {index} of {len(self._count)}")
        if index not in self._open:
            if not (ends and said.token_ids and self._open and not self._chunked):
                return None
            # SGLang numbers none of the choices of an answer without streaming: they come one after the other.
            index = min(self._open)
        if said.finish is not None and said.finish.reason == "error":
            raise EngineError(ErrorKind.INTERNAL, "the engine ended the answer with an error")
        repeated = ends and index in self._chunked
        ids = () if repeated else said.token_ids
        if ends:
            self._open.discard(index)
        else:
            self._chunked.add(index)
        self._count[index] += len(ids)
        prompt = () if index in self._prompt_told else said.prompt_logprobs
        if prompt:
            self._prompt_told.add(index)
        if not ids and not ends and not prompt:
            return None
        return Piece(
            index=index,
            token_ids=ids,
            logprobs=aligned(ids, said.logprobs) if ids and said.logprobs else (),
            prompt_logprobs=prompt,
            prompt_tokens=said.prompt_tokens,
            cached_tokens=said.cached_tokens,
            completion_tokens=self._count[index],
            finish=said.finish,
            kv_transfer=said.kv_transfer,
        )


def aligned(ids: Sequence[int], logprobs: Sequence[TokenLogprob]) -> tuple[TokenLogprob, ...]:
    """One record for each id. An engine may leave out tokens it has none for, or send those of earlier tokens
    too: the last records are matched to the ids from the end, and an id without one gets an empty record."""
    found: list[TokenLogprob] = []
    left = list(logprobs)
    for token in reversed(ids):
        if left and left[-1].token_id == token:
            found.append(left.pop())
        else:
            found.append(TokenLogprob(token, None))
    return tuple(reversed(found))


def logprobs_of(values: Iterable[float | None], ids: Iterable[int], tops: Sequence[Top]) -> tuple[TokenLogprob, ...]:
    """Records from the parallel lists of the protos; `tops` may be shorter than the others, or empty."""
    records = []
    for at, (value, token) in enumerate(zip(values, ids, strict=False)):
        records.append(TokenLogprob(token, value, tops[at] if at < len(tops) else ()))
    return tuple(records)


def said_of(message: Any) -> Said | None:
    """What a GenerateResponse says, of either engine: their fields have the same names. None: nothing."""
    kind = message.WhichOneof("response")
    if kind == "chunk":
        part, ids, finish = message.chunk, message.chunk.token_ids, None
    elif kind == "complete":
        part, ids = message.complete, message.complete.output_ids
        stop = part.WhichOneof("matched_stop")
        # Engines say nothing where they mean stop.
        finish = Finish(part.finish_reason or "stop", getattr(part, stop) if stop else None)
    else:
        return None
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    if part.HasField("output_logprobs"):
        output = part.output_logprobs
        logprobs = logprobs_of(output.token_logprobs, output.token_ids, _tops(output.top_logprobs))
    if part.HasField("input_logprobs"):
        prompt = part.input_logprobs
        values = (each.value if each.HasField("value") else None for each in prompt.token_logprobs)
        prompt_logprobs = logprobs_of(values, prompt.token_ids, _tops(prompt.top_logprobs))
    return Said(part.index, tuple(ids), logprobs, prompt_logprobs, part.prompt_tokens, part.cached_tokens, finish)


def _tops(rows: Any) -> list[Top]:
    return [tuple(zip(row.token_ids, row.values, strict=False)) for row in rows]
