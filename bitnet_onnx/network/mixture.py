"""The fields of a config.json that describe a mixture of experts, with the defaults of its class.

Knows transformers' names for them; knows no network.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError
from . import fields as read

__all__ = ["NAMES", "read_mixture", "written_mixture"]

MAX_EXPERTS = 4096
MAX_FEATURES = 1 << 17
NAMES = (
    "num_local_experts",
    "num_experts_per_tok",
    "output_router_logits",
    "router_aux_loss_coef",
)
SHARED = "shared_intermediate_size"


def read_mixture(fields: dict[str, Any], shared: bool) -> dict[str, Any]:
    """Read the fields of experts; ``shared``: also of the network that all tokens go through."""
    experts = read.size(fields, "num_local_experts", MAX_EXPERTS, default=8)
    k = read.size(fields, "num_experts_per_tok", MAX_EXPERTS, default=2)
    if k > experts:
        raise ConfigError(
            f"num_experts_per_tok is {k}, expected at most num_local_experts {experts}"
        )
    found = {
        "num_local_experts": experts,
        "num_experts_per_tok": k,
        "output_router_logits": read.flag(fields, "output_router_logits", False),
        "router_aux_loss_coef": read.not_negative(fields, "router_aux_loss_coef", 0.001),
    }
    if shared and fields.get(SHARED) not in (None, 0):
        found[SHARED] = read.size(fields, SHARED, MAX_FEATURES)
    return found


def written_mixture(config: Any, shared: bool) -> dict[str, Any]:
    """Return the fields of a config.json: the inverse of ``read_mixture``."""
    return {name: getattr(config, name) for name in (*NAMES, *([SHARED] if shared else []))}
