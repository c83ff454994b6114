"""The objects that fields of requests hold: their words and their JSON schemas.

Their insides are read where they are used, which says more of what is wrong. Knows OpenAI's
objects; does not know fields.
"""

from __future__ import annotations

from .kinds import ANYTHING, either, mapping, one_of

__all__ = ["CHOICE", "FORMAT", "FORMAT_OF_TEXT", "MESSAGE", "OUTPUTS", "STREAM_OPTIONS", "TOOL"]

TOOL = mapping(
    ANYTHING,
    'an object {"type": "function", "function": {"name": ...}}',
    {
        "type": "object",
        "properties": {
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-zA-Z0-9_.-]{1,64}$"},
                    "description": {"type": ["string", "null"]},
                    "parameters": {"type": ["object", "null"]},
                    "strict": {"type": ["boolean", "null"]},
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        "required": ["type", "function"],
        "additionalProperties": False,
    },
)
NAMED = mapping(
    ANYTHING,
    'an object {"type": "function", "function": {"name": ...}}',
    {
        "type": "object",
        "properties": {
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "properties": {"name": {"type": "string"}},
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        "required": ["type", "function"],
        "additionalProperties": False,
    },
)
CHOICE = either(one_of("none", "auto", "required"), NAMED)
OUTPUTS = mapping(
    ANYTHING,
    "an object with one of json, regex, choice and grammar",
    {
        "oneOf": [
            {
                "type": "object",
                "properties": {name: schema},
                "required": [name],
                "additionalProperties": False,
            }
            for name, schema in {
                "json": {"type": "object"},
                "regex": {"type": "string", "format": "regex"},
                "choice": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "grammar": {"type": "string"},
            }.items()
        ]
    },
)
FORMAT = mapping(
    ANYTHING,
    'an object with type "text", "json_object" or "json_schema"',
    {
        "type": "object",
        "oneOf": [
            {
                "properties": {"type": {"enum": ["text", "json_object"]}},
                "additionalProperties": False,
            },
            {
                "properties": {
                    "type": {"const": "json_schema"},
                    "json_schema": {
                        "type": "object",
                        "properties": {
                            "name": {"type": ["string", "null"]},
                            "description": {"type": ["string", "null"]},
                            "schema": {"type": "object"},
                            "strict": {"type": ["boolean", "null"]},
                        },
                        "required": ["schema"],
                        "additionalProperties": False,
                    },
                },
                "required": ["json_schema"],
                "additionalProperties": False,
            },
        ],
        "required": ["type"],
    },
)
PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
MESSAGE = mapping(
    ANYTHING,
    "a message",
    {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": PART, "minItems": 1}]
            },
            "name": {"type": ["string", "null"]},
        },
        "required": ["role", "content"],
        "additionalProperties": False,
    },
)
FORMAT_OF_TEXT = mapping(
    ANYTHING,
    "an object with format",
    {
        "type": "object",
        "properties": {
            "format": {
                "type": ["object", "null"],
                "properties": {"type": {"enum": ["text", "json_object"]}},
                "required": ["type"],
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    },
)
STREAM_OPTIONS = mapping(
    ANYTHING,
    "an object with include_usage",
    {
        "type": "object",
        "properties": {
            "include_usage": {"type": ["boolean", "null"]},
            "include_obfuscation": {"enum": [False, None]},
        },
        "additionalProperties": False,
    },
)
