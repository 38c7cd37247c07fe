"""Which keys are pressed where, what comes of each, and which tests of their own press the others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from textual.pilot import Pilot

from smg_console.present import fleet as fleet_lines
from smg_console.screens.choose_columns import ColumnList
from smg_console.screens.dialogs import Confirm
from smg_console.widgets.event_feed import Feed
from smg_console.widgets.fleet_table import FleetTable
from smg_console.widgets.panels import Lines
from smg_console.widgets.rows import Rows
from tests.console.test_app import app_of

Effect = Callable[[Pilot[None]], bool]


@dataclass(frozen=True, slots=True)
class Press:
    """`keys`: each is pressed, after `before`, and must have `effect`; `after` leads back. `owner` binds them."""

    owner: str
    keys: str
    effect: Effect
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one is after these keys; `presses` are tried there one after another."""

    keys: tuple[str, ...]
    presses: tuple[Press, ...] = ()
    size: tuple[int, int] = (120, 40)
    options: dict[str, Any] = field(default_factory=dict)


def of(kind: type[Any], condition: Callable[[Any], bool]) -> Effect:
    """A condition on the focused widget, or else on the first of its kind."""

    def effect(pilot: Pilot[None]) -> bool:
        focused = pilot.app.focused
        found = focused if isinstance(focused, kind) else next(iter(pilot.app.screen.query(kind)), None)
        return found is not None and condition(found)

    return effect


def on(*names: str) -> Effect:
    """One of these screens is in front."""
    return lambda pilot: type(pilot.app.screen).__name__ in names


def says(text: str) -> Effect:
    return lambda pilot: any(text in note.message for note in pilot.app._notifications)


def focused(name: str) -> Effect:
    return lambda pilot: pilot.app.focused is not None and pilot.app.focused.id == name


def at(place: int) -> Effect:
    """The cursor stands on this row; from the end where it is negative."""
    return of(Rows, lambda rows: rows._at == (place if place >= 0 else len(rows._rows) + place))


ROWS = (
    Press("Rows", "j down", at(1), before=("g",)),
    Press("Rows", "k up", at(-2), before=("G",)),
    Press("Rows", "home g", at(0), before=("G",)),
    Press("Rows", "end G", at(-1), before=("g",)),
    Press("Rows", "pagedown ctrl+f", of(Rows, lambda rows: rows._at > 1), before=("g",)),
    Press("Rows", "pageup ctrl+b", of(Rows, lambda rows: rows._at < len(rows._rows) - 2), before=("G",)),
)
"""In every table."""


def top(condition: Callable[[int, int], bool]) -> Effect:
    """Of the first visible line, and the last that may be."""
    return of(Lines, lambda lines: condition(lines._top, max(0, len(lines._all) - lines.size.height)))


LINES = (
    Press("Lines", "j down", top(lambda line, last: line == 1), before=("g",)),
    Press("Lines", "k up", top(lambda line, last: line == last - 1), before=("G",)),
    Press("Lines", "home g", top(lambda line, last: line == 0), before=("G",)),
    Press("Lines", "end G", top(lambda line, last: line == last > 0), before=("g",)),
    Press("Lines", "pagedown space ctrl+f", top(lambda line, last: line > 1), before=("g",)),
    Press("Lines", "pageup ctrl+b", top(lambda line, last: line < last - 1), before=("G",)),
)
"""In every longer text."""


def leads_back(*keys: str, owner: str = "View") -> Press:
    """Esc leads to where one came from by these keys."""
    return Press(owner, "escape backspace", on("MainScreen"), after=keys)


def back(condition: Callable[[int], bool]) -> Effect:
    return of(Feed, lambda feed: condition(feed._back))


def sorted_by(name: str) -> Effect:
    return of(FleetTable, lambda table: table.how.sort == name)


def graphs(condition: Callable[[Any], bool]) -> Effect:
    """A condition on the graphs' screen."""
    return lambda pilot: on("GraphsScreen")(pilot) and condition(pilot.app.screen)


def span(seconds: int) -> Effect:
    return graphs(lambda screen: screen.shown.window.span_s == seconds)


def moved(column: str, to: int) -> Effect:
    return of(ColumnList, lambda columns: columns.choices[to].name == column)


def line_is(text: str) -> Effect:
    return lambda pilot: getattr(pilot.app.focused, "value", None) == text


