"""/openapi.json: the endpoints and their fields, made from the table of fields.

Knows OpenAPI; does not know what an endpoint does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ... import __version__
from .common import answer
from .fields import CHAT, COMPLETION, DETOKENIZE, EMBEDDING, RESPONSE, TOKENIZE, Field

__all__ = ["BODIES", "description", "openapi"]

BODIES: dict[str, tuple[str, Sequence[Field], bool]] = {
    "/v1/chat/completions": ("answer a conversation", CHAT, True),
    "/v1/completions": ("continue texts", COMPLETION, True),
    "/v1/embeddings": ("turn texts into vectors", EMBEDDING, False),
    "/v1/responses": ("answer a text or messages", RESPONSE, True),
    "/tokenize": ("return the ids of a text", TOKENIZE, False),
    "/detokenize": ("return the text of ids", DETOKENIZE, False),
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


async def openapi(request: Request) -> Response:
    """Describe the endpoints."""
    return answer(description())


def description() -> dict[str, Any]:
    """Return the description of all endpoints."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Error": _error()}
    for path, (about, table, streams) in BODIES.items():
        name = path.removeprefix("/v1/").replace("/", "_").strip("_")
        schemas[name] = _schema(table)
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
    for path, (about, kind) in PAGES.items():
        statuses = {s: words for s, words in STATUSES.items() if s in ("401", "403", "404", "503")}
        get: dict[str, Any] = {"summary": about, "responses": _responses([kind], statuses)}
        if "{name}" in path:
            where = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
            get["parameters"] = [where]
        paths[path] = {"get": get}
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


def _responses(kinds: list[str], statuses: dict[str, str]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refused = {s: {"description": words, "content": error} for s, words in statuses.items()}
    content: dict[str, Any] = {kind: {} for kind in kinds}
    return {"200": {"description": "the answer", "content": content}, **refused}


def _schema(table: Sequence[Field]) -> dict[str, Any]:
    properties = {}
    for field in table:
        about = field.about or f"no effect: {field.idle}"
        schema = field.kind.schema
        if not field.required:
            schema = {"anyOf": [schema, {"type": "null"}]}
        properties[field.name] = {**schema, "description": about}
    return {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in table if field.required],
        "additionalProperties": False,
    }


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
