"""Every key of every screen: pressed here or in the test that is named for it, and told by the help.

A binding that is added without a test, or without a word in the help of its screen, fails here by its name.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.dom import DOMNode
from textual.pilot import Pilot

import smg_console
from gateway.telemetry.logs import LogRing
from smg_console.app import ConsoleApp
from smg_console.memory import Memory
from smg_console.present import guide
from smg_console.screens.main import MainScreen
from smg_console.visiting import HELP_OF
from tests.console.day import day_fleet
from tests.console.fleet import Fleet
from tests.console.keys import ANYWHERE, ELSEWHERE, PLACES, Place, acts
from tests.console.test_app import app_of, console, frame, shown
from tests.console.test_log_view import record
from tests.console.tokenizers import FAILED, LOADING, READY, UNCUT
from tests.console.tokenizers import Rows as TokenizerRows

# --- what there is ---


@cache
def owners() -> dict[str, type[DOMNode]]:
    """Every class of the console that binds keys, by its name."""
    for module in pkgutil.walk_packages(smg_console.__path__, "smg_console."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, type[DOMNode]] = {}
    classes = [DOMNode]
    while classes:
        kind = classes.pop()
        classes += kind.__subclasses__()
        if kind.__module__.startswith("smg_console.") and kind.__dict__.get("BINDINGS"):
            found[kind.__name__] = kind
    return found


def keys_of(owner: type[DOMNode]) -> dict[str, Binding]:
    """A class's own keys, each with what it is bound to."""
    bound = {}
    for given in owner.__dict__["BINDINGS"]:
        binding = given if isinstance(given, Binding) else Binding(*given)
        for key in binding.key.split(","):
            bound[key.strip()] = binding
    return bound


# --- pressed ---


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A fleet with something on every screen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    fleet = day_fleet()
    fleet.plane._tokenizers = TokenizerRows(READY, UNCUT, LOADING, FAILED)
    entry = fleet.registry.find("w1")
    for n in range(20):  # its history is longer than a small screen
        fleet.clock.now += 1
        for _ in range(3):
            fleet.probe(entry, ok=bool(n % 2))
    return fleet


def memory() -> Memory:
    """One with some commands in its history."""
    kept = Memory()
    for line in ("sort p99", "group model"):
        kept.add_to_history(line)
    return kept


@asynccontextmanager
async def opened(fleet: Fleet, place: Place) -> AsyncIterator[Pilot[None]]:
    """A console at this place."""
    options: dict[str, object] = {"memory": memory()}
    if place.options.get("log"):
        ring = LogRing()
        for n in range(60):
            record(ring, f"something happened {n}")
        options["log"] = ring
    async with console(fleet, place.size, **options) as pilot:
        await pressed(pilot, *place.keys)
        yield pilot


