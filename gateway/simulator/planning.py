"""From a request's JSON to what the engine has to do: pure, and strict about what is wrong.

Every check raises `Bad`, which names the field, what was given and what is accepted; the HTTP side turns it
into the error shape of its API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.simulator.engine import Job
from gateway.simulator.text import Answer, answer, blocks_of, tokens_of

Body = Mapping[str, Any]

MOST_CHOICES = 64


class Bad(Exception):
    """The request cannot be served as it is."""

    def __init__(
        self, message: str, *, param: str | None = None, status: int = 400, code: str = "invalid_request"
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code


def wrong(name: str, given: object, accepted: str) -> Bad:
    """A field of the wrong type or out of range."""
    shown = repr(given)
    return Bad(f"{name}: given {shown if len(shown) <= 80 else shown[:77] + '...'}, expected {accepted}", param=name)


@dataclass(frozen=True, slots=True)
class Room:
    """How long a sequence may be at all, in tokens."""

    context_length: int
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """What of a request decides its answers."""

    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    choices: int = 1
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as text, which decides the answer, and as tokens, which cost."""

    text: str
    tokens: Sequence[object]

    @classmethod
    def of_text(cls, text: str) -> "Prompt":
        return cls(text, tokens_of(text))

    @classmethod
    def of_ids(cls, ids: Sequence[int]) -> "Prompt":
        tokens = [str(number) for number in ids]
        return cls(" ".join(tokens), tokens)


@dataclass(frozen=True, slots=True)
class Planned:
    """One choice of a request: what the engine runs, and what it says meanwhile."""

    job: Job
    answer: Answer
    index: int = 0
    """Which of its prompt's choices."""


def plan(prompt: Prompt, sampling: Sampling, room: Room, *, end_counts: bool = False) -> list[Planned]:
    """The choices of one prompt. Raises Bad where the prompt, or it and the answer, are too long.

    `end_counts`: an answer that ends by itself says so by one more token, which has no text and counts.
    """
    count = max(1, len(prompt.tokens))
    limit = sampling.max_tokens
    if count + (limit or 1) > room.context_length:
        asked = f"{limit} in the answer" if limit else "an answer"
        raise Bad(
            f"This model's maximum context length is {room.context_length} tokens. "
            f"However, you requested {count} in the prompt and {asked}.",
            code="context_length_exceeded",
        )
    most = room.context_length - count if limit is None else limit
    blocks = blocks_of(prompt.tokens)
    planned = []
    for index in range(sampling.choices):
        # Without a limit of the client's, the context is one only if the answer would not end before it.
        said = answer(
            prompt.text, most, sampling.stops, index=index, ignore_eos=sampling.ignore_eos and limit is not None
        )
        if end_counts and said.finish == "stop" and said.matched is None:
            ends = len(said.pieces) < most
            said = replace(said, pieces=(*said.pieces, "")) if ends else replace(said, finish="length")
        if (need := count + len(said.pieces)) > room.kv_tokens:
            raise Bad(f"needs {need} tokens of KV cache, this engine has {room.kv_tokens}", param="max_tokens")
        planned.append(Planned(Job(count, len(said.pieces), blocks), said, index))
    return planned


def spelt(prompt: str, planned: Planned) -> tuple[str, ...]:
    """The pieces that were generated, with those that spelt a stop string and are not shown."""
    said = planned.answer
    if said.matched is None:
        return said.pieces
    return answer(prompt, len(said.pieces), index=planned.index, ignore_eos=True).pieces


def whole(body: Body, name: str, least: int, most: int) -> int | None:
    """An optional whole number."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(name, value, f"a whole number from {least} to {most}")
    return value


def flag(body: Body, name: str) -> bool:
    """An optional boolean."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return bool(value)


def number(body: Body, name: str, least: float, most: float) -> None:
    """Check an optional number that has no effect here."""
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise wrong(name, value, f"a number from {least:g} to {most:g}")


def sampling_of(body: Body, *limits: str, stop: str = "stop", default_limit: int | None = None) -> Sampling:
    """Sampling parameters; the token limit is the first given of the names in `limits`."""
    limit = next((found for name in limits if (found := whole(body, name, 1, 1 << 30)) is not None), default_limit)
    number(body, "temperature", 0.0, 2.0)
    number(body, "top_p", 0.0, 1.0)
    return Sampling(limit, stops_of(body, stop), whole(body, "n", 1, MOST_CHOICES) or 1, flag(body, "ignore_eos"))


def stops_of(body: Body, name: str) -> tuple[str, ...]:
    """Stop strings: one, a list, or none."""
    given = body.get(name)
    if given is None:
        return ()
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list) and len(given) <= 16 and all(isinstance(item, str) for item in given):
        return tuple(given)
    raise wrong(name, given, "a string or a list of at most 16 strings")


def wants_usage(body: Body) -> bool:
    """Whether a stream shall end with its usage (`stream_options.include_usage`)."""
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise wrong("stream_options", options, "an object")
    return flag(options, "include_usage")


def texts_of(body: Body, name: str) -> list[str]:
    """One text, or a list of texts."""
    given = body.get(name)
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and given and all(isinstance(item, str) for item in given):
        return given
    raise wrong(name, given, "a string or a list of strings")


def prompts_of(given: object, name: str) -> list[Prompt]:
    """Prompts as OpenAI's completions take them: a text, texts, token ids, or lists of token ids."""
    if isinstance(given, str):
        return [Prompt.of_text(given)]
    if isinstance(given, list) and given:
        if all(isinstance(item, str) for item in given):
            return [Prompt.of_text(item) for item in given]
        if _ids(given):
            return [Prompt.of_ids(given)]
        if all(isinstance(item, list) and item and _ids(item) for item in given):
            return [Prompt.of_ids(item) for item in given]
    raise wrong(name, given, "a string, token ids, or a list of either")


def _ids(given: list[Any]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in given)


def chat_prompt(messages: object, name: str = "messages", system: str = "") -> str:
    """Messages as one prompt: what a chat template does."""
    return "\n".join(chat_lines(messages, name, system))


def chat_lines(messages: object, name: str = "messages", system: str = "") -> list[str]:
    """Each message as `<role> content`."""
    if not isinstance(messages, list) or not messages:
        raise wrong(name, messages, "a list of messages, at least one")
    lines = [f"<system> {system}"] if system else []
    for at, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong(f"{name}[{at}]", message, "an object with role and content")
        role = message.get("role")
        if not isinstance(role, str):
            raise wrong(f"{name}[{at}].role", role, "a string")
        lines.append(f"<{role}> {content_text(message.get('content'), f'{name}[{at}].content')}")
    return lines


def content_text(content: object, name: str) -> str:
    """A message's content as text; a part that is no text leaves its type's name."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise wrong(name, content, "a string or a list of parts")
    texts = []
    for part in content:
        if not isinstance(part, dict):
            raise wrong(name, part, "parts that are objects")
        text = part.get("text")
        texts.append(text if isinstance(text, str) else f"[{part.get('type', 'part')}]")
    return " ".join(texts)
