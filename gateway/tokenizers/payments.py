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

WIDE_PERCENT = re.compile(r"%(\([^)]*\))?[-+ #0]*(\*|\d{5,}|\d*\.(\*|\d{5,}))")
WIDE_BRACES = re.compile(r"\{[^{}]*(\{|\d{5,})")

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
_PICKING_FILTERS = "attr count d default first items last length list map max min reject rejectattr reverse safe select"
PICKING_FILTERS = frozenset((*_PICKING_FILTERS.split(), "selectattr"))
"""They make nothing that was not there."""
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
    if WIDE_PERCENT.search(text):
        raise Forbidden("it formats with a width of more than four digits")
    budget.make(len(text) + budget.weigh(values))
    made: str = text % values
    return made


def checked_text_call(budget: Budget, text: str, name: str, args: tuple[Any, ...], kwargs: Any) -> tuple[Any, ...]:
    """The arguments for this method of a text, once it is clear that it makes nothing large."""
    if name not in TEXT_METHODS:
        raise SecurityError(f"a template may not call {name} of a text")
    if name in PADDING_METHODS:
        budget.small(*args, *kwargs.values())
    if name in ("format", "format_map"):
        if WIDE_BRACES.search(text.replace("{{", "").replace("}}", "")):
            raise Forbidden("it formats with a nested width, or one of more than four digits")
        budget.make(len(text) + sum(budget.weigh(value) for value in (*args, *kwargs.values()) if _written(value)))
    elif name == "join" and args:
        args = (list(budget.each(args[0])), *args[1:])
        budget.make(budget.weigh(args[0]) + len(text) * len(args[0]))
    elif name == "replace" and len(args) >= 2:
        _replacing(budget, text, args[0], args[1])
    elif name == "expandtabs":
        budget.make(text.count("\t") * (args[0] if args and isinstance(args[0], int) else 8) + len(text))
    return args


def _written(value: Any) -> bool:
    return isinstance(value, str | int | float | dict | list | tuple)


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
        if name in PICKING_FILTERS:
            return _picked(budget, filter_(*args, **kwargs))
        if not isinstance(value, str | dict | list | tuple | int | float | None | Undefined):
            value = list(budget.each(value))
        budget.make(_needed(budget, name, value, more))
        result = filter_(*args[:first], value, *args[first + 1 :], **kwargs)
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
            if WIDE_PERCENT.search(str(value)):
                raise Forbidden("it formats with a width of more than four digits")
            return weight + sum(budget.weigh(part) for part in more)
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
