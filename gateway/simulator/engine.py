"""An engine's insides: continuous batching over a finite KV pool with a prefix cache, in simulated time.

Pure: time is passed in, and whoever drives it asks `next_at` when to call `advance` again. A request's prompt
is prefilled in chunks beside the others' decoding; then every step gives it one token. Steps follow each
other without a gap, however late `advance` is called, so that the schedule does not depend on the caller.
What the tokens say is none of its business.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.simulator.prefix_cache import BLOCK, PrefixCache

THROUGHPUT_WINDOW_S = 3.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How fast and how large. Seconds and tokens."""

    base_itl_s: float = 0.02
    """Time of one decoding step with one request."""
    itl_per_request_s: float = 0.001
    """What each further decoding request adds to a step."""
    prefill_per_s: float = 8000.0
    """Uncached prompt tokens a second."""
    prefill_chunk: int = 2048
    """Most prompt tokens a step takes on, so that a long prompt does not stall those who decode."""
    max_running: int = 32
    kv_tokens: int = 100_000
    speed: float = 1.0
    """Divides every time."""
    instant: bool = False
    """No time passes at all, and a whole answer is one step: for benchmarks."""


class JobState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Job:
    """One sequence to generate. The simulator knows its length beforehand, so that admission is exact and no
    running request ever has to be preempted."""

    prompt_tokens: int
    answer_tokens: int
    blocks: tuple[int, ...] = ()
    """Prefix-cache keys of the prompt's whole blocks."""
    state: JobState = JobState.WAITING
    cached: int = 0
    """Prompt tokens whose prefill the prefix cache spared."""
    prefilled: int = 0
    generated: int = 0

    @property
    def own_prompt(self) -> int:
        """Prompt tokens outside whole blocks: never shared."""
        return self.prompt_tokens - BLOCK * len(self.blocks)

    @property
    def ended(self) -> bool:
        return self.state in (JobState.DONE, JobState.CANCELLED)


@dataclass(slots=True)
class Counts:
    """Totals since the start."""

    submitted: int = 0
    finished: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


@dataclass(slots=True)
class _Step:
    ends_at: float
    work: list[tuple[Job, int]]
    """Who takes part, and how many prompt tokens of it are prefilled."""


@dataclass(slots=True)
class _Throughput:
    """Tokens of the last seconds."""

    _given: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now: float, tokens: int) -> None:
        self._given.append((now, tokens))
        self._forget(now)

    def rate(self, now: float) -> float:
        self._forget(now)
        return sum(tokens for _, tokens in self._given) / THROUGHPUT_WINDOW_S

    def _forget(self, now: float) -> None:
        while self._given and self._given[0][0] <= now - THROUGHPUT_WINDOW_S:
            self._given.popleft()


