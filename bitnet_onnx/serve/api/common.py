"""What endpoints share: the body, the model that is asked for, the JSON of an answer.

Knows Starlette's requests; does not know what is asked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ..models import Served
from ..state import State
from .errors import ApiError, encoded
from .fields import Field
from .reading import json_of, values_of

__all__ = ["STATE", "answer", "body_of", "fingerprint", "made_id", "model_of", "now", "state_of"]

STATE = "bitnet_onnx.state"
LARGE = 1 << 16  # bytes of a body that other requests are not kept waiting for
S = TypeVar("S", bound=Served)


def state_of(request: Request) -> State:
    """Return what the server has."""
    found: State = request.scope[STATE]
    return found


async def body_of(request: Request, table: Sequence[Field]) -> dict[str, Any]:
    """Return the fields of a request's body."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json":
        raise ApiError(
            415,
            f"the content-type is {kind!r:.80}, expected application/json",
            code="unsupported_media_type",
        )
    packed = request.headers.get("content-encoding", "identity").strip()
    if packed.lower() != "identity":
        raise ApiError(
            415,
            f"the content-encoding is {packed!r:.80}, expected none",
            code="unsupported_media_type",
        )
    body = await request.body()
    read = json_of(body) if len(body) < LARGE else await run_in_threadpool(json_of, body)
    return values_of(read, table)


def model_of(request: Request, values: Mapping[str, Any], kind: type[S]) -> S:
    """Return the model that a request names, or the only one of its kind."""
    models = state_of(request).models
    fitting = {name: served for name, served in models.items() if isinstance(served, kind)}
    name = values.get("model")
    if name is None:
        if len(fitting) == 1:
            return next(iter(fitting.values()))
        raise ApiError(
            400,
            f"model is missing, expected one of: {', '.join(fitting) or 'none is served'}",
            param="model",
            code="missing_required_parameter",
        )
    if name in fitting:
        return fitting[name]
    does = "does something else" if name in models else "is not served"
    raise ApiError(
        404,
        f"the model {name!r:.80} {does}, expected one of: {', '.join(fitting) or 'none is served'}",
        param="model",
        code="model_not_found",
    )


def answer(value: Any) -> Response:
    """Return an answer of JSON."""
    return Response(encoded(value), media_type="application/json")


def made_id(kind: str) -> str:
    """Return a new id that begins with its kind."""
    return f"{kind}-{secrets.token_hex(16)}"


def now() -> int:
    """Return the time as OpenAI writes it."""
    return int(time.time())


def fingerprint(served: Served) -> str:
    """Return what is the same where the same numbers are computed."""
    return f"fp_{served.artifact.fingerprint[:10]}"
