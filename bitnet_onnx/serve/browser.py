"""The page on which an artifact runs in the browser, from the server of requests.

Knows which files ``page`` has; does not know the page.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..artifact import TASK
from ..errors import BitNetError
from .api.common import state_of
from .page import ISOLATED, TYPES, files_of

__all__ = ["browser"]

SEND_SECONDS = 30.0  # for each piece of a file


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
    """A file; a client that does not read it is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def paced(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        await super().__call__(scope, receive, paced)
