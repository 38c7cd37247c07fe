"""What the doctor makes of the gateway's surroundings: clock, event loop, file descriptors, settings. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from smg_console.present import numbers
from smg_console.scripts.findings import Finding, Level

SKEW_S = 2.0
LATE_MS, VERY_LATE_MS = 50.0, 250.0
FEW_FILES = 4096
FULL, NEARLY_FULL = 0.95, 0.8
FILES_A_REQUEST, FILES_OWN = 2, 64
"""Two sockets for each request under way, and what the gateway holds open anyway."""


def of_clock(gateway_at: float, asked_at: float, answered_at: float) -> list[Finding]:
    """The gateway's wall clock beside the one here, in seconds; the way there and back is no difference."""
    ahead = gateway_at - (asked_at + answered_at) / 2
    off = max(0.0, abs(ahead) - (answered_at - asked_at) / 2)
    if off <= SKEW_S:
        return []
    what = f"the gateway's clock is {numbers.duration(off)} {'ahead of' if ahead > 0 else 'behind'} the one here"
    return [Finding(Level.WARNING, "clock_skew", what, "ages and deadlines seem off by as much; is NTP on?")]


def of_process(told: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Finding]:
    """Open files, of which each request takes two."""
    used, most = told["open_files"], told["most_open_files"]
    if most is None:
        return []
    advice = "raise it where the gateway starts: ulimit -n 65536, LimitNOFILE= of systemd"
    wanted = settings.get("max_concurrent_requests") or -1
    needed = FILES_A_REQUEST * wanted + FILES_OWN
    if used is not None and used >= NEARLY_FULL * most:
        level = Level.BAD if used >= FULL * most else Level.WARNING
        return [Finding(level, "files_used_up", f"{used} of {most} file descriptors are in use", advice)]
    if wanted > 0 and needed > most:
        what = f"--max-concurrent-requests {wanted} takes {needed} file descriptors, and {most} are allowed"
        return [Finding(Level.WARNING, "files_too_few", what, advice)]
    if most < FEW_FILES:
        what = f"only {most} file descriptors are allowed: {(most - FILES_OWN) // FILES_A_REQUEST} requests at once"
        return [Finding(Level.WARNING, "files_few", what, advice)]
    shown = f"{used} of {most}" if used is not None else f"up to {most}"
    return [Finding(Level.OK, "files", f"{shown} file descriptors are in use")]


def of_loop(late_ms: float) -> list[Finding]:
    """The worst lateness of the event loop in the last second, in milliseconds: every request waits so long."""
    said = f"the event loop is up to {numbers.duration(late_ms / 1000)} late"
    if late_ms < LATE_MS:
        return [Finding(Level.OK, "loop", said)]
    level = Level.BAD if late_ms >= VERY_LATE_MS else Level.WARNING
    advice = "is its core busy with something else? large prompts and tokenizers being loaded hold it, too"
    return [Finding(level, "loop_late", said, advice)]


def of_version(theirs: str, ours: str) -> list[Finding]:
    """Commands of another version may ask for what the gateway does not have."""
    if theirs == ours:
        return []
    what = f"the gateway is version {theirs}, these commands are {ours}"
    return [Finding(Level.WARNING, "version_differs", what, "restart the gateway after an upgrade")]


def of_settings(told: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Settings that work, but seldom as meant, alone or together."""
    values = {one["name"]: one["value"] for one in told}
    doubts = [*_switched_off(values), *_times(values)]
    return [Finding(Level.WARNING, "settings", what, advice) for holds, what, advice in doubts if holds]


Doubt = tuple[bool, str, str]
"""Whether it holds, what that means, what to do. A gateway of another version may lack a setting."""


def _switched_off(s: Mapping[str, Any]) -> list[Doubt]:
    no_checks, no_loads = bool(s.get("disable_health_check")), bool(s.get("disable_load_monitoring"))
    return [
        (
            no_checks,
            "health checks are off: dead workers are noticed by requests alone",
            "leave out --disable-health-check",
        ),
        (
            bool(s.get("disable_retries") and s.get("disable_circuit_breaker")),
            "retries and breakers are both off: clients see every failure, again and again",
            "leave out one of --disable-retries and --disable-circuit-breaker",
        ),
        (
            no_loads and s.get("policy") in ("power_of_two", "least_load"),
            f"--policy {s.get('policy')} goes by the load that engines report, and load monitoring is off",
            "leave out --disable-load-monitoring",
        ),
        (
            s.get("queue_size") == 0 and s.get("max_concurrent_requests", -1) > 0,
            "there is no queue: what exceeds --max-concurrent-requests is refused at once",
            "--queue-size lets it wait",
        ),
    ]


def _times(s: Mapping[str, Any]) -> list[Doubt]:
    probe_s, between_s = s.get("health_check_timeout_secs", 0), s.get("health_check_interval_secs", 0)
    whole_s, queue_s = s.get("request_timeout_secs", 0), s.get("queue_timeout_secs", 0)
    return [
        (
            probe_s > between_s and not s.get("disable_health_check"),
            f"a probe may take {probe_s:g} s, and one is due every {between_s:g} s: what hangs is noticed late",
            "lower --health-check-timeout-secs",
        ),
        (
            0 < whole_s < queue_s and s.get("max_concurrent_requests", -1) > 0,
            f"requests may wait {queue_s:g} s in the queue and last {whole_s:g} s in all: some end before they begin",
            "lower --queue-timeout-secs",
        ),
    ]
