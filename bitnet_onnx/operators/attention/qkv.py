"""The operators of attention with query, key and value side by side in the first input.

Their names end in QKV. The sizes are those of ``floats.py``.
"""

from __future__ import annotations

import torch
from onnx_ir import Value
from torch import Tensor

from ..domain import FLOAT, Attribute, Builder, Operator
from .floats import GroupQueryAttention, GroupQueryAttentionF16, group_query_attention
from .int4 import GroupQueryAttentionInt4
from .int8 import GroupQueryAttentionInt8, group_query_attention_int8
from .parts import width_of

__all__ = [
    "GroupQueryAttentionF16QKV",
    "GroupQueryAttentionInt4QKV",
    "GroupQueryAttentionInt8QKV",
    "GroupQueryAttentionQKV",
    "group_query_attention_qkv",
]

COS = 3  # the place of cos_cache among the inputs behind past_key


def group_query_attention_qkv(
    qkv: Tensor, past_key: Tensor, *others: Tensor, window: int = 0
) -> tuple[Tensor, ...]:
    """Attend as group_query_attention, with query, key and value of a position side by side.

    qkv [B, S, (heads + 2 kv_heads) * D]: the result of one projection to all three. A pass puts it
    in.
    """
    kv_width = past_key.shape[1] * 2 * others[COS].shape[1]
    parts = qkv.split([qkv.shape[2] - 2 * kv_width, kv_width, kv_width], dim=-1)
    scaled = past_key.dtype in (torch.int8, torch.uint8)
    attend = group_query_attention_int8 if scaled else group_query_attention
    return tuple(attend(*parts, past_key, *others, window=window))


def _joined(attention: Operator) -> Operator:
    def body(
        op: Builder, qkv: Value, past_key: Value, *others: Value | Attribute
    ) -> tuple[Value, ...]:
        *given, window = others
        whole = op.Shape(qkv, start=2)
        kv_width = op.Mul(op.Shape(past_key, start=1, end=2), width_of(op, given[COS]))
        query_width = op.Sub(op.Sub(whole, kv_width), kv_width)
        widths = op.Concat(query_width, kv_width, kv_width, axis=0)
        parts = op.Split(qkv, widths, axis=-1, _outputs=3)
        return op.call(attention, *parts, past_key, *given, window=window)

    _, _, _, *others = attention.inputs.items()
    inputs = {"qkv": FLOAT, **dict(others)}
    return Operator(f"{attention.name}QKV", inputs, attention.outputs, body, attention.attributes)


GroupQueryAttentionQKV = _joined(GroupQueryAttention)
GroupQueryAttentionF16QKV = _joined(GroupQueryAttentionF16)
GroupQueryAttentionInt8QKV = _joined(GroupQueryAttentionInt8)
GroupQueryAttentionInt4QKV = _joined(GroupQueryAttentionInt4)
