"""A cache that frees what no window sees any longer, in the layers that have a window.

A position stays where the operators look for it: the buffers have their places for all positions,
and the pages of the first ones go back to the system, which gives zeros for a page that was freed.
The kernels read nothing before a window. So the numbers are those of the dynamic cache, bit for
bit, and the memory of these layers follows from the window, not from the context. Knows rows and
windows; does not know ONNX Runtime.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import GenerationError
from .growing import Cache
from .layout import CacheLayout
from .state import State, changed

__all__ = ["FREEING", "SlidingCache"]

# macOS counts pages as used until they are asked for again, unless they are freed by this name.
FREEING = getattr(mmap, "MADV_FREE" if sys.platform == "darwin" else "MADV_DONTNEED", None)
KEPT = 256  # positions before a window that stay: a chat may take back its last ids
EACH = 64  # positions that are freed at a time, at least


class SlidingCache(Cache):
    """Rows as in the dynamic cache; the first positions of layers with a window are freed.

    A row that is cut back to where a window needs freed positions becomes empty.
    """

    def __init__(self, layout: CacheLayout, windows: Mapping[int, int], rows: int = 1) -> None:
        """windows: how many positions a layer sees, its own among them, where it has a window."""
        super().__init__(layout, rows)
        self._layers = frozenset(windows)
        self._window = max(windows.values())

    def check_whole(self, row: int) -> None:
        """Raise GenerationError where a row has freed positions, which others cannot continue."""
        super().check_whole(row)
        if freed := self._state.freed[self._row(row)]:
            raise GenerationError(
                f"row {row} has freed {freed} positions of a sliding cache, expected a row that "
                f"holds all of them",
                hint="use another cache, such as dynamic, for rows that are kept elsewhere",
            )

    def piece(self, count: int, row: int, chunk: int) -> int | None:
        """Return the largest step: positions are freed between the steps."""
        return chunk if count > chunk else None

    def make_room(self, count: int, row: int) -> None:
        """Free what the next step of a row does not see."""
        super().make_room(count, row)
        end = self.lengths[row] + 1 - self._window - KEPT
        if end < self._state.freed[row] + EACH:
            return
        self._state = replace(self._state, freed=changed(self._state.freed, row, end))
        for name, buffer in self.buffers.items():
            if self._windowed(name):
                for head in buffer[row]:
                    _free(buffer, head[:end])

    def _windowed(self, name: str) -> bool:
        return int(name.split(".")[0]) in self._layers

    def _freed(self, name: str, row: int) -> int:
        return self._state.freed[row] if self._windowed(name) else 0

    def _cut(self, state: State, row: int, length: int) -> State:
        if state.freed[row] > max(0, length + 1 - self._window):
            return replace(state.cut(row, 0), freed=changed(state.freed, row, 0))
        return state.cut(row, length)

    def _room(self, name: str, rows: int, capacity: int) -> np.ndarray:
        shape, kind = self.layout.shape(name, rows, capacity), self.layout.dtype_of(name)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if size == 0 or not self._windowed(name):
            return super()._room(name, rows, capacity)
        # Shared pages, which are the default, would not be freed.
        mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # of a huge page, only the whole can be freed
            mapped.madvise(mmap.MADV_NOHUGEPAGE)
        return np.frombuffer(mapped, kind).reshape(shape)


def _free(buffer: np.ndarray, part: np.ndarray) -> None:
    """Give the whole pages of a contiguous part of a mapped buffer back to the system."""
    begin = part.ctypes.data - buffer.ctypes.data
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (begin + part.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if first < last and FREEING is not None:
        _mapped(buffer).madvise(FREEING, first, last - first)


def _mapped(buffer: np.ndarray) -> mmap.mmap:
    """Return the mapping that a buffer was made of."""
    found: Any = buffer
    while not isinstance(found, mmap.mmap):
        found = found.obj if isinstance(found, memoryview) else found.base
    return found
