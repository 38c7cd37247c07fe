"""A model's chat templates: messages to the prompt's text, as `transformers.apply_chat_template` writes it.

Compiled once, in a thread, when the tokenizer is loaded. Rendering is pure: a short one is tried on the loop for two
milliseconds, and done again in a thread where that was not enough. What a template may do and how much of it is
`gateway.tokenizers.sandbox`'s and `gateway.tokenizers.bounds`'.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway.errors import BadRequest
from gateway.tokenizers.bounds import MOST_GIVEN, Bounds, Budget, Exceeded, given_size
from gateway.tokenizers.errors import TemplateFailed, TemplateUnusable

if TYPE_CHECKING:
    from jinja2 import Template

    from gateway.tokenizers.sandbox import Sandbox

MAX_SOURCE = 64 * 1024
"""Characters of a template; the longest published ones have some 20,000. Compiling so much takes up to 100 MB."""
INLINE = Bounds(seconds=0.002, made=2_000_000, text=500_000, nodes=20_000)
"""Small enough that nothing that cannot be interrupted takes much longer than the time given."""
INLINE_SIZE = 32 * 1024
"""Messages of more characters go to a thread at once."""
MARK = "\N{OBJECT REPLACEMENT CHARACTER}smg-console: the final message ends here\N{OBJECT REPLACEMENT CHARACTER} "
RESERVED = frozenset(("messages", "tools", "documents", "add_generation_prompt"))

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """What to render: plain JSON data, as the client sent it."""

    messages: Sequence[JsonObject]
    tools: Sequence[JsonObject] | None = None
    documents: Sequence[JsonObject] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    """The prompt ends within the last message, for the model to go on with it."""
    template: str | None = None
    """The name of the template; None: `tool_use` where there are tools and such a template, else `default`."""
    kwargs: JsonObject = field(default_factory=dict)
    """`chat_template_kwargs`: further names for the template."""


class ChatTemplates:
    """The templates of one model. Raises TemplateUnusable."""

    __slots__ = ("_compiled", "_special_tokens", "_texts")

    def __init__(
        self, texts: Mapping[str, str], special_tokens: Mapping[str, str], now: Callable[[], datetime] | None = None
    ) -> None:
        """`now`: what templates write as today's date; None: the local time."""
        sandbox = _sandbox() if now is None else _new_sandbox(now)
        self._texts = dict(texts)
        self._compiled = {name: _compiled(sandbox, name, text) for name, text in texts.items()}
        self._special_tokens = dict(special_tokens)

    @property
    def names(self) -> list[str]:
        return sorted(self._compiled)

    def render(
        self,
        conversation: Conversation,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> str:
        """The prompt. Blocking. Raises TemplateFailed, and BadRequest for what is no conversation."""
        try:
            return self._render(conversation, bounds or Bounds(), clock)
        except Exceeded as error:
            raise TemplateFailed(f"the chat template was stopped: {error}") from None

    async def rendered(self, conversation: Conversation, pool: Executor) -> str:
        """The prompt; the loop is held for some two milliseconds at most."""
        if given_size(conversation.messages, INLINE_SIZE) <= INLINE_SIZE:
            try:
                return self._render(conversation, INLINE, time.monotonic)
            except Exceeded:
                pass  # a thread has longer
        return await asyncio.get_running_loop().run_in_executor(pool, self.render, conversation)

    def _render(self, conversation: Conversation, bounds: Bounds, clock: Callable[[], float]) -> str:
        from gateway.tokenizers.payments import paying

        name = self._name(conversation)
        values = _values(conversation, self._texts[name])
        given = given_size(values)
        if given > MOST_GIVEN:
            raise BadRequest(f"messages: more than {MOST_GIVEN} characters", field="messages")
        budget = Budget(bounds, given, clock)
        try:
            with paying(budget):
                text = self._compiled[name].render(**(self._special_tokens | values))
        except Exceeded:
            raise
        except Exception as error:  # noqa: BLE001 - a template is a foreign program, which may raise anything
            raise TemplateFailed(f"the chat template refused the messages: {_said(error)}") from None
        return _cut(text) if conversation.continue_final_message else text

    def _name(self, conversation: Conversation) -> str:
        name = conversation.template
        if name is None:
            name = "tool_use" if conversation.tools and "tool_use" in self._compiled else "default"
        if name not in self._compiled:
            known = ", ".join(self.names)
            raise BadRequest(
                f"chat_template: the model has no template {name!r}; it has {known}", field="chat_template"
            )
        return name


def _values(conversation: Conversation, template: str) -> dict[str, Any]:
    """The names the template sees. Raises BadRequest."""
    taken = sorted(RESERVED & conversation.kwargs.keys())
    if taken:
        raise BadRequest(
            f"chat_template_kwargs: {taken[0]} is a field of the request itself", field="chat_template_kwargs"
        )
    if not conversation.messages:
        raise BadRequest("messages: expected at least one message", field="messages")
    if not all(isinstance(message, Mapping) for message in conversation.messages):
        raise BadRequest("messages: expected objects", field="messages")
    messages = [_message(message) for message in conversation.messages]
    if conversation.continue_final_message:
        if conversation.add_generation_prompt:
            raise BadRequest(
                "continue_final_message: cannot be together with add_generation_prompt", field="continue_final_message"
            )
        messages[-1] = _marked(messages[-1], template)
    return {
        **conversation.kwargs,
        "messages": messages,
        "tools": None if conversation.tools is None else list(conversation.tools),
        "documents": None if conversation.documents is None else list(conversation.documents),
        "add_generation_prompt": conversation.add_generation_prompt,
    }


def _message(message: JsonObject) -> dict[str, Any]:
    """A message without nulls, which many templates write out as `None`, and with its reasoning under all the
    names that templates read it by."""
    present = {name: value for name, value in message.items() if value is not None}
    for name in ("reasoning_content", "thinking", "reasoning"):
        if name in present:
            return {"thinking": present[name], **present, "reasoning_content": present[name]}
    return present


def _marked(message: dict[str, Any], template: str) -> dict[str, Any]:
    """The message with a mark at its end."""
    content = message.get("content")
    if isinstance(content, str):
        return message | {"content": content + MARK}
    if isinstance(content, list):
        for at in range(len(content) - 1, -1, -1):
            part = content[at]
            if isinstance(part, Mapping) and isinstance(part.get("text"), str):
                return message | {"content": [*content[:at], {**part, "text": part["text"] + MARK}, *content[at + 1 :]]}
    raise BadRequest("continue_final_message: the last message has no text to continue", field="continue_final_message")


def _cut(text: str) -> str:
    """The text up to the mark, without the spaces that the template took from the message's end."""
    at = text.rfind(MARK.rstrip())
    if at < 0:
        raise TemplateFailed("the chat template does not write the last message, so that it cannot be continued")
    return text[:at] if text.startswith(MARK, at) else text[:at].rstrip()


def _compiled(sandbox: "Sandbox", name: str, text: str) -> "Template":
    from jinja2 import TemplateSyntaxError

    if len(text) > MAX_SOURCE:
        raise TemplateUnusable(f"the chat template {name!r} has more than {MAX_SOURCE} characters")
    try:
        return sandbox.from_string(text)
    except TemplateSyntaxError as error:
        raise TemplateUnusable(f"the chat template {name!r} is wrong in line {error.lineno}: {error.message}") from None
    except Exception as error:  # noqa: BLE001 - Python's compiler refuses what is nested too deeply in many ways
        raise TemplateUnusable(f"the chat template {name!r} cannot be compiled: {_said(error)}") from None


def _said(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__)[:500]


def _new_sandbox(now: Callable[[], datetime]) -> "Sandbox":
    from gateway.tokenizers.sandbox import Sandbox

    return Sandbox(now)


@cache
def _sandbox() -> "Sandbox":
    return _new_sandbox(lambda: datetime.now().astimezone())
