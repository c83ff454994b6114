"""The first BitNet (arXiv 2310.11453): binary weights, and a LayerNorm in each linear.

No checkpoint was published, and the paper leaves the body open. Here the body and the tensor names
are LLaMA's, as in public reimplementations. ``config.json`` has model_type "bitnet_2023", LLaMA's
fields, no quantization_config, and ``quantization_groups`` (default 1). Tensors are float masters.
"""

from __future__ import annotations

from . import llama

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """LLaMA's attention."""


class MLP(llama.MLP):
    """LLaMA's feed-forward."""
