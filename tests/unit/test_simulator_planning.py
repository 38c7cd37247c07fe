"""What of a request's JSON is understood, and how what is wrong is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.planning import (
    Bad,
    Prompt,
    Room,
    Sampling,
    chat_prompt,
    plan,
    prompts_of,
    sampling_of,
    stops_of,
    texts_of,
    wants_usage,
)

ROOM = Room(context_length=1000, kv_tokens=2000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_a_plan_has_a_job_a_choice_as_long_as_its_answer() -> None:
    planned = plan(Prompt.of_text("tell me " * 20), Sampling(max_tokens=30, choices=3), ROOM)
    assert [(each.job.prompt_tokens, each.job.answer_tokens, each.index) for each in planned] == [
        (40, 30, 0),
        (40, 30, 1),
        (40, 30, 2),
    ]
    assert len({each.answer.text for each in planned}) == 3


def test_an_answer_nobody_limits_ends_at_the_context_at_the_latest() -> None:
    [choice] = plan(Prompt.of_text("word " * 980), Sampling(), ROOM)
    assert (choice.job.answer_tokens, choice.answer.finish) == (20, "length")


@pytest.mark.parametrize(("tokens", "limit"), [(1000, None), (1500, None), (900, 101)])
def test_what_does_not_fit_the_context_is_refused_with_its_length(tokens: int, limit: int | None) -> None:
    with pytest.raises(Bad, match="maximum context length is 1000 tokens") as refused:
        plan(Prompt.of_text("word " * tokens), Sampling(limit), ROOM)
    assert (refused.value.status, refused.value.code) == (400, "context_length_exceeded")


def test_what_could_never_fit_the_kv_pool_is_refused() -> None:
    with pytest.raises(Bad, match="needs 150 tokens of KV cache, this engine has 100"):
        plan(Prompt.of_text("word " * 100), Sampling(50), Room(1000, 100))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: given 0, expected a whole number from 1 to 1073741824"),
        ({"max_tokens": "9"}, "max_tokens: given '9', expected a whole number"),
        ({"max_tokens": True}, "max_tokens: given True"),
        ({"n": 65}, "n: given 65, expected a whole number from 1 to 64"),
        ({"temperature": 3}, "temperature: given 3, expected a number from 0 to 2"),
        ({"stop": [1]}, r"stop: given \[1\], expected a string or a list"),
        ({"ignore_eos": 1}, "ignore_eos: given 1, expected true or false"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_given_and_what_is_accepted(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(Bad, match=f"^{message}"):
        sampling_of(body, "max_tokens")


def test_the_first_name_of_the_limit_wins() -> None:
    assert (
        sampling_of({"max_tokens": 5, "max_completion_tokens": 7}, "max_completion_tokens", "max_tokens").max_tokens
        == 7
    )
    assert sampling_of({}, "max_tokens", default_limit=16) == Sampling(16)
    assert sampling_of({"stop": "x", "n": 2}, "max_tokens") == Sampling(None, ("x",), 2)


def test_messages_become_one_prompt() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None},
    ]
    assert chat_prompt(messages) == "<system> Be short.\n<user> Look: [image_url]\n<assistant> "


@pytest.mark.parametrize(
    ("messages", "name"),
    [
        (None, "messages"),
        ([], "messages"),
        (["x"], r"messages\[0\]"),
        ([{"role": "user", "content": "x"}, {"content": "x"}], r"messages\[1\].role"),
        ([{"role": "user", "content": 5}], r"messages\[0\].content"),
    ],
)
def test_what_is_no_message_is_named(messages: object, name: str) -> None:
    with pytest.raises(Bad, match=f"^{name}: given"):
        chat_prompt(messages)


def test_prompts_are_texts_or_token_ids_one_or_many() -> None:
    assert [each.text for each in prompts_of("a b", "prompt")] == ["a b"]
    assert [each.text for each in prompts_of(["a", "b"], "prompt")] == ["a", "b"]
    assert [each.tokens for each in prompts_of([1, 2], "prompt")] == [["1", "2"]]
    assert [each.tokens for each in prompts_of([[1], [2, 3]], "prompt")] == [["1"], ["2", "3"]]


@given(JSON)
def test_any_json_is_understood_or_refused_and_never_breaks_anything(value: Any) -> None:
    body = {"stop": value, "n": value, "max_tokens": value, "stream_options": value, "input": value}
    for check in (
        lambda: sampling_of(body, "max_tokens"),
        lambda: stops_of(body, "stop"),
        lambda: wants_usage(body),
        lambda: texts_of(body, "input"),
        lambda: prompts_of(value, "prompt"),
        lambda: chat_prompt(value),
    ):
        refused: Bad | None = None
        try:
            check()
        except Bad as bad:
            refused = bad
        assert refused is None or (refused.param is not None and "expected" in str(refused))
