"""A request for a model that gRPC workers serve: rendered and tokenized once, then sent as ids to whichever worker.

Retries, accounting, deadlines and what the client is told are the exchange's. Where a request cannot be put into ids,
or its route is none that they serve, the model's HTTP workers get it as it came; if there are none it is refused,
and no gRPC worker hears of it.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from msgspec import structs

from gateway.completions.answer import Answer, Heading
from gateway.completions.asked import FORMS, Asked, Form, asked
from gateway.completions.native_answers import NativeAnswer
from gateway.completions.openai_answers import ChatAnswer, TextAnswer
from gateway.completions.prompts import Prompt, prompts_for
from gateway.engines.generation import Bootstrap, Generate
from gateway.errors import GatewayError, WorkerNotFound
from gateway.proxy.engine_upstream import Call, Embed, EngineLost, EngineUpstream, Generation
from gateway.proxy.exchange import Exchange
from gateway.proxy.generating import Generating, NotOverGrpc, context_of, over_grpc, separator_of
from gateway.proxy.routes import ID_PREFIXES
from gateway.proxy.selection import choose
from gateway.proxy.upstream import UpstreamError
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.entry import Entry
from gateway.workers.model import Connection, Engine, Role, Worker

logger = logging.getLogger(__name__)

ANSWERS: Mapping[Form, type[Answer]] = {Form.CHAT: ChatAnswer, Form.TEXT: TextAnswer, Form.NATIVE: NativeAnswer}
GRACE_S = 1.0
"""The engine's deadline comes so much after the exchange's, which tells the client."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as ids."""

    asked: Asked
    prompts: list[Prompt]
    tokenizer: Tokenizer


