"""The networks that this package knows: one record each.

A new network is one record here and one file of its name in ``model/networks/``, which says what
it computes. Nothing else compares a network's name: whoever needs to know asks its record. Knows
names and numbers; knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["RECORDS", "Gguf", "Network", "of_architecture", "of_config"]


@dataclass(frozen=True)
class Gguf:
    """How GGUF files hold a network."""

    architectures: tuple[str, ...] = ()
    """What ``general.architecture`` may be; the first one is written. Empty: no GGUF files."""
    written: bool = False
    """Whether the network can be written as GGUF."""
    llama_cpp: str | None = None
    """The architecture under which llama.cpp itself loads the network, if it is another one."""
    pairs: bool = False
    """Rows of q and k are stored with the pairs of a rotation side by side."""
    metadata_suffices: bool = True
    """The metadata holds all of the config; otherwise a config.json must lie beside the file."""
    sentencepiece: bool = False
    """Published files come with a SentencePiece tokenizer."""
    unused_tensors: tuple[str, ...] = ()
    """Tensors whose content config.json holds as well."""


@dataclass(frozen=True)
class Network:
    """What a config.json says of a network, the defaults of its class, and how it is special."""

    name: str
    model_type: str
    architecture: str
    hidden_act: str
    rope_theta: float
    rms_norm_eps: float
    head_dim: int | None = None
    """Default; None: hidden_size / num_attention_heads."""
    tie_word_embeddings: bool = False
    weights: Literal["ternary", "grouped", "binary"] = "ternary"
    """``ternary``: one scale a tensor; ``grouped``: one for each 128 weights of a row;
    ``binary``: -1 and +1, normalized and quantized in ``quantization_groups`` parts of K."""
    attention_norm: str | None = None
    """The norm before o_proj, over hidden_size."""
    feed_forward_norm: str | None = None
    """The norm before down_proj, over intermediate_size."""
    head_norms: tuple[str, ...] = ()
    """Norms of each head of q and k, over head_dim."""
    scaled_residuals: bool = False
    """``scale_emb``, ``scale_depth`` and ``dim_model_base`` of a config.json have a meaning."""
    own_field: str | None = None
    """A field that tells its config.json from that of another network with the same model_type."""
    needs_quantization_config: bool = False
    """Without one, config.json describes a network of this body with float weights."""
    in_transformers: bool = True
    """transformers has a class for it."""
    gguf: Gguf = field(default_factory=Gguf)


_LIST = (
    Network(  # microsoft/bitnet-b1.58-2B-4T
        name="bitnet",
        model_type="bitnet",
        architecture="BitNetForCausalLM",
        hidden_act="relu2",
        rope_theta=5e5,
        rms_norm_eps=1e-5,
        attention_norm="self_attn.attn_sub_norm",
        feed_forward_norm="mlp.ffn_sub_norm",
        gguf=Gguf(("bitnet-b1.58", "bitnet", "bitnet-25"), written=True, llama_cpp="bitnet"),
    ),
    Network(  # 1bitLLM/bitnet_b1_58-large and -3B
        name="bitnet_b1_58",
        model_type="llama",
        architecture="BitnetForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        own_field="weight_bits",
        attention_norm="self_attn.inner_attn_ln",
        feed_forward_norm="mlp.ffn_layernorm",
        gguf=Gguf(("bitnet",), written=True, sentencepiece=True),
    ),
    Network(  # Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58
        name="llama",
        model_type="llama",
        architecture="LlamaForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        needs_quantization_config=True,
        gguf=Gguf(("llama",), written=True, pairs=True),
    ),
    Network(  # the first BitNet, arXiv 2310.11453; no checkpoint was published
        name="bitnet_2023",
        model_type="bitnet_2023",
        architecture="BitNet2023ForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        weights="binary",
        in_transformers=False,
    ),
    Network(  # PrismML Ternary-Bonsai
        name="qwen3",
        model_type="qwen3",
        architecture="Qwen3ForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        head_dim=128,
        weights="grouped",
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        gguf=Gguf(("qwen3",)),
    ),
    Network(  # OpenBMB BitCPM4
        name="minicpm",
        model_type="minicpm",
        architecture="MiniCPMForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        weights="grouped",
        scaled_residuals=True,
        in_transformers=False,
        gguf=Gguf(
            ("minicpm",),
            pairs=True,
            metadata_suffices=False,
            unused_tensors=("rope_factors_long.weight", "rope_factors_short.weight"),
        ),
    ),
)
RECORDS = {network.name: network for network in _LIST}


def of_config(fields: Mapping[str, Any]) -> Network | None:
    """The network that a ``config.json`` describes; None where its model_type is unknown."""
    model_type = fields.get("model_type")
    for network in _LIST:
        if network.own_field is None:
            continue
        declared = network.model_type == model_type and network.own_field in fields
        if declared or fields.get("architectures") == [network.architecture]:
            return network
    return next((n for n in _LIST if n.model_type == model_type and n.own_field is None), None)


def of_architecture(architecture: str) -> list[Network]:
    """The networks that GGUF files of this ``general.architecture`` may hold."""
    return [network for network in _LIST if architecture in network.gguf.architectures]
