"""One loaded tokenizer under a name: text to ids and back, chat templates, what logprobs show. For the loop.

Names that come from the same place share what was loaded and its caches (`Loaded`). Nothing here holds the loop for
more than a few milliseconds, however long a text is; texts longer than any context are refused.
"""

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.errors import BadRequest
from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.detokenize import Detokenizer
from gateway.tokenizers.encode import CacheSettings, Encoding
from gateway.tokenizers.errors import TextTooLong
from gateway.tokenizers.model import Model
from gateway.tokenizers.templates import Conversation, JsonObject

MAX_CHARS = 4_000_000
"""About a million tokens."""
INLINE_IDS = 1000
"""Decoding this many takes some 0.2 ms."""
MEMORY_A_BYTE = 8
"""What a tokenizer takes in memory for each byte of its file, about."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A token for people. What is no whole character is spelled `\\xe4`."""

    id: int
    text: str
    special: bool


class Loaded:
    """What one place gave, with the caches of all who use it."""

    __slots__ = ("encoding", "model", "pool", "rendering")

    def __init__(self, model: Model, pool: Executor, caches: CacheSettings, rendering: Executor | None = None) -> None:
        """`pool` encodes and decodes, `rendering` renders; None: the same."""
        self.model = model
        self.pool = pool
        self.rendering = rendering or pool
        self.encoding = Encoding(model.engine, pool, caches, model.prefix_off, model.cutter)

    @property
    def memory_bytes(self) -> int:
        """What it takes in memory: tokenizer, about, and caches."""
        kept = sum(counts.bytes for counts in self.encoding.counts() if counts is not None)
        return self.model.bytes * MEMORY_A_BYTE + kept


class Tokenizer:
    """See the module. Immutable; shared by all requests for its models."""

    __slots__ = ("eos_ids", "id", "loaded", "name")

    def __init__(self, id: str, name: str, loaded: Loaded) -> None:  # noqa: A002 - what the API calls it
        self.id = id
        self.name = name
        self.loaded = loaded
        self.eos_ids = frozenset(loaded.model.stop_ids)
        """Ids at which the model's generation settings end an answer."""

    def __repr__(self) -> str:
        return f"<Tokenizer {self.name} {self.vocab_size} tokens>"

    @property
    def vocab_size(self) -> int:
        """With added tokens."""
        return self.loaded.model.engine.vocab_size

    @property
    def model_vocab_size(self) -> int:
        """Without tokens added to the model's own: what SMG's API calls the size."""
        return self.loaded.model.engine.model_vocab_size

    @property
    def context_length(self) -> int | None:
        """As the model's files say; an engine may be started with less."""
        return self.loaded.model.max_length

    @property
    def special_ids(self) -> frozenset[int]:
        return self.loaded.model.engine.special_ids

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """`bos_token` and the like, as templates see them."""
        return self.loaded.model.special_tokens

    @property
    def prefix_off(self) -> tuple[str, ...]:
        """Why its texts are never cut and so have no prefix cache; empty when they may be."""
        return self.loaded.model.prefix_off

    def cache_counts(self) -> tuple[CacheCounts | None, CacheCounts | None]:
        """The exact cache's and the prefix cache's counters; None for one that is off."""
        return self.loaded.encoding.counts()

    # --- text and ids ---

    async def encode(self, text: str, *, add_special_tokens: bool = False) -> "array[int]":
        """The ids of a text; not to be changed. Raises NotText and TextTooLong."""
        if len(text) > MAX_CHARS:
            raise TextTooLong(
                f"the text has {len(text)} characters, at most {MAX_CHARS} can be tokenized", field="prompt"
            )
        encoding = self.loaded.encoding
        return await (encoding.encode_with_special(text) if add_special_tokens else encoding.encode(text))

    async def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of all these ids, as the library gives it. Ids must be from 0 to 2**32 - 1."""
        engine = self.loaded.model.engine
        if len(ids) <= INLINE_IDS:
            return engine.decode(ids, skip_special=skip_special_tokens)
        job = partial(engine.decode_long, ids, skip_special=skip_special_tokens)
        return await asyncio.get_running_loop().run_in_executor(self.loaded.pool, job)

    def decoder(self, *, skip_special_tokens: bool = True, context: Sequence[int] = ()) -> Detokenizer:
        """For one answer's ids as they come; `context`: the prompt's last ids, see `Detokenizing.stream`."""
        return self.loaded.model.detokenizing.stream(skip_special=skip_special_tokens, context=context)

    def token_bytes(self, id: int) -> bytes:  # noqa: A002
        """The bytes this token stands for; empty for an id the vocabulary has not."""
        return self.loaded.model.detokenizing.token_bytes(id)

    def token_text(self, id: int) -> str:  # noqa: A002
        """The token's text; a replacement character where it is a part of a character only."""
        return self.token_bytes(id).decode("utf-8", "replace")

    async def shown(self, text: str, *, add_special_tokens: bool = False) -> list[Shown]:
        """A text's tokens, each with what it stands for, without the caches. Raises NotText."""
        special = self.special_ids
        return [
            Shown(id, self.token_bytes(id).decode("utf-8", "backslashreplace"), id in special)
            for id in await self.loaded.encoding.plain(text, add_special_tokens=add_special_tokens)  # noqa: A001
        ]

    # --- chats ---

    @property
    def has_chat_template(self) -> bool:
        return self.loaded.model.templates is not None

    @property
    def chat_templates(self) -> list[str]:
        """The names of its templates; `default` is the unnamed one."""
        templates = self.loaded.model.templates
        return templates.names if templates is not None else []

    @property
    def template_error(self) -> str | None:
        """Why its chat template is of no use, where it has one that is not."""
        return self.loaded.model.template_error

    async def render_chat(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] | None = None,
        documents: Sequence[JsonObject] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a chat. Raises BadRequest, and TemplateFailed for what the template refuses."""
        templates = self.loaded.model.templates
        if templates is None:
            why = self.template_error or "it has none"
            raise BadRequest(f"the model {self.name!r} has no usable chat template: {why}", field="messages")
        conversation = Conversation(
            messages=messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template=template,
            kwargs=kwargs or {},
        )
        return await templates.rendered(conversation, self.loaded.rendering)
