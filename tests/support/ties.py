"""Rounding ties between two computations of one network, in batches with padding.

``verification.reference.TieBreaker`` settles them; here are the recording of one side's activations
and the rows that count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitnet_onnx.verification.reference import TieBreaker
from bitnet_onnx.weights.ternary import absmax_int8


class Settled(TieBreaker):
    """A TieBreaker that looks only at the positions that ``rows`` [B, S] marks, if it is set.

    ``apart_as_is`` counts what transformers, left alone, would have rounded apart: it multiplies
    by another scale than ours, 127 * (1 / max) for 127 / max, so these are more than ``ties``.
    """

    rows: Tensor | None = None
    apart_as_is = 0

    def _settle(self, name: str, x: Tensor) -> Tensor:
        inputs = self._inputs
        if inputs is None:
            return x
        other = torch.from_numpy(inputs[name])
        if self.rows is not None:
            other = torch.where(self.rows.unsqueeze(-1), other, x)
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        self.apart_as_is += int(((x * scale).round() != absmax_int8(other)[0]).sum())
        self._inputs = {name: other.numpy()}
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
