"""Answers are a function of the prompt."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.prefix_cache import BLOCK
from gateway.simulator.text import NATURAL_MAX, NATURAL_MIN, answer, blocks_of, tokens_of


@given(st.text(max_size=50), st.integers(1, 500))
def test_a_limited_answer_is_the_beginning_of_the_unlimited_one(prompt: str, limit: int) -> None:
    whole, limited = answer(prompt), answer(prompt, limit)
    assert NATURAL_MIN <= len(whole.pieces) <= NATURAL_MAX
    assert whole.finish == "stop"
    assert limited.pieces == whole.pieces[:limit]
    assert limited.finish == ("length" if limit < len(whole.pieces) else "stop")


def test_every_process_gives_the_same_answer() -> None:
    program = "from gateway.simulator.text import answer; print(answer('Why?', 40).text)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert said.stdout.strip() == answer("Why?", 40).text


def test_prompts_and_choices_differ() -> None:
    said = {answer("a", 20).text, answer("b", 20).text, answer("a", 20, index=1).text}
    assert len(said) == 3


def test_ignoring_the_end_makes_an_answer_exactly_as_long_as_its_limit() -> None:
    said = answer("a", 1000, ignore_eos=True)
    assert (len(said.pieces), said.finish) == (1000, "length")


@given(st.text(max_size=20), st.lists(st.sampled_from(["the", " a", "e", ". ", "worker", "zzz", ""]), max_size=3))
def test_an_answer_ends_before_the_stop_string_that_is_complete_first(prompt: str, stops: list[str]) -> None:
    free, cut = answer(prompt), answer(prompt, stops=stops)
    ends = {stop: free.text.find(stop) + len(stop) for stop in stops if stop and stop in free.text}
    if not ends:
        assert cut == free
        return
    assert cut.matched in ends
    assert ends[cut.matched] == min(ends.values())
    assert cut.text == free.text[: free.text.find(cut.matched)]
    assert cut.finish == "stop"
    # The tokens that spelt the stop string were generated too.
    assert len("".join(free.pieces[: len(cut.pieces)])) >= min(ends.values())
    assert len("".join(free.pieces[: len(cut.pieces) - 1])) < min(ends.values())


@pytest.mark.parametrize(("text", "count"), [("", 0), ("one two", 2), ("x" * 20, 3), ("  a\n\tb ", 2)])
def test_tokens_are_words_and_long_words_are_several(text: str, count: int) -> None:
    assert len(tokens_of(text)) == count


def test_prompts_share_the_keys_of_the_blocks_before_their_first_difference() -> None:
    common = [str(number) for number in range(3 * BLOCK)]
    one, two = blocks_of([*common, *["x"] * 20]), blocks_of([*common, *["y"] * 20])
    assert (len(one), one[:3] == two[:3], one[3] == two[3]) == (4, True, False)
    assert blocks_of(common[1:])[0] != one[0]
