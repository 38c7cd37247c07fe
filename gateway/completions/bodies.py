"""The JSON bodies of requests that are answered from token ids, as clients write them. Pure.

Types are checked here, ranges in `sampling`. Members nobody knows are ignored, as engines do, except those that
would change the answer and cannot be had: see `refusals`.
"""

from typing import Any, TypeVar

import msgspec

from gateway.errors import BadRequest

Texts = str | list[str]
Prompts = str | list[str | int | list[int]]
"""One or several, as texts or as token ids."""


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampled(msgspec.Struct, kw_only=True):
    """What `/v1/chat/completions`, `/v1/completions` and SGLang's `sampling_params` have in common."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: Texts | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    include_stop_str_in_output: bool | None = None
    n: int | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    regex: str | None = None
    ebnf: str | None = None
    json_schema: str | dict[str, Any] | None = None
    structural_tag: str | dict[str, Any] | None = None
    stop_regex: Any = None
    custom_params: Any = None


class OpenAi(Sampled, kw_only=True):
    """What both of OpenAI's completions have in common."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    kv_transfer_params: dict[str, Any] | None = None
    data_parallel_rank: int | None = None
    best_of: int | None = None
    use_beam_search: bool | None = None
    logits_processors: Any = None
    lora_path: Any = None
    return_hidden_states: bool | None = None
    return_token_ids: bool | None = None


class ChatBody(OpenAi, kw_only=True):
    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    documents: list[dict[str, Any]] | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    add_special_tokens: bool | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: Any = None


class CompletionBody(OpenAi, kw_only=True):
    prompt: Prompts
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    prompt_embeds: Any = None
    add_special_tokens: bool | None = None


class NativeSampling(Sampled, kw_only=True):
    max_new_tokens: int | None = None
    min_new_tokens: int | None = None


class GenerateBody(msgspec.Struct, kw_only=True):
    """SGLang's `/generate`."""

    model: str | None = None
    text: Texts | None = None
    input_ids: list[int | list[int]] | None = None
    sampling_params: NativeSampling | list[Any] | None = None
    rid: Texts | None = None
    stream: bool | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    data_parallel_rank: int | None = None
    input_embeds: Any = None
    image_data: Any = None
    video_data: Any = None
    audio_data: Any = None
    lora_path: Any = None
    return_hidden_states: bool | None = None
    token_ids_logprob: Any = None
    session_params: Any = None


class EmbeddingBody(msgspec.Struct, kw_only=True):
    model: str
    input: Prompts
    encoding_format: str | None = None
    dimensions: int | None = None


B = TypeVar("B")


def decoded(body: bytes, kind: type[B]) -> B:
    """The body as one of these. Raises BadRequest naming the member that is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except UnicodeDecodeError:
        raise BadRequest("the body is not valid UTF-8") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def _named(text: str) -> BadRequest:
    """`Expected `int`, got `str` - at `$.n`` as this gateway says it."""
    what, _, where = text.replace("`", "").partition(" - at $")
    missing = what.partition("Object missing required field ")[2]
    field = ".".join(part for part in (where.removeprefix("."), missing) if part)
    if missing:
        return BadRequest(f"{field}: missing", field=field)
    return BadRequest(f"{field or 'the body'}: {what[:1].lower()}{what[1:]}", field=field or None)
