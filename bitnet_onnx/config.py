"""What a BitNet network is, read from a checkpoint's ``config.json``.

Knows which networks there are, the field names of transformers' configs and which of their values
we can run; an unsupported one is refused by name. Knows nothing of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import fields as read
from .errors import ConfigError
from .files import read_object

__all__ = ["BitNetConfig", "RopeScaling"]

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


NETWORKS = {
    "bitnet": _Network("bitnet", "BitNetForCausalLM", "relu2", 5e5, 1e-5),
    "llama": _Network("llama", "LlamaForCausalLM", "silu", 1e4, 1e-6),
    "bitnet_b1_58": _Network("llama", "BitnetForCausalLM", "silu", 1e4, 1e-6),
    "bitnet_2023": _Network("bitnet_2023", "BitNet2023ForCausalLM", "silu", 1e4, 1e-6),
}
SUB_NORMED = ("bitnet", "bitnet_b1_58")  # the norm before o_proj has hidden_size entries

# transformers takes the listed modules out of quantization; these are no BitLinear anyway.
FLOAT_MODULES = {"lm_head", "model.embed_tokens", "embed_tokens", "model.norm"}


@dataclass(frozen=True)
class RopeScaling:
    """Rotary frequencies other than ``1 / theta**(2i / D)``: what is done is in ``rotary.py``.

    ``linear`` uses the factor alone, ``llama3`` all four numbers.
    """

    rope_type: str
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192


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
    1bitLLM's bitnet_b1_58-large and -3B; ``bitnet_2023``: the first BitNet, with binary weights.
    What they compute is in ``model/<network>.py``."""
    rope_scaling: RopeScaling | None = None
    linear_norm_eps: float | None = None
    """``use_rms_norm``: each BitLinear has an RMSNorm of its own, with this eps."""
    quantization_groups: int = 1
    """Equal parts of K that ``bitnet_2023`` normalizes and quantizes each by itself."""

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
        hidden = read.size(fields, "hidden_size", MAX_FEATURES)
        heads = read.size(fields, "num_attention_heads", MAX_FEATURES)
        kv_heads = read.size(fields, "num_key_value_heads", heads, default=heads)
        if heads % kv_heads:
            raise ConfigError(
                f"num_attention_heads is {heads}, expected a multiple of "
                f"num_key_value_heads {kv_heads}"
            )
        if fields.get("head_dim") is None and hidden % heads:
            raise ConfigError(
                f"hidden_size is {hidden}, expected a multiple of num_attention_heads {heads} "
                "where head_dim is not given"
            )
        head_dim = read.size(fields, "head_dim", MAX_FEATURES, default=hidden // heads)
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
        quantization, divide, linear_norm_eps = _quantization(fields)
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
        theta, scaling = _rope(fields, network.rope_theta, context)
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
            tie_word_embeddings=read.flag(fields, "tie_word_embeddings", False),
            bos_token_id=read.token(fields, "bos_token_id", vocab),
            eos_token_id=read.tokens(fields, "eos_token_id", vocab),
            pad_token_id=read.token(fields, "pad_token_id", vocab),
            quantization=quantization,
            divide_by_scale=divide,
            network=name,
            rope_scaling=scaling,
            linear_norm_eps=linear_norm_eps,
            quantization_groups=groups,
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
        if self.rope_scaling is not None:
            numbers = vars(self.rope_scaling)
            linear = self.rope_scaling.rope_type == "linear"
            used = ("rope_type", "factor") if linear else numbers
            fields["rope_scaling"] = {name: numbers[name] for name in used}
        if self.quantization is not None:
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


def _rope(
    fields: dict[str, Any], default_theta: float, context: int
) -> tuple[float, RopeScaling | None]:
    """theta and scaling, as transformers 5 reads them.

    ``rope_scaling`` of older files comes before ``rope_parameters``; a theta inside either before
    the one beside it.
    """
    where = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
    section = read.section(fields, where) or {}
    theta = read.positive(fields, "rope_theta", default_theta)
    theta = read.positive(section, f"{where}.rope_theta", theta)
    for part, name in ((fields, ""), (section, f"{where}.")):
        read.one_of(part, f"{name}partial_rotary_factor", (None, 1, 1.0), None)
    older, key = f"{where}.type", f"{where}.rope_type"
    if key not in section and older in section:
        key = older
    kind = read.one_of(section, key, ("default", "linear", "llama3"), "default")
    if kind == "default":
        return theta, None
    factor = _required(section, f"{where}.factor")
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    low, high = (_required(section, f"{where}.{end}_freq_factor") for end in ("low", "high"))
    if high <= low:
        raise ConfigError(
            f"{where}.high_freq_factor is {high}, expected more than low_freq_factor {low}"
        )
    length = "original_max_position_embeddings"
    original = read.size(section, f"{where}.{length}", MAX_VOCABULARY, default=context)
    original = read.size(fields, length, MAX_VOCABULARY, default=original)
    return theta, RopeScaling("llama3", factor, low, high, original)


def _required(section: dict[str, Any], name: str) -> float:
    return read.positive(section, name, 0.0)  # 0 is refused: the field must be there


def _quantization(fields: dict[str, Any]) -> tuple[str | None, bool, float | None]:
    """``quantization_config`` -> mode, whether weight_scale divides, eps of a norm per linear."""
    name = "quantization_config"
    section = read.section(fields, name)
    if section is None:
        return None, False, None
    read.one_of(section, f"{name}.quant_method", ("bitnet",), "bitnet")
    classes = ("bitlinear", "autobitlinear")
    linear_class = read.one_of(section, f"{name}.linear_class", classes, "bitlinear")
    modes = ("offline", "online")
    mode = read.one_of(section, f"{name}.quantization_mode", modes, "offline")
    norm = read.flag(section, f"{name}.use_rms_norm", False)
    eps = read.positive(section, f"{name}.rms_norm_eps", 1e-6) if norm else None
    _check_float_modules(section.get(f"{name}.modules_to_not_convert"))
    divide = linear_class == "bitlinear"
    # transformers' BitLinear holds packed codes, whatever the mode says.
    return "offline" if divide else mode, divide, eps


def _check_float_modules(modules: Any) -> None:
    """transformers: None leaves the head in float, a list leaves what it lists and no more."""
    if modules is None:
        return
    name = "quantization_config.modules_to_not_convert"
    if not isinstance(modules, list) or "lm_head" not in modules:
        raise ConfigError(
            f"{name} is {modules!r}, expected null or a list with 'lm_head': a quantized head is "
            "not supported"
        )
    others = [module for module in modules if module not in FLOAT_MODULES]
    if others:
        raise ConfigError(
            f"{name} leaves {', '.join(map(str, others))} in float, expected every linear but "
            "lm_head to be quantized"
        )
