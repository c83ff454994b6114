"""Tables of 4 or 6 bits a weight, with a level for each 32 weights: what small heads read.

The layout of the codes is a picture in ``custom_ops/kernels/level_gemv/level_gemv.h``. Knows
tensors, not networks. ``K`` is input features; rows are padded to blocks of 256 weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .ternary import BLOCK, ROWS_IN_FLOAT64, SMALLEST

__all__ = [
    "DEVIATIONS",
    "LEVELS",
    "PART",
    "LevelRows",
    "code_bytes",
    "integer_rows",
    "level_bounds",
    "level_rows",
    "row_deviations",
]

LEVELS = 8  # of a block: level j is that of the weights k with k // 4 % 8 == j
LARGEST = 127  # the largest level of a row
PART = 3  # an error of a weight is at most a bound of ``level_bounds``, times PART / sqrt(K)
DEVIATIONS = 8  # standard deviations of the error that ``row_deviations`` covers
_GROUPS = (-1, LEVELS, LEVELS, 4)  # the weights k of a block by k // 32, level and k % 4


class LevelRows(NamedTuple):
    """A table [V, K] as integers times scale: see ``integer_rows``."""

    codes: Tensor
    """uint8 [V, 32 * bits * blocks]."""
    levels: Tensor
    """int8 [V, 8 * blocks]."""
    scale: Tensor
    """float32 [V]."""


def code_bytes(features: int, bits: int) -> int:
    """Return the bytes of the codes of one row."""
    return -(-features // BLOCK) * (BLOCK * bits // 8)


def level_rows(table: Tensor, bits: int) -> LevelRows:
    """Quantize a table [V, K] to codes of 4 or 6 bits, a level for each 32 weights of a row.

    The weight of largest magnitude in a group gets the code 0, which is -zero steps, so a level is
    negative where that weight is positive. A weight nearly as large in the other direction errs by
    up to a step; no other is clipped, as clipped weights would all err in one direction.
    """
    zero, blocks = 1 << (bits - 1), -(-table.shape[1] // BLOCK)
    made = LevelRows(
        torch.empty(len(table), code_bytes(table.shape[1], bits), dtype=torch.uint8),
        torch.empty(len(table), LEVELS * blocks, dtype=torch.int8),
        torch.empty(len(table)),
    )
    for start in range(0, len(table), ROWS_IN_FLOAT64):
        part = slice(start, start + ROWS_IN_FLOAT64)
        rows = F.pad(table[part].double(), (0, blocks * BLOCK - table.shape[1]))
        groups = rows.unflatten(1, _GROUPS)
        high, low = groups.amax((2, 4)), groups.amin((2, 4))
        steps = -torch.where(high > -low, high, low) / zero
        made.scale[part] = (steps.abs().amax((1, 2)) / LARGEST).clamp(min=SMALLEST)
        scale = made.scale[part].double()[:, None, None]
        levels = (steps.abs() / scale).ceil().clamp(1, LARGEST).copysign(steps)
        made.levels[part] = levels.flatten(1)
        codes = (groups / (levels * scale)[:, :, None, :, None]).round().clamp(-zero, zero - 1)
        made.codes[part] = _pack((codes + zero).to(torch.uint8).flatten(2), bits)
    return made


def integer_rows(rows: LevelRows, features: int) -> Tensor:
    """Return level * (code - zero) of each weight: float32 integers [V, K], below 2**13."""
    bits = rows.codes.shape[1] // rows.levels.shape[1] // 4
    codes = _unpack(rows.codes, bits).float() - (1 << (bits - 1))
    groups = codes.unflatten(2, _GROUPS[1:])
    levels = rows.levels.float().unflatten(1, (-1, 1, LEVELS, 1))
    return (groups * levels).flatten(1)[:, :features]


def _pack(codes: Tensor, bits: int) -> Tensor:
    """Pack codes uint8 [V, blocks, 256] -> uint8 [V, bytes of a row]."""
    quarters = codes.unflatten(2, (2, 2, -1))  # [V, blocks, half, nibble, 64]
    nibbles = quarters & 15
    packed = (nibbles[:, :, :, 0] | nibbles[:, :, :, 1] << 4).flatten(2)
    if bits == 6:
        upper = (codes >> 4).unflatten(2, (4, -1))
        shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(4, 1)
        packed = torch.cat([packed, (upper << shifts).sum(2, dtype=torch.uint8)], dim=2)
    return packed.flatten(1)


def _unpack(packed: Tensor, bits: int) -> Tensor:
    """Unpack what ``_pack`` made: codes uint8 [V, blocks, 256]."""
    blocks = packed.unflatten(1, (-1, BLOCK * bits // 8))
    pairs = blocks[:, :, : BLOCK // 2].unflatten(2, (2, -1))
    codes = torch.stack([pairs & 15, pairs >> 4], dim=3).flatten(2)
    if bits == 6:
        upper = blocks[:, :, BLOCK // 2 :]
        fields = [(upper >> shift & 3) << 4 for shift in (0, 2, 4, 6)]
        codes = codes | torch.cat(fields, dim=2)
    return codes


def level_bounds(table: Tensor, rows: LevelRows) -> Tensor:
    """Bound the distance of results of ``rows`` from those of the bf16 table: float32 [V].

    It takes the place of ``row_bounds`` (ternary.py), whose words and letters are used here; its
    factor is another one, ``split_slack`` (operators/int6_head.py). For a token with the integers
    q, call those of them large that reach some size. With e = w - integers * scale,

        |q · e| <= |large|₁ |e|∞ + |small|₂ |e|₂

    (Hölder and Cauchy-Schwarz) whatever that size is. A token of a trained network has few elements
    that hold most of |q|₂, and no weight's error is far above the others: the sum is well below
    |q|₂ |e|₂, which is what it is where nothing is large. One number stands for both norms of e:
    ``max(|e|₂, |e|∞ / part)`` with ``part = min(1, 3 / sqrt(K))``, by |large|₁ part + |small|₂, of
    which slack takes the least over the powers of two.

    As this may be below |x|₂, though never below 32512 inverse >= |x|₂ / sqrt(K), the roundings of
    float32 are bounded by 16 u sqrt(K) (|w|₂ + |e|₂).
    """
    features = table.shape[1]
    bounds, root = torch.empty(len(table)), features**0.5
    part = min(1.0, PART / root)
    for some, weights, error in _errors(table, rows):
        largest = error.abs().amax(dim=-1)
        norm, size = (torch.linalg.vector_norm(values, dim=-1) for values in (error, weights))
        token = torch.linalg.vector_norm(weights, ord=1, dim=-1) / 62000
        rounding = 2.0**-20 * root * (size + norm)
        bound = torch.maximum(norm, largest / part) + token + rounding
        bounds[some] = bound * (1 + 2.0**-20) + 2.0**-126
    return bounds


def _errors(table: Tensor, rows: LevelRows) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield some rows, their weights and the errors of their copy, both float64 [n, K]."""
    for start in range(0, len(table), ROWS_IN_FLOAT64):
        part = slice(start, start + ROWS_IN_FLOAT64)
        weights = table[part].double()
        integers = integer_rows(LevelRows(*(values[part] for values in rows)), table.shape[1])
        yield part, weights, weights - integers.double() * rows.scale[part].double().unsqueeze(-1)


