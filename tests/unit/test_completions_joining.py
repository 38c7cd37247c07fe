"""Tokenizers for gRPC workers: asked for when one joins, again when it comes back, and named while they are missing."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, cast

from gateway.completions.joining import TokenizerJoins, missing
from gateway.workers.facts import Cause
from gateway.workers.health import ProbeResult
from gateway.workers.model import Capabilities, HealthOverride, ModelCard, WorkerSpec
from gateway.workers.registry import Registry

TEST = Cause("test")


class Tokenizers:
    """Remembers what it is asked for; has none."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Sequence[object], tuple[str, ...]]] = []

    def places_for(self, labels: dict[str, str], worker: Any) -> tuple[object, ...]:
        return (labels.get("tokenizer_path"), worker and str(worker))

    def ensure(self, name: str, places: Sequence[object], aliases: Iterable[str] = ()) -> None:
        self.asked.append((name, places, tuple(aliases)))

    def missing_for(self, models: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(models, "none yet")


class Engines:
    def known(self, worker: object) -> Any:
        return self

    def tokenizer_archive(self, *, timeout_s: float) -> None:
        raise AssertionError("nobody loads here")


class Scene:
    def __init__(self) -> None:
        self.registry = Registry(wall=lambda: 1.0, mono=lambda: 1.0, rng=Random(1))
        self.tokenizers = Tokenizers()
        self.joins = TokenizerJoins(self.registry, cast("Any", self.tokenizers), cast("Any", Engines()))

    def add(self, url: str, *models: str, **labels: str) -> str:
        cards = tuple(ModelCard(model, aliases=("alias",)) for model in models)
        spec = WorkerSpec(
            url, models=cards, labels=labels, health=HealthOverride(success_threshold=1, failure_threshold=1)
        )
        worker_id = self.registry.register(spec, TEST).worker.id
        self.probe(worker_id, ok=True)
        self.registry.observe_capabilities(worker_id, 1, Capabilities(), TEST)
        return worker_id

    def probe(self, worker_id: str, *, ok: bool) -> None:
        self.registry.observe_probe(cast("Any", worker_id), 1, ProbeResult(ok, 0.1), TEST)

    @property
    def missing(self) -> dict[str, str]:
        workers = [entry.worker for entry in self.registry.entries.values()]
        return missing(workers, cast("Any", self.tokenizers))


async def test_a_worker_that_joins_gets_a_tokenizer_under_its_models_names() -> None:
    scene = Scene()
    async with scene.joins:
        scene.add("grpc://a:1", "m", tokenizer_path="/models/m")
        assert set(scene.tokenizers.asked) == {("m", ("/models/m", "grpc://a:1"), ("alias",))}


async def test_one_that_comes_back_is_asked_for_again() -> None:
    scene = Scene()
    async with scene.joins:
        worker_id = scene.add("grpc://a:1", "m")
        before = len(scene.tokenizers.asked)
        scene.probe(worker_id, ok=False)
        assert len(scene.tokenizers.asked) == before
        scene.probe(worker_id, ok=True)
        assert len(scene.tokenizers.asked) == before + 1


async def test_workers_over_http_and_those_of_no_model_need_none() -> None:
    scene = Scene()
    async with scene.joins:
        scene.add("http://a:1", "m")
        scene.add("grpc://b:1")
        assert (scene.tokenizers.asked, scene.missing) == ([], {})


async def test_only_models_that_could_be_served_now_are_missed() -> None:
    scene = Scene()
    worker_id = scene.add("grpc://a:1", "m")
    assert scene.missing == {"m": "none yet"}
    scene.probe(worker_id, ok=False)
    assert scene.missing == {}
