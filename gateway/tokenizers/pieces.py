"""Where a text may be cut so that the pieces, encoded one by one, give exactly the ids of the whole. Pure.

A text is cut only right before a special token, so each piece but the first begins with one. The library itself
splits there before anything else happens: it looks for special tokens first (leftmost, then longest), and
normalizer, pre-tokenizer and model see the parts between them one at a time. What could still look across
the cut is excluded token by token (`may_cut_before`) and part by part (`objections`); whoever loads a tokenizer
also tries it (`gateway.tokenizers.trial`). Cutting before and not after a special token matters: a Llama 2 style
pre-tokenizer marks the very first word of a text, and what follows a special token is not that in either case.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

NORMALIZERS = frozenset(
    {
        "BertNormalizer",
        "ByteLevel",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Nmt",
        "Precompiled",
        "Prepend",
        "Replace",
        "Sequence",
        "Strip",
        "StripAccents",
    }
)
PRE_TOKENIZERS = frozenset(
    {
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Delimiter",
        "Digits",
        "FixedLength",
        "Metaspace",
        "Punctuation",
        "Sequence",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    }
)
MOST_CUTS = 1000
"""Special tokens looked at in one text; what comes after them is one last piece. So many take about a millisecond."""
MODELS = frozenset({"BPE", "Unigram", "WordLevel", "WordPiece"})


@dataclass(frozen=True, slots=True)
class Special:
    """A token that the library looks for in the raw text, before normalizing."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a tokenizer is made of, as far as it decides where one may cut."""

    model: str
    dropout: bool
    normalizer: Mapping[str, Any] | None
    pre_tokenizer: Mapping[str, Any] | None
    specials: tuple[Special, ...]


def may_cut_before(special: Special) -> bool:
    """Whether nothing before this token decides if or where it is found.

    `lstrip` takes spaces from before it, `single_word` looks at its neighbours; and its first character must be
    neither a space, which an `rstrip` token before it would take, nor part of a word, which a `single_word`
    token before it would look at.
    """
    if special.lstrip or special.single_word or not special.content:
        return False
    kind = unicodedata.category(special.content[0])
    return kind[0] in "PS" and kind != "Pc"


def objections(anatomy: Anatomy) -> list[str]:
    """Why this tokenizer's texts may not be cut at all; empty when they may."""
    found: list[str] = []
    if anatomy.model not in MODELS:
        found.append(f"its model {anatomy.model} is not known")
    if anatomy.dropout:
        found.append("its model has a dropout, so that encoding twice differs")
    for kind, known in ((anatomy.normalizer, NORMALIZERS), (anatomy.pre_tokenizer, PRE_TOKENIZERS)):
        found += [f"its part {name} is not known" for name in sorted(_types(kind) - known)]
    if not any(may_cut_before(special) for special in anatomy.specials):
        found.append("it has no special token before which a text may be cut")
    return found


def _types(part: Any) -> set[str]:
    """The types of a part and of the parts in it."""
    if isinstance(part, Mapping):
        own = {str(part.get("type"))}
        members = [part.get("normalizers"), part.get("pretokenizers")]
        return own.union(*(_types(member) for member in members))
    if isinstance(part, list):
        return set().union(*(_types(member) for member in part))
    return set()


class Cutter:
    """Cuts texts of one tokenizer into pieces; without special tokens each text is one piece.

    It looks for all the tokens the library looks for, since those it may not cut before decide where others are
    found. One expression per first character: then each is a search for a fixed prefix, which takes 0.03 ms in
    100 KB where one expression for all takes 5 ms.
    """

    __slots__ = ("_cut", "_groups")

    def __init__(self, specials: Iterable[Special]) -> None:
        known = {special.content: special for special in specials if special.content}
        longest_first = sorted(known, key=len, reverse=True)
        self._groups = [
            re.compile("|".join(re.escape(content) for content in longest_first if content[0] == first))
            for first in sorted({content[0] for content in known})
        ]
        self._cut = frozenset(content for content, special in known.items() if may_cut_before(special))

    def cuts(self, text: str) -> list[int]:
        """Where pieces begin, but the first, ascending."""
        if not self._cut:
            return []
        if len(self._groups) == 1:  # as of most tokenizers
            matches = islice(self._groups[0].finditer(text), MOST_CUTS)
            return [start for match in matches if (start := match.start()) and match.group() in self._cut]
        found: list[int] = []
        ahead = [(match.start(), match, group) for group in self._groups if (match := group.search(text))]
        for _ in range(MOST_CUTS):
            if not ahead:
                break
            start, match, _ = min(ahead, key=_start)
            if start and match.group() in self._cut:
                found.append(start)
            end = match.end()
            ahead = [
                (again.start(), again, group)
                for at, seen, group in ahead
                if (again := seen if at >= end else group.search(text, end))
            ]
        return found

    def pieces(self, text: str) -> list[str]:
        """The text's pieces in order; joined, they are the text."""
        cuts = self.cuts(text)
        if not cuts:
            return [text]
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _start(ahead: tuple[int, re.Match[str], re.Pattern[str]]) -> int:
    return ahead[0]
