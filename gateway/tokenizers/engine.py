"""One loaded tokenizer as the rest of the house sees it: ids of a text, text of ids, what it is made of.

The only module that touches the `tokenizers` library's objects, which are untyped in places. `encode` and
`decode` hold the interpreter lock; `encode_many` lets go of it, so it is the one for threads. Safe to use from
several threads.
"""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.tokenizers.errors import NotText, SourceUnusable, TokenizerBroken
from gateway.tokenizers.pieces import Anatomy, Special
from gateway.tokenizers.sources import complaint

if TYPE_CHECKING:
    from tokenizers import Encoding as LibraryEncoding
    from tokenizers import Tokenizer


class Engine:
    """Encodes and decodes by one `tokenizer.json`."""

    __slots__ = ("anatomy", "model_vocab_size", "special_ids", "tokenizer", "vocab_size")

    def __init__(self, tokenizer: "Tokenizer") -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
        self.model_vocab_size = tokenizer.get_vocab_size(with_added_tokens=False)
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(number for number, token in added.items() if token.special)
        self.anatomy = Anatomy(
            model=type(tokenizer.model).__name__,
            dropout=bool(getattr(tokenizer.model, "dropout", None)),
            normalizer=_state(tokenizer.normalizer),
            pre_tokenizer=_state(tokenizer.pre_tokenizer),
            specials=tuple(
                Special(token.content, token.single_word, token.lstrip, token.rstrip)
                for token in added.values()
                if not token.normalized
            ),
        )

    def encode(self, text: str, *, add_special: bool = False) -> "array[int]":
        """The text's ids. Holds the interpreter lock: some 0.3 ms a KB. Raises NotText."""
        with _failures(text):
            return array("I", self.tokenizer.encode(text, add_special_tokens=add_special).ids)

    def encode_many(self, texts: Sequence[str], *, add_special: bool = False) -> "list[array[int]]":
        """The ids of each; the interpreter lock is free meanwhile. Raises NotText."""
        return ids_of(self.encodings(texts, add_special=add_special))

    def encodings(self, texts: Sequence[str], *, add_special: bool = False) -> "list[LibraryEncoding]":
        """What `ids_of` makes ids of. For threads behind the loop's: the interpreter lock is free all the time.
        Raises NotText."""
        with _failures(*texts):
            return self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special)

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """The ids' text; unknown ids are left out, as the library does it. Holds the interpreter lock."""
        with _failures():
            return self.tokenizer.decode(list(ids), skip_special_tokens=skip_special)

    def decode_long(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        """As `decode`. For threads: the interpreter lock is free meanwhile."""
        with _failures():
            return self.tokenizer.decode_batch([list(ids)], skip_special_tokens=skip_special)[0]

    def token(self, number: int) -> str | None:
        """How the vocabulary spells this token."""
        return self.tokenizer.id_to_token(number)

    def decoder(self) -> Mapping[str, Any] | None:
        """The decoder part, as in `tokenizer.json`."""
        return _state(self.tokenizer.decoder)


def ids_of(done: "list[LibraryEncoding]") -> "list[array[int]]":
    """Holds the interpreter lock, 0.4 ms for 100 KB of text: not for threads of a lower priority than the loop's,
    which may be put aside in the middle, and the loop would wait for them."""
    return [array("I", encoding.ids) for encoding in done]


def engine_of(data: bytes, name: str, specials: Iterable[str] = ()) -> Engine:
    """The tokenizer in these bytes. The library holds the interpreter lock meanwhile, 20 to 40 ms a MB. Raises
    SourceUnusable. `specials`: tokens that the model's settings call special; those of its vocabulary that the file
    does not list as added tokens become special here, as with transformers."""
    # Else the library encodes in threads of its own, which the priority of ours says nothing to.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import AddedToken, Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
        listed = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        missing = [word for word in specials if word not in listed and tokenizer.token_to_id(word) is not None]
        tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in missing])
        return Engine(tokenizer)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the library raises bare Exception, or panics, at what it cannot read
        wrong = complaint(data) or f"the tokenizers library cannot read it: {str(error)[:300]}"
        raise SourceUnusable(f"{name}: {wrong}") from None


@contextmanager
def _failures(*texts: str) -> Iterator[None]:
    """What the library raises, in our words. A panic of its is no Exception, and would end whoever catches only
    those."""
    try:
        yield
    except (UnicodeEncodeError, TypeError):
        for text in texts:
            check_text(text)
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerBroken(f"the tokenizers library failed on this input: {str(error)[:200]}") from None


def _state(part: Any) -> Mapping[str, Any] | None:
    if part is None:
        return None
    state: Mapping[str, Any] = msgspec.json.decode(part.__getstate__())
    return state


def check_text(text: str) -> None:
    """Raises NotText for a text that cannot be written as UTF-8; the library only says that it is no string."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotText(
            f"the text has half of a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}, "
            "which is not Unicode text; expected text that can be written as UTF-8"
        ) from None
