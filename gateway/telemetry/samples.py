"""Numbers by the second: what the console draws and the API shows, taken from the meters once for everybody.

Plain data; the loop that takes the samples is `sampler`, what is kept of them `history`. Times in seconds.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.workers.latency import Percentiles


class Measure(StrEnum):
    """The kinds of number that have a history."""

    REQUESTS = "requests_per_s"
    ERRORS = "errors_per_s"
    IN_FLIGHT = "in_flight"
    QUEUE = "queued"
    """Requests that wait in the engine by its own report; of the fleet, those that wait in the gateway besides."""
    P50 = "p50_s"
    P95 = "p95_s"
    P99 = "p99_s"
    TTFT = "ttft_p50_s"
    TTFT_P99 = "ttft_p99_s"
    PROMPT = "prompt_tokens_per_s"
    OUTPUT = "output_tokens_per_s"
    """Events of streams, and the usage that other answers tell."""


UNMEASURED = Percentiles()


@dataclass(frozen=True, slots=True)
class WorkerSample:
    """One worker's rates and response times, as of the last sample. Percentiles are over the last minute."""

    requests_per_s: float = 0.0
    """Answers that ended, a second, over about the last three seconds."""
    errors_per_s: float = 0.0
    error_rate: float | None = None
    """Share of the last minute's ended requests that failed; None: there were none."""
    response: Percentiles = UNMEASURED
    ttft: Percentiles = UNMEASURED
    prompt_per_s: float | None = None
    """Prompt tokens a second, over about the last three seconds; None: nobody ever told."""
    output_per_s: float | None = None
