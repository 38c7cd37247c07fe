"""The bench's arithmetic: ratios within rounds, goals, void runs, and what is sent."""

import json
from pathlib import Path
from random import Random

import pytest

from tests.bench.cases import CASES, Case
from tests.bench.console import ConsoleSample, summary
from tests.bench.gateways import KINDS, OURS, Launch, cache_directory
from tests.bench.load import chat_body, check, parsed, same_each_time, shared_prefixes
from tests.bench.paced import percentile
from tests.bench.policies import Outcome, cache_verdicts, mixed_load, slow_verdicts
from tests.bench.processes import stat_fields
from tests.bench.results import DIRECT, Sample, cpu_verdict, latency_verdict, line, table, verdicts
from tests.bench.soak import Reading, complaints, growth_mb
from tests.bench.workers import ANSWER_BYTES, CHUNKS, answer_body, stream_chunks

CASE = Case("json", same_each_time(chat_body(1024)), 1, goals={"smg": 0.5}, latency_goal=True)


def cpu(gateway: str, number: int, value: float, *, void: str = "") -> Sample:
    return Sample("json", gateway, number, cpu_us=value, void=void)


def wrk(**told: int) -> str:
    good = {"requests": 100, "took_us": 2_000_000, "bytes": 100 * 700, "p50_us": 5, "p99_us": 9}
    return "noise\nMEASURED " + json.dumps({**good, "status": 0, "socket": 0, "timeout": 0, **told}) + "\n"


def test_a_ratio_is_taken_within_a_round_and_the_median_of_the_rounds_counts() -> None:
    samples = [cpu(OURS, n, value) for n, value in enumerate((10.0, 40.0, 30.0))]
    samples += [cpu("smg", n, value) for n, value in enumerate((100.0, 100.0, 50.0))]
    verdict = cpu_verdict(samples, CASE, "smg")
    assert verdict is not None
    assert (verdict.value, verdict.rounds, verdict.met) == (0.4, 3, True)


def test_a_void_round_does_not_count_on_either_side() -> None:
    samples = [cpu(OURS, 0, 10.0), cpu(OURS, 1, 90.0), cpu("smg", 0, 10.0), cpu("smg", 1, 10.0, void="5 timeouts")]
    verdict = cpu_verdict(samples, CASE, "smg")
    assert verdict is not None
    assert (verdict.value, verdict.rounds, verdict.met) == (1.0, 1, False)
    assert cpu_verdict([cpu(OURS, 0, 1.0)], CASE, "smg") is None
    assert line([cpu("smg", 0, 10.0, void="no answers")], "json", "smg") is None


def test_a_peer_without_a_goal_is_compared_but_not_judged() -> None:
    verdict = cpu_verdict([cpu(OURS, 0, 10.0), cpu("other", 0, 20.0)], CASE, "other")
    assert verdict is not None
    assert verdict.met is None
    assert "goal" not in verdict.text()


def test_added_latency_is_what_comes_on_top_of_the_worker_s_own() -> None:
    samples = [Sample("json", name, 0, p50_us=value) for name, value in ((DIRECT, 20), (OURS, 120), ("smg", 220))]
    verdict = latency_verdict(samples, CASE, "smg")
    assert verdict is not None
    assert (verdict.value, verdict.met) == (0.5, True)


def test_the_table_shows_every_gateway_that_was_measured_and_no_other() -> None:
    samples = [cpu(OURS, 0, 10.0), cpu("smg", 0, 50.0), Sample("json", DIRECT, 0, rate=9.0)]
    rows = table(samples, [CASE], [OURS, "smg", "absent"])
    assert [row.split()[1] for row in rows] == ["gateway", OURS, "smg", DIRECT]
    assert [verdict.what for verdict in verdicts(samples, [CASE], ["smg", "absent"])] == ["CPU per request / smg"]


def test_wrk_s_numbers_are_read_from_its_last_words() -> None:
    run = parsed(wrk(), ANSWER_BYTES)
    assert (run.requests, run.rate, run.p50_us, run.p99_us, run.void) == (100, 50.0, 5, 9, "")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"status": 3}, "3 error answers"),
        ({"socket": 2}, "2 socket errors"),
        ({"timeout": 1}, "1 timeouts"),
        ({"requests": 0}, "no answers"),
        ({"bytes": 100 * 500}, "answers were short: 500 bytes each"),
    ],
)
def test_a_run_with_wrong_answers_is_void(told: dict[str, int], why: str) -> None:
    assert parsed(wrk(**told), ANSWER_BYTES).void == why


def test_a_wrk_that_failed_is_void_with_its_words() -> None:
    assert parsed("unable to connect", ANSWER_BYTES).void == "wrk told nothing: unable to connect"


