"""Resolve rounding ties between two computations of one network, in batches with padding.

``verification.reference.TieBreaker`` resolves them; this file records one side's activations and
masks padded positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitnet_onnx.verification.reference import TieBreaker


class MaskedTieBreaker(TieBreaker):
    """A TieBreaker that compares only the positions that ``rows`` [B, S] marks, if it is set."""

    rows: Tensor | None = None

    def _resolve(self, name: str, x: Tensor) -> Tensor:
        inputs = self._inputs
        if inputs is None:
            return x
        other = torch.from_numpy(inputs[name])
        if self.rows is not None:
            other = torch.where(self.rows.unsqueeze(-1), other, x)
        self._inputs = {name: other.numpy()}
        try:
            return super()._resolve(name, x)
        finally:
            self._inputs = inputs


@contextmanager
def recorded(network: nn.Module, linears: list[str]) -> Iterator[dict[str, np.ndarray]]:
    """Record what each linear quantized last, by its name, in a with block."""
    inputs: dict[str, np.ndarray] = {}

    def hooked(name: str, linear: Any) -> Any:
        def keep(_: Any, args: Any, output: Tensor | None = None) -> None:
            inputs[name] = (args[0] if output is None else output).numpy()

        norm = getattr(linear, "rms_norm", None)
        if norm is None:
            return linear.register_forward_pre_hook(keep)
        return norm.register_forward_hook(keep)

    hooks = [hooked(name, network.get_submodule(name)) for name in linears]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
