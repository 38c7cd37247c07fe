"""Requests as ids: made once whatever is tried, told to the policy, called off with the client, held back for it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gateway.engines.generation import EngineError, ErrorKind, Finish, Generate, Piece
from gateway.proxy.engine_upstream import READ_AHEAD
from gateway.proxy.generating import Generating
from gateway.proxy.opening import open_exchange
from gateway.proxy.settings import ProxySettings
from gateway.tokenizers.tokenizer import Tokenizer
from gateway.workers.model import Engine
from tests.unit.completions_world import encoded, tokenizer
from tests.unit.proxy_scene import FakeClient, Scene

SAID = "one two three"
RENDERED = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


class FakeEngine:
    """Says what it is told to, piece by piece."""

    def __init__(self) -> None:
        self.calls: list[Generate] = []
        self.closed = 0
        self.read = 0
        self.says: list[Piece | EngineError | asyncio.Event | Exception] = [
            Piece(0, tuple(encoded(SAID))),
            Piece(0, finish=Finish("length")),
        ]

    async def generate(self, call: Generate, *, timeout_s: float) -> AsyncGenerator[Piece, None]:
        self.calls.append(call)
        try:
            for one in self.says:
                if isinstance(one, Exception):
                    raise one
                if isinstance(one, asyncio.Event):
                    await one.wait()
                else:
                    self.read += 1
                    yield one
        finally:
            self.closed += 1


class Engines:
    def __init__(self, by_url: dict[str, FakeEngine]) -> None:
        self._by_url = by_url

    def known(self, worker: Any) -> FakeEngine:
        return self._by_url[worker.url]


class Tokenizers:
    """One tokenizer, that counts what it encodes, and waits if told to."""

    def __init__(self) -> None:
        self.encodes = 0
        self.gate: asyncio.Event | None = None

    def get(self, name: str) -> Tokenizer:
        return cast("Tokenizer", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(tokenizer(), name)

    async def encode(self, text: str, *, add_special_tokens: bool = False) -> Any:
        self.encodes += 1
        if self.gate is not None:
            await self.gate.wait()
        return await tokenizer().encode(text, add_special_tokens=add_special_tokens)


class World:
    """gRPC workers, and one request for them."""

    def __init__(self, count: int, settings: ProxySettings | None, **change: Any) -> None:
        self.scene = scene = Scene(workers=0, settings=settings)
        urls = [f"grpc://worker{number}:1" for number in range(count)]
        scene.entries = [scene.add(url, engine=Engine.VLLM) for url in urls]
        self.engines = {url: FakeEngine() for url in urls}
        self.tokenizers = Tokenizers()
        self.parts = Generating(cast("Any", self.tokenizers), cast("Any", Engines(self.engines)), lambda: 1234.5)
        scene.traffic.generating = self.parts
        self.client = FakeClient()
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **change}
        request = scene.request(self.client, json.dumps(body).encode()).request
        self.exchange = open_exchange(scene.traffic, self.client, request)

    @property
    def engine(self) -> FakeEngine:
        return self.engines["grpc://worker0:1"]

    async def turns(self, until: Any = None) -> None:
        """Let the loop turn until this is true, or the client has its answer."""
        async with asyncio.timeout(5):
            while not (until() if until is not None else self.client.ended):  # noqa: ASYNC110 - the turns are what is tested
                await asyncio.sleep(0)

    def content(self) -> str:
        head, _, body = self.client.got.partition(b"\r\n\r\n")
        if b"text/event-stream" not in head:
            return str(json.loads(body)["choices"][0]["message"]["content"])
        events = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
        deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
        return "".join(delta.get("content", "") for delta in deltas)


@asynccontextmanager
async def world(count: int = 1, settings: ProxySettings | None = None, **change: Any) -> AsyncIterator[World]:
    made = World(count, settings, **change)
    try:
        yield made
    finally:
        await made.parts.scope.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_rendered_tokenized_and_answered(*, stream: bool) -> None:
    async with world(stream=stream, max_tokens=5) as w:
        w.exchange.begin()
        await w.turns()
        assert (w.client.status, w.content(), w.client.ended) == (200, SAID, ["kept"])
        (call,) = w.engine.calls
        assert (list(call.token_ids), call.text, call.stream) == (encoded(RENDERED), RENDERED, stream)
        assert call.sampling.max_new_tokens == 5
        assert w.scene.books == {"in_flight": 0, "requests": 1, "ok": 1}
        assert w.scene.traffic.in_flight == 0


async def test_ids_are_made_once_however_many_workers_are_tried() -> None:
    async with world(3) as w:
        for engine in list(w.engines.values())[:2]:
            engine.says = [EngineError(ErrorKind.UNAVAILABLE, "connection lost")]
        w.exchange.begin()
        await w.turns(lambda: w.client.ended or w.scene.timers)
        while not w.client.ended:
            w.scene.tick()
            await w.turns(lambda: w.client.ended or any(not timer.cancelled for timer in w.scene.timers))
        assert w.content() == SAID
        calls = [call for engine in w.engines.values() for call in engine.calls]
        assert len({call.request_id for call in calls}) == len(calls) >= 2
        assert {tuple(call.token_ids) for call in calls} == {tuple(encoded(RENDERED))}
        assert w.tokenizers.encodes == 1


@pytest.mark.parametrize(
    ("kind", "status", "books"),
    [
        (ErrorKind.INVALID, 400, "ok"),
        (ErrorKind.EXHAUSTED, 429, "ok"),
        (ErrorKind.UNSUPPORTED, 501, "server"),
        (ErrorKind.INTERNAL, 500, "server"),
        (ErrorKind.UNAVAILABLE, 502, "transport"),
        (ErrorKind.TIMEOUT, 504, "transport"),
    ],
)
async def test_what_an_engine_says_is_wrong_becomes_a_status(kind: ErrorKind, status: int, books: str) -> None:
    from gateway.proxy.retry import RetrySettings

    async with world(settings=ProxySettings(retry=RetrySettings(attempts=1))) as w:
        w.engine.says = [EngineError(kind, "because")]
        w.exchange.begin()
        await w.turns()
        assert w.client.status == status
        assert b"because" in w.client.got
        assert w.scene.books == {"in_flight": 0, "requests": 1, books: 1}


async def test_an_engine_that_breaks_its_promises_does_not_leave_the_client_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with world(stream=True) as w:
        w.engine.says = [Piece(0, tuple(encoded("one"))), ValueError("a bug")]
        w.exchange.begin()
        await w.turns()
        assert b"the answer could not be read" in w.client.got
        assert "generation_failed" in caplog.text


async def test_a_client_that_leaves_while_its_prompt_is_encoded_is_forgotten() -> None:
    async with world() as w:
        w.tokenizers.gate = asyncio.Event()
        w.exchange.begin()
        await w.turns(lambda: w.tokenizers.encodes)
        w.exchange.client_left()
        await w.turns(lambda: not len(w.parts.scope))
        assert (w.scene.traffic.in_flight, w.engine.calls, w.client.got) == (0, [], b"")


async def test_a_client_that_leaves_in_mid_stream_closes_the_engines_stream() -> None:
    async with world(stream=True) as w:
        w.engine.says.insert(1, asyncio.Event())
        w.exchange.begin()
        await w.turns(lambda: w.client.got)
        assert not w.engine.closed
        w.exchange.client_left()
        await w.turns(lambda: w.engine.closed)
        assert w.scene.books == {"in_flight": 0, "requests": 1, "cancelled": 1}


async def test_a_prompt_that_takes_too_long_meets_the_requests_deadline() -> None:
    async with world() as w:
        w.tokenizers.gate = asyncio.Event()
        w.exchange.begin()
        await w.turns(lambda: w.tokenizers.encodes)
        w.scene.now = w.client.deadline
        w.exchange.overdue()
        assert (w.client.status, w.client.code) == (504, "worker_timeout")
        await w.turns(lambda: not len(w.parts.scope))
        assert w.scene.traffic.in_flight == 0


async def test_a_slow_client_stops_the_reading_of_the_engines_stream() -> None:
    async with world(stream=True) as w:
        word = tuple(encoded(" x"))
        w.engine.says = [*(Piece(0, word) for _ in range(1000)), Piece(0, finish=Finish("length"))]
        w.exchange.begin()
        await w.turns(lambda: w.client.got)
        w.exchange.client_slow(True)
        before = w.engine.read
        for _ in range(2000):
            await asyncio.sleep(0)
        assert w.engine.read - before <= READ_AHEAD + 1
        w.exchange.client_slow(False)

        def over() -> bool:
            for timer in [timer for timer in w.scene.timers if not timer.cancelled]:  # gathered writes
                w.scene.timers.remove(timer)
                timer.call()
            return bool(w.client.ended)

        await w.turns(over)
        assert w.content() == " x" * 1000


async def test_many_pieces_of_one_turn_are_one_write() -> None:
    async with world(stream=True) as w:
        word = tuple(encoded(" x"))
        w.engine.says = [*(Piece(0, word) for _ in range(50)), Piece(0, finish=Finish("length"))]
        w.exchange.begin()
        await w.turns()
        assert w.content() == " x" * 50
        assert w.client.writes <= 3


async def test_a_fleet_that_speaks_http_asks_nothing_of_tokenizers() -> None:
    scene = Scene()
    assert not scene.traffic.fleet.special
    assert type(open_exchange(scene.traffic, scene.client, scene.exchange.request)).__name__ == "Exchange"
