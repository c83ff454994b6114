"""The schemas of answers: every field that an endpoint writes, and no others.

Knows OpenAI's, llama.cpp's and vLLM's objects; does not know requests.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ANSWERS", "ERROR"]

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
MAYBE_STRING: Schema = {"type": ["string", "null"]}
MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
OBJECT: Schema = {"type": "object"}


def _of(properties: Schema, optional: Schema | None = None) -> Schema:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, NULL]}


def _is(value: str) -> Schema:
    return {"const": value}


USAGE = _of({
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "total_tokens": COUNT,
    "prompt_tokens_details": _of({"cached_tokens": COUNT}),
})  # fmt: skip
_SCORED = {"token": STRING, "logprob": MAYBE_NUMBER, "bytes": _list({"type": "integer",
           "minimum": 0, "maximum": 255})}  # fmt: skip
_LOGPROBS = _of({"content": _list(_of({**_SCORED, "top_logprobs": _list(_of(_SCORED))})),
                 "refusal": NULL})  # fmt: skip
_CALL = _of({"id": STRING, "type": _is("function"),
             "function": _of({"name": STRING, "arguments": STRING})})  # fmt: skip
_HEAD: Schema = {"id": STRING, "created": COUNT, "model": STRING, "system_fingerprint": STRING}
CHAT = _of({
    **_HEAD,
    "object": _is("chat.completion"),
    "choices": _list(_of({
        "index": COUNT,
        "message": _of({"role": _is("assistant"), "content": MAYBE_STRING, "refusal": NULL},
                       {"tool_calls": _list(_CALL, 1)}),
        "logprobs": _or_null(_LOGPROBS),
        "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
    }), 1),
    "usage": USAGE,
})  # fmt: skip
_LEGACY = _of({
    "tokens": _list(STRING),
    "token_logprobs": _list(MAYBE_NUMBER),
    "top_logprobs": _list(_or_null({"type": "object", "additionalProperties": {"type": "number"}})),
    "text_offset": _list(COUNT),
})  # fmt: skip
COMPLETION = _of({
    **_HEAD,
    "object": _is("text_completion"),
    "choices": _list(_of({
        "index": COUNT,
        "text": STRING,
        "logprobs": _or_null(_LEGACY),
        "finish_reason": {"enum": ["stop", "length"]},
    }), 1),
    "usage": USAGE,
})  # fmt: skip
_PART = _of({"type": _is("output_text"), "text": STRING, "annotations": _list({}),
             "logprobs": _list({})})  # fmt: skip
RESPONSE = _of({
    "id": STRING,
    "object": _is("response"),
    "created_at": COUNT,
    "status": {"enum": ["completed", "incomplete"]},
    "error": NULL,
    "incomplete_details": _or_null(_of({"reason": _is("max_output_tokens")})),
    "instructions": MAYBE_STRING,
    "max_output_tokens": MAYBE_COUNT,
    "model": STRING,
    "output": _list(_of({
        "type": _is("message"),
        "id": STRING,
        "status": {"enum": ["completed", "incomplete"]},
        "role": _is("assistant"),
        "content": _list(_PART, 1),
    }), 1),
    "parallel_tool_calls": {"const": False},
    "previous_response_id": NULL,
    "store": {"const": False},
    "temperature": MAYBE_NUMBER,
    "text": OBJECT,
    "tool_choice": _is("none"),
    "tools": _list({}),
    "top_p": MAYBE_NUMBER,
    "truncation": _is("disabled"),
    "usage": _of({
        "input_tokens": COUNT,
        "input_tokens_details": _of({"cached_tokens": COUNT}),
        "output_tokens": COUNT,
        "output_tokens_details": _of({"reasoning_tokens": COUNT}),
        "total_tokens": COUNT,
    }),
    "metadata": OBJECT,
})  # fmt: skip
EMBEDDING = _of({
    "object": _is("list"),
    "data": _list(_of({
        "object": _is("embedding"),
        "index": COUNT,
        "embedding": {"anyOf": [STRING, _list({"type": "number"}, 1)]},
    }), 1),
    "model": STRING,
    "usage": _of({"prompt_tokens": COUNT, "total_tokens": COUNT}),
})  # fmt: skip
_PIECE = {"anyOf": [STRING, _list({"type": "integer", "minimum": 0, "maximum": 255}, 1)]}
TOKENIZE = _of(
    {"tokens": _list({"anyOf": [COUNT, _of({"id": COUNT, "piece": _PIECE})]}),
     "count": COUNT, "max_model_len": COUNT},
    {"token_strs": _list(STRING)},
)  # fmt: skip
MODEL = _of({
    "id": STRING,
    "object": _is("model"),
    "created": COUNT,
    "owned_by": STRING,
    "max_model_len": COUNT,
})  # fmt: skip
ERROR = _of({"error": _of({
    "message": STRING,
    "type": STRING,
    "param": MAYBE_STRING,
    "code": MAYBE_STRING,
})})  # fmt: skip
# By path, of JSON; a stream's events are not described.
ANSWERS: dict[str, Schema] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDING,
    "/v1/responses": RESPONSE,
    "/tokenize": TOKENIZE,
    "/detokenize": _of({"content": STRING, "prompt": STRING}),
    "/v1/models": _of({"object": _is("list"), "data": _list(MODEL, 1)}),
    "/v1/models/{name}": MODEL,
    "/health": _of({"status": _is("ok")}),
}