def row_deviations(table: Tensor, rows: LevelRows) -> Tensor:
    """Return eight standard deviations of the error of a row's result, by slack: float32 [V].

    It takes the place of ``row_bounds`` (ternary.py), but is statistical. With e = w - integers *
    scale, the error of the scan is the sum over k of x_k e_k. Were the e_k independent and uniform
    between -s/2 and s/2, for a step s, then

    - its variance would be the sum of x_k² s²/12, which is |x|₂² |e|₂² / K, and
    - it would exceed t standard deviations with probability below 2 exp(-t²/2), as uniform
      variables are strictly sub-Gaussian: 8 of them with less than 3e-14 a row.

    Real errors are neither. |e|₂ is what they are, and what is left is that an error e_k does not
    depend on x_k². The rounding of the token, of half a step of x for each k, has a deviation of
    |w|₂ / sqrt(12) steps, which is at most |w|₂ slack / (32512 sqrt(12)); eight of them, and all
    roundings of float32, are below |w|₂ slack / 14000.
    """
    bounds = torch.empty(len(table))
    for part, weights, errors in _errors(table, rows):
        size, error = (torch.linalg.vector_norm(values, dim=-1) for values in (weights, errors))
        deviation = DEVIATIONS * error / table.shape[1] ** 0.5 + size / 14000
        bounds[part] = deviation * (1 + 2.0**-20) + 2.0**-126
    return bounds
