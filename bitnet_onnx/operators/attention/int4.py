"""GroupQueryAttentionInt4: attention whose cache holds packed int4 codes, and scales as int8's.

In torch it is ``int8.py``'s operator with caches uint8 [B, kv_heads, P, 17 ceil(D / 32)];
D is twice the width of the tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx_ir import Value

from ...artifact import CACHE_BLOCK, CACHE_BLOCK_BYTES
from ...model.int4 import GROUP, LEAST
from .. import steps
from ..domain import FLOAT, UINT8, Builder, operator
from .floats import WINDOW
from .int8 import Form, attend_integers, quantize, scaled_inputs, scaled_outputs
from .parts import width_of

__all__ = ["GroupQueryAttentionInt4"]

COS = 7  # the place of cos_cache among the inputs


@operator(
    inputs=scaled_inputs(UINT8),
    outputs=scaled_outputs(UINT8),
    attributes=WINDOW,
    torch_op=torch.ops.bitnet.group_query_attention_int8.default,
    takes=lambda *inputs: inputs[3].dtype == UINT8,
)
def GroupQueryAttentionInt4(op: Builder, *inputs: Any) -> tuple[Value, ...]:
    width = width_of(op, inputs[COS])
    block = op.Squeeze(op.BitwiseAnd(width, op.Neg(width)))

    def keep(x: Value) -> tuple[Value, Value]:
        codes, step = quantize(op, steps.butterflies(op, x, block), 127.0)
        return _pack(op, codes, width), step

    def turned_back(x: Value) -> Value:
        return op.Div(steps.butterflies(op, x, block), op.Cast(block, to=FLOAT))

    form = Form(np.uint8, keep, lambda cache: _held(op, cache, width), turned_back)
    return attend_integers(op, *inputs, form=form)


def _pack(op: Builder, codes: Value, width: Value) -> Value:
    """Compute ``model/int4.py``'s ``packed`` of codes float32 [B, kv_heads, S, D]."""
    missing = op.Mod(op.Neg(width), [CACHE_BLOCK])
    whole = op.Pad(codes, op.Concat([0], missing, axis=0), 0.0, [-1])
    groups = op.Reshape(whole, [0, 0, 0, -1, 2, GROUP])
    peak = op.ReduceMax(op.Abs(groups), [-1], keepdims=1)
    least = op.Floor(op.Div(op.Mul(peak, 2.0), 15.0))
    times = op.Max(op.Add(least, 1.0), float(LEAST))
    fours = op.Add(op.Round(op.Div(groups, times)), 8.0)
    both = op.Concat(fours, op.Sub(times, float(LEAST)), axis=-1)
    low, high = op.Split(both, axis=4, num_outputs=2, _outputs=2)
    packed = op.Cast(op.Add(low, op.Mul(high, 16.0)), to=UINT8)
    return op.Reshape(packed, [0, 0, 0, -1])


def _held(op: Builder, cache: Value, width: Value) -> Value:
    """Compute ``model/int4.py``'s ``held_int4`` of rows, float32."""
    blocks = op.Reshape(cache, [0, 0, 0, -1, 1, CACHE_BLOCK_BYTES])
    low = op.BitwiseAnd(blocks, np.uint8(15))
    high = op.BitShift(blocks, np.uint8(4), direction="RIGHT")
    halves = op.Cast(op.Concat(low, high, axis=4), to=FLOAT)
    codes, times = op.Split(halves, [GROUP, 1], axis=-1, _outputs=2)
    products = op.Mul(op.Sub(codes, 8.0), op.Add(times, float(LEAST)))
    whole = op.Reshape(op.Max(products, -128.0), [0, 0, 0, -1])
    return op.Slice(whole, [0], width, [3])
