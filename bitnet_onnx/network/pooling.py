"""How the vectors of a text's tokens become one: pooling.

Knows the names of modes; knows no tensors and no file.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["POOLINGS", "Pooling"]

POOLINGS = ("last", "mean")


class Pooling(NamedTuple):
    """What follows the last layer of a network that embeds texts."""

    mode: str
    """``last``: the vector of the last token; ``mean``: the mean of all."""
    normalize: bool = True
    """Whether vectors get the length 1."""
    longest: int | None = None
    """The most tokens of a text that the checkpoint allows; None: it does not say."""
    note: str | None = None
    """What is assumed where the files say nothing."""
