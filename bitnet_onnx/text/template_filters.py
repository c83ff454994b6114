"""How far each filter of Jinja can grow what it is given, told before it runs.

Knows the filters' names and arguments; does not know templates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2.exceptions import SecurityError

from .template_limits import budget, formatted, growth, listed, steps

__all__ = ["SHALLOW", "before"]

# Filters that look at a value's length or one item, or that walk over its items and not into them.
SHALLOW = frozenset(
    "default d first last length count items attr list map select reject selectattr rejectattr"
    " reverse random batch slice".split()
)
# Filters that give one item for each of a value.
_WALKING = frozenset(
    "list map select reject selectattr rejectattr reverse batch slice unique sum sort groupby min"
    " max dictsort".split()
)
_SORTING = frozenset("sort groupby unique dictsort min max".split())
# Filters whose regular expressions take a time that can be quadratic in the length.
_SLOW = frozenset("urlize striptags pprint wordwrap".split())
# Filters that run a step of Python for each word or character.
_BY_WORD = frozenset("title urlencode wordcount".split())


def before(name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Charge for a filter's work, refuse one that is too large, and return its arguments."""
    if name == "lipsum":
        _lorem(*args, **kwargs)
        return args
    if not args:  # the filter itself says what it lacks
        return args
    value, rest = args[0], args[1:]
    if name in _WALKING and hasattr(value, "__len__"):
        budget().charge(len(value))
    if name in _SORTING:  # each item is compared some 20 times
        value = listed(value) if isinstance(value, Iterator) else value
        budget().charge(20 * steps(value))
    if name in _SLOW:
        budget().charge(len(str(value)) ** 2 // 64)
    if name in _BY_WORD:
        budget().charge(len(str(value)) // 4)
    if name in _CHECKS:
        value = _CHECKS[name](value, *rest, **kwargs)
    return (value, *rest)


def _padded(value: Any, width: int = 80) -> str:
    growth("center", str(value), width)
    return str(value) if not isinstance(value, str) else value


def _replaced(value: Any, old: Any, new: Any, count: Any = None) -> Any:
    growth("replace", str(value), str(old), str(new))
    return value


def _indented(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> Any:
    text = str(value)
    by = len(width) if isinstance(width, str) else width
    budget().text(len(text) + (len(text.splitlines()) + 1) * by)
    return value


def _joined(value: Any, d: Any = "", attribute: Any = None) -> Any:
    items = listed(value) if isinstance(value, Iterable) else value
    budget().text(steps(items) + len(items) * len(str(d)))
    return items


def _formatted(value: Any, *args: Any, **kwargs: Any) -> Any:
    budget().text(formatted(str(value), kwargs or args))
    return value


def _wrapped(
    value: Any, width: int = 79, long: bool = True, wrapstring: Any = None, *_: Any, **__: Any
) -> Any:
    text = str(value)
    lines = 2 * len(text) // max(1, width) + len(text.splitlines()) + 1
    budget().text(len(text) + lines * len(wrapstring or ""))
    return value


def _filled(value: Any, count: int, fill_with: Any = None) -> Any:
    budget().charge(abs(count))
    return value


def _rounded(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if abs(precision) > 400:  # beyond every float
        raise SecurityError(f"it rounds to {precision} digits, expected at most 400")
    return value


def _summed(value: Any, attribute: Any = None, start: Any = 0) -> Any:
    items = listed(value) if isinstance(value, Iterable) else value
    if not isinstance(start, (int, float)):  # lists are copied once for each item
        budget().charge(len(items) * steps(items))
    return items


def _lorem(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> None:
    budget().charge(n * (max + 10) * 5)


_CHECKS: dict[str, Callable[..., Any]] = {
    "center": _padded,
    "replace": _replaced,
    "indent": _indented,
    "join": _joined,
    "format": _formatted,
    "wordwrap": _wrapped,
    "batch": _filled,
    "slice": _filled,
    "round": _rounded,
    "sum": _summed,
}
