"""What the console knows of the plane at this frame: taken once for all panels, in slices that let traffic through.

Facts are looked at as soon as an event came. Numbers of a small fleet are fresh each frame; a big one is
gone through once a second, while its visible rows are asked for one by one (`fresh`).
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from gateway.tokenizers.status import TokenizerStatus
from gateway.workers.model import WorkerId
from smg_console.plane import GatewayRow, Plane, WorkerRow
from smg_console.present.discovery import trouble
from smg_console.present.incidents import Incident, incidents
from smg_console.present.overview import Overview

NAMES_KEPT = 2_000
"""Names of workers that left, beyond those listed."""
SLICE = 100
"""Workers looked at without a yield: about a millisecond."""
BIG = 200
"""Workers from which on numbers are taken once a second."""
BIG_S = 1.0
TOKENIZERS_S = 1.0


class Watch:
    """The present picture of a plane."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.gateway: GatewayRow = plane.gateway()
        self.discovery = plane.discovery()
        self.tokenizers: Sequence[TokenizerStatus] = ()
        """As of about a second ago."""
        self.incidents: Sequence[Incident] = ()
        """What is wrong, the gravest first."""
        self.rows: Sequence[WorkerRow] = ()
        self.overview = Overview()
        self.names: dict[WorkerId, str] = {}
        """Names of the workers seen: events outlive their workers."""
        self.version = 0
        """Counts looks at the fleet: while it stands still, `rows` are the same."""
        self.held_s = 0.0
        """Longest that the last look held the loop."""
        self._seq = -1
        self._looked_at = float("-inf")
        self._tokenizers_at = float("-inf")

    async def look(self) -> None:
        """Take the picture anew, as far as it is due."""
        self.gateway = self.plane.gateway()
        self.discovery = self.plane.discovery()
        self.held_s = 0.0
        seq = self.plane.seq()
        due = len(self.rows) < BIG or perf_counter() - self._looked_at >= BIG_S
        if seq != self._seq or due:
            self._seq, self._looked_at = seq, perf_counter()
            await self._look_at_all()
        self._look_for_trouble()

    def _look_for_trouble(self) -> None:
        now = self.gateway.now
        if abs(now - self._tokenizers_at) >= TOKENIZERS_S:
            self._tokenizers_at, self.tokenizers = now, self.plane.tokenizers()
        of_discovery = trouble(self.discovery, now)
        others = [of_discovery] if of_discovery is not None else []
        self.incidents = incidents(self.overview, self.gateway, self.tokenizers, others)

    async def _look_at_all(self) -> None:
        rows: list[WorkerRow] = []
        overview = Overview()
        ids = self.plane.ids()
        for start in range(0, len(ids), SLICE):
            began = perf_counter()
            for worker_id in ids[start : start + SLICE]:
                row = self.plane.row(worker_id)
                if row is not None:  # it may have left between two slices
                    rows.append(row)
                    overview.add(row)
                    self.names[worker_id] = row.worker.name
            self.held_s = max(self.held_s, perf_counter() - began)
            await asyncio.sleep(0)
        if len(self.names) > len(rows) + NAMES_KEPT:
            self.names = {row.worker.id: row.worker.name for row in rows}
        self.rows, self.overview = rows, overview
        self.version += 1

    def fresh(self, row: WorkerRow) -> WorkerRow:
        """The row as of now, or as it was when its worker has just left."""
        if len(self.rows) < BIG:
            return row
        return self.plane.row(row.worker.id) or row
