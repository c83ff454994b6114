"""The shapes of ``synthesize``: the fields of a config.json each.

Knows numbers; knows no tensors. A preset without ``quantization_config: None`` is packed ternary.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS"]

# IBM's Granite 3 with experts; PowerMoE-3B's multipliers are taken to be the same.
GRANITE = {
    "model_type": "granitemoe",
    "intermediate_size": 512,
    "num_key_value_heads": 8,
    "num_experts_per_tok": 8,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.015625,
    "residual_multiplier": 0.22,
    "logits_scaling": 6.0,
}
POWERMOE_3B = {
    **GRANITE,
    "vocab_size": 49152,
    "hidden_size": 1536,
    "num_hidden_layers": 32,
    "num_attention_heads": 24,
    "num_local_experts": 40,
}
GRANITE_1B_A400M = {
    **GRANITE,
    "vocab_size": 49155,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_local_experts": 32,
}
FLOAT = {"quantization_config": None}
# microsoft/BitNet's embedding models: a norm inside each linear.
EMBEDDING = {
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "quantization_config": {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
        "use_rms_norm": True,
    },
}
PRESETS: dict[str, dict[str, Any]] = {
    "2b-4t": {
        "vocab_size": 128256,
        "hidden_size": 2560,
        "intermediate_size": 6912,
        "num_hidden_layers": 30,
        "num_attention_heads": 20,
        "num_key_value_heads": 5,
        "max_position_embeddings": 4096,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128009],
    },
    # Not a published model: 100 million weights, for phones and browsers.
    "100m": {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": [1],
    },
    # The published networks are float; nobody has published these with ternary linears.
    "powermoe-3b": {**POWERMOE_3B, **FLOAT},
    "powermoe-3b-ternary": POWERMOE_3B,
    "granite-1b-a400m": {**GRANITE_1B_A400M, **FLOAT},
    "granite-1b-a400m-ternary": GRANITE_1B_A400M,
    "bitnet-embedding-0.6b": {
        **EMBEDDING,
        "model_type": "qwen3",
        "architectures": ["Qwen3Model"],
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_theta": 1e6,
        "eos_token_id": 151643,
    },
    # The sliding window, its layers and the rotations are those of Gemma 3 270M.
    "bitnet-embedding-270m": {
        **EMBEDDING,
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 640,
        "intermediate_size": 2048,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    },
}
