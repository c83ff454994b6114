"""The fields of a config.json that describe a mixture of experts, with the defaults of its class.

Knows transformers' names for them; knows no network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError
from . import fields as read
from .sizes import MAX_FEATURES

__all__ = ["Mixture", "read_mixture"]

MAX_EXPERTS = 1024  # as many as the library takes


@dataclass(frozen=True)
class Mixture:
    """Experts, each a gated feed-forward network of ``intermediate_size`` inner features."""

    num_local_experts: int
    num_experts_per_tok: int
    output_router_logits: bool = False
    """Whether ``forward`` returns router logits, and its loss has the balance loss in it."""
    router_aux_loss_coef: float = 0.001
    shared_intermediate_size: int = 0
    """The inner features of a feed-forward network that all tokens go through; 0: none."""

    @property
    def limit(self) -> float:
        """The most that a gate, and an up in either direction, may be; 0: there is no limit."""
        return 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a config.json: the inverse of ``read_mixture``."""
        fields = asdict(self)
        if not self.shared_intermediate_size:  # most networks have no such field
            del fields["shared_intermediate_size"]
        return fields


def read_mixture(fields: dict[str, Any], shared: bool) -> Mixture:
    """Read the experts of a network; ``shared``: it may have a network beside them."""
    experts = read.declared(fields, "num_local_experts", MAX_EXPERTS, default=8)
    k = read.declared(fields, "num_experts_per_tok", MAX_EXPERTS, default=2)
    if k > experts:
        raise ConfigError(
            f"num_experts_per_tok is {k}, expected at most num_local_experts {experts}"
        )
    beside = 0
    if shared and fields.get("shared_intermediate_size") not in (None, 0):
        beside = read.size(fields, "shared_intermediate_size", MAX_FEATURES)
    return Mixture(
        experts,
        k,
        read.flag(fields, "output_router_logits", False),
        read.not_negative(fields, "router_aux_loss_coef", 0.001),
        beside,
    )
