"""What a cache holds, as one immutable value: it is replaced in one assignment.

Knows rows, their lengths and what they have in common; does not know what fills the buffers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from .layout import CacheLayout

__all__ = ["CachedRow", "State", "changed"]

T = TypeVar("T")


@dataclass(frozen=True)
class CachedRow:
    """A copy of a cache row: its ``ids``, and ``buffers`` by the names of its ``layout``."""

    layout: CacheLayout
    ids: np.ndarray
    buffers: dict[str, np.ndarray]


@dataclass(frozen=True)
class State:
    """What a cache holds; positions of ``buffers`` and ``ids`` beyond ``lengths`` are free."""

    buffers: dict[str, np.ndarray]
    ids: np.ndarray
    """[rows, at least the capacity]"""
    lengths: tuple[int, ...]
    capacity: int
    """Positions of every buffer; 0 while they differ, as in the middle of growing."""
    dropped: tuple[tuple[int, ...], ...]
    """The ids of each row that a sink cache has dropped; others drop none."""
    alike: tuple[tuple[int, ...], ...]
    """[i][j]: how many first positions of the rows i and j are copies of the same ones."""
    freed: tuple[int, ...]
    """How many first positions of each row a sliding cache has freed in layers with a window."""
    place: object = field(default_factory=object)
    """Another object wherever a buffer has moved."""

    @classmethod
    def empty(cls, buffers: dict[str, np.ndarray], rows: int) -> State:
        none = (0,) * rows
        ids = np.zeros((rows, 0), np.int64)
        return cls(buffers, ids, none, 0, ((),) * rows, (none,) * rows, none)

    def cut(self, row: int, length: int) -> State:
        """Return a state in which a row keeps so many positions."""
        lengths, alike = changed(self.lengths, row, length), self.alike
        if max(alike[row]) > length:
            each = (min(count, length) for count in alike[row])
            alike = changed(alike, row, tuple(each))
            alike = tuple(changed(counts, row, min(counts[row], length)) for counts in alike)
        return replace(self, lengths=lengths, alike=alike)

    def appended(self, ids: np.ndarray, rows: range) -> State:
        """Return a state with one more id in each of the rows, which are neighbours."""
        lengths = self.lengths[rows.start : rows.stop]
        self.ids[rows, lengths] = ids
        longer = tuple(length + 1 for length in lengths)
        lengths = (*self.lengths[: rows.start], *longer, *self.lengths[rows.stop :])
        return replace(self, lengths=lengths)

    def extended(self, new: Mapping[int, np.ndarray]) -> State:
        """Return a state with more ids [S] of some rows."""
        lengths = self.lengths
        for row, ids in new.items():
            start = lengths[row]
            self.ids[row, start : start + len(ids)] = ids
            lengths = changed(lengths, row, start + len(ids))
        return replace(self, lengths=lengths)

    def of_rows(self, order: Sequence[int]) -> State:
        """Return a state whose rows are copies of those of ``order``, in the same buffers."""
        alike = tuple(
            tuple(self.lengths[a] if a == b else self.alike[a][b] for b in order) for a in order
        )
        return replace(
            self,
            lengths=tuple(self.lengths[row] for row in order),
            dropped=tuple(self.dropped[row] for row in order),
            freed=tuple(self.freed[row] for row in order),
            alike=alike,
        )


def changed(values: tuple[T, ...], row: int, value: T) -> tuple[T, ...]:
    return (*values[:row], value, *values[row + 1 :])
