"""The operator domain ``bitnet``: one page for each family of operators.

A page has, for each operator in turn, its computation in torch (the specification), its ONNX
schema, its body of stock operators with the same bits, and its form for the export target
``stock``. ``domain`` defines an operator. ``steps``, ``blocks`` and ``attention/parts`` hold common
parts of bodies. ``catalog`` lists all operators.
"""

from __future__ import annotations

from .attention.floats import group_query_attention
from .attention.int8 import group_query_attention_int8
from .attention.qkv import group_query_attention_qkv
from .blocks import FEATURES, LANES
from .catalog import bodies, functions, stock_functions, translations
from .domain import DOMAIN, OPSET, VERSION
from .experts import ternary_experts
from .feed_forward import ternary_feed_forward
from .float_experts import bf16_experts, float_experts, int8_experts
from .gated import gated_gelu, gated_silu
from .hadamard import hadamard
from .head import bf16_matmul, int8_matmul, last_positions
from .int4_head import level_matmul, two_step_int4_matmul
from .int6_head import split_slack, two_step_int6_matmul
from .norm import add_rms_norm, rms_norm
from .ternary import ternary_matmul, ternary_norm_matmul
from .ternary_group import ternary_float_matmul
from .two_step import KEPT, scan_slack, two_step_matmul

__all__ = [
    "DOMAIN",
    "FEATURES",
    "KEPT",
    "LANES",
    "OPSET",
    "VERSION",
    "add_rms_norm",
    "bf16_experts",
    "bf16_matmul",
    "bodies",
    "float_experts",
    "functions",
    "gated_gelu",
    "gated_silu",
    "group_query_attention",
    "group_query_attention_int8",
    "group_query_attention_qkv",
    "hadamard",
    "int8_experts",
    "int8_matmul",
    "last_positions",
    "level_matmul",
    "rms_norm",
    "scan_slack",
    "split_slack",
    "stock_functions",
    "ternary_experts",
    "ternary_feed_forward",
    "ternary_float_matmul",
    "ternary_matmul",
    "ternary_norm_matmul",
    "translations",
    "two_step_int4_matmul",
    "two_step_int6_matmul",
    "two_step_matmul",
]
