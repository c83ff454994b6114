"""All operators of the domain in one list: their functions, their nodes, their stock forms."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import onnx_ir as ir
import torch

from . import (
    attention,
    attention_int8,
    attention_qkv,
    feed_forward,
    head,
    norm,
    positions,
    ternary,
    ternary_group,
    two_step,
)
from .domain import Operator

__all__ = ["OPERATORS", "functions", "stock_functions", "translations"]

OPERATORS = (
    ternary.TernaryMatMul,
    head.Bf16MatMul,
    head.Int8MatMul,
    ternary_group.TernaryGroupMatMul,
    ternary_group.TernaryFloatMatMul,
    two_step.TwoStepMatMul,
    attention.GroupQueryAttention,
    attention.GroupQueryAttentionF16,
    attention_int8.GroupQueryAttentionInt8,
    attention_qkv.GroupQueryAttentionQKV,
    attention_qkv.GroupQueryAttentionF16QKV,
    attention_qkv.GroupQueryAttentionInt8QKV,
    norm.RMSNorm,
    norm.AddRMSNorm,
    feed_forward.TernaryGatedMatMul,
    feed_forward.TernaryColumnMatMul,
    feed_forward.TernaryFeedForward,
    ternary.TernaryNormMatMul,
)
# For the target stock. Attention and the norm have their own bodies there too.
PACKED = (ternary.packed_form, head.packed_form)
UNPACKED = (ternary.unpacked_form, head.unpacked_form)
OTHERS = (
    head.bf16_form,
    head.Int8Rows,
    attention.GroupQueryAttention,
    attention.GroupQueryAttentionF16,
    norm.RMSNorm,
)


def functions() -> list[ir.Function]:
    """Build a function of stock operators for each operator of the domain."""
    return [operator.function() for operator in OPERATORS]


def stock_functions(packed: Collection[str]) -> list[ir.Function]:
    """Build what stands in place of our operators, of which ``packed`` are so named."""
    pairs = zip(PACKED, UNPACKED, strict=True)
    chosen = [one if one.name in packed else other for one, other in pairs]
    return [form.function() for form in (*chosen, *OTHERS)]


def translations() -> dict[Any, Callable[..., Any]]:
    """torch operator -> a function that builds its ONNX node, for ``torch.onnx.export``."""
    table = {torch.ops.bitnet.last_positions.default: positions.last_positions_node}
    sharing: dict[Any, list[Operator]] = {}
    for operator in OPERATORS:
        if operator.torch_op is not None:
            sharing.setdefault(operator.torch_op, []).append(operator)
    return table | {torch_op: _translation(those) for torch_op, those in sharing.items()}


def _translation(operators: list[Operator]) -> Callable[..., Any]:
    def translate(*inputs: Any) -> Any:
        (chosen,) = (one for one in operators if one.takes is None or one.takes(*inputs))
        return chosen.node(*inputs)

    return translate