@pytest.mark.parametrize("size", [300, 1024, 102_400])
def test_a_chat_request_is_json_of_the_size_asked_for(size: int) -> None:
    body = chat_body(size, stream=True, text="begins so")
    assert len(body) == size
    assert json.loads(body)["messages"][-1]["content"].startswith("begins so")


def test_a_chat_request_too_small_for_what_it_must_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="has no room"):
        chat_body(100, system="x" * 200)


def test_shared_prefixes_are_whole_requests_of_one_size() -> None:
    exchange = shared_prefixes(prompts=2)
    assert len(exchange.body) == 4096
    system, user = (message["content"] for message in json.loads(exchange.body)["messages"])
    assert len(system) == 3072
    assert user.startswith("00000000 ")


def test_the_fixed_worker_s_answers_pass_their_own_check_and_cut_ones_do_not() -> None:
    body = answer_body()
    assert len(body) == ANSWER_BYTES
    check(200, body, stream=False)
    events = b"".join(chunk.partition(b"\r\n")[2].rpartition(b"\n\n")[0] + b"\n\n" for chunk in stream_chunks()[:-1])
    with pytest.raises(ValueError, match=f"{CHUNKS - 1} events"):
        check(200, events, stream=True)
    with pytest.raises(ValueError, match="status 503"):
        check(503, body, stream=False)
    with pytest.raises(ValueError, match="another answer"):
        check(200, body.replace(b"aaaa", b"aaab"), stream=False)


def test_all_gateways_get_the_same_workers_policy_and_ports() -> None:
    launch = Launch(("http://a:1", "http://b:2"), "round_robin", 10, 11)
    for kind in KINDS.values():
        words = kind.command(Path("/bin"), launch)
        assert "http://a:1" in words
        assert words[words.index("--policy") + 1] == "round_robin"
        assert words[words.index("--port") + 1] == "10"


def test_every_case_with_goals_names_peers_that_exist() -> None:
    assert all(case.goals.keys() <= KINDS.keys() for case in CASES.values())


def test_peers_are_kept_in_the_cache_directory_of_the_user() -> None:
    assert str(cache_directory({"XDG_CACHE_HOME": "/c", "HOME": "/h"})) == "/c/smg-console/bench"
    assert str(cache_directory({"XDG_CACHE_HOME": "relative", "HOME": "/h"})) == "/h/.cache/smg-console/bench"


def test_a_program_with_brackets_in_its_name_has_its_fields_read_right() -> None:
    assert stat_fields("7 (a) b (c)) S 1 2")[:2] == ["S", "1"]


def test_what_the_console_adds_is_the_difference_within_a_round() -> None:
    bare = [ConsoleSample(n, OURS, share, 1, 2, 3, 4, 0, 50) for n, share in enumerate((0.1, 0.5))]
    drawn = [ConsoleSample(n, "with console", share, 1, 3, 5, 6, 9, 60) for n, share in enumerate((0.14, 0.54))]
    told = summary([*bare, *drawn])
    assert "adds 4.0% of a core" in told[0]
    assert "1.50" in told[1]
    assert summary(bare) == []


def test_percentiles_of_few_values_are_among_them() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([float(n) for n in range(100)], 0.99) == 99.0


def test_memory_growth_leaves_the_warm_up_out() -> None:
    readings = [Reading(at, mb, 0, 0) for at, mb in ((0, 50.0), (100, 70.0), (200, 80.0), (600, 81.0), (1000, 83.0))]
    assert growth_mb(readings, 1000) == 3.0
    assert growth_mb(readings[:3], 1000) is None


def test_a_short_run_spends_half_its_time_warming_up() -> None:
    readings = [Reading(at, mb, 0, 0) for at, mb in ((0, 50.0), (20, 70.0), (30, 80.0), (45, 81.0), (60, 82.0))]
    assert growth_mb(readings, 60) == 2.0


def test_a_complaint_in_the_log_is_found() -> None:
    assert complaints("fine\nTraceback (most recent call last):\n") == ["Traceback (most recent call last):"]
    assert complaints("a coroutine was awaited\n") == []


def test_one_seed_makes_one_workload() -> None:
    assert mixed_load(Random(3), 5) == mixed_load(Random(3), 5)
    assert mixed_load(Random(3), 5) != mixed_load(Random(4), 5)


def test_policies_are_judged_beside_the_one_that_does_not_look() -> None:
    found = {name: Outcome(name, [value]) for name, value in (("round_robin", 2.0), ("power_of_two", 1.0))}
    assert [met for _, met in slow_verdicts(found)] == [True]
    assert slow_verdicts({"power_of_two": found["power_of_two"]}) == []
    hits = {name: Outcome(name, [], cached=share) for name, share in (("random", 0.4), ("cache_aware", 0.5))}
    assert [met for _, met in cache_verdicts(hits)] == [False]
    hits["cache_aware"].cached = 0.8
    assert [met for _, met in cache_verdicts(hits)] == [True]
