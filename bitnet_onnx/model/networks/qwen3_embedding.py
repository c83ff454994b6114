"""BitNet embedding 0.6B: Qwen3's body without a head, with a norm inside each linear.

Sources: microsoft/BitNet's converter, which names the tensors, and transformers' ``Qwen3Model``.
"""

from __future__ import annotations

from . import qwen3

__all__ = ["MLP", "Attention"]


class Attention(qwen3.Attention):
    """Qwen3's attention."""


class MLP(qwen3.MLP):
    """Qwen3's feed-forward."""
