"""A client's connection: it is read to its end, and waits for the client no longer than it may.

Knows sockets, uvicorn's protocol and h11; does not know what is served.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from .api.errors import ApiError, encoded, object_of

__all__ = ["IDLE_SECONDS", "Protocol"]

# Seconds are counted by a timer that each connection has: where the system stops this process, as
# a debugger or a paused machine does, a client that sent or read meanwhile is not late.
TICK = 1.0
IDLE_SECONDS = 20  # for the whole head of a request
READ_SECONDS = 30  # for a client to take more of its answer
UNREAD_SECONDS = 30  # for a client to read its answer, while it still sends a body
UNREAD = 64 << 20  # bytes of such a body that are thrown away
UNSENT = 1 << 16  # bytes that the system keeps for a client, so that its reading is soon seen
WAITING = 1 << 16  # bytes of the next requests that are read while an answer is made


class _Unhurried:
    """A connection that can be closed while its client sends.

    The system resets a connection that is closed with unread bytes, and what the client has not
    read by then is lost: so the answer is ended, and what still comes is thrown away.
    """

    def __init__(self, transport: asyncio.Transport, unread: Callable[[], bool]) -> None:
        self._transport, self._unread, self.left = transport, unread, UNREAD
        self.ended = False
        self._written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    @property
    def taken(self) -> int:
        """The bytes that the system has taken to send them."""
        return self._written - self._transport.get_write_buffer_size()

    @property
    def all_taken(self) -> bool:
        return not self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self.ended or self._transport.is_closing()

    def close(self) -> None:
        """End the answer where the client still sends; close the connection else, or at last."""
        if self.is_closing() or not self._unread():
            self._transport.close()
            return
        self.ended = True
        self._transport.resume_reading()
        self._transport.write_eof()

    def lost(self) -> None:
        """Let go of who uses it: in a circle, both would stay until the collector comes."""
        self._unread = bool

    def discard(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            self._transport.close()


class Protocol(H11Protocol):
    """Closes a connection whose client sends no whole head, or does not read its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        sending = (h11.SEND_BODY, h11.ERROR)  # states of a client that may not have ended
        self._unhurried = _Unhurried(transport, lambda: self.conn.their_state in sending)
        super().connection_made(self._unhurried)  # type: ignore[arg-type]
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            found = transport.get_extra_info("socket")
            with suppress(OSError):  # the client has gone already
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        self._taken = 0
        self._idle = self._stuck = self._throwing = 0.0  # seconds, as far as they were counted
        self._timer = self.loop.call_later(TICK, self._tick)

    def data_received(self, data: bytes) -> None:
        if self._unhurried.ended:
            self._unhurried.discard(data)
            return
        super().data_received(data)
        # A client whose next request waits is read on, so that it is noticed when it goes away.
        if self.flow.read_paused and self.conn.their_state is h11.DONE:
            waiting, _ = self.conn.trailing_data
            if len(waiting) < WAITING:
                self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)
        self._unhurried.lost()

    def on_response_complete(self) -> None:
        self._idle = 0.0
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, in the form of all errors."""
        if self.cycle is not None and not self.cycle.response_complete:  # it was a part of a body
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer has begun
            self.transport.abort()
            return
        error = ApiError(
            400, "the connection sent no valid request, expected HTTP/1.1", code="invalid_request"
        )
        body = encoded(object_of(error))
        kind, size = ("content-type", "application/json"), ("content-length", str(len(body)))
        headers = [kind, size, ("connection", "close")]
        for part in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _tick(self) -> None:
        """Count a second of what the client is waited for."""
        self._timer = self.loop.call_later(TICK, self._tick)
        taken, before = self._unhurried.taken, self._taken
        self._stuck = self._stuck + TICK if taken == before and not self._unhurried.all_taken else 0
        self._taken = taken
        is_idle = self.cycle is None or self.cycle.response_complete
        self._idle += TICK if is_idle else 0
        self._throwing += TICK if self._unhurried.ended else 0
        if self._stuck >= READ_SECONDS or self._throwing >= UNREAD_SECONDS:
            self.transport.abort()
        elif is_idle and self._idle >= IDLE_SECONDS and not self.transport.is_closing():
            self.transport.close()
