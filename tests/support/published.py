"""The config.json of published checkpoints, and the keys that transformers writes beside.

Knows what public pages show; long lists are shortened. Knows no bitnet_onnx.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CONFIGS", "WRITTEN_BY_4"]

_BASE: dict[str, Any] = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "use_cache": True,
}
_LLAMA: dict[str, Any] = _BASE | {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "mlp_bias": False,
    "model_type": "llama",
    "pretraining_tp": 1,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}
_FALCON3_1B: dict[str, Any] = _LLAMA | {
    "bos_token_id": 11,
    "eos_token_id": 11,
    "head_dim": 256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000042,
    "vocab_size": 131072,
    "quantization_config": {"modules_to_not_convert": None, "quant_method": "bitnet"},
}
_BITNET_2B: dict[str, Any] = _BASE | {
    "architectures": ["BitNetForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_bitnet.BitNetConfig"},
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "hidden_act": "relu2",
    "hidden_size": 2560,
    "intermediate_size": 6912,
    "max_position_embeddings": 4096,
    "model_type": "bitnet",
    "rms_norm_eps": 1e-05,
    "num_attention_heads": 20,
    "num_hidden_layers": 30,
    "num_key_value_heads": 5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "vocab_size": 128256,
    "quantization_config": {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline",
    },
}
_ONE_BIT: dict[str, Any] = _LLAMA | {
    "_name_or_path": "bitnet_b1_58-large",
    "architectures": ["BitnetForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_bitnet.BitnetForCausalLM"},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 32000,
    "hidden_size": 1536,
    "input_bits": 8,
    "intermediate_size": 4096,
    "max_position_embeddings": 2048,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
    "vocab_size": 32002,
    "weight_bits": 1,
}
_QWEN3: dict[str, Any] = _BASE | {
    "architectures": ["Qwen3ForCausalLM"],
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
_MINICPM: dict[str, Any] = _BASE | {
    "architectures": ["MiniCPMForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_minicpm.MiniCPMForCausalLM"},
    "bos_token_id": 1,
    "eos_token_id": [2, 73440],
    "pad_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "max_position_embeddings": 32768,
    "model_type": "minicpm",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "rope_type": "longrope",
        "long_factor": [1.0] * 32,
        "short_factor": [1.0] * 32,
        "original_max_position_embeddings": 32768,
    },
    "tie_word_embeddings": True,
    "vocab_size": 73448,
    "scale_emb": 12,
    "dim_model_base": 256,
    "scale_depth": 1.4,
    "mup_denominator": 32,
}

_LONGROPE = _MINICPM["rope_scaling"] | {"long_factor": [1.0] * 64, "short_factor": [1.0] * 64}

CONFIGS: dict[str, dict[str, Any]] = {
    "microsoft/bitnet-b1.58-2B-4T": _BITNET_2B,
    "microsoft/bitnet-b1.58-2B-4T-bf16": _BITNET_2B | {
        "quantization_config": _BITNET_2B["quantization_config"] | {
            "quantization_mode": "online"}},
    "1bitLLM/bitnet_b1_58-large": _ONE_BIT,
    "1bitLLM/bitnet_b1_58-xl": _ONE_BIT | {
        "hidden_size": 2048, "intermediate_size": 5460, "num_attention_heads": 32,
        "num_key_value_heads": 32},
    "1bitLLM/bitnet_b1_58-3B": _ONE_BIT | {
        "hidden_size": 3200, "intermediate_size": 8640, "num_attention_heads": 32,
        "num_key_value_heads": 32, "num_hidden_layers": 26},
    "HF1BitLLM/Llama3-8B-1.58-100B-tokens": _LLAMA | {
        "_name_or_path": "meta-llama/Meta-Llama-3-8B-Instruct", "bos_token_id": 128000,
        "eos_token_id": 128009, "hidden_size": 4096, "intermediate_size": 14336,
        "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "vocab_size": 128256,
        "quantization_config": {"modules_to_not_convert": None, "quant_method": "bitnet"}},
    "tiiuae/Falcon3-1B-Instruct-1.58bit": _FALCON3_1B,
    "tiiuae/Falcon-E-1B-Base": _FALCON3_1B | {
        "quantization_config": {
            "linear_class": "bitlinear", "modules_to_not_convert": ["lm_head"],
            "quant_method": "bitnet", "quantization_mode": "offline", "rms_norm_eps": 1e-06,
            "use_rms_norm": False}},
    "prism-ml/Ternary-Bonsai-1.7B-unpacked": _QWEN3 | {
        "layer_types": ["full_attention"] * 28,
        "rope_scaling": {
            "factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "yarn",
            "type": "yarn"}},
    "prism-ml/Ternary-Bonsai-8B-unpacked": _QWEN3 | {"hidden_size": 4096,
                                                      "intermediate_size": 12288},
    "openbmb/BitCPM4-0.5B": _MINICPM,
    "openbmb/BitCPM4-1B": _MINICPM | {
        "hidden_size": 1536, "num_attention_heads": 24, "num_hidden_layers": 52,
        "num_key_value_heads": 8},
    "openbmb/BitCPM-CANN-1B": _LLAMA | {
        "bos_token_id": 1, "eos_token_id": [2, 73440], "pad_token_id": 2, "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 32768, "num_attention_heads": 16,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0, "rope_scaling": _LONGROPE, "vocab_size": 73448},
    "openbmb/BitCPM-CANN-8B": _MINICPM | {
        "hidden_size": 4096, "intermediate_size": 16384, "num_attention_heads": 32,
        "num_hidden_layers": 32, "rms_norm_eps": 1e-06, "rope_scaling": _LONGROPE,
        "tie_word_embeddings": False},
}  # fmt: skip

# What PretrainedConfig.to_dict of transformers 4.57 adds, at its defaults.
WRITTEN_BY_4: dict[str, Any] = {
    "return_dict": True, "output_hidden_states": False, "torchscript": False,
    "dtype": "bfloat16", "pruned_heads": {}, "tie_encoder_decoder": False,
    "chunk_size_feed_forward": 0, "is_encoder_decoder": False, "is_decoder": False,
    "cross_attention_hidden_size": None, "add_cross_attention": False, "max_length": 20,
    "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1,
    "num_beam_groups": 1, "diversity_penalty": 0.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0,
    "typical_p": 1.0, "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None, "num_return_sequences": 1,
    "output_scores": False, "return_dict_in_generate": False, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "remove_invalid_values": False,
    "exponential_decay_length_penalty": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "finetuning_task": None, "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0}, "tokenizer_class": None, "prefix": None, "sep_token_id": None,
    "decoder_start_token_id": None, "task_specific_params": None, "problem_type": None,
    "tf_legacy_loss": False, "use_bfloat16": False, "output_attentions": False,
    "_attn_implementation_autoset": True, "unsloth_version": "2026.1.1", "unsloth_fixed": True,
}  # fmt: skip
