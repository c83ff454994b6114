"""The names, shapes and types of the buffers of a cache, as an artifact's graph has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...artifact import SCALED_CACHES, Artifact, int4_bytes
from . import pages

__all__ = ["SCALE", "CacheLayout"]

SCALE = "_scale"
LONG = 2048  # three quarters of so many positions, or more, are filled: growing.py


@dataclass(frozen=True)
class CacheLayout:
    """The names and sizes of an artifact's cache buffers."""

    num_layers: int
    num_key_value_heads: int
    head_dim: int
    dtype: str
    """The artifact's kv_cache: ``int4`` is packed in bytes."""
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
        if self.dtype in SCALED_CACHES:
            kinds += [f"{kind}{SCALE}" for kind in kinds]
        return [f"{layer}.{kind}" for layer in range(self.num_layers) for kind in kinds]

    def shape(self, name: str, rows: int, capacity: int) -> tuple[int, ...]:
        """Return the shape of a buffer."""
        shape = (rows, self.num_key_value_heads, capacity)
        width = int4_bytes(self.head_dim) if self.dtype == "int4" else self.head_dim
        return shape if name.endswith(SCALE) else (*shape, width)

    def kind_of(self, name: str) -> str:
        """Return the kind of a buffer: that of the cache, or float32 for scales."""
        return "float32" if name.endswith(SCALE) else self.dtype

    def dtype_of(self, name: str) -> str:
        """Return NumPy's type of a buffer."""
        kind = self.kind_of(name)
        return "uint8" if kind == "int4" else kind

    @property
    def position_bytes(self) -> int:
        """Bytes of one position of a row in one layer."""
        total = sum(self.zeros(name, 1, 1).nbytes for name in self.names)
        return total // self.num_layers

    def zeros(self, name: str, rows: int, capacity: int, grows: bool = False) -> np.ndarray:
        """Return a buffer of zeros, so that unfilled positions are finite.

        grows: it is as long as it has to be, so that huge pages of a long one waste little.
        """
        make = pages.zeros if grows and capacity >= LONG else np.zeros
        return make(self.shape(name, rows, capacity), self.dtype_of(name))
