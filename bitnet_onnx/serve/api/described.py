"""/openapi.json: the endpoints and their fields, made from the table of fields.

Knows OpenAPI; does not know what an endpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ... import __version__
from ..models import Embedding, Generating, Served
from .common import answer, state_of
from .fields import CHAT, COMPLETION, DETOKENIZE, EMBEDDING, RESPONSE, TOKEN, TOKENIZE, Field
from .kinds import TEXT, list_of

__all__ = ["BODIES", "description", "openapi"]

BODIES: dict[str, tuple[str, Sequence[Field], bool]] = {
    "/v1/chat/completions": ("answer a conversation", CHAT, True),
    "/v1/completions": ("continue texts", COMPLETION, True),
    "/v1/embeddings": ("turn texts into vectors", EMBEDDING, False),
    "/v1/responses": ("answer a text or messages", RESPONSE, True),
    "/tokenize": ("return the ids of a text", TOKENIZE, False),
    "/detokenize": ("return the text of ids", DETOKENIZE, False),
}
# What a model must be for an endpoint; any, for the others.
KINDS: dict[str, type[Served]] = {
    "/v1/chat/completions": Generating,
    "/v1/completions": Generating,
    "/v1/responses": Generating,
    "/v1/embeddings": Embedding,
}
PAGES = {
    "/v1/models": ("list the models", "application/json"),
    "/v1/models/{name}": ("describe a model", "application/json"),
    "/health": ("say that the server answers", "application/json"),
    "/metrics": ("return counters", "text/plain"),
}
STATUSES = {
    "400": "a field is refused",
    "401": "the key is missing or wrong",
    "403": "the host name or the origin is not the server's",
    "404": "there is no such model or path",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "415": "the body is not JSON",
    "429": "the queue is full",
    "500": "the server failed",
    "503": "the server is stopping, or the answer took too long",
}


GIVEN = {"not": {"type": "null"}}
TEXTS = {"anyOf": [TEXT.schema, list_of(TEXT, 1).schema]}
VARIABLES = ("tools", "tool_choice", "parallel_tool_calls", "documents", "chat_template_kwargs")
# Fields that depend on each other: one of the cases holds. None is as if left out; an object is
# the schema of the value.
CASES: dict[str, list[list[dict[str, Any]]]] = {
    "chat/completions": [
        [{"stream_options": None}, {"stream": True}],
        [{"top_logprobs": None}, {"logprobs": True}],
        [{"max_tokens": None}, {"max_completion_tokens": None}],
        [{"response_format": None}, {"structured_outputs": None}],
        [{"ignore_eos": None}, {"response_format": None, "structured_outputs": None}],
    ],
    "completions": [
        [{"stream_options": None}, {"stream": True}],
        [{"echo": None}, {"stream": None}],
        [{"max_tokens": None}, {"max_tokens": {"minimum": 1}}, {"echo": True}],
        [{"add_special_tokens": None}, {"prompt": TEXTS}],
        [{"response_format": None}, {"structured_outputs": None}],
        [{"ignore_eos": None}, {"response_format": None, "structured_outputs": None}],
    ],
    "embeddings": [[{"prompt_name": None}, {"input": TEXTS}]],
    "tokenize": [
        [
            {"content": GIVEN, "prompt": None, "messages": None, "add_special_tokens": None,
             "tools": None, "chat_template_kwargs": None},
            {"prompt": GIVEN, "content": None, "messages": None, "add_special": None,
             "tools": None, "chat_template_kwargs": None},
            {"messages": GIVEN, "content": None, "prompt": None, "add_special": None,
             "add_special_tokens": None},
        ],
    ],
}  # fmt: skip


async def openapi(request: Request) -> Response:
    """Describe the endpoints."""
    return answer(description(state_of(request).models))


def description(models: Mapping[str, Served]) -> dict[str, Any]:
    """Return the description of all endpoints that the models have."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Error": _error()}
    for path, (about, table, streams) in BODIES.items():
        fitting = [m for m in models.values() if isinstance(m, KINDS.get(path, Served))]
        if not fitting:
            continue
        name = path.removeprefix("/v1/").strip("/")
        schemas[name.replace("/", "_")] = _schema(table, name, fitting)
        name = name.replace("/", "_")
        body = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
        kinds = ["application/json", *(["text/event-stream"] if streams else [])]
        paths[path] = {
            "post": {
                "summary": about,
                "operationId": name,
                "requestBody": {"required": True, "content": body},
                "responses": _responses(kinds, STATUSES),
            }
        }
    paths |= _pages(models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "bitnet-onnx", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _pages(models: Mapping[str, Served]) -> dict[str, Any]:
    paths = {}
    statuses = {s: words for s, words in STATUSES.items() if s in ("401", "403", "404", "503")}
    for path, (about, kind) in PAGES.items():
        get: dict[str, Any] = {"summary": about, "responses": _responses([kind], statuses)}
        if "{name}" in path:
            names = {"type": "string", "enum": list(models)}
            get["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": names}]
        paths[path] = {"get": get}
    return paths


