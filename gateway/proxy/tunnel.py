"""A websocket through the gateway: the handshake goes to a worker as it came, and from its 101 on bytes pass both ways.

In a worker's books it is one request, in flight from the handshake to the end, so that a drain waits for it. Frames
are not looked at: what they say is between the two. Each side is held back while the other does not take what it
sends; a side that ends its direction is passed on as that, and one that is gone ends the other. A worker that answers
with another status than 101 has its answer passed on, and the connection closed behind it: whoever asked for a
websocket may have sent frames already, and those are no HTTP.
"""

from math import inf
from typing import Protocol
from urllib.parse import parse_qs

from gateway.errors import GatewayError
from gateway.proxy.answers import refusal_code
from gateway.proxy.dispatch import Dispatch
from gateway.proxy.flights import Flight, Stage
from gateway.proxy.messages import AnswerHead, Request, upgrade_head
from gateway.proxy.pool import Dial
from gateway.proxy.relay import Client, Relay
from gateway.proxy.retry import FAILURES
from gateway.proxy.selection import NoRoom, choose, targeted
from gateway.proxy.traffic import Place, Traffic
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.routing.policy import Query
from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome
from gateway.workers.model import Role, WorkerId

ROUTE = "/v1/realtime"
HANDSHAKE_S = 30.0
"""From sending the handshake until the head of the worker's answer."""
HALF_CLOSED_S = 30.0
"""How long a side that has heard the other's end may still say nothing before it is taken to have left."""
MOST_KEPT = 64 * 1024
"""Bytes that a client may send before the worker has agreed; beyond them it is not read."""


class TunnelClient(Client, Protocol):
    """The side of the one who asked, whose connection carries bytes in both directions."""

    def end_writing(self) -> None:
        """Nothing more comes from the worker: end this direction, or all where that cannot be."""


def choose_worker(traffic: Traffic, request: Request, query: Query, tried: tuple[Entry, ...], now: float) -> Entry:
    """The worker for a websocket. Raises GatewayError or NoRoom."""
    fleet = traffic.fleet
    target = request.fields.get(b"x-smg-target-worker")
    if target is not None:
        return targeted(fleet, target.decode("latin-1"), query, Role.REGULAR)
    return choose(fleet, fleet.group(query.model), query, now, tried)


