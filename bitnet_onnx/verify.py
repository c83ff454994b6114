"""Is an artifact the same network as its checkpoint? The torch reference against ONNX Runtime.

Knows both sides and how to compare them; knows no text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .artifact import Artifact
from .checkpoint import Checkpoint
from .errors import ConfigError
from .model import BitNetForCausalLM, KeyValue
from .session import Session
from .ternary import int8_rows

__all__ = ["Comparison", "default_prompts", "verify"]

# Float sums in another order differ by less than this, while no activation sits on a rounding tie.
CLOSE = 1e-4
# Where one does, the two sides round it apart, and each later quantizer makes more of it: up to
# 1 % of the logits was seen. A wrong activation, norm or position is far beyond this bound.
MAX_RELATIVE = 3e-2


@dataclass(frozen=True)
class Comparison:
    """One prompt, continued greedily by both; ``relative`` is max|a - b| / max|a| over steps.

    ``close`` counts the steps within CLOSE: those that no rounding tie has reached yet.
    """

    prompt: list[int]
    steps: int
    same_ids: int
    close: int
    relative: float
    absolute: float

    @property
    def agrees(self) -> bool:
        return self.same_ids == self.steps and self.relative <= MAX_RELATIVE


def verify(
    checkpoint: Checkpoint,
    artifact: Artifact,
    prompts: Sequence[Sequence[int]],
    steps: int,
    progress: bool = False,
) -> list[Comparison]:
    """Compare logits and greedy ids over ``steps`` new tokens after each prompt.

    Both sides are fed the reference's ids, so that one difference does not hide the next. An
    int8 head is compared with the reference whose table is rounded in the same way. Raises
    ConfigError when artifact and checkpoint are not the same shape.
    """
    sizes = ("vocab_size", "num_hidden_layers", "num_key_value_heads", "head_dim")
    for name in sizes:
        ours, theirs = getattr(artifact, name), getattr(checkpoint.config, name)
        if ours != theirs:
            raise ConfigError(
                f"{name} is {ours} in the artifact and {theirs} in the checkpoint",
                hint="give the checkpoint that the artifact was exported from",
            )
    model = BitNetForCausalLM.from_checkpoint(checkpoint)
    if artifact.head == "int8":
        round_head(model)
    session = Session(artifact)
    with tqdm(
        total=len(prompts) * steps,
        desc="verify",
        unit="token",
        disable=not progress,
        file=sys.stderr,
    ) as bar:
        return [compare(model, session, list(prompt), steps, bar.update) for prompt in prompts]


def round_head(model: BitNetForCausalLM) -> None:
    """Give the reference the head table that an int8 artifact stores."""
    owner: Any = model.model.embed_tokens if model.config.tie_word_embeddings else model.lm_head
    rows, scale = int8_rows(owner.weight.detach())
    owner.weight = nn.Parameter(rows.float() * scale.unsqueeze(-1))


@torch.no_grad()
def compare(
    model: BitNetForCausalLM,
    session: Session,
    prompt: list[int],
    steps: int,
    on_step: Callable[[], object],
) -> Comparison:
    session.reset()
    fed, past = prompt, None
    same, close, relative, absolute = 0, 0, 0.0, 0.0
    for _ in range(steps):
        expected, past = reference_step(model, fed, past)
        found = session.prefill(fed)
        difference = float(np.abs(expected - found).max())
        absolute = max(absolute, difference)
        share = difference / float(np.abs(expected).max())
        relative = max(relative, share)
        close += share <= CLOSE
        same += int(expected.argmax() == found.argmax())
        fed = [int(expected.argmax())]
        on_step()
    return Comparison(prompt, steps, same, close, relative, absolute)


def reference_step(
    model: BitNetForCausalLM, ids: list[int], past: list[KeyValue] | None
) -> tuple[np.ndarray, list[KeyValue]]:
    """Logits [V] after the last of ``ids``, and the reference's cache."""
    inputs: Tensor = torch.tensor([ids])
    output = model(inputs, past_key_values=past, logits_to_keep=1)
    return output.logits[0, -1].numpy(), output.past_key_values


def default_prompts(vocab_size: int) -> list[list[int]]:
    """Three random prompts of different length; always the same ones."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocab_size, length).tolist() for length in (1, 7, 32)]