PLACES: dict[str, Place] = {
    "fleet": Place(
        (),
        (
            *ROWS,
            Press("FleetTable", "ctrl+a", of(FleetTable, lambda table: len(table.marks) == 8), after=("minus",)),
            Press(
                "FleetTable",
                "right",
                of(FleetTable, lambda table: not table.how.folded),
                before=("v", "left"),
                after=("v",) * 4,
            ),
            *(Press("FleetTable", column.key, sorted_by(column.name)) for column in fleet_lines.COLUMNS),
            Press("Rows", "enter", on("WorkerView"), before=("g",), after=("escape",)),
            Press("MainScreen", "slash", focused("filter"), after=("escape",)),
            Press("MainScreen", "escape", of(FleetTable, lambda table: not table.how.query), before=("2",)),
        ),
        size=(120, 24),  # fewer lines than workers
    ),
    "feed": Place(
        ("tab",),
        (
            Press("Feed", "k up", back(lambda lines: lines == 1), before=("G",)),
            Press("Feed", "j down", back(lambda lines: lines == 1), before=("G", "k", "k")),
            Press("Feed", "pageup ctrl+b", back(lambda lines: lines > 1), before=("G",)),
            Press("Feed", "pagedown ctrl+f", back(lambda lines: lines == 0), before=("G", "k", "k")),
            Press("Feed", "home g", back(lambda lines: lines > 5), before=("G",)),
            Press("Feed", "end G", back(lambda lines: lines == 0), before=("g",)),
        ),
    ),
    "filter": Place(
        ("slash",),
        (
            Press("LineEdit", "tab", line_is("health:"), before=("h", "e", "a"), after=("ctrl+u",)),
            Press(
                "LineEdit",
                "shift+tab",
                line_is("health:unhealthy"),
                before=(*"health:",),
                after=("ctrl+u",),
            ),
        ),
    ),
    "worker": Place(
        ("enter", "4"),
        (
            *LINES,
            Press("WorkerView", "escape backspace", on("MainScreen"), after=("enter", "4")),
            *(
                Press("WorkerView", str(n), lambda pilot, n=n: pilot.app.screen._page == n - 1)  # type: ignore[misc]
                for n in range(1, 7)
            ),
            Press("WorkerView", "right", lambda pilot: pilot.app.screen._page == 1, before=("1",)),  # type: ignore[attr-defined]
            Press("WorkerView", "left", lambda pilot: pilot.app.screen._page == 5, before=("1",)),  # type: ignore[attr-defined]
            Press("WorkerView", "tab", lambda pilot: pilot.app.screen._page == 4, before=("4",)),  # type: ignore[attr-defined]
            Press("WorkerView", "shift+tab", lambda pilot: pilot.app.screen._page == 2, before=("4",)),  # type: ignore[attr-defined]
        ),
        size=(80, 24),
    ),
    "graphs": Place(
        ("h",),
        (
            Press("GraphsScreen", "escape backspace", on("MainScreen"), after=("h",)),
            Press("GraphsScreen", "j down", graphs(lambda s: s.shown.subject.model == "llama-3.1-8b"), before=("f",)),
            Press("GraphsScreen", "k up", graphs(lambda s: s.shown.subject.worker is not None), before=("f",)),
            Press("GraphsScreen", "f", graphs(lambda s: s.shown.subject.worker is None), before=("w",)),
            Press("GraphsScreen", "M", graphs(lambda s: s.shown.subject.model is not None), before=("f",)),
            Press("GraphsScreen", "w", graphs(lambda s: s.worker is not None), before=("f",), after=("f",)),
            Press("GraphsScreen", "plus equals_sign", span(60), before=("plus",) * 8 + ("minus",)),
            Press("GraphsScreen", "minus", graphs(lambda s: s.shown.window.span_s > 60), before=("plus",) * 8),
            Press("GraphsScreen", "space", graphs(lambda s: s.shown.window.paused), after=("space",)),
            *(
                Press("GraphsScreen", key, graphs(lambda s: s.shown.window.cursor is not None), after=("escape",))
                for key in ("left", "right", "shift+left", "shift+right")
            ),
            Press("GraphsScreen", "pageup", graphs(lambda s: s.shown.window.paused), after=("G",)),
            Press(
                "GraphsScreen",
                "pagedown",
                graphs(lambda s: s.shown.window.until(s._now) >= s._now),
                before=("pageup",),
                after=("G",),
            ),
            Press("GraphsScreen", "home g", graphs(lambda s: s.shown.window.paused), before=("G",), after=("G",)),
            Press("GraphsScreen", "end G", graphs(lambda s: not s.shown.window.paused), before=("g",)),
            *(
                Press("GraphsScreen", str(n), graphs(lambda s, n=n: s._one == n), after=("0",))  # type: ignore[misc]
                for n in range(1, 9)
            ),
            Press("GraphsScreen", "0", graphs(lambda s: s._one == 0), before=("3",)),
        ),
    ),
    "journal": Place(
        ("e",),
        (
            *ROWS,
            Press("Rows", "enter", on("WorkerView"), before=("g",), after=("escape",)),
            Press("Listing", "slash", focused("filter"), after=("escape",)),
            Press("Listing", "escape backspace", on("MainScreen"), after=("e",)),
        ),
        size=(80, 24),
    ),
    "settings": Place(("comma",), (*ROWS, Press("Listing", "slash", focused("filter")))),
    "log": Place(("l",), (*ROWS, Press("Listing", "slash", focused("filter"))), options={"log": True}, size=(80, 24)),
    "routing": Place(
        ("m",),
        (
            Press("Rows", "j down", at(1), before=("g",)),
            Press("Rows", "k up", at(0), before=("G",)),
            Press("RoutingScreen", "i slash", focused("prompt"), after=("escape",)),
            Press("Rows", "enter", focused("prompt"), after=("escape",)),
            Press("RoutingScreen", "escape", on("MainScreen")),
        ),
    ),
    "tokenizers": Place(
        ("z",),
        (
            Press("Rows", "j down", at(1), before=("g",)),
            Press("Rows", "k up", at(-2), before=("G",)),
            Press("Rows", "home g", at(0), before=("G",)),
            Press("Rows", "end G", at(-1), before=("g",)),
            Press("TokenizersScreen", "a", on("AddTokenizerForm"), after=("escape",)),
            Press("TokenizersScreen", "x", on("Confirm"), after=("escape",)),
            Press("TokenizersScreen", "R", says("qwen2.5-14b has not failed"), before=("g",)),
            Press("TokenizersScreen", "ctrl+t", says("special tokens of the tokenizer's own are added")),
            Press("TokenizersScreen", "i slash", focused("playground"), after=("escape",)),
            Press("Rows", "enter", focused("playground"), after=("escape",)),
            Press("TokenizersScreen", "escape", on("MainScreen")),
        ),
    ),
    "discovery": Place(("s",), (leads_back("s"),)),
    "people": Place(("U",), (leads_back("U"),)),
    "help": Place(("question_mark",), (*LINES, leads_back("question_mark")), size=(80, 24)),
    "json": Place(("y",), (*LINES, leads_back("y")), size=(80, 24)),
    "drain": Place(
        (*"gjjj", "d"),
        (
            Press("Confirm", "right l", focused("no"), after=("left",)),
            Press("Confirm", "left h", focused("yes"), before=("right",)),
            Press("Confirm", "escape n", on("MainScreen"), after=("d",)),
            Press("Confirm", "y", on("MainScreen")),
        ),
    ),
    "remove": Place((*"gjjj", "x"), (Press("Confirm", "exclamation_mark", on("MainScreen")),)),
    "add": Place(
        ("a",),
        (
            Press("Form", "down", focused("model"), after=("up",)),
            Press("Form", "up", focused("url"), before=("down",)),
            Press(
                "Form", "ctrl+s", lambda p: "must start with" in str(p.app.screen.query_one("#problem-url").render())
            ),
            Press("Form", "escape", on("MainScreen")),
        ),
    ),
    "columns": Place(
        ("O",),
        (
            *ROWS,
            Press("ColumnList", "space", of(ColumnList, lambda columns: not columns.choices[0].shown), before=("g",)),
            Press("ColumnList", "J", moved("state", 1), before=("g",)),
            Press("ColumnList", "K", moved("state", 0)),
            Press("ColumnList", "shift+down", moved("state", 1), before=("g",)),
            Press("ColumnList", "shift+up", moved("state", 0)),
            Press("ChooseColumns", "d", of(ColumnList, lambda columns: columns.choices[0].shown)),
            Press("ChooseColumns", "enter escape", on("MainScreen"), after=("O",)),
        ),
    ),
    "commands": Place(
        ("colon",),
        (
            Press("CommandLine", "up", line_is("sort p99"), before=("up",)),
            Press("CommandLine", "down", line_is("group model")),
            Press("LineEdit", "tab", line_is("theme "), before=("ctrl+u", "t"), after=("ctrl+u",)),
            Press("CommandLine", "escape", on("MainScreen")),
        ),
    ),
}
"""Places and the keys that are pressed there."""

