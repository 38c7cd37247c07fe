"""The tokenizer screen: what its rows and sentences say, what its keys do to a real registry, and how it looks."""

from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from gateway.tokenizers.entry import Progress
from gateway.tokenizers.places import Named
from gateway.tokenizers.status import TokenizerStatus
from gateway.tokenizers.tokenizer import Shown
from smg_console.app import ConsoleApp
from smg_console.present import numbers, tokenizers
from smg_console.present.runs import Line, width_of
from smg_console.screens.add_tokenizer import AddTokenizerForm
from smg_console.screens.dialogs import Confirm
from smg_console.screens.main import MainScreen
from smg_console.screens.tokenizers import Table, TokenizersScreen, Tokens
from smg_console.screens.views import View
from tests.console.fleet import START, Fleet
from tests.console.test_app import app_of, console, drawn_text, frame, shown
from tests.console.test_pictures import SIZES, Compare, settle
from tests.console.tokenizers import FAILED, LOADING, READY, UNCUT, Rows, loading, model

ALL = (READY, UNCUT, LOADING, FAILED)


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def row_text(told: TokenizerStatus, width: int = 120) -> str:
    return text([tokenizers.row_line(told, width, selected=False)])


# --- what is said ---


def test_a_row_has_name_state_vocabulary_hits_memory_users_and_source() -> None:
    said = " ".join(row_text(READY, 160).split())
    assert said == "qwen2.5-14b ● ready 152k 10% 95% 58.3MB 3 grpc://10.1.0.2:9000"
    assert " 0% off " not in said
    assert "10%     off" in row_text(UNCUT)


def test_of_one_that_failed_the_row_says_why() -> None:
    said = " ".join(row_text(FAILED, 200).split())
    assert said.startswith("old ✖ failed – – – – 0 could not be loaded: /models/old: tokenizer.json: not valid JSON")


@pytest.mark.parametrize("told", ALL, ids=lambda told: told.state.value)
@pytest.mark.parametrize("width", [60, 78, 118, 198])
def test_no_line_is_wider_than_its_place(told: TokenizerStatus, width: int) -> None:
    lines = [tokenizers.header(width), tokenizers.row_line(told, width, selected=True)]
    lines += tokenizers.detail_lines(told, START, width)
    assert max(map(width_of, lines)) <= width
    assert width_of(lines[0]) == width_of(lines[1]) == width


def test_the_columns_stand_under_their_titles() -> None:
    head, row = text([tokenizers.header(120)]), row_text(READY)
    for title, value in (("VOCAB", "152k"), ("EXACT", "10%"), ("PREFIX", "95%"), ("MEMORY", "58.3MB"), ("USERS", "3")):
        end = head.index(title) + len(title)
        assert row[:end].endswith(value)


def test_the_details_name_users_caches_templates_and_what_is_switched_off() -> None:
    said = " ".join(text(tokenizers.detail_lines(READY, START, 120)).split())
    for wanted in (
        "● ready since 13:13:15 (1h00m), wanted by a worker or the settings",
        "users w2, w4, w6",
        "also for qwen-chat",
        "exact cache 10% of 1139 look-ups hit, 903 entries, 4.4MB of 268MB",
        "prefix cache 95% of 43.5k look-ups hit, 2298 entries, 9.1MB of 52.4MB, 12 evicted",
        "context 32,768 tokens",
        "chat templates default, tool_use",
    ):
        assert wanted in said
    said = " ".join(text(tokenizers.detail_lines(UNCUT, START, 120)).split())
    assert "prefix cache off: it has no special token before which a text may be cut" in said
    assert "chat templates line 3: unknown tag 'generatoin'" in said
    assert "added by hand" in said
    assert "3.1 of 9.1 MB" in text(tokenizers.detail_lines(LOADING, START, 120))


def test_removing_says_who_uses_it_and_what_will_be_refused() -> None:
    assert tokenizers.removal_lines(UNCUT) == ("No worker uses it at present.",)
    assert tokenizers.removal_lines(READY) == (
        "3 workers use it: w2, w4, w6.",
        "Requests for qwen2.5-14b, qwen-chat are refused until it is there again.",
    )
    assert "what twin loaded stays" in tokenizers.removal_lines(replace(READY, shared_with=("twin",)))[0]


@pytest.mark.parametrize("text_", ["", "a b", "line\nbreak\ttab", "back\\slash \\n", "Köln\n\n", "\\"])
def test_any_text_can_be_typed_in_a_line(text_: str) -> None:
    line = tokenizers.typed_line(text_)
    assert "\n" not in line
    assert tokenizers.typed_text(line) == text_


