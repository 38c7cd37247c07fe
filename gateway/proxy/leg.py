"""The prefill half of a request that two workers serve: sent, its answer kept, and its end told to the whole.

In a worker's books it is a request like any other. What its answer means is `pairs`'.
"""

from typing import Protocol

from gateway.proxy.dispatch import Dispatch
from gateway.proxy.messages import AnswerHead
from gateway.proxy.pool import Dial
from gateway.proxy.retry import FAILURES
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome
from gateway.workers.model import Worker

MOST_BYTES = 16 * 1024 * 1024


class Leg(Protocol):
    """The prefill half, whichever way its worker is spoken to."""

    dispatch: Dispatch
    status: int
    body: bytes
    """The answer's, once there is one."""

    def cancel(self) -> None: ...

    def fail(self, error: UpstreamError) -> None: ...


class Whole(Protocol):
    """The request that the half belongs to."""

    def head_for(self, worker: Worker, authority: bytes, length: int) -> bytes: ...

    def prefilled(self, leg: Leg) -> None:
        """The answer is complete: see `status` and `body`."""

    def prefill_lost(self, leg: Leg, error: UpstreamError, *, gone: bool) -> None:
        """There will be no answer."""


class PrefillLeg:
    """A Sink."""

    __slots__ = ("_dial", "_parts", "_place", "_size", "_traffic", "_upstream", "_whole", "body", "dispatch", "status")

    def __init__(self, traffic: Traffic, whole: Whole, entry: Entry, now: float) -> None:
        self._traffic = traffic
        self._whole = whole
        self.dispatch = Dispatch(entry, now)
        self._place = traffic.place_of(self.dispatch.worker)
        self._dial: Dial | None = None
        self._upstream: Upstream | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self.body = b""
        """What was sent, and once it is answered the answer's body."""
        self.status = 0

    def begin(self, body: bytes) -> None:
        """Send it."""
        self.body = body
        upstream = self._place.take()
        if upstream is None:
            self._connect()
        else:
            self._send(upstream)

    def _connect(self) -> None:
        self._dial = self._place.dial(self._send, lambda error: self._lost(error, gone=True))

    def _send(self, upstream: Upstream) -> None:
        self._dial = None
        self._upstream = upstream
        head = self._whole.head_for(self.dispatch.worker, self._place.authority, len(self.body))
        upstream.send(b"POST", (head, self.body), self)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self._release()
        self.dispatch.end(self._traffic, Outcome.CANCELLED)

    def fail(self, error: UpstreamError) -> None:
        """Wait no longer: the worker does not answer."""
        self._lost(error, gone=False)

    def _release(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None

    def _lost(self, error: UpstreamError, *, gone: bool) -> None:
        if self.dispatch.ended:
            return
        self._release()
        self.dispatch.lost(self._traffic, str(error), gone=gone)
        self._whole.prefill_lost(self, error, gone=gone)

    # --- the worker's side ---

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        self.status = head.status

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def on_flush(self) -> None:
        self.dispatch.entry.meters.heard = self._traffic.mono()
        if self._size > MOST_BYTES:
            self._lost(UpstreamError(f"its answer is larger than {MOST_BYTES} bytes"), gone=False)

    def on_end(self) -> None:
        if self.dispatch.ended:
            return
        self._upstream = None
        self.body = b"".join(self._parts)
        outcome = Outcome.OK if self.status < 500 else Outcome.SERVER_ERROR
        failure = f"it answered {self.status}" if self.status in FAILURES else ""
        self.dispatch.end(self._traffic, outcome, failure)
        self._whole.prefilled(self)

    def on_error(self, error: UpstreamError) -> None:
        upstream = self._upstream
        if upstream is not None and upstream.reused and not upstream.answered:
            self._upstream = None
            self._connect()
            return
        self._lost(error, gone=False)

    def on_upstream_slow(self, slow: bool) -> None:
        """The body was whole when it was sent."""
