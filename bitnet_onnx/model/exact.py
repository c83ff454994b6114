"""The specification of norm, attention, float products and routing, which implementations can meet.

Sums are float64 of exact products, so their order changes a float32 result about once in 1e8. All
else is float32, each operation rounded. The kernels' order is in custom_ops/. With an int8 cache
the sums are of integers: exact in any order. Knows tensors and the number format; knows no network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..weights.ternary import SMALLEST, absmax_int8, absmax_int16

__all__ = [
    "attention",
    "attention_int8",
    "exponential",
    "kept_int8",
    "product",
    "rms_norm",
    "route",
    "router_logits",
    "silu",
]

SPAN = 64  # positions whose weights are rounded together


def rms_norm(x: Tensor, weight: Tensor, eps: Tensor) -> Tensor:
    """Normalize x [..., K]: ``(x * inverse) * weight``, weight [K], eps [1].

    ``inverse = 1 / sqrt(mean(x²) + eps)``, rounded to float32.
    """
    wide = x.double()
    mean = (wide * wide).sum(dim=-1, keepdim=True) / x.shape[-1]
    return x * (1.0 / (mean + eps.double()).sqrt()).float() * weight


def product(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply x float32 [..., K] by float weights [N, K] in float64, rounded to float32 once."""
    return (x.double() @ weight.double().T).float()


def attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Compute ``softmax(query · keyᵀ / sqrt(D)) · value`` over the positions seen.

    query [B, heads, S, D], key and value [B, kv_heads, T, D], seen bool [B or 1, 1, S, T]
    -> [B, heads, S, D].
    """
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    keys, values, seen = (part.unsqueeze(2) for part in (key, value, seen))
    products = (grouped.double() @ keys.double().transpose(-1, -2)).float()
    scores = products / query.new_tensor(query.shape[-1]).sqrt()
    wide = softmax_weights(scores, seen).double()
    return (wide @ values.double() / wide.sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def softmax_weights(scores: Tensor, seen: Tensor) -> Tensor:
    """Return ``exp(scores - max)`` over the positions seen, 0 elsewhere."""
    scores = scores.masked_fill(~seen, -torch.inf)
    return exponential(scores - scores.amax(dim=-1, keepdim=True)).masked_fill(~seen, 0)


def kept_int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize x [..., D] for an int8 cache: codes int8 [..., D] and their step float32 [...].

    ``absmax_int8`` with the inverse of its scale: the step, the value of code 1, is
    ``max(max|x|, 1e-5) / 127``. A row with a NaN or an infinity gets the codes 0 and the step NaN.
    """
    codes, step = _with_step(*absmax_int8(x))
    return codes.to(torch.int8), step.squeeze(-1)


def _with_step(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return codes and their step ``1 / scale``; 0 and NaN for a row that is not finite."""
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
    """Compute ``attention`` over int8 key and value [B, kv_heads, T, D], scales [B, kv_heads, T].

    query is quantized by absmax to 16-bit integers q with the step a. ``score = (float32(q · key) *
    key_scale) * (a / sqrt(D))``, where |q · key| <= 512 * 32512 * 128 < 2**31 for D <= 512.

    The softmax weights times the scales of the values, ``x = weight * value_scale``, are quantized
    by absmax over each SPAN of positions to 16-bit integers p with the step b. This moves a result
    by at most ``64 / 65024`` of the values' mean absmax, a quarter of what their rounding to int8
    may, for a cache of any length. The sum p · value is below 2**28 and its product with b, of 24
    bits, is exact in float64. These products are added in float64, the first span first.

    A NaN or an infinity in query, or in a key or value that is seen, makes every head that reads it
    NaN.
    """
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    q, step = _with_step(*absmax_int16(grouped))
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
        p, step = _with_step(*absmax_int16(shares[..., span], SMALLEST))
        total = total + (p @ wide[..., span, :]) * step.double()
    return (total / weights.double().sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def exponential(x: Tensor) -> Tensor:
    """Compute exp of x <= 0 in float32, within 1 ulp: ``2**n * (1 + r + r²/2! + ... + r⁷/7!)``.

    ``n = round(x / ln 2)``, ``r = x - n ln 2``; for x below -87 the result is exp(-87).
    """
    x = torch.maximum(x, x.new_tensor(-87.0))
    n = (x * 1.44269504).round()
    r = (x - n * 0.693359375) - n * -2.12194440e-4
    total = torch.full_like(r, 1 / 5040)
    for term in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0):
        total = total * r + term
    return total * ((n.int() + 127) << 23).view(torch.float32)


def silu(x: Tensor) -> Tensor:
    """Compute ``x * sigmoid(x)`` in float32: ``sigmoid = (x < 0 ? e : 1) / (1 + e)``.

    ``e = exponential(-|x|)``, so every operation has one result.
    """
    e = exponential(-x.abs())
    return x * (torch.where(x < 0, e, 1.0) / (1.0 + e))


def router_logits(x: Tensor, router: Tensor) -> Tensor:
    """Multiply x [..., K] by router [E, K] -> [..., E]: float64 sums, rounded to float32."""
    return (x.double() @ router.double().T).float()


def route(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose the k largest of logits [..., E] -> experts int64, ascending, and shares [..., k].

    Of equal logits the one of the lowest expert comes first. A share is the softmax over the chosen
    logits; its sum is in float64.
    """
    chosen = logits.sort(dim=-1, descending=True, stable=True).indices[..., :k].sort(dim=-1).values
    kept = logits.gather(-1, chosen)
    weights = exponential(kept - kept.amax(dim=-1, keepdim=True)).double()
    return chosen, (weights / weights.sum(dim=-1, keepdim=True)).float()
