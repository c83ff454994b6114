"""The fields of a config.json that only Gemma 3 has: two kinds of layers, each with its positions.

Knows the field names of transformers' ``Gemma3TextConfig``, its older ones too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from . import fields as read
from .records import Network
from .rope import RopeScaling, read_rope

__all__ = ["FULL", "SLIDING", "Gemma", "read_positions", "sliding_of"]

SLIDING, FULL = "sliding_attention", "full_attention"
PATTERN = 6  # every sixth layer is a full one, where layer_types is not given
WINDOW = 4096
SCALAR = 256
MAX_SCALAR = 1 << 20
THETAS = {FULL: 1e6, SLIDING: 1e4}


@dataclass(frozen=True)
class Gemma:
    """What a Gemma 3 has besides the fields of every network."""

    query_pre_attn_scalar: int
    """Scores are divided by its square root."""
    local_theta: float
    """The rope_theta of sliding layers."""
    sliding_window: int
    """Positions that a sliding layer attends to, its own among them."""
    sliding: tuple[bool, ...]
    """Whether each layer is a sliding one."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a config.json."""
        return {
            "query_pre_attn_scalar": self.query_pre_attn_scalar,
            "rope_local_base_freq": self.local_theta,
            "sliding_window": self.sliding_window,
            "layer_types": [SLIDING if sliding else FULL for sliding in self.sliding],
        }

    @property
    def window(self) -> int | None:
        """The most positions for which every layer attends to all; None: no layer slides."""
        return self.sliding_window if any(self.sliding) else None


def read_positions(
    fields: read.Fields, network: Network, layers: int, context: int, head_dim: int
) -> dict[str, Any]:
    """Read rope_theta and rope_scaling, and Gemma's own fields, as transformers 5 does.

    Gemma's rope_theta and rope_scaling are those of its full layers.
    """
    if not network.sandwich:
        theta, scaling = read_rope(
            fields, network.rope_theta, context, head_dim, partial=network.windows
        )
        return {"rope_theta": theta, "rope_scaling": scaling}
    sliding = _layers(fields, layers)
    theta, local, scaling = _rope(fields, context, head_dim)
    gemma = Gemma(
        query_pre_attn_scalar=read.declared(fields, "query_pre_attn_scalar", MAX_SCALAR, SCALAR),
        local_theta=local,
        sliding_window=read.declared(fields, "sliding_window", 1 << 24, WINDOW),
        sliding=sliding,
    )
    return {"gemma": gemma, "rope_theta": theta, "rope_scaling": scaling}


def _layers(fields: read.Fields, count: int) -> tuple[bool, ...]:
    """Read ``layer_types``, or the number in its place in older files."""
    pattern = read.declared(fields, "sliding_window_pattern", count + PATTERN, PATTERN)
    kinds = fields.get("layer_types")
    if kinds is None:
        return tuple(bool((layer + 1) % pattern) for layer in range(count))
    return sliding_of(kinds, count)


def sliding_of(kinds: Any, count: int) -> tuple[bool, ...]:
    """Return which of ``count`` layers slide, as ``layer_types`` says."""
    if not isinstance(kinds, list) or not all(kind in (SLIDING, FULL) for kind in kinds):
        raise ConfigError(
            f"layer_types is {kinds!r:.80}, expected a list of {SLIDING!r} and {FULL!r}"
        )
    if len(kinds) != count:
        raise ConfigError(
            f"layer_types has {len(kinds)} entries, expected num_hidden_layers {count}"
        )
    return tuple(kind == SLIDING for kind in kinds)


def _rope(
    fields: read.Fields, context: int, head_dim: int
) -> tuple[float, float, RopeScaling | None]:
    """Return the thetas of full and of sliding layers, and the scaling of the full ones.

    ``rope_parameters`` has a section for each kind of layer; older files have ``rope_theta``,
    ``rope_local_base_freq`` and a ``rope_scaling`` of the full layers.
    """
    section = read.section(fields, "rope_parameters") or read.Fields({})
    local = read.optional(fields, "rope_local_base_freq", THETAS[SLIDING])
    plain = read.section(section, f"rope_parameters.{SLIDING}") or read.Fields({})
    name = f"rope_parameters.{SLIDING}"
    local = read.optional(plain, f"{name}.rope_theta", local)
    read.one_of(plain, f"{name}.rope_type", ("default", None), None)
    read.one_of(plain, f"{name}.partial_rotary_factor", (None, 1, 1.0), None)
    full = section.get(f"rope_parameters.{FULL}")
    if extra := sorted(section.keys() - section.read):
        raise ConfigError(f"{extra[0]} is given, expected {FULL} and {SLIDING} in rope_parameters")
    if fields.get("rope_scaling") and full:
        raise ConfigError("rope_scaling and rope_parameters are both given, expected one of them")
    given = {name: value for name, value in fields.items() if name != "rope_parameters"}
    inner = read.Fields(given | ({"rope_parameters": full} if full is not None else {}))
    theta, scaling = read_rope(inner, THETAS[FULL], context, head_dim)
    fields.read |= inner.read
    fields.inner.pop("rope_parameters", None)
    fields.inner |= inner.inner
    return theta, local, scaling
