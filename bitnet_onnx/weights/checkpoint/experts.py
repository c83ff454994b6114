"""The experts of a folder: the two names of each tensor, and the shapes that scales may have.

Knows the names of transformers 4, which files have, and those of transformers 5's modules.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...network.parts import MIXTURE, ExpertLinear, Parts

__all__ = [
    "Shapes",
    "expert_scales",
    "joined",
    "joined_name",
    "older_name",
    "pieces_of",
    "scale_shapes",
    "written_scales",
]

NEWER = {
    "block_sparse_moe.experts.gate_up_proj": "block_sparse_moe.input_linear.weight",
    "block_sparse_moe.experts.down_proj": "block_sparse_moe.output_linear.weight",
    "block_sparse_moe.router.weight": "block_sparse_moe.router.layer.weight",
}
# The names of a file in which experts are separate, as Maple's are, and those here.
SEPARATE = {
    "model.word_embeddings.": "model.embed_tokens.",
    ".mlp.gate.": f".{MIXTURE}.router.layer.",
}
PIECES = {2: ("gate_proj", "up_proj"), 1: ("down_proj",)}


def older_name(name: str) -> str:
    """Return the name that transformers 4 gives a tensor; this package has the same ones."""
    layer, dot, inner = name.partition("block_sparse_moe.")
    return f"{layer}{NEWER.get(f'{dot}{inner}', f'{dot}{inner}')}" if dot else name


def joined_name(name: str) -> str:
    """Return this package's name of a tensor of a network whose experts are separate in files."""
    for theirs, ours in SEPARATE.items():
        name = name.replace(theirs, ours)
    return name


Shapes = tuple[tuple[int, ...], ...]
Pieces = list[list[str]]
"""The names in files of the parts of each expert's matrix, parts of the rows in turn."""


def pieces_of(parts: Parts) -> dict[str, Pieces]:
    """Return the pieces of each weight of experts that are separate in files."""
    return {f"{name}.weight": _pieces(linear) for name, linear in parts.experts.items()}


def _pieces(linear: ExpertLinear) -> Pieces:
    layer, kinds = linear.name.partition(MIXTURE)[0], PIECES[linear.parts]
    return [
        [f"{layer}mlp.experts.{expert}.{kind}.weight" for kind in kinds]
        for expert in range(linear.count)
    ]


def joined(pieces: Pieces, read: Callable[[str], Tensor]) -> Tensor:
    """Read the pieces of a weight and put them together: [count, rows, features]."""
    return torch.stack([torch.cat([read(name) for name in one]) for one in pieces])


def scale_shapes(linear: ExpertLinear) -> Shapes:
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