class EngineModel:
    """The batch, the queue and the KV pool."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.running: list[Job] = []
        self.waiting: deque[Job] = deque()
        self.cache = PrefixCache()
        self.counts = Counts()
        self.slowdown = 1.0
        """Multiplies the time of steps that begin from now on."""
        self._throughput = _Throughput()
        self._step: _Step | None = None
        self._own_reserved = 0

    def __repr__(self) -> str:
        return f"<EngineModel {len(self.running)} running, {len(self.waiting)} waiting, KV {self.kv_usage:.0%}>"

    @property
    def kv_reserved(self) -> int:
        """Tokens that running requests hold or will need. Never more than the pool."""
        return BLOCK * self.cache.active + self._own_reserved

    @property
    def kv_used(self) -> int:
        """Tokens that running requests hold now; what is cached beside them can be evicted and does not count."""
        return BLOCK * self.cache.active + sum(job.own_prompt + job.generated for job in self.running)

    @property
    def kv_usage(self) -> float:
        """From 0 to 1."""
        return self.kv_used / self.settings.kv_tokens

    @property
    def cache_hit_rate(self) -> float:
        """From 0 to 1, since the start."""
        return self.counts.cached_tokens / self.counts.prompt_tokens if self.counts.prompt_tokens else 0.0

    @property
    def uncached_waiting(self) -> int:
        """Prompt tokens of waiting requests that would need prefill now."""
        return sum(job.prompt_tokens - self._cached(job) for job in self.waiting)

    def throughput(self, now: float) -> float:
        """Generated tokens a second, lately."""
        return self._throughput.rate(now)

    def next_at(self) -> float | None:
        """When the step under way ends; None while there is nothing to do."""
        return None if self._step is None else self._step.ends_at

    def submit(self, job: Job, now: float) -> None:
        """Queue a job. Raises ValueError for one that has run, is empty, or could never fit the pool."""
        if job.state is not JobState.WAITING or job.generated:
            raise ValueError(f"a job runs once; this one is {job.state}")
        if job.prompt_tokens < BLOCK * len(job.blocks) or job.answer_tokens < 1:
            raise ValueError(f"{job.prompt_tokens} prompt tokens, {len(job.blocks)} blocks, {job.answer_tokens} to say")
        if (need := job.prompt_tokens + job.answer_tokens) > self.settings.kv_tokens:
            raise ValueError(f"needs {need} tokens of KV cache, there are {self.settings.kv_tokens}")
        self.counts.submitted += 1
        self.waiting.append(job)
        self._admit()
        if self._step is None:
            self._begin(now)

    def cancel(self, job: Job, now: float) -> None:
        """Stop a job and free its slot and its KV at once. Does nothing for one that has ended."""
        if job.state is JobState.WAITING:
            if job not in self.waiting:
                return  # never submitted
            self.waiting.remove(job)
        elif job.state is JobState.RUNNING:
            self._leave(job)
        else:
            return
        job.state = JobState.CANCELLED
        self.counts.cancelled += 1
        self._admit()
        if self._step is None or not any(each.state is JobState.RUNNING for each, _ in self._step.work):
            # The step under way was for nobody else.
            self._begin(now)

    def advance(self, now: float, *, most_steps: int = 1000) -> list[Job]:
        """Run every step that has ended by now, but at most so many; returns the jobs that got tokens, each once."""
        got: dict[Job, None] = {}
        for _ in range(most_steps):
            step = self._step
            if step is None or step.ends_at > now:
                break
            self._finish(step, got)
            self._begin(step.ends_at)
        return list(got)

    def _begin(self, now: float) -> None:
        """Admit who fits by now, and start the next step of whoever runs."""
        self._admit()
        self._step = None
        if not self.running:
            return
        work: list[tuple[Job, int]] = []
        settings, budget, speaking = self.settings, self.settings.prefill_chunk, 0
        for job in self.running:
            missing = job.prompt_tokens - job.prefilled
            prefill = missing if settings.instant else min(missing, budget)
            budget -= prefill
            speaking += prefill == missing
            work.append((job, prefill))
        took_s = 0.0
        if not settings.instant:
            decode_s = settings.base_itl_s + settings.itl_per_request_s * (speaking - 1) if speaking else 0.0
            prefill_s = (settings.prefill_chunk - budget) / settings.prefill_per_s
            took_s = (decode_s + prefill_s) * self.slowdown / settings.speed
        self._step = _Step(now + took_s, work)

    def _cached(self, job: Job) -> int:
        # The last prompt token is always computed: its output is the first answer token.
        return min(BLOCK * self.cache.hits(job.blocks), job.prompt_tokens - 1) if job.blocks else 0

    def _admit(self) -> None:
        """Take waiting jobs into the batch in order, as long as the first one fits. They hold their place and their
        KV from now on, so that waiting always means there is no room, and take part from the next step on."""
        settings, cache = self.settings, self.cache
        while self.waiting and len(self.running) < settings.max_running:
            job = self.waiting[0]
            own = job.own_prompt + job.answer_tokens
            if self.kv_reserved + BLOCK * cache.growth(job.blocks) + own > settings.kv_tokens:
                return
            self.waiting.popleft()
            job.state = JobState.RUNNING
            job.cached = job.prefilled = self._cached(job)
            cache.acquire(job.blocks)
            self._own_reserved += own
            cache.shrink((settings.kv_tokens - self.kv_reserved) // BLOCK)
            self.running.append(job)
            self.counts.prompt_tokens += job.prompt_tokens
            self.counts.cached_tokens += job.cached

    def _finish(self, step: _Step, got: dict[Job, None]) -> None:
        """A step's end: prompts are further, everyone who has all of its prompt gets a token."""
        spoken = 0
        for job, prefill in step.work:
            if job.state is not JobState.RUNNING:
                continue  # cancelled during the step
            job.prefilled += prefill
            if job.prefilled < job.prompt_tokens:
                continue
            if not job.generated:
                self.cache.fill(job.blocks)
            tokens = job.answer_tokens if self.settings.instant else 1
            job.generated += tokens
            spoken += tokens
            got[job] = None
            if job.generated == job.answer_tokens:
                self._leave(job)
                job.state = JobState.DONE
                self.counts.finished += 1
        self.counts.generated_tokens += spoken
        self._throughput.add(step.ends_at, spoken)

    def _leave(self, job: Job) -> None:
        self.running.remove(job)
        self.cache.release(job.blocks)
        self._own_reserved -= job.own_prompt + job.answer_tokens
