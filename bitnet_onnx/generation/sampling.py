"""Choose an id from logits, greedily or by sampling, with transformers' names and order.

Knows the logits of one position and the ids before it; does not know the model, text or the loop.
"""

from __future__ import annotations

import numpy as np

from ..errors import GenerationError
from .config import GenerationConfig

__all__ = ["Sampler"]


class Sampler:
    """Chooses the ids of one sequence and remembers them for the repetition penalty.

    Each row of a batch has its own generator, seeded by (seed, row), so that a row draws the same
    numbers in a batch of any size.
    """

    def __init__(self, config: GenerationConfig, row: int = 0) -> None:
        self.config = config
        self._seen: set[int] = set()
        entropy = None if config.seed is None else (config.seed, row)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def observe(self, ids: list[int]) -> None:
        """Mark ids, such as those of the prompt, as seen by the repetition penalty."""
        if self.config.repetition_penalty != 1:
            self._seen.update(ids)

    def sample(self, logits: np.ndarray) -> int:
        """Return the next id, chosen from logits [vocab]."""
        if self.config.do_sample:
            ids, probabilities = self.distribution(logits)
            cumulative = np.cumsum(probabilities, out=probabilities)
            # Scaled by the last sum, the draw falls inside, however the sums were rounded.
            draw = self._random.random() * cumulative[-1]
            place = int(np.searchsorted(cumulative, draw, side="right"))
            choice = int(ids[min(place, len(ids) - 1)])
        else:
            logits = self._penalized(logits)
            choice = int(np.argmax(logits))
            _check_finite(logits[choice])
        self.observe([choice])
        return choice

    def distribution(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids that can be drawn, in increasing order, and their probabilities (float64).

        The options apply in transformers' order: penalty, temperature, top_k, top_p, min_p. The
        temperature does not change the order of logits, so top_k is computed before it.
        """
        config = self.config
        logits = self._penalized(logits)
        _check_finite(logits.max())
        if 0 < config.top_k < logits.size:
            # Logits equal to the k-th are kept, as in transformers.
            ids = np.flatnonzero(logits >= np.partition(logits, -config.top_k)[-config.top_k])
            weights = logits[ids].astype(np.float64)
        else:
            ids, weights = np.arange(logits.size), logits.astype(np.float64)
        # With the maximum subtracted, a tiny temperature overflows to -inf only: weight 0.
        with np.errstate(over="ignore"):
            # In place: new megabyte arrays cost more than the arithmetic on 128,256 ids.
            weights -= weights.max()
            weights /= float(config.temperature)
            np.exp(weights, out=weights)
        if config.top_p < 1:
            ids, weights = _nucleus(ids, weights, config.top_p)
        if config.min_p > 0:
            keep = weights >= config.min_p * weights.max()
            ids, weights = ids[keep], weights[keep]
        weights /= weights.sum()
        return ids, weights

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        if not self._seen:
            return logits
        seen = np.fromiter(self._seen, dtype=np.int64, count=len(self._seen))
        penalty = np.float32(self.config.repetition_penalty)
        said = logits[seen]
        logits = logits.copy()
        logits[seen] = np.where(said < 0, said * penalty, said / penalty)
        return logits


def _nucleus(ids: np.ndarray, weights: np.ndarray, top_p: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the fewest likeliest ids whose probabilities reach top_p; of equals, the lower id."""
    limit = top_p * weights.sum()
    count = min(1024, weights.size)
    while True:
        # Sorting the likeliest ids is enough unless the distribution is very flat.
        threshold = np.partition(weights, -count)[-count]
        likeliest = np.flatnonzero(weights >= threshold)
        order = likeliest[np.argsort(-weights[likeliest], kind="stable")]
        above = np.cumsum(weights[order])
        if above[-1] >= limit or likeliest.size == weights.size:
            break
        count = min(count * 8, weights.size)
    size = min(int(np.searchsorted(above, limit, side="left")) + 1, order.size)
    kept = np.sort(order[:size])
    return ids[kept], weights[kept]


def _check_finite(highest: np.floating) -> None:
    # The maximum is NaN when any logit is, and infinite when the softmax does not exist.
    if not np.isfinite(highest):
        raise GenerationError(
            f"the highest logit is {highest}, expected a finite number: the weights or the artifact"
            " are damaged",
            hint="compare the artifact with its checkpoint: bitnet-onnx verify CHECKPOINT ARTIFACT",
        )
