"""Tokenizers and pieces for tests of answers: real tokenizers, trained in a moment, and ids cut anywhere."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

from gateway.engines.generation import Finish, Piece, TokenLogprob
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.model import built
from gateway.tokenizers.sources import ModelFiles
from gateway.tokenizers.tokenizer import Loaded, Tokenizer
from tests.unit import tokenizer_families as families

END = {"qwen": "<|im_end|>", "llama3": "<|eot_id|>", "llama2": "</s>", "unigram": "</s>"}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def tokenizer(family: str = "qwen", template: str = TEMPLATE) -> Tokenizer:
    data = families.trained(family)
    model = built(ModelFiles("here", data))
    end = model.engine.tokenizer.token_to_id(END[family])
    files = ModelFiles("here", data, {"default": template}, stop_ids=(end,))
    return Tokenizer("t", family, Loaded(built(files), ThreadPoolExecutor(1), CacheSettings()))


def end_id(family: str = "qwen") -> int:
    (found,) = tokenizer(family).eos_ids
    return found


def encoded(text: str, family: str = "qwen") -> list[int]:
    """The ids of a text, without what the tokenizer puts around texts."""
    backend = tokenizer(family).loaded.model.engine.tokenizer
    return list(backend.encode(text, add_special_tokens=False).ids)


def decoded(ids: Sequence[int], family: str = "qwen") -> str:
    """The text of all ids, special tokens left out, as the library gives it."""
    return str(tokenizer(family).loaded.model.engine.tokenizer.decode(list(ids), skip_special_tokens=True))


def logprob(token: int) -> TokenLogprob:
    """A record that is a function of the id."""
    return TokenLogprob(token, -token / 1024, ((token, -token / 1024), (token + 1, -token / 512)))


def pieces_of(ids: Sequence[int], cuts: Sequence[int], finish: Finish, *, apart: bool, index: int = 0) -> list[Piece]:
    """The ids in pieces cut at these places; `apart`: the finish comes without ids, as of engines that repeat them."""
    borders = sorted({0, len(ids), *(cut % (len(ids) + 1) for cut in cuts)})
    parts = [tuple(ids[begin:end]) for begin, end in pairwise(borders)] or [()]
    made = [Piece(index, part, tuple(map(logprob, part))) for part in parts]
    if apart:
        return [*made, Piece(index, finish=finish)]
    return [*made[:-1], Piece(index, made[-1].token_ids, made[-1].logprobs, finish=finish)]
