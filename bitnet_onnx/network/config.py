"""The description of a BitNet network, read from a checkpoint's ``config.json``.

Knows the networks, the field names of transformers' configs and the supported values; others are
refused by name. Knows no tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..files import read_object
from . import fields as read
from .key_lists import CONFIG_KEYS
from .keys import sort_out
from .quantization import GROUP_SIZE, Quantization, read_grouped, read_quantization
from .records import RECORDS, Network, of_config
from .rope import RopeScaling, read_rope

__all__ = ["MASTERS", "BitNetConfig"]

# The sums of W1.58A8 stay exact in float32 while 128 * K <= 2**24.
MAX_FEATURES = 1 << 17
MAX_VOCABULARY = 1 << 24
MAX_LAYERS = 1024
MASTERS = (
    "float weights are not supported; if these are the float masters of a BitNet with int8 "
    "activations, add a quantization_config with linear_class 'autobitlinear' and "
    "quantization_mode 'online'"
)


@dataclass(frozen=True)
class BitNetConfig:
    """A network of the BitNet family; sizes are in elements."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_id: tuple[int, ...]
    pad_token_id: int | None
    quantization: str | None
    """``offline``: ternary weights are stored; ``online`` and None, not declared: masters are."""
    divide_by_scale: bool
    """``linear_class: bitlinear`` divides by ``weight_scale``, ``autobitlinear`` multiplies."""
    network: str = "bitnet"
    """The name of its record in ``records.py`` and of its file in ``model/networks/``."""
    rope_scaling: RopeScaling | None = None
    linear_norm_eps: float | None = None
    """``use_rms_norm``: the eps of the RMSNorm inside each BitLinear; None: there is none."""
    quantization_groups: int = 1
    """Equal parts of K; a binary network normalizes and quantizes each separately."""
    group_size: int | None = None
    """Weights along K that share a scale; None: one scale per tensor."""
    float_activations: bool = False
    """Whether linears take float activations, not int8."""
    scale_emb: float = 1.0
    """MiniCPM: the factor of the embedding."""
    scale_depth: float = 1.0
    """MiniCPM: each residual branch is multiplied by scale_depth / sqrt(num_hidden_layers)."""
    dim_model_base: int | None = None
    """MiniCPM: the last norm's output is divided by hidden_size / dim_model_base."""
    num_local_experts: int = 0
    """The experts of each layer; 0: the feed-forward network is one."""
    num_experts_per_tok: int = 0
    """The experts that each token goes through."""
    shared_intermediate_size: int = 0
    """The inner features of a feed-forward network beside the experts; 0: there is none."""
    output_router_logits: bool = False
    """Whether ``forward`` returns router logits, and the loss has the balance loss in it."""
    router_aux_loss_coef: float = 0.0
    not_read: tuple[str, ...] = field(default=(), compare=False)
    """Keys that nothing reads and that are on no list of ``keys.py``."""
    ignored_keys: tuple[str, ...] = field(default=(), compare=False)
    """Keys that the user chose to ignore."""

    @property
    def record(self) -> Network:
        return RECORDS[self.network]

    @classmethod
    def from_file(cls, path: Path, ignore_keys: Collection[str] = ()) -> BitNetConfig:
        """Read ``config.json``; raise ConfigError naming the file and the field."""
        found = read_object(
            path,
            ConfigError,
            hint="give the folder that holds config.json and the .safetensors files",
        )
        try:
            return cls.from_dict(found, ignore_keys)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}", hint=error.hint) from None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], ignore_keys: Collection[str] = ()) -> BitNetConfig:
        """Read the fields of a ``config.json``; raise ConfigError naming the field.

        ignore_keys: keys that are not read, which would be refused because they can change a
        network; one inside a section is ``section.key``.
        """
        fields = read.Fields(given)
        config = cls._read(fields)
        objects = (fields, *fields.inner.values())
        unread = [sort_out(o, CONFIG_KEYS, read=o.read, ignore=ignore_keys) for o in objects]
        return replace(
            config,
            not_read=tuple(key for found in unread for key in found.noted),
            ignored_keys=tuple(key for found in unread for key in found.ignored),
        )

    @classmethod
    def _read(cls, fields: read.Fields) -> BitNetConfig:
        network = _network(fields)
        read.one_of(fields, "hidden_act", (network.hidden_act,), network.hidden_act)
        hidden, heads, kv_heads, head_dim = _attention_sizes(fields, network)
        inner = read.size(fields, "intermediate_size", MAX_FEATURES)
        widths = {
            "hidden_size": hidden,
            "num_attention_heads * head_dim": heads * head_dim,
            "intermediate_size": inner,
        }
        quantization = _quantization(fields, network, widths)
        context = read.size(fields, "max_position_embeddings", MAX_VOCABULARY, default=2048)
        theta, scaling = read_rope(fields, network.rope_theta, context, head_dim)
        vocab = read.size(fields, "vocab_size", MAX_VOCABULARY)
        return cls(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=read.size(fields, "num_hidden_layers", MAX_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            max_position_embeddings=context,
            rope_theta=theta,
            rms_norm_eps=read.positive(fields, "rms_norm_eps", network.rms_norm_eps),
            tie_word_embeddings=read.flag(
                fields, "tie_word_embeddings", network.tie_word_embeddings
            ),
            bos_token_id=read.token(fields, "bos_token_id", vocab),
            eos_token_id=read.tokens(fields, "eos_token_id", vocab),
            pad_token_id=read.token(fields, "pad_token_id", vocab),
            network=network.name,
            rope_scaling=scaling,
            quantization_groups=_quantization_groups(fields, network, widths),
            **quantization._asdict(),
            **(_residual_scales(fields) if network.scaled_residuals else {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a ``config.json``: the inverse of ``from_dict``."""
        eos = self.eos_token_id
        network = self.record
        fields: dict[str, Any] = {
            "architectures": [network.architecture],
            "model_type": network.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": network.hidden_act,
            "attention_bias": False,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos[0] if len(eos) == 1 else list(eos),
            "pad_token_id": self.pad_token_id,
            "torch_dtype": "bfloat16",
        }
        if network.weights == "binary":
            fields["quantization_groups"] = self.quantization_groups
        if network.scaled_residuals:
            names = ("scale_emb", "scale_depth", "dim_model_base")
            fields |= {name: getattr(self, name) for name in names}
        if self.rope_scaling is not None:
            fields["rope_scaling"] = self.rope_scaling.to_dict()
        if self.group_size is not None:
            if self.quantization == "online" or not self.float_activations:
                fields["quantization_config"] = {
                    "quant_method": "bitnet",
                    "quantization_mode": self.quantization,
                    "group_size": self.group_size,
                    "activations": None if self.float_activations else "int8",
                }
        elif self.quantization is not None:
            fields["quantization_config"] = {
                "quant_method": "bitnet",
                "linear_class": "bitlinear" if self.divide_by_scale else "autobitlinear",
                "quantization_mode": self.quantization,
            }
            if self.linear_norm_eps is not None:
                norm = {"use_rms_norm": True, "rms_norm_eps": self.linear_norm_eps}
                fields["quantization_config"] |= norm
        return fields


def _network(fields: dict[str, Any]) -> Network:
    """Return the network's record; refuse a config that does not say its linears are quantized."""
    known = tuple(dict.fromkeys(network.model_type for network in RECORDS.values()))
    read.one_of(fields, "model_type", known, None)
    read.one_of(fields, "weight_bits", (1, None), None)
    read.one_of(fields, "input_bits", (8, None), None)
    network = of_config(fields)
    assert network is not None
    return network


def _attention_sizes(fields: dict[str, Any], network: Network) -> tuple[int, int, int, int]:
    """Read hidden_size, num_attention_heads, num_key_value_heads and head_dim."""
    hidden = read.size(fields, "hidden_size", MAX_FEATURES)
    heads = read.size(fields, "num_attention_heads", MAX_FEATURES)
    kv_heads = read.size(fields, "num_key_value_heads", heads, default=heads)
    if heads % kv_heads:
        raise ConfigError(
            f"num_attention_heads is {heads}, expected a multiple of num_key_value_heads {kv_heads}"
        )
    if fields.get("head_dim") is None and network.head_dim is None and hidden % heads:
        raise ConfigError(
            f"hidden_size is {hidden}, expected a multiple of num_attention_heads {heads} "
            "where head_dim is not given"
        )
    default = network.head_dim or hidden // heads
    head_dim = read.size(fields, "head_dim", MAX_FEATURES, default=default)
    if head_dim % 2:
        raise ConfigError(f"head_dim is {head_dim}, expected an even number")
    width = heads * head_dim
    if network.attention_norm is not None and width != hidden:
        raise ConfigError(
            f"num_attention_heads * head_dim is {width}, expected hidden_size {hidden}: the norm "
            "before o_proj has hidden_size entries"
        )
    if width > MAX_FEATURES:
        raise ConfigError(
            f"num_attention_heads * head_dim is {width}, expected at most {MAX_FEATURES}"
        )
    return hidden, heads, kv_heads, head_dim


def _quantization(fields: dict[str, Any], network: Network, widths: dict[str, int]) -> Quantization:
    if network.weights == "binary" and fields.get("quantization_config") is not None:
        raise ConfigError(
            f"quantization_config is given, expected none for model_type {network.model_type!r}: "
            "its checkpoints hold float masters"
        )
    if network.weights != "grouped":
        return read_quantization(fields)
    for name, features in widths.items():
        if features % GROUP_SIZE:
            which = ""
            if network.may_be_float:
                which = f"model_type is {network.model_type!r} without a quantization_config, and "
            raise ConfigError(
                f"{which}{name} is {features}, expected a multiple of {GROUP_SIZE}: this many "
                "weights share a scale",
                hint=MASTERS if network.may_be_float else None,
            )
    return read_grouped(fields)


def _quantization_groups(fields: dict[str, Any], network: Network, widths: dict[str, int]) -> int:
    groups = read.size(fields, "quantization_groups", MAX_FEATURES, default=1)
    if groups > 1 and network.weights != "binary":
        binary = [n.model_type for n in RECORDS.values() if n.weights == "binary"]
        raise ConfigError(
            f"quantization_groups is {groups}, expected 1 for all but model_type {binary[0]!r}"
        )
    if any(width % groups for width in widths.values()):
        listed = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ConfigError(f"quantization_groups is {groups}, expected a divisor of: {listed}")
    return groups


def _residual_scales(fields: dict[str, Any]) -> dict[str, Any]:
    """Read the three scales of MiniCPM, with the defaults of its class."""
    return {
        "scale_emb": read.positive(fields, "scale_emb", 1.0),
        "scale_depth": read.positive(fields, "scale_depth", 1.0),
        "dim_model_base": read.size(fields, "dim_model_base", MAX_FEATURES, default=1),
    }
