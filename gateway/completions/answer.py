"""An answer in the making: pieces of its choices come in, the bytes an HTTP engine would have sent come out. Pure.

A stream is server-sent events, each as soon as there is something to say; otherwise the whole is said at the end.
What the choices and events look like is the forms': `openai_answers` and `native_answers`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.completions.asked import Asked
from gateway.completions.choice import Choice, Spoken
from gateway.completions.prompts import Prompt
from gateway.engines.generation import Piece
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.model import Engine

encode = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"
LEAST_LOGPROB = -9999.0
"""JSON has no infinity; vLLM writes this instead."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What every event and the whole answer begin with."""

    id: str
    model: str
    created: int
    """Unix seconds."""
    engine: Engine
    took: Callable[[], float] = lambda: 0.0
    """Seconds since the attempt began."""


class Answer:
    """One request's answer. `take` pieces until it is `complete`, then `close`."""

    repeats = False
    """Each event of a stream repeats what was said before."""

    def __init__(self, asked: Asked, prompts: Sequence[Prompt], tokenizer: Tokenizer, heading: Heading) -> None:
        self.asked = asked
        self.prompts = prompts
        self.tokenizer = tokenizer
        self.heading = heading
        self.kv_transfer: Mapping[str, object] | None = None
        count = asked.sampling.n
        keep = self.repeats or not asked.stream
        self.choices = [
            Choice(prompt * count + nth, prompt, tokenizer, asked.sampling, keep=keep)
            for prompt in range(len(prompts))
            for nth in range(count)
        ]
        self._open = len(self.choices)

    @property
    def complete(self) -> bool:
        """Every choice has ended."""
        return not self._open

    def take(self, prompt: int, index: int, piece: Piece) -> bytes:
        """Take a piece of one prompt's choice. The events it makes; empty where nothing is to be said yet."""
        choice = self.choices[prompt * self.asked.sampling.n + index]
        if choice.finish is not None:
            return b""
        spoken = choice.take(piece)
        if piece.kv_transfer is not None:
            self.kv_transfer = piece.kv_transfer
        self._open -= choice.finish is not None
        if not self.asked.stream:
            return b""
        return b"".join([b"data: %b\n\n" % encode(event) for event in self.events(choice, spoken)])

    def ended(self, prompt: int, first: int, count: int) -> bool:
        """Whether these choices of a prompt have ended."""
        begin = prompt * self.asked.sampling.n + first
        return all(choice.finish is not None for choice in self.choices[begin : begin + count])

    def close(self) -> bytes:
        """The last bytes of a stream, or all of an answer that is none."""
        if not self.asked.stream:
            return encode(self.whole())
        return b"".join([b"data: %b\n\n" % encode(event) for event in self.last_events()]) + DONE

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage over all choices; those of one prompt count it once."""
        prompt = sum(len(each.ids) for each in self.prompts)
        out = sum(choice.tokens for choice in self.choices)
        cached = [0] * len(self.prompts)
        for choice in self.choices:
            cached[choice.prompt] = max(cached[choice.prompt], choice.cached_tokens)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": out,
            "total_tokens": prompt + out,
            "prompt_tokens_details": {"cached_tokens": sum(cached)},
        }

    # --- the forms' ---

    def events(self, choice: Choice, spoken: Spoken) -> Iterable[dict[str, Any]]:
        """The events of a stream for what a choice has just said."""
        raise NotImplementedError

    def last_events(self) -> Iterable[dict[str, Any]]:
        """Those after all choices have ended."""
        return ()

    def whole(self) -> Any:
        """The answer as one value."""
        raise NotImplementedError


def finite(logprob: float | None) -> float:
    """A log probability that JSON can say."""
    return LEAST_LOGPROB if logprob is None else max(logprob, LEAST_LOGPROB)