class Tunnel(Relay):
    """One websocket, from its handshake to its end."""

    __slots__ = (
        "_client_ended",
        "_connected",
        "_dispatch",
        "_due",
        "_idle_s",
        "_kept",
        "_open_way",
        "_peer",
        "_pending",
        "_place",
        "_query",
        "_tried",
        "_upstream",
        "_worker_ended",
        "since",
    )

    _place: Place

    def __init__(self, traffic: Traffic, client: TunnelClient, request: Request) -> None:
        super().__init__(traffic, client, request, ROUTE)
        self._peer = client
        self._dispatch: Dispatch | None = None
        self._upstream: Upstream | None = None
        self._pending: Dial | None = None
        self._tried: tuple[Entry, ...] = ()
        self._query = Query(None)
        self._idle_s = traffic.settings.websocket_idle_timeout_s
        self._due = inf
        self.since = traffic.mono()
        self._kept: list[bytes] = []
        """What the client sent before the worker agreed."""
        self._connected = False
        """The worker has agreed: bytes pass."""
        self._client_ended = self._worker_ended = False

    # --- the client's side ---

    def begin(self) -> None:
        traffic, request = self.traffic, self.request
        traffic.arrived()
        self._kept = [request.taken()]
        request.taker = self
        self._query = Query(traffic.fleet.canonical(model_of(request)))
        key = request.fields.get(b"x-smg-routing-key")
        if key is not None:
            self._query.key = key.decode("latin-1")
        self._attempt()

    def on_upload(self, data: bytes) -> None:
        if not self._connected:
            self._kept.append(data)
            if sum(map(len, self._kept)) > MOST_KEPT:
                self.client.hold_upload(True)
        elif self._upstream is not None:
            self._moved()
            self._upstream.write(data)

    def on_upload_end(self) -> None:
        """What follows a handshake has no end of its own but the connection's."""

    def upload_broken(self, status: int, code: str, message: str) -> None:
        """What follows a handshake is not read as anything that could be broken."""

    def client_ended(self) -> bool:
        """The client sends no more. Whether it may still be sent to."""
        if not self._connected or self._upstream is None or self._worker_ended or not self._upstream.end_writing():
            return False
        self._client_ended = True
        self._watch(HALF_CLOSED_S)
        return True

    def client_left(self) -> None:
        if self._connected and not self.over:
            self._finish(Outcome.OK)
        else:
            super().client_left()

    def client_slow(self, slow: bool) -> None:
        if self._upstream is not None:
            if slow:
                self._upstream.pause()
            else:
                self._upstream.resume()

    def overdue(self) -> None:
        if self._connected:
            self._finish(Outcome.OK)
        else:
            self._failed(
                UpstreamError(f"no answer to the handshake within {HANDSHAKE_S:g} s", timeout=True), gone=False
            )

    def worker_silent(self, worker_id: WorkerId) -> None:
        """The worker is unhealthy and says nothing: a handshake need not wait for it."""
        dispatch = self._dispatch
        if dispatch is not None and dispatch.worker.id == worker_id and not self.sent and not self.over:
            self._failed(UpstreamError("became unhealthy before it answered"), gone=False)

    def is_at(self, worker_id: WorkerId) -> bool:
        """Whether this worker has it."""
        return self._dispatch is not None and self._dispatch.worker.id == worker_id

    def flight(self, now: float) -> Flight:
        """Where the websocket stands."""
        dispatch = self._dispatch
        stage = Stage.WAITING if self._upstream is not None else Stage.CONNECTING
        return Flight(
            request_id=self.request.request_id.decode("latin-1"),
            route=self.route_name,
            model=self._query.model,
            stage=Stage.ANSWERING if self._connected else stage,
            age_s=now - self.since,
            attempt_s=now - dispatch.began if dispatch is not None else None,
            attempts=len(self._tried) + (dispatch is not None),
            worker=dispatch.worker.id if dispatch is not None else None,
            prefill=None,
            streams=self._connected,
            tokens=0,
        )

    def shut_down(self) -> None:
        """The gateway stops now."""
        if self._connected:
            self._finish(Outcome.CANCELLED)
        else:
            super().shut_down()

    # --- the handshake ---

    def _attempt(self) -> None:
        now = self.traffic.mono()
        try:
            entry = choose_worker(self.traffic, self.request, self._query, self._tried, now)
        except NoRoom:
            self._turn_away(503, "no_available_workers", "every worker that could take it has as much as it may")
        except GatewayError as error:
            self._turn_away(error.status, refusal_code(error), error.message, error.field)
        else:
            self._dispatch = Dispatch(entry, now)
            self._place = self.traffic.place_of(self._dispatch.worker)
            self.client.set_deadline(now + HANDSHAKE_S)
            self._pending = self._place.dial(self._send, self._not_connected)

    def _not_connected(self, error: UpstreamError) -> None:
        self._pending = None
        self._failed(error, gone=True)

    def _send(self, upstream: Upstream) -> None:
        assert self._dispatch is not None
        self._pending = None
        self._upstream = upstream
        key = self._dispatch.worker.spec.api_key
        own_key = None if key is None else b"Bearer " + key.reveal().encode()
        upstream.send_switch(upgrade_head(self.request, self._place.authority, own_key), self)

    def _failed(self, error: UpstreamError, *, gone: bool) -> None:
        """This worker did not answer the handshake: ask another, if there is one."""
        dispatch, self._dispatch = self._dispatch, None
        assert dispatch is not None
        self._release()
        dispatch.lost(self.traffic, str(error), gone=gone)
        self._tried = (*self._tried, dispatch.entry)
        fresh = any(entry not in self._tried for entry in self.traffic.fleet.group(self._query.model).candidates)
        targets = b"x-smg-target-worker" in self.request.fields
        if not self.sent and fresh and not targets and len(self._tried) < self.traffic.settings.retry.attempts:
            self._start_over()
            self.traffic.tally.retries += 1
            self._attempt()
            return
        code = "worker_timeout" if error.timeout else "worker_unreachable" if gone else "worker_connection_lost"
        text = f"worker {dispatch.worker.name}: {error}"
        self.traffic.departed()
        self._break(504 if error.timeout else 502, code, text, dispatch.worker.id.encode())

    def _turn_away(self, status: int, code: str, message: str, param: str | None = None) -> None:
        self.traffic.departed()
        after = b"%d" % self.traffic.admission.retry_after_s() if status in (429, 503) else b""
        self._refuse(status, code, message, param, retry_after=after)

    # --- the worker's side ---

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        """It declines: its answer passes as any other."""
        self.client.set_deadline(self.traffic.mono() + self.traffic.settings.stream_idle_timeout_s)
        self._open(head, length, self._own_headers())

    def on_switch(self, head: AnswerHead) -> None:
        """It agrees."""
        assert self._upstream is not None
        self._connected = self.sent = True
        self.status = head.status
        switched = b"connection: Upgrade\r\nupgrade: websocket\r\n"
        self.client.writelines((b"%b%b%b\r\n" % (head.passing, switched, self._own_headers()),))
        kept, self._kept = self._kept, []
        for data in kept:
            self._upstream.write(data)
        self.client.hold_upload(False)
        self._watch(self._idle_s)

    def _own_headers(self) -> bytes:
        assert self._dispatch is not None
        own = b"x-request-id: %b\r\nx-smg-routed-worker-id: %b\r\n"
        return own % (self.request.request_id, self._dispatch.worker.id.encode())

    def on_flush(self) -> None:
        if self._dispatch is not None:
            self._dispatch.entry.meters.heard = self.traffic.mono()
        if self._connected:
            self._moved()
        super().on_flush()

    def on_upstream_slow(self, slow: bool) -> None:
        if self._connected:
            self.client.hold_upload(slow)

    def on_worker_ended(self) -> bool:
        """The worker sends no more. Whether it may still be sent to."""
        if self.over or self._client_ended:
            return False
        self._worker_ended = True
        self._peer.end_writing()
        self._watch(HALF_CLOSED_S)
        return True

    def _settled(self) -> None:
        """The answer of a worker that declined is complete."""
        self._upstream = None
        self._end(Outcome.OK if self.status < 500 else Outcome.SERVER_ERROR)

    def on_error(self, error: UpstreamError) -> None:
        """The worker broke off."""
        if self.over:
            return
        if self._connected:
            if self._dispatch is not None and not error.ended:
                self._dispatch.lost(self.traffic, str(error), gone=False)
            self._finish(Outcome.OK)
        else:
            self._failed(error, gone=False)

    # --- silence and ends ---

    def _moved(self) -> None:
        if self._client_ended or self._worker_ended:
            self._watch(HALF_CLOSED_S)
        elif self._idle_s:
            self._watch(self._idle_s)

    def _watch(self, seconds: float) -> None:
        self.client.set_deadline(self.traffic.mono() + seconds if seconds else inf)

    def _finish(self, outcome: Outcome) -> None:
        """Bytes have passed, and no more will."""
        self.over = True
        self.traffic.tally.answer(self.route_name, self.status)
        self._release()
        self._end(outcome)
        self.client.cut(reset=False)

    def _let_go(self) -> None:
        self._release()
        self._end(Outcome.OK if self._connected else Outcome.CANCELLED)

    def _end(self, outcome: Outcome) -> None:
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is not None:
            dispatch.end(self.traffic, outcome, f"it answered {self.status}" if self.status in FAILURES else "")
        self.traffic.departed()

    def _release(self) -> None:
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.end() if self._connected else upstream.abandon()


def model_of(request: Request) -> str | None:
    """The model that a target's query names."""
    query = request.target.partition(b"?")[2].decode("latin-1")
    named = parse_qs(query, max_num_fields=100).get("model") if query.count("&") < 100 else None
    return named[-1] if named else None
