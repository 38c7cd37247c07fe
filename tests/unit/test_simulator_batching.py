"""The simulated engine's schedule: exact in time, and honest about its KV pool whatever history it sees."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.engine import EngineModel, EngineSettings, Job, JobState
from gateway.simulator.prefix_cache import BLOCK

PLAIN = EngineSettings(base_itl_s=0.02, itl_per_request_s=0.001, prefill_per_s=1000.0, prefill_chunk=100)


def chain(prompt_tokens: int, family: int, shared: int = 1 << 30) -> tuple[int, ...]:
    """Block keys: families share nothing; of one family, the first `shared` blocks are common."""
    whole = prompt_tokens // BLOCK
    return tuple(hash((family, at, at >= shared and prompt_tokens)) for at in range(whole))


def finish(engine: EngineModel) -> float:
    """Run until nothing is left to do; returns when that was."""
    at = 0.0
    while (step := engine.next_at()) is not None:
        assert step >= at
        at = step
        engine.advance(at)
    return at


def check(engine: EngineModel) -> None:
    """What holds after whatever happened."""
    pool = engine.settings.kv_tokens
    blocks = {key for job in engine.running for key in job.blocks}
    reserved = BLOCK * len(blocks) + sum(job.own_prompt + job.answer_tokens for job in engine.running)
    assert engine.kv_reserved == reserved
    assert 0 <= engine.kv_used <= reserved <= pool
    assert engine.kv_reserved + BLOCK * engine.cache.idle <= pool
    assert len(engine.running) <= engine.settings.max_running
    assert all(job.state is JobState.RUNNING for job in engine.running)
    assert all(job.state is JobState.WAITING for job in engine.waiting)
    assert bool(engine.running) is (engine.next_at() is not None)
    assert engine.running or not engine.waiting  # an empty batch takes whoever waits


def test_the_first_token_comes_after_the_prefill_and_each_further_one_after_a_step() -> None:
    engine = EngineModel(PLAIN)
    job = Job(prompt_tokens=50, answer_tokens=3)
    engine.submit(job, 10.0)
    assert engine.advance(10.0699) == []
    assert engine.advance(10.0701) == [job]
    assert job.generated == 1
    assert engine.next_at() == pytest.approx(10.09)
    engine.advance(10.0901)
    assert (job.generated, job.state) == (2, JobState.RUNNING)
    engine.advance(10.1101)
    assert (job.generated, job.state, engine.next_at()) == (3, JobState.DONE, None)


def test_tokens_come_slower_in_a_larger_batch() -> None:
    engine = EngineModel(PLAIN)
    for _ in range(11):
        engine.submit(Job(1, 100), 0.0)
    engine.advance(1.0)
    begin = engine.next_at()
    assert begin is not None
    engine.advance(begin)
    assert engine.next_at() == pytest.approx(begin + 0.02 + 10 * 0.001)


def test_a_batch_is_slower_a_token_but_faster_in_all() -> None:
    took = []
    for count in (1, 8):
        engine = EngineModel(EngineSettings(prefill_per_s=1e9))
        for _ in range(count):
            engine.submit(Job(10, 20), 0.0)
        took.append(finish(engine))
    assert took[0] < took[1] < 8 * took[0] / 4


def test_a_shared_prefix_spares_its_prefill() -> None:
    engine = EngineModel(PLAIN)
    first, second = (Job(90, 1, chain(90, family=1)) for _ in range(2))
    engine.submit(first, 0.0)
    cold = finish(engine)
    engine.submit(second, cold)
    warm = finish(engine) - cold
    assert (first.cached, second.cached) == (0, 80)
    assert cold - warm == pytest.approx(80 / PLAIN.prefill_per_s)


def test_a_prompt_that_is_wholly_cached_still_computes_its_last_token() -> None:
    engine = EngineModel(PLAIN)
    first, second = (Job(64, 1, chain(64, family=1)) for _ in range(2))
    engine.submit(first, 0.0)
    engine.submit(second, finish(engine))
    finish(engine)
    assert second.cached == 63


def test_a_prefix_that_is_still_being_computed_spares_nobody_anything() -> None:
    engine = EngineModel(PLAIN)
    first, second = (Job(64, 1, chain(64, family=1)) for _ in range(2))
    engine.submit(first, 0.0)
    engine.submit(second, 0.0)
    engine.cancel(first, 0.01)
    finish(engine)
    assert second.cached == 0


def test_a_long_prompt_is_prefilled_in_chunks_beside_those_who_decode() -> None:
    engine = EngineModel(PLAIN)
    talking, long = Job(1, 50), Job(1000, 1)
    engine.submit(talking, 0.0)
    engine.advance(0.5)
    engine.submit(long, 0.5)
    before = talking.generated
    while not long.generated:
        at = engine.next_at()
        assert at is not None
        engine.advance(at)
    # Its own step, then ten chunks of a hundred tokens: the other one got a token in each.
    assert talking.generated - before == 1 + 10


def test_requests_beyond_the_batch_wait_and_come_in_order() -> None:
    engine = EngineModel(EngineSettings(max_running=2))
    jobs = [Job(8, 5) for _ in range(5)]
    for job in jobs:
        engine.submit(job, 0.0)
    assert (engine.running, list(engine.waiting)) == (jobs[:2], jobs[2:])
    ended: list[Job] = []
    while (at := engine.next_at()) is not None:
        engine.advance(at)
        ended += [job for job in jobs if job.ended and job not in ended]
        assert len(engine.running) <= 2
    assert ended == jobs


def test_a_place_that_is_freed_is_taken_at_once_though_the_step_goes_on() -> None:
    engine = EngineModel(EngineSettings(max_running=2))
    stays, leaves, waits = (Job(1, 9) for _ in range(3))
    for job in (stays, leaves, waits):
        engine.submit(job, 0.0)
    begun = engine.next_at()
    engine.cancel(leaves, 0.001)
    assert (engine.running, engine.next_at()) == ([stays, waits], begun)
    assert engine.advance(1.0, most_steps=1) == [stays]
    assert engine.advance(1.0, most_steps=1) == [stays, waits]


def test_a_step_ends_with_the_last_of_those_it_was_for() -> None:
    engine = EngineModel(PLAIN)
    first, second = Job(1000, 1), Job(1, 1)
    engine.submit(first, 0.0)
    engine.submit(second, 0.01)
    engine.cancel(first, 0.02)
    assert engine.next_at() == pytest.approx(0.02 + 0.001 + 0.02)


def test_a_full_pool_makes_requests_wait_until_there_is_room_for_the_whole_of_them() -> None:
    engine = EngineModel(EngineSettings(kv_tokens=100))
    first, second = Job(50, 20), Job(20, 20)
    engine.submit(first, 0.0)
    engine.submit(second, 0.0)
    while first.state is not JobState.DONE:
        assert second.state is JobState.WAITING
        at = engine.next_at()
        assert at is not None
        engine.advance(at)
    assert second.state is JobState.RUNNING


def test_old_prefixes_make_room_for_new_requests() -> None:
    engine = EngineModel(EngineSettings(kv_tokens=160))
    now = 0.0
    for family in range(4):
        engine.submit(Job(64, 16, chain(64, family)), now)
        now = finish(engine)
        check(engine)
    again = [Job(64, 16, chain(64, family)) for family in (3, 0)]
    for job in again:
        engine.submit(job, now)
        now = finish(engine)
    assert [job.cached for job in again] == [63, 0]


def test_a_request_that_could_never_fit_is_refused() -> None:
    engine = EngineModel(EngineSettings(kv_tokens=100))
    with pytest.raises(ValueError, match="needs 101 tokens of KV cache, there are 100"):
        engine.submit(Job(81, 20), 0.0)
    assert engine.counts.submitted == 0


def test_a_job_runs_once() -> None:
    engine = EngineModel(PLAIN)
    job = Job(1, 1)
    engine.submit(job, 0.0)
    finish(engine)
    with pytest.raises(ValueError, match="runs once"):
        engine.submit(job, 1.0)


def test_cancelling_the_only_running_request_lets_the_next_one_begin_at_that_moment() -> None:
    engine = EngineModel(EngineSettings(max_running=1, base_itl_s=0.02, prefill_per_s=1000))
    first, second = Job(500, 50), Job(20, 1)
    engine.submit(first, 0.0)
    engine.submit(second, 0.0)
    engine.cancel(first, 0.1)
    assert (engine.running, engine.kv_reserved, engine.counts.cancelled) == ([second], 21, 1)
    assert finish(engine) == pytest.approx(0.1 + 0.02 + 0.02)


def test_cancelling_twice_or_after_the_end_changes_nothing() -> None:
    engine = EngineModel(PLAIN)
    done, gone = Job(1, 1), Job(1, 100)
    engine.submit(done, 0.0)
    finish(engine)
    engine.submit(gone, 1.0)
    for job in (done, gone, gone):
        engine.cancel(job, 1.0)
    assert (engine.counts.cancelled, engine.counts.finished, done.state) == (1, 1, JobState.DONE)
    engine.cancel(Job(1, 1), 1.0)  # never submitted
    assert engine.counts.cancelled == 1


def test_an_instant_engine_answers_in_no_time() -> None:
    engine = EngineModel(EngineSettings(instant=True))
    jobs = [Job(5000, 300) for _ in range(3)]
    for job in jobs:
        engine.submit(job, 7.0)
    assert engine.advance(7.0) == jobs
    assert all(job.generated == 300 for job in jobs)


def test_speed_divides_and_slowness_multiplies_every_time() -> None:
    times = []
    for speed, slowdown in ((1.0, 1.0), (4.0, 1.0), (1.0, 3.0)):
        engine = EngineModel(EngineSettings(speed=speed))
        engine.slowdown = slowdown
        engine.submit(Job(100, 10), 0.0)
        times.append(finish(engine))
    assert times == [pytest.approx(times[0]), pytest.approx(times[0] / 4), pytest.approx(times[0] * 3)]


def test_throughput_counts_the_tokens_of_the_last_seconds() -> None:
    engine = EngineModel(EngineSettings(base_itl_s=0.1, itl_per_request_s=0.0))
    engine.submit(Job(1, 60), 0.0)
    engine.advance(5.9)
    assert engine.throughput(5.9) == pytest.approx(10.0, rel=0.05)
    engine.advance(10.0)
    assert engine.throughput(20.0) == 0.0


@dataclass(frozen=True)
class Submit:
    prompt: int
    answer: int
    family: int
    shared: int


@dataclass(frozen=True)
class Cancel:
    which: int


@dataclass(frozen=True)
class Wait:
    seconds: float


STEPS = st.lists(
    st.one_of(
        st.builds(Submit, st.integers(1, 160), st.integers(1, 60), st.integers(0, 2), st.integers(0, 6)),
        st.builds(Cancel, st.integers(0, 40)),
        st.builds(Wait, st.floats(0, 0.6)),
    ),
    max_size=40,
)
SIZES = st.builds(
    EngineSettings,
    max_running=st.integers(1, 5),
    kv_tokens=st.integers(220, 600),
    prefill_per_s=st.just(2000.0),
    prefill_chunk=st.integers(1, 200),
    instant=st.booleans(),
)


@given(STEPS, SIZES)
@settings(max_examples=150, deadline=None)
def test_whatever_happens_the_pool_is_never_overdrawn_and_every_request_ends(
    steps: list[Submit | Cancel | Wait], sizes: EngineSettings
) -> None:
    engine, now, jobs = EngineModel(sizes), 0.0, []
    for step in steps:
        match step:
            case Submit(prompt, answer, family, shared):
                jobs.append(Job(prompt, answer, chain(prompt, family, shared)))
                engine.submit(jobs[-1], now)
            case Cancel(which) if jobs:
                job = jobs[which % len(jobs)]
                ended = job.ended
                engine.cancel(job, now)
                assert job not in engine.running
                assert job not in engine.waiting
                assert job.state is JobState.CANCELLED or ended
            case Wait(seconds):
                now += seconds
                engine.advance(now)
        check(engine)
    while (at := engine.next_at()) is not None:
        now = max(now, at)
        engine.advance(now, most_steps=1)
        check(engine)
    assert all(job.ended for job in jobs)
    assert all(job.generated == job.answer_tokens for job in jobs if job.state is JobState.DONE)
    assert (engine.kv_used, engine.kv_reserved, engine.cache.active) == (0, 0, 0)
    counts = engine.counts
    assert counts.finished + counts.cancelled == counts.submitted == len(jobs)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40)), min_size=1, max_size=8), st.floats(0.01, 3.0))
@settings(max_examples=100, deadline=None)
def test_the_schedule_does_not_depend_on_how_often_it_is_looked_at(
    requests: list[tuple[int, int]], until: float
) -> None:
    seldom, often = EngineModel(PLAIN), EngineModel(PLAIN)
    for engine in (seldom, often):
        for prompt, answer in requests:
            engine.submit(Job(prompt, answer), 0.0)
    for part in range(1, 100):
        often.advance(until * part / 100)
    seldom.advance(until)
    often.advance(until)
    assert [job.generated for job in seldom.running] == [job.generated for job in often.running]
    assert (seldom.counts, seldom.next_at()) == (often.counts, often.next_at())
