"""When is a worker healthy, and when is it asked next: thresholds and pace, as pure functions.

Takes probe results, settings, ages and a random number; returns a new counter or a delay. Sending probes is
`checker`'s, and what a verdict means for a worker's life is `lifecycle`'s.

Two rules beyond counting. A failure of real traffic makes a worker *suspect*: the next failed probe then is
enough for the verdict unhealthy, whatever the threshold, because two independent witnesses agree. And a worker
that is not yet (or no longer) up is asked about once a second, so that it takes traffic within a second or two
of answering; only one that has been away for many minutes is asked more rarely, up to the check interval.
"""

from dataclasses import dataclass, replace

from gateway.workers.model import Health, HealthSettings, State

QUICK_S = 1.0
"""Pace while waiting for a worker to come up: a refused connection costs tens of microseconds."""
CONFIRM_S = 0.2
"""Pace between the first good probe and the one that completes the threshold."""
PATIENCE = 300.0
"""A worker that is down for t seconds is asked every t / PATIENCE seconds, but at most once a second: still
every second after five minutes, every two after ten, every six after half an hour."""
JITTER = 0.1
"""Share of the interval by which probes are spread, so that workers of one start do not share the tick."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answered, refused or overdue probe. `latency_s` is what it took until then."""

    ok: bool
    latency_s: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class HealthCounter:
    """Streaks of good and bad probes, and the verdict they led to."""

    ok_run: int = 0
    fail_run: int = 0
    verdict: Health = Health.UNKNOWN
    suspect: bool = False


def counted(counter: HealthCounter, ok: bool, settings: HealthSettings) -> HealthCounter:
    """The counter after one more probe."""
    if ok:
        run = counter.ok_run + 1
        verdict = Health.HEALTHY if run >= settings.success_threshold else counter.verdict
        return HealthCounter(ok_run=run, fail_run=0, verdict=verdict)
    run = counter.fail_run + 1
    down = counter.suspect or run >= settings.failure_threshold
    return HealthCounter(
        ok_run=0, fail_run=run, verdict=Health.UNHEALTHY if down else counter.verdict, suspect=counter.suspect
    )


def suspected(counter: HealthCounter) -> HealthCounter:
    """The counter after real traffic could not reach the worker: the next failed probe settles it."""
    return replace(counter, suspect=True, ok_run=0)


def exhausted(counter: HealthCounter, settings: HealthSettings) -> bool:
    """Whether the setting calls this worker failed after so many bad probes in a row."""
    return bool(settings.failed_threshold) and counter.fail_run >= settings.failed_threshold


def next_probe_in(
    state: State,
    counter: HealthCounter,
    settings: HealthSettings,
    *,
    down_s: float,
    chance: float,
    cap_s: float,
) -> float:
    """Seconds until the next probe.

    `down_s`: how long the worker has been without a healthy verdict; `chance`: uniform in 0..1, for jitter;
    `cap_s`: the longest pause while it registers (`--worker-startup-check-interval`).
    """
    interval = settings.interval_s
    if counter.verdict is Health.HEALTHY:
        # A failed probe alone does not quicken the pace: the threshold times the interval is the blip that
        # an operator chose to tolerate. Failed traffic does: clients are already being hurt.
        if counter.suspect:
            interval = min(interval, QUICK_S)
    elif counter.ok_run > 0:
        interval = min(interval, CONFIRM_S)
    else:
        longest = min(interval, cap_s) if state is State.REGISTERING else interval
        interval = min(longest, max(QUICK_S, down_s / PATIENCE))
    return interval * (1.0 - JITTER * chance)
