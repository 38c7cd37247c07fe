"""What the doctor makes of what it is told: each trouble is named, with what to do, and what is well is quiet."""

from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from gateway.api import shapes
from gateway.api.discovery import discovery_json
from gateway.api.tokenizers import detail
from gateway.kubernetes.status import SharingStatus
from gateway.settings.effective import effective
from gateway.settings.model import Settings
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.status import TokenizerStatus
from smg_console.scripts import findings, surroundings
from smg_console.scripts.findings import Finding, Level
from tests.console import cluster
from tests.unit.script_fleet import NOW, draining, worker

BREAKER = {"state": "open", "reason": "it answered 500"}


def told(found: list[Finding], level: Level) -> list[str]:
    return [one.what for one in found if one.level is level]


def abouts(found: list[Finding]) -> list[str]:
    return [one.about for one in found if one.level is not Level.OK]


def test_the_workers_of_these_tests_have_the_members_that_the_api_gives() -> None:
    made = worker("w1")
    assert set(made) <= set(get_type_hints(shapes.WorkerJson))
    assert set(draining("w1")["drain"]) == set(get_type_hints(shapes.DrainJson))
    for name, shape in (
        ("circuit_breaker", shapes.BreakerJson),
        ("health_status", shapes.HealthStatusJson),
        ("capabilities", shapes.CapabilitiesJson),
    ):
        assert set(made[name]) <= set(get_type_hints(shape))


# --- workers ---


def test_a_fleet_that_is_well_is_one_line() -> None:
    found = findings.of_workers([worker("w1"), worker("w2")], NOW)
    assert [(one.level, one.what) for one in found] == [(Level.OK, "2 of 2 workers take requests")]


@pytest.mark.parametrize(
    ("sick", "level", "says", "advice"),
    [
        (
            worker("w1", state="unhealthy", health_status={"last_error": "refused"}),
            Level.BAD,
            "w1 is unhealthy: refused",
            "is the engine at http://10.0.0.1:8000 up?",
        ),
        (
            worker("w1", state="failed", reason="not up in 60 s"),
            Level.BAD,
            "w1 did not come up: not up in 60 s",
            "retry w1",
        ),
        (
            worker("w1", state="registering", reason="not yet"),
            Level.WARNING,
            "w1 is still coming up: not yet",
            "wait w1",
        ),
        (
            worker("w1", cordoned=True, because="cordoned: disk"),
            Level.WARNING,
            "w1 takes no requests: cordoned: disk",
            "uncordon w1",
        ),
        (draining("w1", left_s=-5), Level.WARNING, "w1 drains beyond its deadline: 3 in flight", "remove --now w1"),
        (
            worker("w1", circuit_breaker=BREAKER),
            Level.BAD,
            "w1 has its circuit breaker open: it answered 500",
            "by itself",
        ),
        (
            worker("w1", circuit_breaker={"state": "half_open", "reason": None}),
            Level.WARNING,
            "w1 has its circuit breaker half open: requests failed there",
            "reset-breaker w1",
        ),
        (worker("w1", ejected="reset"), Level.BAD, "w1 is left out until a probe passes: reset", "probe w1"),
        (worker("w1", overloaded=True), Level.WARNING, "w1 says it is overloaded", "add a worker for llama"),
        (
            worker("w1", requests=100, errors=30, requests_per_s=2.0, errors_per_s=1.0, last_request_error="reset"),
            Level.WARNING,
            "w1 fails 30% of its requests, the last: reset",
            "show w1",
        ),
    ],
)
def test_each_trouble_of_a_worker_is_named_with_what_to_do(sick: Any, level: Level, says: str, advice: str) -> None:
    (found,) = [one for one in findings.of_workers([sick, worker("w2")], NOW) if "w1" in one.what]
    assert (found.level, found.what) == (level, says)
    assert advice in found.advice


@pytest.mark.parametrize(
    "well",
    [
        draining("w1"),
        draining("w1", drained=True),
        worker("w1", requests=100, errors=30, requests_per_s=2.0),  # all of it long ago
        worker("w1", requests=10, errors=5, requests_per_s=2.0, errors_per_s=1.0),  # too few to tell
        worker("w1", requests=1000, errors=5, requests_per_s=90.0, errors_per_s=0.1),
    ],
)
def test_what_is_as_it_should_be_is_not_worth_a_word(well: Any) -> None:
    assert not [one for one in findings.of_workers([well, worker("w2")], NOW) if "w1" in one.what]


def test_a_drained_worker_that_is_held_for_an_hour_may_be_forgotten() -> None:
    found = findings.of_workers([draining("w1", drained=True), worker("w2")], NOW + 3700)
    assert told(found, Level.WARNING)[1:] == ["w1 was drained and is still held, since 1h01m"]


