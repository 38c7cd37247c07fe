"""What there is to tell of the registered tokenizers, read at one moment. The API's JSON and the console's rows."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.tokenizers.cache import CacheCounts
from gateway.tokenizers.entry import Entry, Progress
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers.model import Connection, Worker


@dataclass(frozen=True, slots=True)
class TokenizerStatus:
    """What only a loaded one has is None, or empty, before."""

    id: str
    name: str
    source: str
    state: Progress
    message: str
    """What happens with it or went wrong, for people."""
    since: float
    """Since when it is in its state, in wall-clock seconds."""
    automatic: bool
    """Whether a worker or the settings asked for it, rather than an operator."""
    models: tuple[str, ...]
    """The names it answers to."""
    users: tuple[str, ...]
    """Names of the workers whose requests it serves."""
    shared_with: tuple[str, ...]
    """Other names that come from the same place: they have the memory and the caches in common."""
    vocab_size: int | None
    """Without added tokens, as SMG counts."""
    context_length: int | None
    chat_templates: tuple[str, ...]
    template_error: str | None
    memory_bytes: int | None
    """The tokenizer, about, and its caches."""
    exact: CacheCounts | None
    prefix: CacheCounts | None
    exact_off: str
    """Why there is no exact cache; empty where there is one."""
    prefix_off: str


def statuses(registry: TokenizerRegistry, workers: Iterable[Worker]) -> list[TokenizerStatus]:
    """All of them, in the order in which they came."""
    if not registry.entries:  # then it makes no difference how many workers there are
        return []
    used: dict[str, list[str]] = {}
    for worker in workers:
        if worker.connection is Connection.GRPC and worker.model_id is not None:
            entry = registry.entry(worker.model_id)
            if entry is not None:
                used.setdefault(entry.id, []).append(worker.name)
    sharers: dict[int, list[str]] = {}
    for entry in registry.entries.values():
        if entry.tokenizer is not None:
            sharers.setdefault(id(entry.tokenizer.loaded), []).append(entry.name)
    found = []
    for entry in registry.entries.values():
        together = sharers[id(entry.tokenizer.loaded)] if entry.tokenizer is not None else []
        others = tuple(name for name in together if name != entry.name)
        found.append(_status(entry, tuple(used.get(entry.id, ())), others))
    return found


def _status(entry: Entry, users: tuple[str, ...], shared_with: tuple[str, ...]) -> TokenizerStatus:
    tokenizer = entry.tokenizer
    exact, prefix = tokenizer.cache_counts() if tokenizer is not None else (None, None)
    off = "it is not loaded" if tokenizer is None else "it is switched off"
    unsplit = tokenizer.prefix_off[0] if tokenizer is not None and tokenizer.prefix_off else off
    return TokenizerStatus(
        id=entry.id,
        name=entry.name,
        source=entry.source,
        state=entry.state,
        message=entry.progress,
        since=entry.since,
        automatic=entry.automatic,
        models=(entry.name, *sorted(entry.aliases)),
        users=users,
        shared_with=shared_with,
        vocab_size=tokenizer.model_vocab_size if tokenizer is not None else None,
        context_length=tokenizer.context_length if tokenizer is not None else None,
        chat_templates=tuple(tokenizer.chat_templates) if tokenizer is not None else (),
        template_error=tokenizer.template_error if tokenizer is not None else None,
        memory_bytes=tokenizer.loaded.memory_bytes if tokenizer is not None else None,
        exact=exact,
        prefix=prefix,
        exact_off="" if exact is not None else off,
        prefix_off="" if prefix is not None else unsplit,
    )
