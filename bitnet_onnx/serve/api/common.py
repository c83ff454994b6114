"""What endpoints share: the body, the model that is asked for, the JSON of an answer.

Knows Starlette's requests; does not know what is asked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ..models import Embedding, Generating, Served
from ..state import State
from .errors import ApiError, encoded
from .fields import Field
from .reading import given_in, values_of

__all__ = ["STATE", "TAKEN", "answer", "body_of", "fingerprint", "long_answer", "made_id",
           "model_of", "now", "state_of"]  # fmt: skip

STATE = "bitnet_onnx.state"
TAKEN = "bitnet_onnx.taken"  # the models that a request uses, which stay open for it
DOES: dict[type[Served], str] = {Generating: "generate text", Embedding: "embed texts"}
LARGE = 1 << 16  # bytes of a body that other requests are not kept waiting for
PIECE = 64  # members of a list that are written at once; one may be a vector
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

    def read() -> dict[str, Any]:
        return values_of(given_in(body), table)

    return read() if len(body) < LARGE else await run_in_threadpool(read)


def model_of(request: Request, values: Mapping[str, Any], kind: type[S]) -> S:
    """Return the model that a request names, or the only one of its kind.

    It stays open until the request has ended, also where a reload replaces it.
    """
    found = state_of(request).take(lambda models: _chosen(models, values.get("model"), kind))
    request.scope[TAKEN].append(found)
    return found


def _chosen(models: Mapping[str, Served], name: str | None, kind: type[S]) -> S:
    fitting = {name: served for name, served in models.items() if isinstance(served, kind)}
    if name is None and len(fitting) == 1:
        return next(iter(fitting.values()))
    if name is not None and name in fitting:
        return fitting[name]
    others = f"expected one of: {', '.join(fitting)}"
    if not fitting:
        others = f"and no model of this server can {DOES[kind]}"
    if name is None and fitting:
        raise ApiError(
            400,
            f"model is missing, {others}",
            param="model",
            code="missing_required_parameter",
        )
    lacks = f"cannot {DOES.get(kind)}" if name in models else "is not served"
    found = "model is missing" if name is None else f"the model {name!r:.80} {lacks}"
    raise ApiError(404, f"{found}, {others}", param="model", code="model_not_found")


def answer(value: Any) -> Response:
    """Return an answer of JSON."""
    return Response(encoded(value), media_type="application/json")


async def long_answer(make: Callable[..., dict[str, Any]], *given: Any) -> Response:
    """Return an answer whose lists may be long, made and written while others are answered."""

    def made() -> Response:
        return Response(b"".join(_pieces(make(*given))), media_type="application/json")

    return await run_in_threadpool(made)


def _pieces(value: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the parts of an object as JSON: no other thread runs while Python writes one."""
    for place, (name, member) in enumerate(value.items()):
        yield (b"," if place else b"{") + encoded(name) + b":"
        if not isinstance(member, list) or len(member) <= PIECE:
            yield encoded(member)
            continue
        for begin in range(0, len(member), PIECE):
            yield (b"," if begin else b"[") + encoded(member[begin : begin + PIECE])[1:-1]
        yield b"]"
    yield b"}" if value else b"{}"


def made_id(kind: str) -> str:
    """Return a new id that begins with its kind."""
    return f"{kind}-{secrets.token_hex(16)}"


def now() -> int:
    """Return the time as OpenAI writes it."""
    return int(time.time())


def fingerprint(served: Served) -> str:
    """Return what is the same where the same numbers are computed."""
    return f"fp_{served.artifact.fingerprint[:10]}"
