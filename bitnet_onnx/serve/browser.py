"""The page on which an artifact runs in the browser, from the server of requests.

Knows which files ``page`` has; does not know the page.
"""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from ..artifact import TASK
from ..errors import BitNetError
from .api.common import state_of
from .api.running import or_gone
from .page import ISOLATED, TYPES, files_of

__all__ = ["browser"]


async def browser(request: Request) -> Response:
    """Return a file of the page, or of the artifact that it runs; 404 where it cannot run it."""
    name, path = request.path_params["name"], request.path_params["path"]
    served = state_of(request).models.get(name)
    if served is None:
        raise HTTPException(404)
    try:
        files = await run_in_threadpool(files_of, served.artifact.of_task(TASK))
        file = files[f"/{path}"]
    except (BitNetError, KeyError):  # another target, no built page, an unknown file
        raise HTTPException(404) from None
    suffix = Path(path).suffix if path else ".html"
    kind = TYPES.get(suffix, "application/octet-stream")
    return _File(file, headers={**ISOLATED, "Cache-Control": "no-cache"}, media_type=kind)


class _File(FileResponse):
    """A file; a client that goes away ends its reading."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await or_gone(receive, super().__call__(scope, receive, send))
