"""The fleet table by key and by mouse: columns, sorting, groups, marks, filters; all kept where that was asked."""

from pathlib import Path
from time import perf_counter

import pytest
from textual.pilot import Pilot

from smg_console.memory import Memory
from smg_console.screens.choose_columns import ChooseColumns
from smg_console.screens.main import MainScreen
from smg_console.widgets.fleet_table import FleetTable
from tests.console.fleet import Fleet
from tests.console.night import night_fleet
from tests.console.test_app import TEST, console, frame, shown, text_of


def table_of(pilot: Pilot[None]) -> FleetTable:
    main = pilot.app.screen_stack[1]
    assert isinstance(main, MainScreen)
    return main.table


def lines(pilot: Pilot[None]) -> list[str]:
    return [line for line in text_of(pilot, "#fleet").splitlines() if line.strip()]


def names(pilot: Pilot[None]) -> str:
    """Workers by name, heads of groups in brackets."""
    return " ".join(
        item.worker.name if hasattr(item, "worker") else f"[{item.title}]" for item in table_of(pilot)._rows
    )


async def test_the_column_cursor_sorts_with_o_both_ways(busy: Fleet) -> None:
    async with console(busy) as pilot:
        for _ in range(3):
            await pilot.press("greater_than_sign")
        assert table_of(pilot)._column == "queue"
        await pilot.press("o")
        await frame(pilot)
        assert "▼Queue" in lines(pilot)[0]
        assert names(pilot).startswith("w6 w4 w2 ")
        await pilot.press("o")
        await frame(pilot)
        assert "▲Queue" in lines(pilot)[0]
        await pilot.press("less_than_sign", "o")
        await frame(pilot)
        assert "▼In fl" in lines(pilot)[0]


async def test_a_click_on_a_head_sorts_and_a_click_on_a_row_chooses(busy: Fleet) -> None:
    async with console(busy) as pilot:
        head = lines(pilot)[0]
        await pilot.click("#fleet", offset=(head.index("p99") + 2, 1))
        await frame(pilot)
        assert "▼p99" in lines(pilot)[0]
        await pilot.click("#fleet", offset=(10, 3))
        current = table_of(pilot).current
        assert current is not None
        assert f" {current.worker.name} " in lines(pilot)[2]
        await pilot.click("#fleet", offset=(10, 4), control=True)
        assert len(table_of(pilot).marks) == 1


