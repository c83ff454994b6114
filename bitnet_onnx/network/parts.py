"""The parts of a network: every tensor that a checkpoint holds, by its published name.

They are made once from the config, for all code that reads, writes, traces or exports weights.
Knows names and shapes; knows no values.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .config import BitNetConfig

__all__ = ["MIXTURE", "ExpertLinear", "Linear", "Parts", "parts_of"]

MIXTURE = "block_sparse_moe"
ROUTER = f"{MIXTURE}.router.layer.weight"


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
class ExpertLinear:
    """One linear of every expert, W [count, rows, features]; ``name`` is without ``.weight``."""

    name: str
    count: int
    rows: int
    features: int
    parts: int
    """Equal parts of the rows, each with its own scale: 2 where gate and up are in one tensor."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.count, self.rows, self.features


@dataclass(frozen=True)
class Parts:
    """All tensors of a network. Tables are [vocab_size, hidden_size]."""

    linears: dict[str, Linear]
    """Name -> linear, in the order of the network."""
    experts: dict[str, ExpertLinear]
    """Name -> the same linear of every expert; two in each layer with experts."""
    routers: dict[str, tuple[int, int]]
    """Name -> shape of the weight of every router, a float matrix."""
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
    layers = [f"model.layers.{layer}." for layer in range(config.num_hidden_layers)]
    shapes, sizes = _linear_shapes(config), _norm_sizes(config)
    linears = {layer + name: shape for layer in layers for name, shape in shapes.items()}
    norms = {f"{layer}{name}.weight": size for layer in layers for name, size in sizes.items()}
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
        experts={e.name: e for layer in layers for e in _experts(config, layer + MIXTURE)},
        routers={f"{layer}{ROUTER}": _router(config) for layer in layers if config.mixture},
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
    attention = {
        "self_attn.q_proj": (width, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, width),
    }
    if config.mixture is None:
        return attention | {
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
    if (shared := config.mixture.shared_intermediate_size) == 0:
        return attention
    return attention | {
        "shared_mlp.input_linear": (2 * shared, hidden),
        "shared_mlp.output_linear": (hidden, shared),
    }


def _experts(config: BitNetConfig, name: str) -> list[ExpertLinear]:
    """Return the two linears of the experts of a layer; ``name`` is that of their module."""
    if config.mixture is None:
        return []
    count, hidden, inner = (
        config.mixture.num_local_experts,
        config.hidden_size,
        config.intermediate_size,
    )
    return [
        ExpertLinear(f"{name}.input_linear", count, 2 * inner, hidden, parts=2),
        ExpertLinear(f"{name}.output_linear", count, hidden, inner, parts=1),
    ]


def _router(config: BitNetConfig) -> tuple[int, int]:
    assert config.mixture is not None
    return config.mixture.num_local_experts, config.hidden_size


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
