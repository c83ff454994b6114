"""TernaryExperts, a mixture of experts in one node: the router, and the k experts of each token.

Sizes: H features, E experts, I inner features of an expert, M tokens. The rows of gate come before
those of up. The formulas of routing are in ``model/exact.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from . import steps
from .domain import DOUBLE, FLOAT, UINT8, Attribute, Builder, operator
from .ternary import TernaryMatMul, ternary_matmul

__all__ = [
    "CHOSEN",
    "TernaryExperts",
    "gated",
    "limit_of",
    "mix",
    "mixture",
    "packed_form",
    "ternary_experts",
    "unpacked_form",
]

CHOSEN: Mapping[str, ir.AttributeType | ir.Attr] = {
    "k": ir.AttributeType.INT,
    "limit": ir.AttrFloat32("limit", 0.0),
}
Expert = Callable[[int, Tensor], Tensor]
"""``expert(number, x)`` gives ``down(silu(gate(x)) * up(x))`` of an expert for some tokens."""
ExpertBody = Callable[[Builder, Value, Value], Value]
"""The same in a body."""


@torch.library.custom_op("bitnet::ternary_experts", mutates_args=())
def ternary_experts(
    x: Tensor,
    router: Tensor,
    gate_up: Tensor,
    gate_up_scale: Tensor,
    down: Tensor,
    down_scale: Tensor,
    k: int,
    limit: float = 0.0,
) -> Tensor:
    """Compute ``sum over the k experts e of x: share_e * down_e(silu(gate_e(x)) * up_e(x))``.

    x [..., H], router [E, H], gate_up packed uint8 [E, 2 I, 64 * ceil(H / 256)], gate_up_scale
    [E, 2], down packed uint8 [E, H, 64 * ceil(I / 256)], down_scale [E] -> [..., H]. Each product
    is ``ternary_matmul``. The sum is float32; it starts from 0 and adds the lowest expert first.
    limit: that of ``exact.gated``.
    """

    def expert(number: int, tokens: Tensor) -> Tensor:
        gate, up = (
            ternary_matmul(tokens, rows, scale)
            for rows, scale in zip(
                gate_up[number].chunk(2), gate_up_scale[number].chunk(2), strict=True
            )
        )
        scale = down_scale[number : number + 1]
        return ternary_matmul(exact.gated(gate, up, limit), down[number], scale)

    return mixture(x, router, k, expert)


def mixture(x: Tensor, router: Tensor, k: int, expert: Expert) -> Tensor:
    """Route x [..., H], and add the experts' results, each times its share."""
    rows = x.reshape(-1, x.shape[-1])
    chosen, shares = exact.route(exact.product(rows, router), k)
    return exact.mixture(rows, chosen, shares, expert).view_as(x)


@ternary_experts.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)


@operator(
    inputs={
        "X": FLOAT,
        "router": FLOAT,
        "gate_up": UINT8,
        "gate_up_scale": FLOAT,
        "down": UINT8,
        "down_scale": FLOAT,
    },
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
    torch_op=torch.ops.bitnet.ternary_experts.default,
)
def TernaryExperts(op: Builder, x: Value, router: Value, *weights: Value | Attribute) -> Value:
    return _ternary(op, x, router, weights, lambda inner, *given: inner.call(TernaryMatMul, *given))


def _ternary(
    op: Builder,
    x: Value,
    router: Value,
    weights: tuple[Value | Attribute, ...],
    product: Callable[..., Any],
) -> Value:
    """Build the body; ``product(builder, x, w, scale)`` is that of TernaryMatMul."""
    gate_up, gate_up_scale, down, down_scale, k, limit = weights
    most = limit_of(op, limit)

    def expert(inner: Builder, number: Value, tokens: Value) -> Value:
        halves = [
            inner.Split(inner.Gather(part, number), axis=0, num_outputs=2, _outputs=2)
            for part in (gate_up, gate_up_scale)
        ]
        gate, up = (product(inner, tokens, w, scale) for w, scale in zip(*halves, strict=True))
        scale = inner.Gather(down_scale, inner.Unsqueeze(number, [0]))
        inside = gated(inner, gate, up, most)
        return product(inner, inside, inner.Gather(down, number), scale)

    return mix(op, x, router, k, expert)


def limit_of(op: Builder, limit: Any) -> Value:
    """Return the limit of gates, infinite where the attribute is 0."""
    given = op.Constant(value_float=limit)
    most: Value = op.Where(op.Greater(given, 0.0), given, np.float32(np.inf))
    return most


