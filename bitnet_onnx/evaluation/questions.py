"""Files of questions: JSON lines with the keys that a measure needs.

Knows JSON; does not know tokens or models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import BitNetError, GenerationError
from ..files import once

__all__ = ["Choices", "Question", "at_line", "choices_of", "questions_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Choices:
    """A question with answers to choose from; ``answer`` is the place of the right one."""

    where: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class Question:
    """A question with the answers that are right."""

    where: str
    question: str
    answers: tuple[str, ...]


def choices_of(text: str, name: str) -> list[Choices]:
    """Read lines {"question": text, "choices": [texts], "answer": place}; ``name`` is the file's.

    Other keys have no effect. Raises GenerationError naming the line.
    """

    def made(where: str, fields: dict[str, Any]) -> Choices:
        question = _text(fields, "question")
        choices, answer = _value(fields, "choices"), _value(fields, "answer")
        if not (isinstance(choices, list) and len(choices) > 1 and all(map(_filled, choices))):
            raise GenerationError(
                f"choices is {_shown(choices)}, expected a list of two or more texts"
            )
        if type(answer) is not int or not 0 <= answer < len(choices):
            raise GenerationError(
                f"answer is {_shown(answer)}, expected the place of a choice, 0 to "
                f"{len(choices) - 1}"
            )
        return Choices(where, question, tuple(choices), answer)

    return _records(text, name, made)


def questions_of(text: str, name: str) -> list[Question]:
    """Read lines {"question": text, "answer": text or list of texts}; otherwise as choices_of."""

    def made(where: str, fields: dict[str, Any]) -> Question:
        question, answer = _text(fields, "question"), _value(fields, "answer")
        answers = answer if isinstance(answer, list) else [answer]
        if not answers or not all(map(_filled, answers)):
            raise GenerationError(
                f"answer is {_shown(answer)}, expected a text, or a list of texts that are right"
            )
        return Question(where, question, tuple(answers))

    return _records(text, name, made)


@contextmanager
def at_line(where: str) -> Iterator[None]:
    """Let errors begin with the place of the line that they are about."""
    try:
        yield
    except BitNetError as error:
        raise GenerationError(f"{where}: {error}", hint=error.hint) from error


def _records(text: str, name: str, made: Callable[[str, dict[str, Any]], T]) -> list[T]:
    found = []
    for number, line in enumerate(re.split(r"\r\n?|\n", text), 1):
        if line.strip():
            where = f"{name}, line {number}"
            with at_line(where):
                found.append(made(where, _object(line)))
    if not found:
        raise GenerationError(f"{name} has no lines, expected one question a line, as JSON")
    return found


def _object(line: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise GenerationError(f"it is not JSON: {error}, expected an object") from error
    if not isinstance(fields, dict):
        raise GenerationError(f"it is {_shown(fields)}, expected an object")
    return fields


def _value(fields: dict[str, Any], key: str) -> Any:
    if key not in fields:
        raise GenerationError(f"{key} is missing, expected it beside {', '.join(fields) or '{}'}")
    return fields[key]


def _text(fields: dict[str, Any], key: str) -> str:
    value = _value(fields, key)
    if not isinstance(value, str):
        raise GenerationError(f"{key} is {_shown(value)}, expected a text")
    return value


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _shown(value: Any) -> str:
    """Return a value as JSON, without the middle where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:40]}[...]{text[-30:]}"
