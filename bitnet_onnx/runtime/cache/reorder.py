"""Rows of a cache that become copies of others in place: only what differs is copied.

Knows buffers and states; does not know when rows move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .state import State

__all__ = ["Moves"]

Parts = dict[str, np.ndarray]
IDS = "ids"


class Moves:
    """How row i becomes a copy of the row ``order[i]``, for every row at once."""

    def __init__(
        self, state: State, order: Sequence[int], freed: Callable[[str, int], int]
    ) -> None:
        """freed: how many first positions of a row a buffer has no longer."""
        self._state, self.order, self._freed = state, list(order), freed
        moved = [(row, parent) for row, parent in enumerate(order) if row != parent]
        self.common = {row: state.alike[row][parent] for row, parent in moved}
        """How many first positions stay, by row."""
        self.count = sum(state.lengths[parent] - self.common[row] for row, parent in moved)
        """Positions that are copied."""
        self._old: dict[int, tuple[int, Parts]] = {}

    def write(self) -> None:
        """Write the ends of the rows, which are all read before the first one is written."""
        self._old = {row: self._end(row, row) for row in self.common}
        self._write({row: self._end(row, self.order[row]) for row in self.common})

    def restore(self) -> None:
        """Write what the rows held before; needed after ``write`` failed."""
        self._write(self._old)

    def _start(self, name: str, row: int) -> int:
        """Return the first position of a buffer that a row does not have as its parent has it."""
        freed, own = self._freed(name, self.order[row]), self._freed(name, row)
        return max(freed, self.common[row]) if own <= freed else freed

    def _end(self, row: int, of: int) -> tuple[int, Parts]:
        """Return the end of the row ``of`` as far as it is written to ``row``, and its length."""
        length = self._state.lengths[of]
        parts = {
            name: buffer[of, :, self._start(name, row) : length].copy()
            for name, buffer in self._state.buffers.items()
        }
        parts[IDS] = self._state.ids[of, self.common[row] : length].copy()
        return length, parts

    def _write(self, ends: dict[int, tuple[int, Parts]]) -> None:
        for row, (length, parts) in ends.items():
            self._state.ids[row, self.common[row] : length] = parts[IDS]
            for name, buffer in self._state.buffers.items():
                buffer[row, :, self._start(name, row) : length] = parts[name]
