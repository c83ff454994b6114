"""All operators of the domain in one list, and the functions that the export calls.

Knows the pages; knows no body, and no graph that uses the operators.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import onnx_ir as ir
import torch

from . import (
    experts,
    feed_forward,
    float_experts,
    gated,
    hadamard,
    head,
    int4_head,
    int6_head,
    norm,
    ternary,
    ternary_group,
    two_step,
)
from .attention import floats, int4, int8, qkv
from .domain import Operator

__all__ = ["OPERATORS", "bodies", "functions", "stock_functions", "translations"]

OPERATORS = (
    ternary.TernaryMatMul,
    head.Bf16MatMul,
    head.Int8MatMul,
    ternary_group.TernaryGroupMatMul,
    ternary_group.TernaryFloatMatMul,
    two_step.TwoStepMatMul,
    int4_head.Int6MatMul,
    int4_head.Int4MatMul,
    int6_head.TwoStepInt6MatMul,
    int4_head.TwoStepInt4MatMul,
    floats.GroupQueryAttention,
    floats.GroupQueryAttentionF16,
    int8.GroupQueryAttentionInt8,
    int4.GroupQueryAttentionInt4,
    qkv.GroupQueryAttentionQKV,
    qkv.GroupQueryAttentionF16QKV,
    qkv.GroupQueryAttentionInt8QKV,
    qkv.GroupQueryAttentionInt4QKV,
    norm.RMSNorm,
    norm.AddRMSNorm,
    feed_forward.TernaryGatedMatMul,
    feed_forward.TernaryColumnMatMul,
    feed_forward.TernaryFeedForward,
    ternary.TernaryNormMatMul,
    gated.GatedSilu,
    gated.GatedGelu,
    hadamard.Hadamard,
    experts.TernaryExperts,
    float_experts.Bf16Experts,
    float_experts.Int8Experts,
    float_experts.FloatExperts,
)
# For the target stock, where attention and the norm keep their usual bodies.
PACKED = (ternary.packed_form, head.packed_form, experts.packed_form)
UNPACKED = (ternary.unpacked_form, head.unpacked_form, experts.unpacked_form)
OTHERS = (
    head.bf16_form,
    head.Int8Rows,
    float_experts.bf16_form,
    float_experts.int8_form,
    float_experts.FloatExperts,
    floats.GroupQueryAttention,
    floats.GroupQueryAttentionF16,
    norm.RMSNorm,
    gated.GatedSilu,
    gated.GatedGelu,
    hadamard.Hadamard,
)


def bodies() -> dict[str, Callable[[], ir.Function]]:
    """Return name -> what builds the function of stock operators, for each operator."""
    return {operator.name: operator.function for operator in OPERATORS}


def functions() -> list[ir.Function]:
    """Build a function of stock operators for each operator of the domain."""
    return [build() for build in bodies().values()]


def stock_functions(packed: Collection[str]) -> list[ir.Function]:
    """Build the forms of the target stock; those named in ``packed`` keep their weights packed."""
    pairs = zip(PACKED, UNPACKED, strict=True)
    chosen = [one if one.name in packed else other for one, other in pairs]
    return [form.function() for form in (*chosen, *OTHERS)]


def translations() -> dict[Any, Callable[..., Any]]:
    """Return torch operator -> a function that adds its ONNX node to a traced graph.

    ``torch.onnx.export`` takes this as ``custom_translation_table``.
    """
    table = {torch.ops.bitnet.last_positions.default: head.last_positions_node}
    sharing: dict[Any, list[Operator]] = {}
    for operator in OPERATORS:
        if operator.torch_op is not None:
            sharing.setdefault(operator.torch_op, []).append(operator)
    return table | {torch_op: _translation(those) for torch_op, those in sharing.items()}


def _translation(operators: list[Operator]) -> Callable[..., Any]:
    def translate(*inputs: Any) -> Any:
        (chosen,) = (one for one in operators if one.takes is None or one.takes(*inputs))
        return chosen.traced(*inputs)

    return translate