ELSEWHERE = {
    "Diagram": {
        **dict.fromkeys(
            ("right", "l", "left", "h", "up", "down", "k", "j", "enter"),
            "test_diagram.py::test_in_the_diagram_arrows_choose_and_enter_leads_to_the_table",
        )
    },
    "MainScreen": {
        **dict.fromkeys("12345", "test_diagram.py::test_a_digit_shows_one_state_alone_and_again_all"),
        "0": "test_diagram.py::test_what_else_the_filter_asks_stays_and_0_drops_the_state_only",
        "w": "test_app.py::test_w_switches_the_graphs_to_the_worker_under_the_cursor",
    },
    "FleetTable": {
        **dict.fromkeys(
            ("space", "asterisk", "plus", "minus"),
            "test_fleet_view.py::test_space_marks_and_the_other_keys_mark_many",
        ),
        **dict.fromkeys(
            ("less_than_sign", "greater_than_sign", "o"),
            "test_fleet_view.py::test_the_column_cursor_sorts_with_o_both_ways",
        ),
        **dict.fromkeys(("v", "V", "left"), "test_fleet_view.py::test_v_goes_through_the_groups_and_enter_folds_one"),
    },
    "ConsoleApp": {
        "q": "test_app.py::test_q_ends_at_once_when_nothing_is_in_flight",
        "ctrl+c": "test_app.py::test_ctrl_c_twice_quits_with_requests_in_flight",
        "ctrl+z": "test_suspending.py::test_it_asks_with_the_requests_that_would_hang",
    },
}
"""Keys that tests of their own press, by who binds them."""


