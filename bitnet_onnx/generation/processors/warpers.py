"""Which tokens can be drawn, and how likely: temperature, top_h, top_k, top_p and the other cuts.

Knows scores of one position; does not know the past. The numbers are float64, so that a cut does
not depend on the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...errors import GenerationError
from ..config import GenerationConfig
from ..largest import best, nth_largest

__all__ = ["Warpers"]

# From weights in the order of ids, in proportion to probabilities: which are kept, by increasing
# place or as a mask; at least so many as are asked for.
Cut = Callable[[np.ndarray, int], np.ndarray]
TOP_H = 100  # tokens that top_h looks at


class Warpers:
    """The options of sampling, in transformers' order; each keeps at least ``keep`` tokens."""

    def __init__(self, config: GenerationConfig, keep: int = 1) -> None:
        self._config, self._keep, self._cuts = config, keep, _cuts(config)

    def candidates(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids that can be drawn, in increasing order, and their probabilities (float64).

        The temperature does not change the order of scores, so top_k is computed before it.
        """
        ids = self._likeliest(scores)
        weights = scores[ids].astype(np.float64) if ids is not None else scores.astype(np.float64)
        # With the maximum subtracted, a tiny temperature overflows to -inf only: weight 0.
        with np.errstate(over="ignore"):
            # In place: new megabyte arrays cost more than the arithmetic on 128,256 ids.
            weights -= weights.max()
            weights /= float(self._config.temperature)
            np.exp(weights, out=weights)
        if ids is None:
            ids = np.arange(scores.size)
        for cut in self._cuts:
            kept = cut(weights, self._keep)
            ids, weights = ids[kept], weights[kept]
        weights /= weights.sum()
        return ids, weights

    def scores(self, scores: np.ndarray) -> np.ndarray:
        """Return scores [vocab], divided by the temperature; minus infinity is not kept."""
        ids, _ = self.candidates(scores)
        warped = np.full_like(scores, -np.inf)
        with np.errstate(all="ignore"):  # said below
            warped[ids] = scores[ids] / np.float32(self._config.temperature)
        if not np.isfinite(warped.max()):
            raise GenerationError(
                f"temperature is {self._config.temperature:g}, which makes the highest score"
                f" {warped.max()}, expected a larger one",
                hint="0 is greedy",
            )
        return warped

    def _likeliest(self, scores: np.ndarray) -> np.ndarray | None:
        """Return the ids that top_h and top_k keep; None where they keep all."""
        config, ids = self._config, None
        if config.top_h is not None:
            ids = _top_h(scores, config.top_h, config.temperature)
        most = max(config.top_k, self._keep)
        among = scores if ids is None else scores[ids]
        if not config.top_k or most >= among.size:
            return ids
        # Scores equal to the k-th are kept, as in transformers.
        kept = np.flatnonzero(among >= nth_largest(among, most))
        return kept if ids is None else np.asarray(ids[kept])


def _cuts(config: GenerationConfig) -> list[Cut]:
    cuts: list[tuple[Callable[..., np.ndarray], float, bool]] = [
        (_nucleus, config.top_p, config.top_p < 1),
        (_min_p, config.min_p, config.min_p > 0),
        (_typical, config.typical_p, config.typical_p < 1),
        (_likely, config.epsilon_cutoff, config.epsilon_cutoff > 0),
        (_eta_likely, config.eta_cutoff, config.eta_cutoff > 0),
    ]
    return [partial(cut, bound=bound) for cut, bound, acts in cuts if acts]


def _top_h(scores: np.ndarray, share: float, temperature: float) -> np.ndarray:
    """Return the likeliest ids whose terms of the entropy add up to a share of it."""
    ids = best(scores, min(TOP_H, scores.size))
    weights = scores[ids].astype(np.float64)
    with np.errstate(over="ignore"):
        p = np.exp((weights - weights[0]) / temperature)
    p /= p.sum()
    terms = np.cumsum(-p * _log(p))
    # A probability that float32 does not hold is never kept.
    kept = (terms <= share * terms[-1]) & (p.astype(np.float32) > 0)
    kept[0] = True
    return np.sort(ids[kept])


def _nucleus(weights: np.ndarray, keep: int, bound: float) -> np.ndarray:
    """Return the fewest likeliest ids whose probabilities reach top_p; of equals, the lower id."""
    limit = bound * weights.sum()
    count = min(1024, weights.size)
    while True:
        # Sorting the likeliest ids is enough unless the distribution is very flat.
        likeliest = np.flatnonzero(weights >= nth_largest(weights, count))
        order = likeliest[np.argsort(-weights[likeliest], kind="stable")]
        above = np.cumsum(weights[order])
        if above[-1] >= limit or likeliest.size == weights.size:
            break
        count = min(count * 8, weights.size)
    size = max(int(np.searchsorted(above, limit, side="left")) + 1, keep)
    return np.sort(order[:size])


def _min_p(weights: np.ndarray, keep: int, bound: float) -> np.ndarray:
    return np.asarray((weights >= bound * weights.max()) | _best(weights, keep))


def _typical(weights: np.ndarray, keep: int, bound: float) -> np.ndarray:
    """Keep ids whose surprise is nearest to the entropy, until their probabilities reach mass."""
    p = weights / weights.sum()
    surprise = -_log(p)
    distance = np.abs(surprise - np.sum(p * surprise))
    order = np.argsort(distance, kind="stable")
    last = min(int(np.sum(np.cumsum(p[order]) < bound)), p.size - 1)
    kept = np.asarray(distance <= distance[order[last]])
    kept[order[:keep]] = True
    return kept


def _likely(weights: np.ndarray, keep: int, bound: float) -> np.ndarray:
    """Keep ids of a probability of at least ``bound``, and the likeliest in any case."""
    return np.asarray((weights / weights.sum() >= bound) | _best(weights, keep))


def _eta_likely(weights: np.ndarray, keep: int, bound: float) -> np.ndarray:
    p = weights / weights.sum()
    entropy = -np.sum(p * _log(p))
    return _likely(weights, keep, min(bound, np.sqrt(bound) * np.exp(-entropy)))


def _best(weights: np.ndarray, keep: int) -> np.ndarray:
    if keep >= weights.size:
        return np.ones(weights.size, dtype=bool)
    least = weights.max() if keep == 1 else nth_largest(weights, keep)
    return np.asarray(weights >= least)


def _log(p: np.ndarray) -> np.ndarray:
    # A probability of 0 adds nothing to the entropy; the least float stands for it.
    return np.asarray(np.log(np.maximum(p, np.finfo(np.float64).tiny)))
