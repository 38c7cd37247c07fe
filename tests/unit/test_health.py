"""Thresholds and pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.health import HealthCounter, counted, exhausted, next_probe_in, suspected
from gateway.workers.model import Health, HealthOverride, HealthSettings, State

SETTINGS = HealthSettings()


def after(results: str, settings: HealthSettings = SETTINGS) -> HealthCounter:
    """The counter after `+` and `-` probes, `!` being a failed request."""
    counter = HealthCounter()
    for mark in results:
        counter = suspected(counter) if mark == "!" else counted(counter, mark == "+", settings)
    return counter


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ("", Health.UNKNOWN),
        ("+", Health.UNKNOWN),
        ("++", Health.HEALTHY),
        ("+-+", Health.UNKNOWN),
        ("--", Health.UNKNOWN),
        ("---", Health.UNHEALTHY),
        ("++--", Health.HEALTHY),
        ("++---", Health.UNHEALTHY),
        ("++---+", Health.UNHEALTHY),
        ("++---++", Health.HEALTHY),
        ("++--+--", Health.HEALTHY),
        ("++!-", Health.UNHEALTHY),
        ("++!+-", Health.HEALTHY),
        ("!", Health.UNKNOWN),
    ],
)
def test_verdicts(results: str, verdict: Health) -> None:
    assert after(results).verdict is verdict


@given(st.text("+-!", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_a_streak_is_never_both_good_and_bad_and_verdicts_follow_it(results: str, up: int, down: int) -> None:
    settings = HealthSettings(success_threshold=up, failure_threshold=down)
    counter = after(results, settings)
    assert not (counter.ok_run and counter.fail_run)
    if counter.ok_run >= up:
        assert counter.verdict is Health.HEALTHY
    if counter.fail_run >= down:
        assert counter.verdict is Health.UNHEALTHY


@pytest.mark.parametrize(
    ("state", "results", "down_s", "expected"),
    [
        (State.REGISTERING, "", 0, 1.0),
        (State.REGISTERING, "-", 5, 1.0),
        (State.REGISTERING, "-" * 9, 300, 1.0),
        (State.REGISTERING, "-" * 9, 600, 2.0),
        (State.REGISTERING, "-" * 9, 1800, 6.0),
        (State.REGISTERING, "-" * 9, 1e6, 20.0),
        (State.REGISTERING, "+", 100, 0.2),
        (State.READY, "++", 0, 30.0),
        (State.READY, "++--", 0, 30.0),
        (State.READY, "++!", 0, 1.0),
        (State.UNHEALTHY, "++---", 10, 1.0),
        (State.UNHEALTHY, "++---+", 10, 0.2),
        (State.FAILED, "---", 1e6, 30.0),
    ],
)
def test_pace(state: State, results: str, down_s: float, expected: float) -> None:
    counter = after(results)
    assert next_probe_in(state, counter, SETTINGS, down_s=down_s, chance=0.0, cap_s=20.0) == expected
    spread = next_probe_in(state, counter, SETTINGS, down_s=down_s, chance=1.0, cap_s=20.0)
    assert spread == pytest.approx(expected * 0.9)


def test_a_short_interval_is_never_exceeded() -> None:
    quick = HealthSettings(interval_s=0.1)
    for results in ("", "-", "+", "++", "---"):
        counter = after(results)
        assert next_probe_in(State.UNHEALTHY, counter, quick, down_s=9, chance=0, cap_s=30) <= 0.1


def test_exhaustion_is_off_unless_set() -> None:
    assert not exhausted(after("-" * 1000), SETTINGS)
    assert exhausted(after("-" * 4), HealthSettings(failed_threshold=4))


def test_a_workers_own_settings_win_one_by_one() -> None:
    own = HealthOverride(interval_s=1.0, disabled=True, endpoint="/ping")
    assert SETTINGS.with_override(own) == HealthSettings(interval_s=1.0, disabled=True, endpoint="/ping")
    assert SETTINGS.with_override(HealthOverride()) == SETTINGS
