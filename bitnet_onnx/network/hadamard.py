"""A rotated basis, as PrismML's Bonsai 2 declares it: what is rotated, in which blocks and signs.

A weight of K input features is stored as ``W · R``, where R is a sign for each feature and then a
normalized Walsh-Hadamard matrix for each block of features. ``weights/hadamard.py`` has the
formulas. Knows the fields ``prism.hadamard.*`` of GGUF metadata and of MLX's hadamard.json; knows
no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import ConfigError
from . import fields as read
from .sizes import MAX_FEATURES

__all__ = ["PREFIX", "Hadamard", "Rotatable", "read_hadamard"]

PREFIX = "prism.hadamard."
VERSION = 1
TRANSFORM = "normalized-sylvester-walsh-hadamard"
AXIS = "input-last-dimension"
SIGN_MODES = ("identity", "explicit")
KNOWN = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("version", "block_size", "transform", "axis", "sign_mode", "sign_widths", "sign_values"),
        *("weight_names", "inverse_weight_names", "gdn_v_grouped"),
    )
)


@dataclass(frozen=True)
class Hadamard:
    """Which weights are stored in a rotated basis, and how it is rotated."""

    block_size: int
    """Features that one Walsh-Hadamard matrix mixes, a power of two."""
    weights: frozenset[str]
    """The rotated tensors. Activations of a linear among them are rotated; a table is turned back
    when it is read."""
    signs: tuple[tuple[int, bytes], ...] = field(default=(), repr=False)
    """Width and signs, int8 -1 and +1, of each width; other widths have +1 alone."""

    def signs_of(self, width: int) -> bytes:
        """Return the signs of the input features of a weight of this width."""
        return dict(self.signs).get(width, b"\1" * width)


class Rotatable(NamedTuple):
    """A tensor that a file may declare to be rotated."""

    name: str
    """Its name in this package."""
    width: int
    """Its input features."""
    is_embedding: bool
    is_product: bool
    """Whether activations are multiplied by it, which is true of linears and of the head."""


def read_hadamard(found: Mapping[str, Any], tensors: Mapping[str, Rotatable]) -> Hadamard:
    """Read the fields, whose names begin with ``prism.hadamard.``; raise ConfigError naming one.

    tensors: the tensors of the network, by their names in the file.
    """
    fields = read.Fields(found)
    if unknown := sorted(fields.keys() - KNOWN):
        raise ConfigError(
            f"{unknown[0]} is {_shown(fields[unknown[0]])}, which is not understood: it can change "
            "how activations are rotated"
        )
    read.one_of(fields, f"{PREFIX}version", (VERSION,), None)
    read.one_of(fields, f"{PREFIX}transform", (TRANSFORM,), None)
    read.one_of(fields, f"{PREFIX}axis", (AXIS,), None)
    explicit = read.one_of(fields, f"{PREFIX}sign_mode", SIGN_MODES, None) == "explicit"
    read.flag(fields, f"{PREFIX}gdn_v_grouped", False)  # of Gated DeltaNet, which no network has
    block = read.size(fields, f"{PREFIX}block_size", MAX_FEATURES)
    if block & (block - 1):
        raise ConfigError(f"{PREFIX}block_size is {block}, expected a power of two")
    signs = _signs(fields, block, explicit)
    products = _named(fields, "weight_names", tensors)
    rows = _named(fields, "inverse_weight_names", tensors)
    _check_roles(products, rows)
    for stored, tensor in (products | rows).items():
        if tensor.width % block:
            raise ConfigError(
                f"{PREFIX}block_size is {block}, expected a divisor of {tensor.width}, the input "
                f"features of {stored}"
            )
        if explicit and tensor.width not in signs:
            raise ConfigError(
                f"{PREFIX}sign_widths is {sorted(signs)}, expected {tensor.width} among them, the "
                f"input features of {stored}"
            )
    weights = frozenset(tensor.name for tensor in (products | rows).values())
    return Hadamard(block, weights, tuple(sorted(signs.items())))


def _signs(fields: read.Fields, block: int, explicit: bool) -> dict[int, bytes]:
    """Return the signs of each width, none where the mode is identity."""
    widths = _numbers(fields, "sign_widths", explicit)
    values = _numbers(fields, "sign_values", explicit)
    seen: set[int] = set()
    for width in widths:
        if width <= 0 or width % block or width in seen:
            raise ConfigError(
                f"{PREFIX}sign_widths holds {width}, expected different multiples of the "
                f"block_size {block}"
            )
        seen.add(width)
    if len(values) != sum(widths):
        raise ConfigError(
            f"{PREFIX}sign_values has {len(values)} numbers, expected {sum(widths)}, the sum of "
            "sign_widths"
        )
    allowed = {1, -1} if explicit else {1}
    for at, value in enumerate(values):
        if value not in allowed:
            listed = "1 or -1" if explicit else "1 with the sign_mode 'identity'"
            raise ConfigError(f"{PREFIX}sign_values holds {value} at {at}, expected {listed}")
    made, start = {}, 0
    for width in widths:
        made[width] = bytes(value % 256 for value in values[start : start + width])
        start += width
    return made


def _numbers(fields: read.Fields, name: str, required: bool) -> list[int]:
    """Return a list of integers, which may be written as floats."""
    values = fields.get(PREFIX + name)
    if values is None and not required:
        return []
    if not isinstance(values, list):
        raise ConfigError(f"{PREFIX}{name} is {_shown(values)}, expected a list of integers")
    for value in values:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or value != value or value in (float("inf"), float("-inf")) or value % 1:
            raise ConfigError(f"{PREFIX}{name} holds {_shown(value)}, expected integers")
    return [int(value) for value in values]


def _named(
    fields: read.Fields, name: str, tensors: Mapping[str, Rotatable]
) -> dict[str, Rotatable]:
    """Return the tensors of a list of names, by these names."""
    key, required = PREFIX + name, name == "weight_names"
    names = fields.get(key)
    if names is None and not required:
        return {}
    if not isinstance(names, list) or (required and not names):
        raise ConfigError(f"{key} is {_shown(names)}, expected a list of the names of tensors")
    made: dict[str, Rotatable] = {}
    seen: set[Rotatable] = set()
    for stored in names:
        tensor = tensors.get(stored) if isinstance(stored, str) else None
        if tensor is None:
            raise ConfigError(
                f"{key} names {_shown(stored)}, expected a linear, the head or the embedding of "
                "this network"
            )
        if tensor in seen:
            raise ConfigError(f"{key} names {stored} twice, expected each tensor once")
        seen.add(tensor)
        made[stored] = tensor
    return made


def _check_roles(products: dict[str, Rotatable], rows: dict[str, Rotatable]) -> None:
    """Refuse a tensor in a list for another use: products, or rows that an embedding looks up."""
    for stored, tensor in products.items():
        if not tensor.is_product:
            raise ConfigError(f"{PREFIX}weight_names names {stored}, expected linears or the head")
    for stored, tensor in rows.items():
        if not tensor.is_embedding:
            raise ConfigError(
                f"{PREFIX}inverse_weight_names names {stored}, expected the embedding"
            )
    both = {t for t in (*products.values(), *rows.values()) if t.is_embedding and t.is_product}
    for tensor in both:
        if tensor not in products.values() or tensor not in rows.values():
            lacking = "inverse_weight_names" if tensor in products.values() else "weight_names"
            raise ConfigError(
                f"{PREFIX}{lacking} does not name the embedding, which is the head too, expected "
                "it in both lists or in none"
            )


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