# --- keys that work anywhere ---


def acts(pilot: Pilot[None]) -> bool:
    """A worker is chosen here."""
    return app_of(pilot).chosen is not None


def act(chosen: Effect) -> Effect:
    """An act on the chosen worker; where there is none, it is said."""
    return lambda pilot: chosen(pilot) or (not acts(pilot) and says("no worker is chosen")(pilot))


def any_of(*effects: Effect) -> Effect:
    return lambda pilot: any(effect(pilot) for effect in effects)


ANYWHERE: dict[str, Effect] = {
    "a": on("AddWorker"),
    "c": act(any_of(on("Confirm"), says("cordoned"))),
    "d": act(on("Confirm")),
    "r": act(says("is not draining")),
    "x": act(on("Confirm")),
    "p": act(says("probe")),
    "R": act(any_of(says("only an unhealthy or failed worker is retried"), says("registering"))),
    "ctrl+r": act(any_of(says("only an unhealthy or failed worker is retried"), says("registering"))),
    "b": act(says("breaker")),
    "y": act(on("View")),
    "s": on("DiscoveryView"),
    "z": on("TokenizersScreen"),
    "e": on("JournalScreen"),
    "m": on("RoutingScreen"),
    "h": on("GraphsScreen"),
    "comma": on("SettingsScreen"),
    "ctrl+s": says("saved "),
    "exclamation_mark": on("WorkerView"),
    "u": any_of(says("nothing to undo"), on("Confirm")),
    "O": any_of(on("ChooseColumns"), says("columns are the fleet's")),
    "U": on("PeopleView"),
    "l": on("LogScreen"),
    "question_mark": on("HelpView"),
    "colon": on("CommandLine"),
    "ctrl+p": on("CommandPalette"),
    "ctrl+z": says("there is nothing to suspend here"),
    "t": says("theme "),
    "ctrl+q": lambda pilot: not pilot.app.is_running or isinstance(pilot.app.screen, Confirm),
}
"""What the application's own keys do, on every screen that does not bind them otherwise."""
