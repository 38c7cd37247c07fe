"""What requests ask for: every parameter reaches the engine, and what is wrong is refused by name."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.completions.asked import Form, asked
from gateway.completions.prompts import ContextExceeded, prompts_for
from gateway.engines.generation import Constraint, ConstraintKind, Sampling
from gateway.errors import BadRequest
from tests.unit.completions_world import encoded, tokenizer

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "m", "prompt": "hi"}


def chat(**change: Any) -> Any:
    return asked(b"/v1/chat/completions", json.dumps({**CHAT, **change}).encode())


def text(**change: Any) -> Any:
    return asked(b"/v1/completions", json.dumps({**TEXT, **change}).encode())


def native(**body: Any) -> Any:
    return asked(b"/generate", json.dumps(body).encode())


FULL = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "frequency_penalty": -1,
    "presence_penalty": 2,
    "repetition_penalty": 1.1,
    "stop": ["a", "b"],
    "stop_token_ids": [7],
    "ignore_eos": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "n": 3,
}
WANTED = Sampling(
    max_new_tokens=9,
    min_new_tokens=2,
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    min_p=0.1,
    frequency_penalty=-1,
    presence_penalty=2,
    repetition_penalty=1.1,
    stop=("a", "b"),
    stop_token_ids=(7,),
    ignore_eos=True,
    skip_special_tokens=False,
    spaces_between_special_tokens=False,
    no_stop_trim=True,
    n=3,
    seed=11,
    logit_bias={5: -3.0},
)


def test_every_sampling_parameter_is_carried() -> None:
    more = {"min_tokens": 2, "include_stop_str_in_output": True, "seed": 11, "logit_bias": {"5": -3}}
    assert chat(**FULL, **more, max_tokens=9).sampling == WANTED
    assert text(**FULL, **more, max_tokens=9).sampling == WANTED
    own = {"max_new_tokens": 9, "min_new_tokens": 2, "no_stop_trim": True, "seed": 11, "logit_bias": {"5": -3}}
    assert native(text="x", sampling_params={**FULL, **own}).sampling == WANTED


def test_limits_have_their_defaults() -> None:
    assert chat().sampling == Sampling()
    assert chat(max_tokens=5, max_completion_tokens=6).sampling.max_new_tokens == 6
    assert text().sampling.max_new_tokens == 16
    assert native(text="x").sampling.max_new_tokens == 128


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint(ConstraintKind.JSON_OBJECT)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}},
            Constraint(ConstraintKind.JSON_SCHEMA, '{"type":"array"}'),
        ),
        ({"regex": "a+"}, Constraint(ConstraintKind.REGEX, "a+")),
        ({"ebnf": "root ::= x"}, Constraint(ConstraintKind.EBNF, "root ::= x")),
        ({"guided_choice": ["a", "b"]}, Constraint(ConstraintKind.CHOICE, choices=("a", "b"))),
        ({"guided_json": '{"a": 1}'}, Constraint(ConstraintKind.JSON_SCHEMA, '{"a": 1}')),
        ({"structured_outputs": {"regex": "b"}}, Constraint(ConstraintKind.REGEX, "b")),
        ({"structured_outputs": {"json_object": True}}, Constraint(ConstraintKind.JSON_OBJECT)),
    ],
)
def test_constraints_come_under_many_names(change: dict[str, Any], constraint: Constraint | None) -> None:
    assert chat(**change).sampling.constraint == constraint


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 200}}, "logit_bias.1"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"regex": "a", "ebnf": "b"}, "regex"),
        ({"guided_json": "{"}, "guided_json"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"chat_template": "x"}, "chat_template"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"best_of": 3}, "best_of"),
        ({"lora_path": "x"}, "lora_path"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    ],
)
def test_a_bad_chat_is_refused_by_the_name_of_what_is_wrong(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**change)
    assert caught.value.field == field
    assert caught.value.message.startswith(field.split(".")[0])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": "a", "input_ids": [1]}, "text"),
        ({"text": []}, "text"),
        ({"input_ids": [1, [2]]}, "input_ids"),
        ({"input_ids": [[]]}, "input_ids[0]"),
        ({"input_ids": [-1]}, "input_ids"),
        ({"text": "a", "sampling_params": {"max_new_tokens": 0}}, "sampling_params.max_new_tokens"),
        ({"text": "a", "sampling_params": {"temperature": -9}}, "sampling_params.temperature"),
        ({"text": "a", "sampling_params": [{}]}, "sampling_params"),
        ({"text": "a", "image_data": "x"}, "image_data"),
        ({"text": "a", "sampling_params": {"stop_regex": "x"}}, "sampling_params.stop_regex"),
    ],
)
def test_a_bad_native_request_is_refused_by_the_name_of_what_is_wrong(body: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        native(**body)
    assert caught.value.field == field


def test_what_is_not_json_is_refused() -> None:
    for body in (b"{", b"[]", b'"x"', b"\xff", b'{"a":' * 5000):
        with pytest.raises(BadRequest):
            asked(b"/v1/chat/completions", body)


def test_prompts_come_as_texts_or_ids_one_or_several() -> None:
    for given, prompts in (
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["a", [1]], ["a", [1]]),
    ):
        assert list(text(prompt=given).prompts) == prompts


def test_tools_may_be_there_when_they_shall_not_be_used() -> None:
    assert chat(tools=[{"type": "function"}], tool_choice="none").form is Form.CHAT


def test_messages_are_made_ready_for_a_template() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    messages = chat(
        messages=[
            {"role": "user", "content": parts},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "1"},
        ]
    ).chat.messages
    assert messages[0]["content"] == parts
    assert chat(messages=[{"role": "user", "content": parts[:1]}]).chat.messages[0]["content"] == "one"
    assert messages[1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    assert messages[2] == {"role": "tool", "tool_call_id": "c", "content": "1"}


async def test_a_chat_is_rendered_and_encoded() -> None:
    (prompt,) = await prompts_for(chat(), tokenizer(), None)
    assert prompt.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert list(prompt.ids) == encoded(prompt.text)
    assert prompt.limit is None


async def test_parts_of_a_content_are_joined_where_the_template_takes_none() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    wanted = chat(messages=[{"role": "user", "content": parts}])
    for separator in (" ", "\n"):
        (prompt,) = await prompts_for(wanted, tokenizer(), None, separator)
        assert prompt.text.startswith(f"<|im_start|>user\none{separator}two<|im_end|>")
    looping = "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}"
    (prompt,) = await prompts_for(wanted, tokenizer(template=looping), None)
    assert prompt.text == "[one][two]"


async def test_ids_are_taken_as_they_are_and_spelt_only_to_be_echoed() -> None:
    ids = encoded("some words")
    (prompt,) = await prompts_for(text(prompt=ids), tokenizer(), None)
    assert (list(prompt.ids), prompt.text) == (ids, "")
    (prompt,) = await prompts_for(text(prompt=ids, echo=True), tokenizer(), None)
    assert prompt.text == "some words"


async def test_what_does_not_fit_the_context_is_refused_naming_the_limit_or_the_prompt() -> None:
    count = len(encoded("some words"))
    with pytest.raises(ContextExceeded) as caught:
        await prompts_for(text(prompt="some words", max_tokens=10), tokenizer(), count + 9)
    assert (caught.value.field, caught.value.code) == ("max_tokens", "context_length_exceeded")
    (prompt,) = await prompts_for(text(prompt="some words", max_tokens=10), tokenizer(), count + 10)
    assert prompt.limit == 10
    with pytest.raises(ContextExceeded) as caught:
        await prompts_for(text(prompt="some words"), tokenizer(), count)
    assert caught.value.field == "prompt"
    (prompt,) = await prompts_for(text(prompt="some words"), tokenizer(), count + 3)
    assert prompt.limit == 3  # nobody asked for the usual 16
    with pytest.raises(BadRequest, match="prompt: the prompt is empty"):
        await prompts_for(text(prompt=""), tokenizer(), None)


async def test_a_lone_surrogate_is_no_text() -> None:
    wanted = replace(text(), prompts=("\ud800",))
    with pytest.raises(BadRequest):
        await prompts_for(wanted, tokenizer(), None)
