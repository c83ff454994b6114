"""GroupQueryAttentionInt8: attention whose cache holds int8 codes and a scale for each position.

The sizes are those of ``attention.py``.
"""

from __future__ import annotations

import numpy as np
import torch
from onnx_ir import Value
from torch import Tensor

from ..model.exact import SPAN, attention_int8, kept_int8
from ..weights.ternary import EPSILON, INT16_PEAK, SMALLEST
from . import steps
from .attention import WINDOW, appended, inputs_with, rotated, seen_by
from .attention_steps import Rotated, join_heads, multiply_keys, rotate_new, softmax
from .domain import DOUBLE, FLOAT, INT8, Attribute, Builder, operator

__all__ = ["GroupQueryAttentionInt8", "group_query_attention_int8"]


@torch.library.custom_op("bitnet::group_query_attention_int8", mutates_args=())
def group_query_attention_int8(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
    seqlens_k: Tensor,
    total_sequence_length: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    past_key_scale: Tensor,
    past_value_scale: Tensor,
    window: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Attend as group_query_attention, with int8 caches and their scales float32 [B, kv_heads, P].

    -> output, present key and value [B, kv_heads, L, D], their scales [B, kv_heads, L]. D is at
    most 512. The formulas are in ``model/exact.py``: sums of integers, in any order.
    """
    query, new, positions = rotated(query, key, value, past_key, seqlens_k, cos_cache, sin_cache)
    (keys, key_scales), (values, value_scales) = (
        (
            appended(cache, codes, positions, total_sequence_length),
            appended(scales, scale, positions, total_sequence_length),
        )
        for cache, scales, (codes, scale) in zip(
            (past_key, past_value),
            (past_key_scale, past_value_scale),
            map(kept_int8, new),
            strict=True,
        )
    )
    seen = seen_by(keys, positions, window)
    y = attention_int8(query, keys, values, key_scales, value_scales, seen)
    return y.transpose(1, 2).flatten(2), keys, values, key_scales, value_scales


@group_query_attention_int8.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor, *_: object
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shape = list(past_key.shape)
    shape[2] += query.shape[1]
    codes = [past.new_empty(shape) for past in (past_key, past_value)]
    scales = [query.new_empty(shape[:3]) for _ in range(2)]
    return torch.empty_like(query), codes[0], codes[1], scales[0], scales[1]


@operator(
    inputs=inputs_with(INT8) | {"past_key_scale": FLOAT, "past_value_scale": FLOAT},
    outputs={
        "output": FLOAT,
        "present_key": INT8,
        "present_value": INT8,
        "present_key_scale": FLOAT,
        "present_value_scale": FLOAT,
    },
    attributes=WINDOW,
    torch_op=torch.ops.bitnet.group_query_attention_int8.default,
)
def GroupQueryAttentionInt8(
    op: Builder,
    query: Value,
    key: Value,
    value: Value,
    past_key: Value,
    past_value: Value,
    seqlens_k: Value,
    total_sequence_length: Value,
    cos_cache: Value,
    sin_cache: Value,
    past_key_scale: Value,
    past_value_scale: Value,
    window: Attribute,
) -> tuple[Value, ...]:
    new = rotate_new(
        op, query, key, value, past_key, seqlens_k, total_sequence_length, cos_cache, sin_cache
    )
    key_codes, key_step = _quantize(op, new.key, 127.0)
    value_codes, value_step = _quantize(op, new.value, 127.0)
    zeros = op.ConstantOfShape(new.missing_shape, value=np.zeros(1, np.int8))
    key_room, value_room = (op.Concat(past, zeros, axis=2) for past in (past_key, past_value))
    key_kept, value_kept = (op.Cast(codes, to=INT8) for codes in (key_codes, value_codes))
    present_key = op.ScatterElements(key_room, new.places, key_kept, axis=2)
    present_value = op.ScatterElements(value_room, new.places, value_kept, axis=2)
    key_scale, value_scale = _append_scales(
        op, (past_key_scale, past_value_scale), (key_step, value_step), new
    )

    query_codes, query_step = _quantize(op, new.query, INT16_PEAK)
    wide_query = op.Cast(query_codes, to=DOUBLE)
    products = multiply_keys(op, wide_query, present_key)
    by_key = op.Mul(products, op.Unsqueeze(key_scale, [2, 3]))
    soft = softmax(op, op.Mul(by_key, op.Div(query_step, new.root)), new, window)

    shares = op.Mul(soft.weights, op.Unsqueeze(value_scale, [2, 3]))
    shares = op.Where(soft.seen, shares, 0.0)
    blended = _blend(op, shares, present_value, wide_query, new)
    output = join_heads(op, blended, soft.sums, new.sizes)
    return output, present_key, present_value, key_scale, value_scale


def _quantize(op: Builder, x: Value, peak: float, smallest: float = EPSILON) -> tuple[Value, Value]:
    """Quantize x by absmax over its last axis -> integers, float32, and their step [..., 1].

    A row that is not finite gets zeros and the step NaN.
    """
    rounded, scale = steps.absmax(op, x, float(peak), smallest)
    poison = steps.poison(op, x)
    codes = op.Where(op.IsNaN(poison), 0.0, rounded)
    return codes, op.Add(op.Div(1.0, scale), poison)


def _append_scales(
    op: Builder, pasts: tuple[Value, Value], added: tuple[Value, Value], new: Rotated
) -> list[Value]:
    """Append added scales [B, kv_heads, S, 1] to past ones [B, kv_heads, P] -> [.., L]."""
    shape = op.Concat(new.sizes.rows, new.missing, axis=0)
    zeros = op.ConstantOfShape(shape, value=np.zeros(1, np.float32))
    rooms = [op.Concat(past, zeros, axis=2) for past in pasts]
    scales = [op.Squeeze(step, [-1]) for step in added]
    places = op.Expand(new.positions, op.Shape(scales[0]))
    return [
        op.ScatterElements(room, places, scale, axis=2)
        for room, scale in zip(rooms, scales, strict=True)
    ]


def _blend(op: Builder, shares: Value, values: Value, query: Value, new: Rotated) -> Value:
    """Sum shares float32 [B, kv_heads, heads of each, S, L] times values int8 -> as query, float64.

    The shares of a span of 64 positions are rounded together. The sum of a span is one of integers,
    which float64 holds exactly; the spans are added in order.
    """
    spans = op.Div(op.Add(new.room, [SPAN - 1]), [SPAN])
    past_end = op.Sub(op.Mul(spans, [SPAN]), new.room)
    pads = op.Concat([0], past_end, axis=0)
    padded = op.Pad(shares, pads, 0.0, [-1])
    by_span = op.Reshape(padded, [0, 0, 0, 0, -1, SPAN])
    codes, step = _quantize(op, by_span, INT16_PEAK, SMALLEST)
    codes, step = op.Cast(codes, to=DOUBLE), op.Cast(step, to=DOUBLE)
    padded = op.Pad(op.Cast(values, to=DOUBLE), pads, np.float64(0), [2])
    values_shape = op.Concat([0], [0], [-1], [SPAN], new.sizes.width, axis=0)
    values_by_span = op.Reshape(padded, values_shape)

    def term(inner: Builder, span: Value) -> Value:
        span_codes = inner.Gather(codes, span, axis=4)
        span_values = inner.Unsqueeze(inner.Gather(values_by_span, span, axis=2), [2])
        sums = inner.MatMul(span_codes, span_values)
        return inner.Mul(sums, inner.Gather(step, span, axis=4))

    start = op.Expand(np.float64(0), op.Shape(query))
    return steps.sum_in_order(op, op.Squeeze(spans), start, "B G H S D", term)
