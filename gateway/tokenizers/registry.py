"""The tokenizers by name: who has which, how far each is, and what is still missing.

One writer, on the loop; reading is free. A tokenizer is added by an operator (`add`), or because the settings or a
worker that takes token ids want it (`ensure`): those are looked for in several places in order, and again by
themselves while what failed may heal. Names that come from one place share what was loaded once. What loading
does is `loads`' and `loading`'s.
"""

import asyncio
import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from gateway.errors import BadRequest
from gateway.tasks import Scope
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.entry import Entry, Progress
from gateway.tokenizers.errors import SourceUnusable, TokenizerExists, TokenizerNotFound, TooManyTokenizers
from gateway.tokenizers.loading import load
from gateway.tokenizers.loads import Loader, Loads
from gateway.tokenizers.places import FromWorker, Named, Place
from gateway.tokenizers.threads import EncodingThreads
from gateway.tokenizers.tokenizer import Loaded, Tokenizer
from gateway.workers.identity import new_worker_id

ALL_S = 600.0
"""For all places of one tokenizer together."""
FIRST_PAUSE_S = 5.0
LAST_PAUSE_S = 60.0
LOADERS = 2
RENDERERS = 2
"""Apart from the encoders: a template that runs away holds a thread until its time is over."""
PATH_LABELS = ("tokenizer_path", "model_path")
"""Labels of a worker that say where its tokenizer is."""
ANY = frozenset(("", "unknown"))
"""Models that mean: whichever there is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of tokenizers."""

    caches: CacheSettings = field(default_factory=CacheSettings)
    autoload: bool = True
    """Whether workers and settings may ask for tokenizers by themselves."""
    place: Named | None = None
    """`--tokenizer-path` or `--model-path`, with the template."""
    name: str = ""
    template: Path | None = None
    """`--chat-template`, for all that is loaded without being added."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """`--model-alias`: alias to model."""
    most: int = 256


Note = Callable[[str, str, str], None]
"""Hears what happens: a topic, a sentence, and who wanted it (empty: nobody), for log and journal."""


def _unheard(topic: str, text: str, actor: str) -> None:
    """Nobody listens."""


class TokenizerRegistry:
    """An async context manager: leaving it ends all loads."""

    def __init__(
        self,
        wanted: Wanted | None = None,
        *,
        wall: Callable[[], float],
        rng: Random,
        note: Note = _unheard,
        loader: Loader = load,
    ) -> None:
        self.wanted = wanted or Wanted()
        self._wall = wall
        self._rng = rng
        self._note = note
        self._entries: dict[str, Entry] = {}
        self._by_name: dict[str, Entry] = {}
        self._scope = Scope("tokenizers")
        self._loading = ThreadPoolExecutor(LOADERS, "tokenizer-load")
        self._encoding = EncodingThreads()
        self._rendering = ThreadPoolExecutor(RENDERERS, "chat-template")
        self.loads = Loads(self._scope, self._loading, loader)

    async def __aenter__(self) -> Self:
        place = self.wanted.place
        if place is not None and self.wanted.autoload:
            self.ensure(self.wanted.name or place.text, (place,))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()
        for pool in (self._loading, self._encoding, self._rendering):
            pool.shutdown(wait=False, cancel_futures=True)

    # --- reading ---

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All of them by id, also those that failed, in the order in which they came."""
        return self._entries

    def entry(self, name: str) -> Entry | None:
        """By id, name or a model's alias."""
        return (
            self._entries.get(name) or self._by_name.get(name) or self._by_name.get(self.wanted.aliases.get(name, ""))
        )

    def get(self, name: str) -> Tokenizer | None:
        """The loaded tokenizer of this name, id or model."""
        found = self.entry(name)
        return found.tokenizer if found is not None else None

    def find(self, model: str) -> Tokenizer:
        """The tokenizer for what a request calls its model: also the first one, for a request that names none.
        Raises TokenizerNotFound."""
        found = self.get(model)
        loaded = [entry.tokenizer for entry in self._entries.values() if entry.tokenizer is not None]
        if found is None and model in ANY and loaded:
            return loaded[0]
        if found is not None:
            return found
        under_way = self.entry(model)
        if under_way is not None:
            raise TokenizerNotFound(f"Tokenizer for model '{model}' is not ready: it {under_way.progress}")
        if not loaded:
            raise TokenizerNotFound("No tokenizers available. Use POST /v1/tokenizers to add one.")
        names = ", ".join(tokenizer.name for tokenizer in loaded[:20])
        raise TokenizerNotFound(f"Tokenizer for model '{model[:200]}' not found. Available: {names}")

    def missing_for(self, models: Iterable[str]) -> dict[str, str]:
        """Of these models, those that have no tokenizer yet, each with the reason."""
        missing = {}
        for model in models:
            if self.get(model) is None:
                entry = self.entry(model)
                missing[model] = (
                    f"its tokenizer {entry.progress}" if entry is not None else "no tokenizer is registered"
                )
        return missing

    async def wait(self, name: str, timeout_s: float) -> Tokenizer:
        """The tokenizer of this name once it is loaded. Raises SourceUnusable where that failed for good,
        TokenizerNotFound where there is none, and TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                entry = self.entry(name)
                if entry is None:
                    raise TokenizerNotFound(f"Tokenizer '{name}' not found")
                if entry.tokenizer is not None:
                    return entry.tokenizer
                if entry.state is Progress.FAILED and not (entry.automatic and entry.temporary):
                    raise SourceUnusable(entry.error or entry.progress)
                await entry.moved.wait()

    # --- writing ---

    def add(self, name: str, place: Place, actor: str = "") -> Entry:
        """`actor` wants this tokenizer. Raises TokenizerExists, BadRequest, TooManyTokenizers."""
        if (failed := self.check_free(name)) is not None:
            self._forget(failed)
        entry = self._begin(name, (place,), automatic=False)
        self._note("tokenizer_added", f"{name} from {place}", actor)
        return entry

    def check_free(self, name: str) -> Entry | None:
        """Whether a tokenizer of this name may be added; the one that failed under it. Raises TokenizerExists and
        BadRequest."""
        _check_name(name)
        holder = self._by_name.get(name) or self._entries.get(name)
        if holder is not None and holder.state is not Progress.FAILED:
            raise TokenizerExists(f"Tokenizer '{name}' already exists", holder.id)
        return holder

    def ensure(self, name: str, places: Sequence[Place], aliases: Iterable[str] = ()) -> Entry | None:
        """A worker or the settings want this tokenizer: it is there after this, or on its way; a failed one is tried
        again, in these places. `aliases`: further models it is for. None where loading by itself is switched off
        and nobody has added it, and where there is no room. Raises nothing."""
        entry = self.entry(name)
        if entry is None or self._worth_another_try(entry, tuple(places)):
            if not self.wanted.autoload or not places:
                return entry
            if entry is not None:
                self._forget(entry)
            if len(self._entries) >= self.wanted.most:
                self._note("tokenizer_failed", f"{name}: there are {self.wanted.most} tokenizers already", "")
                return None
            entry = self._begin(name, tuple(places), automatic=True)
        elif entry.automatic and entry.tokenizer is None and places:
            entry.places = tuple(places)  # a worker that came back is reached in another way than before
        for alias in aliases:
            if alias not in self._by_name:
                self._by_name[alias] = entry
                entry.aliases.add(alias)
        return entry

    def places_for(self, labels: Mapping[str, str], worker: FromWorker | None = None) -> tuple[Place, ...]:
        """Where the tokenizer of a worker may come from, best first: paths that its labels name, the worker itself,
        which has the very files it serves with, and the hub, which may be out of reach. The settings only where
        no label says anything: they may be of another model."""
        template = self.wanted.template
        named = [Named(text, template) for key in PATH_LABELS if (text := labels.get(key))]
        itself = [replace(worker, template=template)] if worker is not None else []
        last = [self.wanted.place] if self.wanted.place is not None and not named else []
        here = [place for place in named if place.is_path]
        return tuple(dict.fromkeys((*here, *itself, *named, *last)))

    def remove(self, name: str, actor: str = "") -> Entry:
        """By id or name; a load under way is cancelled. Raises TokenizerNotFound."""
        entry = self._entries.get(name) or self._by_name.get(name)
        if entry is None:
            raise TokenizerNotFound(f"Tokenizer '{name[:200]}' not found")
        self._forget(entry)
        self._note("tokenizer_removed", f"{entry.name} from {entry.source}", actor)
        return entry

    def _begin(self, name: str, places: tuple[Place, ...], *, automatic: bool) -> Entry:
        if len(self._entries) >= self.wanted.most:
            raise TooManyTokenizers(f"there are {len(self._entries)} tokenizers already; remove one first")
        if not places:
            raise BadRequest(f"source: nothing says where the tokenizer {name!r} may come from", field="source")
        now = self._wall()
        entry = Entry(new_worker_id(now, self._rng), name, places, automatic=automatic, now=now)
        self._entries[entry.id] = self._by_name[name] = entry
        entry.task = self._scope.spawn(self._run(entry), name=name)
        return entry

    def _worth_another_try(self, entry: Entry, places: tuple[Place, ...]) -> bool:
        """Whether it failed, does not try by itself, and was not tried there just now."""
        if entry.state is not Progress.FAILED or (entry.automatic and entry.temporary):
            return False
        return places != entry.places or self._wall() - entry.since > LAST_PAUSE_S

    def _forget(self, entry: Entry) -> None:
        entry.listed = False
        del self._entries[entry.id]
        for name in (entry.name, *entry.aliases):
            if self._by_name.get(name) is entry:
                del self._by_name[name]
        if entry.task is not None:
            entry.task.cancel()
        entry.move(entry.state, self._wall())

    # --- loading ---

    async def _run(self, entry: Entry) -> None:
        """Load it; where that fails for the moment and it is wanted, again after a pause."""
        pause_s = FIRST_PAUSE_S
        while True:
            entry.move(Progress.PROCESSING, self._wall())
            error = await self._load(entry)
            if error is None:
                return
            entry.error, entry.temporary = error.message, error.temporary
            entry.move(Progress.FAILED, self._wall())
            self._note("tokenizer_failed", f"{entry.name}: {error.message}", "")
            if not (entry.automatic and error.temporary):
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _load(self, entry: Entry) -> SourceUnusable | None:
        """Try its places in order. What was wrong with all of them, or None."""
        wrong: list[SourceUnusable] = []
        try:
            async with asyncio.timeout(ALL_S):
                for place in entry.places:
                    try:
                        entry.place, entry.said = place, partial(self.loads.said, place)
                        loaded = await self._loaded(place)
                    except SourceUnusable as error:
                        wrong.append(error)
                    else:
                        self._completed(entry, loaded)
                        return None
        except TimeoutError:
            wrong.append(SourceUnusable(f"it took longer than {ALL_S:g} seconds", temporary=True))
        entry.place = None
        messages = "; ".join(dict.fromkeys(error.message for error in wrong))
        return SourceUnusable(messages, temporary=any(error.temporary for error in wrong))

    async def _loaded(self, place: Place) -> Loaded:
        if (shared := self._shared(place)) is not None:
            return shared
        model = await self.loads.model(place)  # another name may have waited for the same one, and be here already
        return self._shared(place) or Loaded(model, self._encoding, self.wanted.caches, self._rendering)

    def _shared(self, place: Place) -> Loaded | None:
        """What a listed tokenizer has of this place already."""
        for entry in self._entries.values():
            if entry.place == place and entry.tokenizer is not None:
                return entry.tokenizer.loaded
        return None

    def _completed(self, entry: Entry, loaded: Loaded) -> None:
        entry.tokenizer = tokenizer = Tokenizer(entry.id, entry.name, loaded)
        entry.error = None
        entry.move(Progress.COMPLETED, self._wall())
        gc.freeze()  # what was imported and built for it stays; collections that walk it hold the loop for 10 ms
        prefix = "" if not tokenizer.prefix_off else f"; no prefix cache: {tokenizer.prefix_off[0]}"
        template = f"; no chat template: {tokenizer.template_error}" if tokenizer.template_error else ""
        text = f"{entry.name} from {entry.source}, {tokenizer.vocab_size} tokens{prefix}{template}"
        self._note("tokenizer_loaded", text, "")


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 512 or not name.isprintable() or name in ANY:
        raise BadRequest(
            f"name: given {name[:80]!r}, expected 1 to 512 printable characters other than 'unknown'", field="name"
        )
