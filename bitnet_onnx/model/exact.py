"""The specification of norm, attention, routing and float products: all can meet it to the bit.

Sums are float64 of exact products, so their order changes a float32 result about once in 1e8. All
else is float32, each operation rounded. The kernels' order is in custom_ops/. With an int8 cache
the sums are of integers: exact in any order. Knows tensors and the number format; knows no network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..weights.ternary import SMALLEST, absmax_int8, absmax_int16

__all__ = [
    "attention",
    "attention_int8",
    "attention_shares",
    "exponential",
    "gated",
    "kept_int8",
    "mixture",
    "product",
    "rms_norm",
    "route",
    "sigmoid",
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
    wide = float_weights(query, key, seen).double()
    values = value.unsqueeze(2).double()
    return (wide @ values / wide.sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def attention_shares(
    query: Tensor, key: Tensor, key_scale: tuple[Tensor, ...], seen: Tensor
) -> Tensor:
    """Return the softmax of attention, [B, heads, S, T]; key_scale has one tensor for int8 keys."""
    if key_scale:
        weights = int8_weights(query, key, key_scale[0], seen)
    else:
        weights = float_weights(query, key, seen)
    wide = weights.double()
    return (wide / wide.sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def float_weights(query: Tensor, key: Tensor, seen: Tensor) -> Tensor:
    """Return ``exp(score - max)`` of query and key, [B, kv_heads, heads of each, S, T]."""
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    products = (grouped.double() @ key.unsqueeze(2).double().transpose(-1, -2)).float()
    scores = products / query.new_tensor(query.shape[-1]).sqrt()
    return softmax_weights(scores, seen.unsqueeze(2))


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
    weights = int8_weights(query, key, key_scale, seen)
    shares = (weights * value_scale[:, :, None, None]).masked_fill(~seen.unsqueeze(2), 0)
    wide = value.unsqueeze(2).double()
    total = wide.new_zeros(*shares.shape[:-1], value.shape[-1])
    for start in range(0, key.shape[2], SPAN):
        span = slice(start, start + SPAN)
        p, step = _with_step(*absmax_int16(shares[..., span], SMALLEST))
        total = total + (p @ wide[..., span, :]) * step.double()
    return (total / weights.double().sum(dim=-1, keepdim=True)).float().flatten(1, 2)


def int8_weights(query: Tensor, key: Tensor, key_scale: Tensor, seen: Tensor) -> Tensor:
    """Return ``exp(score - max)`` of query and an int8 key, [B, kv_heads, heads of each, S, T]."""
    grouped = query.unflatten(1, (key.shape[1], -1))  # [B, kv_heads, heads of each, S, D]
    q, step = _with_step(*absmax_int16(grouped))
    products = (q @ key.unsqueeze(2).double().transpose(-1, -2)).float()
    root = query.new_tensor(query.shape[-1]).sqrt()
    scores = products * key_scale[:, :, None, None] * (step / root)
    return softmax_weights(scores, seen.unsqueeze(2))


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


def sigmoid(x: Tensor) -> Tensor:
    """Compute ``(x < 0 ? e : 1) / (1 + e)`` in float32, with ``e = exponential(-|x|)``.

    So every operation has one result.
    """
    e = exponential(-x.abs())
    return torch.where(x < 0, e, 1.0) / (1.0 + e)


def silu(x: Tensor) -> Tensor:
    """Compute ``x * sigmoid(x)`` in float32."""
    return x * sigmoid(x)


def gated(gate: Tensor, up: Tensor, limit: float = 0.0) -> Tensor:
    """Compute ``silu(gate) * up``; with a limit, gate is at most that and up within it, both ways.

    A limit of 0 is none.
    """
    if limit:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return silu(gate) * up


def route(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose the k largest of logits [..., E] -> experts int64, ascending, and shares [..., k].

    Of equal logits the one of the lowest expert comes first. A share is the softmax over the chosen
    logits; its sum is in float64.
    """
    chosen = logits.sort(dim=-1, descending=True, stable=True).indices[..., :k].sort(dim=-1).values
    kept = logits.gather(-1, chosen)
    weights = exponential(kept - kept.amax(dim=-1, keepdim=True)).double()
    return chosen, (weights / weights.sum(dim=-1, keepdim=True)).float()


def mixture(
    x: Tensor, chosen: Tensor, shares: Tensor, expert: Callable[[int, Tensor], Tensor]
) -> Tensor:
    """Add the results of the chosen experts of each token x [T, H], each times its share: [T, H].

    ``expert(number, tokens)`` computes one of them for some tokens. The sum is float32, starts from
    0, and adds the lowest expert first.
    """
    total = torch.zeros_like(x)
    for number in chosen.unique().tolist():  # ascending
        tokens, places = (chosen == number).nonzero(as_tuple=True)
        y = expert(number, x[tokens]) * shares[tokens, places, None]
        total = total.index_add(0, tokens, y)
    return total
