"""TriLM: LLaMA with ternary weights, a scale for each part of a matrix, and float activations.

Source: arXiv 2407.12327; transformers' ``LlamaForCausalLM`` computes with the dequantized weights.
"""

from __future__ import annotations

from ..grouped import GroupLinear
from . import llama

__all__ = ["MLP", "Attention"]


class Attention(llama.Attention):
    """LLaMA's attention with linears of group scales."""

    linear = GroupLinear


class MLP(llama.MLP):
    """LLaMA's feed-forward with linears of group scales."""

    linear = GroupLinear
