"""The numbers of one worker: each end is counted once and in its place, and idleness is told when it begins."""

import pytest

from gateway.workers.meters import Outcome, WorkerMeters


@pytest.mark.parametrize(
    ("outcome", "counter", "errors", "measured"),
    [
        (Outcome.OK, "ok", 0, 1),
        (Outcome.SERVER_ERROR, "server_errors", 1, 0),
        (Outcome.TRANSPORT, "transport_errors", 1, 0),
        (Outcome.CANCELLED, "cancelled", 0, 0),
    ],
)
def test_each_outcome_has_its_counter_and_only_a_good_answer_a_response_time(
    outcome: Outcome, counter: str, errors: int, measured: int
) -> None:
    meters = WorkerMeters()
    meters.began()
    assert (meters.in_flight, meters.requests) == (1, 1)
    meters.ended(outcome, 0.5, now=10.0)
    counters = {name: getattr(meters, name) for name in ("ok", "server_errors", "transport_errors", "cancelled")}
    assert counters == {name: int(name == counter) for name in counters}
    assert (meters.in_flight, meters.requests, meters.errors) == (0, 1, errors)
    assert meters.response.percentiles(10.0).count == measured


def test_idleness_is_told_once_each_time_the_last_request_ends() -> None:
    meters, told = WorkerMeters(), []
    meters.on_idle = lambda: told.append(meters.in_flight)
    for _ in range(2):
        meters.began()
        meters.began()
        meters.ended(Outcome.OK, 0.1, 1.0)
        meters.ended(Outcome.CANCELLED, 0.1, 1.0)
    assert told == [0, 0]
