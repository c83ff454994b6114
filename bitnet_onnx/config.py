"""What a BitNet network is, read from a checkpoint's ``config.json``.

Knows the field names of transformers' ``BitNetConfig`` and which of their values we can run; an
unsupported one is refused by name. Knows nothing of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import read_object

__all__ = ["BitNetConfig"]

# The sums of W1.58A8 stay exact in float32 while 128 * K <= 2**24.
MAX_FEATURES = 1 << 17
MAX_VOCABULARY = 1 << 24
MAX_LAYERS = 1024
LARGEST = 3e38  # the network computes in float32

_SUPPORTED = {
    "model_type": "bitnet",
    "hidden_act": "relu2",
    "attention_bias": False,
    "rope_scaling": None,
}


@dataclass(frozen=True)
class BitNetConfig:
    """The network of BitNet b1.58 2B-4T (arXiv 2504.12285); sizes in elements."""

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
    """``offline``: ternary weights are stored; ``online``: bf16 masters; None: not declared."""
    divide_by_scale: bool
    """``linear_class: bitlinear`` divides by ``weight_scale``, ``autobitlinear`` multiplies."""

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
        for name, supported in _SUPPORTED.items():
            found = fields.get(name, None if name == "model_type" else supported)
            if found != supported:
                raise ConfigError(f"{name} is {found!r}, supported is {supported!r}")
        hidden = _size(fields, "hidden_size", MAX_FEATURES)
        heads = _size(fields, "num_attention_heads", MAX_FEATURES)
        kv_heads = _size(fields, "num_key_value_heads", heads, default=heads)
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
        head_dim = _size(fields, "head_dim", MAX_FEATURES, default=hidden // heads)
        if head_dim % 2:
            raise ConfigError(f"head_dim is {head_dim}, expected an even number")
        if heads * head_dim != hidden:
            raise ConfigError(
                f"num_attention_heads * head_dim is {heads * head_dim}, expected hidden_size "
                f"{hidden}: attn_sub_norm has hidden_size entries"
            )
        quantization, divide = _quantization(fields.get("quantization_config"))
        vocab = _size(fields, "vocab_size", MAX_VOCABULARY)
        return cls(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=_size(fields, "intermediate_size", MAX_FEATURES),
            num_hidden_layers=_size(fields, "num_hidden_layers", MAX_LAYERS),
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            head_dim=head_dim,
            max_position_embeddings=_size(
                fields, "max_position_embeddings", MAX_VOCABULARY, default=2048
            ),
            rope_theta=_rope_theta(fields),
            rms_norm_eps=_positive(fields, "rms_norm_eps", 1e-5),
            tie_word_embeddings=_flag(fields, "tie_word_embeddings", False),
            bos_token_id=_token(fields, "bos_token_id", vocab),
            eos_token_id=_tokens(fields, "eos_token_id", vocab),
            pad_token_id=_token(fields, "pad_token_id", vocab),
            quantization=quantization,
            divide_by_scale=divide,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as transformers writes them into ``config.json``."""
        eos = self.eos_token_id
        linear_class = "bitlinear" if self.divide_by_scale else "autobitlinear"
        fields: dict[str, Any] = {
            "architectures": ["BitNetForCausalLM"],
            "model_type": "bitnet",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "relu2",
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
        if self.quantization is not None:
            fields["quantization_config"] = {
                "quant_method": "bitnet",
                "linear_class": linear_class,
                "quantization_mode": self.quantization,
            }
        return fields


def _size(fields: dict[str, Any], name: str, limit: int, default: int | None = None) -> int:
    value = fields.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise ConfigError(f"{name} is {value!r}, expected a whole number from 1 to {limit}")
    return value


def _positive(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name, default)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= LARGEST:
        raise ConfigError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def _flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}, expected true or false")
    return value


def _token(fields: dict[str, Any], name: str, vocab: int) -> int | None:
    tokens = _tokens(fields, name, vocab)
    if len(tokens) > 1:
        raise ConfigError(f"{name} is {list(tokens)!r}, expected one token id")
    return tokens[0] if tokens else None


def _tokens(fields: dict[str, Any], name: str, vocab: int) -> tuple[int, ...]:
    value = fields.get(name)
    values = [] if value is None else value if isinstance(value, list) else [value]
    for token in values:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < vocab:
            raise ConfigError(f"{name} is {value!r}, expected token ids from 0 to {vocab - 1}")
    return tuple(values)


def _rope_theta(fields: dict[str, Any]) -> float:
    """``rope_theta`` of older files, ``rope_parameters.rope_theta`` of transformers 5."""
    parameters = fields.get("rope_parameters")
    if parameters is None:
        return _positive(fields, "rope_theta", 500000.0)
    if not isinstance(parameters, dict):
        raise ConfigError(f"rope_parameters is {parameters!r}, expected an object")
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise ConfigError(f"rope_parameters.rope_type is {kind!r}, supported is 'default'")
    return _positive(parameters, "rope_theta", 500000.0)


def _quantization(section: Any) -> tuple[str | None, bool]:
    """``quantization_config`` -> (mode, whether weight_scale divides)."""
    if section is None:
        return None, False
    if not isinstance(section, dict):
        raise ConfigError(f"quantization_config is {section!r}, expected an object")
    choices: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
        ("quant_method", "bitnet", ("bitnet",)),
        ("linear_class", "bitlinear", ("bitlinear", "autobitlinear")),
        ("quantization_mode", "offline", ("offline", "online")),
        ("use_rms_norm", False, (False,)),
        ("modules_to_not_convert", None, (None, [], ["lm_head"])),
    )
    found: dict[str, Any] = {}
    for name, default, supported in choices:
        found[name] = section.get(name, default)
        if found[name] not in supported:
            listed = ", ".join(repr(value) for value in supported)
            raise ConfigError(f"quantization_config.{name} is {found[name]!r}, supported: {listed}")
    return found["quantization_mode"], found["linear_class"] == "bitlinear"
