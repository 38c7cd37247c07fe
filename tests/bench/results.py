"""From samples to the table: medians over rounds, ratios within rounds, goals met or missed. Pure.

A ratio is taken within one round, where both gateways met the same machine; the median of these is what counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.cases import Case
from tests.bench.gateways import OURS

DIRECT = "direct"
"""In place of a gateway: straight to a worker."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One gateway in one round of one case. CPU in microseconds a request."""

    case: str
    gateway: str
    round: int
    cpu_us: float = 0.0
    rate: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    rss_mb: float = 0.0
    void: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """The medians of one gateway in one case."""

    gateway: str
    rounds: int
    cpu_us: float
    rate: float
    p50_us: float
    p99_us: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ratio of ours to a peer's, or a difference; `goal` None: there is none."""

    case: str
    what: str
    value: float
    goal: float | None
    rounds: int

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal

    def text(self) -> str:
        end = "" if self.goal is None else f"  goal <= {self.goal:.2f}  {'met' if self.met else 'MISSED'}"
        return f"{self.case:16} {self.what:44} {self.value:6.2f}{end}"


def valid(samples: Iterable[Sample], case: str, gateway: str) -> dict[int, Sample]:
    """The samples that count, by round."""
    return {s.round: s for s in samples if s.case == case and s.gateway == gateway and not s.void}


def line(samples: Sequence[Sample], case: str, gateway: str) -> Line | None:
    """Medians over the rounds that count; None if there are none."""
    found = list(valid(samples, case, gateway).values())
    if not found:
        return None
    fields = ("cpu_us", "rate", "p50_us", "p99_us", "rss_mb")
    return Line(gateway, len(found), *(median(getattr(sample, name) for sample in found) for name in fields))


def cpu_verdict(samples: Sequence[Sample], case: Case, peer: str) -> Verdict | None:
    """CPU time per request, ours to the peer's."""
    ours, theirs = valid(samples, case.name, OURS), valid(samples, case.name, peer)
    ratios = [ours[n].cpu_us / theirs[n].cpu_us for n in ours.keys() & theirs.keys() if theirs[n].cpu_us]
    if not ratios:
        return None
    return Verdict(case.name, f"CPU per request / {peer}", median(ratios), case.goals.get(peer), len(ratios))


def latency_verdict(samples: Sequence[Sample], case: Case, peer: str) -> Verdict | None:
    """The median latency added to the worker's own, ours to the peer's."""
    straight, ours, theirs = (valid(samples, case.name, name) for name in (DIRECT, OURS, peer))
    rounds = straight.keys() & ours.keys() & theirs.keys()
    ratios = [
        (ours[n].p50_us - straight[n].p50_us) / (theirs[n].p50_us - straight[n].p50_us)
        for n in rounds
        if theirs[n].p50_us > straight[n].p50_us
    ]
    if not ratios:
        return None
    return Verdict(case.name, f"added p50 / {peer}", median(ratios), 1.0 if case.latency_goal else None, len(ratios))


def verdicts(samples: Sequence[Sample], cases: Iterable[Case], peers: Iterable[str]) -> list[Verdict]:
    """Every comparison the samples allow, in the order of the cases."""
    found: list[Verdict | None] = []
    names = list(peers)
    for case in cases:
        found += [cpu_verdict(samples, case, peer) for peer in names]
        if case.latency_goal:
            found += [latency_verdict(samples, case, peer) for peer in names]
    return [verdict for verdict in found if verdict is not None]


_COLUMNS = ("rounds", 6), ("CPU us/req", 10), ("req/s", 8), ("p50 ms", 8), ("p99 ms", 8), ("RSS MB", 7)
HEAD = " ".join([f"{'case':16}", f"{'gateway':14}", *(f"{name:>{width}}" for name, width in _COLUMNS)])


def table(samples: Sequence[Sample], cases: Iterable[Case], gateways: Sequence[str]) -> list[str]:
    """The medians as lines of text."""
    lines = [(case.name, line(samples, case.name, name)) for case in cases for name in (*gateways, DIRECT)]
    return [HEAD, *(_row(case, found) for case, found in lines if found is not None)]


def _row(case: str, found: Line) -> str:
    cpu = f"{found.cpu_us:10.1f}" if found.cpu_us else f"{'':10}"
    memory = f"{found.rss_mb:7.0f}" if found.rss_mb else f"{'':7}"
    times = f"{found.p50_us / 1000:8.3f} {found.p99_us / 1000:8.2f}"
    return f"{case:16} {found.gateway:14} {found.rounds:6} {cpu} {found.rate:8.0f} {times} {memory}"
