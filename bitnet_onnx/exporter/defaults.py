"""The head and the linears of an export that names none: what keeps the checkpoint's numbers.

Knows an open checkpoint; knows no graph.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..artifact import LINEARS
from ..weights.checkpoint.base import Checkpoint

__all__ = ["default_head", "default_linears", "fits_bf16"]

EXACT, WIDE = "bf16", "float32"


def default_head(checkpoint: Checkpoint) -> str:
    """Return bf16; for float linears float32 where bfloat16 does not hold the tables.

    So it is for tables that were stored in a rotated basis: no bfloat16 holds them. Another ternary
    network with such tables is refused later: their bytes are most of its bytes.
    """
    exact = not checkpoint.config.float_linears and not checkpoint.rotated_tables
    if exact or fits_bf16(checkpoint, checkpoint.parts.tables):
        return EXACT
    return WIDE


def default_linears(checkpoint: Checkpoint) -> str:
    """Return bf16 where it holds all weights of float linears, else float32."""
    if not checkpoint.config.float_linears:
        return LINEARS[0]
    parts = checkpoint.parts
    names = (f"{name}.weight" for name in (*parts.linears, *parts.experts))
    return EXACT if fits_bf16(checkpoint, names) else WIDE


def fits_bf16(checkpoint: Checkpoint, names: Iterable[str]) -> bool:
    """Return whether bfloat16 holds every number of these tensors; it holds no rotated table's."""
    return all(
        name not in checkpoint.rotated_tables
        and (checkpoint.dtype(name) == torch.bfloat16 or _is_exact(checkpoint.tensor(name)))
        for name in names
    )


def _is_exact(stored: torch.Tensor) -> bool:
    return torch.equal(stored.to(torch.bfloat16).to(stored.dtype), stored)
