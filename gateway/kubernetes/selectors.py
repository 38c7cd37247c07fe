"""Label selectors: Kubernetes' whole syntax, parsed, checked and matched here, without I/O.

A selector is checked before it is ever sent, so that a typing mistake is refused at start with its reason; and
it is matched here as well as by the API server, because in a disaggregated fleet one watch serves several
selectors. The grammar is the API server's: `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`,
`k>1`, `k<1`, joined by commas, all of which must hold.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

ACCEPTED = "accepted are k=v, k!=v, 'k in (a,b)', 'k notin (a,b)', k, !k, 'k>1' and 'k<1', joined by commas"
MAX_NAME = 63
MAX_PREFIX = 253
INT64 = 2**63

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)

Labels = Mapping[str, str]


class Operator(StrEnum):
    """How a requirement compares. `=` and `==` are IN with one value, `!=` is NOT_IN with one."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `values` are sorted and distinct; GREATER and LESS have exactly one integer."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:  # a pod without the label is not in the set either
                return value is None or value not in self.values
        number = None if value is None else _integer(value)
        if number is None:
            return False
        bound = int(self.values[0])
        return number > bound if self.operator is Operator.GREATER else number < bound

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.ABSENT:
                return f"!{self.key}"
            case Operator.GREATER | Operator.LESS:
                return f"{self.key}{self.operator}{self.values[0]}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold; an empty one matches every pod. `str()` is the canonical form, fit for
    the API server: requirements sorted and distinct."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __bool__(self) -> bool:
        """False for the empty selector, which narrows nothing."""
        return bool(self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse(text: str) -> Selector:
    """The selector of a text in the API server's syntax; an empty text is the empty selector.

    Raises ValueError with what is wrong, where, and what is accepted.
    """
    return _selector(_Parser(text).requirements())


def parse_tokens(tokens: Sequence[str]) -> Selector:
    """The selector of a flag's arguments (`--selector app=x 'tier in (a,b)'`): all arguments must hold.

    A comma at an argument's end is let pass, as in `app=x, tier=y` without quotes. Raises ValueError as `parse`
    does, and for an argument with nothing in it.
    """
    found: list[Requirement] = []
    for token in tokens:
        text = token.strip().removesuffix(",")
        if not text.strip():
            raise ValueError(f"selector argument {token!r} is empty; {ACCEPTED}")
        found += _Parser(text).requirements()
    return _selector(found)


def common(selectors: Iterable[Selector]) -> Selector:
    """The requirements that all the selectors share: what one watch for all of them may ask the server for."""
    sets = [set(selector.requirements) for selector in selectors]
    return _selector(set.intersection(*sets) if sets else ())


def _selector(requirements: Iterable[Requirement]) -> Selector:
    return Selector(tuple(sorted(set(requirements), key=lambda one: (one.key, one.operator.value, one.values))))


def key_problem(key: str) -> str | None:
    """What is wrong with a label key, or None: an optional DNS prefix with `/`, then a name of up to 63 characters."""
    prefix, slash, name = key.rpartition("/")
    if slash and not (len(prefix) <= MAX_PREFIX and _PREFIX.fullmatch(prefix)):
        return (
            f"label key {key!r}: the part before '/' must be a lower-case DNS name of at most {MAX_PREFIX} characters"
        )
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        return (
            f"label key {key!r}: a name has 1 to {MAX_NAME} of letters, digits, '-', '_' and '.', "
            "and begins and ends with a letter or digit"
        )
    return None


def value_problem(value: str) -> str | None:
    """What is wrong with a label value, or None: empty, or up to 63 characters as in a key's name."""
    if value and (len(value) > MAX_NAME or not _NAME.fullmatch(value)):
        return (
            f"label value {value!r}: empty, or 1 to {MAX_NAME} of letters, digits, '-', '_' and '.', "
            "beginning and ending with a letter or digit"
        )
    return None


def _integer(text: str) -> int | None:
    """The number if the text is one of 64 bits, as the API server reads it."""
    if len(text) > MAX_NAME or not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -INT64 <= number < INT64 else None


_OPERATORS = {"=": Operator.IN, "==": Operator.IN, "!=": Operator.NOT_IN, ">": Operator.GREATER, "<": Operator.LESS}
_SYMBOLS = {"==", "!=", "=", "!", "<", ">", "(", ")", ","}
_END = ""


class _Parser:
    """Reads one text. `in` and `notin` are words like any other except where an operator is due."""

    __slots__ = ("_at", "_text", "_tokens")

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [match[1] or match[2] for match in _TOKEN.finditer(text)]
        self._at = 0

    def requirements(self) -> list[Requirement]:
        if not self._tokens:
            return []
        found = [self._requirement()]
        while self._peek() != _END:
            if (token := self._next()) != ",":
                raise self._wrong(f"found {token!r} where a ',' or the end was due")
            found.append(self._requirement())
        return found

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._key(), Operator.ABSENT)
        key = self._key()
        token = self._peek()
        if token in (_END, ","):
            return Requirement(key, Operator.EXISTS)
        self._next()
        if token in ("in", "notin"):
            return Requirement(key, Operator(token), self._value_set())
        if token not in _OPERATORS:
            raise self._wrong(f"found {token!r} after the key {key!r} where an operator was due")
        return Requirement(key, _OPERATORS[token], (self._one_value(key, token),))

    def _key(self) -> str:
        token = self._next()
        if token == _END or token in _SYMBOLS:
            raise self._wrong(f"found {token!r} where a label key was due" if token else "a label key is missing")
        if (problem := key_problem(token)) is not None:
            raise self._wrong(problem)
        return token

    def _one_value(self, key: str, operator: str) -> str:
        if operator in "<>":
            token = self._next()
            if (number := _integer(token)) is None:
                raise self._wrong(f"{key}{operator} needs an integer, not {token!r}")
            return str(number)
        if self._peek() in (_END, ","):
            return ""  # `k=` asks for the empty value
        return self._value()

    def _value(self) -> str:
        token = self._next()
        if token in _SYMBOLS:
            raise self._wrong(f"found {token!r} where a label value was due")
        if (problem := value_problem(token)) is not None:
            raise self._wrong(problem)
        return token

    def _value_set(self) -> tuple[str, ...]:
        if (token := self._next()) != "(":
            raise self._wrong(f"found {token!r} where '(' was due" if token else "'(' is missing after in or notin")
        if self._peek() == ")":
            raise self._wrong("the set of values is empty")
        values: set[str] = set()
        while True:
            values.add("" if self._peek() in (",", ")") else self._value())
            token = self._next()
            if token == ")":
                return tuple(sorted(values))
            if token != ",":
                raise self._wrong(f"found {token!r} where ',' or ')' was due" if token else "')' is missing")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"selector {self._text!r}: {what}; {ACCEPTED}")
