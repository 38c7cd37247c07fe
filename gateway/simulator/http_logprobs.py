"""Log probabilities in OpenAI's two shapes and in SGLang's, from engines that count with the real tokenizer: the
same numbers that the engines over gRPC give. The others have none, and say null as before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.simulator.planning import Body, Planned, Prompt, flag, spelt, whole
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


@dataclass(frozen=True, slots=True)
class Tokens:
    """The real tokens of one choice, and what `/generate` was asked to tell of them."""

    prompt: list[int]
    ids: list[int]
    wanted: bool = False
    of_prompt: bool = False
    top: int = 0

    def weighed(self, generated: int) -> dict[str, Any]:
        """The members of SGLang's meta_info after so many tokens."""
        if not self.wanted:
            return {}
        told = _rows("output", self.ids, 0, generated, self.top)
        if self.of_prompt:
            told |= _rows("input", self.prompt, 0, len(self.prompt), self.top, first_has_none=True)
        return told


def tokens_of(body: Body, prompt: Prompt, planned: Planned) -> Tokens:
    """As `return_logprob`, `logprob_start_len` and `top_logprobs_num` ask. Raises Bad."""
    return Tokens(
        [int(str(token)) for token in prompt.tokens],
        sim_tokenizer().ids_of(spelt(prompt.text, planned)),
        flag(body, "return_logprob"),
        (whole(body, "logprob_start_len", -1, 1 << 30) or 0) == 0 and body.get("logprob_start_len") is not None,
        whole(body, "top_logprobs_num", 0, MOST_TOP) or 0,
    )


def _rows(name: str, ids: list[int], begin: int, end: int, top: int, *, first_has_none: bool = False) -> dict[str, Any]:
    """[log probability, token id, text], the text left out as SGLang does unless asked for it."""
    owns: list[list[Any]] = []
    tops: list[list[list[Any]] | None] = []
    for at in range(begin, end):
        none = first_has_none and at == 0
        own, others = sim_tokenizer().logprobs(ids, at, top)
        owns.append([None if none else own, ids[at], None])
        tops.append(None if none else [[value, token, None] for token, value in others])
    return {f"{name}_token_logprobs": owns} | ({f"{name}_top_logprobs": tops} if top else {})


def _token(token: int, value: float) -> dict[str, Any]:
    text = sim_tokenizer().text_of(token)
    return {"token": text, "logprob": value, "bytes": list(text.encode())}
