"""The simulated tokenizer, and answers that are a function of the prompt alone.

Whichever engine answers, the same prompt gets the same words, so that a test can check an answer end to end:
`answer(chat_prompt(messages), max_tokens).text`. A smaller limit gives a prefix of what a larger one gives.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import shake_128

from gateway.simulator.prefix_cache import BLOCK

NATURAL_MIN = 96
NATURAL_MAX = 352
"""An answer that nobody limits ends by itself after between so many tokens."""

_TOKEN = re.compile(r"\S{1,8}")
_VOCABULARY = (
    "the a worker engine token batch queue request prefix block cache answer model prompt step drain probe router "
    "gateway replica node fleet load latency first next last slow fast warm cold long short shared early late idle "
    "busy holds waits keeps joins leaves grows shrinks sends reads writes counts shows moves stays begins ends asks "
    "and or but while until before after because when where with without under over from to of in on at by for "
    "it they that this each every some many few more less again once already still soon now then here there"
)
WORDS = _VOCABULARY.split()
"""What answers are made of."""


def tokens_of(text: str) -> list[str]:
    """Words, long ones in pieces of eight characters. Linear, and close enough to a real tokenizer's counts."""
    return _TOKEN.findall(text)


def blocks_of(tokens: Sequence[object]) -> tuple[int, ...]:
    """The prefix-cache keys of a prompt's whole blocks. Only meaningful within one process."""
    keys: list[int] = []
    key = 0
    for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
        key = hash((key, *tokens[start : start + BLOCK]))
        keys.append(key)
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class Answer:
    """What will be generated: one piece of text a token, and why it ends there."""

    pieces: tuple[str, ...]
    finish: str
    """`stop` (it ended by itself, or at a stop string) or `length` (the limit came first)."""
    matched: str | None = None
    """The stop string that ended it."""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def answer(
    prompt: str, limit: int | None = None, stops: Sequence[str] = (), *, index: int = 0, ignore_eos: bool = False
) -> Answer:
    """The answer to a prompt: at most `limit` tokens, cut before the first of `stops`. `index` tells the `n`
    choices of a request apart; `ignore_eos` with a limit makes it exactly that long.
    """
    seed = f"{index}\0{prompt}".encode("utf-8", "surrogatepass")
    natural = _natural_length(shake_128(b"length\0" + seed).digest(2))
    count = natural if limit is None else limit if ignore_eos else min(limit, natural)
    pieces = _pieces(shake_128(seed).digest(2 * count))
    finish = "length" if limit is not None and (ignore_eos or limit < natural) else "stop"
    return _cut(pieces, finish, [stop for stop in stops if stop])


def _natural_length(drawn: bytes) -> int:
    """Short answers are more frequent than long ones."""
    share = int.from_bytes(drawn) / 0x10000
    return NATURAL_MIN + int((NATURAL_MAX - NATURAL_MIN + 1) * share * share)


def _pieces(drawn: bytes) -> tuple[str, ...]:
    """A word for every two bytes; the second one decides whether its sentence ends."""
    pieces: list[str] = []
    begins = True
    for at in range(0, len(drawn), 2):
        word = WORDS[drawn[at] % len(WORDS)]
        if begins:
            word = word.capitalize()
        begins = drawn[at + 1] < 26
        pieces.append(f"{' ' if pieces else ''}{word}{'.' if begins else ''}")
    return tuple(pieces)


def _cut(pieces: tuple[str, ...], finish: str, stops: Sequence[str]) -> Answer:
    """End at the stop string that is complete first. The tokens that spelt it were generated, but are not shown."""
    text = "".join(pieces) if stops else ""
    found = [(at + len(stop), at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    if not found:
        return Answer(pieces, finish)
    end, begin, stop = min(found)
    shown: list[str] = []
    at = 0
    for piece in pieces:
        shown.append(piece[: max(0, begin - at)])
        at += len(piece)
        if at >= end:
            break
    return Answer(tuple(shown), "stop", stop)


def text_number(text: str) -> int:
    """A number of 48 bits that is a function of the text: for ids, scores and vectors."""
    return int.from_bytes(shake_128(text.encode("utf-8", "surrogatepass")).digest(6))
