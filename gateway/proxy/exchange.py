"""One request on its way to a worker and back: which worker, what happened, and what the client is told.

Callbacks, not a task per request: a task costs as much as half of the rest. Knows no sockets: the client's
side, the worker's connections and the clock are given. An attempt (choose a worker, send, wait for the answer)
is made again, on another worker, until something of an answer has gone out. So that this is late, the head of
an answer waits for the first piece of its body, and a short answer for its end.
"""

from enum import Enum

from gateway.errors import GatewayError
from gateway.proxy.admission import QueueTimeout, Timer
from gateway.proxy.answers import refusal_code
from gateway.proxy.bodies import with_members
from gateway.proxy.discard import Discard
from gateway.proxy.dispatch import Dispatch
from gateway.proxy.flights import Flight, Stage
from gateway.proxy.hints import Hints, hints_of
from gateway.proxy.messages import AnswerHead, Request, request_head
from gateway.proxy.pool import Dial
from gateway.proxy.relay import Client, Relay
from gateway.proxy.retry import BUSY, FAILURES
from gateway.proxy.routes import DATA_ROUTES
from gateway.proxy.selection import NoRoom, choose, targeted
from gateway.proxy.traffic import GATHER_S, Place, Traffic
from gateway.proxy.upstream import Answering, Upstream, UpstreamError
from gateway.routing.policy import Query
from gateway.workers.entry import Entry
from gateway.workers.meters import Outcome
from gateway.workers.model import Role, Worker, WorkerId

HELD_BYTES = 256 * 1024
"""An answer of announced length up to this goes out when it is whole: until then another worker can give it."""

CLOSING_MARK = len(b"data: [DONE]\r\n\r\n")
"""A piece of a stream up to this length is its closing mark, or a sign of life: no token."""


class Waits(Enum):
    """What a request waits for before its first attempt."""

    NOTHING = 0
    DOOR = 1
    ROOM = 2


