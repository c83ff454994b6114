"""Interrupt a call at any of its lines or bytecodes, as Ctrl-C can."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from tests.support.paths import PACKAGE

__all__ = ["interrupted"]

WHERE = str(PACKAGE / "runtime")


def interrupted(call: Callable[[], object], place: int, event: str = "opcode") -> bool:
    """Run ``call`` with a KeyboardInterrupt at its event number ``place`` in ``runtime``.

    Return False where the call ended before. event: "opcode" or "line".
    """
    left = place

    def trace(frame: FrameType, what: str, argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(WHERE):
            return None
        frame.f_trace_opcodes = event == "opcode"
        if what == event:
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
