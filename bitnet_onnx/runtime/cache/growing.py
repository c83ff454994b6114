"""A KV cache in memory whose capacity grows with the longest row.

Knows NumPy buffers, ids and rows; does not know ONNX Runtime. Each layer has a buffer [rows, kv
heads, capacity, head_dim] for keys and one for values. An int8 cache adds a buffer [rows, kv heads,
capacity] of scales for each of the two. A step reads and writes the buffers in place, beyond
``lengths``: a step that fails has changed no counted position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...artifact import Artifact
from ...errors import GenerationError

__all__ = ["Cache", "CacheLayout", "CachedRow"]

BLOCK = 512  # the capacity grows by this many positions; growing copies the filled ones once
SCALE = "_scale"


@dataclass(frozen=True)
class CacheLayout:
    """The names and sizes of an artifact's cache buffers."""

    num_layers: int
    num_key_value_heads: int
    head_dim: int
    dtype: str
    """``float32``, ``float16`` or ``int8``."""
    context_length: int
    """Positions that a row can hold."""
    model: str = ""
    """The artifact's fingerprint: keys and values of another model mean nothing here."""

    @classmethod
    def of(cls, artifact: Artifact) -> CacheLayout:
        return cls(
            artifact.num_hidden_layers,
            artifact.num_key_value_heads,
            artifact.head_dim,
            artifact.kv_cache,
            artifact.context_length,
            artifact.fingerprint,
        )

    @property
    def names(self) -> list[str]:
        """``0.key``, ``0.value``, ...; the graph puts ``past_key_values.`` before each."""
        kinds = ["key", "value"]
        if self.dtype == "int8":
            kinds += [f"{kind}{SCALE}" for kind in kinds]
        return [f"{layer}.{kind}" for layer in range(self.num_layers) for kind in kinds]

    def zeros(self, name: str, rows: int, capacity: int) -> np.ndarray:
        """Return a buffer of zeros, so that unfilled positions are finite."""
        shape = (rows, self.num_key_value_heads, capacity)
        if name.endswith(SCALE):
            return np.zeros(shape, np.float32)
        return np.zeros((*shape, self.head_dim), self.dtype)


@dataclass(frozen=True)
class CachedRow:
    """A copy of a cache row: its ``ids``, and ``buffers`` by the names of its ``layout``."""

    layout: CacheLayout
    ids: np.ndarray
    buffers: dict[str, np.ndarray]


class Cache:
    """The past of one or more rows; the first ``lengths[row]`` positions of a row are valid."""

    def __init__(self, layout: CacheLayout, rows: int = 1) -> None:
        self.layout = layout
        self.rows = rows
        self.capacity = 0
        self.buffers: dict[str, np.ndarray] = {}
        self.moves = 0
        """How often the buffers were replaced: compare it before using a stored address."""
        self.lengths = (0,) * rows
        self._ids = np.zeros((rows, layout.context_length), np.int64)
        self._replace(layout.zeros(name, rows, 0) for name in layout.names)

    def ids(self, row: int = 0) -> list[int]:
        """Return the ids whose keys and values a row holds."""
        return [int(token) for token in self._ids[self._row(row), : self.lengths[row]]]

    @property
    def position_bytes(self) -> int:
        """Bytes of one position of a row in one layer."""
        total = sum(buffer.nbytes for buffer in self.buffers.values())
        return total // max(1, self.rows * self.capacity * self.layout.num_layers)

    def reserve(self, positions: int) -> None:
        """Make room for this many positions in every row; the buffers may move.

        Raises GenerationError where the context is shorter.
        """
        if positions <= self.capacity:
            return
        limit = self.layout.context_length
        if positions > limit:
            raise GenerationError(
                f"a row would hold {positions} positions, expected at most the context of {limit}"
            )
        capacity = min(-(-positions // BLOCK) * BLOCK, limit)
        filled, self.moves = max(self.lengths), self.moves + 1
        # One at a time, so that no two copies of the whole are in memory. An error in the middle
        # leaves some buffers larger than the capacity, which does no harm.
        for name in self.layout.names:
            new = self.layout.zeros(name, self.rows, capacity)
            new[:, :, :filled] = self.buffers[name][:, :, :filled]
            self.buffers[name] = new
        self.capacity = capacity

    def append(self, ids: np.ndarray, row: int | None = None) -> None:
        """Count computed positions: ids [S] of one ``row``, or one id for each row [rows]."""
        lengths = list(self.lengths)
        if row is None:
            self._ids[range(self.rows), lengths] = ids
            lengths = [length + 1 for length in lengths]
        else:
            end = lengths[row] + len(ids)
            self._ids[row, lengths[row] : end] = ids
            lengths[row] = end
        self.lengths = tuple(lengths)  # last, in one assignment: an interrupt counts all or nothing

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep only the first ``length`` positions of a row."""
        held = self.lengths[self._row(row)]
        if not 0 <= length <= held:
            raise GenerationError(
                f"truncate got length {length} for row {row}, expected 0 to {held}"
            )
        self.lengths = (*self.lengths[:row], length, *self.lengths[row + 1 :])

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the rows: row i becomes a copy of the former row ``order[i]``.

        Raises GenerationError where ``order`` is empty or names a row that does not exist.
        """
        if not order:
            raise GenerationError("reorder got no rows, expected at least one")
        taken = [self._row(row) for row in order]
        filled = max(self.lengths)
        moved = {name: self.layout.zeros(name, len(taken), self.capacity) for name in self.buffers}
        for name, old in self.buffers.items():
            moved[name][:, :, :filled] = old[taken, :, :filled]
        self._replace(moved.values())
        self._ids = self._ids[taken]
        self.rows, self.lengths = len(taken), tuple(self.lengths[row] for row in taken)

    def fork(self, count: int, row: int = 0) -> None:
        """Replace all rows by ``count`` copies of ``row``."""
        self.reorder([row] * count)

    def take(self, row: int = 0) -> CachedRow:
        """Return a copy of a row, which does not change with the cache."""
        length = self.lengths[self._row(row)]
        buffers = {name: array[row, :, :length].copy() for name, array in self.buffers.items()}
        return CachedRow(self.layout, self._ids[row, :length].copy(), buffers)

    def put(self, kept: CachedRow, row: int = 0) -> None:
        """Replace a row by one that ``take`` returned, here or in a cache of the same layout."""
        self._row(row)
        if kept.layout != self.layout:
            raise GenerationError(
                "the row comes from a session of another artifact, expected one of this artifact",
                hint="put it into a session of the artifact that it comes from",
            )
        length = len(kept.ids)
        self.reserve(length)
        self.truncate(0, row)
        for name, array in kept.buffers.items():
            self.buffers[name][row, :, :length] = array
        self.append(kept.ids, row)

    def _row(self, row: int) -> int:
        if not 0 <= row < self.rows:
            raise GenerationError(f"row is {row}, expected 0 to {self.rows - 1}")
        return row

    def _replace(self, buffers: Iterable[np.ndarray]) -> None:
        self.buffers = dict(zip(self.layout.names, buffers, strict=True))
        self.capacity = next(iter(self.buffers.values())).shape[2]
        self.moves += 1
