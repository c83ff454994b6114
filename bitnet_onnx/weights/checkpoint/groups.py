"""Dequantized weights, code times scale for each group along K: split exactly, or told apart.

Knows tensors; knows no file.
"""

from __future__ import annotations

from torch import Tensor

from ...network.quantization import GROUP_SIZE
from ..ternary import group_ternary, spread

__all__ = ["finer_groups", "floats_notes", "split_groups"]

FLOATS_NOTE = (
    "config.json has no quantization_config, so the linears are float; the float masters of a "
    "BitNet need one with linear_class 'autobitlinear' and quantization_mode 'online'"
)
FINER_NOTE = (
    "the linears hold -s, 0 and +s for each {} weights; they are read as float linears, because "
    "ternary ones have a scale for each {}"
)
FINER = (64, 32, 16)  # sizes of groups that others use


def split_groups(stored: Tensor, size: int) -> tuple[Tensor, Tensor, str | None]:
    """Return codes int8 [N, K], scales [N, K / size], and what is wrong with them, None: nothing.

    Only weights that are -s, 0 or +s in each group are exactly codes times scales.
    """
    codes, scale = group_ternary(stored, size)
    same = spread(codes.to(stored.dtype), scale.to(stored.dtype)) == stored
    if same.all():
        return codes, scale, None
    if (finer := finer_groups(stored)) is not None:
        return codes, scale, f"has a scale for each {finer} weights, expected one for each {size}"
    row, column = divmod(int(same.view(-1).int().argmin()), stored.shape[1])
    group = column // size
    return (
        codes,
        scale,
        f"holds {stored[row, column].item():g} in row {row}, group {group} of {size}, "
        f"expected 0 or ±{scale[row, group].item():g}: it is not ternary",
    )


def floats_notes(finer: int | None) -> tuple[str, ...]:
    """Say why the linears of a folder are read as floats; finer: what ``finer_groups`` returned."""
    return (FLOATS_NOTE if finer is None else FINER_NOTE.format(finer, GROUP_SIZE),)


def finer_groups(stored: Tensor) -> int | None:
    """Return the largest size of smaller groups in which weights [N, K] are ternary, or None."""
    for size in FINER:
        if stored.shape[1] % size == 0:
            codes, scale = group_ternary(stored, size)
            if (spread(codes.to(stored.dtype), scale.to(stored.dtype)) == stored).all():
                return size
    return None
