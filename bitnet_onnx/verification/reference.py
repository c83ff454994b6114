"""The reference of a comparison: the torch model or transformers' model, one step at a time.

Knows how to call both, and how to resolve rounding ties the same way on both sides; does not know
ONNX.

An activation half-way between two int8 codes, up to float error, may be rounded up by one
computation and down by another. Neither is wrong, but every later quantizer amplifies the
difference. ``TieBreaker`` rounds such an activation, and no other, as the other side did; what
still differs then is a real difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..artifact import LINEARS
from ..errors import ConfigError
from ..exporter.options import LEVEL_BITS
from ..model import BitNetForCausalLM, rotate_inputs
from ..operators import int8_matmul
from ..weights.checkpoint.base import Checkpoint
from ..weights.levels import integer_rows, level_rows
from ..weights.ternary import absmax_int8, int8_rows

__all__ = [
    "REFERENCES",
    "ROUNDED",
    "Reference",
    "TieBreaker",
    "load_reference",
    "round_linears",
    "rounded",
]

REFERENCES = ("torch", "transformers")
ROUNDED = ("int8", "int6", "int4")  # heads whose table is rounded
# The largest distance of a tie from half-way, in int8 steps. Two float32 computations of one
# activation differ by about 1e-6 of the largest, which is 127 steps: by about 1e-4 steps.
TIE = 1e-3


class Reference:
    """A causal language model in torch with a KV cache; ``network`` has the checkpoint's names.

    Only this package's network supports a ``cache`` that is not float32.
    """

    def __init__(self, network: Any, cache: torch.dtype = torch.float32) -> None:
        self.network = network
        self.past: Any = None if cache == torch.float32 else network.empty_cache(cache)

    @torch.no_grad()
    def step(self, ids: list[int]) -> np.ndarray:
        """Append ids and return the logits [V] after the last id."""
        output = self.network(torch.tensor([ids]), past_key_values=self.past, logits_to_keep=1)
        self.past = output.past_key_values
        return np.asarray(output.logits[0, -1].numpy())


class TieBreaker:
    """Compares the inputs of a network's BitLinears with another computation's; resolves ties.

    Inside ``with breaker.against(inputs)``, the input of each linear is compared with the entry
    under its name, and activations on a tie are moved to the code that the entry is rounded to. An
    entry may have the last positions alone.
    """

    def __init__(self, network: nn.Module, linears: list[str], rounds: bool = True) -> None:
        """Hook the linears. rounds: they quantize their inputs; otherwise ties do not exist."""
        self.rounds = rounds
        self.ties = 0
        """Activations on a tie that the two sides round differently, both with scale 127 / max.

        transformers multiplies by 127 * (1 / max), which rounds a few more differently; these are
        resolved too, but not counted.
        """
        self.non_ties = 0
        """Activations without a tie that the two sides round differently."""
        self.input_differences: dict[str, float] = dict.fromkeys(linears, 0.0)
        """The largest max|a - b| / max|b| of each linear's input; b is the other computation."""
        self._inputs: Mapping[str, np.ndarray] | None = None
        self._hooks = [self._hook(name, network.get_submodule(name)) for name in linears]

    def _hook(self, name: str, linear: Any) -> Any:
        """Hook the value that the linear quantizes: its input, or the output of its own norm."""
        norm = getattr(linear, "rms_norm", None)
        if norm is None:
            return linear.register_forward_pre_hook(lambda _, args: self._resolve(name, args[0]))
        return norm.register_forward_hook(lambda _, args, output: self._resolve(name, output))

    def remove(self) -> None:
        """Remove the hooks from the network."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def against(self, inputs: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Compare with ``inputs``, the other computation's [.., K] by linear, in a with block."""
        self._inputs = inputs
        try:
            yield
        finally:
            self._inputs = None

    def _resolve(self, name: str, x: Tensor) -> Tensor:
        if self._inputs is None:
            return x
        if not self.rounds and name not in self._inputs:  # a stock product shows no input
            return x
        other = torch.from_numpy(self._inputs[name])
        kept = x[..., -other.shape[-2] :, :]
        difference = (kept - other).abs().max() / other.abs().max()
        self.input_differences[name] = max(self.input_differences[name], float(difference))
        if not self.rounds:
            return x
        codes, scale = absmax_int8(kept)
        chosen = absmax_int8(other)[0]
        steps = kept * scale
        on_tie = (steps - steps.floor() - 0.5).abs() < TIE
        differs = codes != chosen
        self.ties += int((differs & on_tie).sum())
        self.non_ties += int((differs & ~on_tie).sum())
        resolved = torch.where(on_tie & ((chosen - steps).abs() < 1), chosen / scale, kept)
        return torch.cat([x[..., : -other.shape[-2], :], resolved], dim=-2)