@pytest.mark.parametrize(("line", "meant"), [("\\x", "\\x"), ("a\\", "a\\"), ("\\\\n", "\\n"), ("\\n", "\n")])
def test_a_backslash_that_marks_nothing_stands_for_itself(line: str, meant: str) -> None:
    assert tokenizers.typed_text(line) == meant


def test_tokens_stand_over_their_ids_and_those_without_room_are_counted() -> None:
    tokens = [Shown(n, "abc", False) for n in range(1000, 1040)]
    lines = tokenizers.token_lines(tokens, 31, 4)
    assert text(lines[:2]) == " " + "│".join(["abc "] * 6) + "\n " + "│".join(str(n) for n in range(1000, 1006))
    assert text(lines).endswith(" and 28 more ")
    assert max(map(width_of, lines)) <= 31
    assert tokenizers.token_lines(tokens, 31, 1) == []


def test_spaces_breaks_controls_and_special_tokens_can_be_seen() -> None:
    tokens = [Shown(1, " a\n\t", False), Shown(2, "<|end|>", True), Shown(3, "\x1b[2J", False), Shown(4, "", False)]
    lines = tokenizers.token_lines(tokens, 60, 4)
    assert "·a\\n\\t│<|end|>│" in text(lines)
    assert "\x1b" not in text(lines)
    assert ("<|end|>", "bold warning") in lines[0]


def test_the_count_says_how_much_of_the_context_a_text_takes() -> None:
    tokens = [Shown(1, "ab", False)] * 4
    assert tokenizers.counts_text(tokens, "abababab", 400) == "4 tokens, 8 characters, 2.0 a token, 1.0% of the context"
    assert tokenizers.counts_text(tokens[:1], "a", None) == "1 token, 1 character, 1.0 a token"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (58_300_000, "58.3MB"), (4.1e9, "4.1GB"), (None, "–")],
)
def test_bytes_have_the_unit_that_fits(value: float | None, said: str) -> None:
    assert numbers.size(value) == said
    assert len(said) <= 6


# --- the keys, over a real registry ---


async def opened(pilot: Pilot[None]) -> TokenizersScreen:
    await pilot.press("z")
    await shown(pilot, lambda: isinstance(pilot.app.screen, TokenizersScreen))
    await frame(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, TokenizersScreen)
    return screen


def said(pilot: Pilot[None]) -> str:
    return "\n".join(note.message for note in pilot.app._notifications)


async def test_a_adds_what_was_typed_and_it_is_journalled_with_who(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        screen = await opened(pilot)
        assert "No tokenizers." in drawn_text(pilot)
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddTokenizerForm))
        pilot.app.screen.query_one("#name", Input).value = "qwen"
        pilot.app.screen.query_one("#source", Input).value = "owner/name"
        await pilot.press("enter")
        await shown(pilot, lambda: registry.get("qwen") is not None)
        await shown(pilot, lambda: pilot.app.screen is screen)
        await frame(pilot)
        assert "● ready" in drawn_text(pilot)
        assert "qwen is being loaded from owner/name" in said(pilot)
        added = [event for event in fleet.registry.journal.after(0, 100) if "tokenizer_added" in str(event.fact)]
        assert [event.cause.actor for event in added] == ["console"]


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", "", "name: missing"),
        ("source", "", "source: given ''"),
        ("chat_template_path", "/etc/passwd", "expected a file that ends with .jinja"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_typed_is_lost(
    fleet: Fleet, field: str, value: str, complaint: str
) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        await opened(pilot)
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddTokenizerForm))
        for name, typed in {"name": "qwen", "source": "owner/name", field: value}.items():
            pilot.app.screen.query_one(f"#{name}", Input).value = typed
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert complaint in str(pilot.app.screen.query_one(f"#problem-{field}").render())
        assert isinstance(pilot.app.screen, AddTokenizerForm)
        assert not registry.entries
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, TokenizersScreen))


