"""Positions of single rows, as they come, go and move when users share a cache.

Knows the cache's buffers; does not know users.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .growing import Cache

__all__ = ["copy_row", "part_of", "settle", "widened"]


def part_of(cache: Cache, row: int, begin: int, end: int) -> dict[str, np.ndarray]:
    """Return a copy of some positions of a row, by the names of the buffers."""
    cache.check_whole(row)
    return {name: array[row, :, begin:end].copy() for name, array in cache.buffers.items()}


def copy_row(cache: Cache, source: int, target: int, length: int) -> None:
    """Replace a row by the first positions of another one."""
    cache.check_whole(source)

    def write(buffers: Mapping[str, np.ndarray]) -> None:
        for name, array in cache.buffers.items():
            buffers[name][:] = array[source, :, :length]

    cache.fill(np.array(cache.ids(source)[:length], np.int64), write, target)


def widened(cache: Cache, ahead: int) -> bool:
    """Grow a layer where the longest row has less room than this; return whether there was one."""
    capacity = cache.capacity
    if max(cache.lengths) + ahead <= capacity or capacity == cache.layout.context_length:
        return False
    cache.widen()
    return True


def settle(cache: Cache, positions: int) -> None:
    """Make room for so many positions of every row, or for the whole context, and write to it.

    The system gives memory when it is written: a step that is the first one in a row would wait.
    """
    positions = min(positions, cache.layout.context_length)
    cache.reserve(positions)
    for buffer in cache.buffers.values():
        buffer[:, :, max(cache.lengths) : positions] = 0
