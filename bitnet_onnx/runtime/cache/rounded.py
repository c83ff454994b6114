"""Keys in an int8 or int4 cache: NumPy's copy of ``model/exact.py`` and ``model/int4.py``.

The bits are those of the operators. Knows arrays; does not know rows.
"""

from __future__ import annotations

import numpy as np

from ...artifact import CACHE_BLOCK, CACHE_BLOCK_BYTES

__all__ = ["held_int4", "kept_int4", "kept_int8"]

PEAK = np.float32(1e-5)  # the least peak of a row, as the operators take it
GROUP = CACHE_BLOCK // 2  # codes that share a multiplier
LEAST = 2  # multiplier


def kept_int8(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize keys [..., D]: codes int8, and steps float32 [...]."""
    scale = np.float32(127) / np.maximum(np.abs(keys).max(axis=-1, keepdims=True), PEAK)
    with np.errstate(invalid="ignore"):
        codes = np.clip(np.rint(keys * scale), -128, 127)
    finite = np.isfinite(codes).all(axis=-1, keepdims=True)
    step = np.where(finite, np.float32(1) / scale, np.float32(np.nan))
    return np.where(finite, codes, 0).astype(np.int8), step[..., 0]


def kept_int4(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize keys [..., D]: packed rows uint8, and steps float32 [...]."""
    with np.errstate(invalid="ignore", over="ignore"):
        codes, step = kept_int8(_turned(keys))
    missing = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % CACHE_BLOCK)]
    groups = np.pad(codes, missing).astype(np.float32)
    groups = groups.reshape(*codes.shape[:-1], -1, 2, GROUP)
    peak = np.abs(groups).max(axis=-1, keepdims=True)
    times = np.maximum(2 * peak // 15 + 1, np.float32(LEAST))
    both = np.concatenate([np.rint(groups / times) + 8, times - LEAST], axis=-1)
    packed = both[..., 0, :] + 16 * both[..., 1, :]
    return packed.astype(np.uint8).reshape(*codes.shape[:-1], -1), step


def held_int4(rows: np.ndarray, width: int) -> np.ndarray:
    """Return the keys float32 [..., D] that packed rows stand for, without their steps."""
    blocks = rows.reshape(*rows.shape[:-1], -1, CACHE_BLOCK_BYTES)
    halves = np.stack([blocks & 15, blocks >> 4], axis=-2).astype(np.float32)
    codes = (halves[..., :GROUP] - 8) * (halves[..., GROUP:] + LEAST)
    flat = np.maximum(codes, np.float32(-128)).reshape(*rows.shape[:-1], -1)[..., :width]
    return _turned(flat) / np.float32(width & -width)


def _turned(x: np.ndarray) -> np.ndarray:
    """Multiply x [..., D] by Hadamard's matrix of 1 and -1, in the order of the operators."""
    block = x.shape[-1] & -x.shape[-1]
    y = x.reshape(-1, block)
    for _ in range(block.bit_length() - 1):
        low, high = y[:, 0::2], y[:, 1::2]
        y = np.concatenate([low + high, low - high], axis=1)
    return y.reshape(x.shape)
