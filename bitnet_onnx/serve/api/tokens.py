"""/tokenize and /detokenize, in llama.cpp's and in vLLM's form.

Knows both forms; the ids are those of the checkpoint's tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...errors import BitNetError
from ..models import Embedding, Generating, Served
from .chat import encoded_chat
from .common import body_of, long_answer, model_of
from .errors import ApiError, error_of
from .fields import DETOKENIZE, TOKENIZE
from .reading import refuse
from .tools import Calling, functions_of

__all__ = ["detokenize", "tokenize"]

GIVEN = ("content", "prompt", "messages")
# What acts only beside one of them.
BESIDE = {
    "add_special": "content",
    "add_special_tokens": "prompt",
    "tools": "messages",
    "chat_template_kwargs": "messages",
}


async def tokenize(request: Request) -> Response:
    """Return the ids of a text or of a conversation."""
    values = await body_of(request, TOKENIZE)
    served = model_of(request, values, Generating if "messages" in values else Served)
    return await long_answer(_tokenized, served, values)


async def detokenize(request: Request) -> Response:
    """Return the text of ids."""
    values = await body_of(request, DETOKENIZE)
    served = model_of(request, values, Served)
    return await long_answer(_detokenized, served, values["tokens"])


def _detokenized(served: Served, tokens: Sequence[int]) -> dict[str, Any]:
    for token in tokens:
        if token >= served.artifact.vocab_size:
            refuse("tokens", token, f"token ids below {served.artifact.vocab_size}")
    text = served.tokenizer.decode(tokens, False)
    return {"content": text, "prompt": text}


def _tokenized(served: Served, values: Mapping[str, Any]) -> dict[str, Any]:
    given = [name for name in GIVEN if name in values]
    if len(given) != 1:
        raise ApiError(
            400,
            f"{' and '.join(given) or 'no text'} is given, expected one of: {', '.join(GIVEN)}",
            param=given[1] if given else "content",
            code="missing_required_parameter" if not given else "invalid_value",
        )
    for name, needed in BESIDE.items():
        if name in values and needed != given[0]:
            refuse(name, values[name], f"{needed} with it")
    try:
        ids = _ids(served, values, given[0])
    except BitNetError as error:
        raise error_of(error, given[0]) from None
    pieces = [served.pieces.text(token) for token in ids]
    tokens: list[Any] = ids
    if values.get("with_pieces"):
        tokens = [{"id": token, "piece": _piece(served.pieces.raw(token))} for token in ids]
    found = {"tokens": tokens, "count": len(ids), "max_model_len": served.context}
    return {**found, "token_strs": pieces} if values.get("return_token_strs") else found


def _piece(raw: bytes) -> str | list[int]:
    """Return a token's text, or its bytes where they are no text, as llama.cpp does."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)


def _ids(served: Served, values: Mapping[str, Any], kind: str) -> list[int]:
    if kind == "messages":
        assert isinstance(served, Generating)
        tools = values.get("tools")
        functions_of(tools or [])
        return encoded_chat(served, values, Calling("text", tools or None))
    added = values.get("add_special", False)
    if kind == "prompt":
        added = values.get("add_special_tokens", True)
    if isinstance(served, Embedding) and added:
        return served.tokenizer.encode_whole(values[kind])
    return served.tokenizer.encode(values[kind], added)
