"""One request on its way to a worker and back: which worker, what happened, and what the client is told.

Callbacks, not a task per request: a task costs as much as half of the rest. Knows no sockets: the client's
side, the worker's connections and the clock are given. An attempt (choose a worker, send, wait for the first
byte) can be made again until something of the answer has gone out. Today that happens in one case only: a
kept connection that the worker had closed before it saw the request is replaced by a new one.
"""

from gateway.errors import GatewayError
from gateway.proxy.answers import refusal_code
from gateway.proxy.hints import hints_of
from gateway.proxy.messages import Headers, Request, request_head
from gateway.proxy.pool import Dial
from gateway.proxy.relay import Client, Relay
from gateway.proxy.routes import DATA_ROUTES
from gateway.proxy.selection import select
from gateway.proxy.traffic import Place, Traffic
from gateway.proxy.upstream import Upstream, UpstreamError
from gateway.workers.meters import Outcome
from gateway.workers.model import Worker
from gateway.workers.registry import Entry


class Exchange(Relay):
    """One request on a data route, whole when the exchange begins, and its answer."""

    __slots__ = ("_began", "_dialing", "_entry", "_place", "_ttft_due", "_upstream", "_worker")

    _place: Place
    _worker: Worker

    def __init__(self, traffic: Traffic, client: Client, request: Request) -> None:
        super().__init__(traffic, client, request, DATA_ROUTES[request.route])
        self._entry: Entry | None = None
        self._upstream: Upstream | None = None
        self._dialing: Dial | None = None
        self._began = 0.0
        self._ttft_due = False

    # --- the client's side ---

    def begin(self) -> None:
        """Choose a worker and send the request there, or refuse."""
        traffic, request = self.traffic, self.request
        traffic.arrived()
        now = traffic.mono()
        try:
            hints = hints_of(request.route, request.fields.get(b"content-type", b""), request.body)
            entry = select(traffic.registry, traffic.policy, hints.model, now)
        except GatewayError as error:
            traffic.departed()
            self._refuse(error.status, refusal_code(error), error.message, error.field)
            return
        self.client.set_deadline(now + traffic.settings.request_timeout_s)
        self._attempt(entry, now)

    def client_slow(self, slow: bool) -> None:
        if self._upstream is not None:
            if slow:
                self._upstream.pause()
            else:
                self._upstream.resume()

    # --- an attempt ---

    def _attempt(self, entry: Entry, now: float) -> None:
        self._entry = entry
        self._worker = entry.worker
        self._began = now
        entry.meters.began()
        self._place = self.traffic.place_of(entry.worker)
        upstream = self._place.take()
        if upstream is None:
            self._dial()
        else:
            self._send(upstream)

    def _dial(self) -> None:
        self._dialing = self._place.dial(self._send, self._not_connected)

    def _not_connected(self, error: UpstreamError) -> None:
        self._dialing = None
        self.on_error(error)

    def _send(self, upstream: Upstream) -> None:
        self._dialing = None
        self._upstream = upstream
        request, key = self.request, self._worker.spec.api_key
        authorization = None if key is None else b"Bearer " + key.reveal().encode()
        head = request_head(request, self._place.authority, authorization)
        upstream.send(request.method, (head, request.body), self)

    # --- the worker's side ---

    def on_head(self, status: int, reason: bytes, headers: Headers, length: int | None) -> None:
        for name, value in headers:
            if name == b"content-type":
                self.streams = self._ttft_due = value.startswith(b"text/event-stream")
        own = b"x-request-id: %b\r\nx-smg-routed-worker-id: %b\r\n"
        self.request.body = b""  # it will not be sent again, and a stream may last for minutes
        self._open(status, reason, headers, length, own % (self.request.request_id, self._worker.id.encode()))

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        if self._ttft_due and self._entry is not None:
            self._ttft_due = False
            now = self.traffic.mono()
            self._entry.meters.ttft.add(now - self._began, now)

    def on_upstream_slow(self, slow: bool) -> None:
        """The body was whole when it was sent; there is nothing to hold back."""

    def _settled(self) -> None:
        self._upstream = None
        self._account(Outcome.OK if self.status < 500 else Outcome.SERVER_ERROR)
        self.traffic.departed()

    def on_error(self, error: UpstreamError) -> None:
        """The worker could not be reached, broke off, or took too long."""
        if self.over:
            return
        upstream = self._upstream
        if upstream is not None and upstream.reused and not upstream.answered and not error.timeout:
            self._upstream = None
            self._dial()
            return
        code = self._code(error, dialled=upstream is not None)
        self._release()
        self._account(Outcome.TRANSPORT)
        traffic, worker = self.traffic, self._worker
        if traffic.registry.observe_traffic_failure(worker.id, worker.revision, str(error)):
            traffic.probe_now(worker.id)
        traffic.departed()
        self._break(504 if error.timeout else 502, code, f"worker {worker.name}: {error}", worker.id.encode())

    @staticmethod
    def _code(error: UpstreamError, *, dialled: bool) -> str:
        if error.timeout:
            return "worker_timeout"
        return "worker_connection_lost" if dialled else "worker_unreachable"

    # --- ends ---

    def _let_go(self) -> None:
        self._release()
        self._account(Outcome.CANCELLED)
        self.traffic.departed()

    def _release(self) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
            self._dialing = None
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None

    def _account(self, outcome: Outcome) -> None:
        """End the attempt in the worker's numbers, exactly once."""
        entry, self._entry = self._entry, None
        if entry is not None:
            now = self.traffic.mono()
            entry.meters.ended(outcome, now - self._began, now)
