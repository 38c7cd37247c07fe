"""What is measured: the cases by name, and the goals our CPU time per request is held to beside each peer's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench.load import Exchange, chat_body, same_each_time, shared_prefixes
from tests.bench.workers import APART

FLEETS = (2, 16, 128, 1000)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `goals`: the largest good ratio of CPU time per request, ours to that peer's."""

    name: str
    exchange: Exchange
    connections: int
    workers: int = 2
    policy: str = "round_robin"
    goals: Mapping[str, float] = field(default_factory=dict)
    latency_goal: bool = False
    """Whether the median latency a gateway adds to the worker's is to be below every peer's."""

    @property
    def setup(self) -> tuple[int, str]:
        """Cases of one setup share their gateways."""
        return self.workers, self.policy


def _goals(smg: float, vllm_router: float) -> dict[str, float]:
    return {"smg": smg, "vllm-router": vllm_router}


def _stream(user: str) -> Exchange:
    return same_each_time(chat_body(1024, stream=True, user=user), stream=True)


_JSON = same_each_time(chat_body(1024))

CASES = {
    case.name: case
    for case in (
        Case("json-c64", _JSON, 64, goals=_goals(0.20, 0.50)),
        Case("json-c1", _JSON, 1, goals=_goals(0.35, 0.60), latency_goal=True),
        Case("stream-c32", _stream(""), 32, goals=_goals(0.40, 0.60)),
        Case("stream-apart-c32", _stream(APART), 32),
        Case("body100k-c16", same_each_time(chat_body(100 * 1024)), 16, goals=_goals(0.30, 0.60)),
        Case("cache-aware-c16", shared_prefixes(), 16, policy="cache_aware", goals=_goals(0.40, 0.70)),
        *(Case(f"fleet-{count}", _JSON, 64, workers=count) for count in FLEETS),
    )
}
