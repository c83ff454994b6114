"""Logits and hidden states that are hashes of the ids, for toy networks on both sides.

Needs NumPy alone, so that the programs that write vectors of older transformers can import it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

__all__ = ["WIDTH", "toy_head", "toy_logits", "toy_states"]

WIDTH = 8


def toy_logits(ids: Sequence[int], vocab: int) -> np.ndarray:
    """Return logits [vocab] that depend on every id and its position."""
    seed = zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
    return np.random.default_rng(seed).standard_normal(vocab).astype(np.float32)


def toy_states(ids: Sequence[int], count: int) -> np.ndarray:
    """Return the hidden states [count, WIDTH] after the last id."""
    seed = zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
    return np.random.default_rng([seed, 1]).standard_normal((count, WIDTH)).astype(np.float32)


def toy_head(vocab: int) -> np.ndarray:
    """Return the head's table [vocab, WIDTH]."""
    return np.random.default_rng(vocab).standard_normal((vocab, WIDTH)).astype(np.float32)
