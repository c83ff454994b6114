"""The rotary positions of a config.json: theta, and how frequencies are scaled.

Knows the field names of transformers' configs. ``model/rotary.py`` computes with their values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from . import fields as read

__all__ = ["RopeScaling", "read_rope"]

MAX_POSITIONS = 1 << 24
ORIGINAL = "original_max_position_embeddings"
# rope_type -> the names of its numbers in a config.json.
NUMBERS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", ORIGINAL),
    "yarn": ("factor", "attention_factor", "beta_fast", "beta_slow", ORIGINAL),
    "longrope": ("short_factor", "long_factor", ORIGINAL),
}


@dataclass(frozen=True)
class RopeScaling:
    """Rotary frequencies other than ``1 / theta**(2i / D)``."""

    rope_type: str
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    attention_factor: float = 1.0
    """The factor of cos and sin."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    """Divisors of the D / 2 frequencies: short within the original context, long beyond it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the section of a config.json."""
        numbers = {name: getattr(self, name) for name in NUMBERS[self.rope_type]}
        lists = {name: list(n) for name, n in numbers.items() if isinstance(n, tuple)}
        return {"rope_type": self.rope_type, **numbers, **lists}


def read_rope(
    fields: dict[str, Any],
    default_theta: float,
    context: int,
    head_dim: int,
    partial: bool = False,
) -> tuple[float, RopeScaling | None]:
    """Read theta and scaling as transformers 5 does.

    ``rope_scaling``, of older files, takes precedence over ``rope_parameters``, and a theta inside
    either over ``rope_theta`` beside it. partial: partial_rotary_factor is read elsewhere.
    """
    where = "rope_parameters" if fields.get("rope_scaling") in (None, {}) else "rope_scaling"
    section = read.section(fields, where) or read.Fields({})
    fields.get("rope_parameters")  # overruled where rope_scaling is given
    theta = read.optional(fields, "rope_theta", default_theta)
    theta = read.optional(section, f"{where}.rope_theta", theta)
    original = read.size(section, f"{where}.{ORIGINAL}", MAX_POSITIONS, default=context)
    original = read.size(fields, ORIGINAL, MAX_POSITIONS, default=original)
    for part, name in () if partial else ((fields, ""), (section, f"{where}.")):
        read.one_of(part, f"{name}partial_rotary_factor", (None, 1, 1.0), None)
    kind = _kind(section, where)
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling("linear", _required(section, f"{where}.factor"))
    if kind == "yarn":
        return theta, _yarn(section, where, theta, original)
    if kind == "longrope":
        return theta, _longrope(section, where, original, context, head_dim)
    factor = _required(section, f"{where}.factor")
    low, high = (_required(section, f"{where}.{end}_freq_factor") for end in ("low", "high"))
    if high <= low:
        raise ConfigError(
            f"{where}.high_freq_factor is {high}, expected above low_freq_factor {low}"
        )
    return theta, RopeScaling("llama3", factor, low, high, original)


def _kind(section: dict[str, Any], where: str) -> str:
    """Read ``rope_type``, or ``type`` in older files; refuse both where they differ."""
    older, key = section.get(f"{where}.type"), f"{where}.rope_type"
    if section.get(key) is None:
        key = f"{where}.type" if older is not None else key
    elif older not in (None, section[key]):
        raise ConfigError(f"{key} is {section[key]!r} and {where}.type is {older!r}, expected one")
    return read.one_of(section, key, ("default", *NUMBERS, None), None) or "default"


def _yarn(section: dict[str, Any], where: str, theta: float, original: int) -> RopeScaling:
    """Read YaRN (arXiv 2309.00071); attention_factor defaults to 0.1 log(factor) + 1."""
    for name in ("mscale", "mscale_all_dim"):
        read.one_of(section, f"{where}.{name}", (None,), None)
    read.one_of(section, f"{where}.truncate", (None, True), None)
    factor = _required(section, f"{where}.factor")
    if factor < 1 or theta <= 1:
        raise ConfigError(
            f"{where}.factor is {factor} and rope_theta is {theta}, expected a factor of at least "
            "1 and a rope_theta above 1"
        )
    attention = read.optional(section, f"{where}.attention_factor", 0.1 * math.log(factor) + 1.0)
    fast = read.optional(section, f"{where}.beta_fast", 32.0)
    slow = read.optional(section, f"{where}.beta_slow", 1.0)
    if fast <= slow:
        raise ConfigError(f"{where}.beta_fast is {fast}, expected above beta_slow {slow}")
    return RopeScaling(
        "yarn",
        factor,
        original_max_position_embeddings=original,
        attention_factor=attention,
        beta_fast=fast,
        beta_slow=slow,
    )


def _longrope(
    section: dict[str, Any], where: str, original: int, context: int, head_dim: int
) -> RopeScaling:
    """Read LongRoPE (arXiv 2402.13753), which is supported within the original context.

    In a longer context MiniCPM's code takes the long factors at every length, and transformers
    those of the length so far: the two differ.
    """
    if context != original:
        raise ConfigError(
            f"{where}.{ORIGINAL} is {original} with longrope, expected max_position_embeddings "
            f"{context}: implementations differ beyond the original context"
        )
    for name in ("factor", "attention_factor"):
        read.one_of(section, f"{where}.{name}", (None, 1, 1.0), None)
    short, long = (
        read.positives(section, f"{where}.{name}_factor", head_dim // 2)
        for name in ("short", "long")
    )
    return RopeScaling(
        "longrope", original_max_position_embeddings=original, short_factor=short, long_factor=long
    )


def _required(section: dict[str, Any], name: str) -> float:
    return read.positive(section, name, 0.0)  # 0 is refused: the field must be there
