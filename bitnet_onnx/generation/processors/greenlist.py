"""Which tokens a watermark prefers: the first of torch's random permutation, without torch.

Knows seeds and ids. ``torch.randperm`` of a CPU draws 32 bits for each place from the Mersenne
Twister, and swaps the place with one that is not before it; so a place is final once it is reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..watermarking import WatermarkingConfig

__all__ = ["Greenlist"]

TABLE = 1_000_003  # ids that selfhash tells apart
MODULUS = (1 << 64) - 1


class Greenlist:
    """The preferred tokens after each sequence of ids, for one vocabulary and one key."""

    def __init__(self, config: WatermarkingConfig, vocab: int) -> None:
        self.config, self.vocab = config, vocab
        self.size = int(vocab * config.greenlist_ratio)

    def seed(self, ids: Sequence[int]) -> int:
        """Return the seed of the list after ``ids``; of selfhash, the last of them is the token."""
        key = self.config.hashing_key
        if self.config.seeding_scheme == "lefthash":
            return key * ids[-1] % MODULUS
        window = np.array(ids[-self.config.context_width :], dtype=np.int64)
        hashed = _table(key)[window % TABLE] + 1
        with np.errstate(over="ignore"):  # torch's integers of 64 bits wrap around
            products = np.int64(key) * hashed * hashed[-1]
        return int(products.min()) % MODULUS

    def tokens(self, ids: Sequence[int]) -> np.ndarray:
        """Return the preferred tokens after ``ids``."""
        return _first(self.vocab, self.size, self.seed(ids))

    def holds(self, ids: Sequence[int], token: int) -> bool:
        """Return whether a token is preferred after ``ids``."""
        if not 0 <= token < self.vocab:
            return False
        return _is_first(token, _swaps(self.vocab, self.size, self.seed(ids)))


def _swaps(count: int, places: int, seed: int) -> np.ndarray:
    """Return with which place each of the first places is swapped."""
    source = np.random.MT19937()
    # torch takes the lower 32 bits of a seed.
    np.random.RandomState(source).seed(seed & 0xFFFFFFFF)
    here = np.arange(places)
    return np.asarray(here + source.random_raw(places).astype(np.int64) % (count - here))


@lru_cache(maxsize=64)
def _first(count: int, places: int, seed: int) -> np.ndarray:
    """Return the first places of the permutation of ``count`` numbers."""
    order = list(range(count))
    for here, there in enumerate(_swaps(count, places, seed).tolist()):
        order[here], order[there] = order[there], order[here]
    return np.array(order[:places], dtype=np.int64)


@lru_cache(maxsize=2)
def _table(key: int) -> np.ndarray:
    return _first.__wrapped__(TABLE, TABLE, key)


def _is_first(token: int, swaps: np.ndarray) -> bool:
    """Return whether the permutation moves a number to one of the first places.

    It follows the one number, which is quicker than all swaps.
    """
    place, step = token, 0
    while True:
        swapped = np.flatnonzero(swaps[step:] == place)
        at = step + int(swapped[0]) if swapped.size else len(swaps)
        if place >= len(swaps) or at <= place:
            return at < len(swaps)
        place, step = int(swaps[place]), place + 1  # its own place was reached: it goes there
