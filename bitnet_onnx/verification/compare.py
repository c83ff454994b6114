"""Compare an artifact in ONNX Runtime with a torch reference of its checkpoint.

Knows both sides and how to compare them; does not know text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..artifact import TASK, Artifact
from ..errors import ConfigError
from ..exporter.options import FLOAT_LINEARS, KV_CACHES, LEVEL_BITS, LEVEL_BOUNDS
from ..operators import KEPT, scan_slack
from ..weights.checkpoint.base import Checkpoint
from ..weights.levels import level_rows
from ..weights.open import open_checkpoint
from ..weights.ternary import int8_rows, row_bounds
from .reference import Reference, TieBreaker, load_reference
from .result import Compared
from .taps import TappedSession

__all__ = ["CLOSE", "Comparison", "bound_of", "default_prompts", "verify"]

# Bounds on max|a - b| / max|a| of logits where only the order of float sums differs, by how head
# and linears are stored. int8 also rounds activations to 16 bits: each by at most 1 / 65024 of the
# largest.
CLOSE = {
    **dict.fromkeys(("bf16", "float32", "two-step", "two-step-int6", "two-step-int4"), 1e-5),
    **dict.fromkeys(("int8", "int6", "int4"), 1e-4),
    "ternary": 1e-5,
}
STEPS, LENGTHS = 64, (1, 7, 32)  # by default: after each prompt, and of the prompts


@dataclass(frozen=True)
class Comparison(Compared):
    """One prompt, continued greedily.

    ``as_is``: both sides round as they do. ``resolved``: the reference rounds activations on a tie
    as the artifact did (``reference.py``). A difference is max|a - b| / max|a| over the steps, for
    logits a of the reference and b of the artifact. For a two-step head only the part of |a - b|
    beyond the bound of its scan counts; that bound is 0 for the largest logits.
    """

    prompt: list[int]
    steps: int
    bound: float
    """The largest accepted ``difference_resolved``."""
    same_ids_as_is: int
    """Steps with the same greedy id, as is."""
    difference_as_is: float
    """The largest difference of the logits, as is."""
    difference_resolved: float
    """The largest difference of the logits, with ties resolved."""
    same_ids_resolved: int
    """Steps with the same greedy id, with ties resolved."""
    ties: int
    """Activations on a tie that the two sides rounded differently."""
    non_ties: int
    """Activations without a tie that the two sides rounded differently."""
    input_differences: dict[str, float]
    """The largest max|a - b| / max|b| of each BitLinear's input, with ties resolved."""

    @property
    def agrees(self) -> bool:
        """Whether the artifact computes the same network, with ties resolved the same way."""
        same = self.same_ids_resolved == self.steps and self.non_ties == 0
        return same and self.difference_resolved <= self.bound