async def test_v_goes_through_the_groups_and_enter_folds_one(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("v")
        await frame(pilot)
        assert names(pilot) == "[llama-3.1-8b] w2 w4 w6 w7 [qwen2.5-14b] w1 w3 w5 w8"
        assert "▾ llama-3.1-8b 4" in text_of(pilot, "#fleet")
        assert "2 models" in str(table_of(pilot).border_title)
        current = table_of(pilot).current
        assert current is not None
        assert current.worker.name == "w1", "the cursor stays on its worker"
        await pilot.press("left")
        await frame(pilot)
        assert names(pilot) == "[llama-3.1-8b] w2 w4 w6 w7 [qwen2.5-14b]"
        assert "Enter opens it, Space marks its 4" in str(table_of(pilot).border_subtitle)
        await pilot.press("enter")
        await frame(pilot)
        assert names(pilot).endswith("[qwen2.5-14b] w1 w3 w5 w8")
        await pilot.press("V")
        await frame(pilot)
        assert names(pilot) == "[llama-3.1-8b] [qwen2.5-14b]"
        await pilot.press("V", "v")
        await frame(pilot)
        assert names(pilot) == "[regular] w1 w2 w3 w4 w5 w6 w7 w8"
        await pilot.press("v")
        await frame(pilot)
        assert names(pilot).startswith("[failed] w8 [unhealthy] w2")
        await pilot.press("v", "v")
        await frame(pilot)
        assert names(pilot) == "w1 w2 w3 w4 w5 w6 w7 w8"


async def test_space_marks_and_the_other_keys_mark_many(busy: Fleet) -> None:
    async with console(busy) as pilot:
        table = table_of(pilot)

        def marked() -> str:
            return " ".join(row.worker.name for row in table.marked)

        await pilot.press("space", "space")
        assert marked() == "w1 w2"
        await frame(pilot)
        assert "•w1 " in lines(pilot)[1]
        assert "2 marked" in str(table.border_title)
        await pilot.press("asterisk")
        assert marked() == "w3 w4 w5 w6 w7 w8"
        await pilot.press("minus")
        assert marked() == ""
        await pilot.press("slash", *"model:qwen", "enter")
        await frame(pilot)
        await pilot.press("plus")
        assert marked() == "w1 w3 w5 w8"
        await pilot.press("escape")
        await frame(pilot)
        assert len(table.fitting) == 8, "Esc drops the filter first"
        assert marked() == "w1 w3 w5 w8"
        busy.registry.remove_now(busy.registry.find("w8"), "test", TEST)
        await frame(pilot)
        assert marked() == "w1 w3 w5", "who has left is marked no more"
        await pilot.press("escape")
        assert marked() == "", "and the marks then"
        await pilot.press("v", "g", "space")
        assert marked() == "w2 w4 w6 w7", "on the head of a group all of it"
        await pilot.press("g", "space")
        assert marked() == ""


async def test_marks_that_the_filter_hides_are_told(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("space", "space", "slash", *"state:ready", "enter")
        await frame(pilot)
        assert "2 marked (1 not shown)" in str(table_of(pilot).border_title)


async def test_a_wrong_filter_says_so_beneath_and_the_last_good_one_holds(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("slash", *"state:ready p99>", *"fast")
        await frame(pilot)
        assert "p99>fast: given fast, expected a time such as 500 (ms)" in text_of(pilot, "#hint")
        assert table_of(pilot).how.query.text == "state:ready p99", "a word so far, which nobody fits"
        await pilot.press(*["backspace"] * 4, *"2500")
        await frame(pilot)
        assert "p99>2500" in str(table_of(pilot).border_title)
        assert names(pilot) == "w3 w4 w6"
        await pilot.press("space", *"kv>x", "enter")
        await frame(pilot)
        assert pilot.app.screen.query_one("#filter").value == "state:ready p99>2500"  # type: ignore[attr-defined]


async def test_tab_completes_in_the_filter(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("slash", *"sta", "tab")
        assert pilot.app.screen.query_one("#filter").value == "state:"  # type: ignore[attr-defined]
        await frame(pilot)
        assert "Tab" in text_of(pilot, "#hint")
        assert "unhealthy" in text_of(pilot, "#hint")
        await pilot.press("u", "tab", "space", *"p9", "tab", "tab")
        assert pilot.app.screen.query_one("#filter").value == "state:unhealthy p99>"  # type: ignore[attr-defined]


async def test_columns_are_chosen_ordered_and_remembered(busy: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "console.json"
    async with console(busy, memory=Memory(path)) as pilot:
        await pilot.press("O")
        await shown(pilot, lambda: isinstance(pilot.app.screen, ChooseColumns))
        await frame(pilot)
        assert "[x] Worker" in text_of(pilot, "#column-list")
        await pilot.press("space", "K", "j", "j", "space")  # State goes, Worker is moved up, Engine goes
        await frame(pilot)
        await pilot.press("enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await frame(pilot)
        head = lines(pilot)[0]
        assert "State" not in head
        assert head.split()[0].startswith("Worker")
        await pilot.press("P", "v")
        await frame(pilot)
    async with console(busy, memory=Memory(path)) as pilot:
        await frame(pilot)
        assert lines(pilot)[0] == head.replace("Worker▲", "Worker ").replace(" p99", "▼p99")
        assert names(pilot).startswith("[llama")
        await pilot.press("O")
        await shown(pilot, lambda: isinstance(pilot.app.screen, ChooseColumns))
        await pilot.press("d", "enter")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        await frame(pilot)
        assert "State" in lines(pilot)[0]
        assert Memory(path).now.columns == ()


async def test_a_table_without_columns_is_refused_and_esc_changes_nothing(busy: Fleet) -> None:
    async with console(busy) as pilot:
        await pilot.press("O")
        await shown(pilot, lambda: isinstance(pilot.app.screen, ChooseColumns))
        dialog = pilot.app.screen
        assert isinstance(dialog, ChooseColumns)
        for _ in range(16):
            await pilot.press("space")
        await pilot.press("enter")
        await frame(pilot)
        assert isinstance(pilot.app.screen, ChooseColumns)
        assert "at least one column" in str(dialog.query_one("#problem").render())
        await pilot.press("escape")
        await shown(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert table_of(pilot).chosen == ()


@pytest.mark.parametrize("keys", [("P",), ("v",), ("slash", "w"), ("o",)], ids=["sort", "group", "filter", "turn"])
async def test_with_a_thousand_workers_a_key_is_on_the_screen_at_once_and_in_slices(keys: tuple[str, ...]) -> None:
    fleet = await night_fleet(1000, seconds=2)
    async with console(fleet, size=(200, 60)) as pilot:
        await pilot.press(*keys[:-1])
        table = table_of(pilot)
        await frame(pilot)
        began = perf_counter()
        how = table.how
        await pilot.press(keys[-1])
        took_s = perf_counter() - began
        assert table.how != how
        assert table._arranged_for == table._wanted()
        assert took_s < 0.5, "on a busy machine; alone a tenth of it"
        assert table.held_s < 0.1
