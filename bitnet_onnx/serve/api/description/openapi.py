"""/openapi.json: the endpoints, what they take and answer, and the statuses of refusals.

Knows OpenAPI; does not know what an endpoint does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .... import __version__
from ...models import Served
from ..common import answer, state_of
from ..fields import Field
from .answers import ANSWERS, ERROR
from .bodies import KINDS, TABLES, schemas_of
from .rules import UNSAID

__all__ = ["BODIES", "description", "openapi"]

_ABOUT = {
    "/v1/chat/completions": "answer a conversation",
    "/v1/completions": "continue texts",
    "/v1/embeddings": "turn texts into vectors",
    "/v1/responses": "answer a text or messages",
    "/tokenize": "return the ids of a text",
    "/detokenize": "return the text of ids",
}
STREAMING = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
BODIES: dict[str, tuple[str, Sequence[Field], bool]] = {
    path: (about, TABLES[path], path in STREAMING) for path, about in _ABOUT.items()
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
OF_PAGES = ("401", "403", "404", "503")
# A request of each endpoint that every model answers, but for its model.
EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 4},
    "/v1/embeddings": {"input": ["Hi", "you"]},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 4},
    "/tokenize": {"content": "Hi"},
    "/detokenize": {"tokens": [0]},
}


async def openapi(request: Request) -> Response:
    """Describe the endpoints."""
    state = state_of(request)
    return answer(description(state.models, state.has_key))


def description(models: Mapping[str, Served], has_key: bool = False) -> dict[str, Any]:
    """Return the description of all endpoints that the models have.

    has_key: whether the server asks for a key.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Error": ERROR}
    for path in BODIES:
        fitting = [m for m in models.values() if isinstance(m, KINDS.get(path, Served))]
        if not fitting:
            continue
        name = path.removeprefix("/v1/").strip("/").replace("/", "_")
        several = schemas_of(path, fitting)
        for number, schema in enumerate(several, 1):
            schemas[f"{name}_{number}" if len(several) > 1 else name] = schema
        schemas[f"{name}_answer"] = ANSWERS[path]
        paths[path] = {"post": _operation(path, name, [model.name for model in fitting])}
    for page in PAGES:
        if page in ANSWERS:
            schemas[_page_name(page)] = ANSWERS[page]
        paths[page] = {"get": _page(page, models)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "bitnet-onnx", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}] if has_key else [{}, {"key": []}],
    }


def _operation(path: str, name: str, models: list[str]) -> dict[str, Any]:
    about, _, streams = BODIES[path]
    refs = [_ref(f"{name}_{number}") for number in range(1, len(models) + 1)]
    taken = {
        "schema": {"oneOf": refs} if len(refs) > 1 else _ref(name),
        "examples": {
            str(number): {"value": {"model": model, **EXAMPLES[path]}}
            for number, model in enumerate(models, 1)
        },
    }
    content: dict[str, Any] = {"application/json": {"schema": _ref(f"{name}_answer")}}
    if streams:
        content["text/event-stream"] = {}
    unsaid = UNSAID.get(path, ())
    told = f"; beside what the schema says: {'; '.join(unsaid)}" if unsaid else ""
    statuses = {**STATUSES, "400": STATUSES["400"] + told}
    responses = _responses(content, statuses)
    if ANSWERS[path]["properties"].get("model"):
        responses["200"]["links"] = _link("$response.body#/model")
    return {
        "summary": about,
        "operationId": name,
        "requestBody": {"required": True, "content": {"application/json": taken}},
        "responses": responses,
    }


def _page(path: str, models: Mapping[str, Served]) -> dict[str, Any]:
    about, kind = PAGES[path]
    content = {kind: {"schema": _ref(_page_name(path))} if path in ANSWERS else {}}
    responses = _responses(content, {status: STATUSES[status] for status in OF_PAGES})
    get: dict[str, Any] = {"summary": about, "operationId": _page_name(path),
                           "responses": responses}  # fmt: skip
    if "{name}" in path:
        names = {"type": "string", "enum": list(models)}
        get["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": names}]
    if path == "/v1/models":
        responses["200"]["links"] = _link("$response.body#/data/0/id")
    if path == "/health":
        get["security"] = []  # it is answered without the key
    return get


def _link(model: str) -> dict[str, Any]:
    """Return the link from an answer to the description of a model that it names."""
    operation = _page_name("/v1/models/{name}")
    return {"model": {"operationId": operation, "parameters": {"name": model}}}


def _page_name(path: str) -> str:
    return "model" if "{name}" in path else path.rpartition("/")[2]


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _responses(content: dict[str, Any], statuses: Mapping[str, str]) -> dict[str, Any]:
    error = {"application/json": {"schema": _ref("Error")}}
    refused = {s: {"description": words, "content": error} for s, words in statuses.items()}
    return {"200": {"description": "the answer", "content": content}, **refused}
