"""GGUF files of GraniteMoe networks, with the gguf package's names of tensors and plain arithmetic.

What is stored where follows llama.cpp's conversion/granite.py: gate and up are tensors of their
own, and the two rows of q and k that rotate together are side by side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import MODEL_TENSOR, TENSOR_NAMES
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize
from torch import Tensor

from tests.support.granite.networks import absmean

__all__ = ["metadata", "tensors_of", "write"]

ONE = {
    "input_layernorm.weight": MODEL_TENSOR.ATTN_NORM,
    "post_attention_layernorm.weight": MODEL_TENSOR.FFN_NORM,
    "self_attn.q_proj": MODEL_TENSOR.ATTN_Q,
    "self_attn.k_proj": MODEL_TENSOR.ATTN_K,
    "self_attn.v_proj": MODEL_TENSOR.ATTN_V,
    "self_attn.o_proj": MODEL_TENSOR.ATTN_OUT,
    "mlp.gate_proj": MODEL_TENSOR.FFN_GATE,
    "mlp.up_proj": MODEL_TENSOR.FFN_UP,
    "mlp.down_proj": MODEL_TENSOR.FFN_DOWN,
    "block_sparse_moe.router.weight": MODEL_TENSOR.FFN_GATE_INP,
    "block_sparse_moe.experts.down_proj": MODEL_TENSOR.FFN_DOWN_EXP,
    "shared_mlp.output_linear.weight": MODEL_TENSOR.FFN_DOWN_SHEXP,
}
TWO = {
    "block_sparse_moe.experts.gate_up_proj": (
        MODEL_TENSOR.FFN_GATE_EXP,
        MODEL_TENSOR.FFN_UP_EXP,
    ),
    "shared_mlp.input_linear.weight": (
        MODEL_TENSOR.FFN_GATE_SHEXP,
        MODEL_TENSOR.FFN_UP_SHEXP,
    ),
}
OUTER = {
    "model.embed_tokens.weight": MODEL_TENSOR.TOKEN_EMBD,
    "model.norm.weight": MODEL_TENSOR.OUTPUT_NORM,
    "lm_head.weight": MODEL_TENSOR.OUTPUT,
}


def permuted(rows: Tensor, heads: int) -> Tensor:
    """Put row i of the first half of a head beside row i of its second half."""
    order = np.arange(len(rows)).reshape(heads, 2, -1).swapaxes(1, 2).flatten()
    return rows[torch.from_numpy(order)]


def tensors_of(network: Any) -> dict[str, Tensor]:
    """Return name in the file -> tensor of a GraniteMoe of transformers."""
    config, found = network.config, {}
    for name, tensor in network.state_dict().items():
        if name in OUTER:
            if name != "lm_head.weight" or not config.tie_word_embeddings:
                found[f"{TENSOR_NAMES[OUTER[name]]}.weight"] = tensor
            continue
        layer, _, inner = name.removeprefix("model.layers.").partition(".")
        if inner in TWO:
            for kind, half in zip(TWO[inner], tensor.chunk(2, dim=-2), strict=True):
                found[f"{TENSOR_NAMES[kind].format(bid=layer)}.weight"] = half
            continue
        ending = "weight"
        if inner not in ONE:
            inner, _, ending = inner.rpartition(".")
        if inner == "self_attn.q_proj":
            tensor = permuted(tensor, config.num_attention_heads)
        if inner == "self_attn.k_proj":
            tensor = permuted(tensor, config.num_key_value_heads)
        found[f"{TENSOR_NAMES[ONE[inner]].format(bid=layer)}.{ending}"] = tensor
    return found


def metadata(network: Any) -> dict[str, Any]:
    """Return the metadata of a GraniteMoe, with keys without their prefix."""
    config = network.config
    shared = getattr(config, "shared_intermediate_size", 0) or None
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
        "rope.dimension_count": config.hidden_size // config.num_attention_heads,
        "vocab_size": config.vocab_size,
        "expert_count": getattr(config, "num_local_experts", None),
        "expert_used_count": getattr(config, "num_experts_per_tok", None),
        "attention.scale": float(config.attention_multiplier),
        "embedding_scale": float(config.embedding_multiplier),
        "residual_scale": float(config.residual_multiplier),
        "logit_scale": float(config.logits_scaling),
        "expert_shared_feed_forward_length": shared,
    }


def write(
    path: Path,
    network: Any,
    kind: str = "F32",
    architecture: str = "granitemoe",
    **changes: Any,
) -> Path:
    """Write a network whose matrices have this type; changes: metadata, None leaves a key out."""
    writer = gguf.GGUFWriter(path, architecture)
    values = {k: v for k, v in (metadata(network) | changes).items() if v is not None}
    ids = {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 0}
    for key, value in ({f"{architecture}.{k}": v for k, v in values.items()} | ids).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        (writer.add_bool if isinstance(value, bool) else add)(key, value)
    for name, tensor in tensors_of(network).items():
        plain = "norm" in name or name.endswith("bias") or "ffn_gate_inp" in name
        ternary = kind.startswith("TQ") and not name.startswith(("token_embd", "output"))
        stored = quantized(tensor) if ternary and not plain else tensor.numpy()
        chosen = "F32" if plain or (kind.startswith("TQ") and not ternary) else kind
        content = quantize(np.ascontiguousarray(stored), Type[chosen])
        writer.add_tensor(name, content, raw_dtype=Type[chosen])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantized(weight: Tensor) -> np.ndarray:
    """Return code times float16 scale of a matrix, or of each expert's."""
    if weight.ndim == 3:
        return np.stack([quantized(part) for part in weight])
    codes, scale = absmean(weight)
    return (codes * scale.half().float()).numpy()
