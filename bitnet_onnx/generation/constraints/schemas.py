"""A JSON schema as llguidance must see it, so that what it writes is valid without exception.

Knows where llguidance allows more than the schema does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Unsupported", "inside", "strict"]

_DOCUMENTS = ("const", "enum", "default", "examples")  # keywords that hold documents, not schemas
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# llguidance knows days up to 31 in each month; jsonschema's checker asks for the calendar's.
_YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})"
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
    rf"|{_LEAP}-02-29)"
)
_PATTERNS = {"date": f"^{_DATE}$", "date-time": f"^{_DATE}[Tt]"}


class Unsupported(ValueError):
    """A keyword that llguidance would follow only in part."""


def strict(schema: Any) -> Any:
    """Return the schema with what llguidance leaves out; raise Unsupported where it cannot be."""
    found = inside(schema, strict)
    if not isinstance(schema, Mapping):
        return found
    _check_names(found)
    name = found.get("format")
    if isinstance(name, str) and name in _PATTERNS:
        more = found.get("allOf", [])
        found["allOf"] = [*(more if isinstance(more, list) else []), {"pattern": _PATTERNS[name]}]
    return found


def inside(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a schema, or a list of them, with the schemas inside changed."""
    if isinstance(value, list):
        return [change(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    found = {}
    for keyword, held in value.items():
        if keyword in _NAMED and isinstance(held, Mapping):
            found[keyword] = {name: change(schema) for name, schema in held.items()}
        else:
            found[keyword] = held if keyword in _DOCUMENTS else change(held)
    return found


def _check_names(schema: Mapping[str, Any]) -> None:
    """Refuse a number of properties that a name which is written twice would seem to reach."""
    least, required = schema.get("minProperties"), schema.get("required")
    known = len(set(map(str, required))) if isinstance(required, list) else 0
    if isinstance(least, (int, float)) and least > known + 1:
        raise Unsupported(
            f"minProperties is {least} with {known} required names, and llguidance may write"
            " another name twice"
        )
