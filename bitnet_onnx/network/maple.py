"""The fields of a config.json that only Maple has: two kinds of layers, and experts with a limit.

Sliding layers see a window and have rotary positions on a part of each head; full layers see all
positions and have none. Knows the field names of ``MapleConfig``, which comes with the checkpoint,
and of vLLM's; knows no tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from . import fields as read
from .gemma import FULL, SLIDING, sliding_of
from .mixture import MAX_EXPERTS, Mixture, read_mixture
from .records import Network

__all__ = ["Maple", "maple_of", "read_experts"]

PATTERN = 4  # every fourth layer is a full one, where layer_types is not given
LIMIT = 7.0  # its code has this number, and no field for it
# Fields that change the network, and the values at which it is the one that was published.
FIXED: dict[str, tuple[Any, ...]] = {
    "norm_topk_prob": (True, None),
    "num_shared_experts": (0, None),
    "first_k_dense_replace": (0, None),
    "moe_router_enable_expert_bias": (False, None),
    "router_dtype": ("fp32", None),
    "swiglu_limit": (LIMIT, int(LIMIT), None),
    "use_sliding_window": (True, None),
    "use_qk_norm": (True, None),
    "use_rmsnorm": (True, None),
    "nope_on_global_attention": (True, None),
    "rope_scaling": (None,),
    "quantization_config": (None,),
    "preaffine": (False, None),
}
# The published config.json has them, and its code reads none of them.
UNUSED = ("intermediate_size", "quantize", "output_dropout")


@dataclass(frozen=True)
class Maple(Mixture):
    """What a Maple has in its layers."""

    sliding_window: int = 512
    """How many positions before its own a position of a sliding layer sees."""
    sliding: tuple[bool, ...] = ()
    """Whether each layer is a sliding one."""
    partial_rotary_factor: float = 0.5
    """The part of each head that has rotary positions."""

    @property
    def limit(self) -> float:
        return LIMIT

    @property
    def window(self) -> int:
        """The positions that one of a sliding layer sees, its own among them."""
        return self.sliding_window + 1

    def rotary_width(self, head_dim: int) -> int:
        """Return how many elements of a head have rotary positions."""
        return int(head_dim * self.partial_rotary_factor)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a config.json: the inverse of ``read_experts``."""
        return {
            "num_experts": self.num_local_experts,
            "num_experts_per_tok": self.num_experts_per_tok,
            "output_router_logits": self.output_router_logits,
            "router_aux_loss_coef": self.router_aux_loss_coef,
            "sliding_window": self.sliding_window,
            "layer_types": [SLIDING if sliding else FULL for sliding in self.sliding],
            "partial_rotary_factor": self.partial_rotary_factor,
        }


def maple_of(mixture: Mixture | None) -> Maple | None:
    """Return the mixture where it is a Maple's."""
    return mixture if isinstance(mixture, Maple) else None


def read_experts(
    fields: read.Fields, network: Network, layers: int, head_dim: int
) -> Mixture | None:
    """Read the experts of a network, None where it has none."""
    if not network.windows:
        return read_mixture(fields, network.shared_expert) if network.experts else None
    for name, values in FIXED.items():
        read.one_of(fields, name, values, None)
    for name in UNUSED:
        fields.get(name)
    experts = read.declared(fields, "num_experts", MAX_EXPERTS, default=256)
    k = read.declared(fields, "num_experts_per_tok", MAX_EXPERTS, default=8)
    if k > experts:
        raise ConfigError(f"num_experts_per_tok is {k}, expected at most num_experts {experts}")
    kinds = fields.get("layer_types")
    if kinds is None:
        sliding = tuple(bool((layer + 1) % PATTERN) for layer in range(layers))
    else:
        sliding = sliding_of(kinds, layers)
    return Maple(
        experts,
        k,
        read.flag(fields, "output_router_logits", False),
        read.not_negative(fields, "router_aux_loss_coef", 0.001),
        sliding_window=read.declared(fields, "sliding_window", 1 << 24, default=512),
        sliding=sliding,
        partial_rotary_factor=_rotary_factor(fields, head_dim),
    )


def _rotary_factor(fields: read.Fields, head_dim: int) -> float:
    """Read the part of a head that rotates; in ``rope_parameters`` or, in older files, beside."""
    name, section = "partial_rotary_factor", fields.inner.get("rope_parameters")
    factor = read.positive(fields, name, 0.5)
    if section is not None:
        read.one_of(section, "rope_parameters.rope_type", ("default", None), None)
        factor = read.optional(section, f"rope_parameters.{name}", factor)
    width = int(head_dim * factor)
    if factor > 1 or width < 2 or width % 2:
        raise ConfigError(
            f"{name} is {factor}, expected at most 1 and an even part of head_dim {head_dim}"
        )
    return factor
