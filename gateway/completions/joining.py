"""Tokenizers for gRPC workers: each is asked for when its worker joins, and told of when it is missing."""

from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Self

from gateway.engines.grpc_engines import Engines
from gateway.tokenizers.places import FromWorker
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers import facts
from gateway.workers.availability import availability
from gateway.workers.facts import Event
from gateway.workers.model import Connection, State, Worker
from gateway.workers.registry import Registry

ARCHIVE_TIMEOUT_S = 300.0


class TokenizerJoins:
    """Watches the registry. Asks for each worker that becomes ready or tells what it serves, and again for one that
    comes back, in case its tokenizer failed or was removed."""

    def __init__(self, registry: Registry, tokenizers: TokenizerRegistry, engines: Engines) -> None:
        self._registry = registry
        self._tokenizers = tokenizers
        self._engines = engines

    async def __aenter__(self) -> Self:
        self._registry.watch(self._heed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The registry's watchers stay; the loads are the tokenizers' own."""

    def _heed(self, event: Event) -> None:
        fact = event.fact
        if not isinstance(fact, facts.StateChanged | facts.Discovered):
            return
        entry = self._registry.entries.get(fact.worker)
        if entry is None or entry.worker.state is not State.READY:
            return
        if entry.worker.connection is Connection.GRPC:
            self._ensure(entry.worker)

    def _ensure(self, worker: Worker) -> None:
        name, engine = worker.model_id, self._engines.known(worker)
        if name is None:
            return
        itself = None
        if engine is not None:
            itself = FromWorker(worker.url, partial(engine.tokenizer_archive, timeout_s=ARCHIVE_TIMEOUT_S))
        places = self._tokenizers.places_for(worker.labels, itself)
        if places:
            self._tokenizers.ensure(name, places, aliases=worker.models[1:])


def missing(workers: Iterable[Worker], tokenizers: TokenizerRegistry) -> dict[str, str]:
    """Of the models that routable gRPC workers serve, those without a tokenizer, each with the reason."""
    models = {
        worker.model_id: None
        for worker in workers
        if worker.connection is Connection.GRPC and worker.model_id and availability(worker).routable
    }
    return tokenizers.missing_for(name for name in models if name is not None)