@dataclass(frozen=True)
class Scan:
    """The promise of a two-step head: exact largest logits, and an error bound for the others.

    The bound of a scan of 8 or 6 bits is proven. That of a scan of 4 bits is statistical.
    """

    table: str
    bounds: torch.Tensor
    slack: Callable[[torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, checkpoint: Checkpoint, head: str) -> Scan:
        name = checkpoint.parts.head
        table = checkpoint.tensor(name)
        if head == "two-step":
            bounds, slack = row_bounds(table, *int8_rows(table)), scan_slack
        else:
            bounds_of, slack = LEVEL_BOUNDS[head]
            bounds = bounds_of(table, level_rows(table, LEVEL_BITS[head]))
        return cls(name.removesuffix(".weight"), bounds, slack)

    def allowed(self, session: TappedSession, expected: np.ndarray) -> np.ndarray:
        """Return how much each logit [V] of the last position may differ: 0 for the largest."""
        x = torch.from_numpy(session.inputs[self.table][0, -1])
        least = np.sort(expected)[-KEPT:][0]
        return np.where(expected >= least, 0, (self.bounds * self.slack(x)).numpy())


def verify(
    checkpoint: Checkpoint | str | Path,
    artifact: Artifact | str | Path,
    prompts: Sequence[Sequence[int]] | None = None,
    max_new_tokens: int | None = None,
    *,
    against: str = "torch",
    progress: bool = False,
) -> list[Comparison]:
    """Compare logits and greedy ids over ``max_new_tokens`` steps after each prompt.

    prompts: ids; by default three random prompts. max_new_tokens: by default 64. In a short context
    what is not given is as short as it has to be. against: ``torch`` for this package's reference,
    ``transformers`` for its class and loader. The artifact is the same network where every
    Comparison ``agrees``.

    Both sides are fed the reference's ids, so that one difference does not hide the next. The
    reference rounds its head table like an int8, int6 or int4 head, its float linears like bf16 or
    int8 ones, and its cache like a float16, int8 or int4 one. A two-step head is compared with the
    unrounded table: see ``Scan``.

    Raises ConfigError when artifact and checkpoint differ in shape, and for the first BitNet, whose
    linears normalize and quantize groups separately; CheckpointError, ArtifactError or
    LibraryError where one of them cannot be opened.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    if not isinstance(artifact, Artifact):
        artifact = Artifact.open(artifact).of_task(TASK)
    checkpoint = _with_linears(checkpoint, artifact.linears)
    prompts, max_new_tokens = _fitting(artifact, prompts, max_new_tokens)
    _check(checkpoint, artifact, prompts, max_new_tokens, against)
    session = TappedSession(artifact)
    network = load_reference(checkpoint, against, artifact.head, artifact.linears)
    linears = list(checkpoint.parts.linears)
    rounds = not checkpoint.config.float_activations
    scan = Scan.of(checkpoint, artifact.head) if artifact.head.startswith("two-step") else None
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


def _with_linears(checkpoint: Checkpoint, linears: str) -> Checkpoint:
    """Return the checkpoint with float linears where the artifact has these."""
    return checkpoint.with_float_linears() if linears in FLOAT_LINEARS else checkpoint


def _fitting(
    artifact: Artifact, prompts: Sequence[Sequence[int]] | None, steps: int | None
) -> tuple[Sequence[Sequence[int]], int]:
    """Return prompts and steps; what is not given leaves room in the context for the other."""
    room = artifact.context_length + 1  # the last id of all is not fed
    if steps is None:
        longest = (
            min(LENGTHS[-1], room // 2) if prompts is None else max(map(len, prompts), default=0)
        )
        steps = max(1, min(STEPS, room - longest))
    if prompts is None:
        prompts = default_prompts(artifact.vocab_size, room - steps)
    return prompts, steps


def _check(
    checkpoint: Checkpoint,
    artifact: Artifact,
    prompts: Sequence[Sequence[int]],
    steps: int,
    against: str,
) -> None:
    """Raise ConfigError where the two cannot be compared."""
    check_shapes(checkpoint, artifact)
    if checkpoint.config.record.weights == "binary":
        raise ConfigError(
            f"{checkpoint.path}: verify cannot resolve the rounding ties of model_type "
            f"{checkpoint.config.record.model_type!r}"
        )
    if steps < 1:
        raise ConfigError(f"max_new_tokens is {steps}, expected 1 or more")
    for prompt in prompts:
        if len(prompt) + steps - 1 > artifact.context_length:
            raise ConfigError(
                f"a prompt of {len(prompt)} ids with {steps} steps is too long, expected at most "
                f"the artifact's context of {artifact.context_length}"
            )
    if against == "transformers" and artifact.kv_cache != "float32":
        raise ConfigError(
            f"the artifact keeps keys and values as {artifact.kv_cache}, expected float32 as in "
            "transformers",
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
    """Compare the session with the network over ``steps`` steps after one prompt."""
    session.reset()
    breaker = TieBreaker(network, linears, rounds=rounds)
    cache = KV_CACHES[session.artifact.kv_cache]
    as_is, resolved = Reference(network, cache), Reference(network, cache)
    fed = prompt
    differences_as_is: list[float] = []
    differences_resolved: list[float] = []
    same_as_is = same_resolved = 0
    for _ in range(steps):
        found = session.prefill(fed)
        expected = as_is.step(fed)
        with breaker.against(session.inputs):
            aligned = resolved.step(fed)
        for differences, wanted in (
            (differences_as_is, expected),
            (differences_resolved, aligned),
        ):
            allowed = 0.0 if scan is None else scan.allowed(session, wanted)
            differences.append(relative_difference(found, wanted, allowed))
        same_as_is += int(found.argmax() == expected.argmax())
        same_resolved += int(found.argmax() == aligned.argmax())
        fed = [int(expected.argmax())]
        on_step()
    breaker.remove()
    return Comparison(
        prompt=prompt,
        steps=steps,
        bound=bound_of(session.artifact),
        same_ids_as_is=same_as_is,
        difference_as_is=max(differences_as_is),
        difference_resolved=max(differences_resolved),
        same_ids_resolved=same_resolved,
        ties=breaker.ties,
        non_ties=breaker.non_ties,
        input_differences=breaker.input_differences,
    )


def check_shapes(checkpoint: Checkpoint, artifact: Artifact) -> None:
    """Raise ConfigError where artifact and checkpoint differ in shape."""
    for name in ("vocab_size", "num_hidden_layers", "num_key_value_heads", "head_dim"):
        found, expected = getattr(artifact, name), getattr(checkpoint.config, name)
        if found != expected:
            raise ConfigError(
                f"{name} is {found} in the artifact, expected {expected} as in the checkpoint",
                hint="give the checkpoint that the artifact was exported from",
            )


def bound_of(artifact: Artifact) -> float:
    """Return the largest accepted difference of logits."""
    return max(CLOSE[artifact.head], CLOSE[artifact.linears])


def relative_difference(
    found: np.ndarray, expected: np.ndarray, allowed: np.ndarray | float = 0.0
) -> float:
    """Return the largest |found - expected| beyond ``allowed``, relative to max|expected|."""
    excess = np.abs(found - expected) - allowed
    return float(excess.max().clip(0) / np.abs(expected).max())


def default_prompts(vocab_size: int, longest: int = LENGTHS[-1]) -> list[list[int]]:
    """Return three random prompts of different lengths, the same in every call."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocab_size, max(1, min(n, longest))).tolist() for n in LENGTHS]
