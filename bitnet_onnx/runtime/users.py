"""Who uses a session: the thread or lease that it belongs to, and the call in progress.

Knows threads; does not know what a step computes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

from ..errors import SessionError

__all__ = ["Calls", "User", "Users"]

T = TypeVar("T")


class _Thread(threading.local):
    """``token`` belongs to one thread; its identifier can be that of an earlier thread."""

    def __init__(self) -> None:
        self.token = object()


_thread = _Thread()


class User:
    """A user other than a thread: it may call from any thread until it is released."""

    def __init__(self) -> None:
        self.thread = _thread.token
        self.released = False


class Users:
    """The one user that a session has."""

    def __init__(self) -> None:
        self._user: object = None

    def give_to(self, user: User | None) -> None:
        """Give the session to a user, or to this thread."""
        self._user = user or _thread.token

    def changes(self, user: User | None) -> bool:
        """Return whether a call of a user, or of this thread, makes it the user; refuse others.

        A thread becomes the user of a session that has none, and of one that it lent.
        """
        holder = self._user
        if user is None and (holder is None or isinstance(holder, User)):
            if holder is None or holder.thread is _thread.token:
                return True
        elif holder is (user or _thread.token):
            if user is None or not user.released:
                return False
            raise SessionError("the lease was released, expected one in use", hint="claim another")
        raise SessionError(
            "another stream or thread has taken the session over",
            hint="open one Session for each user, or reset() this one to take it over",
        )


class Calls:
    """The calls in progress, of which there is one at most."""

    def __init__(self) -> None:
        self._calls: dict[FrameType, object] = {}  # with the tokens of their threads

    def alone(self, step: Callable[[], T]) -> T:
        """Run a step; refuse a second one at a time, which could replace buffers in use.

        This is not a lock, which an interrupt between ``acquire`` and ``try`` would leave held.
        """
        call = sys._getframe()
        try:
            self._calls[call] = _thread.token
            if len(self._calls) > 1 and self._others(call):
                raise SessionError(
                    "the session is computing for another thread",
                    hint="open one Session for each user; they share the mapped weights",
                )
            return step()
        finally:
            self._calls.pop(call, None)
            del call  # a frame that refers to itself would keep the session until a collection

    def _others(self, call: FrameType) -> bool:
        """Return whether there are others; forget those whose end an interrupt cut off.

        A thread knows that of its own calls: they are not on its stack.
        """
        own = {other for other, token in self._calls.copy().items() if token is _thread.token}
        frame: FrameType | None = call
        while frame is not None:
            own.discard(frame)
            frame = frame.f_back
        for ended in own:
            self._calls.pop(ended, None)
        return self._calls.keys() != {call}
