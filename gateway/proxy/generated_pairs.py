"""A request that a prefill and a decode worker serve over gRPC: as over HTTP, in the words of gRPC.

Both have to speak gRPC, since one half's room or parameters mean nothing to the other's API. SGLang's halves are
asked at once and meet in a room, one for each choice; vLLM's are asked in turn.
"""

from dataclasses import replace
from uuid import UUID

from gateway.engines.generation import Bootstrap
from gateway.engines.meeting import meeting
from gateway.errors import BadRequest
from gateway.proxy.engine_upstream import Call
from gateway.proxy.generated import GRACE_S, Generated, Prepared
from gateway.proxy.generated_leg import GeneratedLeg
from gateway.proxy.generating import NotOverGrpc, over_grpc
from gateway.proxy.pairs import PairExchange
from gateway.routing import disaggregation
from gateway.workers.entry import Entry
from gateway.workers.model import Connection, Role, Worker


class GeneratedPair(PairExchange, Generated):
    """One request, served by a prefill and a decode worker over gRPC, or over HTTP where that is all there is."""

    _meetings: tuple[Bootstrap, ...] = ()
    """Where the halves of each call meet; empty for vLLM."""

    def _choose(self, now: float) -> Entry:
        if self._prepared is not None and not all(map(self._any_over_grpc, (Role.PREFILL, Role.DECODE))):
            self._prepared = None
            self._because = NotOverGrpc("of the model's prefill and decode workers only one kind speaks gRPC")
        return super()._choose(now)

    def _any_over_grpc(self, role: Role) -> bool:
        return bool(over_grpc(self.traffic.fleet.group(self._query.model, role).candidates))

    def _one_of(self, role: Role, now: float) -> Entry:
        if self._prepared is None:
            return self._among(role, now, Connection.HTTP)
        self._query.tokens = self._prepared.prompts[0].ids
        return self._among(role, now, Connection.GRPC)

    def _attempt(self, entry: Entry, now: float) -> None:
        prepared = self._prepared
        if prepared is None:
            super()._attempt(entry, now)
            return
        prefill = self._partner.worker
        in_turn = disaggregation.in_turn(prefill, entry.worker)
        self._members, self._meetings = {}, ()
        if in_turn and len(prepared.prompts) > 1:
            self._turn_away(BadRequest(f"{prepared.asked.prompt_field}: one prompt at a time", field="prompt"))
            return
        self._leg = leg = GeneratedLeg(self._parts, self.traffic, self, self._partner, now)
        left_s = max(1.0, self._due - now + GRACE_S)
        if in_turn:
            self._decode = entry
            self._transfer = UUID(int=self.traffic.rng.getrandbits(128), version=4)
            leg.begin([self._prefill_call(prepared)], left_s)
            return
        count = len(prepared.prompts) * prepared.asked.sampling.n
        self._meetings = tuple(meeting(prefill, self.traffic.rng) for _ in range(count))
        leg.begin(self._calls(prepared, prefill), left_s)
        Generated._attempt(self, entry, now)

    def _prefill_call(self, prepared: Prepared) -> Call:
        """vLLM's first half: one token, and the cache kept for another."""
        members = disaggregation.prefill_members(self._partner.worker, {}, self._transfer)
        call = self._call(prepared, self._partner.worker, 0, 1)
        sampling = replace(call.sampling, max_new_tokens=1, min_new_tokens=None, stop=())
        given = members["kv_transfer_params"]
        assert isinstance(given, dict)
        return Call(0, 0, replace(call, sampling=sampling, stream=False, kv_transfer=given))

    def _calls(self, prepared: Prepared, worker: Worker) -> list[Call]:
        """The decode half's calls, and of SGLang's pairs the prefill half's: each choice has a room of its own."""
        if not self._meetings:
            given = self._members.get("kv_transfer_params")
            calls = super()._calls(prepared, worker)
            if not isinstance(given, dict):
                return calls
            return [replace(call, generate=replace(call.generate, kv_transfer=given)) for call in calls]
        count = prepared.asked.sampling.n
        return [
            Call(at // count, at % count, self._call(prepared, worker, at // count, 1, meet))
            for at, meet in enumerate(self._meetings)
        ]
