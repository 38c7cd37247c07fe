"""Keeps a mirror fed: one connection to the event stream, taken up again with growing pauses whenever it breaks.

After a reconnect only what was missed comes; a gateway that was restarted, or whose journal has moved on, sends a
snapshot instead, and the events before it are asked for, as far as they are still kept.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from random import Random

from gateway.errors import GatewayError
from gateway.events import JOURNAL_SIZE, Event
from gateway.settings.effective import Effective
from gateway.tasks import in_slices
from smg_console.client import GatewayClient, Pauses, Received, Unreachable
from smg_console.plane import Link
from smg_console.remote.decode import event_of
from smg_console.remote.mirror import Json, Mirror
from smg_console.remote.readings import settings_of, stretch_of

PAGE = 500
"""Events asked for at a time, and those a console opens with."""
SILENCE_S = 6.0
"""Numbers come every second: a stream without any for so long is taken for lost."""
SLICE = 50
LONGEST_PAUSE_S = 5.0


class Feed:
    """Feeds `mirror` from the gateway of `client`. `wall` is our clock."""

    def __init__(self, client: GatewayClient, mirror: Mirror, wall: Callable[[], float], rng: Random) -> None:
        self._client = client
        self._mirror = mirror
        self._wall = wall
        self._pauses = Pauses(rng, longest_s=LONGEST_PAUSE_S)
        self.settings: list[Effective] = []
        self.connected = asyncio.Event()
        """Set while the picture is fed."""
        self.restarts = 0
        """Other processes than the one before that were found at the other end."""
        self._settled = asyncio.Event()
        self._first_error: GatewayError | None = None
        self._lost_at: float | None = None
        self._why = "not connected yet"
        self._next_try_at: float | None = None

    def link(self) -> Link:
        """How it is with the connection, by the gateway's clock."""
        mirror = self._mirror
        if self.connected.is_set():
            return Link(str(self._client.target), None, "", None, self.restarts)
        lost_at = mirror.now(self._lost_at if self._lost_at is not None else self._wall())
        next_try = mirror.now(self._next_try_at) if self._next_try_at is not None else None
        return Link(str(self._client.target), lost_at, self._why, next_try, self.restarts)

    async def first(self) -> None:
        """Wait for the first whole picture. Raises GatewayError when the first attempt fails: it is then up to
        people whether the address is right."""
        await self._settled.wait()
        if self._first_error is not None:
            raise self._first_error

    async def reached(self, event_id: str, within_s: float) -> None:
        """Wait until the mirror has seen this event, but not for longer, nor for another process's."""
        boot, _, number = event_id.rpartition("-")
        mirror = self._mirror
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while boot == mirror.boot and number.isdigit() and mirror.log.seq < int(number) + mirror.base:
                    await mirror.moved.wait()

    async def run(self) -> None:
        """Feed for ever."""
        while True:
            why = "the gateway ended the connection"
            try:
                await self._feed()
            except GatewayError as error:
                self._first_error = error
                why = error.message.removeprefix(f"{self._client.target} ")
            except (KeyError, TypeError, ValueError) as error:  # another program, or a gateway of another age
                why = f"what it says cannot be understood: {error!r}"
                self._first_error = Unreachable(f"{self._client.target}: {why}")
            self._settled.set()
            if self.connected.is_set() or self._lost_at is None:
                self._lost_at = self._mirror.heard_at or self._wall()
            self.connected.clear()
            self._why = why
            pause_s = self._pauses.next()
            self._next_try_at = self._wall() + pause_s
            await asyncio.sleep(pause_s)
            self._next_try_at = None

    async def _feed(self) -> None:
        """One connection, until it ends. Raises GatewayError."""
        messages = self._client.events(after=self._mirror.last_id, params={"meters": 1}, silence_s=SILENCE_S)
        async with aclosing(messages) as stream:
            async for message in stream:
                await self.take(message)

    async def take(self, message: Received) -> None:
        """The stream's next message. Raises GatewayError."""
        mirror = self._mirror
        if message.name == "snapshot":
            boot = mirror.boot
            upto = await mirror.take_snapshot(message.id, message.raw, self._wall())
            if mirror.boot != boot:
                self.restarts += bool(boot)
                self.settings = settings_of(await self._client.get_json("/settings"))
            # A console that opens begins with the newest; of one that was away nothing is to be missing.
            await self._fetch_events(mirror.log.seq if boot else max(0, upto - PAGE), upto)
        else:
            await mirror.take(message.name, message.id, message.raw, self._wall())
        if message.name == "meters":
            if not mirror.fleet_whole:
                await self._fetch_fleet()
            # Only now: with the numbers the picture is whole, and after a resumption it is fresh.
            self.connected.set()
            self._settled.set()
            self._lost_at = None
            self._pauses.begin_again()

    async def _fetch_events(self, after: int, upto: int) -> None:
        found: list[Event] = []
        while after < upto:
            page = [event for event in await self._page(after, PAGE) if event.seq <= upto]
            if not page:
                break
            found += page
            after = page[-1].seq
        self._mirror.add_events(found, upto)  # all at once: facts and events are of one moment for whoever draws

    async def _page(self, after: int, most: int) -> list[Event]:
        mirror = self._mirror
        params = {"after": after - mirror.base, "limit": max(1, min(most, JOURNAL_SIZE))}
        told = await self._client.get_json("/journal", params)
        events: list[Json] = told["events"]
        return await in_slices(events, lambda one: event_of(one, mirror.base), size=SLICE)

    async def _fetch_fleet(self) -> None:
        """The fleet's last minutes, of which the stream tells only each new second."""
        found = stretch_of(await self._client.get_json("/history", {"step_secs": 1}))
        if found is not None:
            self._mirror.fleet = found
        self._mirror.fleet_whole = True

    async def fetch_past(self) -> None:
        """The rest of the journal, page by page, while the console is open already."""
        await self.connected.wait()
        mirror = self._mirror
        boot = mirror.boot
        while mirror.boot == boot and mirror.log.oldest > 1 and len(mirror.log) < JOURNAL_SIZE:
            oldest = mirror.log.oldest
            try:
                page = await self._page(max(0, oldest - 1 - PAGE), PAGE)
            except Unreachable:
                return
            missing = [event for event in page if event.seq < oldest]
            if not missing or mirror.log.oldest != oldest or missing[-1].seq != oldest - 1:
                return
            mirror.log.prepend(missing)