class Int8Linear(nn.Module):
    """A float linear as ``--linears int8`` computes it: int8 rows, activations of 16 bits."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self.codes, self.scale = int8_rows(source.weight.detach())
        self.bias = source.bias

    def forward(self, x: Tensor) -> Tensor:
        y = int8_matmul(x, self.codes, self.scale)
        return y if self.bias is None else y + self.bias


def load_reference(
    checkpoint: Checkpoint, against: str, head: str, linears: str = LINEARS[0]
) -> Any:
    """Return the network that ``against`` names, with the checkpoint's weights, in float32.

    For an int8, int6 or int4 ``head`` its head table is rounded as the export does. The embedding
    is rounded too where it is the table of an int8 head. Float linears are rounded as ``linears``
    says. Raises ConfigError.
    """
    if against not in REFERENCES:
        raise ConfigError(f"against is {against!r}, expected one of: {', '.join(REFERENCES)}")
    if against == "torch":
        network: Any = BitNetForCausalLM.from_checkpoint(checkpoint)
        embedding = network.model.embed_tokens
    else:
        refuse_unknown_to_transformers(checkpoint)
        network = transformers_network(checkpoint)
        embedding = network.get_input_embeddings()
    round_linears(network, checkpoint, linears)
    if head in ROUNDED:
        tied = checkpoint.config.tie_word_embeddings
        owner = embedding if tied else network.lm_head
        stored = owner.weight.detach()
        owner.weight = nn.Parameter(rounded(stored, head))
        if against == "transformers":
            network.lm_head.weight = owner.weight
        if tied and head != "int8":  # whose embedding is its rounded table
            embedding.register_forward_hook(lambda _, args, __: F.embedding(args[0], stored))
    return network


def round_linears(network: Any, checkpoint: Checkpoint, linears: str) -> None:
    """Round the network's float linears as ``--linears`` of this name does."""
    for name in checkpoint.parts.linears:
        if linears == "int8":
            network.set_submodule(name, Int8Linear(network.get_submodule(name)))
        elif linears == "bf16":
            weight = network.get_submodule(name).weight
            weight.data = weight.data.bfloat16().float()
    if linears == "int8" and checkpoint.config.hadamard is not None:
        rotate_inputs(network.model, checkpoint.config)  # the new linears lack the hooks


def rounded(table: Tensor, head: str) -> Tensor:
    """Round a table [V, H] as the export does, and return its weights in float32."""
    if head == "int8":
        rows, scale = int8_rows(table)
        return rows.float() * scale.unsqueeze(-1)
    levels = level_rows(table, LEVEL_BITS[head])
    return integer_rows(levels, table.shape[1]) * levels.scale.unsqueeze(-1)


def refuse_unknown_to_transformers(checkpoint: Checkpoint) -> None:
    """Raise ConfigError for a checkpoint that transformers misreads or cannot read."""
    config, hint = checkpoint.config, "compare with --against torch"
    if config.hadamard is not None:
        raise ConfigError(
            f"{checkpoint.path}: transformers does not rotate activations, as hadamard.json or "
            "prism.hadamard.* wants",
            hint=hint,
        )
    if config.mlx_group_size is not None:
        raise ConfigError(f"{checkpoint.path}: transformers does not read MLX's packs", hint=hint)
    if not config.record.in_transformers:
        name = config.record.architecture
        raise ConfigError(f"{checkpoint.path}: transformers has no class {name}", hint=hint)
    if config.mixture is not None and not config.float_linears:
        raise ConfigError(
            f"{checkpoint.path}: transformers computes with float experts, where these are ternary",
            hint=hint,
        )
    published = config.quantization == "offline" and config.float_activations
    if config.group_size is None or published:
        return
    raise ConfigError(
        f"{checkpoint.path}: transformers does not know quantization_config.group_size", hint=hint
    )


def transformers_network(checkpoint: Checkpoint) -> Any:
    """Load the checkpoint's folder by transformers' own class and loader."""
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling would take minutes for nothing
    from transformers import AutoModelForCausalLM

    if not checkpoint.path.is_dir():
        raise ConfigError(
            f"{checkpoint.path} is not a folder, expected a folder of safetensors for transformers",
            hint="compare with --against torch",
        )
    network = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32)
    # The loader leaves unpacked linear weights in bfloat16, and the class refuses .float().
    return nn.Module.float(network).eval()
