"""The table's rows: sorted both ways without moving equals, grouped with totals, in slices."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.entry import Entry
from gateway.workers.facts import Cause
from gateway.workers.meters import Outcome
from gateway.workers.model import Intent
from smg_console.plane import WorkerRow
from smg_console.present import columns, fleet, runs
from smg_console.present.arranging import GROUPS, SLICE, Head, How, arranged, arranging, next_group
from smg_console.present.columns import COLUMNS, column_of, names_known, shown_columns
from smg_console.present.query import parsed
from tests.console.fleet import START, Fleet, busy_fleet

NOW = START + 95


def names(items: object) -> str:
    assert isinstance(items, list | tuple)
    return " ".join(f"[{item.title}]" if isinstance(item, Head) else item.worker.name for item in items)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_equal_rows_keep_their_order_in_both_directions(column: columns.Column) -> None:
    rows = busy_fleet().plane.rows()
    place = {row.worker.id: n for n, row in enumerate(rows)}
    for reverse in (False, True):
        found = arranged(rows, How(sort=column.name, reverse=reverse), NOW).fitting
        assert len(found) == len(rows)
        for one, other in pairwise(found):
            a, b = column.order(one), column.order(other)
            assert a >= b if reverse else a <= b
            assert a != b or place[one.worker.id] < place[other.worker.id]


def test_groups_have_heads_with_totals_and_keep_the_order_inside() -> None:
    rows = busy_fleet().plane.rows()
    found = arranged(rows, How(group="model", sort="inflight", reverse=True), NOW)
    assert names(found.items) == "[llama-3.1-8b] w2 w4 w6 w7 [qwen2.5-14b] w1 w3 w5 w8"
    head = found.items[0]
    assert isinstance(head, Head)
    mine = [row for row in rows if row.worker.model_id == "llama-3.1-8b"]
    assert head.totals.workers == len(mine)
    assert head.totals.in_flight == sum(row.in_flight for row in mine)
    assert head.totals.p99 == max(row.sample.response.p99 or 0 for row in mine)
    assert {state.value: n for state, n in head.totals.states.items()} == {
        "ready": 2,
        "unhealthy": 1,
        "registering": 1,
    }


def test_a_folded_group_shows_its_head_alone_and_its_workers_still_fit() -> None:
    rows = busy_fleet().plane.rows()
    found = arranged(rows, How(group="state", folded=frozenset({"state:ready"})), NOW)
    assert names(found.items) == "[failed] w8 [unhealthy] w2 [draining] w5 [registering] w7 [ready]"
    assert len(found.fitting) == 8
    assert (
        names(arranged(rows, How(parsed("state:ready"), group="policy"), NOW).items) == "[no policy label] w1 w3 w4 w6"
    )


def test_going_through_the_groupings_comes_back_to_none() -> None:
    seen = [""]
    for _ in range(len(GROUPS) + 1):
        seen.append(next_group(seen[-1]))
    assert seen == ["", *GROUPS, ""]


@given(st.sampled_from(["", *GROUPS]), st.sampled_from(COLUMNS), st.booleans(), st.sampled_from(["", "state:ready"]))
def test_no_worker_is_lost_or_shown_twice(group: str, column: columns.Column, reverse: bool, text: str) -> None:
    rows = ROWS
    found = arranged(rows, How(parsed(text), column.name, reverse, group), NOW)
    shown = [item.worker.id for item in found.items if isinstance(item, WorkerRow)]
    assert sorted(shown) == sorted(row.worker.id for row in rows if parsed(text).fits(row, NOW))


ROWS = busy_fleet().plane.rows()


def test_a_big_fleet_is_arranged_in_slices() -> None:
    fleet_of_many = Fleet()
    for n in range(4 * SLICE):
        fleet_of_many.add(f"http://10.0.{n // 200}.{n % 200}:8000", ready=False)
    steps = arranging(fleet_of_many.plane.rows(), How(parsed("state:reg"), "name", True, "model"), NOW)
    assert sum(1 for _ in steps) >= 12, "filtering, sorting and grouping each stop after every slice"


# --- columns ---


def test_chosen_columns_stand_in_their_order_and_leave_from_the_right() -> None:
    chosen = ("name", "p99", "label:rack", "state", "inflight")
    shown = shown_columns(120, chosen)
    assert [column.title for column, _ in shown] == ["Worker", "p99", "Rack", "State", "In fl"]
    assert [column.name for column, _ in shown_columns(40, chosen)] == ["name", "p99", "label:rack"]
    assert [column.name for column, _ in shown_columns(60, ("gone", "name"))] == ["name"]


@given(st.lists(st.sampled_from([*names_known(()), "label:rack"]), unique=True, min_size=1), st.integers(40, 250))
def test_whatever_the_columns_every_line_takes_exactly_the_width(chosen: list[str], width: int) -> None:
    shown = shown_columns(width, chosen)
    assert runs.width_of(fleet.header(shown, "name", False, width, chosen[0])) == width
    for row in ROWS:
        assert runs.width_of(fleet.row_line(row, shown, NOW, width, selected=True, marked=True)) == width
    for item in arranged(ROWS, How(group="model"), NOW).items:
        if isinstance(item, Head):
            assert runs.width_of(fleet.head_line(item, shown, width, selected=False, marked=2)) == width


def test_the_heads_are_where_a_click_finds_them() -> None:
    shown = shown_columns(120)
    line = "".join(text for text, _ in fleet.header(shown, "name", False, 120))
    for title in ("State", "Worker", "In fl", "p99"):
        found = fleet.column_at(shown, line.index(title) + 1)
        assert found is not None
        assert found.title == title


def test_a_drain_tells_how_far_it_is() -> None:
    busy = busy_fleet()
    entry = busy.registry.find("w4")
    busy.registry.drain(entry, Intent.HOLD, None, "test", Cause("test"))
    assert state_cell(busy, entry) == "◐ draining"
    entry.meters.ended(Outcome.OK, 0.1, 0.0)
    assert state_cell(busy, entry) == "◐ draining 25%"


def state_cell(fleet_of: Fleet, entry: Entry) -> str:
    row, state = fleet_of.plane.row(entry.worker.id), column_of("state")
    assert row is not None
    assert state is not None
    return state.text(row, NOW)[0]
