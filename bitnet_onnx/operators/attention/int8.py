"""GroupQueryAttentionInt8: attention whose cache holds int8 codes and a scale for each position.

Its operator in torch and the steps of its body also serve ``int4.py``. The sizes are
those of ``floats.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from onnx_ir import DataType, Value
from torch import Tensor

from ...model.exact import SPAN, attention_int8, kept_int8
from ...model.int4 import attention_int4, kept_int4
from ...weights.ternary import EPSILON, INT16_PEAK, SMALLEST
from .. import steps
from ..domain import DOUBLE, FLOAT, INT8, Attribute, Builder, operator
from .floats import WINDOW, appended, inputs_with, rotated, seen_by
from .parts import Rotated, join_heads, multiply_keys, rotate_new, softmax

__all__ = [
    "Form",
    "GroupQueryAttentionInt8",
    "attend_integers",
    "group_query_attention_int8",
    "quantize",
    "scaled_inputs",
    "scaled_outputs",
]

SCALES = ("key_scale", "value_scale")


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
    most 512. The formulas are in ``model/exact.py``: sums of integers, in any order. Where caches
    are uint8, they hold packed rows, and the formulas are in ``model/int4.py``.
    """
    packed = past_key.dtype == torch.uint8
    keep, attend = (kept_int4, attention_int4) if packed else (kept_int8, attention_int8)
    query, new, positions = rotated(query, key, value, seqlens_k, cos_cache, sin_cache)
    (keys, key_scales), (values, value_scales) = (
        (
            appended(cache, codes, positions, total_sequence_length),
            appended(scales, scale, positions, total_sequence_length),
        )
        for cache, scales, (codes, scale) in zip(
            (past_key, past_value),
            (past_key_scale, past_value_scale),
            map(keep, new),
            strict=True,
        )
    )
    seen = seen_by(keys, positions, window)
    y = attend(query, keys, values, key_scales, value_scales, seen)
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


def scaled_inputs(cache: DataType) -> dict[str, DataType]:
    """Return the inputs of attention with caches of this type and their scales."""
    return inputs_with(cache) | {f"past_{name}": FLOAT for name in SCALES}


def scaled_outputs(cache: DataType) -> dict[str, DataType]:
    """Return its outputs."""
    codes = {f"present_{name}": cache for name in ("key", "value")}
    return {"output": FLOAT, **codes} | {f"present_{name}": FLOAT for name in SCALES}


@operator(
    inputs=scaled_inputs(INT8),
    outputs=scaled_outputs(INT8),
    attributes=WINDOW,
    torch_op=torch.ops.bitnet.group_query_attention_int8.default,
    takes=lambda *inputs: inputs[3].dtype == INT8,
)
def GroupQueryAttentionInt8(op: Builder, *inputs: Value | Attribute) -> tuple[Value, ...]:
    def keep(x: Value) -> tuple[Value, Value]:
        codes, step = quantize(op, x, 127.0)
        return op.Cast(codes, to=INT8), step

    return attend_integers(op, *inputs, form=Form(np.int8, keep, op.Identity, op.Identity))


class Form(NamedTuple):
    """How a cache holds keys and values."""

    dtype: type[np.generic]
    keep: Callable[[Value], tuple[Value, Value]]
    """x float32 [B, kv_heads, S, D] -> rows of the cache, and their steps [B, kv_heads, S, 1]."""
    held: Callable[[Value], Value]
    """A cache -> the integers that it stands for [B, kv_heads, L, D]."""
    turned_back: Callable[[Value], Value]
    """Queries -> those in the basis of the keys, and results in that of the values -> results."""


def attend_integers(
    op: Builder,
    query: Any,
    key: Any,
    value: Any,
    past_key: Any,
    past_value: Any,
    seqlens_k: Any,
    total_sequence_length: Any,
    cos_cache: Any,
    sin_cache: Any,
    past_key_scale: Any,
    past_value_scale: Any,
    window: Any,
    *,
    form: Form,
) -> tuple[Value, ...]:
    """Build the body for a form of the cache."""
    new = rotate_new(
        op, query, key, value, past_key, seqlens_k, total_sequence_length, cos_cache, sin_cache
    )
    (key_kept, key_step), (value_kept, value_step) = form.keep(new.key), form.keep(new.value)
    zeros = op.ConstantOfShape(new.missing_shape, value=np.zeros(1, form.dtype))
    key_room, value_room = (op.Concat(past, zeros, axis=2) for past in (past_key, past_value))
    present_key = op.ScatterElements(key_room, new.places, key_kept, axis=2)
    present_value = op.ScatterElements(value_room, new.places, value_kept, axis=2)
    key_scale, value_scale = _append_scales(
        op, (past_key_scale, past_value_scale), (key_step, value_step), new
    )

    query_codes, query_step = quantize(op, form.turned_back(new.query), INT16_PEAK)
    wide_query = op.Cast(query_codes, to=DOUBLE)
    products = multiply_keys(op, wide_query, form.held(present_key))
    by_key = op.Mul(products, op.Unsqueeze(key_scale, [2, 3]))
    soft = softmax(op, op.Mul(by_key, op.Div(query_step, new.root)), new, window)

    shares = op.Mul(soft.weights, op.Unsqueeze(value_scale, [2, 3]))
    shares = op.Where(soft.seen, shares, 0.0)
    blended = _blend(op, shares, form.held(present_value), wide_query, new)
    output = form.turned_back(join_heads(op, blended, soft.sums, new.sizes))
    return output, present_key, present_value, key_scale, value_scale


def quantize(op: Builder, x: Value, peak: float, smallest: float = EPSILON) -> tuple[Value, Value]:
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
    codes, step = quantize(op, by_span, INT16_PEAK, SMALLEST)
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
