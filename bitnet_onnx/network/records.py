"""The networks that this package knows: one record each.

A new network is one record here, and one file of its name in ``model/networks/`` that says what it
computes. No other file compares a network's name: each asks the record. Knows names and numbers;
knows no tensors.
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
    """Values of ``general.architecture``; the first one is written. Empty: no GGUF files."""
    written: bool = False
    """Whether the network can be written as GGUF."""
    llama_cpp: str | None = None
    """The architecture under which llama.cpp itself loads the network, where it differs."""
    pairs: bool = False
    """Whether the two rows of q and k that rotate together are stored side by side."""
    metadata_suffices: bool = True
    """Whether the metadata holds the whole config; if not, the file needs a config.json beside."""
    grouped: bool = False
    """Whether ternary linears have a scale for each 128 weights and take float activations."""
    sentencepiece: bool = False
    """Whether published files come with a SentencePiece tokenizer."""
    words: str = "default"
    """The rule that cuts text into words where a file lacks ``tokenizer.ggml.pre``."""


@dataclass(frozen=True)
class Network:
    """A network in a config.json: its names, the defaults of its class, what is special."""

    name: str
    model_type: str
    architecture: str
    hidden_act: str
    rope_theta: float
    rms_norm_eps: float
    head_dim: int | None = None
    """The default; None: hidden_size / num_attention_heads."""
    tie_word_embeddings: bool = False
    weights: Literal["ternary", "float", "grouped", "binary"] = "ternary"
    """The linears where config.json has no quantization_config. ``ternary``: masters, one scale
    per tensor; ``float``: as they are, or grouped where the tensors are; ``grouped``: ternary,
    one scale for each 128 weights of a row, for float activations; ``binary``: -1 and +1,
    normalized and quantized in ``quantization_groups`` parts of K."""
    attention_norm: str | None = None
    """The norm before o_proj, over hidden_size."""
    feed_forward_norm: str | None = None
    """The norm before down_proj, over intermediate_size."""
    head_norms: tuple[str, ...] = ()
    """Norms of each head of q and k, over head_dim."""
    scales: tuple[str, ...] = ()
    """Numbers in config.json by which it multiplies; the config has fields of these names."""
    biases: tuple[str, ...] = ()
    """Fields of config.json that give linears a bias, unless they have group scales."""
    experts: bool = False
    """Whether the feed-forward network is a mixture of experts: ``block_sparse_moe``."""
    shared_expert: bool = False
    """Whether ``shared_mlp``, which all tokens go through, may stand beside the experts."""
    separate_experts: bool = False
    """Whether files hold gate, up and down of each expert as tensors of their own."""
    windows: bool = False
    """Whether ``layer_types`` names layers with a window and rotary positions, and others."""
    inner_field: str = "intermediate_size"
    """The field of config.json for the inner features of the feed-forward network."""
    own_field: str | None = None
    """A field that no other network with the same model_type has in its config.json."""
    in_transformers: bool = True
    """Whether transformers has a class for it."""
    task: Literal["text-generation", "embedding"] = "text-generation"
    """What it gives: logits of the next token, or a vector of the whole text."""
    activation_field: str = "hidden_act"
    """The field of config.json that names the activation."""
    sandwich: bool = False
    """Whether attention and feed-forward have a norm after them, too, as in Gemma 3."""
    offset_norms: bool = False
    """Whether norms multiply by ``1 + weight``; those inside linears never do."""
    tokenizer_class: str | None = None
    """The tokenizer that transformers registers for the model_type, where it registers one."""
    prism: bool = False
    """Whether PrismML's forms are read: MLX's packs of 2 bits, and a rotated basis."""
    gguf: Gguf = field(default_factory=Gguf)


GRANITE = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")

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
        gguf=Gguf(
            ("bitnet-b1.58", "bitnet", "bitnet-25"),
            written=True,
            llama_cpp="bitnet",
            words="llama-bpe",  # the published file lacks the name of its own rule
        ),
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
    Network(  # Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58; grouped: TriLM; float: SmolLM2
        name="llama",
        model_type="llama",
        architecture="LlamaForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        weights="float",
        biases=("attention_bias", "mlp_bias"),
        prism=True,
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
    Network(  # grouped: PrismML Ternary-Bonsai; float: Qwen3
        name="qwen3",
        model_type="qwen3",
        architecture="Qwen3ForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        head_dim=128,
        weights="float",
        biases=("attention_bias",),
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        tokenizer_class="Qwen2Tokenizer",
        prism=True,
        gguf=Gguf(("qwen3",), grouped=True),
    ),
    Network(  # IBM Granite 3: LLaMA with four multipliers
        name="granite",
        model_type="granite",
        architecture="GraniteForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        weights="float",
        biases=("attention_bias", "mlp_bias"),
        scales=GRANITE,
        gguf=Gguf(("granite",), pairs=True),
    ),
    Network(  # IBM PowerMoE and Granite 3 MoE
        name="granitemoe",
        model_type="granitemoe",
        architecture="GraniteMoeForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        weights="float",
        biases=("attention_bias",),
        scales=GRANITE,
        experts=True,
        gguf=Gguf(("granitemoe",), pairs=True),
    ),
    Network(  # the same with a network beside the experts
        name="granitemoeshared",
        model_type="granitemoeshared",
        architecture="GraniteMoeSharedForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        weights="float",
        biases=("attention_bias",),
        scales=GRANITE,
        experts=True,
        shared_expert=True,
        gguf=Gguf(("granitemoe",), pairs=True),
    ),
    Network(  # deepgrove/maple-preview
        name="maple",
        model_type="maple",
        architecture="MapleForCausalLM",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        head_dim=128,
        weights="float",
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        experts=True,
        separate_experts=True,
        windows=True,
        inner_field="moe_intermediate_size",
        in_transformers=False,
    ),
    Network(  # microsoft/bitnet-embedding-0.6b
        name="qwen3_embedding",
        model_type="qwen3",
        architecture="Qwen3Model",
        hidden_act="silu",
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        head_dim=128,
        weights="float",
        biases=("attention_bias",),
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        task="embedding",
        tokenizer_class="Qwen2Tokenizer",
        gguf=Gguf(("qwen3",), written=True),
    ),
    Network(  # microsoft/bitnet-embedding-270m
        name="gemma3_embedding",
        model_type="gemma3_text",
        architecture="Gemma3TextModel",
        hidden_act="gelu_pytorch_tanh",
        activation_field="hidden_activation",
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        head_dim=256,
        weights="float",
        biases=("attention_bias",),
        head_norms=("self_attn.q_norm", "self_attn.k_norm"),
        task="embedding",
        sandwich=True,
        offset_norms=True,
        # Neither the positions of sliding layers nor their window are in the metadata.
        gguf=Gguf(("gemma3",), sentencepiece=True, metadata_suffices=False),
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
        scales=("scale_emb", "scale_depth", "dim_model_base"),
        in_transformers=False,
        gguf=Gguf(("minicpm",), pairs=True, grouped=True),
    ),
)
RECORDS = {network.name: network for network in _LIST}


def of_config(fields: Mapping[str, Any], embedding: bool | None = None) -> Network | None:
    """Return the network that a ``config.json`` describes, None where its model_type is unknown.

    embedding: whether the tensors are those of an embedding network; None: only the config is
    known, and its ``architectures`` decide.
    """
    model_type = fields.get("model_type")
    bodies = [n for n in _LIST if n.task == "embedding" and n.model_type == model_type]
    if embedding is None:
        embedding = fields.get("architectures") in [[body.architecture] for body in bodies]
    if embedding:
        return next(iter(bodies), None)
    for network in _LIST:
        if network.own_field is None:
            continue
        declared = network.model_type == model_type and fields.get(network.own_field) is not None
        if declared or fields.get("architectures") == [network.architecture]:
            return network
    named = (n for n in _LIST if n.model_type == model_type and n.own_field is None)
    return next((network for network in named if network.task != "embedding"), None)


def of_architecture(architecture: str) -> list[Network]:
    """Return the networks that GGUF files of this ``general.architecture`` may hold."""
    return [network for network in _LIST if architecture in network.gguf.architectures]
