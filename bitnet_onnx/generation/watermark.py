"""Find the watermark that ``watermarking_config`` leaves in ids.

Knows ids and the watermark's options; does not know the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from ..errors import GenerationError
from ..runtime.integers import Ids, integers
from .processors.greenlist import Greenlist
from .watermarking import WatermarkingConfig, watermarking

__all__ = ["WatermarkDetector", "WatermarkDetectorOutput"]


@dataclass(frozen=True)
class WatermarkDetectorOutput:
    """What was found in each sequence, with transformers' names: arrays [sequences]."""

    num_tokens_scored: np.ndarray
    """Tokens that could be looked at."""
    num_green_tokens: np.ndarray
    """Tokens that a watermark would have preferred."""
    green_fraction: np.ndarray
    """Their share of the tokens scored."""
    z_score: np.ndarray
    """How many standard deviations they are more than by chance."""
    p_value: np.ndarray
    """How likely chance alone gives so many."""
    prediction: np.ndarray
    """Whether the z-score is above the threshold."""
    confidence: np.ndarray
    """1 - p_value."""


class WatermarkDetector:
    """Tells whether ids were generated with a watermark; its results are transformers'.

    vocab_size is that of the model, and watermarking_config that of the generation. A leading
    bos_token_id is not scored. ignore_repeated_ngrams scores each run of tokens once.
    """

    def __init__(
        self,
        vocab_size: int,
        watermarking_config: WatermarkingConfig | Mapping[str, Any],
        *,
        bos_token_id: int | None = None,
        ignore_repeated_ngrams: bool = False,
    ) -> None:
        config = watermarking(watermarking_config)
        if config is None:
            raise GenerationError("watermarking_config is None, expected a WatermarkingConfig")
        self._config, self._bos = config, bos_token_id
        self._once = ignore_repeated_ngrams
        self._list = Greenlist(config, vocab_size)

    @overload
    def __call__(
        self,
        input_ids: Ids | Sequence[Ids],
        z_threshold: float = ...,
        *,
        return_dict: Literal[True],
    ) -> WatermarkDetectorOutput: ...
    @overload
    def __call__(
        self, input_ids: Ids | Sequence[Ids], z_threshold: float = ..., return_dict: bool = ...
    ) -> Any: ...
    def __call__(
        self,
        input_ids: Ids | Sequence[Ids],
        z_threshold: float = 3.0,
        return_dict: bool = False,
    ) -> Any:
        """Score one sequence of ids or several; return the predictions, or all that was found.

        Raises GenerationError where a sequence is too short to be scored.
        """
        counts = np.array([self._counted(ids) for ids in self._rows(input_ids)], dtype=np.float64)
        scored, green = counts[:, 0], counts[:, 1]
        ratio = self._config.greenlist_ratio
        z = (green - ratio * scored) / np.sqrt(scored * ratio * (1 - ratio))
        prediction = z > z_threshold
        if not return_dict:
            return np.asarray(prediction)
        p = np.array([0.5 * math.erfc(each / math.sqrt(2)) for each in z])
        return WatermarkDetectorOutput(scored, green, green / scored, z, p, prediction, 1 - p)

    def _rows(self, input_ids: Any) -> list[list[int]]:
        """Return the sequences, without a leading bos."""
        found = input_ids if hasattr(input_ids, "__iter__") else ()  # else refused below
        many = getattr(input_ids, "ndim", 1) == 2 or any(hasattr(r, "__len__") for r in found)
        rows = [integers("token id", ids) for ids in (input_ids if many else [input_ids])]
        begun = {row[:1] == [self._bos] for row in rows}
        if len(begun) != 1:
            raise GenerationError(
                f"{len(rows)} sequences are given, some of which begin with bos, expected at least"
                " one, and all or none with bos"
            )
        rows = [row[1:] for row in rows] if begun == {True} else rows
        width = self._config.context_width
        if (shortest := min(map(len, rows))) <= width:
            raise GenerationError(
                f"a sequence has {shortest} tokens without bos, expected more than the "
                f"{width} of context_width"
            )
        return rows

    def _counted(self, ids: list[int]) -> tuple[int, int]:
        """Return how many tokens are scored, and how many of them are preferred."""
        itself = self._config.seeding_scheme == "selfhash"
        size = self._config.context_width + (not itself)
        runs = Counter(tuple(ids[i : i + size]) for i in range(len(ids) - size + 1))
        times = {run: 1 if self._once else count for run, count in runs.items()}
        green = [
            count
            for run, count in times.items()
            if self._list.holds(run if itself else run[:-1], run[-1])
        ]
        return sum(times.values()), sum(green)