class Exchange(Relay):
    """One request on a data route, whole when the exchange begins, and its answer."""

    __slots__ = (
        "_dispatch",
        "_due",
        "_failed",
        "_gathers",
        "_heard",
        "_hints",
        "_pending",
        "_permit",
        "_place",
        "_query",
        "_reason",
        "_slow",
        "_tail",
        "_tried",
        "_ttft_due",
        "_upstream",
        "_waits",
        "_whole",
        "_wrote",
        "events",
    )

    role = Role.REGULAR
    """The role of the worker that answers."""

    _hints: Hints
    _place: Place
    _query: Query

    def __init__(self, traffic: Traffic, client: Client, request: Request) -> None:
        super().__init__(traffic, client, request, DATA_ROUTES[request.route])
        self._dispatch: Dispatch | None = None
        self._upstream: Answering | None = None
        self._pending: Dial | Timer | None = None
        """What will call back: a connection being opened, or the pause before the next attempt."""
        self._due = 0.0
        self._heard = 0.0
        self._wrote = 0.0
        self._failed = 0
        self._tried: tuple[Entry, ...] = ()
        self._reason: tuple[int, str, str, bytes] | None = None
        """Status, code and text of the last failed attempt, and its worker's id."""
        self._waits = Waits.NOTHING
        self._tail = b""
        """The last piece of the answer, a stream's closing mark apart."""
        self.events = 0
        """Pieces of a stream that came: as engines write them, one each for a token or a few."""
        self._permit = self._ttft_due = self._whole = self._gathers = self._slow = False

    # --- the client's side ---

    def begin(self) -> None:
        """Let it in, choose a worker and send the request there, or refuse."""
        traffic, request = self.traffic, self.request
        traffic.arrived()
        now = traffic.mono()
        self._due = now + traffic.settings.request_timeout_s
        try:
            self._hints = hints_of(request.route, request.fields.get(b"content-type", b""), request.body)
            if not traffic.admission.open and not traffic.admission.enter(self):
                self._wait(Waits.DOOR, now)
                return
        except GatewayError as error:
            self._turn_away(error)
            return
        self._permit = not traffic.admission.open
        self._first_attempt(now)

    def proceed(self) -> bool:
        """The wait is over (admission.Waiter)."""
        now = self.traffic.mono()
        if self._waits is Waits.DOOR:
            self._waits, self._permit = Waits.NOTHING, True
            self._first_attempt(now)
            return True
        try:
            entry = self._choose(now)
        except NoRoom:
            return False
        except GatewayError as error:
            self._waits = Waits.NOTHING
            self._turn_away(error)
        else:
            self._waits = Waits.NOTHING
            self.client.set_deadline(self._due)
            self._attempt(entry, now)
        return True

    def client_slow(self, slow: bool) -> None:
        upstream = self._upstream
        self._slow = slow
        if upstream is None:
            return
        if slow:
            self.client.set_deadline(self._due)  # the silence that follows is not the worker's
            upstream.pause()
        else:
            self._heard = self.traffic.mono()
            self._watch_for_silence(self._heard)
            upstream.resume()

    def overdue(self) -> None:
        settings, now = self.traffic.settings, self.traffic.mono()
        if self._waits is not Waits.NOTHING:
            self.traffic.admission.give_up(self)
            self._waits = Waits.NOTHING
            waited = settings.admission.queue_timeout_s
            self._turn_away(QueueTimeout(f"waited {waited:g} s for its turn; nothing became free"))
        elif now >= self._due:
            self._end_badly(UpstreamError(f"no complete answer within {settings.request_timeout_s:g} s", timeout=True))
        elif self._dispatch is None:
            self.client.set_deadline(self._due)  # between two attempts, of which each has its own time
        elif not self._heard:
            limit = settings.first_byte_timeout_s
            self._attempt_failed(UpstreamError(f"no answer within {limit:g} s", timeout=True), gone=False)
        elif now < self._heard + settings.stream_idle_timeout_s:
            self._watch_for_silence(self._heard)
        else:
            limit = settings.stream_idle_timeout_s
            self._end_badly(UpstreamError(f"nothing more came for {limit:g} s", timeout=True))

    def _watch_for_silence(self, since: float) -> None:
        self.client.set_deadline(min(self._due, since + self.traffic.settings.stream_idle_timeout_s))

    def worker_silent(self, worker_id: WorkerId) -> None:
        """The worker is unhealthy and says nothing: while nothing has gone out, ask another one."""
        dispatch = self._dispatch
        if dispatch is not None and dispatch.worker.id == worker_id and not self.sent and not self.over:
            self._attempt_failed(UpstreamError("became unhealthy before it answered"), gone=False)

    @property
    def since(self) -> float:
        """Monotonic time at which it came."""
        return self._due - self.traffic.settings.request_timeout_s

    def is_at(self, worker_id: WorkerId) -> bool:
        """Whether this worker has it now."""
        return self._dispatch is not None and self._dispatch.worker.id == worker_id

    def flight(self, now: float) -> Flight:
        """Where the request stands."""
        dispatch = self._dispatch
        return Flight(
            request_id=self.request.request_id.decode("latin-1"),
            route=self.route_name,
            model=self._query.model if dispatch is not None else self._hints.model,
            stage=self._stage(dispatch),
            age_s=now - self.since,
            attempt_s=now - dispatch.began if dispatch is not None else None,
            attempts=self._failed + (dispatch is not None),
            worker=dispatch.worker.id if dispatch is not None else None,
            prefill=self._prefill_worker(),
            streams=self.streams,
            tokens=self.events,
        )

    def _stage(self, dispatch: Dispatch | None) -> Stage:
        if self._waits is not Waits.NOTHING:
            return Stage.QUEUED
        if dispatch is None:
            return Stage.RETRYING if self._failed else Stage.PREPARING
        if self._heard:
            return Stage.ANSWERING
        return Stage.CONNECTING if self._upstream is None else Stage.WAITING

    def _prefill_worker(self) -> WorkerId | None:
        """The worker of the other half, while that is under way."""
        return None

    # --- choosing ---

    def _first_attempt(self, now: float) -> None:
        try:
            fleet, model, fields = self.traffic.fleet, self._hints.model, self.request.fields
            if fleet.plan.aliases:
                model = fleet.canonical(model)
            self._query = query = Query(model, "", (), len(self.request.body))
            if b"x-smg-routing-key" in fields:
                query.key = fields[b"x-smg-routing-key"].decode("latin-1")
            entry = self._choose(now)
        except NoRoom as full:
            self._wait_for_room(full, now)
        except GatewayError as error:
            self._turn_away(error)
        else:
            self.client.set_deadline(self._due)
            self._attempt(entry, now)

    def _choose(self, now: float) -> Entry:
        """Raises GatewayError or NoRoom."""
        return self._one_of(self.role, now)

    def _one_of(self, role: Role, now: float) -> Entry:
        fleet, query, fields = self.traffic.fleet, self._query, self.request.fields
        group = fleet.group(query.model, role)
        if group.reads_text and not query.text and not query.tokens:
            query.text = self._hints.prompt_text
        if group.reads_caller:
            query.caller = self._caller()
        target = fields.get(b"x-smg-target-worker")
        if target is not None and role is self.role:
            return targeted(fleet, target.decode("latin-1"), query, role)
        if group.candidates and not self._tried and not fleet.plan.shed_overload:  # as nearly always
            entry = group.policy.choose(group.candidates, query, now)
            if not entry.limited or entry.has_room():
                return entry
        return choose(fleet, group, query, now, self._tried)

    def _caller(self) -> str | None:
        fields = self.request.fields
        caller = fields.get(b"authorization") or fields.get(b"x-forwarded-for") or fields.get(b"cookie")
        return caller.decode("latin-1") if caller else None

    def _wait(self, what: Waits, now: float) -> None:
        self._waits = what
        self.client.set_deadline(min(self._due, now + self.traffic.settings.admission.queue_timeout_s))

    def _wait_for_room(self, full: NoRoom, now: float) -> None:
        try:
            self.traffic.admission.wait_for_room(full.group.key, self)
        except GatewayError as error:
            self._turn_away(error)
        else:
            self._wait(Waits.ROOM, now)

    # --- an attempt ---

    def _dispatched(self, entry: Entry, now: float) -> Dispatch:
        """An attempt begins."""
        self._dispatch = dispatch = Dispatch(entry, now)
        self._heard = 0.0
        self.events = 0
        if self.traffic.settings.first_byte_timeout_s:
            self.client.set_deadline(min(self._due, now + self.traffic.settings.first_byte_timeout_s))
        return dispatch

    def _attempt(self, entry: Entry, now: float) -> None:
        dispatch = self._dispatched(entry, now)
        self._place = self.traffic.place_of(dispatch.worker)
        upstream = self._place.take()
        if upstream is None:
            self._dial()
        else:
            self._send(upstream)

    def _dial(self) -> None:
        self._pending = self._place.dial(self._send, self._not_connected)

    def _not_connected(self, error: UpstreamError) -> None:
        self._pending = None
        self._attempt_failed(error, gone=True)

    def _send(self, upstream: Upstream) -> None:
        self._pending = None
        self._upstream = upstream
        assert self._dispatch is not None
        worker = self._dispatch.worker
        body = self._body_for(worker)
        upstream.send(self.request.method, (self.head_for(worker, self._place.authority, len(body)), body), self)

    def head_for(self, worker: Worker, authority: bytes, length: int) -> bytes:
        """The request's head for this worker, before a body of this length."""
        key = worker.spec.api_key
        self.request.length = length
        return request_head(self.request, authority, None if key is None else b"Bearer " + key.reveal().encode())

    def _body_for(self, worker: Worker) -> bytes:
        """The request's body as this worker is to get it."""
        name = self.name_for(worker)
        if name == self._hints.model:
            return self.request.body
        if self.request.fields.get(b"content-type", b"").startswith(b"multipart/"):
            return self.request.body
        return with_members(self.request.body, {"model": name})

    def name_for(self, worker: Worker) -> str | None:
        """The model's name as this worker knows it."""
        name = self._query.model
        for card in worker.spec.models:
            if name in card.aliases:
                return card.id
        return name

    # --- the worker's side ---

    def on_head(self, head: AnswerHead, length: int | None) -> None:
        status = head.status
        if status >= 408 and status in self.traffic.settings.retry_statuses and self._again_after(status):
            return
        self.streams = self._ttft_due = head.streams
        self._whole = length is not None and length <= HELD_BYTES and not self.streams
        assert self._dispatch is not None
        self._open(head, length, self._own_headers(self._dispatch.worker))

    def _own_headers(self, worker: Worker) -> bytes:
        own = b"x-request-id: %b\r\nx-smg-routed-worker-id: %b\r\n"
        return own % (self.request.request_id, worker.id.encode())

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        dispatch = self._dispatch
        if not self.streams or dispatch is None:
            self._tail = data
            return
        if len(data) > CLOSING_MARK:
            self._tail = data
            self.events += 1
            dispatch.entry.meters.output_tokens += 1
        if self._ttft_due:
            self._first_came(dispatch)

    def _first_came(self, dispatch: Dispatch) -> None:
        """The first of a stream's body."""
        self._ttft_due = False
        now = self.traffic.mono()
        dispatch.entry.meters.ttft.add(now - dispatch.began, now)

    def on_flush(self) -> None:
        now = self.traffic.mono()
        if self._dispatch is not None:
            self._dispatch.entry.meters.heard = now
        if not self._heard:
            self._watch_for_silence(now)
        self._heard = now
        if not self._pieces or self._whole:
            return
        if not self.sent:
            self.sent = True
            self.request.body = b""  # it will not be sent again, and a stream may last for minutes
        elif now - self._wrote < GATHER_S:
            if not self._gathers:
                self._gathers = True
                self.traffic.gather(self)
                if self._upstream is not None:
                    self._upstream.pause()  # what comes meanwhile is read at once then
            return
        self._wrote = now
        self.client.writelines(self._framed())

    def write_gathered(self) -> None:
        """What came within the last moment goes out in one write (traffic.Gathers)."""
        self._gathers = False
        if self.over:
            return
        if self._upstream is not None and not self._slow:
            self._upstream.resume()
        if self._pieces:
            self._wrote = self.traffic.mono()
            self.client.writelines(self._framed())

    def on_upstream_slow(self, slow: bool) -> None:
        """The body was whole when it was sent; there is nothing to hold back."""

    def _settled(self) -> None:
        self._upstream = None
        status = self.status
        if self._dispatch is not None:
            outcome = Outcome.OK if status < 500 else Outcome.SERVER_ERROR
            self._dispatch.end(self.traffic, outcome, f"it answered {status}" if status in FAILURES else "")
            if self._tail and status < 300:
                self._dispatch.entry.meters.tell(self._tail, self.events)
        self._leave()

    def on_error(self, error: UpstreamError) -> None:
        """The worker broke off."""
        if self.over:
            return
        upstream = self._upstream
        if upstream is not None and upstream.reused and not upstream.answered:
            self._upstream = None  # a kept connection that the worker had closed before it saw the request
            self._dial()
            return
        self._attempt_failed(error, gone=False)

    # --- once more ---

    def _attempt_failed(self, error: UpstreamError, *, gone: bool) -> None:
        """No answer came of this attempt. `gone`: the worker could not be connected to."""
        self._release()
        dispatch, self._dispatch = self._dispatch, None
        assert dispatch is not None
        dispatch.lost(self.traffic, str(error), gone=gone)
        worker = dispatch.worker
        code = "worker_timeout" if error.timeout else "worker_unreachable" if gone else "worker_connection_lost"
        text = f"worker {worker.name}: {error}"
        self._reason = (504 if error.timeout else 502, code, text, worker.id.encode())
        if self.sent or not self._retry(dispatch.entry, same_too=gone, at_once=gone):
            self._give_up()
        else:
            self._start_over()

    def _again_after(self, status: int) -> bool:
        """The worker answered with a status that another one may not: True if another attempt is made."""
        dispatch, upstream = self._dispatch, self._upstream
        assert dispatch is not None
        assert upstream is not None
        worker = dispatch.worker
        self._reason = (502, "worker_error", f"worker {worker.name} answered {status}", worker.id.encode())
        if not self._retry(dispatch.entry, same_too=status in BUSY):
            return False
        upstream.divert(Discard(upstream))
        self._upstream = self._dispatch = None
        self._drop_partner()
        outcome = Outcome.OK if status < 500 else Outcome.SERVER_ERROR
        dispatch.end(self.traffic, outcome, f"it answered {status}" if status in FAILURES else "")
        return True

    def _retry(self, entry: Entry, *, same_too: bool, at_once: bool = False) -> bool:
        """Plan another attempt, if there may be one. `same_too`: the same worker may do it another time."""
        traffic, settings = self.traffic, self.traffic.settings.retry
        self._failed += 1
        if self._failed >= settings.attempts:
            traffic.tally.retries_exhausted += settings.attempts > 1
            return False
        self._tried = (*self._tried, entry)
        fresh = any(e not in self._tried for e in traffic.fleet.group(self._query.model, self.role).candidates)
        if b"x-smg-target-worker" in self.request.fields:
            fresh = False
        if not fresh and not same_too:
            return False
        if not traffic.budget.take(traffic.arrivals, traffic.in_flight, traffic.mono()):
            traffic.tally.retries_refused += 1
            return False
        traffic.tally.retries += 1
        # nothing was sent to a worker that cannot be reached: there is nothing to wait for
        pause = 0.0 if at_once and fresh else settings.backoff(self._failed, traffic.rng.random())
        self._pending = traffic.later(pause, self._next_attempt)
        return True

    def _next_attempt(self) -> None:
        self._pending = None
        now = self.traffic.mono()
        try:
            entry = self._choose(now)
        except NoRoom as full:
            self._wait_for_room(full, now)
        except GatewayError:
            self._failed += 1
            settings = self.traffic.settings.retry
            if self._failed >= settings.attempts:
                self._give_up()
            else:  # a worker may be back in a moment
                pause = settings.backoff(self._failed, self.traffic.rng.random())
                self._pending = self.traffic.later(pause, self._next_attempt)
        else:
            self._attempt(entry, now)

    # --- ends ---

    def _turn_away(self, error: GatewayError) -> None:
        """Answer with an error of the gateway's own; no attempt is under way."""
        self._leave()
        after = b"%d" % self.traffic.admission.retry_after_s() if error.status in (429, 503) else b""
        self._refuse(error.status, refusal_code(error), error.message, error.field, retry_after=after)

    def _end_badly(self, error: UpstreamError) -> None:
        """It took too long as a whole: no other attempt."""
        dispatch, self._dispatch = self._dispatch, None
        self._release()
        text = str(error)
        worker_id = b""
        if dispatch is not None:
            dispatch.lost(self.traffic, text, gone=False)
            text, worker_id = f"worker {dispatch.worker.name}: {text}", dispatch.worker.id.encode()
        self._leave()
        self._break(504, "worker_timeout", text, worker_id)

    def _give_up(self) -> None:
        """The last attempt has failed."""
        assert self._reason is not None
        self._leave()
        self._break(*self._reason)

    def _let_go(self) -> None:
        if self._waits is not Waits.NOTHING:
            self.traffic.admission.give_up(self)
            self._waits = Waits.NOTHING
        self._abandon_attempt()
        self._leave()

    def _abandon_attempt(self) -> None:
        """End what is under way, without blaming the worker."""
        self._release()
        dispatch, self._dispatch = self._dispatch, None
        if dispatch is not None:
            dispatch.end(self.traffic, Outcome.CANCELLED)

    def _leave(self) -> None:
        self.traffic.departed()
        if self._permit:
            self._permit = False
            self.traffic.admission.leave()

    def _drop_partner(self) -> None:
        """End what goes on beside this attempt."""

    def _release(self) -> None:
        self._drop_partner()
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
