"""The sizes of attention in a ``config.json``, and the bounds of all sizes.

Knows how transformers derives one size from another; knows no tensors.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import fields as read
from .records import RECORDS, Network

__all__ = ["MAX_FEATURES", "MAX_LAYERS", "MAX_VOCABULARY", "attention_sizes", "quantization_groups"]

# The sums of W1.58A8 stay exact in float32 while 128 * K <= 2**24.
MAX_FEATURES = 1 << 17
MAX_VOCABULARY = 1 << 24
MAX_LAYERS = 1024


def attention_sizes(fields: dict[str, Any], network: Network) -> tuple[int, int, int, int]:
    """Read hidden_size, num_attention_heads, num_key_value_heads and head_dim."""
    hidden = read.size(fields, "hidden_size", MAX_FEATURES)
    heads = read.size(fields, "num_attention_heads", MAX_FEATURES)
    kv_heads = read.size(fields, "num_key_value_heads", heads, default=heads)
    if heads % kv_heads:
        raise ConfigError(
            f"num_attention_heads is {heads}, expected a multiple of num_key_value_heads {kv_heads}"
        )
    if fields.get("head_dim") is None and network.head_dim is None and hidden % heads:
        raise ConfigError(
            f"hidden_size is {hidden}, expected a multiple of num_attention_heads {heads} "
            "where head_dim is not given"
        )
    default = network.head_dim or hidden // heads
    head_dim = read.size(fields, "head_dim", MAX_FEATURES, default=default)
    if head_dim % 2:
        raise ConfigError(f"head_dim is {head_dim}, expected an even number")
    width = heads * head_dim
    if network.attention_norm is not None and width != hidden:
        raise ConfigError(
            f"num_attention_heads * head_dim is {width}, expected hidden_size {hidden}: the norm "
            "before o_proj has hidden_size entries"
        )
    if width > MAX_FEATURES:
        raise ConfigError(
            f"num_attention_heads * head_dim is {width}, expected at most {MAX_FEATURES}"
        )
    return hidden, heads, kv_heads, head_dim


def quantization_groups(fields: dict[str, Any], network: Network, widths: dict[str, int]) -> int:
    """Read into how many equal parts K is split; only binary networks split it."""
    groups = read.size(fields, "quantization_groups", MAX_FEATURES, default=1)
    if groups > 1 and network.weights != "binary":
        binary = [n.model_type for n in RECORDS.values() if n.weights == "binary"]
        raise ConfigError(
            f"quantization_groups is {groups}, expected 1 for all but model_type {binary[0]!r}"
        )
    if any(width % groups for width in widths.values()):
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ConfigError(f"quantization_groups is {groups}, expected a divisor of: {listed}")
    return groups
