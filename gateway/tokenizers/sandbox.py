"""Jinja2's sandbox with HuggingFace's conventions, in which a template can neither reach Python nor run away.

Jinja's own sandbox keeps templates from Python's internals. It does not keep them from looping for hours or from
making a terabyte of text, so here the generated code pays for what it does (`gateway.tokenizers.bounds`): each
block, call, filter, test, comparison, slice, literal, `~`, `+`, `*`, `**`, `%` and each value written. Nothing is
folded at compile time, when nobody counts.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import BuiltinMethodType, FunctionType
from typing import Any, cast

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from gateway.tokenizers.bounds import LIST_ITEM, Forbidden
from gateway.tokenizers.payments import checked_text_call, current, numbers, paid_filter, paid_test, percent, repeated

DROPPED_FILTERS = ("pprint", "random", "striptags", "urlize", "wordcount", "wordwrap", "xmlattr")
"""No chat template uses them, and their cost is not bounded by their input's size."""


class PayingCode(CodeGenerator):
    """Generates code that pays."""

    def blockvisit(self, nodes_: Iterable[nodes.Node], frame: Frame) -> None:
        body = list(nodes_)
        fixed = sum(
            len(part.data)
            for node in body
            if isinstance(node, nodes.Output)
            for part in node.nodes
            if isinstance(part, nodes.TemplateData)
        )
        self.writeline(f"environment.pay_block({fixed})")
        super().blockvisit(body, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        if node.test is not None:  # else each round pays for its body
            call = nodes.Call(nodes.EnvironmentAttribute("pay_each"), [node.iter], [], None, None)
            node.iter = call.set_environment(self.environment)
        super().visit_For(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.pay_concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        self.write("(environment.pay_step() or ")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        sliced = isinstance(node.arg, nodes.Slice)
        self.write("environment.pay_slice(" if sliced else "")
        super().visit_Getitem(node, frame)
        self.write(")" if sliced else "")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._literal(node.items, lambda: super(PayingCode, self).visit_List(node, frame))

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        items = node.items if node.ctx == "load" else []
        self._literal(items, lambda: super(PayingCode, self).visit_Tuple(node, frame))

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        items = [part for item in node.items for part in (item.key, item.value)]
        self._literal(items, lambda: super(PayingCode, self).visit_Dict(node, frame))

    def _literal(self, items: Sequence[nodes.Node], write: Callable[[], None]) -> None:
        """A literal of constants alone is as large as the template made it, and needs no weighing."""
        paid = not all(isinstance(item, nodes.Const) for item in items)
        self.write("environment.pay_literal(" if paid else "")
        write()
        self.write(")" if paid else "")


class Generation(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; rendering gives its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's interface

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class Attributes(Namespace):
    """A namespace whose attributes do not begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that an attribute may be called self
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _public(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        super().__setitem__(name, value)


def _public(name: object) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"a namespace may not have the attribute {name!r}")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all chat templates."""

    code_generator_class = PayingCode
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            autoescape=False,
            cache_size=0,
            finalize=_paid_output,
            extensions=[Generation, loopcontrols],
        )
        for name in DROPPED_FILTERS:
            del self.filters[name]
        self.filters["tojson"] = _tojson
        self.filters["sum"] = self._sum
        for name, filter_ in self.filters.items():
            self.filters[name] = paid_filter(name, filter_)
        for name, test in self.tests.items():
            self.tests[name] = paid_test(cast("Callable[..., Any]", test))
        del self.globals["lipsum"]

        def strftime_now(format: str) -> str:  # noqa: A002 - HuggingFace's name
            if len(str(format)) > 256:
                raise Forbidden("strftime_now takes a format of at most 256 characters")
            return now().strftime(str(format))

        self.globals |= {
            "dict": _dict,
            "namespace": Attributes,
            "raise_exception": _raise_exception,
            "strftime_now": strftime_now,
        }

    # What generated code calls; templates have no name for them.

    def pay_block(self, fixed: int) -> None:
        budget = current.get()
        budget.spend()
        if fixed:
            budget.make(fixed)

    def pay_step(self) -> None:
        current.get().spend()

    def pay_each(self, items: Iterable[Any]) -> Iterable[Any]:
        return current.get().each(items)

    def pay_concat(self, parts: tuple[Any, ...]) -> str:
        budget = current.get()
        budget.make(sum(budget.weigh(part) for part in parts))
        return "".join(map(str, parts))

    def pay_slice(self, value: Any) -> Any:
        if isinstance(value, str):
            current.get().make(len(value))
        elif isinstance(value, list | tuple):
            current.get().make(len(value) * LIST_ITEM)
        return value

    def pay_literal(self, value: Any) -> Any:
        current.get().weigh(value)
        return value

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if getattr(function, "__func__", None) is Sandbox.pay_each:
            return self.pay_each(args[0])
        budget = current.get()
        budget.spend()
        method = function if isinstance(function, BuiltinMethodType) else getattr(function, "__wrapped__", function)
        owner = getattr(method, "__self__", None) if not isinstance(method, FunctionType) else None
        if isinstance(owner, bytes | bytearray | memoryview):
            raise SecurityError("a template may not use bytes")
        if isinstance(owner, int | float):
            budget.small(*args, *kwargs.values())
        elif isinstance(owner, str):
            args = checked_text_call(budget, owner, method.__name__, args, kwargs)
        result = super().call(context, function, *args, **kwargs)
        if isinstance(result, str):
            budget.make(len(result))
        elif isinstance(result, dict | list | tuple):
            budget.weigh(result)
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = current.get()
        budget.spend()
        if isinstance(left, int) and isinstance(right, int):
            return numbers(operator, left, right)
        if operator == "%" and isinstance(left, str):
            return percent(budget, left, right)
        if operator == "*":
            left, right = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(right, int) and isinstance(left, str | list | tuple):
                return repeated(budget, left, right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            budget.make(len(left) + len(right))
            return left + right
        if operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
            budget.make((len(left) + len(right)) * LIST_ITEM)
            joined = super().call_binop(context, operator, left, right)
            budget.add_up(joined, left, right)
            return joined
        return super().call_binop(context, operator, left, right)

    @pass_context
    def _sum(self, context: Context, iterable: Iterable[Any], attribute: str | None = None, start: Any = 0) -> Any:
        if attribute is not None:
            iterable = self.call_filter("map", iterable, kwargs={"attribute": attribute}, context=context)
        for item in iterable:
            start = self.call_binop(context, "+", start, item)
        return start


@pass_context
def _paid_output(context: Context, value: Any) -> Any:
    budget = current.get()
    budget.make(budget.weigh(value))
    return value


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as chat templates want it: nothing escaped for HTML, and letters of all scripts as they are."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise_exception(message: Any) -> None:
    raise TemplateError(str(message))
