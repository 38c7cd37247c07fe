"""What the demo's traffic sends, and when."""

import json
from random import Random
from typing import Any

import pytest

from gateway.simulator.traffic import RIPPLE_S, TURNS, WAVE_S, Talk, rate_at, spoken


def test_the_rate_moves_in_waves_around_its_mean() -> None:
    rates = [rate_at(second / 10, 5.0) for second in range(int(10 * WAVE_S * RIPPLE_S))]
    assert sum(rates) / len(rates) == pytest.approx(5.0, rel=0.02)
    assert 1.0 <= min(rates) < 2.0
    assert max(rates) > 8.0


def test_a_turn_repeats_the_talk_so_far_so_that_prefixes_are_shared() -> None:
    rng = Random(1)
    talk = Talk.begin(["m"], rng)
    first = talk.ask(rng)
    talk.heard("An answer.")
    second = talk.ask(rng)
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert second["messages"][2] == {"role": "assistant", "content": "An answer."}


def test_talks_of_one_team_begin_alike() -> None:
    rng = Random(1)
    beginnings = {Talk.begin(["m"], rng).messages[0]["content"] for _ in range(100)}
    assert 1 < len(beginnings) < 10


def test_a_talk_ends_with_its_turns_or_with_an_error() -> None:
    rng = Random(2)
    talk = Talk.begin(["m"], rng)
    assert 1 <= talk.turns_left <= TURNS
    talk.ask(rng)
    assert talk.busy
    talk.heard(None)
    assert (talk.busy, talk.turns_left) == (False, 0)


def test_requests_differ_in_length_and_most_are_streamed() -> None:
    rng = Random(3)
    bodies = [Talk.begin(["a", "b"], rng).ask(rng) for _ in range(300)]
    assert 0.6 < sum(body.get("stream", False) for body in bodies) / len(bodies) < 0.8
    limits = [body["max_tokens"] for body in bodies]
    assert min(limits) >= 16
    assert max(limits) > 4 * sorted(limits)[150]
    assert {body["model"] for body in bodies} == {"a", "b"}


def test_the_text_of_an_answer_is_found_whole_or_streamed() -> None:
    whole = json.dumps({"choices": [{"message": {"content": "Yes."}}]}).encode()
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": text}}]} for text in ("Ye", "s.")] + [
        {"choices": [], "usage": {}}
    ]
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    assert spoken(whole, streamed=False) == "Yes."
    assert spoken(stream, streamed=True) == "Yes."


@pytest.mark.parametrize("answer", [b"", b"no json", b"data: {", b'{"choices": 5}', b'{"error": {}}', b"[]"])
def test_an_answer_without_text_is_none(answer: bytes) -> None:
    assert spoken(answer, streamed=False) is None
    assert spoken(answer, streamed=True) is None
