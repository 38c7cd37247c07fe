"""The settings in force: each with its value and where that came from."""

from collections.abc import Sequence

from gateway.settings.effective import Effective
from smg_console.present import settings
from smg_console.present.runs import Line
from smg_console.screens.listing import Filtered, Listing


class SettingsTable(Filtered[Effective]):
    """All settings; they do not change while the gateway runs."""

    def __init__(self) -> None:
        super().__init__()
        self._fit: Sequence[Effective] = ()
        self._fit_for: tuple[object, ...] = ()

    def rows(self) -> Sequence[Effective]:
        found = self.face.plane.settings()
        if (id(found), self.words) != self._fit_for:
            self._fit_for = (id(found), self.words)
            self._fit = [one for one in found if settings.matches(one, self.words)]
        return self._fit

    def judge(self, words: Sequence[str]) -> str:
        return settings.problem(words)

    def key(self, row: Effective) -> str:
        return row.name

    def line(self, row: Effective, width: int, *, selected: bool) -> Line:
        return settings.row_line(row, width)

    def header(self, width: int) -> Line:
        return settings.header(width)

    def empty(self, width: int) -> Sequence[Line]:
        return [(("", ""),), (("  No setting fits the filter; Esc clears it.", "muted"),)]

    def titled(self, first: int, last: int, count: int) -> None:
        found = self.face.plane.settings()
        given = sum(one.given for one in found)
        self.set_titles(self.told("Settings", count, len(found)), f"{given} given, the others are defaults")


class SettingsScreen(Listing[Effective]):
    """See the module."""

    HINT = "words in name, value or description, group:health from:env is:set, -word"

    def make_table(self) -> SettingsTable:
        return SettingsTable()

    def full(self, width: int) -> Sequence[Line]:
        one = self.table.current
        return settings.detail_lines(one, width) if one is not None else []
