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
    """Return a new linear of the config's kind; only a float one has a bias."""
    if config.float_linears:
        return FloatLinear(in_features, out_features, bias)
    assert not bias
    kind = BitLinear
    if config.record.weights == "binary":
        kind = BinaryLinear
    elif config.group_size is not None:
        kind = GroupLinear
    return kind(in_features, out_features, config)
