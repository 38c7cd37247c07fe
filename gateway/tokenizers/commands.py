"""The commands on tokenizers: the one door through which API and console give them, and what both may ask.

Adding begins a load and does not wait for it; the journal and the tokenizer's status tell how it goes on.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from gateway.errors import BadRequest
from gateway.tokenizers.entry import Entry
from gateway.tokenizers.errors import TokenizerNotFound
from gateway.tokenizers.loading import look
from gateway.tokenizers.places import place_of
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.tokenizers.status import TokenizerStatus, statuses
from gateway.tokenizers.tokenizer import Shown
from gateway.workers.model import Worker

MOST_SHOWN = 16_384
"""Characters whose tokens are shown one by one: some 4,000 tokens, 2 ms."""


@dataclass(frozen=True, slots=True)
class AddTokenizer:
    """`source`: a directory, a tokenizer.json, or a HuggingFace id. `chat_template`: a file that replaces the
    model's own template; empty: none does."""

    verb: ClassVar[str] = "add"
    name: str
    source: str
    chat_template: str = ""


@dataclass(frozen=True, slots=True)
class RemoveTokenizer:
    """By id or name; a load under way ends."""

    verb: ClassVar[str] = "remove"
    tokenizer: str


TokenizerCommand = AddTokenizer | RemoveTokenizer


@dataclass(frozen=True, slots=True)
class TokenizerDone:
    """What a command did, and to which tokenizer."""

    id: str
    message: str


class TokenizerOperations:
    """Carries out commands on a registry; `workers` are those that may use its tokenizers."""

    def __init__(self, registry: TokenizerRegistry, workers: Callable[[], Iterable[Worker]]) -> None:
        self._registry = registry
        self._workers = workers

    async def execute(self, command: TokenizerCommand, actor: str) -> TokenizerDone:
        """Do it. Raises BadRequest, TokenizerExists, TokenizerNotFound, TooManyTokenizers, and SourceUnusable for
        what is wrong with a path at once."""
        match command:
            case AddTokenizer():
                entry = await self._add(command, actor)
                return TokenizerDone(
                    entry.id,
                    f"Tokenizer '{entry.name}' registration job submitted. Loading from: {command.source}",
                )
            case RemoveTokenizer(tokenizer=name):
                entry = self._registry.remove(name, actor)
                return TokenizerDone(entry.id, f"Tokenizer '{entry.name}' removed successfully")

    async def _add(self, command: AddTokenizer, actor: str) -> Entry:
        place = place_of(command.source, command.chat_template or None)
        self._registry.check_free(command.name)
        await asyncio.to_thread(look, place)
        return self._registry.add(command.name, place, actor)

    def statuses(self) -> list[TokenizerStatus]:
        """All tokenizers, in the order in which they came."""
        return statuses(self._registry, self._workers())

    def status(self, name: str) -> TokenizerStatus:
        """One, by id, name or model. Raises TokenizerNotFound."""
        entry = self._registry.entry(name)
        found = next((told for told in self.statuses() if entry is not None and told.id == entry.id), None)
        if found is None:
            raise TokenizerNotFound(f"Tokenizer '{name[:200]}' not found")
        return found

    async def shown(self, name: str, text: str, *, add_special_tokens: bool = False) -> list[Shown]:
        """A text's tokens, each with what it stands for. The caches neither give nor keep them. Raises
        TokenizerNotFound, NotText, and BadRequest for a text over MOST_SHOWN."""
        if len(text) > MOST_SHOWN:
            raise BadRequest(
                f"text: given {len(text)} characters, expected at most {MOST_SHOWN}; /v1/tokenize takes longer ones",
                field="text",
            )
        return await self._registry.find(name).shown(text, add_special_tokens=add_special_tokens)
