"""Values of options: found as numbers, ids or lists of ids, or refused by the option's name.

Knows Python's values; does not know what the options do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from ..errors import GenerationError

__all__ = ["as_list", "as_tuple", "decay", "flag", "ids_of", "integer", "number", "one_of",
           "sequence_bias", "sequences", "token_id", "wrong"]  # fmt: skip


def as_tuple(value: Any) -> Any:
    """Return one value, or each of many, as a tuple; None stays None."""
    if value is None:
        return None
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if many else (value,)


def as_list(value: Any) -> Any:
    """Return tuples as lists, as JSON has them."""
    return [as_list(entry) for entry in value] if isinstance(value, tuple) else value


def ids_of(name: str, value: Any) -> tuple[int, ...] | None:
    """Return one id or several as a tuple."""
    ids = as_tuple(value)
    return None if ids is None else tuple(token_id(name, token) for token in ids)


def sequences(name: str, value: Any) -> tuple[tuple[int, ...], ...] | None:
    """Return lists of ids as tuples."""
    if value is None:
        return None
    entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return tuple(_sequence(name, entry, "lists of ids that are not empty") for entry in entries)


def sequence_bias(name: str, value: Any) -> tuple[tuple[tuple[int, ...], float], ...] | None:
    """Return pairs of ids and their bias; of a sequence that is given twice, the last bias."""
    expected = "lists [ids, bias], at least one, where a bias is a number"
    if value is None:
        return None
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or not pairs:
        raise wrong(name, value, expected)
    found: dict[tuple[int, ...], float] = {}
    for pair in pairs:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise wrong(name, pair, expected)
        ids = _sequence(name, pair[0], expected)
        forbids = isinstance(pair[1], float) and pair[1] == -math.inf
        found[ids] = -math.inf if forbids else number(name, pair[1], expected)
    return tuple(found.items())


def _sequence(name: str, value: Any, expected: str) -> tuple[int, ...]:
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)) or not value:
        raise wrong(name, value, expected)
    return tuple(token_id(name, token) for token in value)


def decay(name: str, value: Any) -> tuple[int, float] | None:
    """Return where the penalty starts and its factor."""
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise wrong(name, value, "[start, factor]")
    factor = number(name, value[1], "a factor above 0", lambda factor: factor > 0)
    return integer(name, value[0], 0), factor


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(name, value, "True or False")
    return value


def number(
    name: str, value: object, expected: str, good: Callable[[float], bool] = math.isfinite
) -> float:
    """Return a finite number that is good."""
    found = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            found = float(value)
        except OverflowError:  # an integer beyond the range of floats
            found = math.inf
    if not math.isfinite(found) or not good(found):
        raise wrong(name, value, expected)
    return found


def integer(name: str, value: object, least: int) -> int:
    """Return an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        off = " (0 turns it off)" if name == "top_k" else ""
        raise wrong(name, value, f"an integer of at least {least}{off}")
    return int(value)


def token_id(name: str, value: object) -> int:
    """Return an id, which may lie beyond a vocabulary, but not beyond the arrays that hold ids."""
    found = integer(name, value, 0)
    if found >= 1 << 63:
        raise wrong(name, value, "an integer below 2**63")
    return found


def one_of(*values: str) -> Callable[[str, Any], str]:
    """Return the check of an option that takes one of these values."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise wrong(name, value, "one of: " + ", ".join(values))
        return value

    return check


def wrong(name: str, value: object, expected: str) -> GenerationError:
    return GenerationError(f"{name} is {value!r}, expected {expected}")