@pytest.mark.parametrize(
    ("fleet", "says"),
    [
        ([worker("w1", routable=False), worker("w2", routable=False)], "llama: none of 2 workers takes requests"),
        ([worker("w1", model_id=None, routable=False)], "unnamed models: none of 1 workers takes requests"),
        (
            [worker("w1", worker_type="prefill"), worker("w2", worker_type="decode", routable=False)],
            "llama: no decode worker takes requests, and the other half alone serves nothing",
        ),
        (
            [worker("w1", worker_type="decode")],
            "llama: no prefill worker takes requests, and the other half alone serves nothing",
        ),
        ([worker("w1", worker_type="decode", routable=False)], "llama: none of 1 workers takes requests"),
        ([worker("w1", worker_type="prefill"), worker("w2", worker_type="decode")], None),
        ([worker("w1", routable=False), worker("w2")], None),
        ([], "no worker is listed"),
    ],
)
def test_a_model_that_nobody_serves_is_bad(fleet: list[Any], says: str | None) -> None:
    assert told(findings.of_workers(fleet, NOW), Level.BAD) == ([] if says is None else [says])


def test_several_versions_of_an_engine_for_one_model_are_told() -> None:
    fleet = [worker(f"w{n}", capabilities={"engine": "vllm", "version": f"0.1.{n // 4}"}) for n in range(1, 11)]
    (found,) = findings.of_workers(fleet, NOW)[1:]
    assert found.what == (
        "llama is served by several versions: vllm 0.1.0 (w1, w2, w3); vllm 0.1.1 (w4, w5, w6, w7); "
        "vllm 0.1.2 (w8, w9, w10)"
    )


