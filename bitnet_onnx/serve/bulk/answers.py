"""Answers to lines: the server's own application, called without a network.

Knows ASGI and the form of OpenAI's answers to a batch; does not know files.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.types import Message

from ..api.errors import encoded
from ..app import application
from ..models import Limits
from ..names import Names
from ..state import State
from .lines import Line

__all__ = ["FAILED", "Answers", "written"]

TRIES = 3  # of a request that fails without a fault of its own
FOREVER = 1e9  # seconds: no client waits
WAITING = 1 << 20  # answers: a line may ask for many, and lines are given one by one
FAILED = 500


class Answers:
    """A model that answers lines, several at a time."""

    def __init__(self, name: str, folder: Path, limits: Limits) -> None:
        # A line has its own limit, and its body can be longer: letters are written as escapes.
        limits = replace(limits, seconds=FOREVER, queue=WAITING, body=sys.maxsize)
        self._state = State({name: folder}, limits)
        self._app = application(self._state, Names("localhost"))
        self.lines = 2 * limits.rows
        """How many lines to give at a time, so that no row waits for the next line."""

    @property
    def fingerprint(self) -> str:
        """What the artifact's files are."""
        (served,) = self._state.models.values()
        return served.artifact.fingerprint

    async def of(self, line: Line) -> dict[str, Any]:
        """Return the line of the output."""
        head = {"id": f"batch_req_{line.key.hex()}", "custom_id": line.custom_id}
        if line.wrong:
            error = {"code": line.code, "message": line.wrong}
            return {**head, "response": None, "error": error}
        for _ in range(TRIES):
            status, body = await self._call(line.url, line.body)
            _end_if_cancelled()
            if status < FAILED:
                break
        response = {"status_code": status, "request_id": secrets.token_hex(16), "body": body}
        return {**head, "response": response, "error": None}

    async def _call(self, url: str, body: bytes) -> tuple[int, Any]:
        messages: list[Message] = []
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if given:
                return given.pop()
            await asyncio.Event().wait()  # nobody goes away
            raise AssertionError

        async def send(message: Message) -> None:
            messages.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": url,
            "raw_path": url.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in messages[1:])
        return messages[0]["status"], json.loads(content)

    def close(self) -> None:
        """Cancel what runs, and free the sessions."""
        self._state.close(0)


def _end_if_cancelled() -> None:
    """Go on with the end of a run: the application answers also a request that is cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def written(answer: dict[str, Any]) -> bytes:
    """Return the line of a file."""
    return encoded(answer) + b"\n"
