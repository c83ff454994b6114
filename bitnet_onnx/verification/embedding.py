"""Compare the vectors of an artifact that embeds texts with those of a torch reference.

Knows both sides and how to compare vectors; does not know text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..artifact import EMBEDDING, Artifact
from ..errors import ConfigError
from ..model import BitNetEmbedding
from ..runtime.open import VECTORS, open_runtime
from ..weights.checkpoint.base import Checkpoint
from ..weights.open import open_checkpoint
from .compare import bound_of, check_shapes, default_prompts, relative_difference
from .reference import REFERENCES, ROUNDED, TieBreaker, round_linears, rounded
from .result import Compared
from .taps import tapped

__all__ = ["VectorComparison", "verify_embedding"]


@dataclass(frozen=True)
class VectorComparison(Compared):
    """One text; ``as_is``, ``resolved`` and the differences are those of a ``Comparison``."""

    text: list[int]
    bound: float
    """The largest accepted ``difference_resolved``."""
    cosine_as_is: float
    difference_as_is: float
    difference_resolved: float
    ties: int
    non_ties: int
    input_differences: dict[str, float]

    @property
    def agrees(self) -> bool:
        """Whether the artifact computes the same network, with ties resolved the same way."""
        return self.non_ties == 0 and self.difference_resolved <= self.bound


class TappedVectors:
    """A session that returns the vector of a text and the input [1, S, K] of each linear."""

    def __init__(self, artifact: Artifact) -> None:
        model, self._taps = tapped(artifact)
        self._runtime = open_runtime(artifact, 0, True, None, model, None)

    def embed(self, text: Sequence[int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        ids = np.array([text], dtype=np.int64)
        fed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        vectors, *values = self._runtime.run([VECTORS, *self._taps], fed)
        taps = zip(self._taps.values(), values, strict=True)
        return vectors[0], {name: value for names, value in taps for name in names}


def verify_embedding(
    checkpoint: Checkpoint | str | Path,
    artifact: Artifact | str | Path,
    texts: Sequence[Sequence[int]] | None = None,
    *,
    against: str = "torch",
) -> list[VectorComparison]:
    """Compare the vectors of texts, as ids; by default of three random ones.

    The reference rounds its embedding like an int8 one, and float linears like bf16 or int8 ones.
    Arguments and errors are those of ``verify``; transformers has no class for these networks.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    if not isinstance(artifact, Artifact):
        artifact = Artifact.open(artifact)
    artifact.of_task(EMBEDDING)
    if texts is None:
        texts = default_prompts(artifact.vocab_size, min(32, artifact.context_length))
    _check(checkpoint, artifact, texts, against)
    network, session = reference_of(checkpoint, artifact), TappedVectors(artifact)
    return [_compare(checkpoint, artifact, network, session, list(text)) for text in texts]


def reference_of(checkpoint: Checkpoint, artifact: Artifact) -> BitNetEmbedding:
    """Return the torch network with the artifact's pooling, rounded like the artifact."""
    fields = {name: artifact.manifest[name] for name in ("pooling", "normalize")}
    pooling = checkpoint.pooling._replace(mode=fields["pooling"], normalize=fields["normalize"])
    network = BitNetEmbedding.from_checkpoint(checkpoint, pooling)
    round_linears(network, checkpoint, artifact.linears)
    if artifact.head in ROUNDED:
        table = network.model.embed_tokens.weight
        table.data = rounded(table.data, artifact.head)
    return network


def _check(
    checkpoint: Checkpoint, artifact: Artifact, texts: Sequence[Sequence[int]], against: str
) -> None:
    """Raise ConfigError where the two cannot be compared."""
    check_shapes(checkpoint, artifact)
    name = checkpoint.config.network
    if name != artifact.manifest["network"]:
        raise ConfigError(
            f"the artifact's network is {artifact.manifest['network']!r}, expected {name!r} as in "
            "the checkpoint",
            hint="give the checkpoint that the artifact was exported from",
        )
    if against not in REFERENCES:
        raise ConfigError(f"against is {against!r}, expected one of: {', '.join(REFERENCES)}")
    if against == "transformers":
        raise ConfigError(
            f"{checkpoint.path}: transformers has no class for this {name!r} with its pooling",
            hint="compare with --against torch",
        )
    for text in texts:
        if not 1 <= len(text) <= artifact.context_length:
            raise ConfigError(
                f"a text has {len(text)} ids, expected 1 to the artifact's context of "
                f"{artifact.context_length}"
            )
        if not all(0 <= token < artifact.vocab_size for token in text):
            raise ConfigError(
                f"a text has an id outside the vocabulary, expected 0 to {artifact.vocab_size - 1}"
            )


@torch.no_grad()
def _compare(
    checkpoint: Checkpoint,
    artifact: Artifact,
    network: BitNetEmbedding,
    session: TappedVectors,
    text: list[int],
) -> VectorComparison:
    found, inputs = session.embed(text)
    rounds = not checkpoint.config.float_activations
    breaker = TieBreaker(network, list(checkpoint.parts.linears), rounds=rounds)
    ids = torch.tensor([text])
    expected = network(ids)[0].numpy()
    with breaker.against(inputs):
        aligned = network(ids)[0].numpy()
    breaker.remove()
    return VectorComparison(
        text=text,
        bound=bound_of(artifact),
        cosine_as_is=cosine(found, expected),
        difference_as_is=relative_difference(found, expected),
        difference_resolved=relative_difference(found, aligned),
        ties=breaker.ties,
        non_ties=breaker.non_ties,
        input_differences=breaker.input_differences,
    )


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of two vectors, in float64."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / lengths if lengths else float("nan")
