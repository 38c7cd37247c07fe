"""The parts of the commands that decide: which workers are meant, tables, times, waiting, completion."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gateway.settings.flags import UsageError
from gateway.workers.model import Role
from smg_console.present.runs import printable
from smg_console.scripts import choose, completion, options, waiting
from smg_console.scripts.choose import Filter
from smg_console.scripts.exits import Ended, Exit
from smg_console.scripts.table import GAP, table
from tests.unit.script_fleet import FLEET, NOW, draining, worker

# --- which workers ---


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("w1", "w1"),
        ("w10", "w10"),
        ("http://10.0.0.2:8000", "w2"),
        ("http://10.0.0.2:8000/", "w2"),
        ("10.0.0.2:8000", "w2"),
        ("01980011-7a10-7b3c-8d5e-0f1a2b3c4d5e", "w11"),
        ("01980002", "w2"),
        ("10.0.0.2", "w2"),
    ],
)
def test_a_worker_is_meant_by_name_id_url_or_a_beginning_that_is_enough(name: str, means: str) -> None:
    assert choose.by_name(FLEET, name)["name"] == means


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("w3", Exit.NOT_FOUND, "no worker has the name, id or URL 'w3'"),
        ("10.0.0.1", Exit.USAGE, "'10.0.0.1' may be any of 3 workers: w1 (10.0.0.1:8000), w10"),
        ("0198", Exit.USAGE, "may be any of 4 workers"),
        ("w", Exit.NOT_FOUND, "no worker has"),
        ("", Exit.NOT_FOUND, "no worker has"),
    ],
)
def test_a_name_that_is_nobodys_or_several_ones_is_refused(name: str, code: Exit, says: str) -> None:
    with pytest.raises(Ended) as refused:
        choose.by_name(FLEET, name)
    assert refused.value.code is code
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        ([], Filter(everything=True), ["w1", "w2", "w10", "w11"]),
        ([], Filter(model="llama"), ["w1", "w10", "w11"]),
        ([], Filter(state="drained"), ["w11"]),
        ([], Filter(state="draining"), ["w11"]),
        ([], Filter(state="cordoned"), ["w10"]),
        ([], Filter(state="routable", model="qwen"), ["w2"]),
        ([], Filter(labels=(("rack", "b1"),)), ["w1", "w11"]),
        (["w2", "w1", "w2"], Filter(), ["w2", "w1"]),
        (["w2", "w1"], Filter(model="llama"), ["w1"]),
    ],
)
def test_filters_narrow_what_was_named_and_names_keep_their_order(
    names: list[str], wanted: Filter, found: list[str]
) -> None:
    assert [one["name"] for one in choose.chosen(FLEET, names, wanted)] == found


def test_where_nobody_fits_that_is_not_found() -> None:
    for workers, wanted in ((FLEET, Filter(model="none")), ([], Filter(everything=True))):
        with pytest.raises(Ended) as refused:
            choose.chosen(workers, [], wanted)
        assert refused.value.code is Exit.NOT_FOUND


# --- tables ---

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Mn", "Me", "Cf"]), max_size=30)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=6), st.integers(30, 80))
def test_columns_stand_under_one_another_and_fit(rows: list[tuple[str, str, str]], width: int) -> None:
    lines = table(("*first", ">second", "*third"), rows, width)
    assert len(lines) == len(rows) + 1
    room = width if max((cell_len(row[1]) for row in rows), default=0) <= width - 20 - 2 * len(GAP) else 200
    assert max(map(cell_len, lines)) <= room
    whole = table(("*first", ">second", "*third"), rows)
    for line, row in zip(whole[1:], rows, strict=True):
        assert line.startswith(printable(row[0]).rstrip())


def test_numbers_end_under_their_title_and_control_characters_are_shown_not_sent() -> None:
    lines = table(("name", ">n", "why"), [("a\x1b[2J", "7", "x"), ("b", "1234", "y\nz")])
    assert [line.index(end) for line, end in zip(lines[1:], ("x", "y"), strict=True)] == [lines[0].index("why")] * 2
    assert "\x1b" not in "".join(lines)
    assert "\n" not in "".join(lines)


# --- words ---


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), ("7d", 604800)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert options.duration(text, "--timeout") == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-1s", "8d", "1e9", "5 m", "٣s"])
def test_what_is_no_time_is_refused_by_flag(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--timeout: given .*expected a time such as 90s, 5m or 1h30m"):
        options.duration(text, "--timeout")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["workers", "dra"], "workers: unknown command 'dra'; expected one of list, show, add"),
        (["workers", "list", "--odd"], "--odd: unknown flag"),
        (["workers", "show"], "WORKER"),
        (["events", "--most"], "--most: given no value"),
    ],
)
def test_wrong_words_are_named(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options.parsed(words)


@pytest.mark.parametrize("spelled", options.SPELLED, ids=lambda spelled: " ".join(spelled.words))
def test_every_command_has_help_and_all_its_options_have_values(spelled: options.Spelled) -> None:
    text = options.parsed([*spelled.words, "--help"])[2]
    assert text is not None
    assert spelled.about in text
    needed = {"show": ["w1"], "add": ["http://a:1"], "completion": ["bash"]}.get(spelled.words[-1], [])
    found, given_, nothing = options.parsed([*spelled.words, *needed])
    assert (found, nothing) == (spelled, None)
    assert all("SUPPRESS" not in str(value) for value in vars(given_).values())


def test_filters_and_labels_are_judged() -> None:
    _, given_, _ = options.parsed(["workers", "list", "--label", "a=b", "--label", "c=", "--state", "drained"])
    assert options.filter_of(given_) == Filter(state="drained", labels=(("a", "b"), ("c", "")))
    for words, says in ((["--label", "a"], "--label: given 'a'"), (["--state", "up"], "expected one of registering")):
        with pytest.raises(UsageError, match=says):
            options.filter_of(options.parsed(["workers", "list", *words])[1])


# --- waiting ---


@pytest.mark.parametrize(
    ("one", "wanted", "is_there", "vain"),
    [
        (worker("w1"), "ready", True, ""),
        (worker("w1"), "routable", True, ""),
        (worker("w1"), "healthy", True, ""),
        (worker("w1", state="registering"), "ready", False, ""),
        (worker("w1", state="failed", reason="no"), "ready", False, "w1 failed: no"),
        (worker("w1"), "drained", False, "w1 is not draining (any more): it is ready"),
        (draining("w1"), "drained", False, ""),
        (draining("w1", drained=True), "drained", True, ""),
        (draining("w1", left_s=-5), "drained", False, "w1 was not drained by its deadline: 3 in flight"),
        (draining("w1", left_s=-5, intent="remove"), "drained", False, ""),
        (draining("w1"), "gone", False, "w1 is held in its drain, it does not leave; remove it"),
        (draining("w1", intent="remove"), "gone", False, ""),
        (None, "gone", True, ""),
        (None, "ready", False, "it has left the list"),
    ],
)
def test_waiting_ends_when_it_is_so_or_can_never_be(one: Any, wanted: str, is_there: bool, vain: str) -> None:
    assert waiting.reached(one, wanted) is is_there
    if not is_there:
        assert waiting.in_vain(one, wanted, NOW) == vain


def test_progress_says_what_flies_and_what_time_is_left() -> None:
    assert waiting.progress(draining("w1", flying=12), NOW) == "w1 drains: 12 in flight, 1m00s left"
    assert waiting.progress(draining("w1", drained=True), NOW) == "w1 is drained"
    assert waiting.progress(worker("w1"), NOW) == "w1 is ready: serves llama"


def test_a_rolling_drain_sees_the_same_worker() -> None:
    seen = waiting.seen_of(draining("w1", left_s=-5), NOW)
    assert (seen.name, seen.serves) == ("w1", ("llama", Role.REGULAR))
    assert (seen.draining, seen.drained, seen.overdue, seen.leaving, seen.routable) == (True, False, True, False, False)


# --- completion ---


@pytest.mark.parametrize(
    ("words", "some", "names"),
    [
        ([], ["run", "workers"], False),
        (["workers"], ["list", "drain", "wait"], False),
        (["workers", "drain"], ["--max", "--wait", "--json", "--gateway"], True),
        (["events", "--worker"], ["--follow"], True),
        (["completion"], ["bash", "zsh", "fish"], False),
        (["nothing"], [], False),
    ],
)
def test_what_may_come_next(words: list[str], some: list[str], names: bool) -> None:
    found = completion.next_words(words, ("run", "workers"))
    assert set(some) <= set(found)
    assert completion.wants_workers(words) is names


@pytest.mark.parametrize("shell", options.SHELLS)
def test_each_shell_has_its_script(shell: str) -> None:
    text = completion.script(shell)
    assert "smg-console __complete" in text
    assert "{{" not in text


def test_another_shell_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of bash, zsh, fish"):
        completion.script("tcsh")
