"""The filter language: what words mean, what is refused and how it is said, and what completes a word."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.workers.model import Role
from smg_console.plane import WorkerRow
from smg_console.present import query
from smg_console.present.fields import FIELDS, NumberField, TextField, Unit, number
from smg_console.present.query import FilterError, completions, parsed, split, with_state, without_faults
from tests.console.fleet import START, busy_fleet

NOW = START + 95


def rows() -> list[WorkerRow]:
    """The eight workers, of which w1 has labels and w4 is a prefill worker."""
    found = list(busy_fleet().plane.rows())

    def with_spec(n: int, **changes: object) -> None:
        worker = found[n].worker
        found[n] = replace(found[n], worker=replace(worker, spec=replace(worker.spec, **changes)))  # type: ignore[arg-type]

    with_spec(0, labels={"rack": "b7", "tier": "gold fast", "policy": "Least_Load"})
    with_spec(2, labels={"rack": "b70"})
    with_spec(3, role=Role.PREFILL, priority=90)
    return found


ROWS = rows()


def fitting(text: str) -> str:
    found = parsed(text)
    return " ".join(row.worker.name for row in ROWS if found.fits(row, NOW))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "w1 w2 w3 w4 w5 w6 w7 w8"),
        ("  ", "w1 w2 w3 w4 w5 w6 w7 w8"),
        ("state:ready", "w1 w3 w4 w6"),
        ("state:READY,failed", "w1 w3 w4 w6 w8"),
        ("state:un", "w2"),
        ("state:cordoned", "w3"),
        ("-state:ready -state:draining", "w2 w7 w8"),
        ("health:healthy", "w1 w3 w4 w5 w6"),
        ("model:qwen state:ready", "w1 w3"),
        ("model:llama*", "w2 w4 w6 w7"),
        ("model==llama", ""),
        ("model==llama-3.1-8b -state:un", "w4 w6 w7"),
        ("name:w1", "w1"),
        ("name:10.1.0.7", "w7"),
        ("10.1.0.7:8000", "w7"),
        ("http://10.1.0.7", "w7"),
        ("role:prefill", "w4"),
        ("role=reg -model:llama", "w1 w3 w5 w8"),
        ("label:rack", "w1 w3"),
        ("label:rack=b7", "w1 w3"),
        ("label:rack==b7", "w1"),
        ("label==rack=b7", "w1"),
        ("label:rack=*0", "w3"),
        ("rack=b70", "w3"),
        ('label:tier="gold fast"', "w1"),
        ('"gold fast"', "w1"),
        ('-"gold fast" rack=b', "w3"),
        ("policy:least", "w1"),
        ("why:swapped", "w3"),
        ("engine:vllm,sglang w6", "w6"),
        ("inflight>=4", "w2 w4"),
        ("inflight:2", "w1"),
        ("inflight!=3 state:ready", "w1 w3 w4"),
        ("p99>4000", "w3 w4 w5 w6"),
        ("p99>4s p99<=5.4s", "w3 w4"),
        ("p99:>4s", "w3 w4 w5 w6"),
        ("-p99>0", "w7 w8"),
        ("err>3%", "w2 w5"),
        ("err>3", "w2 w5"),
        ("kv>=50%", "w4 w5 w6"),
        ("queue>0.001k", "w2 w4 w5 w6"),
        ("priority>50", "w4"),
        ("age>1m", "w1 w2 w3 w4 w5 w6"),
        ("since<=90s", "w2 w5 w7 w8"),
        ("[/", ""),
        ("state:ready ca*", ""),
    ],
)
def test_a_filter_takes_all_its_words(text: str, names: str) -> None:
    assert fitting(text) == names


@pytest.mark.parametrize(
    ("text", "word", "accepted"),
    [
        ("w1 p99>fast", "p99>fast", "given fast, expected a time such as 500 (ms), 500ms, 2s or 1m, as in p99>500"),
        ("p99>", "p99>", "p99 of what? Expected a time"),
        ("kv>9m", "kv>9m", "expected a share such as 5%"),
        ("inflight>5s", "inflight>5s", "expected a number such as 10 or 12k"),
        ("age>5x", "age>5x", "expected a time such as 90 (s), 5m, 2h or 1d"),
        ("stat:ready", "stat:ready", "there is no field stat; did you mean state?"),
        ("-modle=x", "-modle=x", "did you mean model?"),
        ("localhost:8000", "localhost:8000", 'as text: "localhost:8000"'),
        ("state:", "state:", "expected one of ready, registering"),
        ("state>ready", "state>ready", "state is text"),
        ("model:a,,b", "model:a,,b", "nothing between two commas"),
        ('model:"a b', 'model:"a b', "is not closed"),
        ("w1 -", "-", "expected a word, or field:value"),
    ],
)
def test_what_is_no_filter_names_the_word_and_what_is_accepted(text: str, word: str, accepted: str) -> None:
    with pytest.raises(FilterError) as caught:
        parsed(text)
    assert caught.value.word == word
    assert accepted.lower() in str(caught.value).lower()


words = st.text(st.sampled_from('abw1 :=<>!,*"-[?.p9\t'), max_size=25)


@given(words)
def test_any_text_is_a_filter_or_an_error_that_names_a_word_of_it(text: str) -> None:
    try:
        found = parsed(text)
    except FilterError as error:
        wrong = error.word
    else:
        assert all(found.fits(row, NOW) in (True, False) for row in ROWS)
        assert parsed(found.text) == found
        return
    assert wrong
    assert wrong in text


@given(words)
def test_a_word_turned_round_fits_exactly_those_it_did_not(text: str) -> None:
    try:
        (word,) = split(text)
        one = parsed(word.raw)
        other = parsed(f"-{word.raw}")
    except (FilterError, ValueError):
        return
    if not word.raw.startswith("-"):
        assert all(one.fits(row, NOW) != other.fits(row, NOW) for row in ROWS)


@given(st.sampled_from([name for name, field in FIELDS.items() if isinstance(field, NumberField)]), st.floats(0, 1e6))
def test_more_less_and_equal_share_out_all_that_have_the_number(name: str, value: float) -> None:
    text = f"{value:.3f}"
    parts = [fitting(f"{name}{operator}{text}").split() for operator in ("<", ">", "=")]
    field = FIELDS[name]
    assert isinstance(field, NumberField)
    known = [row.worker.name for row in ROWS if field.of(row, NOW) is not None]
    assert sorted(one for part in parts for one in part) == sorted(known)


@given(st.text(st.characters(exclude_characters='"'), min_size=1, max_size=12))
def test_what_is_quoted_is_looked_for_as_it_stands(text: str) -> None:
    found = split(f'"{text}"')
    assert [word.text for word in found] == [text]
    parsed(f'"{text}"')


@pytest.mark.parametrize(
    ("typed", "unit", "value"),
    [
        ("500", Unit.MILLISECONDS, 0.5),
        ("1.5s", Unit.MILLISECONDS, 1.5),
        ("2m", Unit.MILLISECONDS, 120.0),
        ("2m", Unit.COUNT, 2e6),
        ("2d", Unit.SECONDS, 172800.0),
        ("5%", Unit.PERCENT, 0.05),
        ("1e3", Unit.COUNT, None),
        ("-1", Unit.COUNT, None),
        ("٣", Unit.COUNT, None),
    ],
)
def test_numbers_are_typed_with_the_units_of_their_field(typed: str, unit: Unit, value: float | None) -> None:
    assert number(typed, unit) == (pytest.approx(value) if value is not None else None)


@pytest.mark.parametrize(
    ("typed", "candidates"),
    [
        ("mo", ["model:"]),
        ("w1 -ro", ["w1 -role:"]),
        ("p9", ["p95>", "p99>"]),
        ("state:re", ["state:ready", "state:registering"]),
        ("state:ready,dr", ["state:ready,draining", "state:ready,drained"]),
        ("model:l", ["model:llama-3.1-8b"]),
        ("label:t", ['label:"tier=gold fast"']),
        ("model:llama-3.1-8b", []),
        ("zz", []),
        ("", []),
        ('"mo', []),
    ],
)
def test_tab_completes_fields_and_what_there_is_of_them(typed: str, candidates: list[str]) -> None:
    assert completions(typed, ROWS) == candidates


def test_every_completion_of_a_value_is_a_filter_that_fits_somebody() -> None:
    for name in (name for name, field in FIELDS.items() if isinstance(field, TextField) and not field.choices):
        for value in ("", *"abcdefghijklmnopqrstuvwxyz"):
            for text in completions(f"{name}:{value}", ROWS):
                assert fitting(text), text


@pytest.mark.parametrize(
    ("text", "state", "after"),
    [
        ("", "failed", "state:failed"),
        ("model:x state:ready w1", "failed", "model:x w1 state:failed"),
        ("model:x state:ready", None, "model:x"),
        ("-state:ready", "ready", "-state:ready state:ready"),
        ('"open', "ready", "state:ready"),
    ],
)
def test_choosing_a_state_replaces_the_one_that_was_asked_for(text: str, state: str | None, after: str) -> None:
    assert with_state(text, state) == after


def test_the_module_s_own_example_is_a_filter() -> None:
    assert query.__doc__ is not None
    parsed(query.__doc__.split("`")[1])


SOUND = ("llama", "p99>500", "state:ready", "a-b", '"two words"')
FAULTY = ("p99>fast", "kv>x", "no:such", "-", '"open')


@given(st.lists(st.sampled_from(SOUND + FAULTY)))
def test_a_text_without_its_faults_is_understood_and_keeps_all_else(words: list[str]) -> None:
    good = [word for word in words if word in SOUND]
    if '"open' in words:  # it reaches to the end, or to the next quote
        parsed(without_faults(" ".join(words)))
    else:
        assert without_faults(" ".join(words)) == " ".join(good)
