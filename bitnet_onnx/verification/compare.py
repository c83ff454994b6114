"""Is an artifact the same network as its checkpoint? A torch reference against ONNX Runtime.

Knows both sides and how to compare them; knows no text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..artifact import Artifact
from ..errors import ConfigError
from ..exporter.options import KV_CACHES
from ..operators import KEPT, scan_slack
from ..weights.checkpoint.base import Checkpoint
from ..weights.open import open_checkpoint
from ..weights.ternary import int8_rows, row_bounds
from .reference import Reference, TieBreaker, load_reference
from .taps import TappedSession

__all__ = ["CLOSE", "Comparison", "default_prompts", "verify"]

# max|a - b| / max|a| of logits that differ only by the order of float sums; with an int8 head
# also by its activations, which it rounds to 16 bits: 1 / 65024 of the largest each.
CLOSE = {"bf16": 1e-5, "float32": 1e-5, "int8": 1e-4, "two-step": 1e-5}
INPUTS_CLOSE = 1e-5


@dataclass(frozen=True)
class Comparison:
    """One prompt, continued greedily; relative is max|a - b| / max|a| of the logits over steps.

    Of a two-step head, so much of |a - b| as is more than its scan may err: nothing of the largest.

    ``free``: both sides round as they do. ``settled``: activations on a rounding tie are taken
    by the reference as the artifact rounded them (``reference.py``).
    """

    prompt: list[int]
    steps: int
    bound: float
    """What ``settled`` may be."""
    same_ids: int
    """Steps whose greedy ids are the same, free."""
    free: float
    settled: float
    settled_ids: int
    """Steps whose greedy ids are the same, settled."""
    ties: int
    """Activations on a tie that the two sides rounded apart."""
    unexplained: int
    """Activations rounded apart that were on no tie."""
    apart: dict[str, float]
    """Each BitLinear's input, settled: the largest max|a - b| / max|a|."""

    @property
    def agrees(self) -> bool:
        """Whether the two are the same network, as far as this prompt shows."""
        same = self.settled_ids == self.steps and self.unexplained == 0
        return same and self.settled <= self.bound

    @property
    def parting(self) -> str | None:
        """The first BitLinear, in the order of the network, whose input is not the same."""
        return next((name for name, share in self.apart.items() if not share <= INPUTS_CLOSE), None)

    def to_dict(self) -> dict[str, Any]:
        """All fields, and what follows from them, for JSON."""
        return {**asdict(self), "agrees": self.agrees, "parting": self.parting}


@dataclass(frozen=True)
class Scan:
    """What a two-step head promises: its largest logits, and a bound on the error of the others."""

    table: str
    bounds: torch.Tensor

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Scan:
        name = checkpoint.parts.head
        table = checkpoint.tensor(name)
        return cls(name.removesuffix(".weight"), row_bounds(table, *int8_rows(table)))

    def allowed(self, session: TappedSession, expected: np.ndarray) -> np.ndarray:
        """By how much the last position's logits [V] may differ: nothing for the largest."""
        x = torch.from_numpy(session.inputs[self.table][0, -1])
        least = np.sort(expected)[-KEPT:][0]
        return np.where(expected >= least, 0, (self.bounds * scan_slack(x)).numpy())


