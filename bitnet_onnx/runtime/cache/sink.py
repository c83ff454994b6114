"""A cache that never ends: where it is full, it keeps the first positions and drops the next ones.

The first ones are the sinks of StreamingLLM (arXiv 2309.17453). The positions behind the dropped
ones move to their place: their values stay as they are, and their keys are rotated back in
float32, as transformers' SinkCache does at every step. Here a quarter of the room goes at once, so
that a key is rounded to the cache's type a few times, and not at every step. Knows rows and the
network's rotation; does not know ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...artifact import SCALED_CACHES
from ...errors import GenerationError
from ..integers import integer
from .growing import Cache
from .layout import SCALE, CacheLayout
from .rotation import Rotation, turned_back
from .rounded import held_int4, kept_int4, kept_int8
from .state import changed

__all__ = ["SinkCache"]


class SinkCache(Cache):
    """Rows that may be fed more ids than the context holds; ``lengths`` is what they hold now.

    ``ids`` and ``truncate`` count all ids that a row was fed. An error or an interrupt while
    positions move leaves the row with its sinks alone.
    """

    def __init__(self, layout: CacheLayout, rotation: Rotation, sinks: int, rows: int = 1) -> None:
        super().__init__(layout, rows)
        self._rotation, self._sinks = rotation, integer("sinks", sinks)
        most = layout.context_length // 2
        if not 0 <= self._sinks <= most:
            raise GenerationError(
                f"sinks is {sinks}, expected 0 to {most}, half the context, for a sink cache"
            )

    @property
    def longest(self) -> int:
        """The largest number of positions in one step, once the cache is full."""
        return self.layout.context_length - self._sinks

    def ids(self, row: int = 0) -> list[int]:
        """Return the ids that a row was fed, the dropped ones among them."""
        held, dropped = super().ids(row), self._state.dropped[row]
        return [*held[: self._sinks], *dropped, *held[self._sinks :]] if dropped else held

    def _keep(self, length: int, row: int) -> None:
        """Keep the first ids, or the sinks alone where later ones of them are gone."""
        gone = len(self._state.dropped[row])
        if gone and length < self._sinks + gone:
            self._leave_sinks(row, min(length, self._sinks))
        else:
            super()._keep(length - gone, row)

    def check_room(self, count: int, row: int) -> None:
        """Nothing: any number of ids has room, step by step."""

    def piece(self, count: int, row: int, chunk: int) -> int | None:
        """Return None where all fit; else each step sees what is left before it."""
        fits = self.lengths[row] + count <= self.layout.context_length
        return None if fits else min(chunk, self.longest)

    def make_room(self, count: int, row: int) -> None:
        """Drop positions where a row has no room for ``count`` more."""
        held, limit = self.lengths[row], self.layout.context_length
        over = held + count - limit
        if over <= 0:
            return
        if count > self.longest:
            raise GenerationError(
                f"a step has {count} positions, expected at most {self.longest} behind "
                f"{self._sinks} sinks in a context of {limit}"
            )
        self.drop(min(max(over, self.longest // 4), held - self._sinks), row)

    def drop(self, count: int, row: int) -> None:
        """Drop so many positions behind the sinks, and move the later ones to their place."""
        state, sinks, length = self._state, self._sinks, self.lengths[row]
        gone = state.ids[row, sinks : sinks + count]
        dropped = (*state.dropped[row], *map(int, gone))
        old, new = slice(sinks + count, length), slice(sinks, length - count)
        self._leave_sinks(row, sinks)
        for layer in range(self.layout.num_layers):
            value = [name for name in self.buffers if name.startswith(f"{layer}.value")]
            for name in value:
                self.buffers[name][row, :, new] = self.buffers[name][row, :, old]
            self._move_keys(layer, row, old, new, count)
        state.ids[row, new] = state.ids[row, old]
        state = self._state
        lengths = changed(state.lengths, row, length - count)
        self._state = replace(state, lengths=lengths, dropped=changed(state.dropped, row, dropped))

    def _move_keys(self, layer: int, row: int, old: slice, new: slice, count: int) -> None:
        keys = self.buffers[f"{layer}.key"][row]
        rotation = self._rotation.by(layer, count)
        if self.layout.dtype not in SCALED_CACHES:
            keys[:, new] = turned_back(keys[:, old].astype(np.float32), rotation)
            return
        steps = self.buffers[f"{layer}.key{SCALE}"][row]
        width = self.layout.head_dim
        packed = self.layout.dtype == "int4"
        held = held_int4(keys[:, old], width) if packed else keys[:, old]
        moved = turned_back(held * steps[:, old, None], rotation)
        keys[:, new], steps[:, new] = (kept_int4 if packed else kept_int8)(moved)

    def _leave_sinks(self, row: int, length: int) -> None:
        state = self._state
        self._state = replace(state.cut(row, length), dropped=changed(state.dropped, row, ()))
