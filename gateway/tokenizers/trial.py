"""The trial each tokenizer stands when it is loaded: do texts cut at special tokens give the same ids as whole ones?

The rules in `gateway.tokenizers.pieces` say where cutting is safe; this tries it, with special tokens in odd
places between awkward texts of many scripts. One difference, and the tokenizer has no prefix cache.
"""

from random import Random

from gateway.tokenizers.engine import Engine
from gateway.tokenizers.errors import TokenizerBroken
from gateway.tokenizers.pieces import Cutter, may_cut_before, objections

SCRAPS = (
    "",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t x",
    "a",
    " a",
    "a ",
    "Hello, world!",
    "The quick brown fox jumps over 13 lazy dogs.",
    " don't they're I'LL",
    "def f(x):\n    return x ** 2  # note\n",
    "1234567 3.14 1,000,000",
    "Grüße aus Köln, façade",
    "Привет, мир",
    "你好，世界。 没有空格",
    "こんにちは世界",
    "안녕하세요 여러분",
    "नमस्ते दुनिया",
    "مرحبا بالعالم",
    "👩‍👩‍👧‍👦🏳️‍🌈 👍🏽",
    "e\u0301\u0302 \u00a0\u200b\u200d",
    "<|not a token|> < | > [INST",
    "ﬁ ½ ™ Ａ",
    "\r\n\u2028\ufeff",
    "_",
    "▁▁",
)
TEXTS = 60


def cutting_objections(engine: Engine, rng: Random) -> list[str]:
    """Why this tokenizer has no prefix cache; empty when it may have one. Takes a few milliseconds, in a thread."""
    found = objections(engine.anatomy)
    if found:
        return found
    cutter = Cutter(engine.anatomy.specials)
    whole = [trial_text(engine, rng) for _ in range(TEXTS)]
    pieces = [cutter.pieces(text) for text in whole]
    try:
        expected = engine.encode_many(whole)
        joined = iter(engine.encode_many([piece for parts in pieces for piece in parts]))
    except TokenizerBroken as error:
        return [error.message]
    for text, parts, ids in zip(whole, pieces, expected, strict=True):
        together = ids[:0]
        for _ in parts:
            together += next(joined)
        if together != ids:
            return [f"a text cut at its special tokens gave other ids than the whole: {text[:120]!r}"]
    return []


def trial_text(engine: Engine, rng: Random) -> str:
    """Scraps with special tokens between them, those one may cut before and others."""
    specials = engine.anatomy.specials
    safe = [special for special in specials if may_cut_before(special)]
    parts: list[str] = []
    for _ in range(rng.randrange(2, 12)):
        parts.append(rng.choice(SCRAPS))
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            parts.append(rng.choice(safe if rng.random() < 0.7 else specials).content)
            if rng.random() < 0.1:
                parts.append(parts[-1][: rng.randrange(1, len(parts[-1]) + 1)])
    return "".join(parts)
