"""DoLa: tokens that later layers find likelier than an early one did (arXiv 2309.03883).

The arithmetic is that of transformers 4's ``_dola_decoding``, in float64; the early layer is chosen
for each row by itself. Knows logits of layers; does not know the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import GenerationError
from ...runtime.hidden import Layers
from ..config import GenerationConfig
from ..leases import LeaseLike, SessionLike
from ..processors.plain import log_softmax

__all__ = ["Dola", "candidate_layers", "contrasted", "dola"]

RELATIVE_TOP = 0.1  # less likely tokens, relative to the likeliest one, are not chosen
MANY = 40  # layers, above which only 20 are looked at


@dataclass(frozen=True)
class Dola:
    """The layers of which one is contrasted with the last one."""

    layers: list[int]

    def __call__(self, lease: LeaseLike, logits: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """Return the logits [batch, vocab] of the last step with those of some rows contrasted."""
        early, found = lease.early_logits(self.layers), logits.copy()
        for row in rows:
            found[row] = contrasted(logits[row], early[:, row])
        return found


def contrasted(final: np.ndarray, early: np.ndarray) -> np.ndarray:
    """Return scores float32 [vocab] of logits [vocab] and those of early layers [layers, vocab]."""
    late = log_softmax(final)
    chances = [log_softmax(logits) for logits in early]
    if len(chances) > 1:
        chosen = chances[int(np.argmax([_divergence(late, each) for each in chances]))]
    else:
        (chosen,) = chances
    kept = late >= late.max() + math.log(RELATIVE_TOP)
    found = np.full(len(final), -np.inf, np.float32)
    with np.errstate(over="ignore"):  # where float32 ends
        found[kept] = late[kept] - chosen[kept]
    return np.minimum(found, np.finfo(np.float32).max)


def _divergence(late: np.ndarray, early: np.ndarray) -> float:
    """Return how far two distributions are from their mean, of log-probabilities [vocab].

    As in transformers, the mean is the first one in each of the two divergences.
    """
    mean = 0.5 * (np.exp(late) + np.exp(early))
    logs = np.log(np.where(mean > 0, mean, 1))
    terms = mean * (2 * logs - late - early)
    return float(np.where(mean > 0, terms, 0).mean())


def candidate_layers(asked: str | Sequence[int], layers: Layers) -> list[int]:
    """Return the layers that the option names; 0 is the embedding.

    Of "low" and "high" each second one. A number beyond the last layer names none, as there.
    """
    count, half = layers.count, layers.count // 2
    # A tied head turns the embedding into the token that it was.
    start = {1: 0, 2: 1}.get(count, 2) if layers.tied else 0
    if asked == "high":
        found = list(range(half if count <= MANY else count - 20, count, 2))
    elif asked == "low":
        found = [start] if start == half else list(range(start, half if count <= MANY else 20, 2))
    else:
        found = [int(layer) for layer in asked if int(layer) < count]
    if not found:
        named = f"{asked!r}" if isinstance(asked, str) else f"{list(asked)}"
        raise GenerationError(
            f"dola_layers is {named}, expected layers below {count}, the number of layers"
        )
    return found


def dola(session: SessionLike, config: GenerationConfig) -> Dola | None:
    """Return the contrast that the options ask for; the session gives hidden states."""
    if config.dola_layers is None:
        return None
    assert session.layers is not None
    return Dola(candidate_layers(config.dola_layers, session.layers))
