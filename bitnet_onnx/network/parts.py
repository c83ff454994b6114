"""The parts of a network: every tensor that a checkpoint holds, by its published name.

They are made once from the config, for all code that reads, writes, traces or exports weights.
Knows names and shapes; knows no values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .config import BitNetConfig

__all__ = ["Linear", "Parts", "parts_of"]


@dataclass(frozen=True)
class Linear:
    """One linear, W [rows, features]; ``name`` is without ``.weight``."""

    name: str
    rows: int
    features: int
    group_size: int | None = None
    """Weights of a row that share a scale; None: all weights of all rows share one."""
    splits: int | None = None
    """Equal parts of K, each with its own scale and operator; None: K is not split."""
    bias: bool = False
    """Whether a bias [rows] is added."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.features

    @property
    def operands(self) -> tuple[str, ...]:
        """The name of each of its operators, without ``.weight`` and ``.weight_scale``."""
        if self.splits is None:
            return (self.name,)
        return tuple(f"{self.name}.{split}" for split in range(self.splits))

    @property
    def operand_shape(self) -> tuple[int, int]:
        """The shape of the matrix that one operator multiplies by."""
        return self.rows, self.features // (self.splits or 1)

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape of the weight_scale of one operator."""
        return (1,) if self.group_size is None else (self.rows, self.features // self.group_size)


@dataclass(frozen=True)
class Parts:
    """All tensors of a network. Tables are [vocab_size, hidden_size]."""

    linears: dict[str, Linear]
    """Name -> linear, in the order of the network."""
    norms: dict[str, int]
    """Name -> size of the weight of every RMSNorm."""
    embedding: str
    head: str
    """The name of the embedding where the two are tied, or where there is no head."""
    offset_norms: frozenset[str] = frozenset()
    """Norms that multiply by ``1 + weight``."""

    @property
    def biases(self) -> dict[str, int]:
        """Name -> size of every bias."""
        return {f"{name}.bias": linear.rows for name, linear in self.linears.items() if linear.bias}

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.embedding, self.head)))


@cache
def parts_of(config: BitNetConfig) -> Parts:
    """Return the parts of the network that a config describes."""
    linears = {
        f"model.layers.{layer}.{name}": shape
        for layer in range(config.num_hidden_layers)
        for name, shape in _linear_shapes(config).items()
    }
    norms = {
        f"model.layers.{layer}.{name}.weight": size
        for layer in range(config.num_hidden_layers)
        for name, size in _norm_sizes(config).items()
    }
    norms["model.norm.weight"] = config.hidden_size
    offset = frozenset(norms if config.record.offset_norms else ())
    if config.linear_norm_eps is not None:
        norms |= {f"{name}.rms_norm.weight": features for name, (_, features) in linears.items()}
    embedding = "model.embed_tokens.weight"
    return Parts(
        linears={
            name: Linear(name, *shape, config.group_size, _splits(config), _has_bias(config, name))
            for name, shape in linears.items()
        },
        norms=norms,
        embedding=embedding,
        head=embedding if config.tie_word_embeddings else "lm_head.weight",
        offset_norms=offset,
    )


def _linear_shapes(config: BitNetConfig) -> dict[str, tuple[int, int]]:
    """Return the (N, K) of each linear of a layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    width = config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    return {
        "self_attn.q_proj": (width, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, width),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def _norm_sizes(config: BitNetConfig) -> dict[str, int]:
    """Return the size of each norm of a layer."""
    network = config.record
    sizes = {"input_layernorm": config.hidden_size, "post_attention_layernorm": config.hidden_size}
    if network.sandwich:
        names = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
        sizes |= dict.fromkeys(names, config.hidden_size)
    sizes |= dict.fromkeys(network.head_norms, config.head_dim)
    if network.attention_norm is not None:
        sizes[network.attention_norm] = config.hidden_size
    if network.feed_forward_norm is not None:
        sizes[network.feed_forward_norm] = config.intermediate_size
    return sizes


def _has_bias(config: BitNetConfig, linear: str) -> bool:
    return config.attention_bias if ".self_attn." in linear else config.mlp_bias


def _splits(config: BitNetConfig) -> int | None:
    return config.quantization_groups if config.record.weights == "binary" else None