async def test_a_name_that_is_taken_is_refused_with_a_sentence(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        await opened(pilot)
        await pilot.press("a")
        await shown(pilot, lambda: isinstance(pilot.app.screen, AddTokenizerForm))
        pilot.app.screen.query_one("#name", Input).value = "qwen"
        pilot.app.screen.query_one("#source", Input).value = "owner/other"
        await pilot.press("enter")
        await shown(pilot, lambda: "'qwen' already exists" in said(pilot))
        assert len(registry.entries) == 1


async def test_x_asks_and_removes(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("first", Named("owner/first"))
        registry.add("second", Named("owner/second"))
        await registry.wait("second", 10)
        await opened(pilot)
        await pilot.press("j", "x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert "No worker uses it at present." in drawn_text(pilot)
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, TokenizersScreen))
        assert len(registry.entries) == 2
        await pilot.press("x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await pilot.press("y")
        await shown(pilot, lambda: registry.entry("second") is None)
        assert registry.entry("first") is not None


async def test_one_in_use_is_removed_only_by_typing_its_name(fleet: Fleet) -> None:
    entry = fleet.add("grpc://10.1.0.1:9000", "qwen")
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        await registry.wait("qwen", 10)
        await opened(pilot)
        await pilot.press("x")
        await shown(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        assert f"1 worker uses it: {entry.worker.name}." in drawn_text(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert registry.entry("qwen") is not None
        await pilot.press(*"qwen", "enter")
        await shown(pilot, lambda: registry.entry("qwen") is None)


async def test_upper_r_loads_one_that_failed_again(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        broken = registry.add("broken", Named("/no/such"))
        await shown(pilot, lambda: broken.state is Progress.FAILED)
        await opened(pilot)
        assert "could not be loaded: /no/such" in drawn_text(pilot)
        await pilot.press("R")
        await shown(pilot, lambda: "no such file" in said(pilot))  # it is looked at at once
        registry.remove("broken")
        registry.add("fine", Named("owner/name"))
        await registry.wait("fine", 10)
        await frame(pilot)
        await pilot.press("R")
        await shown(pilot, lambda: "fine has not failed" in said(pilot))


@pytest.mark.parametrize("key", ["a", "x", "R"])
async def test_a_read_only_console_shows_and_does_not_act(key: str) -> None:
    fleet = Fleet(read_only=True)
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        await registry.wait("qwen", 10)
        screen = await opened(pilot)
        await pilot.press(key)
        await shown(pilot, lambda: "read-only" in said(pilot))
        assert pilot.app.screen is screen
        assert registry.entry("qwen") is not None


async def test_what_is_typed_becomes_tokens_as_one_types(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        await registry.wait("qwen", 10)
        screen = await opened(pilot)
        await pilot.press("i", *"Hello")
        panel = screen.query_one(Tokens)
        expected = list(model().engine.encode("Hello"))
        await shown(pilot, lambda: [token.id for token in panel.shown] == expected)
        assert "".join(token.text for token in panel.shown) == "Hello"
        assert f"{len(expected)} token" in panel.words
        await pilot.press("backspace")
        await shown(pilot, lambda: "".join(token.text for token in panel.shown) == "Hell")
        counts = registry.entry("qwen").tokenizer.cache_counts()[0]  # type: ignore[union-attr]  # it was waited for
        assert counts is not None
        assert counts.hits + counts.misses == 0, "looking at tokens leaves the caches alone"
        await pilot.press("escape")
        await pilot.pause()
        assert isinstance(screen.focused, Table)
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_the_text_is_tokenized_anew_for_another_tokenizer_and_a_failed_one_says_why(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        registry.add("broken", Named("/no/such"))
        await registry.wait("qwen", 10)
        screen = await opened(pilot)
        panel = screen.query_one(Tokens)
        await pilot.press("i", *"Hi")
        await shown(pilot, lambda: bool(panel.shown))
        await pilot.press("escape", "j")
        await shown(pilot, lambda: "is not ready" in panel.problem)
        assert not panel.shown
        await pilot.press("k")
        await shown(pilot, lambda: bool(panel.shown))


async def test_a_text_that_is_too_long_is_refused_with_a_sentence(fleet: Fleet) -> None:
    async with loading(fleet) as registry, console(fleet) as pilot:
        registry.add("qwen", Named("owner/name"))
        await registry.wait("qwen", 10)
        screen = await opened(pilot)
        screen.query_one("#playground", Input).value = "x" * 20_000
        await shown(pilot, lambda: "text: given 20000 characters" in screen.query_one(Tokens).problem)


async def test_ctrl_t_adds_the_tokenizers_own_special_tokens(fleet: Fleet) -> None:
    asked: list[bool] = []

    class Heard(Rows):
        async def shown(self, name: str, text: str, *, add_special_tokens: bool = False) -> list[Shown]:
            asked.append(add_special_tokens)
            return await super().shown(name, text, add_special_tokens=add_special_tokens)

    fleet.plane._tokenizers = Heard(READY)
    async with console(fleet) as pilot:
        screen = await opened(pilot)
        screen.query_one("#playground", Input).value = "a"
        await shown(pilot, lambda: asked[-1:] == [False])
        await pilot.press("ctrl+t")
        await shown(pilot, lambda: asked[-1:] == [True])


async def test_the_cursor_stays_on_its_tokenizer_when_rows_leave(fleet: Fleet) -> None:
    rows = Rows(*ALL)
    fleet.plane._tokenizers = rows
    async with console(fleet, (80, 24)) as pilot:
        screen = await opened(pilot)
        await pilot.press("G")
        assert screen.table.current == FAILED
        await pilot.press("g", "down", "j")
        assert screen.table.current == LOADING
        del rows.rows[0]
        await frame(pilot)
        assert screen.table.current == LOADING
        del rows.rows[1]
        await frame(pilot)
        assert screen.table.current == FAILED, "the one that took its place"
        await pilot.press("pageup")
        assert screen.table.current == UNCUT
        await pilot.click(Table, offset=(5, 3))
        assert screen.table.current == FAILED


async def test_a_hundred_tokenizers_scroll_under_the_cursor(fleet: Fleet) -> None:
    many = [replace(UNCUT, id=f"{n}", name=f"model-{n:03}") for n in range(100)]
    fleet.plane._tokenizers = Rows(*many)
    async with console(fleet, (80, 24)) as pilot:
        await opened(pilot)
        assert "model-099" not in drawn_text(pilot)
        await pilot.press("end")
        await frame(pilot)
        assert "model-099" in drawn_text(pilot)
        await pilot.press("home")
        await frame(pilot)
        assert "model-000" in drawn_text(pilot)


async def test_the_help_there_is_of_these_keys_and_the_palette_knows_the_screen(fleet: Fleet) -> None:
    async with console(fleet) as pilot:
        commands = {command.title: command.callback for command in app_of(pilot).get_system_commands(pilot.app.screen)}
        commands["Tokenizers"]()
        await shown(pilot, lambda: isinstance(pilot.app.screen, TokenizersScreen))
        await pilot.press("z")  # once more opens no second one
        await pilot.press("question_mark")
        await shown(pilot, lambda: isinstance(pilot.app.screen, View))
        await frame(pilot)
        assert "type a text to see its tokens" in drawn_text(pilot)
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, TokenizersScreen))
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))


async def test_pasted_lines_become_one(fleet: Fleet) -> None:
    from textual import events

    fleet.plane._tokenizers = Rows(READY)
    async with console(fleet) as pilot:
        screen = await opened(pilot)
        await pilot.press("i")
        line = screen.query_one("#playground", Input)
        line.post_message(events.Paste("two\nlines\tand \\ one"))
        await shown(pilot, lambda: line.value == "two\\nlines\\tand \\\\ one")
        await shown(pilot, lambda: "".join(t.text for t in screen.query_one(Tokens).shown) == "two\nlines\tand \\ one")


# --- how it looks ---

TYPED = "<|im_start|>user\\nWie heißt der Fluss in Köln? 👍🏽<|im_end|>"


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["midnight", "daylight", "ascii"])
def test_the_tokenizers(busy: Fleet, snap_compare: Compare, size: tuple[int, int], look: str) -> None:
    busy.plane._tokenizers = Rows(*ALL)
    app = ConsoleApp(busy.plane, theme="midnight" if look == "ascii" else look, ascii_only=look == "ascii")

    async def typed(pilot: Pilot[None]) -> None:
        await settle(pilot)
        screen = await opened(pilot)
        screen.query_one("#playground", Input).value = TYPED
        await shown(pilot, lambda: bool(screen.query_one(Tokens).shown))
        await settle(pilot)

    assert snap_compare(app, terminal_size=size, run_before=typed)


@pytest.mark.parametrize("keys", [[], ["a"], ["x"]], ids=["empty", "add", "remove"])
def test_its_dialogs_and_its_emptiness(busy: Fleet, snap_compare: Compare, keys: list[str]) -> None:
    busy.plane._tokenizers = Rows(*(ALL if keys else ()))

    async def press(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await opened(pilot)
        for key in keys:
            await pilot.press(key)
        await settle(pilot)

    assert snap_compare(ConsoleApp(busy.plane, theme="midnight"), terminal_size=(80, 24), run_before=press)
