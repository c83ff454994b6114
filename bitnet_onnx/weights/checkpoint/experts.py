"""The experts of a folder: the two names of each tensor, and the shapes that scales may have.

Knows the names of transformers 4, which files have, and those of transformers 5's modules.
"""

from __future__ import annotations

from torch import Tensor

from ...network.parts import ExpertLinear

__all__ = ["expert_scales", "older_name", "scale_shapes", "written_scales"]

NEWER = {
    "block_sparse_moe.experts.gate_up_proj": "block_sparse_moe.input_linear.weight",
    "block_sparse_moe.experts.down_proj": "block_sparse_moe.output_linear.weight",
    "block_sparse_moe.router.weight": "block_sparse_moe.router.layer.weight",
}


def older_name(name: str) -> str:
    """Return the name that transformers 4 gives a tensor; this package has the same ones."""
    layer, dot, inner = name.partition("block_sparse_moe.")
    return f"{layer}{NEWER.get(f'{dot}{inner}', f'{dot}{inner}')}" if dot else name


def scale_shapes(linear: ExpertLinear) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that the scale of packed experts may have; the first one is written."""
    count, parts = linear.count, linear.parts
    one_each = ((count,), (count, 1), (count, 1, 1), (1,))
    return ((count, parts), *one_each) if parts > 1 else one_each


def expert_scales(stored: Tensor, linear: ExpertLinear) -> Tensor:
    """Return the scale of each expert and part, [count, parts]."""
    each = stored.float().reshape(1 if stored.numel() == 1 else linear.count, -1)
    return each.expand(linear.count, linear.parts).contiguous()


def written_scales(scale: Tensor) -> Tensor:
    """Return scales [count, parts] in the shape in which they are stored."""
    return scale.squeeze(1)  # which leaves two parts as they are
