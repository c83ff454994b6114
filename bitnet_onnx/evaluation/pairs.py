"""How likely a continuation is after a context, for many pairs at once.

Pairs of texts become ids as in lm-evaluation-harness. Knows scorers and tokenizers; does not know
questions or the harness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from ..errors import GenerationError, TokenizerError
from ..generation.processors.plain import log_softmax
from ..places import Here, Place
from ..text.tokenizer import Tokenizer
from .scorers import Scorer

__all__ = ["Likelihood", "Pair", "eos_id", "likelihoods", "pair_of", "prefix_id"]


class Pair(NamedTuple):
    """Ids, of which those from ``first`` on are the continuation."""

    ids: list[int]
    first: int


class Likelihood(NamedTuple):
    """Of a continuation: the sum of its log-probabilities, and whether greedy decoding gives it."""

    log_probability: float
    greedy: bool


def eos_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of the token that tokenizer_config.json calls eos_token, or another that ends.

    None where there is none.
    """
    named = tokenizer.vocabulary.get(tokenizer.names.get("eos_token", ""))
    return named if named is not None else next(iter(tokenizer.eos_token_ids), None)


def prefix_id(tokenizer: Tokenizer) -> int:
    """Return the id that stands before a text without a context: bos, or else eos."""
    named = tokenizer.vocabulary.get(tokenizer.names.get("bos_token", ""))
    found = named if named is not None else eos_id(tokenizer)
    if found is None:
        raise TokenizerError(
            "the tokenizer has neither a bos_token nor an eos_token, expected one to put before a "
            "text without a context"
        )
    return found


def pair_of(tokenizer: Tokenizer, context: str, continuation: str) -> Pair:
    """Return the ids of a context and what follows it, encoded as one text.

    Blanks at the end of the context count as the continuation's, as tokens begin with a blank.
    """
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    first = len(tokenizer.encode(bare)) if bare else 0
    if first:
        ids = tokenizer.encode(bare + continuation)
    else:
        ids, prefix = tokenizer.encode(continuation, add_special_tokens=False), prefix_id(tokenizer)
        ids, first = ids if ids[:1] == [prefix] else [prefix, *ids], 1
    if len(ids) <= first:
        raise GenerationError(
            f"{continuation!r} adds no token to what is before it, expected one or more"
        )
    return Pair(ids, first)


def likelihoods(
    scorer: Scorer,
    pairs: Sequence[Pair],
    on_done: Callable[[int, Likelihood], object] | None = None,
    place: Place | None = None,
) -> list[Likelihood]:
    """Return the likelihood of each pair's continuation.

    They are computed in the order of their ids: pairs with a common beginning are neighbours, and
    those that differ in their last id alone are computed once. on_done(number, found) sees each.
    place: what computes, whose first model is such a scorer.
    """
    found: list[Likelihood | None] = [None] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda number: _before_last(pairs[number]))
    numbers = [list(each) for _, each in groupby(order, key=lambda n: pairs[n].ids[:-1])]
    groups = [[pairs[number] for number in each] for each in numbers]
    for group, results in (place or Here([scorer])).each(_with_one_input, groups):
        for number, result in zip(numbers[group], results, strict=True):
            found[number] = result
            if on_done is not None:
                on_done(number, result)
    return [result for result in found if result is not None]


def _before_last(pair: Pair) -> tuple[list[int], int]:
    return pair.ids[:-1], pair.ids[-1]


def _with_one_input(scorers: Sequence[Scorer], pairs: list[Pair]) -> list[Likelihood]:
    """Return the likelihoods of pairs that differ in their last id, and in where they begin."""
    sums, greedy = [0.0] * len(pairs), [True] * len(pairs)
    place = min(pair.first for pair in pairs)
    for logits in scorers[0].logits(pairs[0].ids, place):
        for row in logits:
            scores, likeliest = log_softmax(row), int(row.argmax())
            for number, pair in enumerate(pairs):
                if place >= pair.first:
                    sums[number] += float(scores[pair.ids[place]])
                    greedy[number] &= pair.ids[place] == likeliest
            place += 1
    return [Likelihood(*both) for both in zip(sums, greedy, strict=True)]
