"""The number format W1.58A8: ternary weights, int8 activations, and how both are stored.

Knows tensors, not networks. Formulas: "The Era of 1-bit LLMs" (arXiv 2402.17764), section 2, and
BitNet b1.58 2B-4T (arXiv 2504.12285), section 2. ``K`` is input features, ``N`` output features.

The layout that our kernels read, one row of K weights (C4; version 1):

      block 0 (256 weights, 64 bytes)     block 1 ...
      byte b:   bits 7:6    5:4    3:2    1:0
      weight:   192 + b  128 + b  64 + b   b          code 0, 1, 2 = weight -1, 0, +1

A row takes 64 * ceil(K / 256) bytes; weights past K have code 1 (weight 0). Code 3 is invalid.
The published layout packs along output rows instead: see ``unpack_published``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "BLOCK",
    "absmax_int8",
    "absmax_int16",
    "absmean_ternary",
    "group_absmean",
    "group_sums",
    "group_ternary",
    "int8_rows",
    "pack",
    "pack_published",
    "packed_width",
    "row_bounds",
    "sign_binary",
    "spread",
    "symmetric_int8",
    "unpack",
    "unpack_published",
]

BLOCK = 256  # weights in one block of the packed layout
FIELDS = 4  # weights in one byte
ROWS_AT_A_TIME = 4096  # of a table: a vocabulary of float32 rows would take gigabytes
ROWS_IN_FLOAT64 = 512
EPSILON = 1e-5  # absmean and absmax are clamped here, as in the reference

INT16_PEAK = 32512  # 127 * 256: both halves of an activation then fit int8
SMALLEST = 1e-30  # where only a token of zeros is to be clamped


def absmean_ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Master weights [N, K] -> codes in {-1, 0, +1} (float32 [N, K]) and scale (float32 [1]).

    ``scale = mean|W|``; ``codes * scale`` approximates W. Rounds half to even.
    """
    weight = weight.float()
    inverse = 1.0 / weight.abs().mean().clamp(min=EPSILON)
    return (weight * inverse).round().clamp(-1, 1), (1.0 / inverse).reshape(1)


def group_absmean(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """absmean for each ``size`` weights of a row: codes (float32 [N, K]), scale [N, K / size]."""
    groups = weight.float().unflatten(1, (-1, size))
    scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=EPSILON)
    return (groups / scale).round().clamp(-1, 1).flatten(1), scale.squeeze(-1)


