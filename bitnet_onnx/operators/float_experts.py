"""Bf16Experts, Int8Experts and FloatExperts: a mixture of experts whose weights are not ternary.

The sizes are those of ``experts.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from .domain import BFLOAT16, FLOAT, INT8, Attribute, Builder, Operator, operator
from .experts import CHOSEN, gated, limit_of, mix, mixture
from .head import Bf16MatMul, Int8MatMul, bf16_matmul, int8_matmul

__all__ = [
    "Bf16Experts",
    "FloatExperts",
    "Int8Experts",
    "bf16_experts",
    "bf16_form",
    "float_experts",
    "int8_experts",
    "int8_form",
]


Product = Callable[..., Any]


@torch.library.custom_op("bitnet::bf16_experts", mutates_args=())
def bf16_experts(
    x: Tensor, router: Tensor, gate_up: Tensor, down: Tensor, k: int, limit: float = 0.0
) -> Tensor:
    """Compute ``ternary_experts`` with the products of ``bf16_matmul``.

    gate_up bfloat16 [E, 2 I, H], down bfloat16 [E, H, I].
    """

    def expert(number: int, tokens: Tensor) -> Tensor:
        gate, up = bf16_matmul(tokens, gate_up[number]).chunk(2, dim=-1)
        return bf16_matmul(exact.gated(gate, up, limit), down[number])

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
    limit: float = 0.0,
) -> Tensor:
    """Compute ``ternary_experts`` with the products of ``int8_matmul``.

    gate_up int8 [E, 2 I, H], gate_up_scale [E, 2 I], down int8 [E, H, I], down_scale [E, H].
    """

    def expert(number: int, tokens: Tensor) -> Tensor:
        both = int8_matmul(tokens, gate_up[number], gate_up_scale[number])
        gate, up = both.chunk(2, dim=-1)
        return int8_matmul(exact.gated(gate, up, limit), down[number], down_scale[number])

    return mixture(x, router, k, expert)


@torch.library.custom_op("bitnet::float_experts", mutates_args=())
def float_experts(
    x: Tensor, router: Tensor, gate_up: Tensor, down: Tensor, k: int, limit: float = 0.0
) -> Tensor:
    """Compute ``bf16_experts`` with float32 weights; ONNX Runtime's own products are not exact."""

    def expert(number: int, tokens: Tensor) -> Tensor:
        gate, up = exact.product(tokens, gate_up[number]).chunk(2, dim=-1)
        return exact.product(exact.gated(gate, up, limit), down[number])

    return mixture(x, router, k, expert)


@float_experts.register_fake
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
    op: Builder,
    x: Value,
    router: Value,
    gate_up: Value,
    down: Value,
    k: Attribute,
    limit: Attribute,
) -> Value:
    return _plain(op, x, router, [gate_up], [down], (k, limit), _called(Bf16MatMul))


# It has no kernel: float32 weights are for comparisons.
@operator(
    inputs={"X": FLOAT, "router": FLOAT, "gate_up": FLOAT, "down": FLOAT},
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
    torch_op=torch.ops.bitnet.float_experts.default,
)
def FloatExperts(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: Value,
    down: Value,
    k: Attribute,
    limit: Attribute,
) -> Value:
    return _plain(op, x, router, [gate_up], [down], (k, limit), _multiply)


# ONNX Runtime makes the float32 weights once, at load.
@operator(name="Bf16Experts", inputs=Bf16Experts.inputs, outputs={"Y": FLOAT}, attributes=CHOSEN)
def bf16_form(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: Value,
    down: Value,
    k: Attribute,
    limit: Attribute,
) -> Value:
    wide = [op.Cast(gate_up, to=FLOAT)], [op.Cast(down, to=FLOAT)]
    return _plain(op, x, router, *wide, (k, limit), _multiply)


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
    limit: Attribute,
) -> Value:
    parts = [gate_up, gate_up_scale], [down, down_scale]
    return _plain(op, x, router, *parts, (k, limit), _called(Int8MatMul))


@operator(name="Int8Experts", inputs=Int8Experts.inputs, outputs={"Y": FLOAT}, attributes=CHOSEN)
def int8_form(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: Value,
    gate_up_scale: Value,
    down: Value,
    down_scale: Value,
    k: Attribute,
    limit: Attribute,
) -> Value:
    parts = [gate_up, gate_up_scale], [down, down_scale]
    return _plain(op, x, router, *parts, (k, limit), Int8MatMul.body)


def _called(operator: Operator) -> Product:
    """Return the product that is a node of another operator of the domain."""
    return lambda op, *inputs: op.call(operator, *inputs)


def _multiply(op: Builder, x: Value, weight: Value) -> Value:
    """Multiply x [T, K] by a float32 weight [N, K]."""
    return op.MatMul(x, op.Transpose(weight, perm=[1, 0]))


def _plain(
    op: Builder,
    x: Value,
    router: Value,
    gate_up: list[Value],
    down: list[Value],
    given: tuple[Attribute, Attribute],
    product: Product,
) -> Value:
    """Build a body; ``product(builder, x, matrix, ...)`` takes a matrix with its scales.

    given: k and the limit.
    """
    k, limit = given
    most = limit_of(op, limit)

    def expert(inner: Builder, number: Value, tokens: Value) -> Value:
        both = product(inner, tokens, *(inner.Gather(part, number) for part in gate_up))
        gate, up = inner.Split(both, axis=-1, num_outputs=2, _outputs=2)
        inside = gated(inner, gate, up, most)
        return product(inner, inside, *(inner.Gather(part, number) for part in down))

    return mix(op, x, router, k, expert)
