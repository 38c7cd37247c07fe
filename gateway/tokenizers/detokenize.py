"""Ids to text as they come, one stream at a time: never half a character, never the whole decoded again.

Joined, the parts are what decoding all ids at once gives, for whatever a tokenizer encoded. Where a model makes
bytes that are no text, the two may differ in how many replacement characters stand for them: those are written
once it is sure that nothing completes them, and what is still incomplete at the end is left out rather than
written as one. Byte-level tokenizers, which most models have, are decoded here byte by byte; others by the library's
own `DecodeStream`, which looks at the last few tokens.
"""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.tokenizers.engine import Engine

if TYPE_CHECKING:
    from tokenizers.decoders import DecodeStream

HELD_AT_MOST = 8
"""Tokens that may wait for the rest of a character: the longest, four bytes, has four in any tokenizer."""


class Detokenizer:
    """The text of one answer's ids."""

    __slots__ = ("_skip",)

    def __init__(self, skip: frozenset[int]) -> None:
        self._skip = skip

    def push(self, ids: Iterable[int]) -> str:
        """The text these ids complete; empty while a character is not whole."""
        raise NotImplementedError

    def finish(self) -> str:
        """No more ids come: what was held and is whole text. The beginning of a character is dropped."""
        raise NotImplementedError

    @property
    def pending(self) -> bool:
        """Whether the last ids wait for the rest of a character."""
        raise NotImplementedError


class ByteDetokenizer(Detokenizer):
    """For byte-level tokenizers: each token is some bytes."""

    __slots__ = ("_decoder", "_spelled")

    def __init__(self, spelled: "TokenBytes", skip: frozenset[int]) -> None:
        super().__init__(skip)
        self._spelled = spelled
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        skip, spelled = self._skip, self._spelled
        return self._decoder.decode(b"".join([spelled[number] for number in ids if number not in skip]))

    def finish(self) -> str:
        self._decoder.reset()
        return ""

    @property
    def pending(self) -> bool:
        return bool(self._decoder.getstate()[0])


class StreamDetokenizer(Detokenizer):
    """For all others: the library's stream, started again where bytes that are no text have confused it."""

    __slots__ = ("_context", "_engine", "_held", "_skip_special", "_stream")

    def __init__(self, engine: Engine, skip_special: bool, context: Sequence[int]) -> None:
        super().__init__(engine.special_ids if skip_special else frozenset())
        self._engine = engine
        self._skip_special = skip_special
        self._context = [number for number in context if number not in self._skip][-HELD_AT_MOST:]
        self._held: list[int] = []
        self._stream = self._started()

    def _started(self) -> "DecodeStream":
        from tokenizers.decoders import DecodeStream

        return DecodeStream(ids=self._context, skip_special_tokens=self._skip_special)

    def push(self, ids: Iterable[int]) -> str:
        return "".join([self._step(number) for number in ids if number not in self._skip])

    def _step(self, number: int) -> str:
        self._held.append(number)
        try:
            text = self._stream.step(self._engine.tokenizer, number)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - bare Exception, when earlier text has changed, or a panic
            return self._given_up()
        if text is None:
            return self._given_up() if len(self._held) > HELD_AT_MOST else ""
        self._context = self._held[-1:]
        self._held.clear()
        return text

    def _given_up(self) -> str:
        """The text of what is held as it is, and a new stream after it."""
        before = self._engine.decode(self._context, skip_special=self._skip_special)
        whole = self._engine.decode([*self._context, *self._held], skip_special=self._skip_special)
        self._held.clear()
        self._stream = self._started()
        return whole.removeprefix(before)

    def finish(self) -> str:
        return self._given_up().rstrip("\N{REPLACEMENT CHARACTER}") if self._held else ""

    @property
    def pending(self) -> bool:
        return bool(self._held) and self._engine.decode(self._held).endswith("\N{REPLACEMENT CHARACTER}")


class TokenBytes(dict[int, bytes]):
    """The bytes of a byte-level tokenizer's tokens, looked up once each. Shared by all streams of a tokenizer."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def __missing__(self, number: int) -> bytes:
        token = self._engine.token(number)
        if token is None:  # models have more ids than their tokenizers; the library leaves these out, too
            return b""
        made = bytes(map(BYTE_OF.__getitem__, token)) if BYTE_OF.keys() >= set(token) else token.encode()
        self[number] = made
        return made


def _byte_of() -> dict[str, int]:
    """Byte-level tokenizers spell printable bytes as themselves and the other 68 as the letters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


BYTE_OF = _byte_of()


BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


def _parts(decoder: Mapping[str, Any] | None) -> set[str]:
    """The types of the decoder's parts."""
    if decoder is None:
        return set()
    members = decoder.get("decoders")
    return {str(part.get("type")) for part in members} if members is not None else {str(decoder.get("type"))}


class Detokenizing:
    """Makes the detokenizers of one tokenizer."""

    __slots__ = ("_bytes", "_engine", "_parts")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        decoder = engine.decoder()
        self._parts = _parts(decoder)
        self._bytes = TokenBytes(engine) if self._parts == {"ByteLevel"} else None

    def token_bytes(self, number: int) -> bytes:
        """What this token stands for by itself; empty for an id the vocabulary has not."""
        if self._bytes is not None:
            return self._bytes[number]
        token = self._engine.token(number)
        if token is None or number in self._engine.special_ids:
            return (token or "").encode()
        if "ByteFallback" in self._parts and BYTE_TOKEN.fullmatch(token):
            return bytes([int(token[3:5], 16)])
        if "WordPiece" in self._parts:
            return token.removeprefix("##").encode()
        return token.replace("▁", " ").encode()

    def stream(self, *, skip_special: bool = True, context: Sequence[int] = ()) -> Detokenizer:
        """A new answer's. `context`: the prompt's last ids, for tokenizers that write a word's space with the word
        and drop it at the very beginning; without them the text is that of the ids alone."""
        if self._bytes is not None:
            return ByteDetokenizer(self._bytes, self._engine.special_ids if skip_special else frozenset())
        return StreamDetokenizer(self._engine, skip_special, context)
