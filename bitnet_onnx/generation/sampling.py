"""Choose an id from logits, greedily or by sampling, with transformers' names and order.

Knows the logits of one position and the ids before it; does not know the model, text or the loop.
"""

from __future__ import annotations

import numpy as np

from ..errors import GenerationError
from .bans import Bans
from .config import GenerationConfig

__all__ = ["Sampler"]


class Sampler:
    """Chooses the ids of one sequence and remembers them for the options that look back.

    Each row of a batch has its own generator, seeded by (seed, row), so that a row draws the same
    numbers in a batch of any size.
    """

    def __init__(self, config: GenerationConfig, row: int = 0) -> None:
        self.config = config
        self._seen: set[int] = set()
        self._bans = Bans(config)
        self._ids: list[int] = []
        self._prompt = 0  # how many of the ids were given
        entropy = None if config.seed is None else (config.seed, row)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def observe(self, ids: list[int]) -> None:
        """Take the ids of the prompt."""
        self._remember(ids)
        self._prompt = len(self._ids)

    def choose(self, token: int) -> None:
        """Take an id that was chosen."""
        self._remember([token])

    def _remember(self, ids: list[int]) -> None:
        if self.config.repetition_penalty != 1:
            self._seen.update(ids)
        if self._bans.active:
            self._ids += ids

    def sample(self, logits: np.ndarray) -> int:
        """Return the next id, chosen from logits [vocab]."""
        if self.config.samples:
            ids, probabilities = self.distribution(logits)
            cumulative = np.cumsum(probabilities, out=probabilities)
            # Scaled by the last sum, the draw falls inside, however the sums were rounded.
            draw = self._random.random() * cumulative[-1]
            place = int(np.searchsorted(cumulative, draw, side="right"))
            choice = int(ids[min(place, len(ids) - 1)])
        else:
            logits = self._processed(logits)
            choice = int(np.argmax(logits))
            _check_finite(logits[choice])
        self.choose(choice)
        return choice

    def distribution(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids that can be drawn, in increasing order, and their probabilities (float64).

        The options apply in transformers' order: penalty, bans, temperature, top_k, top_p, min_p,
        typical_p, epsilon_cutoff, eta_cutoff. The temperature does not change the order of logits,
        so top_k is computed before it.
        """
        config = self.config
        logits = self._processed(logits)
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
        for cut, bound in (
            (_typical, config.typical_p if config.typical_p < 1 else 0),
            (_likely, config.epsilon_cutoff),
            (_eta_likely, config.eta_cutoff),
        ):
            if bound:
                keep = cut(weights, bound)
                ids, weights = ids[keep], weights[keep]
                weights /= weights.sum()
        return ids, weights

    def _processed(self, logits: np.ndarray) -> np.ndarray:
        logits = self._penalized(logits)
        if not self._bans.active:
            return logits
        _check_finite(logits.max())
        return self._bans.apply(logits, self._ids, self._prompt)

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        if not self._seen:
            return logits
        seen = np.fromiter(self._seen, dtype=np.int64, count=len(self._seen))
        said = logits[seen]
        logits = logits.copy()
        with np.errstate(all="ignore"):  # said below
            penalty = np.float32(self.config.repetition_penalty)
            logits[seen] = changed = np.where(said < 0, said * penalty, said / penalty)
        # Minus infinity is a token that is never chosen.
        if (broken := np.isfinite(said) & ~(changed < np.inf)).any():
            raise GenerationError(
                f"repetition_penalty is {self.config.repetition_penalty:g}, which makes a logit of "
                f"{said[broken][0]:g} infinite, expected a number nearer to 1"
            )
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


def _typical(p: np.ndarray, mass: float) -> np.ndarray:
    """Keep ids whose surprise is nearest to the entropy, until their probabilities reach mass."""
    surprise = -_log(p)
    distance = np.abs(surprise - np.sum(p * surprise))
    order = np.argsort(distance, kind="stable")
    last = min(int(np.sum(np.cumsum(p[order]) < mass)), p.size - 1)
    return np.asarray(distance <= distance[order[last]])


def _likely(p: np.ndarray, least: float) -> np.ndarray:
    """Keep ids of a probability of at least ``least``, and the likeliest in any case."""
    return np.asarray((p >= least) | (p == p.max()))


def _eta_likely(p: np.ndarray, epsilon: float) -> np.ndarray:
    entropy = -np.sum(p * _log(p))
    return _likely(p, min(epsilon, np.sqrt(epsilon) * np.exp(-entropy)))


def _log(p: np.ndarray) -> np.ndarray:
    # A probability of 0 adds nothing to the entropy; the least float stands for it.
    return np.asarray(np.log(np.maximum(p, np.finfo(np.float64).tiny)))


def _check_finite(highest: np.floating) -> None:
    # The maximum is NaN when any logit is, and infinite when the softmax does not exist.
    if not np.isfinite(highest):
        raise GenerationError(
            f"the highest logit is {highest}, expected a finite number: the weights or the artifact"
            " are damaged",
            hint="compare the artifact with its checkpoint: bitnet-onnx verify CHECKPOINT ARTIFACT",
        )
