"""The tables of rotary positions in a graph: which a network has, by name.

Knows the config; knows no graph and no numbers.
"""

from __future__ import annotations

from ..network.config import BitNetConfig
from ..network.maple import maple_of

__all__ = ["ROPE", "STILL", "rope_names", "rope_of"]

ROPE = ("cos_cache", "sin_cache")
STILL = ("still_cos_cache", "still_sin_cache")  # of layers without positions: they rotate nothing


def rope_names(config: BitNetConfig) -> tuple[str, ...]:
    """Return the names of the tables that the layers of a network read.

    The first two are in each graph, also where no layer has positions: they show its context.
    """
    return (*ROPE, *STILL) if len(set(_turning(config))) > 1 else ROPE


def rope_of(config: BitNetConfig, layer: int) -> tuple[str, ...]:
    """Return the names of the tables that a layer reads."""
    return rope_names(config)[-2:] if not _turning(config)[layer] else ROPE


def _turning(config: BitNetConfig) -> tuple[bool, ...]:
    every = (True,) * config.num_hidden_layers
    maple = maple_of(config.mixture)
    return every if maple is None else maple.sliding
