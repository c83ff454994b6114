"""The schemas of the bodies of requests: the table of fields, as narrow as the models make it.

Each model has one of its own, so that ids are those of its vocabulary. Knows JSON schemas; does not
know OpenAPI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...models import Embedding, Generating, Served
from ..fields import CHAT, COMPLETION, DETOKENIZE, EMBEDDING, RESPONSE, TOKEN, TOKENIZE, Field
from ..options import longest
from .rules import NO_TOOLS, NULL, prompts, rules_of

__all__ = ["KINDS", "TABLES", "numbers_to", "schemas_of"]

TABLES: dict[str, Sequence[Field]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/embeddings": EMBEDDING,
    "/v1/responses": RESPONSE,
    "/tokenize": TOKENIZE,
    "/detokenize": DETOKENIZE,
}
# What a model must be for an endpoint; any, for the others.
KINDS: dict[str, type[Served]] = {
    "/v1/chat/completions": Generating,
    "/v1/completions": Generating,
    "/v1/responses": Generating,
    "/v1/embeddings": Embedding,
}


def schemas_of(path: str, models: Sequence[Served]) -> list[dict[str, Any]]:
    """Return the schemas of which a body has one: those of the models that the endpoint has."""
    fitting = [model for model in models if isinstance(model, KINDS.get(path, Served))]
    return [_schema(path, model, fitting) for model in fitting]


def _schema(path: str, served: Served, others: Sequence[Served]) -> dict[str, Any]:
    table = TABLES[path]
    needed = [field.name for field in table if field.required]
    rules = rules_of(path, served, others)
    # One generating model need not be named with messages: a rule says so.
    alone = isinstance(served, Generating) and path == "/tokenize" and len(rules) > 1
    if len(others) > 1 and not alone:
        needed.append("model")
    properties = {}
    for field in table:
        schema = _of_model(field, served, path)
        if field.name not in needed and schema != NULL:
            schema = {"anyOf": [schema, NULL]}
        about = field.about or f"no effect: {field.idle}"
        properties[field.name] = {**schema, "description": about}
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
        **({"allOf": rules} if rules else {}),
    }


def _of_model(field: Field, served: Served, path: str) -> dict[str, Any]:
    """Return the schema of a field, as far as it depends on the model."""
    schema: dict[str, Any] = _narrowed(field.kind.schema, served.artifact.vocab_size)
    name = field.name
    if name == "model":
        return {"const": served.name}
    if name == "logit_bias":
        ids = numbers_to(served.artifact.vocab_size - 1)
        return {**schema, "propertyNames": {"pattern": f"^(?:{ids})$"}}
    if isinstance(served, Embedding):
        return _of_embedding(field, served, schema)
    if not isinstance(served, Generating):
        return schema
    reads = served.chat_variables
    if name == "n":
        return {**schema, "maximum": min(served.limits.rows, schema["maximum"])}
    if name == "prompt" and path == "/v1/completions":
        room = served.limits.rows + served.limits.queue
        schema = prompts(min(128, room), longest(served))
        return dict(_narrowed(schema, served.artifact.vocab_size))
    if name == "documents" and "documents" not in reads:
        return NULL
    if name == "tools" and "tools" not in reads and path == "/tokenize":
        return NO_TOOLS
    if name == "chat_template_kwargs":
        own = sorted(reads - {"messages", "tools", "documents", "add_generation_prompt"})
        return {**schema, "propertyNames": {"enum": own}} if own else {**schema, "maxProperties": 0}
    return schema


def _of_embedding(field: Field, served: Embedding, schema: dict[str, Any]) -> dict[str, Any]:
    if field.name == "dimensions":
        return {**schema, "maximum": served.model.size}
    if field.name == "prompt_name":
        names = sorted(served.model.prompts.texts)
        return {"enum": names} if names else NULL
    if field.name in ("messages", "tools", "chat_template_kwargs"):
        return NULL
    if field.name == "input":
        return dict(_bounded(schema, served.context))
    return schema


def _bounded(schema: Any, most: int) -> Any:
    """Return a schema whose lists of token ids are not longer than the context."""
    if isinstance(schema, list):
        return [_bounded(each, most) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("items", {}).get("type") == "integer":
        return {**schema, "maxItems": most}
    return {name: _bounded(value, most) for name, value in schema.items()}


def _narrowed(schema: Any, vocabulary: int) -> Any:
    """Return a schema whose token ids are below the size of the vocabulary."""
    if isinstance(schema, list):
        return [_narrowed(each, vocabulary) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == TOKEN.schema:
        return {**schema, "maximum": vocabulary - 1}
    return {name: _narrowed(value, vocabulary) for name, value in schema.items()}


def numbers_to(most: int) -> str:
    """Return the regular expression of the numbers 0 to ``most``, without zeros before them."""
    digits = str(most)
    count = len(digits)
    found = ["0"] if count > 1 else []
    if count == 2:
        found.append("[1-9]")
    elif count > 2:
        found.append(f"[1-9][0-9]{{0,{count - 2}}}")
    for place, digit in enumerate(digits):
        least = 1 if place == 0 and count > 1 else 0
        if int(digit) > least:
            rest = f"[0-9]{{{count - place - 1}}}" if place + 1 < count else ""
            found.append(f"{digits[:place]}[{least}-{int(digit) - 1}]{rest}")
    return "|".join([*found, digits])
