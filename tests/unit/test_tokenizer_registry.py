"""The registry loads each tokenizer once, says how far it is, ends what nobody wants, and tries again what may heal."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from gateway.errors import BadRequest
from gateway.tokenizers import loading, registry
from gateway.tokenizers.encode import CacheSettings
from gateway.tokenizers.entry import Progress
from gateway.tokenizers.errors import SourceUnusable, TokenizerExists, TokenizerNotFound, TooManyTokenizers
from gateway.tokenizers.loading import Say, load
from gateway.tokenizers.model import Model, built
from gateway.tokenizers.places import FromWorker, Named, Place, place_of, template_path
from gateway.tokenizers.registry import TokenizerRegistry, Wanted
from gateway.tokenizers.sources import ModelFiles
from tests.unit import tokenizer_families as families

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def model() -> Model:
    return built(ModelFiles("here", families.trained("qwen"), {"default": TEMPLATE}))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Loading:
    """A loader that ends when it is told to."""

    def __init__(self) -> None:
        self.begun: list[Place] = []
        self.cancelled: list[Place] = []
        self.outcomes: dict[str, asyncio.Future[Model]] = {}

    async def __call__(self, place: Place, pool: Executor, say: Say) -> Model:
        self.begun.append(place)
        say(f"working on {place}")
        try:
            return await self.of(str(place))
        except asyncio.CancelledError:
            self.cancelled.append(place)
            raise
        finally:
            del self.outcomes[str(place)]

    def of(self, text: str) -> "asyncio.Future[Model]":
        """The outcome of the load of this place that is under way, or comes next."""
        if text not in self.outcomes:
            self.outcomes[text] = asyncio.get_running_loop().create_future()
        return self.outcomes[text]

    def fails(self, text: str, message: str, *, temporary: bool = False) -> None:
        self.of(text).set_exception(SourceUnusable(message, temporary=temporary))


class Scene:
    def __init__(self, wanted: Wanted | None = None) -> None:
        self.loading = Loading()
        self.clock = Clock()
        self.said: list[tuple[str, str]] = []
        self.registry = TokenizerRegistry(
            wanted,
            wall=self.clock,
            rng=Random(5),
            note=lambda topic, text, _actor: self.said.append((topic, text)),
            loader=self.loading,
        )

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0)


@asynccontextmanager
async def scene(wanted: Wanted | None = None) -> AsyncIterator[Scene]:
    made = Scene(wanted)
    async with made.registry:
        yield made


async def test_names_of_one_place_share_one_load_and_its_caches() -> None:
    async with scene() as at:
        first = at.registry.add("a", Named("here"))
        at.registry.add("b", Named("here"))
        await at.until(lambda: at.registry.entries[first.id].progress == "is loading: working on here")
        assert {entry.state for entry in at.registry.entries.values()} == {Progress.PROCESSING}
        at.loading.of("here").set_result(model())
        a, b = await at.registry.wait("a", 5), await at.registry.wait("b", 5)
        late = at.registry.add("c", Named("here"))
        c = await at.registry.wait("c", 5)
        assert at.loading.begun == [Named("here")]
        assert a.loaded is b.loaded is c.loaded
        assert (a.name, c.id) == ("a", late.id)
        assert at.registry.loads.succeeded == 1
        assert len(at.registry.loads) == 0


async def test_a_tokenizer_is_found_by_name_id_model_and_alias() -> None:
    async with scene(Wanted(aliases={"fast": "owner/name"})) as at:
        entry = at.registry.ensure("owner/name", [Named("here")], ["name-8b"])
        assert entry is not None
        assert UUID(entry.id).version == 7
        assert at.registry.get("owner/name") is None
        at.loading.of("here").set_result(model())
        found = await at.registry.wait("name-8b", 5)
        for name in ("owner/name", entry.id, "name-8b", "fast"):
            assert at.registry.get(name) is found
        assert at.registry.find("") is at.registry.find("unknown") is found
        with pytest.raises(TokenizerNotFound, match=r"'other' not found. Available: owner/name"):
            at.registry.find("other")


async def test_what_is_missing_is_told_with_the_reason() -> None:
    async with scene() as at:
        at.registry.ensure("a", [Named("x")])
        await at.until(lambda: bool(at.loading.begun))
        assert at.registry.missing_for(["a", "b"]) == {
            "a": "its tokenizer is loading: working on x",
            "b": "no tokenizer is registered",
        }
        with pytest.raises(TokenizerNotFound, match="is not ready: it is loading: working on x"):
            at.registry.find("a")
        at.loading.of("x").set_result(model())
        await at.registry.wait("a", 5)
        assert at.registry.missing_for(["a"]) == {}


async def test_places_are_tried_in_order_and_the_one_that_gave_it_is_its_source() -> None:
    async with scene() as at:
        entry = at.registry.ensure("a", [Named("x"), Named("y")])
        assert entry is not None
        await at.until(lambda: len(at.loading.begun) == 1)
        at.loading.fails("x", "x: no such file")
        await at.until(lambda: len(at.loading.begun) == 2)
        at.loading.of("y").set_result(model())
        await at.registry.wait("a", 5)
        assert entry.source == "y"
        assert at.said == [("tokenizer_loaded", "a from y, 4002 tokens")]


async def test_a_failure_names_every_place_and_is_kept_until_the_name_is_added_again() -> None:
    async with scene() as at:
        entry = at.registry.ensure("a", [Named("x"), Named("y")])
        assert entry is not None
        await at.until(lambda: len(at.loading.begun) == 1)
        at.loading.fails("x", "x: no such file")
        await at.until(lambda: len(at.loading.begun) == 2)
        at.loading.fails("y", "y: gated")
        with pytest.raises(SourceUnusable, match="x: no such file; y: gated"):
            await at.registry.wait("a", 5)
        assert (entry.state, entry.error) == (Progress.FAILED, "x: no such file; y: gated")
        assert at.said == [("tokenizer_failed", "a: x: no such file; y: gated")]
        again = at.registry.add("a", Named("z"))
        assert list(at.registry.entries) == [again.id]
        at.loading.of("z").set_result(model())
        assert (await at.registry.wait("a", 5)).id == again.id


async def test_a_taken_name_is_refused_with_the_holders_id() -> None:
    async with scene() as at:
        entry = at.registry.add("a", Named("x"))
        for name in ("a", entry.id):
            with pytest.raises(TokenizerExists) as refused:
                at.registry.add(name, Named("y"))
            assert refused.value.holder == entry.id


@pytest.mark.parametrize("name", ["", " ", "unknown", "a\nb", "x" * 513])
async def test_a_name_that_cannot_be_asked_for_is_refused(name: str) -> None:
    async with scene() as at:
        with pytest.raises(BadRequest, match="name: given"):
            at.registry.add(name, Named("x"))


async def test_removing_a_tokenizer_ends_its_load_and_tells_who_waits() -> None:
    async with scene() as at:
        entry = at.registry.add("a", Named("x"))
        await at.until(lambda: bool(at.loading.begun))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_refused(at.registry.wait("a", 5)))
            await asyncio.sleep(0)
            assert at.registry.remove(entry.id) is entry
        assert waiting.result() == "Tokenizer 'a' not found"
        await at.until(lambda: bool(at.loading.cancelled))
        assert len(at.registry.loads) == 0
        with pytest.raises(TokenizerNotFound):
            at.registry.remove("a")


async def _refused(job: Awaitable[object]) -> str:
    with pytest.raises(TokenizerNotFound) as refused:
        await job
    return refused.value.message


async def test_a_load_goes_on_while_another_name_waits_for_it() -> None:
    async with scene() as at:
        at.registry.add("a", Named("x"))
        at.registry.add("b", Named("x"))
        await at.until(lambda: bool(at.loading.begun))
        await at.until(lambda: all(entry.state is Progress.PROCESSING for entry in at.registry.entries.values()))
        at.registry.remove("a")
        for _ in range(5):
            await asyncio.sleep(0)
        assert at.loading.cancelled == []
        at.loading.of("x").set_result(model())
        await at.registry.wait("b", 5)


async def test_a_removed_place_is_loaded_anew_when_it_is_asked_for_again() -> None:
    async with scene() as at:
        at.registry.add("a", Named("x"))
        at.loading.of("x").set_result(model())
        first = await at.registry.wait("a", 5)
        at.registry.remove("a")
        at.registry.add("a", Named("x"))
        at.loading.of("x").set_result(model())
        assert (await at.registry.wait("a", 5)).loaded is not first.loaded
        assert len(at.loading.begun) == 2


async def test_a_wanted_tokenizer_that_failed_for_the_moment_is_tried_again_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "FIRST_PAUSE_S", 0.01)
    async with scene() as at:
        entry = at.registry.ensure("a", [Named("x")])
        assert entry is not None
        await at.until(lambda: bool(at.loading.begun))
        at.loading.fails("x", "the hub is away", temporary=True)
        await at.until(lambda: entry.state is Progress.FAILED)
        assert at.registry.ensure("a", [Named("x")]) is entry  # it tries by itself
        await at.until(lambda: len(at.loading.begun) == 2)
        at.loading.of("x").set_result(model())
        assert await at.registry.wait("a", 5) is entry.tokenizer
        assert entry.error is None


async def test_a_wanted_tokenizer_that_failed_for_good_is_tried_again_when_a_worker_brings_another_place() -> None:
    async with scene() as at:
        at.registry.ensure("a", [Named("x")])
        await at.until(lambda: bool(at.loading.begun))
        at.loading.fails("x", "x: broken")
        with pytest.raises(SourceUnusable):
            await at.registry.wait("a", 5)
        failed = at.registry.entry("a")
        assert at.registry.ensure("a", [Named("x")]) is failed
        again = at.registry.ensure("a", [Named("y")])
        assert again is not failed
        at.loading.of("y").set_result(model())
        await at.registry.wait("a", 5)
        assert at.registry.ensure("a", [Named("z")]) is again
        assert len(at.loading.begun) == 2


async def test_a_worker_that_came_back_is_asked_in_its_new_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FIRST_PAUSE_S", 0.01)

    async def again() -> AsyncGenerator[bytes, None]:
        yield b""

    async with scene() as at:
        entry = at.registry.ensure("a", [FromWorker("grpc://w:1", _nothing)])
        assert entry is not None
        await at.until(lambda: bool(at.loading.begun))
        at.loading.fails("grpc://w:1", "the connection broke", temporary=True)
        assert at.registry.ensure("a", [FromWorker("grpc://w:1", again)]) is entry
        await at.until(lambda: len(at.loading.begun) == 2)
        assert [place.archive for place in at.loading.begun if isinstance(place, FromWorker)] == [_nothing, again]


async def test_wanting_one_too_many_is_noted_and_breaks_nothing() -> None:
    async with scene(Wanted(most=1)) as at:
        at.registry.ensure("a", [Named("x")])
        assert at.registry.ensure("b", [Named("x")]) is None
        assert at.said == [("tokenizer_failed", "b: there are 1 tokenizers already")]
        assert at.registry.ensure("c", []) is None


async def test_the_same_place_is_tried_again_once_some_time_has_passed() -> None:
    async with scene() as at:
        at.registry.ensure("a", [Named("x")])
        await at.until(lambda: bool(at.loading.begun))
        at.loading.fails("x", "x: broken")
        with pytest.raises(SourceUnusable):
            await at.registry.wait("a", 5)
        at.clock.now += 61
        at.registry.ensure("a", [Named("x")])
        await at.until(lambda: len(at.loading.begun) == 2)


async def test_without_autoload_only_what_is_added_is_loaded() -> None:
    async with scene(Wanted(autoload=False, place=Named("x"))) as at:
        assert at.registry.ensure("a", [Named("x")]) is None
        assert at.registry.entries == {}
        entry = at.registry.add("a", Named("y"))
        assert at.registry.ensure("a", [Named("x")]) is entry


async def test_the_tokenizer_of_the_settings_is_loaded_at_start_under_the_models_name() -> None:
    async with scene(Wanted(place=Named("/t"), name="owner/name")) as at:
        await at.until(lambda: bool(at.loading.begun))
        assert at.loading.begun == [Named("/t")]
        assert [entry.name for entry in at.registry.entries.values()] == ["owner/name"]


async def test_there_is_an_end_to_how_many_there_are() -> None:
    async with scene(Wanted(most=2)) as at:
        at.registry.add("a", Named("x"))
        at.registry.add("b", Named("x"))
        with pytest.raises(TooManyTokenizers, match="there are 2 tokenizers already"):
            at.registry.add("c", Named("x"))


async def _nothing() -> AsyncGenerator[bytes, None]:
    yield b""


def test_a_path_here_comes_first_then_the_worker_then_the_hub_and_the_settings_where_nothing_is_told() -> None:
    template = Path("/c.jinja")
    worker = FromWorker("grpc://w:1", _nothing)
    itself = replace(worker, template=template)
    wanted = Wanted(place=Named("/flag", template), template=template)
    made = TokenizerRegistry(wanted, wall=Clock(), rng=Random(1))
    labels = {"tokenizer_path": "/t", "model_path": "owner/name"}
    assert made.places_for(labels, worker) == (Named("/t", template), itself, Named("owner/name", template))
    assert made.places_for({}, worker) == (itself, Named("/flag", template))
    assert made.places_for({"model_path": "owner/name"}) == (Named("owner/name", template),)


async def test_a_loader_that_breaks_is_a_failure_and_not_the_end() -> None:
    async with scene() as at:
        entry = at.registry.add("a", Named("x"))
        await at.until(lambda: bool(at.loading.begun))
        at.loading.of("x").set_exception(ZeroDivisionError("odd"))
        with pytest.raises(SourceUnusable, match="x: ZeroDivisionError: odd"):
            await at.registry.wait("a", 5)
        assert (entry.state, at.registry.loads.failed) == (Progress.FAILED, 1)


async def test_leaving_ends_all_loads() -> None:
    async with scene() as at:
        at.registry.add("a", Named("x"))
        await at.until(lambda: bool(at.loading.begun))
    assert at.loading.cancelled == [Named("x")]


async def test_a_failed_try_is_made_again_where_it_may_heal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PAUSE_S", 0.0)
    tries = 0

    async def archive() -> AsyncGenerator[bytes, None]:
        nonlocal tries
        tries += 1
        raise OSError("reset by peer")
        yield b""  # a generator

    said: list[str] = []
    with pytest.raises(SourceUnusable, match=r"grpc://w:1: it did not send its tokenizer: reset by peer"):
        await load(FromWorker("grpc://w:1", archive), ThreadPoolExecutor(1), said.append)
    assert tries == 3
    assert said[0] == "try 1 of 3 failed: grpc://w:1: it did not send its tokenizer: reset by peer"


async def test_a_real_directory_becomes_a_tokenizer_that_encodes_decodes_and_renders(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(families.trained("qwen"))
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}', encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"model_max_length": 4096, "eos_token": {"content": "<|im_end|>"}}', encoding="utf-8"
    )
    wanted = Wanted(caches=CacheSettings())
    async with TokenizerRegistry(wanted, wall=Clock(), rng=Random(1)) as made:
        made.add("q", place_of(str(tmp_path)))
        tokenizer = await made.wait("q", 20)
        assert (tokenizer.eos_ids, tokenizer.context_length) == ({1, 2}, 4096)
        assert tokenizer.special_tokens == {"eos_token": "<|im_end|>"}
        text = await tokenizer.render_chat([{"role": "user", "content": "Grüße 👋🏽"}])
        assert text == "<|im_start|>user\nGrüße 👋🏽<|im_end|>\n"
        ids = await tokenizer.encode(text)
        assert await tokenizer.decode(ids, skip_special_tokens=False) == text
        stream = tokenizer.decoder()
        assert "".join(stream.push([number]) for number in ids) + stream.finish() == "user\nGrüße 👋🏽\n"
        assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text
        assert tokenizer.token_text(ids[0]) == "<|im_start|>"
        exact, prefix = tokenizer.cache_counts()
        assert exact is not None
        assert prefix is not None
        long = list(ids) * 500
        assert await tokenizer.decode(long) == tokenizer.loaded.model.engine.decode(long)


@pytest.mark.parametrize("text", ["", "  ", "a\x00b", "x" * 5000])
def test_a_source_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="source: given"):
        place_of(text)


@pytest.mark.parametrize("path", ["/etc/passwd", "a.txt", "template", "a\n.jinja"])
def test_no_other_file_is_taken_for_a_chat_template(path: str) -> None:
    with pytest.raises(BadRequest, match="chat_template_path: given"):
        template_path(path)


@pytest.mark.parametrize(("family", "word"), [("mistral", " world"), ("wordpiece", "world"), ("unigram", " world")])
def test_a_tokens_own_text_is_what_it_stands_for(family: str, word: str) -> None:
    made = built(ModelFiles("here", families.trained(family)))
    ids = made.engine.encode("hello world of tokens")
    texts = [made.detokenizing.token_bytes(number).decode() for number in ids]
    assert word[:2] in "".join(texts)
    assert "".join(texts).replace(" ", "") == "helloworldoftokens"
    assert made.detokenizing.token_bytes(10**6) == b""
