"""The server's application: its endpoints behind the guard.

Knows which path is which endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .api.about import health, metrics, model, models
from .api.chat import chat
from .api.completions import completions
from .api.description.openapi import openapi
from .api.embeddings import embeddings
from .api.responses import responses
from .api.tokens import detokenize, tokenize
from .browser import browser
from .chat_page import chat_page
from .guard import Guard
from .names import Names
from .state import State

__all__ = ["application"]

ROUTES = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/v1/models", models),
    Route("/v1/models/{name:path}", model),
    Route("/tokenize", tokenize, methods=["POST"]),
    Route("/detokenize", detokenize, methods=["POST"]),
    Route("/health", health),
    Route("/metrics", metrics),
    Route("/openapi.json", openapi),
    Route("/", chat_page),
    Route("/browser/{name}/{path:path}", browser),
]


def application(
    state: State,
    names: Names,
    origins: Iterable[str] = (),
    log: Callable[[str], None] | None = None,
) -> ASGIApp:
    """Return the application. origins: of pages of other sites that may use it."""
    router = Router(ROUTES, redirect_slashes=False, default=_missing)

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = None  # so that a wrong method is raised, and not answered in plain text
        await router(scope, receive, send)

    return Guard(routed, state, names, (route.path for route in ROUTES), origins, log)


async def _missing(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(404)
