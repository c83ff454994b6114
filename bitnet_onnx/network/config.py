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
from .body import Body, Look
from .gemma import Gemma, read_positions
from .hadamard import Hadamard
from .key_lists import CONFIG_KEYS, EXPERT_KEYS
from .keys import sort_out
from .maple import read_experts
from .mixture import Mixture
from .quantization import (
    FLOAT,
    GROUP_SIZE,
    GROUPED,
    UNQUANTIZED,
    Quantization,
    grouped_section,
    read_embedding,
    read_grouped,
    read_mlx,
    read_quantization,
)
from .records import RECORDS, Network
from .rope import RopeScaling
from .select import network_of
from .sizes import MAX_FEATURES, MAX_LAYERS, MAX_VOCABULARY, attention_sizes, quantization_groups

__all__ = ["BitNetConfig"]


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
    """``offline``: ternary weights are stored; ``online`` and None, not declared: masters are;
    ``float``: the linears are not quantized."""
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
    embedding_multiplier: float = 1.0
    """Granite: the factor of the embedding."""
    attention_multiplier: float = 1.0
    """Granite: the factor of the scores, in place of 1 / sqrt(head_dim)."""
    residual_multiplier: float = 1.0
    """Granite: the factor of each residual branch."""
    logits_scaling: float = 1.0
    """Granite: logits are divided by it."""
    attention_bias: bool = False
    """Whether q, k, v and o add a bias."""
    mlp_bias: bool = False
    """Whether gate, up and down add a bias."""
    mixture: Mixture | None = None
    """The experts of each layer; None: one feed-forward network."""
    gemma: Gemma | None = None
    """What only Gemma 3 has."""
    hadamard: Hadamard | None = None
    """The weights that are stored in a rotated basis; config.json does not hold them."""
    mlx_group_size: int | None = field(default=None, compare=False)
    """Weights that share a scale and a bias in a pack of MLX; None: it is no such pack."""
    not_read: tuple[str, ...] = field(default=(), compare=False)
    """Keys without a reader that are on no list of ``keys.py``."""
    ignored_keys: tuple[str, ...] = field(default=(), compare=False)
    """Keys that the user chose to ignore."""

    @property
    def record(self) -> Network:
        return RECORDS[self.network]

    @property
    def float_linears(self) -> bool:
        """Whether the linears are the checkpoint's own floats."""
        return self.quantization == FLOAT

    def grouped(self) -> BitNetConfig:
        """Return the config of float linears that hold code times scale in groups."""
        return replace(self, **GROUPED._asdict())

    @classmethod
    def from_file(
        cls, path: Path, ignore_keys: Collection[str] = (), body: Look | None = None
    ) -> BitNetConfig:
        """Read ``config.json``; raise ConfigError naming the file and the field."""
        found = read_object(
            path,
            ConfigError,
            hint="give the folder that holds config.json and the .safetensors files",
        )
        try:
            return cls.from_dict(found, ignore_keys, body)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}", hint=error.hint) from None

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], ignore_keys: Collection[str] = (), body: Look | None = None
    ) -> BitNetConfig:
        """Read the fields of a ``config.json``; raise ConfigError naming the field.

        ignore_keys: keys that are not read, which would be refused because they can change a
        network; one inside a section is ``section.key``. body: looks at the tensors' names, where
        a network that embeds texts has the same config as another; None: there are no tensors.
        """
        fields = read.Fields(given)
        config = cls._read(fields, body)
        objects = (fields, *fields.inner.values())
        known = (*(EXPERT_KEYS if config.mixture else ()), *CONFIG_KEYS)
        unread = [sort_out(o, known, read=o.read, ignore=ignore_keys) for o in objects]
        return replace(
            config,
            not_read=tuple(key for found in unread for key in found.noted),
            ignored_keys=tuple(key for found in unread for key in found.ignored),
        )

    @classmethod
    def _read(cls, fields: read.Fields, body: Look | None) -> BitNetConfig:
        network, seen = network_of(fields, body)
        for name in {network.activation_field, "hidden_act"}:
            read.one_of(fields, name, (network.hidden_act,), network.hidden_act)
        hidden, heads, kv_heads, head_dim = attention_sizes(fields, network)
        widths = {
            "hidden_size": hidden,
            "num_attention_heads * head_dim": heads * head_dim,
            network.inner_field: read.size(fields, network.inner_field, MAX_FEATURES),
        }
        quantization = _quantization(fields, network, widths, seen)
        context = read.size(fields, "max_position_embeddings", MAX_VOCABULARY, default=2048)
        layers = read.size(fields, "num_hidden_layers", MAX_LAYERS)
        positions = read_positions(fields, network, layers, context, head_dim)
        vocab = read.size(fields, "vocab_size", MAX_VOCABULARY)
        tied = read.flag(fields, "tie_word_embeddings", network.tie_word_embeddings)
        return cls(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=widths[network.inner_field],
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            max_position_embeddings=context,
            rms_norm_eps=read.positive(fields, "rms_norm_eps", network.rms_norm_eps),
            tie_word_embeddings=tied or network.task == "embedding",  # it has no head
            bos_token_id=read.token(fields, "bos_token_id", vocab),
            eos_token_id=read.tokens(fields, "eos_token_id", vocab),
            pad_token_id=read.token(fields, "pad_token_id", vocab),
            network=network.name,
            quantization_groups=quantization_groups(fields, network, widths),
            **quantization._asdict(),
            **_scales(fields, network),
            **_biases(fields, network, quantization),
            mixture=read_experts(fields, network, layers, head_dim),
            **positions,
            **({"embedding_multiplier": hidden**0.5} if network.sandwich else {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a ``config.json``: the inverse of ``from_dict``."""
        eos, network = self.eos_token_id, self.record
        fields: dict[str, Any] = {
            "architectures": [network.architecture],
            "model_type": network.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            network.inner_field: self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            network.activation_field: network.hidden_act,
            "attention_bias": self.attention_bias,
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
        fields |= {"mlp_bias": True} if self.mlp_bias else {}
        fields |= {name: getattr(self, name) for name in network.scales}
        for part in (self.mixture, self.gemma):
            fields |= {} if part is None else part.to_dict()
        scaling, section = self.rope_scaling, self._quantization_config()
        fields |= {} if scaling is None else {"rope_scaling": scaling.to_dict()}
        return fields if section is None else {**fields, "quantization_config": section}

    def _quantization_config(self) -> dict[str, Any] | None:
        """Return the section, None where published files of the network have none."""
        if self.group_size is not None:
            published = self.quantization == "offline" and self.float_activations
            if self.record.weights == "grouped" and published:
                return None
            return {
                "quant_method": "bitnet",
                "quantization_mode": self.quantization,
                "group_size": self.group_size,
                "activations": None if self.float_activations else "int8",
            }
        if self.quantization in (None, FLOAT):
            return None
        norm = {"use_rms_norm": True, "rms_norm_eps": self.linear_norm_eps}
        return {
            "quant_method": "bitnet",
            "linear_class": "bitlinear" if self.divide_by_scale else "autobitlinear",
            "quantization_mode": self.quantization,
            **({} if self.linear_norm_eps is None else norm),
        }


def _quantization(
    fields: dict[str, Any], network: Network, widths: dict[str, int], seen: Body | None
) -> Quantization:
    if network.task == "embedding":
        return read_embedding(fields, network.rms_norm_eps, seen)
    if network.weights == "binary" and fields.get("quantization_config") is not None:
        raise ConfigError(
            f"quantization_config is given, expected none for model_type {network.model_type!r}: "
            "its checkpoints hold float masters"
        )
    mlx = network.prism and fields.get("quantization") is not None
    if network.weights == "float" and not mlx and fields.get("quantization_config") is None:
        return UNQUANTIZED
    asked = mlx or (network.weights == "float" and not network.experts and grouped_section(fields))
    if network.weights != "grouped" and not asked:
        return read_quantization(fields, network.experts)
    for name, features in widths.items():
        if features % GROUP_SIZE:
            raise ConfigError(
                f"{name} is {features}, expected a multiple of {GROUP_SIZE}: this many weights "
                "share a scale"
            )
    return read_mlx(fields) if mlx else read_grouped(fields)


def _scales(fields: dict[str, Any], network: Network) -> dict[str, Any]:
    """Read the numbers by which a network multiplies, with the defaults of its class: all 1."""
    return {
        name: read.declared(fields, name, MAX_FEATURES, default=1)
        if name == "dim_model_base"
        else read.positive(fields, name, 1.0)
        for name in network.scales
    }


def _biases(fields: dict[str, Any], network: Network, found: Quantization) -> dict[str, Any]:
    """Read which linears have a bias; where it is not read, a field of true is refused."""
    if found.group_size or (found.quantization != FLOAT and network.task == "embedding"):
        return {}
    return {name: read.flag(fields, name, False) for name in network.biases}
