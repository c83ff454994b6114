"""The options of an export, checked before anything is traced or written.

Knows their names and bounds; knows no graph and no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..artifact import LINEARS, OUTPUTS, SCALED_CACHES, TARGETS
from ..errors import ConfigError
from ..network.config import BitNetConfig
from ..operators import scan_slack, split_slack
from ..weights.levels import level_bounds, row_deviations

__all__ = ["FLOAT_LINEARS", "HEADS", "KV_CACHES", "LEVEL_BITS", "LEVEL_BOUNDS", "PASSES", "Options"]

HEADS = {  # the type of a stored table that the embedding reads too
    "bf16": torch.bfloat16,
    "int8": torch.int8,
    "int6": torch.bfloat16,
    "int4": torch.bfloat16,
    "float32": torch.float32,
    "two-step": torch.bfloat16,
    "two-step-int6": torch.bfloat16,
    "two-step-int4": torch.bfloat16,
}
FLOAT_LINEARS = {"bf16": torch.bfloat16, "float32": torch.float32, "int8": torch.int8}
# Heads with a copy of few bits a weight.
LEVEL_BITS = {"int6": 6, "int4": 4, "two-step-int6": 6, "two-step-int4": 4}
# Of the scan of those with two steps: the bounds of its rows, and what a token multiplies them by.
LEVEL_BOUNDS = {
    "two-step-int6": (level_bounds, split_slack),
    "two-step-int4": (row_deviations, scan_slack),
}
KV_CACHES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int8": torch.int8,
    "int4": torch.uint8,  # packed
}
PASSES = ("projections", "attention", "zeros", "norms", "kept")  # in the order in which they run
INT8_HEAD_DIM = 512  # the most elements whose products fit an int32 sum


@dataclass(frozen=True)
class Options:
    """The options of ``export`` that decide the content of the artifact; see there.

    Raises ConfigError where a name is unknown.
    """

    target: str
    head: str
    kv_cache: str
    context_length: int | None
    """None: the config's max_position_embeddings."""
    passes: tuple[str, ...]
    linears: str = LINEARS[0]
    """How float linears are stored."""
    outputs: str = OUTPUTS[0]
    """Whether the graph gives hidden states beside the logits."""

    def __post_init__(self) -> None:
        known_values = {
            "head": HEADS,
            "linears": LINEARS,
            "target": TARGETS,
            "kv_cache": KV_CACHES,
            "outputs": OUTPUTS,
        }
        for name, known in known_values.items():
            if (value := getattr(self, name)) not in known:
                raise ConfigError(f"{name} is {value!r}, expected one of: {', '.join(known)}")
        if unknown := sorted(set(self.passes) - set(PASSES)):
            raise ConfigError(f"passes names {unknown[0]!r}, expected some of: {', '.join(PASSES)}")

    def for_network(self, config: BitNetConfig) -> Options:
        """Fill in the context; raise ConfigError where the network does not allow an option."""
        if (self.linears in FLOAT_LINEARS) is not config.float_linears:
            kind = "float" if config.float_linears else "ternary"
            listed = ", ".join(FLOAT_LINEARS) if config.float_linears else LINEARS[0]
            raise ConfigError(
                f"linears is {self.linears!r}, expected one of: {listed}: the linears of this "
                f"network are {kind}",
                hint=None if config.float_linears else "leave --linears out",
            )
        context = self.context_length
        context = config.max_position_embeddings if context is None else context
        if not 1 <= context <= config.max_position_embeddings:
            raise ConfigError(
                f"context_length is {context}, expected 1 to {config.max_position_embeddings}, the "
                "config's max_position_embeddings"
            )
        if self.kv_cache in SCALED_CACHES and config.head_dim > INT8_HEAD_DIM:
            raise ConfigError(
                f"head_dim is {config.head_dim}, expected at most {INT8_HEAD_DIM} with "
                f"{self.kv_cache} caches",
                hint="export with --kv-cache float16",
            )
        return replace(self, context_length=context)

    @property
    def context(self) -> int:
        """Positions that may be fed, after ``for_network`` has filled them in."""
        assert self.context_length is not None
        return self.context_length
