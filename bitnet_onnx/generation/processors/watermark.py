"""A watermark's bias on the preferred tokens of a step.

Knows ids and scores of one position.
"""

from __future__ import annotations

import numpy as np

from ..config import GenerationConfig
from ..largest import best
from ..watermarking import WatermarkingConfig
from .greenlist import Greenlist
from .past import Past, Processor

__all__ = ["Watermark", "watermark"]

TRIED = 40  # candidates of selfhash, the likeliest


class Watermark(Processor):
    """Adds a bias to preferred tokens, once there are ``context_width`` ids before.

    lefthash prefers a list of tokens; selfhash, those of the likeliest that are in their own list.
    """

    def __init__(self, config: WatermarkingConfig) -> None:
        self._config = config
        self._list: Greenlist | None = None

    def __call__(self, past: Past, scores: np.ndarray) -> np.ndarray:
        tokens = self.preferred(past, scores)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # an infinite score is said where it is chosen
            scores[tokens] += np.float32(self._config.bias)
        return scores

    def preferred(self, past: Past, scores: np.ndarray) -> np.ndarray:
        """Return the tokens that get the bias."""
        if len(past) < self._config.context_width:
            return np.empty(0, dtype=np.int64)
        if self._list is None or self._list.vocab != scores.size:
            self._list = Greenlist(self._config, scores.size)
        before = past.ids[-self._config.context_width :].tolist()
        if self._config.seeding_scheme == "lefthash":
            return self._list.tokens(before)
        likeliest = best(scores, min(TRIED, scores.size)).tolist()
        own = [t for t in likeliest if self._list.holds([*before, t], t)]
        return np.array(own, dtype=np.int64)


def watermark(config: GenerationConfig) -> Watermark | None:
    found = config.watermarking_config
    return Watermark(found) if isinstance(found, WatermarkingConfig) else None
