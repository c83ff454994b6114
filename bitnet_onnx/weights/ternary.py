"""The number format W1.58A8: ternary weights, int8 activations, and how both are stored.

Knows tensors, not networks. Formulas: "The Era of 1-bit LLMs" (arXiv 2402.17764), section 2, and
BitNet b1.58 2B-4T (arXiv 2504.12285), section 2. ``K`` is input features, ``N`` output features.

The layout that this package's kernels read, one row of K weights (version 1):

      block 0 (256 weights, 64 bytes)     block 1 ...
      byte b:   bits 7:6    5:4    3:2    1:0
      weight:   192 + b  128 + b  64 + b   b          code 0, 1, 2 = weight -1, 0, +1

A row takes 64 * ceil(K / 256) bytes; weights beyond K have code 1 (weight 0). Code 3 is invalid.
The published layout packs along output rows instead: see ``unpack_published``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "BLOCK",
    "absmax_int8",
    "absmax_int16",
    "absmean_experts",
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
ROWS_AT_A_TIME = 4096  # of a table: a whole vocabulary takes gigabytes as float32
ROWS_IN_FLOAT64 = 512
EPSILON = 1e-5  # the least absmean and absmax, as in the reference

INT16_PEAK = 32512  # 127 * 256: both bytes of an activation then fit int8
SMALLEST = 1e-30  # the least absmax where EPSILON would clamp more than zeros


def absmean_ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize master weights [N, K] to codes {-1, 0, +1} (float32 [N, K]), scale (float32 [1]).

    ``scale = max(mean|W|, 1e-5)``; ``codes * scale`` approximates W. Rounding ties go to even.
    """
    weight = weight.float()
    inverse = 1.0 / weight.abs().mean().clamp(min=EPSILON)
    return (weight * inverse).round().clamp(-1, 1), (1.0 / inverse).reshape(1)


def absmean_experts(weight: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Quantize masters [E, N, K] by absmean: codes (float32 [E, N, K]) and scale [E, parts].

    Each expert and each of ``parts`` equal parts of its rows is a matrix of its own.
    """
    made = [absmean_ternary(part) for rows in weight for part in rows.chunk(parts)]
    codes = torch.cat([part for part, _ in made]).view(weight.shape)
    return codes, torch.cat([scale for _, scale in made]).view(-1, parts)


def group_absmean(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Quantize each ``size`` weights of a row by absmean: codes [N, K], scale [N, K / size]."""
    groups = weight.float().unflatten(1, (-1, size))
    scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=EPSILON)
    return (groups / scale).round().clamp(-1, 1).flatten(1), scale.squeeze(-1)