class Generated(Exchange):
    """See the module. Made only where the traffic has `generating`."""

    _prepared: Prepared | None = None
    _because: GatewayError | None = None
    """Why it cannot go to gRPC workers."""
    _answer: Answer | None = None

    @property
    def _parts(self) -> Generating:
        parts = self.traffic.generating
        assert parts is not None
        return parts

    # --- before the first attempt ---

    def _first_attempt(self, now: float) -> None:
        route = self.request.route
        try:
            if route not in FORMS:
                raise NotOverGrpc(f"{route.decode()}: the workers of this model speak gRPC, which does not have it")
            wanted = asked(route, self.request.body)
            model = self.traffic.fleet.canonical(self._hints.model) or self._any_model()
            entries = over_grpc(self.traffic.fleet.registry.serving(model))
            tokenizer = self._parts.tokenizer(self._model_of(entries, model))
        except GatewayError as error:
            self._because = error
            super()._first_attempt(now)
            return
        self.client.set_deadline(self._due)
        job = self._prepare(wanted, tokenizer, entries, model)
        self._pending = self._parts.scope.spawn(job, name="prepare a prompt")

    def _any_model(self) -> str:
        """For a request that names none, as its ids mean something to one model only: that of the worker it asks
        for, else the first one with a tokenizer, and if possible with a worker that can take it now."""
        fleet, tokenizers = self.traffic.fleet, self._parts.tokenizers
        entries = [*fleet.group(None, self.role).candidates, *fleet.registry.serving(None)]
        target = self.request.fields.get(b"x-smg-target-worker")
        if target is not None:
            with suppress(WorkerNotFound):  # which is said when it is chosen
                entries = [fleet.registry.find(target.decode("latin-1"))]
        names = [name for entry in over_grpc(entries) if (name := entry.worker.model_id)]
        return next((name for name in names if tokenizers.get(name) is not None), names[0] if names else "")

    def _model_of(self, entries: tuple[Entry, ...], model: str) -> str:
        """The model whose tokenizer it takes: where no worker names the one asked for, the first one's own."""
        if any(model in entry.worker.models for entry in entries):
            return model
        return next((name for entry in entries if (name := entry.worker.model_id)), model)

    async def _prepare(self, wanted: Asked, tokenizer: Tokenizer, entries: tuple[Entry, ...], model: str) -> None:
        try:
            context = context_of(entries, tokenizer)
            prompts = await prompts_for(wanted, tokenizer, context, separator_of(entries))
        except GatewayError as error:
            self._because = error
        except Exception:  # the client gets an answer whatever it is
            logger.exception("prompt_not_prepared")
            self._because = GatewayError("the prompt could not be prepared")
        else:
            self._prepared = Prepared(wanted, prompts, tokenizer)
            if self._hints.model is None and model:
                self._hints = structs.replace(self._hints, model=model)
        self._pending = None
        super()._first_attempt(self.traffic.mono())

    # --- choosing ---

    def _one_of(self, role: Role, now: float) -> Entry:
        if self._prepared is None:
            return self._among(role, now, Connection.HTTP)
        self._query.tokens = self._prepared.prompts[0].ids
        return super()._one_of(role, now)

    def _among(self, role: Role, now: float, wanted: Connection) -> Entry:
        """One of those that are spoken to like this. Raises why the others will not do if there are only others."""
        fleet, query = self.traffic.fleet, self._query
        candidates = fleet.group(query.model, role).candidates
        others = tuple(entry for entry in candidates if entry.worker.connection is not wanted)
        if candidates and len(others) == len(candidates):
            raise self._because or NotOverGrpc("the model's workers speak gRPC")
        if not others or b"x-smg-target-worker" in self.request.fields:
            entry = super()._one_of(role, now)
            if entry in others and self._because is not None:
                raise self._because
            return entry
        fresh = any(entry not in others and entry not in self._tried for entry in candidates)
        group = fleet.group(query.model, role)
        if group.reads_text and not query.text and not query.tokens:
            query.text = self._hints.prompt_text
        if group.reads_caller:
            query.caller = self._caller()
        return choose(fleet, group, query, now, (*self._tried, *others) if fresh else others)

    # --- an attempt ---

    def _attempt(self, entry: Entry, now: float) -> None:
        prepared = self._prepared
        if prepared is None or entry.worker.connection is not Connection.GRPC:
            super()._attempt(entry, now)
            return
        dispatch = self._dispatched(entry, now)
        left_s = max(1.0, self._due - now + GRACE_S)
        work = self._work(prepared, dispatch.worker)
        self._answer = None
        if isinstance(work, Generation):
            self._answer = work.answer
            entry.meters.prompt_tokens += sum(len(prompt.ids) for prompt in prepared.prompts)
        self._upstream = upstream = EngineUpstream(self._parts, dispatch.worker, work, self, left_s)
        upstream.begin()

    def _work(self, prepared: Prepared, worker: Worker) -> Generation | Embed:
        wanted, name = prepared.asked, self.name_for(worker) or worker.model_id or ""
        if wanted.form is Form.EMBEDDING:
            return Embed(self._attempt_id(), prepared.prompts, name, wanted.base64)
        mono, began = self.traffic.mono, self.traffic.mono()
        heading = Heading(self._answer_id(), name, int(self._parts.wall()), worker.engine, lambda: mono() - began)
        answer = ANSWERS[wanted.form](wanted, prepared.prompts, prepared.tokenizer, heading)
        return Generation(self._calls(prepared, worker), answer)

    def _answer_id(self) -> str:
        """The request's id, beginning as ids of this route do."""
        given = self.request.request_id
        prefix = ID_PREFIXES.get(self.request.route, b"")
        return (given if given.startswith(prefix) else prefix + given).decode("latin-1")

    def _attempt_id(self) -> str:
        """A name that no other attempt has: clients may use one id twice, and engines abort by name."""
        return f"{self.request.request_id.decode('latin-1')}-{self.traffic.rng.getrandbits(40):010x}"

    def _calls(self, prepared: Prepared, worker: Worker) -> list[Call]:
        """A call for each prompt."""
        return [
            Call(at, 0, self._call(prepared, worker, at, prepared.asked.sampling.n))
            for at in range(len(prepared.prompts))
        ]

    def _call(self, prepared: Prepared, worker: Worker, at: int, count: int, meet: Bootstrap | None = None) -> Generate:
        wanted, prompt = prepared.asked, prepared.prompts[at]
        return Generate(
            request_id=self._attempt_id(),
            token_ids=prompt.ids,
            sampling=replace(wanted.sampling, n=count, max_new_tokens=_limit(prompt, worker)),
            # what has stop strings is read as it comes, and ended here if the engine does not look for them
            stream=wanted.stream or bool(wanted.sampling.stop),
            text=prompt.text,
            logprobs=wanted.logprobs,
            prompt_logprobs=wanted.prompt_logprobs_from is not None,
            rank=wanted.rank,
            bootstrap=meet,
            kv_transfer=wanted.kv_transfer,
        )

    def on_body(self, data: bytes) -> None:
        answer, dispatch = self._answer, self._dispatch
        if answer is None or dispatch is None:
            super().on_body(data)
            return
        self._pieces.append(data)
        tokens = sum(choice.tokens for choice in answer.choices)
        dispatch.entry.meters.output_tokens += tokens - self.events
        self.events = tokens
        if self._ttft_due:
            self._first_came(dispatch)

    def on_error(self, error: UpstreamError) -> None:
        if isinstance(error, EngineLost) and error.gone and not self.over:
            self._upstream = None
            self._attempt_failed(error, gone=True)
        else:
            super().on_error(error)


def _limit(prompt: Prompt, worker: Worker) -> int | None:
    """The most new tokens. What SGLang is not told it limits to 128; over HTTP it lets a chat fill its context."""
    context = worker.capabilities.context_length
    if prompt.limit is None and worker.engine is Engine.SGLANG and context is not None:
        return max(1, context - len(prompt.ids) - 1)
    return prompt.limit
