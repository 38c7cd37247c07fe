"""The simulated engine's insides: batching, a finite KV cache, and prefixes that are cached."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from gateway.simulator.engine import EngineModel, EngineSettings, Job, PrefixCache, tokens_of
from gateway.simulator.faults import Faults

TEXT = " ".join(f"t{n}" for n in range(64))


def finished(model: EngineModel, *jobs: Job) -> float:
    """Run until all jobs have ended; the seconds it takes."""
    for job in jobs:
        model.submit(job)
    took = 0.0
    while model.busy:
        took += model.step()[1]
    return took


def job(text: str = TEXT, tokens: int = 8, seed: int = 1) -> Job:
    return Job(tokens_of(text), tokens, seed)


def test_answers_are_the_same_for_the_same_prompt_whatever_else_runs() -> None:
    alone, among = job(), job()
    finished(EngineModel(EngineSettings()), alone)
    finished(EngineModel(EngineSettings()), job(seed=5), among, job(seed=6))
    assert alone.out == among.out
    assert len(alone.out) == 8
    assert alone.finish == "length"


def test_a_batch_is_slower_a_token_but_faster_in_all() -> None:
    settings_ = EngineSettings(prefill_per_s=1e9)
    one = finished(EngineModel(settings_), job())
    eight = finished(EngineModel(settings_), *[job(seed=n) for n in range(8)])
    assert one < eight < 8 * one


def test_a_cached_prefix_cuts_the_prefill() -> None:
    model = EngineModel(EngineSettings(prefill_per_s=100))
    first = finished(model, job())
    again = job()
    second = finished(model, again)
    assert again.cached == 64
    assert second < first / 2
    assert model.cache.hit_tokens == 64


def test_the_prefix_cache_keeps_what_was_used_last() -> None:
    cache = PrefixCache(tokens=48)
    for text in ("a " * 16, "b " * 16, "a " * 16, "c " * 16, "d " * 16):
        cache.use(text.split())
    assert cache.use(("a " * 16).split()) == 16
    assert cache.use(("b " * 16).split()) == 0
    assert len(cache) <= 3


def test_a_full_cache_makes_requests_wait_in_order() -> None:
    model = EngineModel(EngineSettings(kv_tokens=145))
    first, second = job(), job(seed=2)
    third = job("short", tokens=2)
    for each in (first, second, third):
        model.submit(each)
    model.step()
    assert model.running == [first, second]
    assert list(model.waiting) == [third]
    assert model.kv_used == 144


class Histories(RuleBasedStateMachine):
    """No order of submitting, stepping and cancelling loses a job or a token of KV."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.model = EngineModel(EngineSettings(kv_tokens=60, max_running=3))
        self.all: list[Job] = []

    @rule(target=jobs, prompt=st.integers(1, 30), tokens=st.integers(1, 9))
    def submit(self, prompt: int, tokens: int) -> Job:
        made = Job(["x"] * prompt, tokens, 1)
        self.model.submit(made)
        self.all.append(made)
        return made

    @rule()
    def step(self) -> None:
        self.model.step()

    @rule(made=jobs)
    def cancel(self, made: Job) -> None:
        self.model.cancel(made)

    @rule(made=jobs)
    def stop(self, made: Job) -> None:
        self.model.stop(made)

    @invariant()
    def the_cache_is_accounted_for(self) -> None:
        model = self.model
        assert model.kv_used == sum(each.kv_need for each in model.running)
        assert 0 <= model.kv_used <= model.settings.kv_tokens
        assert len(model.running) <= model.settings.max_running

    def teardown(self) -> None:
        while self.model.busy:
            self.model.step()
        assert self.model.kv_used == 0
        assert all(each.cancelled or each.finish for each in self.all)


Histories.TestCase.settings = settings(max_examples=100, deadline=None)
test_no_history_loses_a_job = Histories.TestCase


def test_faults_are_set_by_name_and_refused_by_name() -> None:
    faults = Faults()
    assert faults.change({"unhealthy": True, "slow": 3}) is None
    assert (faults.unhealthy, faults.slow) == (True, 3.0)
    assert faults.change({"reset": True}) is None
    assert faults == Faults()
    for given, why in (({"wrong": 1}, "wrong: unknown fault; accepted: reset, unhealthy"), ([], "expected a JSON")):
        assert why in (faults.change(given) or "")
    assert "status: given 'x', expected int" in (faults.change({"status": "x"}) or "")
    assert "hang: given 1, expected bool" in (faults.change({"hang": 1}) or "")
    assert faults == Faults()
