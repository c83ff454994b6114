"""GroupQueryAttention and GroupQueryAttentionF16: rotary positions, a KV cache, softmax.

The second keeps keys and values as float16. Sizes: B rows, S new positions, P past positions, L
positions of the present cache, D the width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import DataType, Value
from torch import Tensor

from ...model import heads, rotate
from ...model.exact import attention
from ..domain import DOUBLE, FLOAT, FLOAT16, INT32, Attribute, Builder, operator
from .parts import join_heads, multiply_keys, rotate_new, softmax

__all__ = [
    "WINDOW",
    "GroupQueryAttention",
    "GroupQueryAttentionF16",
    "appended",
    "group_query_attention",
    "inputs_with",
    "rotated",
    "seen_by",
]


WINDOW = {"window": ir.AttrInt64("window", 0)}


@torch.library.custom_op("bitnet::group_query_attention", mutates_args=())
def group_query_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    seqlens_k: Tensor,
    total_sequence_length: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    window: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend with rotary positions and a KV cache; the inputs are com.microsoft's of this name.

    query [B, S, heads * D], key and value [B, S, kv_heads * D], past [B, kv_heads, P, D],
    seqlens_k int32 [B] (the last valid position of each row), total_sequence_length int32 [],
    cos and sin [positions, D / 2] -> output like query, present key and value [B, kv_heads, L, D]
    with L = max(P, total_sequence_length). Past and present are float32, or float16 where the ONNX
    node is GroupQueryAttentionF16: new keys and values are rounded before they are attended to.

    A new position sees those up to its own; with a window, the last ``window`` of them.

    Row b has ``max(0, seqlens_k[b] + 1 - S)`` past positions; its new positions follow these, also
    in the cache. Scores and the sums over values are float64, of exact products. Scores are rounded
    to float32 before the softmax, and results after it.
    """
    query, (key, value), positions = rotated(query, key, value, seqlens_k, cos_cache, sin_cache)
    present_key, present_value = (
        appended(cache, part.to(cache.dtype), positions, total_sequence_length)
        for cache, part in ((past_key, key), (past_value, value))
    )
    y = attention(query, present_key, present_value, seen_by(present_key, positions, window))
    return y.transpose(1, 2).flatten(2), present_key, present_value


def rotated(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seqlens_k: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Return query, and key and value, rotated [B, heads, S, D], and the new positions [B, S]."""
    count, width = query.shape[1], 2 * cos_cache.shape[1]
    lengths = (seqlens_k.long() + 1 - count).clamp(min=0)
    positions = lengths.unsqueeze(1) + torch.arange(count)
    rope = [torch.cat([t[positions]] * 2, dim=-1) for t in (cos_cache, sin_cache)]
    query, key, value = (heads(part, part.shape[2] // width) for part in (query, key, value))
    cos, sin = rope
    return rotate(query, (cos, sin)), (rotate(key, (cos, sin)), value), positions


def appended(past: Tensor, new: Tensor, positions: Tensor, total: Tensor) -> Tensor:
    """Extend past [B, kv_heads, P, ...] by zeros to ``total``; put new [.., S, ...] in place."""
    missing = past.new_zeros(*past.shape[:2], max(0, int(total) - past.shape[2]), *past.shape[3:])
    index = positions.unsqueeze(1).reshape(-1, 1, new.shape[2], *[1] * (new.dim() - 3))
    return torch.cat([past, missing], dim=2).scatter(2, index.expand_as(new), new)


def seen_by(present: Tensor, positions: Tensor, window: int) -> Tensor:
    """Return bool [B, 1, S, L]: whether a new position sees one of the cache."""
    numbers, own = torch.arange(present.shape[2]), positions[:, None, :, None]
    seen = numbers <= own
    return seen & (numbers > own - window) if window else seen


@group_query_attention.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    return torch.empty_like(query), past_key.new_empty(shape), past_value.new_empty(shape)


def inputs_with(cache: DataType) -> dict[str, DataType]:
    """Return the inputs of attention with caches of this type."""
    return {
        "query": FLOAT,
        "key": FLOAT,
        "value": FLOAT,
        "past_key": cache,
        "past_value": cache,
        "seqlens_k": INT32,
        "total_sequence_length": INT32,
        "cos_cache": FLOAT,
        "sin_cache": FLOAT,
    }


@operator(
    inputs=inputs_with(FLOAT),
    outputs={"output": FLOAT, "present_key": FLOAT, "present_value": FLOAT},
    torch_op=torch.ops.bitnet.group_query_attention.default,
    attributes=WINDOW,
    takes=lambda *inputs: inputs[3].dtype == FLOAT,
)
def GroupQueryAttention(op: Builder, *inputs: Value | Attribute) -> tuple[Value, Value, Value]:
    return _attend(op, *inputs, stored=op.Identity)


@operator(
    inputs=inputs_with(FLOAT16),
    outputs={"output": FLOAT, "present_key": FLOAT16, "present_value": FLOAT16},
    torch_op=torch.ops.bitnet.group_query_attention.default,
    attributes=WINDOW,
    takes=lambda *inputs: inputs[3].dtype == FLOAT16,
)
def GroupQueryAttentionF16(op: Builder, *inputs: Value | Attribute) -> tuple[Value, Value, Value]:
    return _attend(op, *inputs, stored=lambda x: op.Cast(x, to=FLOAT16))


# As in the kernel: float64 sums of exact products, scores rounded to float32, the same polynomial.
# Sums in another order round differently about once in 1e8 scores: see custom_ops' attend_scores.h.
# Unlike the kernel, this body multiplies the values of unseen positions by 0. So it gives NaN for a
# NaN among the values of a later position of the same call, or of a position that was truncated.
def _attend(
    op: Builder,
    query: Any,
    key: Any,
    value: Any,
    past_key: Any,
    past_value: Any,
    *others: Any,
    stored: Callable[[Value], Value],
) -> tuple[Value, Value, Value]:
    """Build the body; stored converts float32 to the type of the cache."""
    *given, window = others
    new = rotate_new(op, query, key, value, past_key, *given)
    zeros = stored(op.ConstantOfShape(new.missing_shape, value=np.zeros(1, np.float32)))
    key_room, value_room = (op.Concat(past, zeros, axis=2) for past in (past_key, past_value))
    key_kept, value_kept = stored(new.key), stored(new.value)
    present_key = op.ScatterElements(key_room, new.places, key_kept, axis=2)
    present_value = op.ScatterElements(value_room, new.places, value_kept, axis=2)
    scores = multiply_keys(op, op.Cast(new.query, to=DOUBLE), present_key)
    soft = softmax(op, op.Div(scores, new.root), new, window)
    values = op.Cast(op.Unsqueeze(present_value, [2]), to=DOUBLE)
    output = join_heads(op, op.MatMul(soft.wide, values), soft.sums, new.sizes)
    return output, present_key, present_value
