"""The rotation of a basis: a sign for each feature, then Walsh-Hadamard matrices on blocks.

H is Sylvester's matrix in its natural order over sqrt(b), for blocks of b features: symmetric, and
its own inverse. With the signs s, a weight W is stored as ``W' = (W * s) · H``, so that
``W · x = W' · H(s * x)`` and ``W = (W' · H) * s``. Knows tensors; knows no network and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..network.config import BitNetConfig
from ..network.hadamard import PREFIX, Hadamard, Rotatable, read_hadamard
from ..network.parts import parts_of

__all__ = ["declared", "rotate", "sign_tensor", "turned", "turned_back", "walsh_hadamard"]

ROWS_AT_A_TIME = 1024  # of a table in float64


def declared(
    config: BitNetConfig, found: Mapping[str, Any], names: Callable[[str], Collection[str]]
) -> BitNetConfig:
    """Return the config with the rotated basis that the fields ``prism.hadamard.*`` declare.

    names: the names that a tensor of this package may have in the file. Raises ConfigError.
    """
    if config.linear_norm_eps is not None:
        raise ConfigError(
            f"{PREFIX}version is given, expected no rotated basis where linears have a norm inside"
        )
    parts = parts_of(config)
    linears = parts.linears.values()
    tensors = [Rotatable(f"{n.name}.weight", n.features, False, True) for n in linears]
    tensors += [
        Rotatable(name, config.hidden_size, name == parts.embedding, name == parts.head)
        for name in parts.tables
    ]
    stored = {name: tensor for tensor in tensors for name in names(tensor.name)}
    return replace(config, hadamard=read_hadamard(found, stored))


def walsh_hadamard(x: Tensor, block_size: int) -> Tensor:
    """Multiply each block of x [..., K] by H, in the type of x."""
    return turned(x, block_size) / x.new_tensor(block_size).sqrt()


def turned(x: Tensor, block_size: int) -> Tensor:
    """Multiply each block of x [..., K] by H times sqrt(b), whose elements are 1 and -1.

    Each stage replaces the pairs of neighbours (a, b) by a + b, first all sums, then all
    differences a - b. After log2(b) stages every feature is back in its place.
    """
    blocks = x.unflatten(-1, (-1, block_size))
    for _ in range(block_size.bit_length() - 1):
        low, high = blocks[..., 0::2], blocks[..., 1::2]
        blocks = torch.cat([low + high, low - high], dim=-1)
    return blocks.flatten(-2)


def rotate(x: Tensor, signs: Tensor, block_size: int) -> Tensor:
    """Rotate activations x float32 [..., K] into the basis of a weight; signs [K]."""
    return walsh_hadamard(x * signs, block_size)


def turned_back(stored: Tensor, hadamard: Hadamard) -> Tensor:
    """Return the rows [N, K] of a rotated table in their own basis, float32.

    The sums are float64 and are rounded once.
    """
    signs = sign_tensor(hadamard, stored.shape[1])
    rows = torch.empty(stored.shape)
    for start in range(0, len(stored), ROWS_AT_A_TIME):
        part = slice(start, start + ROWS_AT_A_TIME)
        rows[part] = walsh_hadamard(stored[part].double(), hadamard.block_size) * signs
    return rows


def sign_tensor(hadamard: Hadamard, width: int) -> Tensor:
    """Return the signs of input features, float32 [width]."""
    signs = bytearray(hadamard.signs_of(width))
    return torch.frombuffer(signs, dtype=torch.int8).to("cpu", torch.float32)
