"""A gateway elsewhere as the console sees it: reads from a mirror at once, commands over the control API.

An async context manager: the first picture is there when it is entered, or an error that says why not. From then on
it looks after its connection itself; `link` tells how that is.
"""

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Self

from gateway.errors import ReadOnly
from gateway.events import Event, Lagged
from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import ADDED, Add, Command, Done, Effect, effect_on
from gateway.presence import Person
from gateway.proxy.explain import RouteStatus
from gateway.proxy.flights import Flight
from gateway.settings.effective import Effective
from gateway.tasks import Scope
from gateway.telemetry.history import RECENT_S, Stretch
from gateway.telemetry.samples import Measure
from gateway.tokenizers.commands import TokenizerCommand, TokenizerDone
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from gateway.workers.availability import those_serving
from gateway.workers.meters import Failure
from gateway.workers.model import State, Worker, WorkerId
from gateway.workers.rolling_jobs import RollingCommand, RollingDone, RollingStatus
from smg_console.client import Answered, GatewayClient, Unreachable
from smg_console.plane import FLEET, Explained, GatewayRow, Link, Subject, WorkerRow
from smg_console.remote.asked import Asked
from smg_console.remote.feed import Feed
from smg_console.remote.mirror import Mirror
from smg_console.remote.orders import Order, order_of, quoted, rolling_order_of, tokenizer_order_of
from smg_console.remote.readings import explained_of, failures_of, flight_of, rolling_of, routes_of, tokens_of

EMPTY: "array[float]" = array("f")
NAN = float("nan")
SHOWN_WITHIN_S = 2.0
"""How long a command waits for the mirror to show what it did."""
FLIGHTS_S, FAILURES_S, ROUTES_S = 1.0, 2.0, 2.0
"""How often these are asked for while they are drawn."""


