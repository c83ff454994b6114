"""Kinds of values that a field of a request takes: how they are read, and their JSON schema.

Knows JSON; does not know which field has which kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["ANYTHING", "FLAG", "OBJECT", "TEXT", "Kind", "either", "integer", "list_of", "mapping",
           "number", "one_of", "text"]  # fmt: skip


class Wrong(ValueError):
    """The value has another kind."""


@dataclass(frozen=True)
class Kind:
    """``read`` returns the value, or raises Wrong; ``words`` say what is expected."""

    words: str
    schema: dict[str, Any]
    read: Callable[[Any], Any]

    def takes(self, value: Any) -> bool:
        """Return whether a value is of this kind."""
        try:
            self.read(value)
        except Wrong:
            return False
        return True


def number(low: float, high: float, above: bool = False) -> Kind:
    """A number from ``low``, or above it, to ``high``."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong
        if not low <= value <= high or (above and value == low):
            raise Wrong
        return float(value)

    least = {"exclusiveMinimum" if above else "minimum": low}
    most = {} if high == math.inf else {"maximum": high}
    words = f"a number {'above' if above else 'from'} {low:g}"
    words += "" if high == math.inf else f" {'and at most' if above else 'to'} {high:g}"
    return Kind(words, {"type": "number", **least, **most}, read)


def integer(low: int, high: int) -> Kind:
    """An integer from ``low`` to ``high``; 1.0 is one, as in JSON schemas."""

    def read(value: Any) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not low <= value <= high:
            raise Wrong
        return int(value)

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(f"an integer from {low} to {high}", schema, read)


def text(least: int = 0) -> Kind:
    """A text with at least so many characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or len(value) < least:
            raise Wrong
        return value

    words = "a text that is not empty" if least else "a text"
    schema = {"type": "string", "minLength": least} if least else {"type": "string"}
    return Kind(words, schema, read)


def one_of(*values: Any) -> Kind:
    """One of some constants."""

    def read(value: Any) -> Any:
        if not any(value == known and type(value) is type(known) for known in values):
            raise Wrong
        return value

    words = " or ".join(str(v).lower() if isinstance(v, bool) else repr(v) for v in values)
    return Kind(words, {"enum": list(values)}, read)


def list_of(kind: Kind, least: int = 0, most: int | None = None, words: str = "") -> Kind:
    """A list of values of one kind."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise Wrong
        if most is not None and len(value) > most:
            raise Wrong
        return [kind.read(each) for each in value]

    schema: dict[str, Any] = {"type": "array", "items": kind.schema}
    if least:
        schema["minItems"] = least
    if most is not None:
        schema["maxItems"] = most
    count = f"{least} to {most} of" if most is not None else f"at least {least} of"
    return Kind(words or f"a list with {count}: {kind.words}", schema, read)


def mapping(
    kind: Kind, words: str, schema: dict[str, Any] | None = None, most: int | None = None
) -> Kind:
    """An object whose values are of one kind."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or (most is not None and len(value) > most):
            raise Wrong
        return {name: kind.read(each) for name, each in value.items()}

    found: dict[str, Any] = {"type": "object", "additionalProperties": kind.schema}
    if most is not None:
        found["maxProperties"] = most
    return Kind(words, found if schema is None else schema, read)


def either(*kinds: Kind) -> Kind:
    """A value of the first kind that takes it."""

    def read(value: Any) -> Any:
        for kind in kinds:
            with suppress(Wrong):
                return kind.read(value)
        raise Wrong

    words = " or ".join(kind.words for kind in kinds)
    return Kind(words, {"anyOf": [kind.schema for kind in kinds]}, read)


ANYTHING = Kind("any value", {}, lambda value: value)
FLAG = one_of(True, False)
TEXT = text()
OBJECT = mapping(ANYTHING, "an object", {"type": "object"})
