"""Log probabilities in OpenAI's two shapes, from engines that count with the real tokenizer: the same numbers that
the engines over gRPC give. The others have none, and say null as before.
"""

from collections.abc import Callable
from typing import Any

from gateway.simulator.planning import Body, Planned, flag, spelt, whole
from gateway.simulator.tokenizer import sim_tokenizer

Logprobs = Callable[[int, int, int], Any]
"""What a message says of a choice's tokens from one place to another."""

MOST_TOP = 20


def nothing(index: int, begin: int, end: int) -> None:
    """Nobody asked."""


def chat_logprobs(body: Body, prompt: str, planned: list[Planned]) -> Logprobs:
    """As `logprobs` and `top_logprobs` ask. Raises Bad."""
    top = whole(body, "top_logprobs", 0, MOST_TOP) or 0
    if not flag(body, "logprobs"):
        return nothing
    ids = [sim_tokenizer().ids_of(spelt(prompt, each)) for each in planned]

    def told(index: int, begin: int, end: int) -> dict[str, Any]:
        content = []
        for at in range(begin, end):
            own, others = sim_tokenizer().logprobs(ids[index], at, top)
            content.append(
                _token(ids[index][at], own) | {"top_logprobs": [_token(token, value) for token, value in others]}
            )
        return {"content": content}

    return told


def text_logprobs(body: Body, prompts: list[str], planned: list[Planned]) -> Logprobs:
    """As `logprobs` asks; `prompts` has one for each choice. Raises Bad."""
    top = whole(body, "logprobs", 0, MOST_TOP)
    if top is None:
        return nothing
    tokenizer = sim_tokenizer()
    pieces = [spelt(prompt, each) for prompt, each in zip(prompts, planned, strict=True)]
    ids = [tokenizer.ids_of(each) for each in pieces]

    def told(index: int, begin: int, end: int) -> dict[str, Any]:
        rows = [tokenizer.logprobs(ids[index], at, top) for at in range(begin, end)]
        return {
            "tokens": [tokenizer.text_of(token) for token in ids[index][begin:end]],
            "token_logprobs": [own for own, _ in rows],
            "top_logprobs": [{tokenizer.text_of(token): value for token, value in others} for _, others in rows],
            "text_offset": [len("".join(pieces[index][:at])) for at in range(begin, end)],
        }

    return told


def _token(token: int, value: float) -> dict[str, Any]:
    text = sim_tokenizer().text_of(token)
    return {"token": text, "logprob": value, "bytes": list(text.encode())}
