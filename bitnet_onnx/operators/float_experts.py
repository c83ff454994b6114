"""Bf16Experts and Int8Experts: a mixture of experts whose weights are not ternary.

The sizes are those of ``experts.py``.
"""

from __future__ import annotations

import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from . import steps
from .domain import BFLOAT16, FLOAT, INT8, Attribute, Builder, Operator, operator
from .experts import CHOSEN, mix, mixture
from .head import Bf16MatMul, Int8MatMul, bf16_matmul, int8_matmul

__all__ = ["Bf16Experts", "Int8Experts", "bf16_experts", "int8_experts"]


@torch.library.custom_op("bitnet::bf16_experts", mutates_args=())
def bf16_experts(x: Tensor, router: Tensor, gate_up: Tensor, down: Tensor, k: int) -> Tensor:
    """Compute ``ternary_experts`` with the products of ``bf16_matmul``.

    gate_up bfloat16 [E, 2 I, H], down bfloat16 [E, H, I].
    """

    def expert(number: int, tokens: Tensor) -> Tensor:
        gate, up = bf16_matmul(tokens, gate_up[number]).chunk(2, dim=-1)
        return bf16_matmul(exact.silu(gate) * up, down[number])

    return mixture(x, router, k, expert)


@torch.library.custom_op("bitnet::int8_experts", mutates_args=())
def int8_experts(
    x: Tensor,
    router: Tensor,
    gate_up: Tensor,
    gate_up_scale: Tensor,
    down: Tensor,
    down_scale: Tensor,
    k: int,
) -> Tensor:
    """Compute ``ternary_experts`` with the products of ``int8_matmul``.

    gate_up int8 [E, 2 I, H], gate_up_scale [E, 2 I], down int8 [E, H, I], down_scale [E, H].
    """

    def expert(number: int, tokens: Tensor) -> Tensor:
        both = int8_matmul(tokens, gate_up[number], gate_up_scale[number])
        gate, up = both.chunk(2, dim=-1)
        return int8_matmul(exact.silu(gate) * up, down[number], down_scale[number])

    return mixture(x, router, k, expert)


@bf16_experts.register_fake
@int8_experts.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)


@operator(
    inputs={"X": FLOAT, "router": FLOAT, "gate_up": BFLOAT16, "down": BFLOAT16},
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
    torch_op=torch.ops.bitnet.bf16_experts.default,
)
def Bf16Experts(
    op: Builder, x: Value, router: Value, gate_up: Value, down: Value, k: Attribute
) -> Value:
    return _plain(op, x, router, [gate_up], [down], k, Bf16MatMul)


@operator(
    inputs={
        "X": FLOAT,
        "router": FLOAT,
        "gate_up": INT8,
        "gate_up_scale": FLOAT,
        "down": INT8,
        "down_scale": FLOAT,
    },
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
    torch_op=torch.ops.bitnet.int8_experts.default,
)
def Int8Experts(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: Value,
    gate_up_scale: Value,
    down: Value,
    down_scale: Value,
    k: Attribute,
) -> Value:
    return _plain(op, x, router, [gate_up, gate_up_scale], [down, down_scale], k, Int8MatMul)


def _plain(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: list[Value],
    down: list[Value],
    k: Attribute,
    called: Operator,
) -> Value:
    """Build a body whose products are those of ``called``; a matrix comes with its scales."""

    def expert(inner: Builder, number: Value, tokens: Value) -> Value:
        both = inner.call(called, tokens, *(inner.Gather(part, number) for part in gate_up))
        gate, up = inner.Split(both, axis=-1, num_outputs=2, _outputs=2)
        inside = inner.Mul(steps.silu(inner, gate), up)
        return inner.call(called, inside, *(inner.Gather(part, number) for part in down))

    return mix(op, x, router, k, expert)
