"""Tokenizers for pictures and keys: a desk whose rows a test sets and which counts real tokens, and a real registry."""

from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.commands import TokenizerOperations
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.errors import SourceUnusable
from gateway.tokenizers.loading import Say
from gateway.tokenizers.model import Model, built
from gateway.tokenizers.places import Place
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.tokenizers.sources import ModelFiles
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Loaded, Shown, Tokenizer
from tests.console.fleet import START, Fleet
from tests.unit import tokenizer_families as families

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"

READY = TokenizerStatus(
    id="01981f2e-7a10-7b3c-8d5e-0f1a2b3c4d5e",
    name="qwen2.5-14b",
    source="grpc://10.1.0.2:9000",
    state=Progress.COMPLETED,
    message="is loaded and ready",
    since=START - 3605,
    automatic=True,
    models=("qwen2.5-14b", "qwen-chat"),
    users=("w2", "w4", "w6"),
    shared_with=(),
    vocab_size=151_643,
    context_length=32_768,
    chat_templates=("default", "tool_use"),
    template_error=None,
    memory_bytes=58_300_000,
    exact=CacheCounts(118, 1021, 0, 903, 4_400_000, 268_435_456),
    prefix=CacheCounts(41_220, 2_310, 12, 2_298, 9_100_000, 52_428_800),
    exact_off="",
    prefix_off="",
)
UNCUT = replace(
    READY,
    id="01981f2e-7a10-7b3c-8d5e-0f1a2b3c4d5f",
    name="mistralai/Mistral-7B-Instruct-v0.2",
    source="/models/mistral-7b",
    automatic=False,
    models=("mistralai/Mistral-7B-Instruct-v0.2",),
    users=(),
    vocab_size=32_000,
    chat_templates=(),
    template_error="line 3: unknown tag 'generatoin'",
    prefix=None,
    prefix_off="it has no special token before which a text may be cut",
)
_NOTHING_YET = replace(
    READY,
    users=(),
    vocab_size=None,
    context_length=None,
    chat_templates=(),
    memory_bytes=None,
    exact=None,
    prefix=None,
    exact_off="it is not loaded",
    prefix_off="it is not loaded",
)
LOADING = replace(
    _NOTHING_YET,
    id="01981f2e-7a10-7b3c-8d5e-0f1a2b3c4d60",
    name="meta-llama/Llama-3.1-8B-Instruct",
    source="meta-llama/Llama-3.1-8B-Instruct",
    state=Progress.PROCESSING,
    message="is loading: 3.1 of 9.1 MB of tokenizer.json",
    since=START - 4,
    models=("meta-llama/Llama-3.1-8B-Instruct",),
    users=("w1", "w3", "w5"),
)
FAILED = replace(
    _NOTHING_YET,
    id="01981f2e-7a10-7b3c-8d5e-0f1a2b3c4d61",
    name="old",
    source="/models/old",
    state=Progress.FAILED,
    message="could not be loaded: /models/old: tokenizer.json: not valid JSON at line 1, column 1",
    since=START - 61,
    automatic=False,
    models=("old",),
)


@cache
def model() -> Model:
    """A real small one, as Qwen's are made."""
    return built(ModelFiles("here", families.trained("qwen"), {"default": TEMPLATE}))


class Rows(TokenizerOperations):
    """Rows that a test sets; tokens are those of `model`."""

    def __init__(self, *rows: TokenizerStatus) -> None:
        self.rows = list(rows)
        self._pool = ThreadPoolExecutor(1)
        self._tokenizer = Tokenizer("id", "qwen", Loaded(model(), self._pool, CacheSettings()))

    def statuses(self) -> list[TokenizerStatus]:
        return list(self.rows)

    async def shown(self, name: str, text: str, *, add_special_tokens: bool = False) -> list[Shown]:
        assert any(row.id == name for row in self.rows)
        return await self._tokenizer.shown(text, add_special_tokens=add_special_tokens)


async def _load(place: Place, pool: Executor, say: Say) -> Model:
    """Real ones at once, and a place that is none."""
    if str(place).startswith("/no/"):
        raise SourceUnusable(f"{place}: no such file or directory")
    return model()


@asynccontextmanager
async def loading(fleet: Fleet) -> AsyncIterator[TokenizerRegistry]:
    """The fleet's tokenizers, running."""
    fleet.tokenizers.loads._loader = _load
    async with fleet.tokenizers as registry:
        yield registry
