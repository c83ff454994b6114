"""What a BitNet network is, read from a checkpoint's ``config.json``.

Knows which networks there are, the field names of transformers' configs and which of their values
we can run; an unsupported one is refused by name. Knows nothing of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigError
from ..files import read_object
from . import fields as read
from .quantization import GROUP_SIZE, read_grouped, read_quantization
from .rope import RopeScaling, read_rope

__all__ = ["BitNetConfig"]

# The sums of W1.58A8 stay exact in float32 while 128 * K <= 2**24.
MAX_FEATURES = 1 << 17
MAX_VOCABULARY = 1 << 24
MAX_LAYERS = 1024


class _Network(NamedTuple):
    """What a config.json says of a network, and the defaults of its class."""

    model_type: str
    architecture: str
    hidden_act: str
    rope_theta: float
    rms_norm_eps: float
    head_dim: int | None = None
    tie_word_embeddings: bool = False


NETWORKS = {
    "bitnet": _Network("bitnet", "BitNetForCausalLM", "relu2", 5e5, 1e-5),
    "llama": _Network("llama", "LlamaForCausalLM", "silu", 1e4, 1e-6),
    "bitnet_b1_58": _Network("llama", "BitnetForCausalLM", "silu", 1e4, 1e-6),
    "bitnet_2023": _Network("bitnet_2023", "BitNet2023ForCausalLM", "silu", 1e4, 1e-6),
    "qwen3": _Network("qwen3", "Qwen3ForCausalLM", "silu", 1e4, 1e-6, head_dim=128),
    "minicpm": _Network(
        "minicpm", "MiniCPMForCausalLM", "silu", 1e4, 1e-6, tie_word_embeddings=True
    ),
}
GROUPED = ("qwen3", "minicpm")  # a scale for each group of weights along K
SUB_NORMED = ("bitnet", "bitnet_b1_58")  # the norm before o_proj has hidden_size entries


@dataclass(frozen=True)
class BitNetConfig:
    """A network of the BitNet family; sizes in elements."""

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
    """``offline``: ternary weights are stored; ``online``: float masters; None: not declared."""
    divide_by_scale: bool
    """``linear_class: bitlinear`` divides by ``weight_scale``, ``autobitlinear`` multiplies."""
    network: str = "bitnet"
    """``bitnet``: 2B-4T; ``llama``: Falcon3-1.58bit, Falcon-E, Llama3-8B-1.58; ``bitnet_b1_58``:
    1bitLLM's bitnet_b1_58-large and -3B; ``bitnet_2023``: the first BitNet, with binary weights;
    ``qwen3``: Ternary-Bonsai; ``minicpm``: BitCPM4. What they compute is in
    ``model/<network>.py``."""
    rope_scaling: RopeScaling | None = None
    linear_norm_eps: float | None = None
    """``use_rms_norm``: each BitLinear has an RMSNorm of its own, with this eps."""
    quantization_groups: int = 1
    """Equal parts of K that ``bitnet_2023`` normalizes and quantizes each by itself."""
    group_size: int | None = None
    """Weights along K that share a scale, in ``qwen3`` and ``minicpm``; None: one for all."""
    float_activations: bool = False
    """Linears take activations as they are: no int8."""
    scale_emb: float = 1.0
    """``minicpm``: what the embedding is multiplied by."""
    scale_depth: float = 1.0
    """``minicpm``: each residual branch is multiplied by this / sqrt(num_hidden_layers)."""
    dim_model_base: int | None = None
    """``minicpm``: the last norm's output is divided by hidden_size / this."""

    @classmethod
    def from_file(cls, path: Path) -> BitNetConfig:
        """Read ``config.json``; raises ConfigError naming the file and the field."""
        fields = read_object(
            path,
            ConfigError,
            hint="give the folder that holds config.json and the .safetensors files",
        )
        try:
            return cls.from_dict(fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}", hint=error.hint) from None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BitNetConfig:
        """Take the fields of a ``config.json``; raises ConfigError naming the field."""
        name = _network(fields)
        network = NETWORKS[name]
        read.one_of(fields, "hidden_act", (network.hidden_act,), network.hidden_act)
        for bias in ("attention_bias", "mlp_bias"):
            read.one_of(fields, bias, (False,), False)
        _check_attention(fields)
        hidden = read.size(fields, "hidden_size", MAX_FEATURES)
        heads = read.size(fields, "num_attention_heads", MAX_FEATURES)
        kv_heads = read.size(fields, "num_key_value_heads", heads, default=heads)
        if heads % kv_heads:
            raise ConfigError(
                f"num_attention_heads is {heads}, expected a multiple of "
                f"num_key_value_heads {kv_heads}"
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
        if name in SUB_NORMED and heads * head_dim != hidden:
            raise ConfigError(
                f"num_attention_heads * head_dim is {heads * head_dim}, expected hidden_size "
                f"{hidden}: the norm before o_proj has hidden_size entries"
            )
        if heads * head_dim > MAX_FEATURES:
            raise ConfigError(
                f"num_attention_heads * head_dim is {heads * head_dim}, expected at most "
                f"{MAX_FEATURES}"
            )
        inner = read.size(fields, "intermediate_size", MAX_FEATURES)
        if name == "bitnet_2023" and fields.get("quantization_config") is not None:
            raise ConfigError(
                "quantization_config is given, model_type 'bitnet_2023' expects none: its float "
                "masters are stored"
            )
        quantization = (read_grouped if name in GROUPED else read_quantization)(fields)
        if name in GROUPED:
            _check_group_widths(hidden, heads * head_dim, inner)
        groups = read.size(fields, "quantization_groups", MAX_FEATURES, default=1)
        if groups > 1 and name != "bitnet_2023":
            raise ConfigError(
                f"quantization_groups is {groups}, supported by model_type 'bitnet_2023' alone"
            )
        if any(width % groups for width in (hidden, heads * head_dim, inner)):
            raise ConfigError(
                f"quantization_groups is {groups}, expected a divisor of hidden_size {hidden}, "
                f"num_attention_heads * head_dim {heads * head_dim} and intermediate_size {inner}"
            )
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
            network=name,
            rope_scaling=scaling,
            quantization_groups=groups,
            **quantization._asdict(),
            **(_minicpm(fields) if name == "minicpm" else {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as transformers writes them into ``config.json``."""
        eos = self.eos_token_id
        network = NETWORKS[self.network]
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
        if self.network == "bitnet_2023":
            fields["quantization_groups"] = self.quantization_groups
        if self.network == "minicpm":
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


def _network(fields: dict[str, Any]) -> str:
    """The network's name; 1bitLLM's own code calls its model_type "llama" too."""
    known = tuple(dict.fromkeys(network.model_type for network in NETWORKS.values()))
    model_type = read.one_of(fields, "model_type", known, None)
    read.one_of(fields, "weight_bits", (1,), 1)
    read.one_of(fields, "input_bits", (8,), 8)
    if fields.get("architectures") == ["BitnetForCausalLM"]:
        return "bitnet_b1_58"
    if model_type == "llama" and "weight_bits" in fields:
        return "bitnet_b1_58"
    if model_type == "llama" and fields.get("quantization_config") is None:
        raise ConfigError(
            "model_type is 'llama' without a quantization_config: a LLaMA with float weights, "
            "expected quantization_config.quant_method 'bitnet'",
            hint="if these are the float masters of a BitNet, add a quantization_config with "
            "linear_class 'autobitlinear' and quantization_mode 'online'",
        )
    return str(model_type)


def _check_group_widths(hidden: int, width: int, inner: int) -> None:
    names = ("hidden_size", "num_attention_heads * head_dim", "intermediate_size")
    for name, features in zip(names, (hidden, width, inner), strict=True):
        if features % GROUP_SIZE:
            raise ConfigError(
                f"{name} is {features}, expected a multiple of {GROUP_SIZE}, the weights that "
                "share a scale"
            )


def _minicpm(fields: dict[str, Any]) -> dict[str, Any]:
    """The three scales of MiniCPM, with the defaults of its class."""
    return {
        "scale_emb": read.positive(fields, "scale_emb", 1.0),
        "scale_depth": read.positive(fields, "scale_depth", 1.0),
        "dim_model_base": read.size(fields, "dim_model_base", MAX_FEATURES, default=1),
    }


def _check_attention(fields: dict[str, Any]) -> None:
    """Every layer attends to all that is before it."""
    read.one_of(fields, "use_sliding_window", (None, False), False)
    kinds = fields.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or set(kinds) - {"full_attention"}):
        raise ConfigError(f"layer_types is {kinds!r:.200}, expected 'full_attention' everywhere")
    read.one_of(fields, "sparse_config", (None,), None)
