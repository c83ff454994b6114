"""The form that an answer must have, as a caller gives it: vLLM's ``structured_outputs``.

Knows values; does not know tokens or the package that follows a grammar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ...errors import GenerationError
from ...files import half_pair, whole

__all__ = ["StructuredOutputs", "structured_outputs"]


@dataclass(frozen=True)
class StructuredOutputs:
    """One of four forms of an answer; names are those of vLLM's structured_outputs."""

    json: Mapping[str, Any] | str | None = None
    """A JSON schema, as an object or as its text: the answer is a document that it allows."""
    regex: str | None = None
    """A regular expression, in the syntax of Rust's regex, that matches the whole answer."""
    choice: Sequence[str] | None = None
    """Texts, of which the answer is one."""
    grammar: str | None = None
    """A Lark grammar, in llguidance's dialect, that makes the answer from its rule ``start``."""

    def __post_init__(self) -> None:
        given = [name for name in _NAMES if getattr(self, name) is not None]
        if len(given) != 1:
            raise GenerationError(
                f"structured_outputs holds {' and '.join(given) or 'no form'}, expected one of: "
                f"{', '.join(_NAMES)}"
            )
        object.__setattr__(self, given[0], _CHECKS[given[0]](getattr(self, given[0])))

    @property
    def kind(self) -> str:
        """The field that is given."""
        return next(name for name in _NAMES if getattr(self, name) is not None)

    @property
    def text(self) -> str:
        """The form as a text; a list of choices is JSON."""
        value = getattr(self, self.kind)
        return value if isinstance(value, str) else json.dumps(value)


def structured_outputs(value: Any) -> StructuredOutputs | None:
    """Return the form of a call; raise GenerationError where it is something else."""
    if value is None or isinstance(value, StructuredOutputs):
        return value
    if not isinstance(value, Mapping):
        raise GenerationError(
            f"structured_outputs is {value!r}, expected a mapping with one of: {', '.join(_NAMES)}",
            hint='write structured_outputs={"json": schema}',
        )
    for name in value:
        if name not in _NAMES:
            raise GenerationError(
                f"structured_outputs holds {name!r}, expected one of: {', '.join(_NAMES)}"
            )
    return StructuredOutputs(**value)


def _schema(value: Any) -> str:
    """Return a schema's text: equal schemas are equal texts."""
    try:
        found = json.loads(value, parse_int=whole) if isinstance(value, str) else value
        found = {} if found is True else found  # both allow every document
        text = json.dumps(found, allow_nan=False)
        half = half_pair(json.dumps(found, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise GenerationError(f"the JSON schema is not JSON, expected an object: {error}") from None
    if not isinstance(found, Mapping):
        raise GenerationError(f"the JSON schema is {found!r}, expected an object")
    if half is not None:
        raise GenerationError(
            f"the JSON schema cannot be followed: it has {half}, half of a surrogate pair, expected"
            " Unicode"
        )
    return text


def _text(name: str) -> Any:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise GenerationError(f"{name} of structured_outputs is {value!r}, expected a text")
        _check_unicode(name, value)
        return value

    return check


def _choices(value: Any) -> tuple[str, ...]:
    many = isinstance(value, Sequence) and not isinstance(value, str)
    if not many or not value or not all(isinstance(each, str) for each in value):
        raise GenerationError(
            f"choice of structured_outputs is {value!r}, expected a list of texts, at least one"
        )
    for each in value:
        _check_unicode("choice", each)
    return tuple(value)


def _check_unicode(name: str, text: str) -> None:
    if half := half_pair(text):
        raise GenerationError(
            f"{name} of structured_outputs has {half}, half of a surrogate pair, expected Unicode"
        )


_NAMES = tuple(field.name for field in fields(StructuredOutputs))
_CHECKS = {
    "json": _schema,
    "regex": _text("regex"),
    "choice": _choices,
    "grammar": _text("grammar"),
}
