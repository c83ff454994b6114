"""/v1/embeddings: turn texts into vectors.

Knows OpenAI's embeddings; the vectors are those of ``EmbeddingModel.embed``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...errors import BitNetError
from ..models import Embedding
from .common import body_of, long_answer, model_of
from .errors import error_of
from .fields import EMBEDDING
from .running import or_gone

__all__ = ["embeddings"]


async def embeddings(request: Request) -> Response:
    """Return the vector of each input."""
    values = await body_of(request, EMBEDDING)
    served = model_of(request, values, Embedding)
    return await or_gone(request.receive, _in_turn(served, values))


async def _in_turn(served: Embedding, values: Mapping[str, Any]) -> Response:
    async with served.turn:
        return await long_answer(_embedded, served, values)


def _embedded(served: Embedding, values: Mapping[str, Any]) -> dict[str, Any]:
    given, name = values["input"], values.get("prompt_name")
    texts = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    try:
        ids = [served.model.ids(t, name) if isinstance(t, str) else t for t in texts]
        vectors = served.embed(texts, name, values.get("dimensions"))
    except BitNetError as error:
        raise error_of(error, "input", ("prompt_name", "dimensions")) from None
    in_base64 = values.get("encoding_format") == "base64"
    count = sum(map(len, ids))
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": place,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
                if in_base64
                else vector.tolist(),
            }
            for place, vector in enumerate(vectors)
        ],
        "model": served.name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
