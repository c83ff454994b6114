"""Norm and attention so that every implementation can give the same bits: the specification.

Sums are float64 of exact products, so their order changes a float32 result about once in 1e8; all
else is float32, each operation rounded. The kernels' order is in custom_ops/. Knows tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attention", "exponential", "rms_norm"]


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
    scores = (products / query.new_tensor(query.shape[-1]).sqrt()).masked_fill(~seen, -torch.inf)
    weights = exponential(scores - scores.amax(dim=-1, keepdim=True)).masked_fill(~seen, 0)
    wide = weights.double()
    return (wide @ values.double() / wide.sum(dim=-1, keepdim=True)).float().flatten(1, 2)


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
