"""The GELU that is computed with tanh, defined so that every implementation gives the same bits.

Knows tensors; knows no network. transformers calls it ``gelu_pytorch_tanh``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .exact import exponential

__all__ = ["CUBE", "DOUBLE", "Gelu", "gelu"]

CUBE = 0.044715
DOUBLE = 1.5957691216057308  # 2 * sqrt(2 / pi)


def gelu(x: Tensor) -> Tensor:
    """Compute ``x / 2 * (1 + tanh(u))``, ``u = sqrt(2 / pi) * (x + 0.044715 x³)``, in float32.

    As ``x * sigmoid(2 u)``: with ``e = exponential(-|2 u|)``, the sigmoid is ``1 / (1 + e)`` where
    2 u is 0 or above, and ``e / (1 + e)`` below. Each operation is rounded.
    """
    double = (x + x * x * x * CUBE) * DOUBLE
    e = exponential(-double.abs())
    return x * (torch.where(double < 0, e, 1.0) / (1.0 + e))


class Gelu(nn.Module):
    """``gelu``, which the export replaces by an operator."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh") if self.training else gelu(x)
