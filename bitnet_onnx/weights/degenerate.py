"""Weights that are plausible number by number and not together: what a damaged download leaves.

A download of full length may hold zeros where parts never came, or one part many times. In ternary
codes zeros are the code 0 or -1, so that no number is out of range. Each tensor is looked at once,
when it is read. Knows tensors; knows no file.

The bounds let published checkpoints pass:

- A trained row of hundreds of codes is never all -1 or all +1: 4 of them are refused. Of columns an
  eighth is, since ``synthesize`` makes 1 channel in 32 constant.
- A dead neuron leaves a row of zeros, and a column of them in the next linear; a pruned head leaves
  as many as it has dimensions. ``synthesize`` makes 1 row in 32 so. More than a head has, than 16
  and than 1 in 32, one after the other, are refused, and so is a third of all.
- Two neurons never learn the same codes. Keys that were copied to more heads stand up to 8 times;
  one row that stands 16 times and more is refused.
- Reserved tokens and the padding of a vocabulary have equal rows: 2024 of 131,072 in Falcon3, 250
  of 128,256 in LLaMA 3. So 1 row in 48 and more are refused, wherever they stand; of a small table
  128 or a quarter, and of its zeros 64 or an eighth.
- A norm may hold some zeros: up to 32 or a sixteenth one after the other, and a quarter in all.
- The largest number of a norm or table, and each scale, lies within 1e-6 to 1e6.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["few_magnitudes", "of_linear", "of_norm", "of_scale", "of_table"]

ONE_CODE_ROWS = 4
COLUMN_SHARE = 8
ZERO_ROWS = 16
ZERO_RUN_SHARE = 32
ZERO_SHARE = 3
EQUAL_ROWS = 16
LEAST_FEATURES = 16  # shorter rows may be constant or equal by chance
TABLE_SHARE = 48
SMALL_TABLE_ROWS = 128
SMALL_TABLE_ZEROS = 64
NORM_ZEROS = 32
SMALLEST, LARGEST = 1e-6, 1e6
FIRST_FEATURES = 64  # what rows are compared by before they are compared whole
SAMPLE_ROWS = 16
MAGNITUDES = 8  # of a row: several scales, where a matrix was split for training


def of_linear(weight: Tensor, head_dim: int) -> str | None:
    """Say what is wrong with codes or masters [N, K], None where nothing is.

    head_dim: the rows or columns of a head, 0 for a linear without heads.
    """
    return (
        _constant(weight, "rows", head_dim)
        or _repeated(weight)
        or _constant(weight.T, "columns", head_dim)
        or of_scale(weight)
    )


def _constant(lines: Tensor, which: str, head_dim: int) -> str | None:
    if lines.shape[1] < LEAST_FEATURES:
        return None
    constant, zero = constant_rows(lines), zero_rows(lines)
    if zero.all():
        return "holds only zeros"
    most = max(ZERO_ROWS, head_dim + 1, len(zero) // ZERO_RUN_SHARE + 1)
    least = ONE_CODE_ROWS if which == "rows" else max(ONE_CODE_ROWS, len(zero) // COLUMN_SHARE)
    for found, what, run, total in (
        (constant & ~zero, "only one value each", least, least),
        (zero, "only zeros", most, max(most, len(zero) // ZERO_SHARE)),
    ):
        if where := at_least(found, min(run, len(found)), total, which):
            return f"holds {what} in {where}"
    return None


def _repeated(weight: Tensor) -> str | None:
    if weight.shape[1] < LEAST_FEATURES:
        return None
    where = at_least(most_equal_rows(weight), EQUAL_ROWS, EQUAL_ROWS, "rows")
    return where and f"holds the same numbers in {where}"


def of_norm(weight: Tensor) -> str | None:
    """Say what is wrong with the weight [K] of a norm, None where nothing is."""
    zero, size = weight == 0, len(weight)
    if where := at_least(zero, max(NORM_ZEROS, size // 16) + 1, size // 4 + 1, "numbers"):
        return f"holds zeros in {where}"
    return of_scale(weight)


def of_scale(weight: Tensor) -> str | None:
    """Say what is wrong with the largest magnitude of some numbers, None where nothing is."""
    largest = float(weight.abs().max())
    if SMALLEST <= largest <= LARGEST:
        return None
    return f"holds {largest:.3g} at most, expected {SMALLEST:g} to {LARGEST:g}"


def of_table(table: Tensor) -> str | None:
    """Say what is wrong with an embedding or head [V, H], None where nothing is."""
    rows = len(table)
    equal = most_equal_rows(table)
    zero = zero_rows(table)
    for found, least in (
        (zero, min(SMALL_TABLE_ZEROS, rows // 8)),
        (equal, min(SMALL_TABLE_ROWS, rows // 4)),
    ):
        limit = max(rows // TABLE_SHARE, least, 1) + 1
        if where := at_least(found, limit, limit, "rows"):
            return f"holds the same numbers in {where}"
    columns = constant_rows(table.T) if rows >= LEAST_FEATURES else table.new_zeros(0).bool()
    least = max(ZERO_ROWS, len(columns) // COLUMN_SHARE)
    if where := at_least(columns, least, least, "columns"):
        return f"holds only one value each in {where}"
    return of_scale(table)


def few_magnitudes(weight: Tensor) -> bool:
    """Return whether masters [N, K] are already quantized: each row has a few magnitudes only.

    It looks at rows all over the tensor.
    """
    step = max(1, len(weight) // SAMPLE_ROWS)
    most = min(MAGNITUDES, weight.shape[1] // LEAST_FEATURES)
    sample = weight[::step].abs()
    return all(len(row[row != 0].unique()) <= most for row in sample)


def constant_rows(weight: Tensor) -> Tensor:
    """Return which rows of [N, K] hold one value only, bool [N]."""
    return equal_to(weight, weight[:, :1].expand_as(weight))


def zero_rows(weight: Tensor) -> Tensor:
    """Return which rows of [N, K] hold only zeros, bool [N]."""
    return equal_to(weight, torch.zeros_like(weight[:1]).expand_as(weight))


def most_equal_rows(weight: Tensor) -> Tensor:
    """Return which rows of [N, K] equal the one, not all zero, that stands most often, bool [N]."""
    first = weight[:, :FIRST_FEATURES].double()
    # Equal rows have equal sums; others differ, or are told apart by the comparison below.
    factors = torch.arange(1, first.shape[1] + 1, dtype=torch.float64).sqrt()
    sums, group, sizes = (first @ factors).unique(return_inverse=True, return_counts=True)
    sizes[sums == 0] = 0
    one = int((group == sizes.argmax()).nonzero()[0, 0])
    return equal_to(weight, weight[one : one + 1].expand_as(weight))


def equal_to(weight: Tensor, other: Tensor) -> Tensor:
    """Return which rows of [N, K] are equal, bool [N]; most differ in their first features."""
    same = (weight[:, :FIRST_FEATURES] == other[:, :FIRST_FEATURES]).all(1)
    for row in same.nonzero()[:, 0].tolist():
        same[row] = torch.equal(weight[row], other[row])
    return same


def at_least(found: Tensor, run: int, total: int, which: str) -> str | None:
    """Say where ``run`` places one after the other, or ``total`` of all, are found."""
    start, length = longest_run(found)
    if length >= run:
        return f"the {which} {start} to {start + length - 1}"
    count = int(found.sum())
    if count >= total:
        return f"{count} of {len(found)} {which}, the first of which is {int(found.int().argmax())}"
    return None


def longest_run(rows: Tensor) -> tuple[int, int]:
    """Return start and length of the longest run of True."""
    edges = torch.nn.functional.pad(rows.to(torch.int8), (1, 1)).diff()
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    if not len(starts):
        return 0, 0
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int(ends[longest] - starts[longest])
