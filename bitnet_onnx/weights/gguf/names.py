"""The names of a network's tensors in GGUF files, and the order of the rows of q and k.

Knows the names of llama.cpp and microsoft/BitNet; knows no file.
"""

from __future__ import annotations

from torch import Tensor

from ...network.config import BitNetConfig
from ...network.records import Network, of_architecture

__all__ = ["gguf_name", "gguf_names", "permute_heads", "permuted_heads", "unpermute_heads"]

_OUTER = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_LAYER: dict[str | None, str] = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "block_sparse_moe.router.layer": "ffn_gate_inp",
    "block_sparse_moe.output_linear": "ffn_down_exps",
    "shared_mlp.output_linear": "ffn_down_shexp",
}
_HALVES = {  # the tensors that hold the first and the last half of the rows
    "block_sparse_moe.input_linear": ("ffn_gate_exps", "ffn_up_exps"),
    "shared_mlp.input_linear": ("ffn_gate_shexp", "ffn_up_shexp"),
}
_SANDWICH: dict[str | None, str] = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_INNER_NORM = ".rms_norm"  # of a linear


def gguf_name(network: Network, name: str) -> str | None:
    """Return the GGUF name of a tensor, None where it has none.

    ``model.layers.3.mlp.up_proj.weight`` -> ``blk.3.ffn_up.weight``.
    """
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    names: dict[str | None, str] = {
        **_LAYER,
        network.attention_norm: "attn_sub_norm",
        network.feed_forward_norm: "ffn_sub_norm",
        **(_SANDWICH if network.sandwich else {}),
    }
    layer, _, inner = stem.removeprefix("model.layers.").partition(".")
    if inner.endswith(_INNER_NORM):
        return f"blk.{layer}.{names[inner.removesuffix(_INNER_NORM)]}_norm_in.{kind}"
    return f"blk.{layer}.{names[inner]}.{kind}" if inner in names else None


def gguf_names(network: Network, name: str) -> tuple[str, ...]:
    """Return the GGUF names of the tensors that hold the rows of a tensor; none: it has no name."""
    layer, _, inner = name.removeprefix("model.layers.").partition(".")
    if halves := _HALVES.get(inner.removesuffix(".weight")):
        return tuple(f"blk.{layer}.{half}.weight" for half in halves)
    single = gguf_name(network, name)
    return () if single is None else (single,)


def permuted_heads(config: BitNetConfig, architecture: str, linear: str) -> int:
    """Return the heads of a linear whose rows llama.cpp's converter permutes, 0 for any other.

    llama.cpp rotates pairs in some architectures, and halves, as transformers does, in the others.
    """
    if not any(network.gguf.pairs for network in of_architecture(architecture)):
        return 0
    counts = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    return counts.get(linear.rpartition(".")[2], 0)


def permute_heads(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows of q or k, [N, K] or a bias [N], from halves to pairs.

    Row ``half * D/2 + i`` of a head becomes row ``2 i + half``.
    """
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def unpermute_heads(rows: Tensor, heads: int) -> Tensor:
    """Reorder the rows from pairs to halves: the inverse of ``permute_heads``."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(rows.shape)
