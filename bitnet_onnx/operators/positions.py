"""last_positions: the positions whose logits are computed; in ONNX one Slice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .domain import OPSET

__all__ = ["last_positions", "last_positions_node"]


@torch.library.custom_op("bitnet::last_positions", mutates_args=())
def last_positions(x: Tensor, count: Tensor) -> Tensor:
    """Return the last ``count`` (int64 [1]) positions of x [B, S, H]; 0 means all positions."""
    return x[:, -int(count) :].clone()


@last_positions.register_fake
def _(x: Tensor, count: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], torch.library.get_ctx().new_dynamic_size(), x.shape[2])


def last_positions_node(x: Any, count: Any) -> Any:
    """Add the Slice to the graph that ``torch.onnx.export`` is tracing."""
    from onnxscript import values  # takes 0.2 seconds, and only tracing needs it

    op = values.Opset("", OPSET)
    end, axis = torch.iinfo(torch.int64).max, 1
    return op.Slice(x, op.Neg(count), op.Constant(value_ints=[end]), op.Constant(value_ints=[axis]))
