"""An answer as server-sent events.

Knows ASGI and the form of events; does not know what they hold.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .errors import ApiError, encoded, object_of
from .running import or_gone

__all__ = ["DONE", "EventStream", "event"]

DONE = b"data: [DONE]\n\n"


def event(value: Any, name: str | None = None) -> bytes:
    """Return one event, with a name where the interface has names."""
    head = b"" if name is None else b"event: %s\n" % name.encode()
    return head + b"data: " + encoded(value) + b"\n\n"


class EventStream(Response):
    """Sends events as they are made; a client that goes away ends what makes them."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], end: Callable[[], None]) -> None:
        """end: frees what the events are made of, also where none was asked for."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._made, self._end = events, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await or_gone(receive, self._send_all(send))
        finally:
            self._end()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._made) as made:
            try:
                async for each in made:
                    await _sent(send, each)
            except ApiError as error:
                await _sent(send, event(object_of(error)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _sent(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
