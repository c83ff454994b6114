"""The perplexity of a text, and what separates networks from an exact one over it.

Knows scorers and windows; does not know files or the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum, log
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, GenerationError
from ..generation.processors.plain import log_softmax
from ..places import Here, Place, in_order
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


class _Sums(NamedTuple):
    """What adds up over a window, for one network."""

    loss: float
    divergence: float
    same: int


def perplexities(
    scorers: Sequence[Scorer],
    text: str,
    max_length: int | None = None,
    stride: int | None = None,
    *,
    exact: bool = False,
    on_window: Callable[[int, int], object] | None = None,
    place: Place | None = None,
) -> list[TextScore]:
    """Measure networks over one text, in windows of ``max_length`` that begin each ``stride``.

    exact: the first network is the one that the others are compared with. on_window(done, all) is
    called after each window. place: what computes, which has the same scorers. Raises
    GenerationError for a text or window that does not fit, and ConfigError where the networks do
    not have the same tokens.
    """
    ids = _common_ids(scorers, text)
    context = min(scorer.context_length for scorer in scorers)
    max_length, stride = sizes(context, max_length, stride)
    cut = windows(len(ids), max_length, stride)
    done = 0

    def one_more(*_: object) -> None:
        nonlocal done
        done += 1
        if on_window is not None:
            on_window(done, len(cut))

    items = [(ids[window.begin : window.end], window.first) for window in cut]
    work = partial(_of_window, exact)
    found = in_order(Here(scorers) if place is None else place, work, items, one_more)
    tokenizer = scorers[0].tokenizer
    added = len(tokenizer.encode_whole("a")) - len(tokenizer.encode("a", add_special_tokens=False))
    per_byte = (len(ids) - added) / len(text.encode()) / log(2)
    return [
        TextScore(
            tokens=len(ids),
            max_length=max_length,
            stride=stride,
            **_means(sums, cut, per_byte, exact and number > 0),
        )
        for number, sums in enumerate(zip(*found, strict=True))
    ]


def _means(
    sums: Sequence[_Sums], cut: Sequence[Window], per_byte: float, compared: bool
) -> dict[str, Any]:
    """Return the fields of a TextScore that are means; the sums are exact, in any order."""
    predicted, weight = sum(w.predicted for w in cut), sum(w.weight for w in cut)
    guide = fsum(own.loss / w.predicted * w.weight for own, w in zip(sums, cut, strict=True))
    fields: dict[str, Any] = {
        "predicted": predicted,
        "loss": guide / weight,
        "perplexity": _exponential(guide / weight),
        "bits_per_byte": fsum(own.loss for own in sums) / predicted * per_byte,
    }
    if compared:
        fields["kl_divergence"] = fsum(own.divergence for own in sums) / predicted
        fields["same_ids"] = sum(own.same for own in sums) / predicted
    return fields


def _of_window(
    exact: bool, scorers: Sequence[Scorer], window: tuple[list[int], int]
) -> list[_Sums]:
    """Return each network's loss over ids from a place on, and what separates it from the first."""
    ids, place = window
    losses, divergences, same = ([0.0] * len(scorers) for _ in range(3))
    for rows in zip(*(scorer.logits(ids, place) for scorer in scorers), strict=True):
        for row in zip(*rows, strict=True):  # one position in float64 at a time
            first = None
            for number, logits in enumerate(row):
                scores = log_softmax(logits)
                losses[number] -= float(scores[ids[place]])
                if not exact:
                    continue
                first = scores if first is None else first
                divergences[number] += _divergence(first, scores)
                same[number] += first.argmax() == scores.argmax()
            place += 1
    return [_Sums(*each) for each in zip(losses, divergences, map(int, same), strict=True)]


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
