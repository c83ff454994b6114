"""A KV cache in memory whose capacity grows with the longest row.

Knows NumPy buffers, ids and rows; does not know ONNX Runtime. Each layer has a buffer [rows, kv
heads, capacity, head_dim] for keys and one for values. An int8 or int4 cache adds a buffer [rows,
kv heads, capacity] of scales for each of the two, and int4 rows are packed. A step reads and writes
the buffers in place, beyond ``lengths``: a step that fails has changed no counted position.

What is valid is one immutable state, replaced in one assignment, so that an error or an interrupt
anywhere in a method leaves the cache as it was before the call or as it is after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import GenerationError
from ..integers import Ids, integer, integers
from .layout import CacheLayout
from .reorder import Moves
from .state import CachedRow, State, changed

__all__ = ["Cache", "CachedRow"]

BLOCK = 512  # the capacity grows by this many positions; growing copies the filled ones once


class Cache:
    """The past of one or more rows; the first ``lengths[row]`` positions of a row are valid."""

    keeps_room = False
    """Whether it has all its room at the start."""

    def __init__(self, layout: CacheLayout, rows: int = 1) -> None:
        self.layout = layout
        buffers = {name: layout.zeros(name, rows, 0) for name in layout.names}
        self._state = State.empty(buffers, rows)

    def emptied(self) -> Cache:
        """Return a cache without positions that has the same buffers, and takes their place."""
        found = copy(self)
        state = self._state
        empty = State.empty(state.buffers, self.rows)
        found._state = replace(empty, ids=state.ids, capacity=state.capacity, place=state.place)
        return found

    @property
    def rows(self) -> int:
        return len(self._state.lengths)

    @property
    def lengths(self) -> tuple[int, ...]:
        return self._state.lengths

    @property
    def fed(self) -> tuple[int, ...]:
        """How many ids each row was fed: ``lengths``, but for what a sink cache has dropped."""
        return tuple(map(int.__add__, self.lengths, map(len, self._state.dropped)))

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        return self._state.buffers

    @property
    def place(self) -> object:
        """Another object once a buffer has moved: compare it before using a stored address."""
        return self._state.place

    @property
    def capacity(self) -> int:
        """Positions that every buffer has room for."""
        return min(int(buffer.shape[2]) for buffer in self._state.buffers.values())

    def ids(self, row: int = 0) -> list[int]:
        """Return the ids whose keys and values a row holds."""
        state, row = self._state, self._row(row)
        return list(map(int, state.ids[row, : state.lengths[row]]))

    @property
    def position_bytes(self) -> int:
        """Bytes of one position of a row in one layer."""
        return self.layout.position_bytes

    def reserve(self, positions: int) -> None:
        """Make room for this many positions in every row; the buffers may move.

        Raises GenerationError where the context is shorter. After an error in the middle, such as a
        MemoryError, the cache holds what it held and can be used.
        """
        if positions <= self._state.capacity:
            return
        limit = self.layout.context_length
        if positions > limit:
            raise GenerationError(
                f"a row would hold {positions} positions, expected at most the context of {limit}"
            )
        capacity, filled = self.capacity, max(self.lengths)
        # Where growing failed half-way, the buffers shrink again as long as that is enough.
        if max(positions, filled) > capacity:
            capacity = min(-(-max(positions, filled) // BLOCK) * BLOCK, limit)
        if self._state.ids.shape[1] < capacity:
            ids = np.zeros((self.rows, capacity), np.int64)
            ids[:, :filled] = self._state.ids[:, :filled]
            self._state = replace(self._state, ids=ids)
        # One at a time, so that no two copies of the whole are in memory.
        for name in self.layout.names:
            if self.buffers[name].shape[2] != capacity:
                self._resize(name, capacity)
        self._state = replace(self._state, capacity=capacity)

    def _resize(self, name: str, capacity: int) -> None:
        buffers = {**self.buffers, name: self._copied(name, range(self.rows), capacity)}
        self._state = replace(self._state, buffers=buffers, capacity=0, place=object())

    def _room(self, name: str, rows: int, capacity: int) -> np.ndarray:
        """Return a new buffer of zeros."""
        return self.layout.zeros(name, rows, capacity, not self.keeps_room)

    def _freed(self, name: str, row: int) -> int:
        """Return how many first positions of a row a buffer has no longer."""
        return 0

    def _copied(self, name: str, order: Sequence[int], capacity: int) -> np.ndarray:
        """Return a new buffer whose rows are copies of those of ``order``."""
        new, old = self._room(name, len(order), capacity), self.buffers[name]
        for place, row in enumerate(order):
            held = slice(self._freed(name, row), self.lengths[row])
            new[place, :, held] = old[row, :, held]
        return new

    def widen(self) -> None:
        """Grow one more layer, so that a cache that grows in time keeps no step waiting for long.

        Steps go on meanwhile: the buffers of a layer are of one capacity.
        """
        self.reserve(max(1, filled := max(self.lengths)))
        wider = min((self._state.capacity // BLOCK + 1) * BLOCK, self.layout.context_length)
        lacking = max(wider - self._state.ids.shape[1], 0)
        self._state = replace(self._state, ids=np.pad(self._state.ids, ((0, 0), (0, lacking))))
        narrow = [name for name in self.layout.names if self.buffers[name].shape[2] < wider]
        for name in narrow[: len(self.layout.names) // self.layout.num_layers]:
            self._resize(name, wider)
            self.buffers[name][:, :, filled:] = 0  # the system gives memory when it is written
        self._state = replace(self._state, capacity=self.capacity)

    def check_room(self, count: int, row: int) -> None:
        """Raise GenerationError where the context has no room for more positions of a row."""
        held, limit = self.lengths[row], self.layout.context_length
        if held + count > limit:
            raise GenerationError(
                f"row {row} would hold {held + count} positions, expected at most the context of "
                f"{limit}"
            )

    def make_room(self, count: int, row: int) -> None:
        """Make sure that the next step of a row has room; a growing cache only checks it."""
        self.check_room(count, row)

    def piece(self, count: int, row: int, chunk: int) -> int | None:
        """Return how many of so many new positions of a row are read before room is made anew.

        chunk: the largest number of positions in one step of a session. None: all have room.
        """
        return None

    def append(self, ids: np.ndarray, rows: range | None = None) -> None:
        """Count a computed position of every row, or of some neighbours: ids [rows]."""
        self._state = self._state.appended(ids, range(self.rows) if rows is None else rows)

    def extend(self, new: Mapping[int, np.ndarray]) -> None:
        """Count computed positions of some rows, all at once: ids [S] by row."""
        self._state = self._state.extended(new)

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep only the first ``length`` ids of a row."""
        row, length = self._row(row), integer("length", length)
        if not 0 <= length <= self.fed[row]:
            raise GenerationError(
                f"truncate got length {length} for row {row}, expected 0 to {self.fed[row]}"
            )
        self._keep(length, row)

    def _keep(self, length: int, row: int) -> None:
        self._state = self._cut(self._state, row, length)

    def _cut(self, state: State, row: int, length: int) -> State:
        return state.cut(row, length)

    def reorder(self, order: Ids) -> None:
        """Replace the rows: row i becomes a copy of the former row ``order[i]``.

        Rows that began as copies of one row differ in their ends alone; these are what is copied.
        Raises GenerationError where ``order`` is empty or names a row that does not exist.
        """
        taken = [self._row(row) for row in integers("row", order)]
        if not taken:
            raise GenerationError("reorder got no rows, expected at least one")
        state = self._state
        if len(taken) == self.rows:
            moves = Moves(state, taken, self._freed)
            if 2 * moves.count <= sum(state.lengths):
                self._move(moves)
                return
        capacity = self.capacity
        buffers = {name: self._copied(name, taken, capacity) for name in state.buffers}
        new = replace(state.of_rows(taken), buffers=buffers, capacity=capacity, place=object())
        self._state = replace(new, ids=state.ids[taken])

    def _move(self, moves: Moves) -> None:
        before = inside = self._state
        for row, common in moves.common.items():
            inside = self._cut(inside, row, common)
        try:
            # Shorter in between: a second interrupt, in the restoring, finds no wrong position.
            self._state = inside
            moves.write()
            self._state = before.of_rows(moves.order)
        except BaseException:
            self._state = inside
            moves.restore()
            self._state = before
            raise

    def fork(self, count: int, row: int = 0) -> None:
        """Replace all rows by ``count`` copies of ``row``."""
        if integer("count", count) < 1:
            raise GenerationError(f"fork got a count of {count}, expected 1 or more")
        self.reorder([self._row(row)] * count)

    def take(self, row: int = 0) -> CachedRow:
        """Return a copy of a row, which does not change with the cache."""
        self.check_whole(row)
        return self._copy(row)

    def check_whole(self, row: int) -> None:
        """Raise GenerationError where positions of a row were dropped, so that others moved."""
        if dropped := len(self._state.dropped[self._row(row)]):
            raise GenerationError(
                f"row {row} has dropped {dropped} positions, and others moved, expected a row "
                "whose numbers are those of its ids"
            )

    def _copy(self, row: int) -> CachedRow:
        state, row = self._state, self._row(row)
        length = state.lengths[row]
        buffers = {name: array[row, :, :length].copy() for name, array in state.buffers.items()}
        return CachedRow(self.layout, state.ids[row, :length].copy(), buffers)

    def put(self, kept: CachedRow, row: int = 0) -> None:
        """Replace a row by one that ``take`` returned, here or in a cache of the same layout."""
        row = self._row(row)
        if not isinstance(kept, CachedRow):
            raise GenerationError(f"put got {kept!r}, expected a row that take returned")
        if kept.layout != self.layout:
            raise GenerationError(
                "the row comes from a session of another artifact, expected one of this artifact",
                hint="put it into a session of the artifact that it comes from",
            )

        def write(buffers: Mapping[str, np.ndarray]) -> None:
            for name, array in kept.buffers.items():
                buffers[name][:] = array

        self.fill(kept.ids, write, row)

    def fill(
        self, ids: np.ndarray, write: Callable[[Mapping[str, np.ndarray]], None], row: int = 0
    ) -> None:
        """Replace a row by ``ids`` and what ``write`` puts into its buffers [kv heads, S, ...].

        An error leaves the row as it was.
        """
        row = self._row(row)
        self.reserve(len(ids))
        before, own = self._state, self._copy(row)
        none = changed(before.dropped, row, ()), changed(before.freed, row, 0)
        empty = replace(before.cut(row, 0), dropped=none[0], freed=none[1])
        try:
            # Empty in between: a second interrupt, in the restoring, finds no wrong position.
            self._state = empty
            before.ids[row, : len(ids)] = ids
            write({name: array[row, :, : len(ids)] for name, array in before.buffers.items()})
            self._state = replace(empty, lengths=changed(before.lengths, row, len(ids)))
        except BaseException:
            self._state = empty
            before.ids[row, : len(own.ids)] = own.ids
            for name, array in own.buffers.items():
                before.buffers[name][row, :, : len(own.ids)] = array
            self._state = before
            raise

    def _row(self, row: Any) -> int:
        found = integer("row", row)
        if not 0 <= found < self.rows:
            raise GenerationError(f"row is {found}, expected 0 to {self.rows - 1}")
        return found
