"""The ``quantization_config`` of a config.json: how the linears are quantized.

Knows the fields of transformers' BitNet integration, and this package's two fields for group
scales, ``group_size`` (as in GPTQ's configs) and ``activations`` (as in Quanto's).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ConfigError
from . import fields as read
from .body import Body

__all__ = [
    "FLOAT",
    "GROUPED",
    "GROUP_SIZE",
    "UNQUANTIZED",
    "Quantization",
    "grouped_section",
    "read_embedding",
    "read_grouped",
    "read_mlx",
    "read_quantization",
]

NAME = "quantization_config"
GROUP_SIZE = 128
MLX, MLX_GROUPS = "quantization", (128, 64, 32)
MODES = ("offline", "online")

# transformers leaves the listed modules in float; these are never BitLinear.
FLOAT_MODULES = {
    "lm_head", "model.embed_tokens", "embed_tokens", "model.norm",
    "router", "router.layer", "block_sparse_moe.router", "block_sparse_moe.router.layer",
}  # fmt: skip


FLOAT = "float"


class Quantization(NamedTuple):
    """The fields of ``BitNetConfig`` that come from this section; they are explained there."""

    quantization: str | None = None
    divide_by_scale: bool = False
    linear_norm_eps: float | None = None
    group_size: int | None = None
    float_activations: bool = False
    mlx_group_size: int | None = None


UNQUANTIZED = Quantization(FLOAT, float_activations=True)
GROUPED = Quantization("offline", group_size=GROUP_SIZE, float_activations=True)


def grouped_section(fields: dict[str, Any]) -> bool:
    """Return whether the section asks for a scale for each group of weights."""
    section = fields.get(NAME)
    return isinstance(section, dict) and section.get("group_size") is not None


def read_quantization(fields: dict[str, Any], experts: bool = False) -> Quantization:
    """Read the section of a network with one scale per tensor; raise ConfigError naming a field.

    experts: those of the network have no norm of their own.
    """
    section = read.section(fields, NAME)
    if section is None:
        return Quantization()
    read.one_of(section, f"{NAME}.quant_method", ("bitnet", None), None)
    for other in ("group_size", "activations"):
        read.one_of(section, f"{NAME}.{other}", (None,), None)
    classes = ("bitlinear", "autobitlinear", None)
    linear_class = read.one_of(section, f"{NAME}.linear_class", classes, None) or classes[0]
    mode = read.one_of(section, f"{NAME}.quantization_mode", (*MODES, None), None) or MODES[0]
    known = (False, None) if experts else (False, True, None)
    norm = read.one_of(section, f"{NAME}.use_rms_norm", known, None)
    eps = read.optional(section, f"{NAME}.rms_norm_eps", 1e-6)
    _check_float_modules(section.get(f"{NAME}.modules_to_not_convert"))
    divide = linear_class == "bitlinear"
    # transformers' BitLinear holds packed codes in either mode.
    return Quantization("offline" if divide else mode, divide, eps if norm else None)


def read_embedding(fields: dict[str, Any], default_eps: float, seen: Body | None) -> Quantization:
    """Read the section of a network that embeds texts, whose tensors decide where it is silent.

    BitNet's embedding models have a norm inside each linear, whatever the section says, and bf16
    masters. default_eps: rms_norm_eps, where config.json does not name it.
    """
    found = read_quantization(fields)
    section = fields.get(NAME)
    if seen is None or not (seen.norms or section is not None):
        return found if section is not None else UNQUANTIZED
    asked = section or {}
    if not any(asked.get(name) for name in ("linear_class", "quantization_mode")):
        found = found._replace(quantization=MODES[0] if seen.scales else MODES[1])
        found = found._replace(divide_by_scale=found.divide_by_scale and seen.scales)
    if seen.norms and found.linear_norm_eps is None:
        eps = read.positive(fields, "rms_norm_eps", default_eps)
        found = found._replace(linear_norm_eps=eps)
    return found


def read_grouped(fields: dict[str, Any]) -> Quantization:
    """Read the section of a network with a scale for each group of weights along K.

    Published checkpoints have no section: weights are dequantized, activations not quantized.
    Raises ConfigError naming a field.
    """
    section = read.section(fields, NAME)
    if section is None:
        return GROUPED
    read.one_of(section, f"{NAME}.quant_method", ("bitnet", None), None)
    read.one_of(section, f"{NAME}.group_size", (GROUP_SIZE,), None)
    read.one_of(section, f"{NAME}.linear_class", (None,), None)
    read.one_of(section, f"{NAME}.use_rms_norm", (None, False), None)
    read.optional(section, f"{NAME}.rms_norm_eps", 1e-6)  # of no norm
    mode = read.one_of(section, f"{NAME}.quantization_mode", (*MODES, None), None) or MODES[0]
    activations = read.one_of(section, f"{NAME}.activations", (None, "int8"), None)
    _check_float_modules(section.get(f"{NAME}.modules_to_not_convert"))
    return Quantization(mode, group_size=GROUP_SIZE, float_activations=activations is None)


def read_mlx(fields: dict[str, Any]) -> Quantization:
    """Read the section ``quantization`` of MLX, for ternary packs of 2 bits; raise ConfigError.

    mlx-lm writes the same section as ``quantization_config``, too.
    """
    again = fields.get(NAME)
    if again not in (None, fields.get(MLX)):
        raise ConfigError(f"{NAME} is {again!r:.80}, expected what {MLX} is, or none")
    section = read.section(fields, MLX)
    assert section is not None
    read.one_of(section, f"{MLX}.bits", (2,), None)
    read.one_of(section, f"{MLX}.mode", ("affine", None), None)
    size = read.one_of(section, f"{MLX}.group_size", MLX_GROUPS, None)
    return GROUPED._replace(mlx_group_size=size)


def _check_float_modules(modules: Any) -> None:
    """Refuse a quantized head: in transformers, None keeps it in float, a list what it lists."""
    if modules is None:
        return
    name = f"{NAME}.modules_to_not_convert"
    if not isinstance(modules, list) or "lm_head" not in modules:
        raise ConfigError(
            f"{name} is {modules!r}, expected null or a list with 'lm_head': the head must be float"
        )
    others = [module for module in modules if module not in FLOAT_MODULES]
    if others:
        raise ConfigError(
            f"{name} leaves {', '.join(map(str, others))} in float, expected all linears but "
            "lm_head to be quantized"
        )
