"""GatedSilu and GatedGelu: the activation of a gate times another linear's result.

ONNX's own Sigmoid and Gelu round differently from one machine to the next. These do not.
"""

from __future__ import annotations

import torch
from onnx_ir import Value
from torch import Tensor

from ..model import exact
from ..model.gated import CUBE, DOUBLE, gelu
from . import steps
from .domain import FLOAT, Builder, operator

__all__ = ["GatedGelu", "GatedSilu", "gated_gelu", "gated_silu"]


@torch.library.custom_op("bitnet::gated_silu", mutates_args=())
def gated_silu(gate: Tensor, up: Tensor) -> Tensor:
    """Compute ``silu(gate) * up``, both float32 of one shape. See ``model/exact.py``."""
    return exact.silu(gate) * up


@gated_silu.register_fake
def _(gate: Tensor, up: Tensor) -> Tensor:
    return torch.empty_like(gate)


@operator(
    inputs={"gate": FLOAT, "up": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.gated_silu.default,
)
def GatedSilu(op: Builder, gate: Value, up: Value) -> Value:
    return op.Mul(steps.silu(op, gate), up)


@torch.library.custom_op("bitnet::gated_gelu", mutates_args=())
def gated_gelu(gate: Tensor, up: Tensor) -> Tensor:
    """Compute ``gelu(gate) * up``, both float32 of one shape. See ``model/gated.py``."""
    return gelu(gate) * up


@gated_gelu.register_fake
def _(gate: Tensor, up: Tensor) -> Tensor:
    return torch.empty_like(gate)


@operator(
    inputs={"gate": FLOAT, "up": FLOAT},
    outputs={"Y": FLOAT},
    torch_op=torch.ops.bitnet.gated_gelu.default,
)
def GatedGelu(op: Builder, gate: Value, up: Value) -> Value:
    cube = op.Mul(op.Mul(op.Mul(gate, gate), gate), CUBE)
    share = steps.sigmoid(op, op.Mul(op.Add(gate, cube), DOUBLE))
    return op.Mul(op.Mul(gate, share), up)