def went(name: str, new: str, ago_s: float) -> Any:
    seconds = int(20 - ago_s) % 60
    minute = 13 + int((20 - ago_s) // 60)
    at = f"2026-09-21T14:{minute:02}:{seconds:02}.000+00:00"
    return {"event": "worker_state_changed", "worker": name, "at": at, "data": {"old": "ready", "new": new}}


def test_a_worker_that_goes_down_again_and_again_is_a_crash_loop() -> None:
    names = {"1": "w1", "2": "w2"}
    down = [went("1", "unhealthy", ago) for ago in (10, 100, 300)]
    rest = [went("2", "unhealthy", 5), went("1", "ready", 60), went("9", "failed", 1), went("2", "failed", 700)]
    found = findings.of_journal([*down, *rest], names, NOW)
    assert told(found, Level.WARNING) == ["w1 went down 3 times within 10m00s"]
    assert findings.of_journal([*down[1:], went("1", "unhealthy", 601)], names, NOW) == []


# --- readiness, discovery, tokenizers ---


def test_readiness_is_told_either_way() -> None:
    assert [one.level for one in findings.of_readiness("")] == [Level.OK]
    assert told(findings.of_readiness("draining"), Level.BAD) == ["it is not ready: draining"]


def test_discovery_is_judged_by_what_the_api_says_of_it() -> None:
    assert findings.of_discovery({"enabled": False}) == []
    blind = findings.of_discovery(discovery_json(cluster.blind(NOW)))
    assert told(blind, Level.BAD) == [
        "discovery hears nothing of the cluster since 2026-09-21T14:10:15.000+00:00: "
        "cannot reach https://10.96.0.1:443: connection refused"
    ]
    forbidden = findings.of_discovery(discovery_json(cluster.forbidden(NOW)))
    assert told(forbidden, Level.BAD)[0].startswith("discovery cannot watch pods in namespace llm")
    seen = cluster.seen(NOW)
    assert told(findings.of_discovery(discovery_json(seen)), Level.WARNING) == [
        "3 matching pods are out of service: llm/sglang-7f9c6d5b8-x2x9p: "
        "not ready: containers with unready status: [engine]",
        "1 matching pod is not quite as annotated: llm/sglang-7f9c6d5b8-4kz7h: "
        "annotation smg.ai/priority: given 'high', expected a whole number",
    ]
    well = replace(seen, skipped={}, notes={})
    assert findings.of_discovery(discovery_json(well))[0].what == "discovery sees 8 matching pods"
    nobody = replace(well, matched=0, sharing=SharingStatus(waiting=2, problem="pods is forbidden"))
    assert abouts(findings.of_discovery(discovery_json(nobody))) == ["discovery_empty", "sharing_fails"]


def tokenizer(name: str, **changes: Any) -> Any:
    made = TokenizerStatus(
        id="1",
        name=name,
        source=name,
        state=Progress.COMPLETED,
        message="ready",
        since=NOW,
        automatic=True,
        models=(name,),
        users=(),
        shared_with=(),
        vocab_size=9,
        context_length=None,
        chat_templates=(),
        template_error=None,
        memory_bytes=None,
        exact=None,
        prefix=None,
        exact_off="off",
        prefix_off="off",
    )
    return detail(replace(made, **changes))


def test_tokenizers_that_failed_or_are_missing_are_told() -> None:
    grpc = worker("w1", connection_mode="grpc", model_id="qwen")
    assert findings.of_tokenizers([tokenizer("qwen")], [grpc, worker("w2")]) == []
    assert findings.of_tokenizers([tokenizer("x", models=("x", "qwen"))], [grpc]) == []
    failed = tokenizer("llama", state=Progress.FAILED, message="no such file", users=("w3",))
    found = findings.of_tokenizers([failed, tokenizer("t", template_error="line 3")], [grpc])
    assert [(one.level, one.about) for one in found] == [
        (Level.BAD, "tokenizer_failed"),
        (Level.WARNING, "chat_template"),
        (Level.BAD, "tokenizer_missing"),
    ]
    assert "the tokenizer of llama failed: no such file" in found[0].what
    unused = tokenizer("llama", state=Progress.FAILED, message="no such file")
    assert findings.of_tokenizers([unused], [])[0].level is Level.WARNING


# --- surroundings ---


@pytest.mark.parametrize(
    ("gateway_at", "asked", "answered", "says"),
    [
        (100.0, 99.9, 100.1, None),
        (102.0, 100.0, 100.0, None),
        (105.0, 100.0, 108.0, None),  # it may have been asked at any moment of the eight seconds
        (110.0, 100.0, 100.2, "the gateway's clock is 9.8s ahead of the one here"),
        (40.0, 100.0, 100.0, "the gateway's clock is 60s behind the one here"),
    ],
)
def test_clocks_that_differ_by_more_than_the_way_there_are_told(
    gateway_at: float, asked: float, answered: float, says: str | None
) -> None:
    found = surroundings.of_clock(gateway_at, asked, answered)
    assert told(found, Level.WARNING) == ([] if says is None else [says])


@pytest.mark.parametrize(
    ("used", "most", "wanted", "about", "level"),
    [
        (40, 1_048_576, -1, "files", Level.OK),
        (None, 65536, -1, "files", Level.OK),
        (40, 1024, -1, "files_few", Level.WARNING),
        (900, 1024, -1, "files_used_up", Level.WARNING),
        (1000, 1024, 8, "files_used_up", Level.BAD),
        (40, 8192, 5000, "files_too_few", Level.WARNING),
        (40, 8192, 4000, "files", Level.OK),
    ],
)
def test_file_descriptors_that_are_few_or_used_up_are_told(
    used: int | None, most: int, wanted: int, about: str, level: Level
) -> None:
    process = {"open_files": used, "most_open_files": most}
    assert set(process) < set(get_type_hints(shapes.ProcessJson))
    (found,) = surroundings.of_process(process, {"max_concurrent_requests": wanted})
    assert (found.about, found.level) == (about, level)
    assert bool(found.advice) is (level is not Level.OK)
    assert surroundings.of_process({**process, "most_open_files": None}, {}) == []


@pytest.mark.parametrize(("late_ms", "level"), [(0.4, Level.OK), (60, Level.WARNING), (400, Level.BAD)])
def test_a_late_loop_is_told(late_ms: float, level: Level) -> None:
    (found,) = surroundings.of_loop(late_ms)
    assert found.level is level


def test_another_version_is_told() -> None:
    assert surroundings.of_version("1.0", "1.0") == []
    assert "version 1.0, these commands are 1.1" in surroundings.of_version("1.0", "1.1")[0].what


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, []),
        ({"disable_health_check": True}, ["health checks are off"]),
        ({"disable_retries": True}, []),
        ({"disable_retries": True, "disable_circuit_breaker": True}, ["retries and breakers are both off"]),
        ({"policy": "least_load", "disable_load_monitoring": True}, ["--policy least_load goes by the load"]),
        ({"queue_size": 0, "max_concurrent_requests": 4}, ["there is no queue"]),
        ({"health_check_timeout_secs": 20.0, "health_check_interval_secs": 5.0}, ["a probe may take 20 s"]),
        ({"request_timeout_secs": 30.0, "max_concurrent_requests": 4}, ["requests may wait 60 s in the queue"]),
    ],
)
def test_settings_that_seldom_do_what_is_meant_are_told(changes: dict[str, Any], says: list[str]) -> None:
    shown = [{"name": one.name, "value": one.value} for one in effective(Settings(**changes), {})]
    found = surroundings.of_settings(shown)
    assert len(found) == len(says)
    assert all(one.what.startswith(said) and one.advice for one, said in zip(found, says, strict=True))
    assert surroundings.of_settings([]) == []
