"""Reading and changing single members of a JSON body, every other byte left as the client wrote it. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def with_members(body: bytes, members: Mapping[str, object], without: Collection[str] = ()) -> bytes:
    """The JSON object with these members set, and without those. Raises ValueError where the body is not a JSON object.

    What the client wrote of the others (the spelling of numbers, the order) stays; a member that it wrote twice
    is there once, with the value that counts for most readers: the last.
    """
    try:
        known = _members.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a JSON object: {error}") from None
    for name, value in members.items():
        known[name] = msgspec.Raw(msgspec.json.encode(value))
    for name in without:
        known.pop(name, None)
    return msgspec.json.encode(known)


def text_of(raw: msgspec.Raw) -> str:
    """The text of a prompt: roles and contents in order, or what was given in place of messages."""
    if not raw:
        return ""
    try:
        messages = _messages.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _loose_text(raw)
    return "\n".join([text for message in messages for text in (message.role, message.content)])


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str


_messages = msgspec.json.Decoder(list[_Message])
MOST_TEXTS = 10_000


def _loose_text(raw: msgspec.Raw) -> str:
    """All strings in whatever it is that were meant as text: contents in parts, lists of prompts."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    found: list[str] = []
    pending: list[Any] = [value]
    while pending and len(found) < MOST_TEXTS:
        one = pending.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, list):
            if one and isinstance(one[0], int):  # a prompt given as token ids
                found.append(" ".join(map(str, one)))
            else:
                pending += reversed(one)
        elif isinstance(one, dict):
            pending += [one[name] for name in ("text", "content", "role") if name in one]
    return "\n".join(found)
