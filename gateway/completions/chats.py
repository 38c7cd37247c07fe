"""The messages of a chat as templates want them: texts only, tool calls as objects. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.completions.sampling import wrong
from gateway.errors import BadRequest

Message = dict[str, Any]
_TEXTS = ("text", "input_text", "output_text", "refusal")


def checked(messages: Sequence[Message]) -> list[Message]:
    """The messages, ready for a template. Raises BadRequest."""
    if not messages:
        raise wrong("messages", [], "at least one message")
    return [_checked(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _checked(message: Message, at: str) -> Message:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise wrong(f"{at}.role", role, "a string")
    made = {**message, "content": _content(message.get("content"), f"{at}.content")}
    if (calls := message.get("tool_calls")) is not None:
        made["tool_calls"] = _tool_calls(calls, f"{at}.tool_calls")
    return made


def joined(messages: Sequence[Message], separator: str) -> list[Message]:
    """The messages with each content as one text, for templates that take no parts."""
    return [
        {**message, "content": separator.join(part["text"] for part in content)}
        if isinstance(content, list)
        else message
        for message in messages
        for content in (message["content"],)
    ]


def in_parts(messages: Sequence[Message]) -> bool:
    """Whether any content has several parts."""
    return any(isinstance(message["content"], list) for message in messages)


def _content(content: object, at: str) -> str | list[dict[str, str]] | None:
    """The content as a text, or as several."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong(at, content, "a string or a list of parts")
    texts: list[str] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXTS:
            field = f"{at}[{number}].type"
            raise BadRequest(
                f"{field}: given {kind!r}, expected text; images, sound and video are not supported by workers over "
                "gRPC yet",
                field=field,
            )
        text = part.get("refusal" if kind == "refusal" else "text")
        if not isinstance(text, str):
            raise wrong(f"{at}[{number}].text", text, "a string")
        texts.append(text)
    if len(texts) < 2:
        return "".join(texts)
    return [{"type": "text", "text": text} for text in texts]


def _tool_calls(calls: object, at: str) -> list[Any]:
    """Calls that the model made earlier. Their arguments come as JSON text, and templates want what it says."""
    if not isinstance(calls, list):
        raise wrong(at, calls, "a list of tool calls")
    made: list[Any] = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            try:
                arguments = msgspec.json.decode(function["arguments"] or "{}")
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                arguments = function["arguments"]
            call = {**call, "function": {**function, "arguments": arguments}}
        made.append(call)
    return made
