"""Logits to one id: greedy or sampled, with the words and the order of transformers.

Knows the logits of one position and the ids that came before. Knows no model, no text, no loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np

from ..errors import GenerationError

__all__ = ["Sampler", "SamplingParams"]


def _number(name: str, value: object, expected: str) -> float:
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond every float
            number = math.inf
        if math.isfinite(number):
            return number
    raise GenerationError(f"{name} is {value!r}; it must be {expected}.")


def _integer(name: str, value: object, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise GenerationError(f"{name} is {value!r}; it must be {expected}.")
    return int(value)


@dataclass(frozen=True)
class SamplingParams:
    """How an id is chosen; fields and defaults are those of transformers' GenerationConfig.

    Without do_sample only repetition_penalty has an effect. 0 turns top_k and min_p off,
    1 turns top_p and repetition_penalty off. seed None draws a fresh seed.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.do_sample, bool):
            raise GenerationError(f"do_sample is {self.do_sample!r}; it must be True or False.")
        for name in ("temperature", "repetition_penalty"):
            if _number(name, getattr(self, name), "a number above 0") <= 0:
                raise GenerationError(
                    f"{name} is {getattr(self, name)!r}; it must be a number above 0.",
                    hint="Greedy decoding is do_sample=False." if name == "temperature" else None,
                )
        if not 0 < _number("top_p", self.top_p, "above 0 and at most 1") <= 1:
            raise GenerationError(f"top_p is {self.top_p!r}; it must be above 0 and at most 1.")
        if not 0 <= _number("min_p", self.min_p, "between 0 and 1") <= 1:
            raise GenerationError(f"min_p is {self.min_p!r}; it must be between 0 and 1.")
        expected = "an integer of at least 0 (0 turns it off)"
        if _integer("top_k", self.top_k, expected) < 0:
            raise GenerationError(f"top_k is {self.top_k!r}; it must be {expected}.")
        if self.seed is not None and _integer("seed", self.seed, "an integer of at least 0") < 0:
            raise GenerationError(f"seed is {self.seed!r}; it must be an integer of at least 0.")


class Sampler:
    """Chooses the ids of one sequence; it remembers them for the repetition penalty.

    Each row of a batch has its own generator, made from (seed, row), so that a row draws the
    same numbers however many rows are beside it.
    """

    def __init__(self, params: SamplingParams, row: int = 0) -> None:
        self.params = params
        self._seen: set[int] = set()
        entropy = None if params.seed is None else (params.seed, row)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def observe(self, ids: list[int]) -> None:
        """Counts ids that were not sampled here (the prompt) as already said."""
        if self.params.repetition_penalty != 1:
            self._seen.update(ids)

    def sample(self, logits: np.ndarray) -> int:
        """The next id from logits [vocab]."""
        if self.params.do_sample:
            ids, probabilities = self.distribution(logits)
            cumulative = np.cumsum(probabilities, out=probabilities)
            # Scaling by the last sum makes the draw fall inside, whatever the rounding.
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
        """The ids that can be drawn, in increasing order, and their probabilities (float64).

        The order is that of transformers: penalty, temperature, top_k, top_p, min_p. Dividing
        by a temperature changes no order, so top_k may look at the logits before it.
        """
        params = self.params
        logits = self._penalized(logits)
        _check_finite(logits.max())
        if 0 < params.top_k < logits.size:
            # Ties with the k-th value are kept, as transformers does.
            ids = np.flatnonzero(logits >= np.partition(logits, -params.top_k)[-params.top_k])
            weights = logits[ids].astype(np.float64)
        else:
            ids, weights = np.arange(logits.size), logits.astype(np.float64)
        # With the maximum subtracted a tiny temperature overflows to -inf only: weight 0.
        with np.errstate(over="ignore"):
            # In place: fresh megabyte arrays cost more than the arithmetic on 128,256 ids.
            weights -= weights.max()
            weights /= float(params.temperature)
            np.exp(weights, out=weights)
        if params.top_p < 1:
            ids, weights = _nucleus(ids, weights, params.top_p)
        if params.min_p > 0:
            keep = weights >= params.min_p * weights.max()
            ids, weights = ids[keep], weights[keep]
        weights /= weights.sum()
        return ids, weights

    def _penalized(self, logits: np.ndarray) -> np.ndarray:
        if not self._seen:
            return logits
        seen = np.fromiter(self._seen, dtype=np.int64, count=len(self._seen))
        penalty = np.float32(self.params.repetition_penalty)
        said = logits[seen]
        logits = logits.copy()
        logits[seen] = np.where(said < 0, said * penalty, said / penalty)
        return logits


def _nucleus(ids: np.ndarray, weights: np.ndarray, top_p: float) -> tuple[np.ndarray, np.ndarray]:
    """The fewest likeliest ids whose probabilities reach top_p; among equals the lower id."""
    limit = top_p * weights.sum()
    count = min(1024, weights.size)
    while True:
        # Sorting the likeliest few is enough unless the distribution is very flat.
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
    # The maximum is NaN when any logit is, and infinite when no softmax exists.
    if not np.isfinite(highest):
        raise GenerationError(
            f"The highest logit is {highest}, so no token can be chosen; the model's weights or"
            " the artifact are damaged.",
            hint="Run `bitnet-onnx verify` with the checkpoint that the artifact was made from.",
        )