def group_ternary(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Split dequantized weights [N, K] into codes (int8 [N, K]) and scale (float32 [N, K / size]).

    The scale of a group is its largest magnitude, 0 for a group of zeros. ``spread(codes, scale)``
    gives the same weights back where each group holds only -s, 0 and +s.
    """
    return weight.sign().to(torch.int8), weight.unflatten(1, (-1, size)).abs().amax(-1).float()


def spread(codes: Tensor, scale: Tensor) -> Tensor:
    """Multiply codes [N, K] by the scales [N, K / size] of their groups; return weights [N, K]."""
    groups = codes.unflatten(1, (scale.shape[1], -1))
    return (groups * scale.unsqueeze(-1)).flatten(1)


def group_sums(quantized: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """Multiply integers [..., K] by codes [N, K] with scales [N, K / size] -> float64 [..., N].

    The sum of a group is exact, and so is its product with the scale (8 + log2 K bits by 24). Only
    the order of the sum over groups matters: the first group comes first.
    """
    parts = zip(quantized.chunk(scale.shape[1], -1), codes.chunk(scale.shape[1], 1), strict=True)
    shape = (*quantized.shape[:-1], len(codes))
    total = torch.zeros(shape, dtype=torch.float64, device=quantized.device)
    for group, (x, weight) in enumerate(parts):
        total += (x @ weight.T).double() * scale[:, group].double()
    return total


def absmax_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize activations [..., K] to integers -128..127 (float32 [..., K]) and a scale [..., 1].

    One scale per token: ``scale = 127 / max|x|``, ``q = clip(round(x * scale), -128, 127)``.
    A token with a NaN or an infinity gets at least one NaN, so a product with it is NaN.
    """
    # A tensor, not a number: torch computes number / tensor as reciprocal * number.
    scale = x.new_tensor(127.0) / x.abs().amax(dim=-1, keepdim=True).clamp(min=EPSILON)
    return (x * scale).round().clamp(-128, 127), scale


def absmax_int16(x: Tensor, smallest: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Quantize as ``absmax_int8``, to integers -32512..32512 (float64 [..., K]) and a scale."""
    scale = x.new_tensor(INT16_PEAK) / x.abs().amax(dim=-1, keepdim=True).clamp(min=smallest)
    return (x * scale).round().clamp(-INT16_PEAK, INT16_PEAK).double(), scale


def sign_binary(weight: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Quantize master weights [N, K] to codes {-1, +1} (float32 [N, K]), scale (float32 [groups]).

    ``sign(W - mean(W))`` with sign(0) = -1, and ``scale = mean|W|``, separately for each of
    ``groups`` equal parts of K (arXiv 2310.11453, sections 2.1 and 2.2).
    """
    parts = weight.float().unflatten(1, (groups, -1))
    codes = torch.where(parts > parts.mean(dim=(0, 2), keepdim=True), 1.0, -1.0)
    return codes.flatten(1), parts.abs().mean(dim=(0, 2))


def symmetric_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize activations [..., K] to integers -127..127 (float32) and a multiplier [..., 1].

    The first BitNet's absmax: ``q = clip(round(x * 128 / max|x|), -127, 127)``, multiplier
    ``max|x| / 128`` (arXiv 2310.11453, equation 4; its epsilon excludes 128). So the largest |q|
    of a token is 127 where max|x| is at least 1e-30.
    """
    peak = x.abs().amax(dim=-1, keepdim=True).clamp(min=SMALLEST)
    # 128 is a power of two: torch's reciprocal * 128 equals the quotient, which fails for 127.
    return (x * (128.0 / peak)).round().clamp(-127, 127), peak / 128.0


def int8_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a table [V, H] by absmax per row: int8 [V, H] and scale float32 [V]."""
    rounded, scales = torch.empty(table.shape, dtype=torch.int8), torch.empty(table.shape[0])
    for start in range(0, table.shape[0], ROWS_AT_A_TIME):
        rows = table[start : start + ROWS_AT_A_TIME].float()
        scale = rows.abs().amax(dim=-1).clamp(min=EPSILON) / 127.0
        scales[start : start + ROWS_AT_A_TIME] = scale
        rounded[start : start + ROWS_AT_A_TIME] = (rows / scale.unsqueeze(-1)).round_()
    return rounded, scales


def row_bounds(table: Tensor, rounded: Tensor, scales: Tensor) -> Tensor:
    """Bound the distance of results of ``int8_rows`` from those of the bf16 table: float32 [V].

    For a row w and a token x with int16 codes q, ``inverse = 1 / act_scale`` (operators/head.py):
    ``|int8_matmul - bf16_matmul| <= bound * slack`` with ``slack = max(|q|₂, 32512) * inverse``.
    With e = w - rounded * scale, u = 2**-24 (the relative rounding error of float32), K <= 2**17,
    the errors are:

    - the rounding of the row: (q * inverse) · e <= |q|₂ * inverse * |e|₂ (Cauchy-Schwarz);
    - the rounding of the token: |x - q * inverse| <= (1/2 + 2 * 32512 u) inverse, times |w|₁;
    - the scan's sum, two products, and the sum with -+ bound * slack: 4 u |w - e|₂;
    - the exact result's float64 sum, in any order, and its rounding to float32: 1.01 u |w|₂;
    - this bound, slack, their product and the sum: 4 u (bound + ...).

    As |w|₂ <= |w|₁, the term |w|₁ / 62000 covers 0.504 |w|₁ / 32512 and 10 u of |w|; the factor
    1 + 16 u covers the rest; 2**-126, times slack >= 1e-5, covers what float32 loses below its
    normal numbers. Nothing overflows while |w| < 2**46 and |x| < 2**63.
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
    """Return the bytes of one row of ``features`` weights in the packed layout."""
    return -(-features // BLOCK) * (BLOCK // FIELDS)


def pack(codes: Tensor) -> Tensor:
    """Pack ternary weights int8 [N, K] in {-1, 0, +1} -> uint8 [N, 64 * ceil(K / 256)]."""
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
    """Unpack what ``pack`` made: uint8 [N, 64 * ceil(K / 256)] -> int8 [N, K] in {-1, 0, +1}."""
    rows = packed.shape[0]
    blocks = packed.view(rows, -1, 1, BLOCK // FIELDS)
    fields = torch.cat([(blocks >> (2 * j)) & 3 for j in range(FIELDS)], dim=2)
    return (fields.view(rows, -1)[:, :features].to(torch.int8)) - 1


def unpack_published(packed: Tensor) -> Tensor:
    """Unpack microsoft/bitnet-b1.58-2B-4T's layout: uint8 [N/4, K] -> int8 [N, K] in {-1, 0, +1}.

    Bits ``2i, 2i+1`` of packed row ``r`` hold output row ``i * N/4 + r``, as code = weight + 1.
    Experts [E, N/4, K] are packed each by itself.
    """
    return torch.cat([(packed >> (2 * i)) & 3 for i in range(FIELDS)], dim=-2).to(torch.int8) - 1


def pack_published(codes: Tensor) -> Tensor:
    """Pack as ``unpack_published`` reads: int8 [N, K] -> uint8 [N/4, K], N a multiple of 4."""
    quarters = (codes + 1).to(torch.uint8).chunk(FIELDS, dim=-2)
    packed = quarters[0].clone()
    for i in range(1, FIELDS):
        packed |= quarters[i] << (2 * i)
    return packed
