"""Random float networks of transformers: LLaMA, Qwen3, Granite; saved as it saves them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .oracle_networks import LLAMA3

__all__ = ["VARIANTS", "make", "variant"]

SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
GRANITE: dict[str, Any] = {
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.0625,
    "residual_multiplier": 0.22,
    "logits_scaling": 6.0,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied, biases": (
        "Llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, one kv head, llama3 rope": (
        "Llama",
        {"num_key_value_heads": 1, "rope_parameters": LLAMA3},
    ),
    "llama, a bias of attention alone, wide heads": (
        "Llama",
        {"attention_bias": True, "head_dim": 32, "num_key_value_heads": 4},
    ),
    "qwen3": ("Qwen3", {"head_dim": 24}),
    "qwen3, tied, biases": (
        "Qwen3",
        {"head_dim": 32, "tie_word_embeddings": True, "attention_bias": True},
    ),
    "granite": ("Granite", GRANITE),
    "granite, tied, odd multipliers, biases": (
        "Granite",
        {"embedding_multiplier": 3.7, "attention_multiplier": 0.3, "residual_multiplier": 1.3,
         "logits_scaling": 0.7, "attention_bias": True, "mlp_bias": True,
         "tie_word_embeddings": True},
    ),
    "granite, its defaults": ("Granite", {}),
}  # fmt: skip


def make(kind: str, dtype: torch.dtype = torch.bfloat16, seed: int = 0, **changes: Any) -> Any:
    """Return a float32 network whose numbers fit ``dtype``; norms differ from 1, biases from 0."""
    transformers = pytest.importorskip("transformers", minversion="5.0")
    config = getattr(transformers, f"{kind}Config")(**SIZES | changes)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():
        mean, deviation = (1.0, 0.2) if "norm" in name else (0.0, 0.1 if "proj" in name else 1.0)
        drawn = torch.empty_like(parameter).normal_(mean, deviation)
        parameter.data = drawn.to(dtype).float()
    return model


def variant(name: str, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> Any:
    kind, fields = VARIANTS[name]
    return make(kind, dtype, **fields | changes)
