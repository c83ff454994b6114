"""The perplexity of a text, and what separates networks from an exact one over it.

Knows scorers and windows; does not know files or the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from ..errors import ConfigError, GenerationError
from ..generation.processors.plain import log_softmax
from .scorers import Scorer
from .windows import Window, sizes, windows

__all__ = ["TextScore", "perplexities"]


@dataclass(frozen=True)
class TextScore:
    """How well a network predicts a text."""

    tokens: int
    """Tokens of the text, with those that the tokenizer puts around it."""
    predicted: int
    max_length: int
    stride: int
    loss: float
    """The mean negative log-likelihood of a token, as transformers' guide adds it up."""
    perplexity: float
    """e to the power of ``loss``."""
    bits_per_byte: float
    """The mean of a predicted token, times the text's own tokens, over its bytes in UTF-8."""
    kl_divergence: float | None = None
    """The mean, over predicted tokens, of how far the exact distribution is from this one."""
    same_ids: float | None = None
    """The share of places where the likeliest id is the exact network's."""


class _Sums:
    """What adds up over the windows, for one network."""

    def __init__(self) -> None:
        self.loss = self.guide = self.divergence = 0.0
        self.same = 0


def perplexities(
    scorers: Sequence[Scorer],
    text: str,
    max_length: int | None = None,
    stride: int | None = None,
    *,
    exact: bool = False,
    on_window: Callable[[int, int], object] | None = None,
) -> list[TextScore]:
    """Measure networks over one text, in windows of ``max_length`` that begin each ``stride``.

    exact: the first network is the one that the others are compared with. on_window(done, all) is
    called after each window. Raises GenerationError for a text or window that does not fit, and
    ConfigError where the networks do not have the same tokens.
    """
    ids = _common_ids(scorers, text)
    context = min(scorer.context_length for scorer in scorers)
    max_length, stride = sizes(context, max_length, stride)
    cut = windows(len(ids), max_length, stride)
    sums = [_Sums() for _ in scorers]
    for done, window in enumerate(cut, 1):
        _add_window(scorers, ids[window.begin : window.end], window, sums, exact)
        if on_window is not None:
            on_window(done, len(cut))
    predicted, weight = sum(w.predicted for w in cut), sum(w.weight for w in cut)
    tokenizer = scorers[0].tokenizer
    added = len(tokenizer.encode_whole("a")) - len(tokenizer.encode("a", add_special_tokens=False))
    per_byte = (len(ids) - added) / len(text.encode()) / log(2)
    return [
        TextScore(
            tokens=len(ids),
            predicted=predicted,
            max_length=max_length,
            stride=stride,
            loss=found.guide / weight,
            perplexity=_exponential(found.guide / weight),
            bits_per_byte=found.loss / predicted * per_byte,
            kl_divergence=found.divergence / predicted if exact and number else None,
            same_ids=found.same / predicted if exact and number else None,
        )
        for number, found in enumerate(sums)
    ]


def _add_window(
    scorers: Sequence[Scorer], ids: list[int], window: Window, sums: list[_Sums], exact: bool
) -> None:
    """Add a window's losses, and what separates the others from the first network."""
    losses, place = [0.0] * len(scorers), window.first
    for rows in zip(*(scorer.logits(ids, window.first) for scorer in scorers), strict=True):
        for row in zip(*rows, strict=True):  # one position in float64 at a time
            first = None
            for number, logits in enumerate(row):
                scores = log_softmax(logits)
                losses[number] -= float(scores[ids[place]])
                if not exact:
                    continue
                first = scores if first is None else first
                sums[number].divergence += _divergence(first, scores)
                sums[number].same += int(first.argmax() == scores.argmax())
            place += 1
    for found, loss in zip(sums, losses, strict=True):
        found.loss += loss
        found.guide += loss / window.predicted * window.weight


def _divergence(exact: np.ndarray, other: np.ndarray) -> float:
    """Return the Kullback-Leibler divergence of log-probabilities [V], in nats."""
    return float(np.exp(exact) @ (exact - other))


def _exponential(loss: float) -> float:
    with np.errstate(over="ignore"):  # beyond 709 it is infinite
        return float(np.exp(loss))


def _common_ids(scorers: Sequence[Scorer], text: str) -> list[int]:
    """Return the ids of the text; raise where it is empty, or the networks disagree about it."""
    if not text:
        raise GenerationError("the text is empty, expected at least one character")
    first = scorers[0]
    ids = first.tokenizer.encode_whole(text)
    for number, other in enumerate(scorers[1:], 2):
        if other.vocab_size != first.vocab_size:
            raise ConfigError(
                f"vocab_size of model {number} is {other.vocab_size}, expected {first.vocab_size} "
                "as in the first one"
            )
        if other.tokenizer.encode_whole(text) != ids:
            raise ConfigError(
                f"model {number} has another tokenizer than the first one, expected the same ids of"
                " the text",
                hint="compare artifacts of one checkpoint",
            )
    return ids
