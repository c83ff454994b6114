"""Buffers of zeros whose whole huge pages are asked for, where the system gives them on request.

A step reads all keys and values. In pages of 4 KB the prefetchers of a CPU stop at each one, and a
virtual machine walks two tables for it. Knows the operating system; does not know rows.
"""

from __future__ import annotations

import mmap
import sys

import numpy as np

__all__ = ["HUGE", "zeros"]

HUGE = 2 << 20  # bytes of a huge page of x86-64 and, with pages of 4 KB, of Arm


def zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return a buffer of zeros; its first bytes are in huge pages, as many as it fills whole.

    NumPy asks for them from 4 MB on. The system gives a huge page as soon as one byte of it is
    written: so none reaches beyond the buffer. Raises MemoryError.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    whole = size // HUGE * HUGE
    if whole == 0 or not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(shape, dtype)
    try:
        mapped = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = -np.frombuffer(mapped, np.uint8).ctypes.data % HUGE
        mapped.madvise(mmap.MADV_HUGEPAGE, start, whole)
    except OSError:  # a kernel without them, or no memory, of which NumPy says so
        return np.zeros(shape, dtype)
    return np.frombuffer(mapped, np.uint8, size, start).view(dtype).reshape(shape)
