"""What a request asks for, whichever route it came by: prompts, sampling, and the form of its answer. Pure.

Everything that can be wrong with a request and needs no tokenizer is found here, before anybody waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gateway.completions import chats, refusals
from gateway.completions.bodies import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    GenerateBody,
    NativeSampling,
    OpenAi,
    decoded,
)
from gateway.completions.sampling import ids, native_sampling, openai_sampling, whole, wrong
from gateway.engines.generation import Sampling

COMPLETION_TOKENS = 16
"""How long a completion may be that says nothing of it, by OpenAI's rule."""
NATIVE_TOKENS = 128
MOST_PROMPTS = 2048
MOST_ANSWERS = 2048
"""Choices of all prompts of a request."""
MOST_LOGPROBS = 20


DEFAULTS = Sampling()


class Form(Enum):
    """Which answer is wanted."""

    CHAT = "/v1/chat/completions"
    TEXT = "/v1/completions"
    NATIVE = "/generate"
    EMBEDDING = "/v1/embeddings"


FORMS = {form.value.encode(): form for form in Form}
"""By route."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    form: Form
    model: str | None
    prompts: Sequence[str | Sequence[int]] = ()
    """Texts to be encoded, or ids. Empty for a chat."""
    chat: "Chat | None" = None
    sampling: Sampling = DEFAULTS
    stream: bool = False
    include_usage: bool = False
    running_usage: bool = False
    """Every event of a stream has the usage so far."""
    logprobs: int | None = None
    """None: none; n: the chosen token's and n alternatives."""
    prompt_logprobs_from: int | None = None
    """From which of the prompt's tokens on the logprobs are wanted, too; None: none of them."""
    echo: bool = False
    several: bool = False
    """The answer is a list even of one (`/generate` with a list of prompts)."""
    rid: str | None = None
    token_texts: bool = False
    """`/generate`: logprobs name the tokens' texts."""
    base64: bool = False
    special_tokens: bool = True
    """Whether encoding a text adds what the tokenizer puts around texts."""
    rank: int | None = None
    kv_transfer: Mapping[str, object] | None = None
    limit_given: bool = True
    """The client set the most new tokens; else a shorter context shortens them."""
    limit_field: str = "max_tokens"
    """What the client called the most new tokens."""
    prompt_field: str = "prompt"


