"""The rotary positions of a GGUF file: the kind of scaling, its numbers, and LongRoPE's factors.

Knows llama.cpp's keys and tensors; ``BitNetConfig`` checks the values.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Type

from ...network.config import BitNetConfig
from .container import GgufFile

__all__ = ["FACTORS", "SCALING", "refuse_other_factors", "rope_scaling"]

SCALING = ("rope.scaling.type", "rope.scaling.factor")
LONGROPE = "longrope"
FACTORS = {"short_factor": "rope_factors_short.weight", "long_factor": "rope_factors_long.weight"}


def rope_scaling(file: GgufFile, architecture: str) -> dict[str, Any] | None:
    """Return the scaling of positions, None for none; some converters write linear by 1."""
    kind, factor = (file.scalar(f"{architecture}.{name}") for name in SCALING)
    if kind == "none" or (factor in (None, 0, 1) and kind in (None, "linear")):
        return None
    # llama.cpp takes a factor without a type for a linear one.
    scaling: dict[str, Any] = {"rope_type": kind or "linear", "factor": factor}
    if kind not in ("yarn", LONGROPE):
        return scaling
    original = file.scalar(f"{architecture}.rope.scaling.original_context_length")
    scaling |= {"original_max_position_embeddings": original}
    if kind == LONGROPE:
        scaling |= {name: _factors(file, tensor) for name, tensor in FACTORS.items()}
    return scaling


def refuse_other_factors(file: GgufFile, config: BitNetConfig) -> None:
    """Refuse factors that differ from those of the config.json beside the file."""
    for name, tensor in FACTORS.items():
        if tensor not in file.tensors or config.rope_scaling is None:
            continue
        expected = getattr(config.rope_scaling, name)
        found = np.array(_factors(file, tensor), np.float32)
        if expected and not np.array_equal(found, np.array(expected, np.float32)):
            file.refuse(
                tensor,
                f"differs from rope_scaling.{name} in the config.json beside the file",
                hint="put the config.json of the same model beside the file, or none",
            )


def _factors(file: GgufFile, name: str) -> list[float]:
    info = file.tensors.get(name)
    if info is None:
        file.refuse(
            name,
            f"is missing, where the positions are scaled by {LONGROPE!r}",
            hint="put the config.json of the original checkpoint beside the file",
        )
    if info.type != Type.F32:
        info.reader.refuse(name, f"is {info.type_name}, expected F32")
    stored = np.frombuffer(info.reader.data, "<f4", prod(info.shape), info.start)
    return [float(str(value)) for value in stored]  # 1.1, not 1.100000023841858
