"""One field of a ``config.json``: read and checked, or refused by name.

Each function takes the object and the field's name, and raises ConfigError with what was found and
what was expected. ``Fields`` records which fields were read, so that the others can be refused.
Knows JSON values and the range of a number; knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError

__all__ = [
    "Fields",
    "declared",
    "flag",
    "not_negative",
    "one_of",
    "optional",
    "positive",
    "positives",
    "section",
    "size",
    "token",
    "tokens",
]

SMALLEST, LARGEST = 1.2e-38, 3e38  # the network computes in float32


class Fields(dict[str, Any]):
    """A JSON object that records the keys that are asked for; ``inner`` holds its sections."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()
        self.inner: dict[str, Fields] = {}

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def size(fields: dict[str, Any], name: str, limit: int, default: int | None = None) -> int:
    """Return an integer from 1 to ``limit``."""
    value = fields.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ConfigError(f"{name} is {value!r}, expected an integer from 1 to {limit}")
    return value


def declared(fields: dict[str, Any], name: str, limit: int, default: int) -> int:
    """Return such an integer, the default only where the field is absent.

    A null there is no default: it would mean no window, or no experts.
    """
    return size(fields, name, limit, None if name in fields else default)


def positive(fields: dict[str, Any], name: str, default: float) -> float:
    """Return a number above 0 that float32 can hold."""
    value = fields.get(name, default)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= LARGEST:
        raise ConfigError(f"{name} is {value!r}, expected a number above 0, at most {LARGEST:g}")
    if value < SMALLEST:  # float32 has 0, or few bits, in its place
        raise ConfigError(f"{name} is {value!r}, expected a number of at least {SMALLEST:g}")
    return float(value)


def not_negative(fields: dict[str, Any], name: str, default: float) -> float:
    """Return such a number or 0, the default where the field is null."""
    value = fields.get(name)
    if value == 0 and not isinstance(value, bool):
        return 0.0
    return default if value is None else positive(fields, name, default)


def optional(fields: dict[str, Any], name: str, default: float) -> float:
    """Return such a number, the default also where the field is null."""
    return default if fields.get(name) is None else positive(fields, name, default)


def positives(fields: dict[str, Any], name: str, count: int) -> tuple[float, ...]:
    """Return a list of ``count`` such numbers."""
    values = fields.get(name)
    if not isinstance(values, list) or len(values) != count:
        found = f"has {len(values)}" if isinstance(values, list) else f"is {values!r}"
        raise ConfigError(f"{name} {found}, expected a list of {count} numbers")
    return tuple(positive({name: value}, name, 0.0) for value in values)


def flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    """Return true or false; null is false, as in transformers."""
    value = fields.get(name, default)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}, expected true or false")
    return value


def token(fields: dict[str, Any], name: str, vocab: int) -> int | None:
    """Return one token id below ``vocab``, or None."""
    found = tokens(fields, name, vocab)
    if len(found) > 1:
        raise ConfigError(f"{name} is {list(found)!r}, expected one token id")
    return found[0] if found else None


def tokens(fields: dict[str, Any], name: str, vocab: int) -> tuple[int, ...]:
    """Return the token ids below ``vocab`` of a list, of one id, or of null."""
    value = fields.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    for value_id in values:
        integer = isinstance(value_id, int) and not isinstance(value_id, bool)
        if not integer or not 0 <= value_id < vocab:
            raise ConfigError(f"{name} is {value!r}, expected token ids from 0 to {vocab - 1}")
    return tuple(values)


def one_of(fields: dict[str, Any], name: str, supported: tuple[Any, ...], default: Any) -> Any:
    """Return a value that is among the supported ones, of the same type."""
    value = fields.get(name, default)
    # The types are compared too, because 1 == True.
    if not any(type(value) is type(known) and value == known for known in supported):
        listed = ", ".join(repr(known) for known in supported)
        raise ConfigError(f"{name} is {value!r}, expected one of: {listed}")
    return value


def section(fields: dict[str, Any], name: str) -> Fields | None:
    """Return an inner object; its keys become ``name.key``, so that an error names the path."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}, expected an object")
    found = Fields({f"{name}.{key}": inner for key, inner in value.items()})
    if isinstance(fields, Fields):
        fields.inner[name] = found
    return found
