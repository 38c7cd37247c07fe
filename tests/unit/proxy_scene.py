"""An exchange between a fake client and fake workers, for tests of what it decides: no sockets, no clock."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any, cast

from gateway.proxy.exchange import Exchange
from gateway.proxy.fleet import Fleet, RoutingPlan
from gateway.proxy.messages import Headers, Request
from gateway.proxy.pool import Dial
from gateway.proxy.settings import ProxySettings
from gateway.proxy.traffic import Traffic
from gateway.proxy.upstream import Sink, Upstream, UpstreamError
from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.health import ProbeResult
from gateway.workers.model import Capabilities, HealthOverride, ModelCard, WorkerId, WorkerSpec
from gateway.workers.registry import Registry

TEST = Cause("test")
JSON: Headers = [(b"content-type", b"application/json")]
EVENTS: Headers = [(b"content-type", b"text/event-stream")]


class FakeClient:
    def __init__(self) -> None:
        self.got = b""
        self.writes = 0
        self.ended: list[str] = []
        self.deadline = inf

    def writelines(self, pieces: Sequence[bytes]) -> None:
        assert not self.ended
        self.got += b"".join(pieces)
        self.writes += 1

    def done(self, *, keep: bool) -> None:
        self.ended.append("kept" if keep else "closed")

    def cut(self, *, reset: bool) -> None:
        self.ended.append("reset" if reset else "cut")

    def set_deadline(self, at: float) -> None:
        self.deadline = at

    def hold_upload(self, hold: bool) -> None:
        raise AssertionError("the body was complete")

    def heads_are_sound(self) -> None:
        """Of all that was written there is one head, at the beginning."""
        assert self.got.startswith(b"HTTP/1.1 ") or not self.got
        assert self.got.count(b"HTTP/1.1 ") <= 1

    @property
    def status(self) -> int:
        return int(self.got.split(b" ")[1])

    @property
    def code(self) -> str:
        return str(json.loads(self.got.partition(b"\r\n\r\n")[2])["error"]["code"])


class FakeUpstream:
    def __init__(self, *, reused: bool) -> None:
        self.reused = reused
        self.answered = False
        self.sink: Sink | None = None
        self.sent = b""
        self.abandoned = False
        self.paused = False

    def send(self, method: bytes, pieces: Sequence[bytes], sink: Sink, *, more: bool = False) -> None:
        self.sent, self.sink = b"".join(pieces), sink

    def divert(self, sink: Sink) -> None:
        self.sink = sink

    def abandon(self) -> None:
        self.abandoned, self.sink = True, None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@dataclass(eq=False)
class FakeDial:
    place: "FakePlace"
    opened: Callable[[Upstream], None]
    failed: Callable[[UpstreamError], None]

    def cancel(self) -> object:
        self.place.cancelled += 1
        if self in self.place.dials:
            self.place.dials.remove(self)
        return None


class FakePlace:
    """A worker's connections: idle ones as told; dials are answered by the test."""

    def __init__(self, authority: bytes) -> None:
        self.authority = authority
        self.idle: list[FakeUpstream] = []
        self.dials: list[FakeDial] = []
        self.cancelled = 0

    def take(self) -> Upstream | None:
        return cast("Upstream", self.idle.pop()) if self.idle else None

    def dial(self, opened: Callable[[Upstream], None], failed: Callable[[UpstreamError], None]) -> Dial:
        dial = FakeDial(self, opened, failed)
        self.dials.append(dial)
        return dial

    def refuse(self) -> None:
        self.dials.pop(0).failed(UpstreamError("connection refused"))

    def open(self) -> FakeUpstream:
        upstream = FakeUpstream(reused=False)
        self.dials.pop(0).opened(cast("Upstream", upstream))
        return upstream


class FakeTimer:
    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call = due, call
        self.cancelled = False

    def cancel(self) -> object:
        self.cancelled = True
        return None


class Scene:
    """One client, some workers, a clock that stands still unless moved, and timers that a test fires."""

    def __init__(
        self,
        *,
        workers: int = 1,
        body: bytes = b'{"model":"m"}',
        http10: bool = False,
        keep_alive: bool = True,
        settings: ProxySettings | None = None,
        fields: dict[bytes, bytes] | None = None,
        **spec: object,
    ) -> None:
        self.now = 100.0
        self.registry = Registry(wall=lambda: self.now, mono=lambda: self.now, rng=Random(1))
        self.entries = [self.add(f"http://worker:{number}", **spec) for number in range(1, workers + 1)]
        self.places = {entry.worker.id: FakePlace(entry.worker.url[7:].encode()) for entry in self.entries}
        self.probed: list[WorkerId] = []
        self.timers: list[FakeTimer] = []
        self.traffic = Traffic(
            self.registry,
            Fleet(self.registry, RoutingPlan("round_robin"), Random(1)),
            lambda worker: self.places[worker.id],
            settings or ProxySettings(),
            lambda: self.now,
            self.later,
            Random(1),
            self.probed.append,
        )
        self.client = FakeClient()
        self.exchange = self.request(self.client, body, http10=http10, keep_alive=keep_alive, fields=fields)

    def add(self, url: str, **spec: object) -> Entry:
        known: dict[str, Any] = {"models": (ModelCard("m"),), "health": HealthOverride(success_threshold=1), **spec}
        entry = self.registry.register(WorkerSpec(url, **known), TEST)
        self.registry.observe_probe(entry.worker.id, 1, ProbeResult(True, 0.1), TEST)
        self.registry.observe_capabilities(entry.worker.id, 1, Capabilities(), TEST)
        return entry

    def request(
        self,
        client: FakeClient,
        body: bytes = b'{"model":"m"}',
        *,
        http10: bool = False,
        keep_alive: bool = True,
        fields: dict[bytes, bytes] | None = None,
    ) -> Exchange:
        """One more request; it has not begun."""
        route, fields = b"/v1/chat/completions", fields or {}
        request = Request(
            b"POST", route, route, list(fields.items()), fields, keep_alive, http10, len(body), b"id-1", body
        )
        request.complete = True
        return Exchange(self.traffic, client, request)

    def later(self, delay_s: float, call: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self.now + delay_s, call)
        self.timers.append(timer)
        return timer

    def tick(self) -> float:
        """Let the next timer fire; returns how long it had to wait."""
        timer = min((t for t in self.timers if not t.cancelled), key=lambda t: t.due)
        self.timers.remove(timer)
        waited = max(0.0, timer.due - self.now)
        self.now += waited
        timer.call()
        return waited

    @property
    def entry(self) -> Entry:
        return self.entries[0]

    @property
    def place(self) -> FakePlace:
        return self.places[self.entry.worker.id]

    @property
    def dialling(self) -> FakePlace:
        """The place that is being connected to; there is just one."""
        (place,) = [place for place in self.places.values() if place.dials]
        return place

    def begun(self) -> FakeUpstream:
        """Dispatched over a new connection."""
        self.exchange.begin()
        return self.dialling.open()

    def books_of(self, *entries: Entry) -> dict[str, int]:
        books = dict.fromkeys(("in_flight", "requests", "ok", "server", "transport", "cancelled"), 0)
        for entry in entries:
            m = entry.meters
            ended = {"ok": m.ok, "server": m.server_errors, "transport": m.transport_errors, "cancelled": m.cancelled}
            for name, count in {"in_flight": m.in_flight, "requests": m.requests, **ended}.items():
                books[name] += count
        return {name: count for name, count in books.items() if count or name in ("in_flight", "requests")}

    @property
    def books(self) -> dict[str, int]:
        """Of all workers together."""
        return self.books_of(*self.entries)
