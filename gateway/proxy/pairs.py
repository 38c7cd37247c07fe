"""A request that two workers serve: one fills the KV cache, the other answers. Either one's failure is the whole's.

The answering (decode) worker is the exchange's own; the other half is a leg beside it. What each is told is
`gateway.routing.disaggregation`'s.
"""

from typing import Any
from uuid import UUID

import msgspec

from gateway.proxy.bodies import with_members
from gateway.proxy.exchange import Exchange
from gateway.proxy.leg import Leg, PrefillLeg
from gateway.proxy.messages import Request
from gateway.proxy.relay import Client
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import UpstreamError
from gateway.routing import disaggregation
from gateway.workers.entry import Entry
from gateway.workers.model import Role, Worker, WorkerId

PAIRED_ROUTES = frozenset(
    (b"/v1/chat/completions", b"/v1/completions", b"/generate", b"/v1/responses", b"/v1/messages")
)
SHOWN = 300
"""Characters of a worker's error that are repeated."""


class PairExchange(Exchange):
    """One request, served by a prefill and a decode worker."""

    __slots__ = ("_decode", "_leg", "_members", "_partner", "_transfer")

    role = Role.DECODE
    _partner: Entry
    _transfer: UUID

    def __init__(self, traffic: Traffic, client: Client, request: Request) -> None:
        super().__init__(traffic, client, request)
        self._leg: Leg | None = None
        self._decode: Entry | None = None
        """The worker that is asked once the prefill is done, where they are asked in turn."""
        self._members: disaggregation.Members = {}

    def _choose(self, now: float) -> Entry:
        self._partner = self._one_of(Role.PREFILL, now)
        return self._one_of(Role.DECODE, now)

    def _attempt(self, entry: Entry, now: float) -> None:
        prefill = self._partner.worker
        given: dict[str, Any] = msgspec.json.decode(self.request.body)
        self._leg = leg = PrefillLeg(self.traffic, self, self._partner, now)
        if disaggregation.in_turn(prefill, entry.worker):
            self._decode, self._members = entry, {}
            self._transfer = UUID(int=self.traffic.rng.getrandbits(128), version=4)
            members = disaggregation.prefill_members(prefill, given, self._transfer)
            members["model"] = self.name_for(prefill)
            leg.begin(with_members(self.request.body, members, disaggregation.PREFILL_WITHOUT))
            return
        batch = disaggregation.batch_size(given)
        self._members = disaggregation.bootstrap(prefill, batch, self.traffic.rng)
        leg.begin(self._body_for(prefill))
        if self._leg is leg:  # else it has failed at once, and all is decided
            super()._attempt(entry, now)

    def _body_for(self, worker: Worker) -> bytes:
        members = dict(self._members)
        name = self.name_for(worker)
        if name is not None:
            members["model"] = name
        return with_members(self.request.body, members) if members else self.request.body

    def _own_headers(self, worker: Worker) -> bytes:
        prefill = b"x-smg-prefill-worker-id: %b\r\n" % self._partner.worker.id.encode()
        return super()._own_headers(worker) + prefill

    # --- the prefill half (leg.Whole) ---

    def prefilled(self, leg: Leg) -> None:
        if self.over or leg is not self._leg:
            return
        self._leg = None
        if leg.status >= 300:
            self._prefill_refused(leg)
        elif self._decode is not None:
            entry, self._decode = self._decode, None
            self._members = disaggregation.decode_members(self._partner.worker, _object(leg.body), self._transfer)
            self.client.set_deadline(self._due)
            super()._attempt(entry, self.traffic.mono())

    def _prefill_refused(self, leg: Leg) -> None:
        """The prefill worker answered with an error, which the request then has too."""
        entry, worker = leg.dispatch.entry, leg.dispatch.worker
        said = " ".join(leg.body[: 4 * SHOWN].decode("utf-8", "replace").split())[:SHOWN]
        text = f"prefill worker {worker.name} answered {leg.status}: {said}"
        again = leg.status in self.traffic.settings.retry_statuses
        self._give_up_decode()
        self._reason = (leg.status if leg.status < 500 else 502, "prefill_error", text, worker.id.encode())
        if self.sent or not again or not self._retry(entry, same_too=False):
            self._give_up()
        else:
            self._start_over()

    def prefill_lost(self, leg: Leg, error: UpstreamError, *, gone: bool) -> None:
        if self.over or leg is not self._leg:
            return
        self._leg = None
        worker = leg.dispatch.worker
        self._give_up_decode()
        code = "worker_timeout" if error.timeout else "worker_unreachable" if gone else "worker_connection_lost"
        text = f"prefill worker {worker.name}: {error}"
        self._reason = (504 if error.timeout else 502, code, text, worker.id.encode())
        if self.sent or not self._retry(leg.dispatch.entry, same_too=gone, at_once=gone):
            self._give_up()
        else:
            self._start_over()

    def _give_up_decode(self) -> None:
        """The other half has failed: end what the decode worker does for this request, without blaming it."""
        self._decode = None
        self._abandon_attempt()

    def worker_silent(self, worker_id: WorkerId) -> None:
        if self._leg is not None and self._leg.dispatch.worker.id == worker_id and not self.sent:
            self._leg.fail(UpstreamError("became unhealthy before it answered"))
        else:
            super().worker_silent(worker_id)

    def is_at(self, worker_id: WorkerId) -> bool:
        return super().is_at(worker_id) or worker_id == self._prefill_worker()

    def _prefill_worker(self) -> WorkerId | None:
        return self._leg.dispatch.worker.id if self._leg is not None else None

    # --- ends ---

    def _settled(self) -> None:
        self._drop_partner()
        super()._settled()

    def _drop_partner(self) -> None:
        leg, self._leg = self._leg, None
        self._decode = None
        if leg is not None:
            leg.cancel()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
