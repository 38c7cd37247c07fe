"""One attempt in a worker's books: in flight from its beginning to its end, which comes exactly once.

Tells meters, circuit breaker and those who wait for room; what happened is the exchange's to say.
"""

from gateway.proxy.traffic import Traffic
from gateway.workers.breaker import Trials
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.meters import Outcome

TRAFFIC = Cause("traffic")


class Dispatch:
    """A request is at this worker. `began` is monotonic seconds."""

    __slots__ = ("began", "ended", "entry", "trial", "worker")

    def __init__(self, entry: Entry, now: float) -> None:
        self.entry = entry
        self.worker = entry.worker
        """The worker's facts as they were then: what comes later belongs to this revision."""
        self.began = now
        self.ended = False
        meters = entry.meters
        if not meters.in_flight:
            meters.heard = now
        meters.began()
        self.trial: Trials | None = entry.trials
        if self.trial is not None:
            self.trial.under_way += 1

    def end(self, traffic: Traffic, outcome: Outcome, failure: str = "") -> None:
        """It is over. `failure`: why it counts against the worker; empty: it does not."""
        if self.ended:
            return
        self.ended = True
        entry, trial = self.entry, self.trial
        now = traffic.mono()
        entry.meters.heard = now
        entry.meters.ended(outcome, now - self.began, now)
        if trial is not None:
            trial.under_way -= 1
            if not failure and outcome is Outcome.OK:
                traffic.registry.observe_trial_passed(entry, trial, TRAFFIC)
        if failure:
            traffic.registry.observe_failed_request(entry, trial, failure, TRAFFIC)
        if entry.limited and traffic.admission.anybody_waits_for_room:
            traffic.admission.room_freed()

    def lost(self, traffic: Traffic, why: str, *, gone: bool) -> None:
        """The worker could not be reached (`gone`), or broke off: it is probed, and what was begun is over."""
        entry, revision = self.entry, self.worker.revision
        self.end(traffic, Outcome.TRANSPORT, why)
        if traffic.registry.observe_traffic_failure(entry, revision, why, TRAFFIC, gone=gone):
            traffic.probe_now(self.worker.id)
