"""Readings that only some screens need, fetched while they are drawn and kept until they are drawn again.

Who draws asks every frame and gets what is there; a fetch begins when that has grown old. What nobody draws is not
fetched, so a console costs its gateway only what it shows.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from gateway.errors import GatewayError
from gateway.tasks import Scope
from gateway.telemetry.history import ROWS, STEPS, Stretch
from gateway.telemetry.samples import Measure
from smg_console.client import GatewayClient, Params
from smg_console.plane import Subject
from smg_console.remote.readings import joined, stretch_of

T = TypeVar("T")

KEPT = 128
"""Readings kept, those asked for last."""
EVERY_S = {1: 1.0, 10: 3.0, 120: 15.0}
"""How often a history is looked at again, by the seconds of its rows."""
OVERLAP = 2
"""Rows fetched again because they may have been filling."""


@dataclass(slots=True)
class _Reading:
    value: Any = None
    fetched_at: float = float("-inf")
    under_way: bool = False
    measures: set[Measure] = field(default_factory=set)
    whole: bool = False


class Asked:
    """The readings of one gateway. `mono` is monotonic seconds, `may_ask` whether it can be reached."""

    def __init__(
        self, client: GatewayClient, scope: Scope, mono: Callable[[], float], may_ask: Callable[[], bool]
    ) -> None:
        self._client = client
        self._scope = scope
        self._mono = mono
        self._may_ask = may_ask
        self._kept: dict[Hashable, _Reading] = {}
        self._came = asyncio.Event()
        self.arrived = 0
        """Fetches that came back so far."""

    async def idle(self) -> None:
        """Wait until no answer is waited for."""
        while any(reading.under_way for reading in self._kept.values()):
            await self._came.wait()

    def forget(self) -> None:
        """Another gateway answers now."""
        self._kept.clear()

    def get(self, key: Hashable, path: str, params: Params, decode: Callable[[Any], T], every_s: float) -> T | None:
        """What is known; it is asked for again when it is older than that."""
        reading = self._reading(key)
        if self._due(reading, every_s):

            async def fetch() -> None:
                reading.value = decode(await self._client.get_json(path, params))

            self._begin(reading, fetch)
        return cast("T | None", reading.value)

    def history(self, of: Subject, step_s: int, measures: Sequence[Measure]) -> Stretch | None:
        """Rows of `step_s`; once they are there only the newest are fetched."""
        reading = self._reading(("history", of, step_s))
        new = set(measures) - reading.measures
        reading.measures |= new
        reading.whole = reading.whole and not new
        if self._due(reading, 0.0 if new and not reading.under_way else EVERY_S[step_s]):
            since_s = self._mono() - reading.fetched_at
            most = ROWS[STEPS.index(step_s)] + 1
            rows = min(most, int(since_s / step_s) + 1 + OVERLAP) if reading.whole else most

            async def fetch() -> None:
                await self._fetch_history(reading, of, step_s, rows, most)

            self._begin(reading, fetch)
        return cast("Stretch | None", reading.value)

    async def _fetch_history(self, reading: _Reading, of: Subject, step_s: int, rows: int, most: int) -> None:
        asked = set(reading.measures)
        params: dict[str, str | int] = {"step_secs": step_s, "rows": rows, "measures": ",".join(sorted(asked))}
        if of.worker is not None:
            params["worker"] = of.worker
        if of.model is not None:
            params["model"] = of.model
        new = stretch_of(await self._client.get_json("/history", params))
        if new is None:
            reading.value = None
            return
        old = cast("Stretch | None", reading.value)
        reading.value = found = joined(old, new, most) if rows < most else new
        # Rows that joined nothing leave a gap before them: all of them are fetched the next time.
        reading.whole = asked == reading.measures and (rows == most or old is None or found.count >= old.count)

    def _reading(self, key: Hashable) -> _Reading:
        reading = self._kept.pop(key, None) or _Reading()
        self._kept[key] = reading
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return reading

    def _due(self, reading: _Reading, every_s: float) -> bool:
        return not reading.under_way and self._may_ask() and self._mono() - reading.fetched_at >= every_s

    def _begin(self, reading: _Reading, fetch: Callable[[], Any]) -> None:
        reading.under_way, reading.fetched_at = True, self._mono()

        async def job() -> None:
            try:
                await fetch()
            except GatewayError:  # what is known stays; the next frame after the pause asks again
                pass
            finally:
                reading.under_way = False
                self.arrived += 1
                self._came.set()
                self._came.clear()

        self._scope.spawn(job(), name="reading")
