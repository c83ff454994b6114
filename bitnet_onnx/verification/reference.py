"""What an artifact is compared with: the torch model, or transformers', one step at a time.

Knows how both are called, and how to let rounding ties fall the same way on both sides. Knows no
ONNX.

An activation that lies half-way between two int8 codes, up to float error, is rounded one way by
one computation and the other way by the next: neither is wrong, but every later quantizer makes
more of it. ``TieBreaker`` takes such an activation, and no other, as the other side rounded it;
what then still differs is a real difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..model import BitNetForCausalLM
from ..weights.checkpoint.base import Checkpoint
from ..weights.ternary import absmax_int8, int8_rows

__all__ = ["REFERENCES", "Reference", "TieBreaker", "load_reference"]

REFERENCES = ("torch", "transformers")
# Of one int8 step. Two float32 computations of one activation differ by some 1e-6 of the largest,
# which is 127 steps: by up to 1e-4 steps.
TIE = 1e-3


class Reference:
    """A causal language model in torch with a KV cache; ``network`` carries checkpoint names.

    A ``cache`` that is not float32 only our own network knows.
    """

    def __init__(self, network: Any, cache: torch.dtype = torch.float32) -> None:
        self.network = network
        self.past: Any = None if cache == torch.float32 else network.empty_cache(cache)

    @torch.no_grad()
    def step(self, ids: list[int]) -> np.ndarray:
        """Append ids; the logits [V] after the last of them."""
        output = self.network(torch.tensor([ids]), past_key_values=self.past, logits_to_keep=1)
        self.past = output.past_key_values
        return np.asarray(output.logits[0, -1].numpy())


class TieBreaker:
    """Compares the inputs of a network's BitLinears with another computation's, ties settled.

    Inside ``with breaker.against(inputs)``, each linear's input is compared with the entry of
    its name, and activations on a tie are moved to the code that the entry is rounded to.
    """

    def __init__(self, network: nn.Module, linears: list[str], rounds: bool = True) -> None:
        """rounds: the linears quantize their inputs; else there are no ties, only differences."""
        self.rounds = rounds
        self.ties = 0
        """Activations on a tie that the two sides rounded apart, both with the scale 127 / max.

        transformers multiplies by 127 * (1 / max), which rounds a few more apart; those are
        settled as well, but not counted.
        """
        self.unexplained = 0
        """Activations rounded apart that were not on a tie."""
        self.apart: dict[str, float] = dict.fromkeys(linears, 0.0)
        """Largest max|a - b| / max|b| of each linear's input."""
        self._inputs: Mapping[str, np.ndarray] | None = None
        self._hooks = [self._hook(name, network.get_submodule(name)) for name in linears]

    def _hook(self, name: str, linear: Any) -> Any:
        """Where the linear's quantizer reads: its input, or what its own norm makes of it."""
        norm = getattr(linear, "rms_norm", None)
        if norm is None:
            return linear.register_forward_pre_hook(lambda _, args: self._settle(name, args[0]))
        return norm.register_forward_hook(lambda _, args, output: self._settle(name, output))

    def remove(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    @contextmanager
    def against(self, inputs: Mapping[str, np.ndarray]) -> Iterator[None]:
        self._inputs = inputs
        try:
            yield
        finally:
            self._inputs = None

    def _settle(self, name: str, x: Tensor) -> Tensor:
        if self._inputs is None:
            return x
        other = torch.from_numpy(self._inputs[name])
        share = (x - other).abs().max() / other.abs().max()
        self.apart[name] = max(self.apart[name], float(share))
        if not self.rounds:
            return x
        codes, scale = absmax_int8(x)
        chosen = absmax_int8(other)[0]
        steps = x * scale
        on_tie = (steps - steps.floor() - 0.5).abs() < TIE
        split = codes != chosen
        self.ties += int((split & on_tie).sum())
        self.unexplained += int((split & ~on_tie).sum())
        return torch.where(on_tie & ((chosen - steps).abs() < 1), chosen / scale, x)


def load_reference(checkpoint: Checkpoint, against: str, head: str) -> Any:
    """The network that ``against`` names, with the checkpoint's weights, in float32.

    An int8 ``head`` rounds its head table as the export does. Raises ConfigError.
    """
    if against not in REFERENCES:
        raise ConfigError(f"against is {against!r}, expected one of: {', '.join(REFERENCES)}")
    if against == "torch":
        network: Any = BitNetForCausalLM.from_checkpoint(checkpoint)
        tied = network.model.embed_tokens
    else:
        refuse_unknown_to_transformers(checkpoint)
        network = transformers_network(checkpoint)
        tied = network.get_input_embeddings()
    if head == "int8":
        owner = tied if checkpoint.config.tie_word_embeddings else network.lm_head
        rows, scale = int8_rows(owner.weight.detach())
        table = nn.Parameter(rows.float() * scale.unsqueeze(-1))
        owner.weight = table
        if against == "transformers":
            network.lm_head.weight = table
    return network


def refuse_unknown_to_transformers(checkpoint: Checkpoint) -> None:
    """What it would read as another network, or not at all."""
    config, hint = checkpoint.config, "compare with --against torch"
    if not config.record.in_transformers:
        name = config.record.architecture
        raise ConfigError(f"{checkpoint.path}: transformers has no class {name}", hint=hint)
    if config.group_size is None or "quantization_config" not in config.to_dict():
        return
    raise ConfigError(
        f"{checkpoint.path}: transformers does not know quantization_config.group_size", hint=hint
    )


def transformers_network(checkpoint: Checkpoint) -> Any:
    """transformers' own class and loader, on the same folder."""
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # it compiles for minutes, to no use here
    from transformers import AutoModelForCausalLM

    if not checkpoint.path.is_dir():
        raise ConfigError(
            f"{checkpoint.path} is no folder: transformers reads safetensors folders only",
            hint="compare with --against torch",
        )
    network = AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32)
    # It leaves unpacked linear weights in bfloat16, and its own .float() refuses.
    return nn.Module.float(network).eval()
