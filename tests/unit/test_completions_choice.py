"""Ids to a choice's text: the same whatever pieces they came in, cut exactly at stop strings, no half characters."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.completions.choice import Choice
from gateway.engines.generation import Finish, Piece, Sampling
from tests.unit.completions_world import END, decoded, encoded, end_id, pieces_of, tokenizer

WORDS = [
    "the",
    " stop",
    " of a",
    " word",
    ",",
    "\n",
    "  more",
    " déjà",
    " vu",
    " 🚰",
    "👩‍👩‍👧",
    " 人人生而",
    "自由",
    " é",
    "s",
    "<|im_end|>",
]
TEXTS = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=20).map("".join)
CUTS = st.lists(st.integers(0, 200), max_size=12)
LENGTH = Finish("length")


def said_by(pieces: list[Piece], sampling: Sampling, family: str = "qwen") -> tuple[str, Choice]:
    choice = Choice(0, 0, tokenizer(family), sampling)
    return "".join(choice.take(piece).text for piece in pieces), choice


@pytest.mark.parametrize("family", ["qwen", "llama3", "llama2", "unigram"])
@settings(max_examples=60)
@given(text=TEXTS, cuts=CUTS, apart=st.booleans())
def test_the_text_is_that_of_the_ids_however_they_come(family: str, text: str, cuts: list[int], *, apart: bool) -> None:
    ids = [token for token in encoded(text, family) if token != end_id(family)]
    said, choice = said_by(pieces_of(ids, cuts, LENGTH, apart=apart), Sampling(), family)
    assert said == decoded(ids, family) == choice.said
    assert (choice.tokens, choice.ids, choice.finish) == (len(ids), ids, LENGTH)
    assert [each.token_id for each in choice.logprobs] == ids


@given(before=TEXTS, after=TEXTS, others=st.lists(TEXTS.filter(bool), max_size=3), cuts=CUTS, keep=st.booleans())
def test_a_stop_string_ends_the_text_before_its_first_character(
    before: str, after: str, others: list[str], cuts: list[int], *, keep: bool
) -> None:
    stop = "stop 🚰人"
    ids = [token for token in encoded(before + stop + after) if token != end_id()]
    text = decoded(ids)
    stops = (*others, stop)
    end, back, found = min((at + len(each), -len(each), each) for each in stops if (at := text.find(each)) >= 0)
    sampling = Sampling(stop=stops, no_stop_trim=keep)
    said, choice = said_by(pieces_of(ids, cuts, LENGTH, apart=True), sampling)
    assert said == text[: end if keep else end + back] == choice.said
    assert choice.finish == Finish("stop", found)
    decoder = tokenizer().decoder()
    lengths = [len("".join([decoder.push((token,)) for token in ids[at : at + 1]])) for at in range(len(ids))]
    assert choice.tokens == next(at + 1 for at in range(len(ids)) if sum(lengths[: at + 1]) >= end)
    assert choice.ids == ids[: choice.tokens] == [each.token_id for each in choice.logprobs]


@given(text=TEXTS, cuts=CUTS, stops=st.lists(TEXTS.filter(bool), max_size=2))
def test_no_part_of_a_character_and_none_of_a_stop_string_goes_out_early(
    text: str, cuts: list[int], stops: list[str]
) -> None:
    ids = [token for token in encoded(text) if token != end_id()]
    choice = Choice(0, 0, tokenizer(), Sampling(stop=tuple(stops)))
    whole = decoded(ids)
    said = ""
    for piece in pieces_of(ids, cuts, LENGTH, apart=True):
        said += choice.take(piece).text
        assert whole.startswith(said)
        assert not any(stop in said for stop in stops)
    assert said.count("\N{REPLACEMENT CHARACTER}") <= whole.count("\N{REPLACEMENT CHARACTER}")


@given(text=st.text("gin o", max_size=30))
def test_no_more_is_held_back_than_may_become_a_stop_string(text: str) -> None:
    stops = ("ing", "gone ")
    choice = Choice(0, 0, tokenizer(), Sampling(stop=stops))
    said = came = ""
    for token in encoded(text):
        said += choice.take(Piece(0, (token,))).text
        if choice.finish is not None:
            return
        came += decoded([token])
        ends = [came[-length:] for length in range(1, 5) if length <= len(came)]
        hopeful = [len(end) for end in ends if any(stop.startswith(end) and stop != end for stop in stops)]
        assert len(came) - len(said) == max(hopeful, default=0)


@pytest.mark.parametrize("apart", [False, True])
def test_the_stop_token_counts_and_is_not_said(*, apart: bool) -> None:
    ids = [*encoded("Enough."), end_id()]
    for sampling in (Sampling(), Sampling(skip_special_tokens=False)):
        said, choice = said_by(pieces_of(ids, [2, len(ids)], Finish("stop"), apart=apart), sampling)
        assert (said, choice.tokens) == ("Enough.", len(ids))
    kept = Sampling(skip_special_tokens=False, no_stop_trim=True)
    assert said_by(pieces_of(ids, [1], Finish("stop"), apart=apart), kept)[0] == "Enough." + END["qwen"]


@pytest.mark.parametrize("apart", [False, True])
def test_an_ordinary_token_that_stops_the_engine_is_not_said_and_elsewhere_is(*, apart: bool) -> None:
    ids = encoded("one two two one")
    stop = ids[-1]
    sampling = Sampling(stop_token_ids=(stop,))
    said, choice = said_by(pieces_of(ids, [1, 2, 3], Finish("stop", stop), apart=apart), sampling)
    assert (said, choice.tokens) == (decoded(ids[:-1]), len(ids))
    said, _ = said_by(pieces_of(ids, [1], LENGTH, apart=apart), sampling)
    assert said == "one two two one"


def test_what_comes_after_the_end_is_nobodys() -> None:
    choice = Choice(0, 0, tokenizer(), Sampling(stop=("b",)))
    assert choice.take(Piece(0, tuple(encoded("a b c")))).text == "a "
    assert choice.take(Piece(0, tuple(encoded("d")), finish=LENGTH)).text == ""
    assert (choice.said, choice.finish) == ("a ", Finish("stop", "b"))


def test_the_beginning_of_a_character_that_never_ends_is_left_out() -> None:
    ids = encoded("ok 🚰")
    whole = decoded(ids[:-1])
    said, _ = said_by(pieces_of(ids[:-1], list(range(len(ids))), LENGTH, apart=True), Sampling())
    assert said == whole.rstrip("\N{REPLACEMENT CHARACTER}")
