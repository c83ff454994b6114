"""Helpers for sessions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitnet_onnx.runtime.session import Session

__all__ = ["scores"]


def scores(session: Session, ids: Sequence[int], row: int = 0) -> np.ndarray:
    """Return the logits [S, V] after each id in one array."""
    return np.concatenate(list(session.score(ids, row)))
