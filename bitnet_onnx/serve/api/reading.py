"""Read a request's body with a table of fields: each is taken, or refused by its name.

Knows JSON and tables; does not know HTTP or the model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from ...files import half_pair, once, whole
from .errors import ApiError
from .fields import Field
from .kinds import Wrong

__all__ = ["REFUSED", "given_in", "json_of", "refuse", "values_of"]

HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # of a surrogate pair: UTF-8 itself has none
DEEPEST = 128  # levels: with so few, a value can be written wherever one was read

# What other servers know, and what is here in its place.
REFUSED: Mapping[str, str] = {
    "audio": "answers are text",
    "best_of": "use n",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "grammar": 'use structured_outputs {"grammar": ...}',
    "guided_choice": 'use structured_outputs {"choice": ...}',
    "guided_grammar": 'use structured_outputs {"grammar": ...}',
    "guided_json": 'use structured_outputs {"json": ...}',
    "guided_regex": 'use structured_outputs {"regex": ...}',
    "json_schema": "use response_format",
    "max_new_tokens": "use max_tokens",
    "n_predict": "use max_tokens",
    "prediction": "the answer is not predicted",
    "previous_response_id": "nothing is stored: send the whole conversation",
    "conversation": "nothing is stored: send the whole conversation",
    "background": "nothing is stored: wait for the answer",
    "reasoning": "models here have no levels of effort",
    "reasoning_effort": "models here have no levels of effort; use chat_template_kwargs",
    "repeat_penalty": "use repetition_penalty",
    "suffix": "models here continue texts, and do not fill gaps",
    "use_beam_search": "a batch of requests has no beams; use bitnet-onnx generate --num-beams",
    "web_search_options": "the server reaches no network",
}


def given_in(body: bytes) -> dict[str, Any]:
    """Return the fields that a body has, whose texts are Unicode."""
    found = json_of(body)
    if HALF.search(body):
        for name, value in found.items():
            for each in _texts(value):
                if half := half_pair(each):
                    raise ApiError(
                        400,
                        f"{name} has {half}, half of a surrogate pair, expected Unicode",
                        param=name[:64],
                        code="invalid_value",
                    )
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)


def json_of(body: bytes) -> dict[str, Any]:
    """Return the object that a body is."""
    try:
        found = json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_constant,
            parse_float=_finite,
            parse_int=whole,
            object_pairs_hook=once,
        )
        is_deep = _is_deep(found)
    except RecursionError:
        is_deep = True
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        _refuse_body(f"the byte 0x{byte:02x} at offset {error.start} is not UTF-8")
    except ValueError as error:
        _refuse_body(str(error))
    if is_deep:
        _refuse_body(f"it is nested more than {DEEPEST} levels deep")
    if not isinstance(found, dict):
        raise ApiError(
            400, f"the body is {_shown(found)}, expected an object of fields", code="invalid_json"
        )
    return found


def _refuse_body(why: str) -> NoReturn:
    raise ApiError(
        400, f"the body is not JSON, expected an object: {why}", code="invalid_json"
    ) from None


def values_of(body: Mapping[str, Any], table: Sequence[Field]) -> dict[str, Any]:
    """Return the fields that are given, as the table reads them; null is as if left out."""
    fields = {field.name: field for field in table}
    for name, value in body.items():
        if name not in fields and (value is not None or name not in REFUSED):
            refuse_unknown(name)
    found = {}
    for name, value in body.items():
        if value is None:
            continue
        try:
            found[name] = fields[name].kind.read(value)
        except Wrong:
            refuse(name, value, fields[name].kind.words)
    for field in table:
        if field.required and field.name not in found:
            raise ApiError(
                400,
                f"{field.name} is missing, expected {field.kind.words}",
                param=field.name,
                code="missing_required_parameter",
            )
    return found


def refuse_unknown(name: str) -> NoReturn:
    why = f"; {REFUSED[name]}" if name in REFUSED else ""
    raise ApiError(
        400,
        f"{name!r} is not a field of this endpoint{why}",
        param=name[:64],
        code="unknown_parameter",
    )


def refuse(name: str, value: Any, expected: str) -> NoReturn:
    """Refuse the value of a field."""
    raise ApiError(
        400, f"{name} is {_shown(value)}, expected {expected}", param=name, code="invalid_value"
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:100]}..."


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    found = float(text)
    if math.isinf(found):
        raise ValueError(f"{text[:40]} is larger than a number can be")
    return found


def _is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested too deeply; needs no stack."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
