"""Activations of a gate, defined so that every implementation gives the same bits.

Knows tensors; knows no network. ``exact.py`` has SiLU and the sigmoid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .exact import sigmoid, silu

__all__ = ["CUBE", "DOUBLE", "Gated", "gelu"]

CUBE = 0.044715
DOUBLE = 1.5957691216057308  # 2 * sqrt(2 / pi)


def gelu(x: Tensor) -> Tensor:
    """Compute ``x / 2 * (1 + tanh(u))``, ``u = sqrt(2 / pi) * (x + 0.044715 x³)``, in float32.

    As ``x * sigmoid(2 u)``. transformers calls it ``gelu_pytorch_tanh``.
    """
    return x * sigmoid((x + x * x * x * CUBE) * DOUBLE)


class Gated(nn.Module):
    """``activation(gate) * up``, which the export replaces by an operator."""

    def __init__(self, activation: str) -> None:
        super().__init__()
        assert activation in ("silu", "gelu")
        self.activation = activation

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        if self.training:
            silu_ = self.activation == "silu"
            return (F.silu(gate) if silu_ else F.gelu(gate, approximate="tanh")) * up
        return (silu if self.activation == "silu" else gelu)(gate) * up
