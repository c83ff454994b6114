"""How far a key turns when its position moves: the network's own rotary tables, from its graph.

Row d of a table holds cos or sin of d times each frequency, so that it is the rotation by d
positions: whatever the frequencies are, and where only a part of a head turns, or a layer does not.
Row 0 of the table of cos holds the factor of all of them. Knows the names in a graph; knows no
network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...artifact import Artifact
from ...errors import ArtifactError
from ..graph import Table, attention_inputs, float_tables

__all__ = ["Rotation", "turned_back"]

PAST = re.compile(r"past_key_values\.([0-9]+)\.key")


class Rotation:
    """The rotation of each layer's keys."""

    def __init__(self, tables: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """tables: cos and sin [context, D / 2] of each layer."""
        self._tables = list(tables)

    @classmethod
    def of(cls, artifact: Artifact) -> Rotation:
        """Read the tables; raise ArtifactError where the graph has none."""
        model, folder = artifact.model_path.read_bytes(), artifact.folder
        layers: dict[int, tuple[str, ...]] = {}
        for inputs in attention_inputs(model):
            layer = next(int(m[1]) for name in inputs if (m := PAST.fullmatch(name)))
            ends = ("cos_cache", "sin_cache")
            layers[layer] = tuple(name for end in ends for name in inputs if name.endswith(end))
        names = {name for pair in layers.values() for name in pair}
        tables = {name: _read(folder, found) for name, found in float_tables(model, names).items()}
        if sorted(layers) != list(range(artifact.num_hidden_layers)) or names != set(tables):
            raise ArtifactError(
                f"{artifact.model_path} does not show the rotary positions of its layers, which "
                "the sink cache needs",
                hint="export the checkpoint again",
            )
        pairs = (layers[layer] for layer in sorted(layers))
        return cls([(tables[cos], tables[sin]) for cos, sin in pairs])

    def by(self, layer: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cos and sin float32 [D / 2] of the rotation by so many positions."""
        cos, sin = self._tables[layer]
        factor = cos[0, 0]
        return cos[positions] / factor, sin[positions] / factor


def turned_back(keys: np.ndarray, rotation: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return float32 keys [..., D], rotated in halves (not pairs), without a rotation."""
    cos, sin = rotation
    first, second = np.split(keys, 2, axis=-1)
    return np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)


def _read(folder: Path, table: Table) -> np.ndarray:
    if table.place is None:
        return np.frombuffer(table.raw, np.float32).reshape(table.shape)
    path = folder / Path(table.place.file).name
    return np.memmap(path, np.float32, "r", table.place.offset, table.shape)
