"""Answers as engines over HTTP send them: whole, and as events that say the same."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completions.answer import Answer, Heading
from gateway.completions.asked import Asked, asked
from gateway.completions.native_answers import NativeAnswer
from gateway.completions.openai_answers import ChatAnswer, TextAnswer
from gateway.completions.prompts import Prompt
from gateway.completions.vectors import embeddings_answer
from gateway.engines.generation import Embedding, Finish, Piece, TokenLogprob
from gateway.workers.model import Engine
from tests.unit.completions_world import encoded, end_id, pieces_of, tokenizer

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "m", "prompt": "hi"}
NATIVE = {"text": "hi"}
ROUTES: dict[str, tuple[bytes, dict[str, Any], type[Answer]]] = {
    "chat": (b"/v1/chat/completions", CHAT, ChatAnswer),
    "text": (b"/v1/completions", TEXT, TextAnswer),
    "native": (b"/generate", NATIVE, NativeAnswer),
}
PROMPT = Prompt([1, 2, 3], "hi")


def answer_to(form: str, engine: Engine = Engine.VLLM, prompts: int = 1, **change: Any) -> Answer:
    route, body, kind = ROUTES[form]
    wanted: Asked = asked(route, msgspec.json.encode({**body, **change}))
    return kind(wanted, [PROMPT] * prompts, tokenizer(), Heading("id-1", "m", 1234, engine))


def events_of(stream: bytes) -> list[Any]:
    parts = stream.split(b"\n\n")
    assert parts.pop() == b""
    assert parts.pop() == b"data: [DONE]"
    assert all(part.startswith(b"data: ") for part in parts)
    return [json.loads(part[6:]) for part in parts]


def all_of(made: Answer, pieces: list[Piece]) -> bytes:
    """What an answer says to these pieces, and at its end."""
    out = b"".join([made.take(0, piece.index, piece) for piece in pieces])
    assert made.complete
    return out + made.close()


def test_a_chat_begins_with_its_role_and_ends_with_its_reason() -> None:
    made = answer_to("chat", stream=True)
    events = events_of(all_of(made, pieces_of(encoded("one two"), [1], Finish("length"), apart=True)))
    heading = {"id": "id-1", "object": "chat.completion.chunk", "created": 1234, "model": "m"}
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    assert events[0] == {**heading, "choices": [first]}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length", "stop_reason": None}
    assert events[-1] == {**heading, "choices": [last]}
    assert "".join(event["choices"][0]["delta"]["content"] for event in events[1:-1]) == "one two"


def test_usage_comes_last_and_is_null_before() -> None:
    made = answer_to("chat", stream=True, stream_options={"include_usage": True})
    pieces = [Piece(0, tuple(encoded("one two")), cached_tokens=2), Piece(0, (end_id(),), finish=Finish("stop"))]
    events = events_of(all_of(made, pieces))
    assert all(event["usage"] is None for event in events[:-1])
    count = len(encoded("one two")) + 1
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": count,
        "total_tokens": 3 + count,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    running = answer_to("text", stream=True, stream_options={"continuous_usage_stats": True})
    events = events_of(all_of(running, pieces))
    assert [event["usage"]["completion_tokens"] for event in events] == [count - 1, count]


def test_engines_name_what_ended_a_choice_each_in_its_own_word() -> None:
    for engine, name in ((Engine.VLLM, "stop_reason"), (Engine.SGLANG, "matched_stop")):
        made = answer_to("chat", engine, stop=["b"])
        (choice,) = json.loads(all_of(made, [Piece(0, tuple(encoded("a b")))]))["choices"]
        assert (choice["message"]["content"], choice["finish_reason"], choice[name]) == ("a ", "stop", "b")


def test_logprobs_spell_tokens_by_their_bytes_and_say_no_infinity() -> None:
    made = answer_to("chat", logprobs=True, top_logprobs=1)
    ids = encoded("🚰")
    records = tuple(TokenLogprob(token, float("-inf"), ((token, -1.0), (0, -2.0))) for token in ids)
    content = json.loads(all_of(made, [Piece(0, tuple(ids), records, finish=Finish("length"))]))["choices"][0][
        "logprobs"
    ]
    assert bytes(byte for token in content["content"] for byte in token["bytes"]).decode() == "🚰"
    assert [token["logprob"] for token in content["content"]] == [-9999.0] * len(ids)
    assert [len(token["top_logprobs"]) for token in content["content"]] == [1] * len(ids)


def test_an_echoed_prompt_comes_first_with_its_logprobs() -> None:
    prompt = tuple(TokenLogprob(token, None if not at else -1.0, ()) for at, token in enumerate(encoded("hi")))
    ids = encoded(" there")
    piece = Piece(0, tuple(ids), tuple(TokenLogprob(t, -0.5) for t in ids), prompt, finish=Finish("length"))
    whole = json.loads(all_of(answer_to("text", echo=True, logprobs=0), [piece]))["choices"][0]
    assert whole["text"] == "hi there"
    told = whole["logprobs"]
    assert "".join(told["tokens"]) == "hi there"
    assert told["token_logprobs"][0] is None
    assert told["text_offset"] == [sum(map(len, told["tokens"][:at])) for at in range(len(told["tokens"]))]
    events = events_of(all_of(answer_to("text", echo=True, logprobs=0, stream=True), [piece]))
    assert (events[0]["choices"][0]["text"], events[0]["choices"][0]["logprobs"]) == ("hi there", told)


def test_a_completion_names_one_alternative_more_where_the_chosen_token_is_an_unlikely_one() -> None:
    chosen, first, second, _ = ids = [encoded(text)[0] for text in ("a", "b", "c", "d")]
    prompt = (TokenLogprob(first, None), TokenLogprob(second, -1.0, ((second, -1.0),)))
    tops = tuple((token, -1.0 - at) for at, token in enumerate(ids))
    piece = Piece(0, (chosen,), (TokenLogprob(chosen, -1.0, tops[:3]),), prompt, finish=Finish("length"))
    told = json.loads(all_of(answer_to("text", echo=True, logprobs=2), [piece]))["choices"][0]["logprobs"]
    assert told["top_logprobs"] == [None, {"c": -1.0}, {"a": -1.0, "b": -2.0, "c": -3.0}]
    piece = Piece(0, (chosen,), (TokenLogprob(chosen, -1.0, tops),), finish=Finish("length"))
    told = json.loads(all_of(answer_to("text", logprobs=2), [piece]))["choices"][0]["logprobs"]
    assert told["top_logprobs"] == [{"a": -1.0, "b": -2.0, "c": -3.0}]


def test_the_native_form_tells_how_it_ended() -> None:
    for finish, said in (
        (Finish("length"), {"type": "length", "length": 3}),
        (Finish("stop"), {"type": "stop", "matched": encoded("a b c")[2]}),
        (Finish("stop", 9), {"type": "stop", "matched": 9}),
        (Finish("abort"), {"type": "abort", "message": "the engine ended it", "status_code": None, "err_type": None}),
    ):
        made = answer_to("native", Engine.SGLANG)
        told = json.loads(all_of(made, [Piece(0, tuple(encoded("a b c")[:3]), finish=finish)]))
        assert told["meta_info"]["finish_reason"] == said


def test_a_list_of_prompts_gives_a_list_of_answers_even_of_one() -> None:
    piece = Piece(0, (5,), finish=Finish("length"))
    made = answer_to("native", text=["hi"])
    assert isinstance(json.loads(all_of(made, [piece])), list)
    two = answer_to("text", prompts=2, prompt=["hi", "ho"], n=2)
    for prompt in (1, 0):
        for index in (1, 0):
            assert not two.complete
            two.take(prompt, index, Piece(0, (5 + 2 * prompt + index,), finish=Finish("length")))
    told = json.loads(two.close())
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]
    assert [two.choices[at].ids for at in range(4)] == [[5], [6], [7], [8]]
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (6, 4)


TEXTS = st.lists(st.one_of(st.sampled_from(["the", " stop", "🚰", " 人", "\n", "é"]), st.text(max_size=2)), max_size=12)


@pytest.mark.parametrize("form", sorted(ROUTES))
@given(
    texts=st.lists(TEXTS.map("".join), min_size=2, max_size=2),
    cuts=st.lists(st.lists(st.integers(0, 60)), min_size=2, max_size=2),
    stop=st.sampled_from([None, " stop", "🚰 人"]),
    logprobs=st.booleans(),
    data=st.data(),
)
def test_a_streams_events_joined_say_what_the_whole_answer_says(
    form: str, texts: list[str], cuts: list[list[int]], stop: str | None, *, logprobs: bool, data: st.DataObject
) -> None:
    change: dict[str, Any] = {"n": 2, "stop": stop}
    if form == "native":
        change = {"sampling_params": change, "return_logprob": logprobs}
    elif logprobs:
        change |= {"logprobs": True} if form == "chat" else {"logprobs": 1}
    parts = [
        pieces_of([t for t in encoded(text) if t != end_id()], cut, Finish("length"), apart=True, index=index)
        for index, (text, cut) in enumerate(zip(texts, cuts, strict=True))
    ]
    order = data.draw(st.permutations([0] * len(parts[0]) + [1] * len(parts[1])))
    queues = [iter(part) for part in parts]
    pieces = [next(queues[index]) for index in order]
    joined = [piece for part in parts for piece in part]
    whole = json.loads(all_of(answer_to(form, **change), joined))
    events = events_of(all_of(answer_to(form, stream=True, **change), pieces))
    for index in (0, 1):
        if form == "native":
            mine = [event for event in events if event["index"] == index]
            last = {name: value for name, value in mine[-1].items() if name != "index"}
            assert last == whole[index]
            continue
        choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        wanted = whole["choices"][index]
        if form == "chat":
            assert "".join(choice["delta"].get("content", "") for choice in choices) == wanted["message"]["content"]
            told = [each for choice in choices if choice["logprobs"] for each in choice["logprobs"]["content"]]
            assert told == (wanted["logprobs"] or {"content": []})["content"]
        else:
            assert "".join(choice["text"] for choice in choices) == wanted["text"]
            for name in ("tokens", "token_logprobs", "text_offset"):
                told = [each for choice in choices if choice["logprobs"] for each in choice["logprobs"][name]]
                assert told == (wanted["logprobs"] or {name: []})[name]
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == [wanted["finish_reason"]]


def test_vectors_in_both_encodings() -> None:
    found = [Embedding((0.5, -1.0), 3), Embedding((0.25, 2.0), 4)]
    plain = json.loads(embeddings_answer("m", found, as_base64=False))
    assert [each["embedding"] for each in plain["data"]] == [[0.5, -1.0], [0.25, 2.0]]
    assert plain["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = json.loads(embeddings_answer("m", found, as_base64=True))
    assert packed["data"][0]["embedding"] == "AAAAPwAAgL8="