def group_ternary(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Dequantized weights [N, K] -> codes (int8 [N, K]) and scale (float32 [N, K / size]).

    The scale of a group is its largest magnitude, 0 where all are zero. That is exact where
    ``spread(codes, scale)`` gives the weights back: where a group holds -s, 0 and +s alone.
    """
    return weight.sign().to(torch.int8), weight.unflatten(1, (-1, size)).abs().amax(-1).float()


def spread(codes: Tensor, scale: Tensor) -> Tensor:
    """Codes [N, K] times the scales [N, K / size] of their groups -> weights, of scale's type."""
    groups = codes.unflatten(1, (scale.shape[1], -1))
    return (groups * scale.unsqueeze(-1)).flatten(1)


def group_sums(quantized: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """Whole numbers [..., K] times codes [N, K] with scales [N, K / size] -> float64 [..., N].

    The sum of a group is exact, and so is its product with the scale (8 + log2 K bits by 24); only
    the order of the sum over groups matters: the first group first.
    """
    parts = zip(quantized.chunk(scale.shape[1], -1), codes.chunk(scale.shape[1], 1), strict=True)
    shape = (*quantized.shape[:-1], len(codes))
    total = torch.zeros(shape, dtype=torch.float64, device=quantized.device)
    for group, (x, weight) in enumerate(parts):
        total += (x @ weight.T).double() * scale[:, group].double()
    return total


def absmax_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations [..., K] -> whole numbers -128..127 (float32 [..., K]) and scale [..., 1].

    One scale per token: ``scale = 127 / max|x|``, ``q = clip(round(x * scale), -128, 127)``.
    A token that holds a NaN or an infinity becomes all NaN.
    """
    # A tensor, not a number: torch computes number / tensor as reciprocal * number.
    scale = x.new_tensor(127.0) / x.abs().amax(dim=-1, keepdim=True).clamp(min=EPSILON)
    return (x * scale).round().clamp(-128, 127), scale


def absmax_int16(x: Tensor, smallest: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Whole numbers -32512..32512 (float64 [..., K]) and scale [..., 1]; else ``absmax_int8``."""
    scale = x.new_tensor(INT16_PEAK) / x.abs().amax(dim=-1, keepdim=True).clamp(min=smallest)
    return (x * scale).round().clamp(-INT16_PEAK, INT16_PEAK).double(), scale


def sign_binary(weight: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Master weights [N, K] -> codes in {-1, +1} (float32 [N, K]) and scale (float32 [groups]).

    ``sign(W - mean(W))`` with sign(0) = -1, and ``scale = mean|W|``, for each of ``groups`` equal
    parts of K by itself (arXiv 2310.11453, sections 2.1 and 2.2).
    """
    parts = weight.float().unflatten(1, (groups, -1))
    codes = torch.where(parts > parts.mean(dim=(0, 2), keepdim=True), 1.0, -1.0)
    return codes.flatten(1), parts.abs().mean(dim=(0, 2))


def symmetric_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations [..., K] -> whole numbers -127..127 (float32) and multiplier [..., 1].

    The first BitNet's absmax: ``q = clip(round(x * 128 / max|x|), -127, 127)``, multiplier
    ``max|x| / 128`` (arXiv 2310.11453, equation 4; its epsilon keeps 128 out). So the largest |q|
    of a token that is not all zero is 127.
    """
    peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
    # A power of two: torch's reciprocal * 128 is the quotient, unlike with 127 in absmax_int8.
    return (x * (128.0 / peak)).round().clamp(-127, 127), peak / 128.0


def int8_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [V, H] -> int8 [V, H] and scale float32 [V]: absmax per row, for embedding and head."""
    rounded, scales = torch.empty(table.shape, dtype=torch.int8), torch.empty(table.shape[0])
    for start in range(0, table.shape[0], ROWS_AT_A_TIME):
        rows = table[start : start + ROWS_AT_A_TIME].float()
        scale = rows.abs().amax(dim=-1).clamp(min=EPSILON) / 127.0
        scales[start : start + ROWS_AT_A_TIME] = scale
        rounded[start : start + ROWS_AT_A_TIME] = (rows / scale.unsqueeze(-1)).round_()
    return rounded, scales


def row_bounds(table: Tensor, rounded: Tensor, scales: Tensor) -> Tensor:
    """How far results of ``int8_rows`` may be from those of the bf16 table: float32 [V].

    For a row w and a token x with int16 codes q, ``inverse = 1 / act_scale`` (operators/head.py):
    ``|int8_matmul - bf16_matmul| <= bound * slack`` with ``slack = max(|q|₂, 32512) * inverse``.
    With e = w - rounded * scale, u = 2**-24 (float32 rounds by a share u), K <= 2**17:

    - the row's rounding: (q * inverse) · e <= |q|₂ * inverse * |e|₂ (Cauchy and Schwarz);
    - the token's: |x - q * inverse| <= (1/2 + 2 * 32512 u) inverse, times |w|₁;
    - the scan's sum, two products, and its sum with -+ bound * slack: 4 u |w - e|₂;
    - the exact result's float64 sum, in any order, and its float32: 1.01 u |w|₂;
    - this bound, slack, their product and the sum: 4 u (bound + ...).

    |w|₂ <= |w|₁, so |w|₁ / 62000 holds 0.504 |w|₁ / 32512 and 10 u of |w|; 1 + 16 u holds the
    rest; 2**-126, times slack >= 1e-5, what float32 rounds away below its normal numbers. Nothing
    overflows while |w| < 2**46 and |x| < 2**63.
    """
    bounds = torch.empty(table.shape[0])
    for start in range(0, table.shape[0], ROWS_IN_FLOAT64):
        part = slice(start, start + ROWS_IN_FLOAT64)
        rows = table[part].double()
        size = torch.linalg.vector_norm(rows, ord=1, dim=-1)
        rows -= rounded[part].double() * scales[part].double().unsqueeze(-1)  # exact
        error = torch.linalg.vector_norm(rows, dim=-1)
        bounds[part] = (error + size / 62000) * (1 + 2.0**-20) + 2.0**-126
    return bounds


def packed_width(features: int) -> int:
    """Bytes that one row of ``features`` weights takes in the packed layout."""
    return -(-features // BLOCK) * (BLOCK // FIELDS)


def pack(codes: Tensor) -> Tensor:
    """Ternary weights int8 [N, K] in {-1, 0, +1} -> packed uint8 [N, 64 * ceil(K / 256)]."""
    rows, features = codes.shape
    blocks = -(-features // BLOCK)
    padded = torch.ones(rows, blocks * BLOCK, dtype=torch.uint8)
    padded[:, :features] = (codes + 1).to(torch.uint8)
    fields = padded.view(rows, blocks, FIELDS, BLOCK // FIELDS)
    packed = fields[:, :, 0].clone()
    for j in range(1, FIELDS):
        packed |= fields[:, :, j] << (2 * j)
    return packed.reshape(rows, packed_width(features))


def unpack(packed: Tensor, features: int) -> Tensor:
    """The inverse of ``pack``: uint8 [N, 64 * ceil(K / 256)] -> int8 [N, K] in {-1, 0, +1}."""
    rows = packed.shape[0]
    blocks = packed.view(rows, -1, 1, BLOCK // FIELDS)
    fields = torch.cat([(blocks >> (2 * j)) & 3 for j in range(FIELDS)], dim=2)
    return (fields.view(rows, -1)[:, :features].to(torch.int8)) - 1


def unpack_published(packed: Tensor) -> Tensor:
    """The layout of microsoft/bitnet-b1.58-2B-4T: uint8 [N/4, K] -> int8 [N, K] in {-1, 0, +1}.

    Bits ``2i, 2i+1`` of packed row ``r`` hold output row ``i * N/4 + r``, as code = weight + 1.
    """
    return torch.cat([(packed >> (2 * i)) & 3 for i in range(FIELDS)]).to(torch.int8) - 1


def pack_published(codes: Tensor) -> Tensor:
    """The inverse of ``unpack_published``; N must be a multiple of 4."""
    quarters = (codes + 1).to(torch.uint8).chunk(FIELDS)
    packed = quarters[0].clone()
    for i in range(1, FIELDS):
        packed |= quarters[i] << (2 * i)
    return packed
