"""Weights that are plausible number by number and not together: what a damaged download leaves.

A download of full length may hold zeros where parts never came. In ternary codes zeros are the code
0 or -1, so that no number is out of range. Each tensor is looked at once, when it is read. Knows
tensors; knows no file.

The bounds let published checkpoints pass:

- A trained row of hundreds of codes is never all -1 or all +1, so 4 such rows in a row are refused.
- A dead neuron leaves a row of zeros, and a pruned head as many rows as it has dimensions. So more
  rows than a head has, or 16, in a row are refused, and so is a linear of zeros.
- Reserved tokens and the padding of a vocabulary have equal rows: 2024 of 131,072 in Falcon3, 250
  of 128,256 in LLaMA 3. So 1 row in 32 and more are refused; of a small table 128 or a quarter, and
  of its zeros 64 or an eighth.
- A norm may hold some zeros, but not more than half.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["few_magnitudes", "of_linear", "of_norm", "of_table"]

ONE_CODE_ROWS = 4
ZERO_ROWS = 16
LEAST_FEATURES = 16  # shorter rows may be constant by chance
TABLE_SHARE = 32
SMALL_TABLE_ROWS = 128
SMALL_TABLE_ZEROS = 64
ROWS_AT_A_TIME = 4096
SAMPLE_ROWS = 16
MAGNITUDES = 8  # of a row: several scales, where a matrix was split for training


def of_linear(weight: Tensor, head_dim: int) -> str | None:
    """Say what is wrong with codes or masters [N, K], None where nothing is.

    head_dim: the rows of a head, 0 for a linear without heads.
    """
    if weight.shape[1] < LEAST_FEATURES:
        return None
    first = weight[:, :1]
    constant = torch.cat([(part == part[:, :1]).all(1) for part in weight.split(ROWS_AT_A_TIME)])
    if not constant.any():
        return None
    zero = constant & (first[:, 0] == 0)
    if zero.all():
        return "holds only zeros"
    for rows, limit, what in (
        (constant & ~zero, ONE_CODE_ROWS, "only one value each"),
        (zero, max(ZERO_ROWS, head_dim + 1), "only zeros"),
    ):
        start, length = longest_run(rows)
        if length >= limit or length == len(weight):
            return f"holds {what} in the rows {start} to {start + length - 1}"
    return None


def of_norm(weight: Tensor) -> str | None:
    """Say what is wrong with the weight [K] of a norm, None where nothing is."""
    zeros = int((weight == 0).sum())
    if 2 * zeros <= len(weight):
        return None
    return f"holds {zeros} zeros in {len(weight)} numbers"


def of_table(table: Tensor) -> str | None:
    """Say what is wrong with an embedding or head [V, H], None where nothing is."""
    rows = len(table)
    pairs = zip(table[1:].split(ROWS_AT_A_TIME), table[:-1].split(ROWS_AT_A_TIME), strict=True)
    same = torch.cat([(row == before).all(1) for row, before in pairs])
    zero = same & (table[:-1, 0] == 0)
    zero[zero.clone()] = (table[:-1][zero] == 0).all(1)
    for found, least in (
        (same, min(SMALL_TABLE_ROWS, rows // 4)),
        (zero, min(SMALL_TABLE_ZEROS, rows // 8)),
    ):
        start, length = longest_run(found)
        if length >= max(rows // TABLE_SHARE, least, 1):
            return f"holds the same numbers in the rows {start} to {start + length}"
    return None


def few_magnitudes(weight: Tensor) -> bool:
    """Return whether masters [N, K] are already quantized: each row has a few magnitudes only.

    It looks at rows all over the tensor.
    """
    step = max(1, len(weight) // SAMPLE_ROWS)
    most = min(MAGNITUDES, weight.shape[1] // LEAST_FEATURES)
    sample = weight[::step].abs()
    return all(len(row[row != 0].unique()) <= most for row in sample)


def longest_run(rows: Tensor) -> tuple[int, int]:
    """Return start and length of the longest run of True."""
    edges = torch.nn.functional.pad(rows.to(torch.int8), (1, 1)).diff()
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    if not len(starts):
        return 0, 0
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest] - starts[longest])
