"""Helpers for sessions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import numpy as np

from bitnet_onnx.runtime.session import Session
from tests.support.paths import PACKAGE

__all__ = ["interrupted", "scores"]

WHERE = str(PACKAGE / "runtime")


def scores(session: Session, ids: Sequence[int], row: int = 0) -> np.ndarray:
    """Return the logits [S, V] after each id in one array."""
    return np.concatenate(list(session.score(ids, row)))


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
