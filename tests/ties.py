"""Rounding ties between two computations of one network, in batches with padding.

``bitnet_onnx.reference.TieBreaker`` settles them; here are the recording of one side's activations
and the rows that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitnet_onnx.reference import TieBreaker


class Settled(TieBreaker):
    """A TieBreaker that looks only at the positions that ``rows`` [B, S] marks, if it is set."""

    rows: Tensor | None = None

    def _settle(self, name: str, x: Tensor) -> Tensor:
        inputs = self._inputs
        if inputs is None or self.rows is None:
            return super()._settle(name, x)
        other = torch.from_numpy(inputs[name])
        self._inputs = {name: torch.where(self.rows.unsqueeze(-1), other, x).numpy()}
        try:
            return super()._settle(name, x)
        finally:
            self._inputs = inputs


@contextmanager
def recorded(network: nn.Module, linears: list[str]) -> Iterator[dict[str, np.ndarray]]:
    """By the linear's name, what went into it last."""
    inputs: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        return lambda linear, args: inputs.__setitem__(name, args[0].numpy())

    hooks = [network.get_submodule(name).register_forward_pre_hook(keep(name)) for name in linears]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
