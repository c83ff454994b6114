"""Convert a checkpoint from one published format to another, weight for weight.

Knows which formats can be written; ``checkpoint/write.py`` and ``gguf/write.py`` write them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import CheckpointError, ConfigError
from ..network.parts import ExpertLinear, Linear
from .checkpoint.base import Checkpoint
from .checkpoint.experts import written_scales
from .checkpoint.write import write_packed
from .gguf.write import write_gguf
from .open import open_checkpoint
from .ternary import pack_published

__all__ = ["FORMATS", "convert"]

FORMATS = ("packed", "gguf")


def convert(
    checkpoint: Checkpoint | str | Path,
    output: str | Path,
    *,
    to: str,
    i2s_layout: str = "x86",
    progress: bool = False,
) -> Path:
    """Write ``checkpoint`` as ``output`` and return it; codes and multipliers keep their bits.

    to: ``packed`` makes a folder in the published packed layout, ``gguf`` one I2_S file.
    i2s_layout: how a GGUF source is read, ``x86`` or ``arm``; what is written is always x86.

    A multiplier is the factor of the int8 sums. GGUF stores it as float32. A packed source that
    divides (``bitlinear``) has the multiplier ``1 / weight_scale`` rounded to float32. A multiplier
    need not be the reciprocal of a stored divisor, so packed output always multiplies
    (``autobitlinear``); its ``weight_scale`` is bfloat16 where that is exact, else float32.

    Raises ConfigError or CheckpointError; nothing half-written stays behind.
    """
    if to not in FORMATS:
        raise ConfigError(f"to is {to!r}, expected one of: {', '.join(FORMATS)}")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, i2s_layout=i2s_layout)
    if to == "gguf":
        return write_gguf(output, checkpoint, progress=progress)
    text_files = checkpoint.text_files()
    tensors = packed_tensors(checkpoint, progress)
    embeds = checkpoint.config.record.task == "embedding"
    pooling = checkpoint.pooling.computable() if embeds else None
    return write_packed(output, checkpoint.config, tensors, text_files, pooling)


def packed_tensors(checkpoint: Checkpoint, progress: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and content of each tensor of the packed layout, one at a time."""
    parts = checkpoint.parts
    plain = (*parts.tables, *parts.norms, *parts.routers)
    linears: list[Linear | ExpertLinear] = [*parts.linears.values(), *parts.experts.values()]
    total = len(plain) + len(linears)
    with tqdm(
        total=total, desc="tensors", unit="tensor", disable=not progress, file=sys.stderr
    ) as bar:
        for name in plain:
            yield name, as_bf16(checkpoint.tensor(name))
            bar.update()
        for linear in linears:
            name = linear.name
            if linear.rows % 4:
                raise CheckpointError(
                    f"{checkpoint.path}: {name} has {linear.rows} rows, expected a multiple of 4 "
                    "for the packed layout"
                )
            codes, multiplier = checkpoint.ternary(name)
            if isinstance(linear, ExpertLinear):
                multiplier = written_scales(multiplier)
            yield f"{name}.weight", pack_published(codes)
            yield f"{name}.weight_scale", as_bf16(multiplier)
            bar.update()


def as_bf16(stored: Tensor) -> Tensor:
    """Return the tensor as bfloat16 where that changes no value, else as stored."""
    bits = torch.empty(stored.shape, dtype=torch.bfloat16)
    for part, rows in zip(bits.split(4096), stored.split(4096), strict=True):
        part.copy_(rows)
        if not torch.equal(part.to(stored.dtype), rows):
            return stored
    return bits