class RemotePlane:
    """Implements `Plane` over a client that has been entered."""

    def __init__(
        self,
        client: GatewayClient,
        *,
        read_only: bool = False,
        wall: Callable[[], float] = time.time,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._read_only = read_only
        self._wall = wall
        self._mirror = Mirror()
        self._feed = Feed(client, self._mirror, wall, Random())
        self._scope = Scope("attached console")
        self._asked = Asked(client, self._scope, mono, self._feed.connected.is_set)

    async def __aenter__(self) -> Self:
        """Connect and take the first picture. Raises GatewayError."""
        self._scope.spawn(self._feed.run(), name="feed")
        try:
            await self._feed.first()
        except BaseException:
            await self._scope.close()
            raise
        self._scope.spawn(self._feed.fetch_past(), name="past")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.close()

    # --- the connection ---

    def link(self) -> Link:
        return self._feed.link()

    def _check_connected(self) -> None:
        link = self.link()
        if link.lost_at is not None:
            raise Unreachable(f"not sent, as the connection is lost: {link.target} {link.why}")

    # --- reading ---

    @property
    def read_only(self) -> bool:
        return self._read_only

    def gateway(self) -> GatewayRow:
        mirror = self._mirror
        assert mirror.gateway is not None
        return replace(mirror.gateway, now=mirror.now(self._wall()))

    def arrived(self) -> int:
        return self._asked.arrived

    def seq(self) -> int:
        return self._mirror.log.seq

    def ids(self) -> Sequence[WorkerId]:
        return list(self._mirror.workers)

    def rows(self) -> Sequence[WorkerRow]:
        return [row for worker_id in self._mirror.workers if (row := self._mirror.row(worker_id)) is not None]

    def row(self, worker_id: WorkerId) -> WorkerRow | None:
        return self._mirror.row(worker_id)

    def series_taken(self) -> int:
        fleet = self._mirror.fleet
        return fleet.end if fleet is not None else 0

    def series(self, measure: Measure, worker_id: WorkerId | None = None) -> "array[float]":
        stretch = self._mirror.fleet if worker_id is None else self.history(Subject(worker_id), 1, (measure,))
        track = stretch.tracks.get(measure) if stretch is not None else None
        if track is None:
            return EMPTY
        missing = RECENT_S - len(track.means)
        return array("f", [NAN]) * missing + track.means if missing > 0 else track.means[-RECENT_S:]

    def history(self, of: Subject, step_s: int, measures: Sequence[Measure]) -> Stretch | None:
        if of == FLEET and step_s == 1:
            return self._mirror.fleet
        return self._asked.history(of, step_s, measures)

    def flights(self, worker_id: WorkerId | None, most: int) -> Sequence[Flight]:
        params: dict[str, str | int] = {"limit": most} | ({"worker": worker_id} if worker_id is not None else {})
        found = self._asked.get(("flights", worker_id, most), "/requests", params, _flights, FLIGHTS_S)
        return found or ()

    def failures(self, worker_id: WorkerId) -> Sequence[Failure]:
        path = f"/workers/{worker_id}/history"
        return self._asked.get(("failures", worker_id), path, {"events": 0}, failures_of, FAILURES_S) or ()

    def past_events(self, most: int) -> Sequence[Event]:
        return self._mirror.log.last(most)

    def new_events(self, after: int, most: int) -> Sequence[Event] | Lagged:
        return self._mirror.log.after(after, most)

    def discovery(self) -> DiscoveryStatus | None:
        found = self._mirror.discovery
        age = found.watch.watch_age_s if found is not None else None
        if found is None or age is None:
            return found
        return replace(found, watch=replace(found.watch, watch_age_s=age + self._wall() - self._mirror.discovery_at))

    def people(self) -> Sequence[Person]:
        return self._mirror.people

    def routes(self) -> Sequence[RouteStatus]:
        return self._asked.get("routes", "/routing", {}, routes_of, ROUTES_S) or ()

    def settings(self) -> Sequence[Effective]:
        return self._feed.settings

    def tokenizers(self) -> Sequence[TokenizerStatus]:
        return self._mirror.tokenizers

    def effect(self, worker: str) -> Effect:
        found = self._mirror.find(worker)
        listed = [one for one in self._mirror.workers.values() if one.spec.role is found.spec.role]
        return effect_on(
            found, self._mirror.in_flight(found.id), those_serving(found.model_id, listed, lambda one: one)
        )

    # --- asking and acting ---

    async def explain(self, model: str | None, text: str) -> Sequence[Explained]:
        self._check_connected()
        request = {"messages": [{"role": "user", "content": text}]} | ({"model": model} if model is not None else {})
        return explained_of(await self._client.command("POST", "/routing/explain", {"request": request}))

    async def tokens(self, tokenizer: str, text: str, *, add_special_tokens: bool) -> Sequence[Shown]:
        self._check_connected()
        body = {"text": text, "add_special_tokens": add_special_tokens}
        return tokens_of(await self._client.command("POST", f"/tokenizers/{quoted(tokenizer)}/tokens", body))

    async def execute(self, command: Command) -> Done:
        self._check_may_act()
        known = None if isinstance(command, Add) else self._mirror.find(command.worker)
        answer = await self._send(order_of(command, known.id if known is not None else WorkerId("")))
        if isinstance(command, Add):
            name = answer.data["name"]
            return Done(self._added(command, answer), True, f"{name} {ADDED}")
        assert known is not None
        return Done(self._mirror.workers.get(known.id, known), answer.data["changed"], answer.data["message"])

    def _added(self, command: Add, answer: Answered) -> Worker:
        worker_id, now = WorkerId(answer.data["worker_id"]), self._mirror.now(self._wall())
        found = self._mirror.workers.get(worker_id)
        if found is not None:
            return found
        return Worker(worker_id, answer.data["name"], command.spec, 1, State.REGISTERING, now, now, "")

    async def execute_on_tokenizers(self, command: TokenizerCommand) -> TokenizerDone:
        self._check_may_act()
        answer = await self._send(tokenizer_order_of(command))
        return TokenizerDone(answer.data.get("id", ""), answer.data["message"])

    def rollings(self) -> Sequence[RollingStatus]:
        return self._mirror.rollings

    async def execute_on_rolling(self, command: RollingCommand) -> RollingDone:
        self._check_may_act()
        data = (await self._send(rolling_order_of(command))).data
        job = rolling_of(data["rolling_drain"])
        self._mirror.take_rolling(job)
        return RollingDone(job, data["changed"], data["message"])

    async def _send(self, order: Order) -> Answered:
        """Send it, and wait until the mirror shows what it did."""
        self._check_connected()
        answer = await self._client.send(order.method, order.path, order.body, order.params)
        await self._feed.reached(answer.event_id, SHOWN_WITHIN_S)
        return answer

    def _check_may_act(self) -> None:
        if self._read_only:
            raise ReadOnly("this console is read-only (--read-only)")


def _flights(value: dict[str, list[dict[str, object]]]) -> list[Flight]:
    return [flight_of(one) for one in value["requests"]]
