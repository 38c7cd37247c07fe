"""What a client may ask of an engine over HTTP that cannot be had over gRPC: refused by name, never dropped. Pure."""

from gateway.completions.bodies import ChatBody, CompletionBody, GenerateBody, OpenAi, Sampled
from gateway.completions.sampling import wrong
from gateway.errors import BadRequest


def unsupported(field: str, why: str = "") -> BadRequest:
    """This member is of no use with this model's workers."""
    return BadRequest(f"{field}: not supported by this model's workers, which speak gRPC{why}", field=field)


def _check_sampled(body: Sampled, at: str = "") -> None:
    for name in ("stop_regex", "custom_params"):
        if getattr(body, name) is not None:
            raise unsupported(at + name)


def _check_openai(body: OpenAi) -> None:
    _check_sampled(body)
    for name in ("logits_processors", "lora_path"):
        if getattr(body, name) is not None:
            raise unsupported(name)
    for name in ("use_beam_search", "return_hidden_states"):
        if getattr(body, name):
            raise unsupported(name)
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise wrong("best_of", body.best_of, "as many as n")


def check_chat(body: ChatBody) -> None:
    """Raises BadRequest."""
    _check_openai(body)
    for name in ("functions", "function_call"):
        if getattr(body, name):
            raise unsupported(name)
    if body.tools and body.tool_choice != "none":
        raise unsupported("tools", " (tool calls are not read out of their answers yet); tool_choice 'none' is")
    if body.chat_template is not None:
        raise unsupported("chat_template", "; the model's own, or --chat-template, is used")
    if body.audio is not None or (body.modalities and body.modalities != ["text"]):
        raise unsupported("modalities", "; expected ['text']")


def check_completion(body: CompletionBody) -> None:
    """Raises BadRequest."""
    _check_openai(body)
    if body.suffix:
        raise unsupported("suffix")
    if body.prompt_embeds is not None:
        raise unsupported("prompt_embeds")


def check_native(body: GenerateBody) -> None:
    """Raises BadRequest."""
    for name in ("input_embeds", "image_data", "video_data", "audio_data", "lora_path", "session_params"):
        if getattr(body, name) is not None:
            raise unsupported(name)
    if body.token_ids_logprob is not None:
        raise unsupported("token_ids_logprob")
    if body.return_hidden_states:
        raise unsupported("return_hidden_states")
    if body.sampling_params is not None and not isinstance(body.sampling_params, list):
        _check_sampled(body.sampling_params, "sampling_params.")
