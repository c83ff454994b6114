"""What every checkpoint offers, whatever its format, and the names and shapes of its tensors.

Canonical names are those of the published safetensors; other formats are renamed to them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor

from ...network.config import BitNetConfig
from ..ternary import absmean_ternary, group_absmean, sign_binary

__all__ = ["Checkpoint", "linear_shapes", "norm_shapes", "quantize", "table_names"]


class Checkpoint(ABC):
    """An open checkpoint; every tensor's presence, shape and type was checked when it opened.

    Tensors stay in the mapped file and are read one at a time. Methods raise CheckpointError
    naming the file and the tensor.
    """

    path: Path
    """The folder or file."""
    config: BitNetConfig
    packed: bool
    """Ternary codes are stored (packed, or as floats), not float masters."""
    hub: tuple[str, str] | None = None
    """Repository and commit, when it was fetched from the Hugging Face Hub."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be assumed because the files do not say it; the command line prints it."""
        return ()

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """A norm, table or master weight as stored; refused when it holds a NaN or an infinity."""

    @abstractmethod
    def ternary(self, linear: str) -> tuple[Tensor, Tensor]:
        """A BitLinear's codes (int8 [N, K] in {-1, 0, +1}) and its multiplier, as ``scale``."""

    @abstractmethod
    def scale(self, linear: str) -> Tensor:
        """A BitLinear's multiplier alone, float32: [quantization_groups], which is [1] for most.

        [N, K / group_size] where the config has a group_size; 0 for a group of zeros.
        """

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that determine the network."""

    @abstractmethod
    def text_files(self) -> dict[str, bytes]:
        """Name -> content of the tokenizer, template and generation files that come with it."""


def quantize(config: BitNetConfig, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A master weight [N, K] -> codes (float32 [N, K]) and multiplier, as the network does it."""
    if config.network == "bitnet_2023":
        return sign_binary(weight, config.quantization_groups)
    if config.group_size is not None:
        return group_absmean(weight, config.group_size)
    return absmean_ternary(weight)


def linear_shapes(config: BitNetConfig) -> dict[str, tuple[int, int]]:
    """Name without ``.weight`` -> (N, K) of every BitLinear."""
    hidden, inner = config.hidden_size, config.intermediate_size
    width = config.num_attention_heads * config.head_dim
    kv_width = config.num_key_value_heads * config.head_dim
    shapes = {
        "self_attn.q_proj": (width, hidden),
        "self_attn.k_proj": (kv_width, hidden),
        "self_attn.v_proj": (kv_width, hidden),
        "self_attn.o_proj": (hidden, width),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    layers = range(config.num_hidden_layers)
    return {f"model.layers.{i}.{name}": shape for i in layers for name, shape in shapes.items()}


# The norms before o_proj and before down_proj, where a network has them.
SUB_NORMS = {
    "bitnet": ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"),
    "bitnet_b1_58": ("self_attn.inner_attn_ln", "mlp.ffn_layernorm"),
}


def norm_shapes(config: BitNetConfig) -> dict[str, int]:
    """Name of every RMSNorm weight -> its size."""
    hidden, inner = config.hidden_size, config.intermediate_size
    sizes = {"input_layernorm": hidden, "post_attention_layernorm": hidden}
    if config.network == "qwen3":
        sizes |= {"self_attn.q_norm": config.head_dim, "self_attn.k_norm": config.head_dim}
    sizes.update(zip(SUB_NORMS.get(config.network, ()), (hidden, inner), strict=False))
    layers = range(config.num_hidden_layers)
    norms = {f"model.layers.{i}.{name}.weight": n for i in layers for name, n in sizes.items()}
    if config.linear_norm_eps is not None:
        linears = linear_shapes(config).items()
        norms |= {f"{name}.rms_norm.weight": features for name, (_, features) in linears}
    return {**norms, "model.norm.weight": config.hidden_size}


def table_names(config: BitNetConfig) -> list[str]:
    """The [V, H] tables: the embedding, and the head unless tied."""
    tied = config.tie_word_embeddings
    return ["model.embed_tokens.weight"] + ([] if tied else ["lm_head.weight"])
