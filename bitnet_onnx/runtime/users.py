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
        self._calls: set[FrameType] = set()

    def alone(self, step: Callable[[], T]) -> T:
        """Run a step; refuse a second one at a time, which could replace buffers in use.

        A set instead of a lock: an interrupt between ``acquire`` and ``try`` would leave a lock
        held, while the end of a call can be seen on the stacks of the threads.
        """
        call = sys._getframe()
        try:
            self._calls.add(call)
            if len(self._calls) > 1 and self._running() != {call}:
                raise SessionError(
                    "the session is computing for another thread",
                    hint="open one Session for each user; they share the mapped weights",
                )
            return step()
        finally:
            self._calls.discard(call)

    def _running(self) -> set[FrameType]:
        """Return the calls in progress; forget those whose end an interrupt cut off."""
        stacks: set[FrameType] = set()
        for last in sys._current_frames().values():
            frame: FrameType | None = last
            while frame is not None:
                stacks.add(frame)
                frame = frame.f_back
        for ended in set(self._calls) - stacks:
            self._calls.discard(ended)
        return set(self._calls)
