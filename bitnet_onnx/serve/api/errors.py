"""Refusals in OpenAI's form: a status, and an object with message, type, param and code.

Knows statuses and the package's exceptions; does not know requests.
"""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from starlette.responses import Response

from ...errors import ArtifactError, BitNetError, GenerationError, TokenizerError
from ..batching.requests import QueueFull

__all__ = ["ApiError", "encoded", "error_of", "object_of", "response_of"]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


class ApiError(Exception):
    """What a client is told: ``param`` names the field at fault, ``code`` is for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        # Its constructor shortens and escapes what a message quotes.
        self.message = str(BitNetError(message))
        self.status, self.param, self.code = status, param, code
        self.headers: dict[str, str] = {}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"
        if status == 429:
            self.headers["Retry-After"] = "1"


def object_of(error: ApiError) -> dict[str, Any]:
    """Return OpenAI's error object."""
    return {
        "error": {
            "message": error.message,
            "type": TYPES[error.status],
            "param": error.param,
            "code": error.code,
        }
    }


def response_of(error: ApiError) -> Response:
    """Return the answer to a request that is refused."""
    return Response(encoded(object_of(error)), error.status, error.headers, "application/json")


def error_of(error: BitNetError, param: str | None = None, others: Container[str] = ()) -> ApiError:
    """Return how a client is told of an exception of this package.

    others: fields that the error is of where it begins with their name, or is about them.
    """
    for name in (error.argument, str(error).partition(" ")[0]):
        param = name if name in others else param
    said = f"{error}; {error.hint}" if error.hint else str(error)
    if isinstance(error, QueueFull):
        return ApiError(429, said, code="queue_full")
    if isinstance(error, (GenerationError, TokenizerError)):
        return ApiError(400, said, param=param, code="invalid_value")
    if isinstance(error, ArtifactError):
        changed = "the files of the model were changed, expected those with which the server began"
        return ApiError(503, changed, code="model_changed")
    return ApiError(500, "the model failed, expected it to answer", code="model_failed")


def encoded(value: Any) -> bytes:
    """Return JSON in UTF-8; half a surrogate pair is an escape, as JSON can write it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
