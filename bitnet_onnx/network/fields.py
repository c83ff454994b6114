"""One field of a ``config.json``: read and checked, or refused by name.

Knows JSON values and what a sensible number is; knows no network. Each function takes the object
and the field's name, and raises ConfigError with what was found and what was expected.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError

__all__ = ["flag", "one_of", "positive", "positives", "section", "size", "token", "tokens"]

LARGEST = 3e38  # the network computes in float32


def size(fields: dict[str, Any], name: str, limit: int, default: int | None = None) -> int:
    value = fields.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ConfigError(f"{name} is {value!r}, expected a whole number from 1 to {limit}")
    return value


def positive(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name, default)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= LARGEST:
        raise ConfigError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def positives(fields: dict[str, Any], name: str, count: int) -> tuple[float, ...]:
    values = fields.get(name)
    if not isinstance(values, list) or len(values) != count:
        found = f"has {len(values)}" if isinstance(values, list) else f"is {values!r}"
        raise ConfigError(f"{name} {found}, expected a list of {count} numbers")
    return tuple(positive({name: value}, name, 0.0) for value in values)


def flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}, expected true or false")
    return value


def token(fields: dict[str, Any], name: str, vocab: int) -> int | None:
    found = tokens(fields, name, vocab)
    if len(found) > 1:
        raise ConfigError(f"{name} is {list(found)!r}, expected one token id")
    return found[0] if found else None


def tokens(fields: dict[str, Any], name: str, vocab: int) -> tuple[int, ...]:
    value = fields.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    for value_id in values:
        whole = isinstance(value_id, int) and not isinstance(value_id, bool)
        if not whole or not 0 <= value_id < vocab:
            raise ConfigError(f"{name} is {value!r}, expected token ids from 0 to {vocab - 1}")
    return tuple(values)


def one_of(fields: dict[str, Any], name: str, supported: tuple[Any, ...], default: Any) -> Any:
    value = fields.get(name, default)
    # By type too: 1 == True, and a list is equal to no key.
    if not any(type(value) is type(known) and value == known for known in supported):
        listed = ", ".join(repr(known) for known in supported)
        raise ConfigError(f"{name} is {value!r}, supported: {listed}")
    return value


def section(fields: dict[str, Any], name: str) -> dict[str, Any] | None:
    """An object inside; its keys become ``name.key``, so that an error names the whole path."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}, expected an object")
    return {f"{name}.{key}": inner for key, inner in value.items()}
