"""The first BitNet (arXiv 2310.11453): binary weights, and a LayerNorm in each linear.

No checkpoint of it was published, and the paper leaves the body open: here it is LLaMA's, as in
the public reimplementations, and so are the tensor names; ``config.json`` has model_type
"bitnet_2023", LLaMA's fields, no quantization_config, and ``quantization_groups`` (1). The tensors
are float masters.
"""

from __future__ import annotations

from ..binary import BinaryLinear
from . import llama

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """LLaMA's, of binary linears."""

    linear = BinaryLinear


class MLP(llama.MLP):
    """LLaMA's, of binary linears."""

    linear = BinaryLinear