async def pressed(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        before = pilot.app.screen
        await pilot.press(key)
        if pilot.app.screen is not before:
            await frame(pilot)


@pytest.mark.parametrize("name", PLACES)
async def test_every_key_of_a_screen_does_what_it_says(served: Fleet, name: str) -> None:
    place = PLACES[name]
    async with opened(served, place) as pilot:
        await frame(pilot)
        for press in place.presses:
            for key in press.keys.split():
                await pressed(pilot, *press.before)
                await frame(pilot)
                app_of(pilot).clear_notifications()
                assert not press.effect(pilot), f"{press.owner} {key}: so before it is pressed"
                owner = owners()[press.owner]
                actions = [
                    keys.get_bindings_for_key(key)[0].action
                    for node, keys in pilot.app.screen._modal_binding_chain
                    if isinstance(node, owner) and key in keys.key_to_bindings
                ]
                assert keys_of(owner)[key].action in actions, f"{press.owner} {key}: it is not in reach"
                await pilot.press(key)
                for _ in range(200):
                    if press.effect(pilot):
                        break
                    await pilot.pause(0.01)
                else:
                    raise AssertionError(f"{press.owner} {key}: nothing came of it on {pilot.app.screen}")
                await pressed(pilot, *press.after)


def test_no_key_is_without_a_test_that_presses_it() -> None:
    here = {(press.owner, key) for place in PLACES.values() for press in place.presses for key in press.keys.split()}
    here |= {("ConsoleApp", key) for key in ANYWHERE}
    there = {(owner, key) for owner, keys in ELSEWHERE.items() for key in keys}
    bound = {(name, key) for name, owner in owners().items() for key in keys_of(owner)}
    assert sorted(bound - here - there) == [], "add these to PLACES, or a test of their own to ELSEWHERE"
    assert sorted((here | there) - bound) == [], "nobody binds these any more"


def test_the_tests_named_for_a_key_press_it() -> None:
    for keys in ELSEWHERE.values():
        for key, test in keys.items():
            file, _, name = test.partition("::")
            tree = ast.parse((Path(__file__).parent / file).read_text("utf-8"))
            found = next(
                (
                    node
                    for node in tree.body
                    if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and node.name == name
                ),
                None,
            )
            assert found is not None, test
            words = {node.value for node in ast.walk(found) if isinstance(node, ast.Constant)}
            generated = key.isdigit() and "LISTED_STATES" in ast.unparse(found)
            assert key in words or generated, f"{test} does not press {key}"


# --- keys that work anywhere ---


SCREENS = [
    *("fleet", "worker", "graphs", "journal", "settings", "log", "routing", "tokenizers", "discovery", "people"),
    *("help", "json"),
]


@pytest.mark.parametrize("name", SCREENS)
async def test_keys_that_work_anywhere_work_on_every_screen(served: Fleet, name: str) -> None:
    place = PLACES[name]
    async with opened(served, Place(place.keys, options={"log": True})) as pilot:
        app = app_of(pilot)
        where = type(app.screen).__name__
        for key, effect in ANYWHERE.items():
            if not isinstance(app.screen.active_bindings[key].node, ConsoleApp):
                continue  # this screen has its own meaning for it, which is tested above
            app.clear_notifications()
            await pilot.pause()
            depth = len(app.screen_stack)
            await pilot.press(key)
            if name == "help" and key == "question_mark":
                await shown(pilot, lambda: type(app.screen).__name__ == "MainScreen")
                await pressed(pilot, *place.keys)
            else:
                await shown(pilot, lambda: effect(pilot) or _same(pilot, where, key))  # noqa: B023 - awaited at once
            while len(app.screen_stack) > depth:
                await pressed(pilot, "escape")
            assert type(app.screen).__name__ == where


def _same(pilot: Pilot[None], where: str, key: str) -> bool:
    """The key of the screen one is on opens no second one."""
    return ANYWHERE[key](pilot) and type(pilot.app.screen).__name__ == where


# --- what the help says ---

WRITTEN = {
    "slash": "/",
    "question_mark": "?",
    "colon": ":",
    "comma": ",",
    "exclamation_mark": "!",
    "escape": "Esc",
    "enter": "Enter",
    "tab": "Tab",
    "space": "Space",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "left": "Left",
    "right": "Right",
    "up": "arrows",
    "down": "arrows",
    "shift+left": "Shift:",
    "shift+right": "Shift:",
    "end": "End",
    "plus": "+",
    "minus": "-",
    "asterisk": "*",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "ctrl+s": "Ctrl+S",
    "ctrl+p": "Ctrl+P",
    "ctrl+z": "Ctrl+Z",
    "ctrl+t": "Ctrl+T",
}
"""How the help writes keys that it does not write as they are called."""
UNTOLD = {
    ("ConsoleApp", "ctrl+c"),  # what it does is what everybody expects
    ("WorkerView", "shift+tab"),  # the way back from Tab
    ("LineEdit", "shift+tab"),
    ("LineEdit", "tab"),  # the hint beneath says it
}
ACTS = ("c", "d", "r", "x", "p", "R,ctrl+r", "b", "y")
"""Keys that mean a worker: the help has them where there is one."""
TABLE = ("fleet", "feed", "diagram")
HELPED = [name for name in SCREENS if name != "help"] + ["feed", "diagram"]


def told(pilot: Pilot[None]) -> set[str]:
    """Every word of the help of where one is, with ranges of digits written out."""
    screen = pilot.app.screen
    where = next((keys for kind, keys in HELP_OF if isinstance(screen, kind)), guide.TABLE)
    words: list[str] = []
    for line in guide.help_lines(78, where):
        for text, _ in line:
            words += re.split(r"[\s;,]+", text) + re.split(r"\s+", text)
            for first, last in re.findall(r"\b(\d) to (\d)\b", text):
                words += map(str, range(int(first), int(last) + 1))
    return set(words)


def nodes(pilot: Pilot[None]) -> Iterator[DOMNode]:
    """The application, the screen, and what may have the focus on it."""
    yield pilot.app
    yield pilot.app.screen
    yield from (widget for widget in pilot.app.screen.focus_chain)


@pytest.mark.parametrize("name", HELPED)
async def test_the_help_tells_every_key_that_works_there_and_no_other(served: Fleet, name: str) -> None:
    place = PLACES.get(name, Place(("tab", "tab")))
    keys = (*place.keys, "w") if name == "graphs" else place.keys
    async with opened(served, Place(keys, options={"log": True})) as pilot:
        words = told(pilot)
        known: set[str] = set()
        for node in nodes(pilot):
            for kind in type(node).__mro__:
                if kind.__name__ not in owners() or owners()[kind.__name__] is not kind:
                    continue
                for binding in {id(found): found for found in keys_of(kind).values()}.values():
                    keys = [key.strip() for key in binding.key.split(",")]
                    known |= {WRITTEN.get(key, key) for key in keys}
                    idle = kind is ConsoleApp and (
                        (binding.key in ACTS and not acts(pilot)) or (binding.key == "O" and name not in TABLE)
                    )
                    if not idle and not any((kind.__name__, key) in UNTOLD for key in keys):
                        assert words & {WRITTEN.get(key, key) for key in keys}, f"{kind.__name__}: {keys} untold"
        known |= {"Tab", "to", "Shift", "arrows", "g", "G"}
        screen = pilot.app.screen
        where = next((keys for kind, keys in HELP_OF if isinstance(screen, kind)), guide.TABLE)
        listed = {
            word
            for _, keys in (*where, ("", guide.ANYWHERE))
            for key, _ in keys
            for word in re.split(r"[\s]+|,\s", key)
        }
        listed.discard("")
        assert listed - known == set(), "the help tells keys that do nothing here"


async def test_the_help_of_a_screen_fits_its_columns(served: Fleet) -> None:
    for where in (
        guide.TABLE,
        guide.WORKER,
        guide.GRAPHS,
        guide.READING,
        guide.LISTING,
        guide.ROUTING,
        guide.TOKENIZERS,
    ):
        for _, keys in (*where, ("", guide.ANYWHERE)):
            for key, text in keys:
                assert len(key) <= 12, key
                assert len(text) <= 118 - guide.HALF - 14, text


def test_main_is_the_screen_that_help_falls_back_to() -> None:
    assert not any(issubclass(MainScreen, kind) for kind, _ in HELP_OF)
