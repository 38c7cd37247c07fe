"""An engine's insides: continuous batching over a finite KV cache with a prefix cache, in simulated time.

Pure and driven by steps: `step` runs one iteration of the batch and tells how long it would have taken. Text
is a function of the prompt alone, so that an answer can be checked end to end whichever engine gave it.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

BLOCK = 16
"""Tokens a prefix-cache block holds."""

WORDS = [
    "the",
    "worker",
    "holds",
    "a",
    "queue",
    "of",
    "requests",
    "while",
    "every",
    "token",
    "waits",
    "its",
    "turn",
    "in",
    "the",
    "batch",
    "and",
    "a",
    "cache",
    "of",
    "blocks",
    "keeps",
    "what",
    "was",
    "said",
    "before",
    "so",
    "that",
    "the",
    "next",
    "answer",
    "may",
    "begin",
    "sooner",
    "than",
    "the",
    "last",
    "one",
    "did",
    "when",
    "nobody",
    "had",
    "asked",
    "for",
    "anything",
    "yet",
    "but",
    "the",
    "fleet",
    "was",
    "already",
    "warm",
]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How fast and how large. Seconds and tokens."""

    base_itl_s: float = 0.02
    """Time of one batch step with one request."""
    itl_per_request_s: float = 0.001
    """What each further request in the batch adds to a step."""
    prefill_per_s: float = 8000.0
    """Uncached prompt tokens a second."""
    max_running: int = 32
    kv_tokens: int = 100_000
    cache_tokens: int = 50_000
    """Part of the KV cache that may hold finished prefixes."""
    speed: float = 1.0
    """Divides every time."""
    instant: bool = False
    """No waiting at all: for benchmarks."""


@dataclass(slots=True, eq=False)
class Job:
    """One sequence. `tokens` is its prompt; `out` what was generated so far."""

    tokens: Sequence[str]
    max_tokens: int
    seed: int
    out: list[str] = field(default_factory=list)
    cached: int = 0
    finish: str | None = None
    """None while it runs, then `stop` or `length`."""
    cancelled: bool = False

    @property
    def kv_need(self) -> int:
        return len(self.tokens) + self.max_tokens


def tokens_of(text: str) -> list[str]:
    """The simulated tokenizer: words."""
    return text.split()


def word(tokens: Sequence[str], seed: int, index: int) -> str:
    """The generated token at this index."""
    return WORDS[Random(f"{seed}:{index}").randrange(len(WORDS))]


def seed_of(text: str) -> int:
    """What makes an answer a function of its prompt."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest())


class PrefixCache:
    """Which prompt prefixes are held, by block, least recently used first out."""

    def __init__(self, tokens: int) -> None:
        self._most = max(0, tokens // BLOCK)
        self._blocks: OrderedDict[bytes, None] = OrderedDict()
        self.hit_tokens = 0
        self.seen_tokens = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def use(self, tokens: Sequence[str]) -> int:
        """How many leading tokens were held; all of them are held afterwards."""
        key, cached, missed = b"", 0, False
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            text = " ".join(tokens[start : start + BLOCK])
            key = hashlib.blake2b(key + text.encode(), digest_size=16).digest()
            missed = missed or key not in self._blocks
            cached += 0 if missed else BLOCK
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        self.hit_tokens += cached
        self.seen_tokens += len(tokens)
        return cached

    def flush(self) -> None:
        self._blocks.clear()


class EngineModel:
    """The batch, the queue and the KV cache."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.running: list[Job] = []
        self.waiting: deque[Job] = deque()
        self.cache = PrefixCache(settings.cache_tokens)
        self.kv_used = 0
        self.finished = 0
        self.cancelled = 0
        self.generated = 0

    @property
    def busy(self) -> bool:
        return bool(self.running or self.waiting)

    @property
    def kv_usage(self) -> float:
        return self.kv_used / self.settings.kv_tokens

    def submit(self, job: Job) -> None:
        """Queue a job. Raises ValueError if it could never fit."""
        if job.kv_need > self.settings.kv_tokens:
            raise ValueError(f"needs {job.kv_need} tokens of KV cache, there are {self.settings.kv_tokens}")
        self.waiting.append(job)

    def cancel(self, job: Job) -> None:
        """Stop a job at once and free what it holds. Safe for one that has ended."""
        if job.finish is not None or job.cancelled:
            return
        job.cancelled = True
        self.cancelled += 1
        if job in self.running:
            self._leave(job)
        else:
            self.waiting.remove(job)

    def _leave(self, job: Job) -> None:
        self.running.remove(job)
        self.kv_used -= job.kv_need

    def _admit(self) -> int:
        """Take waiting jobs into the batch while they fit, in order; returns uncached prompt tokens to prefill."""
        prefill = 0
        while self.waiting and len(self.running) < self.settings.max_running:
            job = self.waiting[0]
            if self.kv_used + job.kv_need > self.settings.kv_tokens:
                break
            self.waiting.popleft()
            self.kv_used += job.kv_need
            job.cached = self.cache.use(job.tokens)
            prefill += len(job.tokens) - job.cached
            self.running.append(job)
        return prefill

    def step(self) -> tuple[list[Job], float]:
        """One iteration: every running job gets a token. Returns those jobs and the seconds it takes."""
        prefill = self._admit()
        advanced = list(self.running)
        for job in advanced:
            job.out.append(word(job.tokens, job.seed, len(job.out)))
            self.generated += 1
            if len(job.out) >= job.max_tokens:
                job.finish = "length"
                self.finished += 1
                self._leave(job)
        settings = self.settings
        if settings.instant or not advanced:
            return advanced, 0.0
        decode = settings.base_itl_s + settings.itl_per_request_s * (len(advanced) - 1)
        return advanced, (decode + prefill / settings.prefill_per_s) / settings.speed

    def stop(self, job: Job) -> None:
        """End a running job early, as its stop string came."""
        if job in self.running:
            job.finish = "stop"
            self.finished += 1
            self._leave(job)
