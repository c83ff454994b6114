"""What the tensors of a checkpoint say about its network, which its config.json need not say.

Knows the names of tensors; knows no config and no values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

__all__ = ["Body", "Look", "canonical", "published"]

PREFIX = "model."
OUTSIDE = ("lm_head.", PREFIX)
FIRST = "layers.0.self_attn.q_proj."
# BitNet's embedding models call the norm inside a linear ``norm``; transformers' name is first.
NORM, OTHER_NORM = "_proj.rms_norm.weight", "_proj.norm.weight"


class Body(NamedTuple):
    """What names of tensors show."""

    bare: bool
    """Names are without ``model.``: those of a network without a head."""
    embedding_norms: bool
    """A norm inside each linear is called as in BitNet's embedding models."""
    norms: bool
    """Each linear has a norm inside, under either name."""
    scales: bool
    """Each linear has a ``weight_scale``."""

    @classmethod
    def of(cls, names: Collection[str]) -> Body:
        """Look at the first layer's query."""

        def holds(end: str) -> bool:
            return any(f"{prefix}{FIRST}{end}" in names for prefix in ("", PREFIX))

        return cls(
            bare=f"{FIRST}weight" in names,
            embedding_norms=holds("norm.weight"),
            norms=holds("norm.weight") or holds("rms_norm.weight"),
            scales=holds("weight_scale"),
        )

    @property
    def embedding(self) -> bool:
        """Whether it is a network that embeds texts: one without a head."""
        return self.bare or self.embedding_norms


Look = Callable[[], Body]
"""Looks at the names, which may have to be read from large files."""


def canonical(name: str) -> str:
    """Return a tensor's name as this package has it, with ``model.`` and ``rms_norm``."""
    if not name.startswith(OUTSIDE):
        name = PREFIX + name
    return name.replace(OTHER_NORM, NORM) if name.endswith(OTHER_NORM) else name


def published(name: str) -> str:
    """Return the name that BitNet's embedding models have: the inverse of ``canonical``."""
    name = name.removeprefix(PREFIX)
    return name.replace(NORM, OTHER_NORM) if name.endswith(NORM) else name
