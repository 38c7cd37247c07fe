"""One choice of an answer: token ids become text, up to where it ends. Pure.

The text depends on the ids alone, never on how they came in pieces. A stop string ends it at the token that
completes it; what the engine generates beyond is not the client's. Text that may still become a stop string, or that
is half a character, waits; so does the id that may turn out to be the stop token itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.engines.generation import Finish, Piece, Sampling, TokenLogprob
from gateway.tokenizers.stops import StopStrings
from gateway.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one piece added."""

    text: str
    logprobs: Sequence[TokenLogprob] = ()


NOTHING = Spoken("")


class Choice:
    """The state of one choice. `index` is its number in the answer, `prompt` that of its prompt."""

    __slots__ = (
        "_decoder",
        "_held",
        "_keep",
        "_keep_stop",
        "_stop_ids",
        "_stops",
        "begun",
        "cached_tokens",
        "finish",
        "ids",
        "index",
        "logprobs",
        "offset",
        "prompt",
        "prompt_logprobs",
        "text",
        "tokens",
    )

    def __init__(self, index: int, prompt: int, tokenizer: Tokenizer, sampling: Sampling, *, keep: bool = True) -> None:
        """`keep`: what it says is asked for again, as `said`, `ids` and `logprobs`."""
        self.index = index
        self.prompt = prompt
        self.begun = False
        """Whether the client was told of it."""
        self.text: list[str] = []
        """What it said so far, in parts."""
        self.ids: list[int] = []
        self.tokens = 0
        """How many were generated for it, the end token included."""
        self.cached_tokens = 0
        self.logprobs: list[TokenLogprob] = []
        self.prompt_logprobs: Sequence[TokenLogprob] = ()
        self.offset = 0
        """Characters of the tokens that logprobs were told of, for `text_offset`."""
        self.finish: Finish | None = None
        """Why it has ended; None: it goes on."""
        self._decoder = tokenizer.decoder(skip_special_tokens=sampling.skip_special_tokens)
        self._stops = StopStrings(sampling.stop, include=sampling.no_stop_trim) if sampling.stop else None
        own = frozenset() if sampling.ignore_eos else tokenizer.eos_ids
        self._stop_ids = own | frozenset(sampling.stop_token_ids)
        self._keep = keep
        self._keep_stop = sampling.no_stop_trim
        self._held: list[int] = []
        """The last id, where it may be the one the engine stops at."""

    def take(self, piece: Piece) -> Spoken:
        """The text and tokens that this piece adds; nothing after its end."""
        if self.finish is not None:
            return NOTHING
        self.cached_tokens = max(self.cached_tokens, piece.cached_tokens)
        if piece.prompt_logprobs:
            self.prompt_logprobs = piece.prompt_logprobs
        text, count = self._read(piece.token_ids)
        self.tokens += count
        logprobs = piece.logprobs[:count]
        if self.finish is None and piece.finish is not None:
            text += self._end(piece.finish)
        if self._keep:
            self.ids += piece.token_ids[:count]
            self.logprobs += logprobs
            self.text.append(text)
        return Spoken(text, logprobs)

    def _read(self, ids: Sequence[int]) -> tuple[str, int]:
        """The text these ids bring, and how many of them belong to the answer."""
        if not ids:
            return "", 0
        earlier = len(self._held)
        coming = [*self._held, *ids] if earlier else ids
        self._held = []
        if not self._keep_stop and coming[-1] in self._stop_ids:
            self._held = [coming[-1]]
            coming = coming[:-1]
        if self._stops is None:
            return self._decoder.push(coming), len(ids)
        text = ""
        for at, token in enumerate(coming):
            fed = self._stops.feed(self._decoder.push((token,)))
            text += fed.text
            if fed.stop is not None:
                self.finish = Finish("stop", fed.stop)
                self._held = []
                return text, at + 1 - earlier
        return text, len(ids)

    def _end(self, finish: Finish) -> str:
        """The engine ends it: what was held back goes out, but for the stop token."""
        self.finish = finish
        held, self._held = self._held, []
        stopped = finish.reason == "stop" and not isinstance(finish.matched, str)
        rest = self._decoder.push(() if stopped else held) + self._decoder.finish()
        if self._stops is None:
            return rest
        fed = self._stops.feed(rest)
        if fed.stop is not None:
            self.finish = Finish("stop", fed.stop)
            return fed.text
        return fed.text + self._stops.finish()

    @property
    def said(self) -> str:
        """All of its text so far."""
        if len(self.text) > 1:
            self.text = ["".join(self.text)]
        return self.text[0] if self.text else ""
