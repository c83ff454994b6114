"""The Jinja of chat templates: transformers' environment, in which every operation is charged.

Knows Jinja's syntax tree, filters and operators; does not know chats or what a charge costs. The
sandbox of Jinja keeps a template away from Python, not from the processor and the memory.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes as nodes
import jinja2.parser
import jinja2.sandbox
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.visitor import NodeTransformer

from .template_filters import SHALLOW, before
from .template_helpers import GLOBALS, concat, tojson
from .template_limits import (
    budget,
    counted,
    formatted,
    growth,
    listed,
    made,
    weigh,
)

__all__ = ["Environment"]

# Names that no template can write.
_EACH, _WEIGH, _MADE, _CHARGE = " each", " weigh", " made", " charge"
# Tests that walk over both values; the others look at a type.
_DEEP_TESTS = (
    "in eq == equalto ne != lt < lessthan gt > greaterthan ge >= le <= upper lower".split()
)
# Methods that look one thing up, whatever the size of the rest.
_CHEAP = frozenset(("get", "keys", "values", "items"))
_DATA = (str, bytes, int, float, list, tuple, dict)


class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Compiles and renders templates as transformers does, within the budget of ``limited``."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    concat = staticmethod(concat)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, jinja2.ext.loopcontrols],
            finalize=_finalize,
        )
        self.filters["tojson"] = tojson
        self.globals |= {**GLOBALS, "lipsum": _bounded("lipsum", self.globals["lipsum"])}
        filters: dict[str, Any] = {n: _bounded(n, found) for n, found in self.filters.items()}
        self.filters = filters | {_EACH: _each, _WEIGH: _weighed, _MADE: _taken, _CHARGE: _charge}
        for name in _DEEP_TESTS:
            self.tests[name] = _bounded(name, self.tests[name])

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        charged = _Charging().visit(source)
        charged.set_environment(self)
        return super()._generate(charged, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget().charge(1)
        _before_binop(operator, left, right)
        return made(super().call_binop(context, operator, left, right))

    def call(
        __self,  # a keyword argument may be called self
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        budget().charge(4)
        args = tuple(counted(arg) for arg in args)
        if isinstance(__obj, (Macro, LoopContext)):
            return super().call(__context, __obj, *args, **kwargs)
        weigh([*args, *kwargs.values()])
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, _DATA):
            if name not in _CHEAP:
                weigh(owner)
            if name == "join" and args:
                args = (listed(args[0]), *args[1:])
            growth(name, owner, *args, **kwargs)
        return made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if super().wrap_str_format(value) is None:
            return None
        text, by_map = value.__self__, value.__name__ == "format_map"
        formatter = _Formatter(self)
        if hasattr(text, "escape"):
            formatter = _EscapeFormatter(self, escape=text.escape)

        @functools.wraps(value)
        def format(*args: Any, **kwargs: Any) -> str:
            if by_map:
                (kwargs,), args = args, ()
            kind: type[str] = type(text)
            return kind(formatter.vformat(text, args, kwargs))

        return format


class _Charging(NodeTransformer):
    """Puts a charge where the work depends on a size: loops, bodies, comparisons, slices, keys."""

    def visit_For(self, node: nodes.For) -> Any:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _EACH, _size([node.test] if node.test else []))
        return _with_charge(node)

    def visit_body(self, node: nodes.Node) -> Any:
        self.generic_visit(node)
        return _with_charge(node)

    visit_Macro = visit_CallBlock = visit_Block = visit_body

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _WEIGH)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _WEIGH)
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        self.generic_visit(node)
        node.nodes = [_filtered(part, _WEIGH) for part in node.nodes]
        return _filtered(node, _MADE)

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = _filtered(node.key, _WEIGH)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _filtered(node, _MADE)
        node.arg = _filtered(node.arg, _WEIGH)
        return node


def _filtered(node: Any, name: str, *arguments: int) -> Any:
    """Return the expression put through one of the filters below; a constant stays as it is."""
    if isinstance(node, nodes.Const):
        return node
    given = [nodes.Const(argument) for argument in arguments]
    return nodes.Filter(node, name, given, [], None, None, lineno=node.lineno)


def _with_charge(node: Any) -> Any:
    """Let each run of the node's body charge for the body's size."""
    size = nodes.Const(_size(node.body), lineno=node.lineno)
    charge = nodes.Filter(size, _CHARGE, [], [], None, None, lineno=node.lineno)
    node.body.insert(0, nodes.ExprStmt(charge, lineno=node.lineno))
    return node


def _size(tree: list[nodes.Node]) -> int:
    return sum(1 for node in tree for _ in node.find_all(nodes.Node)) + len(tree)


# pass_context keeps Jinja from running these once, when the template is compiled.
@jinja2.pass_context
def _each(_: Context, value: Any, test: int) -> Any:
    if not hasattr(value, "__len__"):
        return counted(iter(value)) if hasattr(value, "__iter__") else value
    budget().charge((1 + test) * len(value))
    return value


@jinja2.pass_context
def _weighed(_: Context, value: Any) -> Any:
    return weigh(value)


@jinja2.pass_context
def _taken(_: Context, value: Any) -> Any:
    return made(value)


@jinja2.pass_context
def _charge(_: Context, steps: int) -> None:
    budget().charge(steps)


def _bounded(name: str, filter: Any) -> Callable[..., Any]:
    """Return the filter, test or function with its arguments and its result charged."""
    first = 1 if getattr(filter, "jinja_pass_arg", None) is not None else 0

    @functools.wraps(filter)
    def call(*args: Any, **kwargs: Any) -> Any:
        given, value = args[:first], args[first:]
        value = tuple(counted(item) for item in value)
        budget().charge(1)
        weigh(value[1:] if name in SHALLOW else value)
        weigh(kwargs)
        value = before(name, *value, **kwargs)
        return made(filter(*given, *value, **kwargs))

    return call


def _before_binop(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large."""
    purse = budget()
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        made(1 << min(1 << 20, left.bit_length() * abs(right)))
    elif operator == "*" and isinstance(left, int) and isinstance(right, int):
        made(1 << min(1 << 20, left.bit_length() + right.bit_length()))
    elif operator == "*" and isinstance(left, int) and hasattr(right, "__len__"):
        _before_binop(operator, right, left)
    elif operator == "*" and isinstance(right, int) and hasattr(left, "__len__"):
        length = len(left) * max(0, right)
        (purse.text if isinstance(left, (str, bytes)) else purse.charge)(length)
    elif operator == "%" and isinstance(left, (str, bytes)):
        purse.text(formatted(left, right))
    elif operator == "+" and isinstance(left, (str, bytes)) and isinstance(right, (str, bytes)):
        purse.text(len(left) + len(right))
    elif operator in ("+", "-") and not isinstance(left, (str, bytes, int, float)):
        weigh(left) if operator == "-" else None
        purse.charge(sum(len(side) for side in (left, right) if hasattr(side, "__len__")))


def _finalize(value: Any) -> Any:
    """Return what ``{{ value }}`` writes."""
    if isinstance(value, str):
        return value
    return made(str(weigh(value)))


class _Generation(jinja2.ext.Extension):
    """Renders the body of ``{% generation %}``, a tag that marks answers in training data."""

    tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

    def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A block of its own, as in transformers: what it sets is not seen behind it.
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Formatter(jinja2.sandbox.SandboxedFormatter):
    """``str.format`` in which each field is charged, and none is wider than a text may be."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return made(super().convert_field(weigh(value), conversion))

    def format_field(self, value: Any, format_spec: str) -> Any:
        for number in re.findall(r"\d+", format_spec):
            budget().text(int(number))
        return made(super().format_field(weigh(value), format_spec))


class _EscapeFormatter(_Formatter, jinja2.sandbox.SandboxedEscapeFormatter):
    """The same for text that is escaped for HTML."""
