"""Which linear a config asks for.

Knows the classes of linears; knows no network.
"""

from __future__ import annotations

from typing import Any

from ..network.config import BitNetConfig
from .binary import BinaryLinear
from .grouped import GroupLinear
from .layers import BitLinear, FloatLinear

__all__ = ["linear"]


def linear(config: BitNetConfig, in_features: int, out_features: int, bias: bool = False) -> Any:
    """Return a new linear of the config's kind; binary ones and those of groups have no bias."""
    if config.float_linears:
        return FloatLinear(in_features, out_features, bias)
    if config.record.weights != "binary" and config.group_size is None:
        return BitLinear(in_features, out_features, config, bias)
    assert not bias
    kind = BinaryLinear if config.record.weights == "binary" else GroupLinear
    return kind(in_features, out_features, config)
