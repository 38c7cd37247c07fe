"""The log: its last entries, followed and filtered, each one in full."""

from collections.abc import Sequence

from gateway.telemetry.logs import LogRing
from smg_console.present import log
from smg_console.present.runs import Line
from smg_console.screens.listing import Filtered, Listing


class LogTable(Filtered[log.LogRow]):
    """The entries, the newest last."""

    def __init__(self, ring: LogRing) -> None:
        super().__init__(follows=True)
        self._ring = ring
        self._all: list[log.LogRow] = []
        self._count = 0
        self._fit: list[log.LogRow] = []
        self._fit_for: tuple[object, ...] = ()

    def rows(self) -> Sequence[log.LogRow]:
        ring = self._ring
        new = min(ring.count - self._count, len(ring.lines))
        if new:
            self._count = ring.count
            newest = list(ring.lines)[-new:]
            rows = [log.row_of(number, text) for number, text in enumerate(newest, ring.count - new)]
            self._all = [*self._all, *rows][-len(ring.lines) :]
        if (self._count, self.words) != self._fit_for:
            self._fit_for = (self._count, self.words)
            self._fit = [row for row in self._all if log.matches(row, self.words)]
        return self._fit

    def judge(self, words: Sequence[str]) -> str:
        return log.problem(words)

    def key(self, row: log.LogRow) -> int:
        return row.number

    def line(self, row: log.LogRow, width: int, *, selected: bool) -> Line:
        return log.row_line(row, width)

    def empty(self, width: int) -> Sequence[Line]:
        why = "No entry fits the filter; Esc clears it." if self.words else "Nothing has been logged yet."
        return [(("", ""),), ((f"  {why}", "muted"),)]

    def titled(self, first: int, last: int, count: int) -> None:
        below = count - last
        self.set_titles(self.told("Log", count, len(self._all)), f"{below} newer below, G follows" if below else "")


class LogScreen(Listing[log.LogRow]):
    """See the module."""

    HINT = "words in the entry, level:warning and graver, -word for what must not be"

    def __init__(self, ring: LogRing) -> None:
        super().__init__()
        self._ring = ring

    def make_table(self) -> LogTable:
        return LogTable(self._ring)

    def full(self, width: int) -> Sequence[Line]:
        row = self.table.current
        return log.detail_lines(row, width) if row is not None else []
