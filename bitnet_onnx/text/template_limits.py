"""What a chat template may spend: steps, text and integers, counted without a clock.

A template is foreign code that runs when a folder is opened. Every hook of the sandbox charges here
for the size of what it is given before the work is done, so the same template stops at the same
place on every machine. Knows Python's values; does not know Jinja's syntax.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from sys import getsizeof
from typing import Any, TypeVar

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

__all__ = [
    "budget",
    "counted",
    "formatted",
    "growth",
    "limited",
    "listed",
    "made",
    "steps",
    "weigh",
]

# A chat of 1,000 messages with a quadratic template takes about 1 million; 2 million take seconds.
STEPS = 2_000_000
# Characters of one text: eight times the longest prompt of a 128k-token context.
TEXT = 4_000_000
# Bytes of all texts made in one rendering, whether or not they are still in use.
MADE = 128 << 20
# Bits of an integer: a power of a power ends here; int64 has 63.
BITS = 100_000
# Characters that cost one step where a text is copied or searched.
PER_STEP = 256

T = TypeVar("T")


class Budget:
    """What is left to one rendering."""

    def __init__(self) -> None:
        self._steps, self._bytes = STEPS, MADE

    def charge(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise SecurityError(f"it takes more than {STEPS:,} steps")

    def text(self, length: int) -> None:
        """Refuse a text of this length before it is made."""
        if length > TEXT:
            raise SecurityError(f"it makes a text of more than {TEXT:,} characters")

    def bytes(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise SecurityError(f"it makes more than {MADE >> 20} MB of text")


_current: ContextVar[Budget] = ContextVar("budget")


def budget() -> Budget:
    return _current.get()


@contextmanager
def limited() -> Iterator[None]:
    """Give what runs inside a budget of its own."""
    token = _current.set(Budget())
    try:
        yield
    finally:
        _current.reset(token)


def weigh(value: T) -> T:
    """Charge for every part of a value, each as often as a walk over the value meets it.

    A list that holds another one twice, 40 levels deep, is small in memory and endless as text.
    """
    steps(value)
    return value


def steps(value: Any) -> int:
    """Charge as ``weigh`` does; return the steps."""
    purse, total, waiting = budget(), 0, [value]
    while waiting:
        item = waiting.pop()
        inner: Any = ()
        if isinstance(item, (str, bytes)):
            cost = 1 + len(item) // PER_STEP
        elif isinstance(item, int):
            cost = 1 + item.bit_length() // PER_STEP
        else:
            if isinstance(item, Namespace):
                inner = item._Namespace__attrs
            elif isinstance(item, Collection) and not isinstance(item, range):
                inner = item
            cost = 1 + len(inner)
        purse.charge(cost)  # before a long list is copied
        total += cost
        waiting.extend(inner)
        if isinstance(inner, Mapping):
            waiting.extend(inner.values())
    return total


def made(value: T) -> T:
    """Charge for a value that an operation returned."""
    purse = budget()
    if isinstance(value, (str, bytes)):
        purse.text(len(value))
        purse.charge(len(value) // PER_STEP)
        purse.bytes(getsizeof(value))
    elif isinstance(value, int):
        if value.bit_length() > BITS:
            raise SecurityError(f"it makes an integer of more than {BITS:,} bits")
    elif isinstance(value, (list, tuple, dict, set)):
        purse.charge(len(value))
    return value


def counted(value: Any) -> Any:
    """Return the value; where it is an iterator, one that charges a step an item."""
    return _counting(value) if isinstance(value, Iterator) else value


def _counting(items: Iterator[T]) -> Iterator[T]:
    purse = budget()
    for item in items:
        purse.charge(1)
        yield item


def listed(values: Iterable[T]) -> list[T]:
    """Return the items as a list, each charged."""
    return list(_counting(iter(values)))


# ---- how far an operation can grow its text, told before it runs


def formatted(text: str | bytes, values: Any) -> int:
    """Return at most how long ``text % values`` can be."""
    shown = text if isinstance(text, str) else text.decode("latin-1")
    fields = list(_FIELD.findall(shown))
    parts = list(values.values()) if isinstance(values, Mapping) else values
    parts = parts if isinstance(parts, (list, tuple)) else [parts]
    longest = max((steps(part) for part in parts), default=0) * PER_STEP
    stars = max((abs(part) for part in parts if isinstance(part, int)), default=0)
    sizes = [size for field in fields for size in field if size]
    return (
        len(text)
        + len(fields) * longest
        + sum(stars if size == "*" else int(size) for size in sizes)
    )


_FIELD = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+))?")


def _padded(text: str, width: int = 80, *_: Any) -> int:
    return max(len(text), width)


def _replaced(text: Any, old: Any, new: Any, *_: Any, **__: Any) -> int:
    places: int = text.count(old) if old else len(text) + 1
    return len(text) + places * len(new)


def _tabs(text: Any, tabsize: int = 8) -> int:
    tabs: int = text.count("\t" if isinstance(text, str) else b"\t")
    return len(text) + tabs * max(0, tabsize)


def _joined(text: Any, parts: list[Any]) -> int:
    return len(text) * len(parts) + sum(len(part) for part in parts)


def _translated(text: Any, table: Any, *_: Any) -> int:
    values = table.values() if isinstance(table, Mapping) else ()
    longest: int = max((len(v) for v in values if isinstance(v, str)), default=1)
    return len(text) * longest


def _bytes(_: int, length: int = 1, *__: Any, **___: Any) -> int:
    return length


def _pieces(text: Any, sep: Any = None, *_: Any, **__: Any) -> int:
    """Charge for each piece of a split text; the pieces together are no longer than the text."""
    pieces = text.count(sep) if sep else len(text) // 2
    budget().charge(pieces)
    budget().bytes(64 * pieces + len(text))
    return 0


def _lines(text: Any, *_: Any, **__: Any) -> int:
    return _pieces(text, "\n" if isinstance(text, str) else b"\n") + _pieces(text[:0])


def _coded(text: Any, encoding: str = "utf-8", *_: Any, **__: Any) -> int:
    # The codecs punycode and idna take a time that is quadratic in the length.
    if encoding.lower() not in ("utf-8", "utf8", "ascii", "latin-1"):
        budget().charge(len(text) ** 2 // 64)
    return 4 * len(text)


_GROWTH: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(("split", "rsplit"), _pieces),
    **dict.fromkeys(("encode", "decode"), _coded),
    "splitlines": _lines,
    "replace": _replaced,
    "expandtabs": _tabs,
    "join": _joined,
    "translate": _translated,
    "to_bytes": _bytes,
}


def growth(name: str, owner: Any, *args: Any, **kwargs: Any) -> None:
    """Refuse a method of a text, bytes or integer whose result would be too long."""
    if name in _GROWTH and isinstance(owner, (str, bytes, int)):
        budget().text(_GROWTH[name](owner, *args, **kwargs))