def gated(op: Builder, gate: Value, up: Value, most: Value) -> Value:
    """Compute ``model/exact.py``'s gated."""
    gate = op.Where(op.Greater(gate, most), most, gate)
    least = op.Neg(most)
    up = op.Where(op.Greater(up, most), most, op.Where(op.Less(up, least), least, up))
    return op.Mul(steps.silu(op, gate), up)


def mix(op: Builder, x: Value, router: Value, k: Value | Attribute, expert: ExpertBody) -> Value:
    """Route x, and add the experts in ascending order; a Loop visits those that a token chose."""
    rows = op.Flatten(x, axis=-1)
    wide = op.MatMul(
        op.Cast(rows, to=DOUBLE), op.Transpose(op.Cast(router, to=DOUBLE), perm=[1, 0])
    )
    logits = op.Cast(wide, to=FLOAT)
    chosen, shares = _route(op, logits, k)
    size = op.Shape(logits)
    places = op.ScatterElements(op.Expand(0.0, size), chosen, shares, axis=1)
    ones = op.Expand(1, op.Shape(chosen))
    picked = op.ScatterElements(op.Expand(0, size), chosen, ones, axis=1)
    used = op.Reshape(op.NonZero(op.ReduceSum(picked, [0], keepdims=0)), [-1])

    def step(inner: Builder, number: Value, total: Value) -> Value:
        e = inner.Gather(used, number)
        tokens = inner.Reshape(inner.NonZero(inner.Gather(picked, e, axis=1)), [-1])
        share = inner.Unsqueeze(inner.Gather(inner.Gather(places, e, axis=1), tokens), [-1])
        product = inner.Mul(expert(inner, e, inner.Gather(rows, tokens)), share)
        added = inner.Add(inner.Gather(total, tokens), product)
        return inner.ScatterND(total, inner.Unsqueeze(tokens, [-1]), added)

    count = op.Squeeze(op.Shape(used))
    total = steps.loop(op, count, op.Expand(0.0, op.Shape(rows)), "M H", step, FLOAT)
    return op.Reshape(total, op.Shape(x), allowzero=1)


def _route(op: Builder, logits: Value, k: Value | Attribute) -> tuple[Value, Value]:
    """Return the experts of each token int64 [M, k] and their shares float32 [M, k].

    TopK takes the lower of two experts with equal logits first. A NaN is ranked as an infinity, for
    which the shares are NaN.
    """
    ranked = op.Where(op.IsNaN(logits), np.float32(np.inf), logits)
    kept, chosen = op.TopK(ranked, op.Unsqueeze(op.Constant(value_int=k), [0]), axis=-1, _outputs=2)
    below = op.Sub(kept, op.ReduceMax(kept, [-1], keepdims=1))
    weights = op.Cast(steps.exponential(op, below), to=DOUBLE)
    return chosen, op.Cast(op.Div(weights, op.ReduceSum(weights, [-1], keepdims=1)), to=FLOAT)


# The weights of the chosen experts are unpacked in each call.
@operator(
    name="TernaryExperts",
    inputs=TernaryExperts.inputs,
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
)
def packed_form(op: Builder, x: Value, router: Value, *weights: Value | Attribute) -> Value:
    return _ternary(op, x, router, weights, TernaryMatMul.body)


# ONNX Runtime unpacks all experts to float32 once, at load.
@operator(
    name="TernaryExperts",
    inputs=TernaryExperts.inputs,
    outputs={"Y": FLOAT},
    attributes=CHOSEN,
)
def unpacked_form(
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
    features, inner_features = op.Shape(router, start=1), op.Shape(gate_up, start=1, end=2)
    gate_up = _floats(op, gate_up, features)
    down = _floats(op, down, op.Div(inner_features, 2))

    def product(inner: Builder, x: Value, w: Value, scale: Value) -> Value:
        quantized = steps.quantize(inner, x, -127.0, 127.0)
        sums = inner.MatMul(quantized.codes, inner.Transpose(w, perm=[1, 0]))
        return steps.rescale(inner, sums, scale, quantized)

    return _ternary(op, x, router, (gate_up, gate_up_scale, down, down_scale, k, limit), product)


def _floats(op: Builder, w: Value, features: Value) -> Value:
    """Unpack w uint8 [E, N, bytes] to weights float32 [E, N, K]; features int64 [1] is K."""
    size = op.Concat(op.Shape(w, start=0, end=2), [-1], axis=0)
    flat = op.Reshape(w, op.Concat([-1], op.Shape(w, start=2), axis=0))
    codes = op.Reshape(steps.unpack(op, flat), size)
    return op.Sub(op.Cast(op.Slice(codes, [0], features, [-1]), to=FLOAT), 1.0)
