"""What the things a chat template can do cost: calls of text methods, operators, filters.

Each takes the budget of the rendering under way, says what it is about to make, and only then makes it. The sandbox
(`gateway.tokenizers.sandbox`) makes generated code come here.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError

from gateway.tokenizers.bounds import LIST_ITEM, Budget, Forbidden

current: ContextVar[Budget] = ContextVar("chat_templatecurrent")

STAR_WIDTH = re.compile(r"%[^%a-zA-Z]*\*")
NESTED_FIELD = re.compile(r"\{[^{}]*\{")
NUMBERS = re.compile(r"\d{1,15}")
"""Of all scripts: `format` reads them, too."""

_TEXT_METHODS = (
    "capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha isascii "
    "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip "
    "partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines "
    "startswith strip swapcase title upper zfill"
)
TEXT_METHODS = frozenset(_TEXT_METHODS.split())
NUMBER_BITS = 20_000
OPERATORS: Mapping[str, Callable[[int, int], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "**": operator.pow,
    "%": operator.mod,
}
PADDING_METHODS = frozenset(("center", "expandtabs", "ljust", "rjust", "zfill"))
_PICKING_FILTERS = "attr count d default first items last length list map reject rejectattr reverse safe select"
PICKING_FILTERS = frozenset((*_PICKING_FILTERS.split(), "selectattr"))
"""They make nothing that was not there."""
TAKING_APART = frozenset(("list", "slice", "sort", "title"))
"""They make a list of a text's characters or words."""
SIZED_FILTERS = frozenset(("batch", "center", "indent", "round", "slice"))
"""Their numbers say how much to make."""


@contextmanager
def paying(budget: Budget) -> Iterator[None]:
    """Whatever templates do inside is paid from this budget."""
    token = current.set(budget)
    try:
        yield
    finally:
        current.reset(token)


def numbers(sign: str, left: int, right: int) -> Any:
    """`left sign right`, where that is no huge number."""
    if sign == "*" and left.bit_length() + right.bit_length() > NUMBER_BITS:
        raise Forbidden(f"it multiplied to a number beyond {NUMBER_BITS} bits")
    if sign == "**" and left.bit_length() * abs(right) > NUMBER_BITS:
        raise Forbidden(f"it raised to a number beyond {NUMBER_BITS} bits")
    return OPERATORS[sign](left, right)


def repeated(budget: Budget, value: Any, times: int) -> Any:
    """A text or a list so many times."""
    budget.make(len(value) * max(times, 0) * (1 if isinstance(value, str) else LIST_ITEM))
    made = value * times
    if not isinstance(value, str) and times > 0:
        budget.add_times(made, value, times)
    return made


def percent(budget: Budget, text: str, values: Any) -> str:
    """`text % values`, in which no width is large."""
    budget.make(_percent_size(budget, text, (values,), again=isinstance(values, dict)))
    made: str = text % values
    return made


def _percent_size(budget: Budget, text: str, values: tuple[Any, ...], *, again: bool) -> int:
    """Characters that `%` may make; `again`: a value may be written more than once."""
    budget.few(len(text))
    if STAR_WIDTH.search(text):
        raise Forbidden("it formats with a width that it is given")
    weight = sum(budget.weigh(value) for value in values)
    return len(text) + weight * (text.count("%") if again else 1) + _widths(text)


def _format_size(budget: Budget, text: str, values: tuple[Any, ...]) -> int:
    """Characters that `format` may make: each field may write any value, and be padded."""
    budget.few(len(text))
    if NESTED_FIELD.search(text.replace("{{", "").replace("}}", "")):
        raise Forbidden("it formats with a width that it is given")
    return len(text) + text.count("{") * sum(budget.weigh(value) for value in values) + _widths(text)


def _widths(text: str) -> int:
    """All numbers in a format: what its widths are at most."""
    return sum(map(int, NUMBERS.findall(text)))


def checked_text_call(budget: Budget, text: str, name: str, args: tuple[Any, ...], kwargs: Any) -> tuple[Any, ...]:
    """The arguments for this method of a text, once it is clear that it makes nothing large."""
    if name not in TEXT_METHODS:
        raise SecurityError(f"a template may not call {name} of a text")
    if name in PADDING_METHODS:
        budget.small(*args, *kwargs.values())
    if name in ("format", "format_map"):
        budget.make(_format_size(budget, text, (*args, *kwargs.values())))
    elif name == "join" and args:
        args = (list(budget.each(args[0])), *args[1:])
        budget.make(budget.weigh(args[0]) + len(text) * len(args[0]))
    elif name == "replace" and len(args) >= 2:
        _replacing(budget, text, args[0], args[1])
    elif name == "expandtabs":
        budget.make(text.count("\t") * (args[0] if args and isinstance(args[0], int) else 8) + len(text))
    return args


def _replacing(budget: Budget, text: Any, old: Any, new: Any) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        budget.make(len(text) + text.count(old) * max(len(new) - len(old), 0))


def paid_filter(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, paid for by what it takes and gives."""
    first = 1 if hasattr(filter_, "jinja_pass_arg") else 0

    @wraps(filter_)
    def paid(*args: Any, **kwargs: Any) -> Any:
        budget = current.get()
        budget.spend()
        value, more = args[first], (*args[first + 1 :], *kwargs.values())
        if name in SIZED_FILTERS:
            budget.small(*more)
        if name in TAKING_APART and isinstance(value, str):
            budget.few(len(value))
        if name in PICKING_FILTERS:
            return _picked(budget, filter_(*args, **kwargs))
        if not isinstance(value, str | dict | list | tuple | int | float | None | Undefined):
            value = list(budget.each(value))
        needed = _needed(budget, name, value, more)
        budget.make(needed)
        result = filter_(*args[:first], value, *args[first + 1 :], **kwargs)
        if isinstance(result, str):
            budget.make(max(0, len(result) - needed))
        return _picked(budget, result)

    return paid


def _needed(budget: Budget, name: str, value: Any, more: tuple[Any, ...]) -> int:
    """Characters that this filter may make."""
    texts = [part for part in more if isinstance(part, str)]
    longest = max(map(len, texts), default=0)
    weight = budget.weigh(value)
    match name:
        case "join":
            return weight + longest * (len(value) if hasattr(value, "__len__") else 0)
        case "replace":
            if len(texts) >= 2:
                _replacing(budget, str(value), texts[0], texts[1])
        case "indent":
            width = max([longest, *(part for part in more if isinstance(part, int))], default=4)
            return weight + width * (str(value).count("\n") + 1)
        case "tojson":
            if longest > 64 or any(isinstance(part, int) and part > 64 for part in more):
                raise Forbidden("tojson takes an indent and separators of at most 64 characters")
        case "format":
            return _percent_size(budget, str(value), more, again=True)
    return weight


def _picked(budget: Budget, result: Any) -> Any:
    """What a filter gave, weighed where it is a new list, and metered where it comes item by item."""
    if isinstance(result, str):
        return result
    if isinstance(result, list | tuple | dict):
        budget.make(len(result) * LIST_ITEM)
        budget.weigh(result)
        return result
    return budget.each(result) if isinstance(result, Iterator) else result


def paid_test(test: Callable[..., Any]) -> Callable[..., Any]:
    """The test (`is eq`, `is in` …), a step each."""

    @wraps(test)
    def paid(*args: Any, **kwargs: Any) -> Any:
        current.get().spend()
        return test(*args, **kwargs)

    return paid
