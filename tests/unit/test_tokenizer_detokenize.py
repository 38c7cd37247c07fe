"""Ids become text as they come: whole characters only, and together exactly what decoding all of them gives."""

import time
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.tokenizers.detokenize import Detokenizing
from gateway.tokenizers.engine import Engine, engine_of
from gateway.tokenizers.stops import StopStrings
from tests.unit import tokenizer_families as families

NAMES = [*families.TRAINED, *families.installed()]
BYTE_LEVEL = [name for name in NAMES if name in ("llama3", "qwen", "deepseek", "real-qwen")]


def engine(name: str) -> Engine:
    data = families.trained(name) if name in families.TRAINED else families.published(name)
    return engine_of(data, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skip_special", [True, False])
def test_the_parts_joined_are_the_whole_decoded(name: str, skip_special: bool) -> None:
    made, rng = engine(name), Random(name)
    detokenizing = Detokenizing(made)
    specials = [special.content for special in made.anatomy.specials][:20]
    for _ in range(1500):
        text = families.prompt(rng, specials)
        if "\N{REPLACEMENT CHARACTER}" in text:
            continue
        ids = list(made.encode(text))
        whole = made.decode(ids, skip_special=skip_special)
        stream = detokenizing.stream(skip_special=skip_special)
        parts, at = [], 0
        while at < len(ids):
            size = rng.choice((1, 1, 1, 2, 5))
            parts.append(stream.push(ids[at : at + size]))
            at += size
        assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
        assert "".join(parts) == whole
        assert not stream.pending
        assert stream.finish() == ""


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_ids_that_make_no_text_give_what_the_library_gives_less_an_unfinished_end(name: str) -> None:
    made, rng = engine(name), Random(name)
    detokenizing = Detokenizing(made)
    low = [number for number in range(300) if number not in made.special_ids]
    for _ in range(1000):
        ids = [rng.choice(low) if rng.random() < 0.7 else rng.randrange(made.vocab_size + 50) for _ in range(30)]
        stream = detokenizing.stream()
        text = "".join(stream.push([number]) for number in ids)
        whole = made.decode(ids)
        unfinished = len(whole) - len(text)
        assert whole == text + "\N{REPLACEMENT CHARACTER}" * unfinished
        assert (unfinished > 0) is stream.pending


@pytest.mark.parametrize("name", NAMES)
def test_ids_that_make_no_text_never_break_a_stream(name: str) -> None:
    made, rng = engine(name), Random(name)
    detokenizing = Detokenizing(made)
    for _ in range(300):
        ids = [rng.randrange(made.vocab_size + 50) for _ in range(40)]
        text = "".join(detokenizing.stream().push([number]) for number in ids)
        assert isinstance(text, str)


def test_a_run_of_broken_bytes_does_not_hold_back_what_follows() -> None:
    made = engine("mistral")
    broken = made.tokenizer.token_to_id("<0xFF>")
    word = list(made.encode("Hello world"))
    stream = Detokenizing(made).stream()
    text = "".join(stream.push([number]) for number in [broken] * 1000 + word)
    assert text.endswith("Hello world")
    assert len(text) <= 1020


@pytest.mark.parametrize("name", ["qwen", "mistral", "llama2"])
def test_an_answer_cut_inside_a_character_ends_before_it(name: str) -> None:
    made = engine(name)
    ids = list(made.encode("x \U0001f9ff"))
    stream = Detokenizing(made).stream()
    text = "".join(stream.push([number]) for number in ids[:-1])
    assert text.strip() == "x"
    assert stream.pending
    assert stream.finish() == ""


def test_a_word_after_the_prompt_keeps_its_space_when_the_prompt_is_known() -> None:
    made = engine("mistral")
    prompt, answer = list(made.encode("The quick")), list(made.encode("x world"))[1:]
    whole = made.decode([*prompt, *answer])
    assert whole == "The quick world"
    detokenizing = Detokenizing(made)
    assert detokenizing.stream(context=prompt).push(answer) == " world"
    assert detokenizing.stream().push(answer) == made.decode(answer) == "world"


@pytest.mark.parametrize("name", ["qwen", "mistral", "unigram", "wordpiece"])
def test_a_token_costs_the_same_at_the_end_of_a_long_answer_as_at_its_beginning(name: str) -> None:
    made = engine(name)
    ids = list(made.encode("\n".join(families.natural()[:300])))[:20_000]
    stream = Detokenizing(made).stream()
    first = _best_cost(stream, ids[:1000])
    for _ in range(10):
        stream.push(ids)
    assert _best_cost(stream, ids[:1000]) < 5 * first


def _best_cost(stream: object, ids: list[int]) -> float:
    costs = []
    for _ in range(5):
        began = time.perf_counter()
        for number in ids:
            stream.push([number])  # type: ignore[attr-defined]  # any detokenizer
        costs.append(time.perf_counter() - began)
    return min(costs)


ALPHABET = st.text("abcあ", max_size=30)
STOPS = st.lists(st.text("abcあ", min_size=1, max_size=4), min_size=1, max_size=4)


def cut(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Where the text ends, told one prefix after the other."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(ALPHABET, STOPS, st.lists(st.integers(1, 5), min_size=1))
@example("aab", ["ab", "b", "aab"], [1])
def test_a_text_is_cut_at_the_same_place_however_it_comes(text: str, stops: list[str], sizes: list[int]) -> None:
    watching = StopStrings(stops)
    sent, at, turn = "", 0, 0
    expected, stop = cut(text, stops)
    while at < len(text):
        size = sizes[turn % len(sizes)]
        sent += watching.feed(text[at : at + size]).text
        assert expected.startswith(sent)  # nothing is sent that would have to be taken back
        at, turn = at + size, turn + 1
    assert (sent + watching.finish(), watching.found) == (expected, stop)


def test_text_is_held_back_only_while_it_may_become_a_stop_string() -> None:
    watching = StopStrings(["</end>"])
    assert [watching.feed(part).text for part in ("Hi <", "/e", "x </", "end", "> more", "after")] == [
        "Hi ",
        "",
        "</ex ",
        "",
        "",
        "",
    ]
    assert watching.found == "</end>"
    assert watching.finish() == ""


def test_a_stop_string_is_sent_when_it_is_asked_for() -> None:
    assert StopStrings(["END"], include=True).feed("a END b").text == "a END"


def test_without_stop_strings_nothing_is_held_back() -> None:
    watching = StopStrings(["", ""])
    assert watching.feed("anything").text == "anything"
    assert watching.finish() == ""