def verify(
    checkpoint: Checkpoint | str | Path,
    artifact: Artifact | str | Path,
    prompts: Sequence[Sequence[int]] | None = None,
    max_new_tokens: int = 64,
    *,
    against: str = "torch",
    progress: bool = False,
) -> list[Comparison]:
    """Compare logits and greedy ids over ``max_new_tokens`` steps after each prompt.

    prompts: ids; by default three random prompts. against: ``torch``, this package's reference, or
    ``transformers``, its class and loader. The artifact is the same network where ``agrees`` is
    true of every Comparison.

    Both sides are fed the reference's ids, so that one difference does not hide the next. An int8
    head is compared with the reference whose table is rounded in the same way, a float16 or int8
    cache with the reference that rounds its own, a two-step head with the table itself: see
    ``Scan``.

    Raises ConfigError when artifact and checkpoint are not the same shape, and for the first
    BitNet, whose linears normalize and quantize groups by themselves; CheckpointError,
    ArtifactError or LibraryError where one of them cannot be opened.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    if not isinstance(artifact, Artifact):
        artifact = Artifact.open(artifact)
    prompts = default_prompts(artifact.vocab_size) if prompts is None else prompts
    _check(checkpoint, artifact, prompts, max_new_tokens, against)
    session = TappedSession(artifact)
    network = load_reference(checkpoint, against, artifact.head)
    linears = list(checkpoint.parts.linears)
    rounds = not checkpoint.config.float_activations
    scan = Scan.of(checkpoint) if artifact.head == "two-step" else None
    with tqdm(
        total=len(prompts) * max_new_tokens,
        desc="verify",
        unit="token",
        disable=not progress,
        file=sys.stderr,
    ) as bar:
        return [
            compare(
                network, linears, rounds, scan, session, list(prompt), max_new_tokens, bar.update
            )
            for prompt in prompts
        ]


def _check(
    checkpoint: Checkpoint,
    artifact: Artifact,
    prompts: Sequence[Sequence[int]],
    steps: int,
    against: str,
) -> None:
    """Raises ConfigError where the two cannot be compared."""
    for name in ("vocab_size", "num_hidden_layers", "num_key_value_heads", "head_dim"):
        found, expected = getattr(artifact, name), getattr(checkpoint.config, name)
        if found != expected:
            raise ConfigError(
                f"{name} is {found} in the artifact and {expected} in the checkpoint",
                hint="give the checkpoint that the artifact was exported from",
            )
    if checkpoint.config.record.weights == "binary":
        raise ConfigError(
            f"{checkpoint.path}: verify does not know the rounding ties of model_type "
            f"{checkpoint.config.record.model_type!r}"
        )
    if steps < 1:
        raise ConfigError(f"max_new_tokens is {steps}, expected 1 or more")
    for prompt in prompts:
        if len(prompt) + steps - 1 > artifact.context_length:
            raise ConfigError(
                f"a prompt of {len(prompt)} ids and {steps} steps do not fit the artifact's "
                f"context of {artifact.context_length}"
            )
    if against == "transformers" and artifact.kv_cache != "float32":
        raise ConfigError(
            f"the artifact keeps keys and values as {artifact.kv_cache}, transformers would as "
            "float32",
            hint="compare with --against torch",
        )


def compare(
    network: Any,
    linears: list[str],
    rounds: bool,
    scan: Scan | None,
    session: TappedSession,
    prompt: list[int],
    steps: int,
    on_step: Callable[[], object],
) -> Comparison:
    session.reset()
    breaker = TieBreaker(network, linears, rounds=rounds)
    cache = KV_CACHES[session.artifact.kv_cache]
    reference, settled = Reference(network, cache), Reference(network, cache)
    fed = prompt
    free_shares: list[float] = []
    settled_shares: list[float] = []
    same_ids = settled_ids = 0
    for _ in range(steps):
        found = session.prefill(fed)
        expected = reference.step(fed)
        with breaker.against(session.inputs):
            aligned = settled.step(fed)
        for shares, wanted in ((free_shares, expected), (settled_shares, aligned)):
            allowed = 0.0 if scan is None else scan.allowed(session, wanted)
            shares.append(share(found, wanted, allowed))
        same_ids += int(found.argmax() == expected.argmax())
        settled_ids += int(found.argmax() == aligned.argmax())
        fed = [int(expected.argmax())]
        on_step()
    breaker.remove()
    return Comparison(
        prompt=prompt,
        steps=steps,
        bound=CLOSE[session.artifact.head],
        same_ids=same_ids,
        free=max(free_shares),
        settled=max(settled_shares),
        settled_ids=settled_ids,
        ties=breaker.ties,
        unexplained=breaker.unexplained,
        apart=breaker.apart,
    )


def share(found: np.ndarray, expected: np.ndarray, allowed: np.ndarray | float = 0.0) -> float:
    apart = np.abs(found - expected) - allowed
    return float(apart.max().clip(0) / np.abs(expected).max())


def default_prompts(vocab_size: int) -> list[list[int]]:
    """Three random prompts of different length; always the same ones."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocab_size, length).tolist() for length in (1, 7, 32)]
