"""The objects that fields of requests hold: their words and their JSON schemas.

Their insides are read where they are used, which says more of what is wrong. A schema takes what
is read there, and nothing else, as far as a schema can say it. Knows OpenAI's objects; does not
know fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .kinds import ANYTHING, TEXT, Kind, either, integer, list_of, mapping, one_of

__all__ = ["CALLED", "CHOICE", "FORMAT", "FORMAT_OF_TEXT", "ITEM", "MESSAGE", "OUTPUTS", "PARTS",
           "ROLES", "STREAM_OPTIONS", "TOOL"]  # fmt: skip

STRING: dict[str, Any] = {"type": "string"}
OPTIONAL_STRING = {"type": ["string", "null"]}
OPTIONAL_FLAG = {"type": ["boolean", "null"]}
OPTIONAL_OBJECT = {"type": ["object", "null"]}
NULL = {"type": "null"}
NAME = {"type": "string", "pattern": "^[a-zA-Z0-9_.-]{1,64}$"}  # of a function


def _object(needed: list[str], **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }


TOOL = mapping(
    ANYTHING,
    'an object {"type": "function", "function": {"name": ...}}',
    _object(
        ["type", "function"],
        type={"const": "function"},
        function=_object(
            ["name"],
            name=NAME,
            description=OPTIONAL_STRING,
            parameters=OPTIONAL_OBJECT,
            strict=OPTIONAL_FLAG,
        ),
    ),
)
NAMED = mapping(
    ANYTHING,
    'an object {"type": "function", "function": {"name": ...}}',
    _object(
        ["type", "function"],
        type={"const": "function"},
        function=_object(["name"], name=NAME),
    ),
)
CHOICE = either(one_of("none", "auto", "required"), NAMED)

_FORMS: dict[str, Any] = {
    "json": {"anyOf": [{"type": ["object", "string"]}, {"const": True}]},
    "regex": {"type": "string", "format": "regex"},
    "choice": {"type": "array", "items": STRING, "minItems": 1},
    "grammar": STRING,
}
OUTPUTS = mapping(
    ANYTHING,
    "an object with one of json, regex, choice and grammar",
    {
        "oneOf": [
            _object([name], **{other: NULL for other in _FORMS if other != name}, **{name: schema})
            for name, schema in _FORMS.items()
        ]
    },
)
# Of response_format and, one level higher, of a response's text.
_DESCRIBED = {
    "name": OPTIONAL_STRING,
    "description": OPTIONAL_STRING,
    "schema": {"type": "object"},
    "strict": OPTIONAL_FLAG,
}
_PLAIN = _object(["type"], type={"enum": ["text", "json_object"]})
FORMAT = mapping(
    ANYTHING,
    'an object with type "text", "json_object" or "json_schema"',
    {
        "oneOf": [
            _PLAIN,
            _object(
                ["type", "json_schema"],
                type={"const": "json_schema"},
                json_schema=_object(["schema"], **_DESCRIBED),
            ),
        ]
    },
)
FORMAT_OF_TEXT = mapping(
    ANYTHING,
    "an object with format",
    _object(
        [],
        format={
            "oneOf": [
                NULL,
                _PLAIN,
                _object(["type", "schema"], type={"const": "json_schema"}, **_DESCRIBED),
            ]
        },
    ),
)
STREAM_OPTIONS = mapping(
    ANYTHING,
    "an object with include_usage",
    _object([], include_usage=OPTIONAL_FLAG, include_obfuscation={"enum": [False, None]}),
)

ROLES = ("system", "developer", "user", "assistant", "tool")
# Chats have the first, responses the others; the last is of an answer that comes back.
PARTS: dict[str, dict[str, Kind]] = {
    "text": {},
    "input_text": {},
    "output_text": {"annotations": list_of(ANYTHING), "logprobs": list_of(ANYTHING)},
}
# What a call of an assistant has beside its function; a stream's calls have the index.
CALLED = {"id": TEXT, "type": one_of("function"), "index": integer(0, 1 << 31)}


def _optional(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    return {name: {"anyOf": [kind.schema, NULL]} for name, kind in kinds.items()}


_CALL = _object(
    ["function"],
    function=_object(["name"], name=STRING, arguments={"type": ["string", "object"]}),
    **_optional(CALLED),
)
_CONTENT = {
    "anyOf": [
        STRING,
        {
            "type": "array",
            "items": {
                "oneOf": [
                    _object(["type", "text"], type={"const": kind}, text=STRING, **_optional(more))
                    for kind, more in PARTS.items()
                ]
            },
            "minItems": 1,
        },
    ]
}


def _message(needed: list[str], role: list[str], **own: Any) -> dict[str, Any]:
    texts = ("name", "reasoning_content", "reasoning")
    return _object(
        ["role", *needed],
        role={"enum": role},
        **{"content": _CONTENT, "tool_calls": {"enum": [None, []]}, "tool_call_id": OPTIONAL_STRING,
           **own},
        refusal={"enum": [None, ""]},
        annotations={"type": ["array", "null"]},
        **dict.fromkeys(texts, OPTIONAL_STRING),
    )  # fmt: skip


def _messages(**more: Any) -> dict[str, Any]:
    """Return the schema of a message. more: properties that each of them may have."""
    calls = {"type": "array", "items": _CALL, "minItems": 1}
    return {
        "oneOf": [
            _message(["content"], ["system", "developer", "user", "assistant"], **more),
            _message(["content", "tool_call_id"], ["tool"], tool_call_id=STRING, **more),
            _message(
                ["tool_calls"],
                ["assistant"],
                content={"anyOf": [NULL, _CONTENT]},
                tool_calls=calls,
                **more,
            ),
        ]
    }


MESSAGE = mapping(ANYTHING, "a message", _messages())
# What an item of a response's input has, and a message has not.
ITEM = mapping(
    ANYTHING,
    "a message",
    _messages(type={"enum": ["message", None]}, id=OPTIONAL_STRING, status=OPTIONAL_STRING),
)
