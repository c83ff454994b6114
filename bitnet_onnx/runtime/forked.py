"""What of a session outlives a fork: nothing that can be used, and nothing that may be ended.

Knows processes and references; does not know the steps of a network.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any

from ..errors import SessionError

__all__ = ["check_process", "remember"]

_open: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(session: Any) -> int:
    """Keep the session's runtime from being ended in a forked child; return this process."""
    _open.add(session)
    return os.getpid()


def check_process(process: int) -> None:
    """Raise SessionError in another process than the one that opened the session."""
    if process != os.getpid():
        raise SessionError(
            "the session was opened before this process was forked from another one",
            hint="open a Session in the child; they share the mapped weights",
        )


def _keep_in_child() -> None:
    """Give each runtime a reference that is never dropped.

    When ONNX Runtime ends a session, it waits for its threads, which a forked child does not have.
    """
    for session in _open:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session._steps.runtime))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_in_child)