@dataclass(frozen=True, slots=True)
class Chat:
    """What a chat template gets."""

    messages: list[chats.Message]
    documents: Sequence[Mapping[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def asked(route: bytes, body: bytes) -> Asked:
    """What a request on one of `FORMS` asks for. Raises BadRequest."""
    match FORMS[route]:
        case Form.CHAT:
            return _chat(decoded(body, ChatBody))
        case Form.TEXT:
            return _bounded(_text(decoded(body, CompletionBody)), "n")
        case Form.NATIVE:
            return _bounded(_native(decoded(body, GenerateBody)), "sampling_params.n")
        case Form.EMBEDDING:
            return _embedding(decoded(body, EmbeddingBody))


def _bounded(made: Asked, field: str) -> Asked:
    """Many choices of many prompts would be a small request that takes seconds only to begin."""
    if made.sampling.n > 1 and made.sampling.n * len(made.prompts) > MOST_ANSWERS:
        accepted = f"at most {MOST_ANSWERS} choices over all {len(made.prompts)} prompts"
        raise wrong(field, made.sampling.n, accepted)
    return made


def _chat(body: ChatBody) -> Asked:
    refusals.check_chat(body)
    limit, name = body.max_completion_tokens, "max_completion_tokens"
    if limit is None:
        limit, name = body.max_tokens, "max_tokens"
    top = whole("top_logprobs", body.top_logprobs, 0, MOST_LOGPROBS)
    if top is not None and not body.logprobs:
        raise wrong("top_logprobs", top, "logprobs: true beside it")
    kwargs = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", body.reasoning_effort)
    final = bool(body.continue_final_message)
    generation = body.add_generation_prompt if body.add_generation_prompt is not None else not final
    if final and generation:
        raise wrong("continue_final_message", True, "add_generation_prompt: false beside it")
    return Asked(
        Form.CHAT,
        body.model,
        chat=Chat(chats.checked(body.messages), body.documents, generation, final, kwargs),
        sampling=openai_sampling(body, whole(name, limit, 1)),
        logprobs=(top or 0) if body.logprobs else None,
        special_tokens=bool(body.add_special_tokens),
        limit_field=name,
        prompt_field="messages",
        **_openai(body),
    )


def _text(body: CompletionBody) -> Asked:
    refusals.check_completion(body)
    limit = whole("max_tokens", body.max_tokens, 1)
    logprobs = whole("logprobs", body.logprobs, 0, MOST_LOGPROBS)
    return Asked(
        Form.TEXT,
        body.model,
        prompts_of("prompt", body.prompt),
        sampling=openai_sampling(body, COMPLETION_TOKENS if limit is None else limit),
        logprobs=logprobs,
        prompt_logprobs_from=0 if body.echo and logprobs is not None else None,
        echo=bool(body.echo),
        special_tokens=body.add_special_tokens is not False,
        limit_given=limit is not None,
        **_openai(body),
    )


def _openai(body: OpenAi) -> dict[str, Any]:
    options = body.stream_options
    if options is not None and not body.stream:
        raise wrong("stream_options", "set", "stream: true beside it")
    return {
        "stream": bool(body.stream),
        "include_usage": options is not None and bool(options.include_usage),
        "running_usage": options is not None and bool(options.continuous_usage_stats),
        "rank": whole("data_parallel_rank", body.data_parallel_rank, 0, 1 << 15),
        "kv_transfer": body.kv_transfer_params,
    }


def _native(body: GenerateBody) -> Asked:
    refusals.check_native(body)
    if (body.text is None) == (body.input_ids is None):
        raise wrong("text", body.text, "either text or input_ids")
    name = "text" if body.text is not None else "input_ids"
    given = body.text if body.text is not None else body.input_ids
    assert given is not None
    params = body.sampling_params
    if isinstance(params, list):
        raise wrong("sampling_params", "a list", "one object for all prompts")
    params = params or NativeSampling()
    limit = whole("sampling_params.max_new_tokens", params.max_new_tokens, 1)
    several = isinstance(given, list) and not isinstance(next(iter(given), ""), int)
    start = body.logprob_start_len
    return Asked(
        Form.NATIVE,
        body.model,
        prompts_of(name, given),
        sampling=native_sampling(params, NATIVE_TOKENS if limit is None else limit),
        stream=bool(body.stream),
        logprobs=(whole("top_logprobs_num", body.top_logprobs_num, 0, MOST_LOGPROBS) or 0)
        if body.return_logprob
        else None,
        prompt_logprobs_from=start if body.return_logprob and start is not None and start >= 0 else None,
        several=several,
        rid=body.rid if isinstance(body.rid, str) else None,
        token_texts=bool(body.return_text_in_logprobs),
        rank=whole("data_parallel_rank", body.data_parallel_rank, 0, 1 << 15),
        limit_given=limit is not None,
        limit_field="sampling_params.max_new_tokens",
        prompt_field=name,
    )


def _embedding(body: EmbeddingBody) -> Asked:
    if body.encoding_format not in (None, "float", "base64"):
        raise wrong("encoding_format", body.encoding_format, "float or base64")
    if body.dimensions is not None:
        raise wrong("dimensions", body.dimensions, "none: workers over gRPC give vectors of the model's own size")
    return Asked(
        Form.EMBEDDING,
        body.model,
        prompts_of("input", body.input),
        base64=body.encoding_format == "base64",
        prompt_field="input",
    )


def prompts_of(name: str, given: str | Sequence[str | int | list[int]]) -> list[str | list[int]]:
    """Each prompt of what OpenAI's API takes for prompts: a text, texts, token ids, or lists of token ids."""
    if isinstance(given, str):
        return [given]
    numbers = [each for each in given if isinstance(each, int)]
    if numbers and len(numbers) == len(given):
        return [ids(name, numbers)]
    prompts = [each for each in given if not isinstance(each, int)]
    if not prompts or numbers or len(prompts) > MOST_PROMPTS:
        shown = "token ids and other things" if numbers else f"{len(given)} prompts"
        raise wrong(name, shown, f"a string, token ids, or a list of 1 to {MOST_PROMPTS} of either")
    for at, each in enumerate(prompts):
        if isinstance(each, list):
            if not each:
                raise wrong(f"{name}[{at}]", each, "at least one token id")
            ids(f"{name}[{at}]", each)
    return prompts
