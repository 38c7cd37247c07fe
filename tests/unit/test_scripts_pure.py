"""The parts of the commands that decide: which workers are meant, tables, times, waiting, findings, completion."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gateway.settings.flags import UsageError
from gateway.workers.model import Role
from smg_console.present.runs import printable
from smg_console.scripts import choose, completion, doctor, options, waiting
from smg_console.scripts.choose import Filter
from smg_console.scripts.doctor import Level
from smg_console.scripts.exits import Ended, Exit
from smg_console.scripts.table import GAP, table

NOW = 1_790_000_000.0
STAMP = "2026-09-21T14:13:20.000+00:00"


def worker(name: str, **changes: Any) -> dict[str, Any]:
    number = int(name.removeprefix("w"))
    made: dict[str, Any] = {
        "id": f"0198{number:04}-7a10-7b3c-8d5e-0f1a2b3c4d5e",
        "name": name,
        "url": f"http://10.0.0.{number}:8000",
        "model_id": "llama",
        "models": [],
        "worker_type": "regular",
        "labels": {"rack": f"b{number % 2}"},
        "state": "ready",
        "since": STAMP,
        "reason": "serves llama",
        "cordoned": False,
        "routable": True,
        "because": "",
        "in_flight": 0,
        "drain": None,
        "ejected": None,
        "overloaded": False,
        "circuit_breaker": {"state": "closed"},
        "health_status": {"status": "healthy", "last_error": None},
    }
    return {**copy.deepcopy(made), **changes}


def draining(name: str, *, drained: bool = False, intent: str = "hold", left_s: float = 60, flying: int = 3) -> Any:
    deadline = f"2026-09-21T14:{13 + int((20 + left_s) // 60):02}:{int((20 + left_s) % 60):02}.000+00:00"
    drain = {"intent": intent, "since": STAMP, "deadline": deadline, "drained": drained, "in_flight": flying}
    return worker(name, state="draining", routable=False, drain=drain, in_flight=flying)


FLEET = [
    worker("w1"),
    worker("w2", model_id="qwen"),
    worker("w10", cordoned=True, routable=False),
    draining("w11", drained=True),
]


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


# --- findings ---


def whats(found: list[doctor.Finding], level: Level) -> list[str]:
    return [one.what for one in found if one.level is level]


def test_a_fleet_that_is_well_is_one_line() -> None:
    found = doctor.of_workers([worker("w1"), worker("w2")], NOW)
    assert [(one.level, one.what) for one in found] == [(Level.OK, "2 of 2 workers take requests")]


def test_each_trouble_is_named_with_what_to_do() -> None:
    sick = {
        "unhealthy": worker("w1", state="unhealthy", routable=False, health_status={"last_error": "refused"}),
        "failed": worker("w2", state="failed", routable=False, reason="not up within 1800 s"),
        "cordoned": worker("w3", cordoned=True, routable=False),
        "overdue": draining("w4", left_s=-5),
        "breaker": worker("w5", circuit_breaker={"state": "open", "reason": "it answered 500"}, routable=False),
        "ejected": worker("w6", ejected="reset", routable=False),
    }
    found = doctor.of_workers(list(sick.values()), NOW)
    bad = whats(found, Level.BAD)
    assert bad[0] == "llama: none of 6 workers takes requests"
    assert "w1 is unhealthy: refused" in bad
    assert "w2 did not come up: not up within 1800 s" in bad
    assert "w5 has its circuit breaker open: it answered 500" in bad
    assert "w6 is ejected: reset" in bad
    warned = whats(found, Level.WARNING)
    assert "w3 is cordoned" in warned
    assert "w4 drains beyond its deadline: 3 in flight" in warned
    assert all(one.advice for one in found if one.level is Level.BAD)


def test_no_worker_at_all_is_bad() -> None:
    assert whats(doctor.of_workers([], NOW), Level.BAD) == ["no worker is listed"]


def test_discovery_tokenizers_and_settings() -> None:
    assert doctor.of_discovery({"enabled": False}) == []
    blind = {"enabled": True, "blind_since": "10:00", "blind_why": "refused", "skipped": {"a": "b"}}
    assert whats(doctor.of_discovery(blind), Level.BAD) == ["discovery is blind since 10:00: refused"]
    missing = {"name": "m", "status": "failed", "message": "could not be loaded: x", "users": ["w1"]}
    assert whats(doctor.of_tokenizers([missing]), Level.BAD) == ["the tokenizer of m could not be loaded: x"]
    assert whats(doctor.of_tokenizers([{**missing, "users": []}]), Level.BAD) == []
    assert doctor.of_settings([{"name": "disable_health_check", "value": True}])[0].level is Level.WARNING
    assert doctor.of_settings([]) == []


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