def _responses(kinds: list[str], statuses: dict[str, str]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refused = {s: {"description": words, "content": error} for s, words in statuses.items()}
    content: dict[str, Any] = {kind: {} for kind in kinds}
    return {"200": {"description": "the answer", "content": content}, **refused}


def _schema(table: Sequence[Field], name: str, models: Sequence[Served]) -> dict[str, Any]:
    """Return the schema of a body; ids and names are those of the models."""
    properties = {}
    needed = [field.name for field in table if field.required]
    if len(models) > 1:
        needed.append("model")
    used = [model.variables for model in models if isinstance(model, Generating)]
    for field in table:
        if field.name in VARIABLES and not any(field.name in names for names in used):
            continue  # no template of theirs has it
        schema = _of_models(field, models)
        if field.name not in needed:
            schema = {"anyOf": [schema, {"type": "null"}]}
        about = field.about or f"no effect: {field.idle}"
        properties[field.name] = {**schema, "description": about}
    found: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }
    rules = [{"anyOf": [_having(case) for case in cases]} for cases in CASES.get(name, ())]
    return {**found, "allOf": rules} if rules else found


def _of_models(field: Field, models: Sequence[Served]) -> dict[str, Any]:
    """Return the schema of a field, as far as it depends on the models."""
    vocabulary = min(model.artifact.vocab_size for model in models)
    schema: dict[str, Any] = _narrowed(field.kind.schema, vocabulary)
    embedding = [model.model for model in models if isinstance(model, Embedding)]
    if field.name == "model":
        return {"enum": [model.name for model in models]}
    if field.name == "n":
        return {**schema, "maximum": min(model.limits.rows for model in models)}
    if field.name == "logit_bias":
        digits = len(str(vocabulary)) - 1
        return {**schema, "propertyNames": {"pattern": f"^[0-9]{{1,{digits}}}$"}}
    if field.name == "dimensions":
        return {**schema, "maximum": min(model.size for model in embedding)}
    if field.name == "prompt_name":
        return {"enum": sorted({name for model in embedding for name in model.prompts.texts})}
    return schema


def _having(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a body in which fields have values."""
    schemas: dict[str, Any] = {}
    for name, value in values.items():
        schemas[name] = {"type": "null"} if value is None else {"const": value}
        if isinstance(value, dict):
            schemas[name] = value
    needed = [name for name, value in values.items() if value is not None]
    return {"properties": schemas, "required": needed}


def _narrowed(schema: Any, vocabulary: int) -> Any:
    """Return a schema whose token ids are below the size of the vocabulary."""
    if isinstance(schema, list):
        return [_narrowed(each, vocabulary) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == TOKEN.schema:
        return {**schema, "maximum": vocabulary - 1}
    return {name: _narrowed(value, vocabulary) for name, value in schema.items()}


def _error() -> dict[str, Any]:
    text_or_null = {"type": ["string", "null"]}
    inner = {
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": text_or_null,
            "code": text_or_null,
        },
        "required": ["message", "type", "param", "code"],
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"]}
