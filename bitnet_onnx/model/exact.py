"""Norm and attention so that every implementation can give the same bits: the specification.

Sums are float64 of exact products, so their order changes a float32 result about once in 1e8; all
else is float32, each operation rounded. The kernels' order is in custom_ops/. With an int8 cache
the sums are of whole numbers: exact in any order. Knows tensors and the number format.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..weights.ternary import SMALLEST, absmax_int8, absmax_int16

__all__ = ["attention", "attention_int8", "exponential", "kept_int8", "rms_norm"]

SPAN = 64  # positions whose weights are rounded together


def rms_norm(x: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
    """x [..., K], weight [K], eps [1] -> ``(x * inverse) * weight``, ``inverse = 1 / rms(x)``."""
    wide = x.double()
    mean = (wide * wide).sum(dim=-1, keepdim=True) / x.shape[-1]
    return x * (1.0 / (mean + eps.double()).sqrt()).float() * weight


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """query [B, heads, S, D], key and value [B, kv_heads, T, D], seen bool [B or 1, 1, S, T].

    -> [B, heads, S, D]: ``softmax(query · keyᵀ / sqrt(D)) · value`` over the positions seen.
    """
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    keys, values, seen = (part.unsqueeze(2) for part in (key, value, seen))
    products = (grouped.double() @ keys.double().transpose(-1, -2)).float()
    scores = products / query.new_tensor(query.shape[-1]).sqrt()
    wide = softmax_weights(scores, seen).double()
    return (wide @ values.double() / wide.sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def softmax_weights(scores: Tensor, seen: Tensor) -> Tensor:
    """``exp(scores - max)`` over the positions seen, 0 elsewhere."""
    scores = scores.masked_fill(~seen, -torch.inf)
    return exponential(scores - scores.amax(dim=-1, keepdim=True)).masked_fill(~seen, 0)


def kept_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """What an int8 cache holds of x [..., D]: codes int8 [..., D] and scale float32 [...].

    ``absmax_int8`` with the scale's inverse, which codes are multiplied with: the largest |x| /
    127, or 1e-5 / 127 for a row of zeros. A row with a NaN or an infinity: zeros and NaN.
    """
    codes, scale = _worth(*absmax_int8(x))
    return codes.to(torch.int8), scale.squeeze(-1)


def _worth(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers and their scale -> the same and what 1 stands for: 0 and NaN if not finite."""
    finite = codes.isfinite().all(dim=-1, keepdim=True)
    return codes.masked_fill(~finite, 0), (1.0 / scale).masked_fill(~finite, torch.nan)


def attention_int8(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_scale: Tensor,
    value_scale: Tensor,
    seen: Tensor,
) -> Tensor:
    """``attention`` over int8 key and value [B, kv_heads, T, D] with scales [B, kv_heads, T].

    query enters as 16-bit integers by absmax, ``q * a``. ``score = (float32(q · key) * key_scale) *
    (a / sqrt(D))``: |q · key| <= 512 * 32512 * 128 < 2**31 for D <= 512.

    ``softmax`` as ever. The weight of a value with its scale, ``x = weight * value_scale``, becomes
    16-bit integers p * b by absmax over each SPAN of positions: so much is lost as to move a result
    by ``64 / 65024`` of the values' mean absmax at most, a quarter of what rounding them to int8
    may, however long the cache. The sum p · value is below 2**28 and its product with b, 24 bits,
    exact in float64; these are added in float64, the first span first.

    A NaN or an infinity in query, or in a key or value that is seen, makes all of its heads NaN.
    """
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    q, step = _worth(*absmax_int16(grouped))
    products = (q @ key.unsqueeze(2).double().transpose(-1, -2)).float()
    root = query.new_tensor(query.shape[-1]).sqrt()
    by_position = [scale[:, :, None, None] for scale in (key_scale, value_scale)]
    seen = seen.unsqueeze(2)
    weights = softmax_weights(products * by_position[0] * (step / root), seen)
    shares = (weights * by_position[1]).masked_fill(~seen, 0)
    wide = value.unsqueeze(2).double()
    total = torch.zeros_like(q)
    for start in range(0, key.shape[2], SPAN):
        span = slice(start, start + SPAN)
        p, step = _worth(*absmax_int16(shares[..., span], SMALLEST))
        total = total + (p @ wide[..., span, :]) * step.double()
    return (total / weights.double().sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def exponential(x: Tensor) -> Tensor:
    """exp of x <= 0 in float32, within 1 ulp: ``2**n * (1 + r + r²/2! + ... + r⁷/7!)``.

    ``n = round(x / ln 2)``, ``r = x - n ln 2``; below -87, exp(-87).
    """
    x = torch.maximum(x, x.new_tensor(-87.0))
    n = (x * 1.44269504).round()
    r = (x - n * 0.693359375) - n * -2.12194440e-4
    total = torch.full_like(r, 1 / 5040)
    for term in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        total = total * r + term
    return total * ((n.int() + 127) << 23).view(torch.float32)
