"""The filter language: `model:llama state:unhealthy p99>500 inflight>=10 label:rack=b7 -name:test "two words"`. Pure.

Words side by side must all fit, `-` before one turns it round, commas in a value are alternatives. `:` and `=`
look for a part (of states, roles and the like: the beginning), `==` for the whole, and `*` stands for anything.
`rack=b7` asks for a label where no field is called so.
Numbers compare with `>`, `>=`, `<`, `<=`, `=` and `!=`. Nothing is case-sensitive.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from gateway.workers.model import LISTED_STATES, State
from smg_console.plane import WorkerRow
from smg_console.present.fields import FIELDS, FORMS, Field, NumberField, TextField, number, texts_of, values_in

Test = Callable[[WorkerRow, float], bool]

_FIELD = re.compile(r"([a-z][a-z0-9_-]*)(:>=|:<=|:>|:<|>=|<=|!=|==|:|=|>|<)", re.IGNORECASE | re.ASCII)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: abs(a - b) <= 1e-9 * max(1.0, abs(b)),
    "!=": lambda a, b: abs(a - b) > 1e-9 * max(1.0, abs(b)),
}
_LISTED = {state.value for state in LISTED_STATES}
SHOWN = 12
"""Fields that an error names; completion knows them all."""


class FilterError(ValueError):
    """A word that is none of the language: which, and what is accepted instead."""

    def __init__(self, word: str, accepted: str) -> None:
        super().__init__(f"{word}: {accepted}")
        self.word = word
        self.accepted = accepted


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it was typed, from `start` to `end` in the text. `quoted` tells of each character of `text`."""

    raw: str
    start: int
    end: int
    text: str
    quoted: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A filter that was understood. Two of the same text are equal."""

    text: str
    tests: tuple[Test, ...] = ()

    def fits(self, row: WorkerRow, now: float) -> bool:
        """Whether a worker fits; `now` is wall-clock seconds."""
        return all(test(row, now) for test in self.tests)

    def __bool__(self) -> bool:
        return bool(self.tests)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


ALL = Query("")


def parsed(text: str) -> Query:
    """The filter that a text means. Raises FilterError."""
    words = split(text)
    return Query(" ".join(word.raw for word in words), tuple(_test(word) for word in words))


def without_faults(text: str) -> str:
    """The text without the words that are none of the language, and without what follows an open quote."""
    try:
        words = split(text)
    except FilterError as error:
        words = split(text.removesuffix(error.word))
    return " ".join(word.raw for word in words if _is_sound(word))


def _is_sound(word: Word) -> bool:
    try:
        _test(word)
    except FilterError:
        return False
    return True


def split(text: str) -> list[Word]:
    """The words of a text; quotes keep what is between them together. Raises FilterError for an open quote."""
    words: list[Word] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start, chars, quoted, inside = at, [], [], False
        while at < len(text) and (inside or not text[at].isspace()):
            if text[at] == '"':
                inside = not inside
            else:
                chars.append(text[at])
                quoted.append(inside)
            at += 1
        if inside:
            raise FilterError(text[start:], 'the quote " is not closed')
        words.append(Word(text[start:at], start, at, "".join(chars), tuple(quoted)))
    return words


def _test(word: Word) -> Test:
    text, quoted = word.text, word.quoted
    negated = text.startswith("-") and not quoted[0]
    if negated:
        text, quoted = text[1:], quoted[1:]
    if not text:
        raise FilterError(word.raw, "expected a word, or field:value")
    test = _positive(word.raw, text, quoted)
    return (lambda row, now: not test(row, now)) if negated else test


def _positive(raw: str, text: str, quoted: Sequence[bool]) -> Test:
    found = _FIELD.match(text)
    if found is None or any(quoted[: found.end()]) or text[found.end() :].startswith("//"):
        return _anywhere(text.lower())
    name, operator = found[1].lower(), found[2].removeprefix(":") or ":"
    field = FIELDS.get(name)
    if field is None:
        near = get_close_matches(name, FIELDS, 1, 0.7)
        if operator in ("=", "==") and not near and text[found.end() :]:
            return _labelled([text.lower()], whole=False)
        raise FilterError(raw, _no_field(name, near, text))
    value = text[found.end() :]
    if not value:
        raise FilterError(raw, f"{name} of what? Expected {_accepted(name, field)}")
    if isinstance(field, NumberField):
        return _comparison(raw, name, field, operator, value)
    if operator not in (":", "=", "=="):
        raise FilterError(raw, f"{name} is text: expected {_accepted(name, field)}")
    parts = _alternatives(value, quoted[found.end() :])
    if not all(parts):
        raise FilterError(raw, f"there is nothing between two commas; expected {_accepted(name, field)}")
    if name == "label":
        return _labelled(parts, whole=operator == "==")
    return _text(field, parts, whole=operator == "==")


def _alternatives(value: str, quoted: Sequence[bool]) -> list[str]:
    parts = [""]
    for char, literal in zip(value.lower(), quoted, strict=False):
        if char == "," and not literal:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _no_field(name: str, near: Sequence[str], text: str) -> str:
    if near:
        return f"there is no field {name}; did you mean {near[0]}?"
    return f'there is no field {name}; there are {", ".join(list(FIELDS)[:SHOWN])} … (Tab); as text: "{text}"'


def _accepted(name: str, field: Field) -> str:
    """What a field takes, with an example."""
    if isinstance(field, NumberField):
        return f"{FORMS[field.unit]}, as in {name}>{'5%' if field.unit == 'percent' else '500'}"
    if field.choices:
        return f"one of {', '.join(field.choices)}"
    return "label:name=value" if name == "label" else "a part of it, or all of it after =="


def _comparison(raw: str, name: str, field: NumberField, operator: str, value: str) -> Test:
    wanted = number(value, field.unit)
    if wanted is None:
        raise FilterError(raw, f"given {value}, expected {_accepted(name, field)}")
    compare = _COMPARE["=" if operator in (":", "==") else operator]
    of = field.of

    def test(row: WorkerRow, now: float) -> bool:
        have = of(row, now)
        return have is not None and compare(have, wanted)

    return test


def _one(part: str, *, whole: bool, from_start: bool) -> Callable[[str], bool]:
    """How one value is looked for in a text."""
    if "*" in part:
        pattern = part.replace("[", "[[]").replace("?", "[?]")
        return lambda text: fnmatchcase(text, pattern)
    if whole:
        return lambda text: text == part
    return (lambda text: text.startswith(part)) if from_start else (lambda text: part in text)


def _text(field: TextField, parts: Iterable[str], *, whole: bool) -> Test:
    looks = [_one(part, whole=whole, from_start=field.from_start) for part in parts]
    of = field.of
    return lambda row, now: any(look(text) for text in of(row) for look in looks)


def _labelled(parts: Iterable[str], *, whole: bool) -> Test:
    """Of a label the name must be whole (`label:rack=b7`); without a value the label must be there."""
    looks: list[tuple[str, Callable[[str], bool]]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        exact = whole or value.startswith("=")
        looks.append((name, _one(value.removeprefix("="), whole=exact and bool(equals), from_start=False)))

    def test(row: WorkerRow, now: float) -> bool:
        labels = {name.lower(): value.lower() for name, value in row.worker.labels.items()}
        return any(name in labels and look(labels[name]) for name, look in looks)

    return test


def _anywhere(part: str) -> Test:
    look = _one(part, whole=False, from_start=False)
    return lambda row, now: any(look(text) for text in texts_of(row))


# --- around a filter ---


def with_state(text: str, state: str | None) -> str:
    """The filter with its state words replaced by one (None: by none); what else was asked stays."""
    try:
        words = [word.raw for word in split(text)]
    except FilterError:
        words = []
    kept = [word for word in words if not re.match(r"state[:=]", word, re.IGNORECASE)]
    return " ".join(kept if state is None else [*kept, f"state:{state}"])


def state_alone(text: str) -> State | None:
    """The one state that a filter asks for; None where it asks for none, or otherwise than `with_state` does."""
    asked = [found[1] for word in split(text) if (found := re.fullmatch(r"state[:=](.*)", word.raw, re.IGNORECASE))]
    return State(asked[0].lower()) if len(asked) == 1 and asked[0].lower() in _LISTED else None


def completions(text: str, rows: Iterable[WorkerRow]) -> list[str]:
    """The texts that the last word may be completed to, the whole text each; none where a space was typed last."""
    at = max(text.rfind(" "), text.rfind("\t")) + 1
    before, word = text[:at], text[at:]
    sign = "-" if word.startswith("-") else ""
    word = word.removeprefix("-")
    if not word or '"' in word:
        return []
    found = _FIELD.match(word)
    if found is None:
        names = [name for name in FIELDS if name.startswith(word.lower())]
        return [f"{before}{sign}{name}{':' if isinstance(FIELDS[name], TextField) else '>'}" for name in names]
    name, typed = found[1].lower(), word[found.end() :]
    done, comma, last = typed.rpartition(",")
    values = [value for value in values_in(rows, name) if value.startswith(last.lower()) and value != last]
    return [f"{before}{sign}{word[: found.end()]}{done}{comma}{_quoted(value)}" for value in values]


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value or "," in value else value


def fields_line() -> str:
    """All fields in a line, for the hint under an empty filter."""
    return "  ".join(f"{name}{':' if isinstance(field, TextField) else '>'}" for name, field in FIELDS.items())
