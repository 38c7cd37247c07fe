"""A request's prompts as token ids: chats rendered, texts encoded, lengths checked against the context.

Done once for a request, before a worker is chosen, whichever worker it then goes to. Cancelling is safe at any point.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.completions import chats
from gateway.completions.asked import Asked, Chat, Form
from gateway.errors import BadRequest
from gateway.tokenizers.tokenizer import Tokenizer

AT_ONCE = 4
"""Prompts that are encoded in one turn of the loop: short ones take up to 0.5 ms each."""
PROBE = "one part"


class ContextExceeded(BadRequest):
    """The prompt, or it and what may be answered, is longer than the model takes."""

    code = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class Prompt:
    ids: Sequence[int]
    text: str
    """What the ids were made of; for prompts that came as ids only if it is to be echoed."""
    limit: int | None = None
    """The most new tokens; None: as many as the engine gives."""


async def prompts_for(asked: Asked, tokenizer: Tokenizer, context: int | None, separator: str = " ") -> list[Prompt]:
    """The prompts. `context`: the most tokens a sequence may have; `separator`: what the engines put between the parts
    of a message. Raises BadRequest."""
    if asked.chat is not None:
        found = [await _rendered(asked.chat, tokenizer, separator, special=asked.special_tokens)]
    else:
        found = []
        for number, each in enumerate(asked.prompts, 1):
            found.append(await _encoded(each, asked, tokenizer))
            if not number % AT_ONCE:
                await asyncio.sleep(0)  # short ones are encoded without letting go of the loop
    return [replace(prompt, limit=_limit(prompt, asked, context)) for prompt in found]


async def _rendered(chat: Chat, tokenizer: Tokenizer, separator: str, *, special: bool) -> Prompt:
    messages = chat.messages
    if chats.in_parts(messages) and not await _takes_parts(tokenizer):
        messages = chats.joined(messages, separator)
    text = await tokenizer.render_chat(
        messages,
        documents=[dict(each) for each in chat.documents] if chat.documents is not None else None,
        add_generation_prompt=chat.add_generation_prompt,
        continue_final_message=chat.continue_final_message,
        kwargs=chat.kwargs,
    )
    return Prompt(await tokenizer.encode(text, add_special_tokens=special), text)


async def _takes_parts(tokenizer: Tokenizer) -> bool:
    """Whether the chat template makes a text of a content in parts, as those of models that also take images do.
    Engines find out by reading the template; here it is tried."""
    probe = {"role": "user", "content": [{"type": "text", "text": PROBE}]}
    try:
        made = await tokenizer.render_chat([probe], add_generation_prompt=False)
    except BadRequest:
        return False
    return PROBE in made and "'text'" not in made and '"text"' not in made


async def _encoded(prompt: str | Sequence[int], asked: Asked, tokenizer: Tokenizer) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(await tokenizer.encode(prompt, add_special_tokens=asked.special_tokens), prompt)
    text = await tokenizer.decode(prompt) if asked.echo else ""
    return Prompt(prompt, text)


def _limit(prompt: Prompt, asked: Asked, context: int | None) -> int | None:
    """The most new tokens after this prompt. Raises BadRequest where it does not fit."""
    count, field, limit = len(prompt.ids), asked.prompt_field, asked.sampling.max_new_tokens
    if not count:
        raise BadRequest(f"{field}: the prompt is empty: no tokens to begin with", field=field)
    if context is None:
        return limit
    if count > context - (asked.form is not Form.EMBEDDING):
        raise ContextExceeded(
            f"This model's maximum context length is {context} tokens. However, your {field} resulted in {count} "
            f"tokens. Please reduce the length of the {field}.",
            field=field,
        )
    if limit is None or count + limit <= context:
        return limit
    if not asked.limit_given:
        return context - count
    raise ContextExceeded(
        f"{asked.limit_field}: This model's maximum context length is {context} tokens. However, you requested "
        f"{count + limit} tokens ({count} in the {field}, {limit} in the completion). Please reduce the length of the "
        f"{field} or of the completion.",
        field=asked.limit_field,
    )
