"""Networks that are known by name and cannot be computed here, each with the reason."""

from __future__ import annotations

__all__ = ["UNSUPPORTED"]

DELTANET = "a network with Gated DeltaNet layers, expected attention in every layer"
# The model_type in a config.json or the architecture of a GGUF file -> what it is.
UNSUPPORTED = dict.fromkeys(
    (
        *("qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"),
        *("qwen4_exp", "qwen4_exp_text", "olmo_hybrid", "lara_mini"),
        *("prism_hadamard_qwen35", "qwen3next", "qwen35", "qwen35moe"),
    ),
    DELTANET,
)
