"""The options of a search of beams: their values, and what cannot be combined with them.

Knows values; does not know the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import GenerationError
from .checks import sequences, wrong

__all__ = ["early_stopping", "force_words", "refuse_beside_beams"]

Words = tuple[tuple[int, ...], ...]


def early_stopping(name: str, value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if value != "never":
        raise wrong(name, value, 'True, False or "never"')
    return "never"


def force_words(name: str, value: Any) -> tuple[tuple[int, ...] | Words, ...] | None:
    """Return words, each a sequence of ids or several of which one is enough."""
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise wrong(name, value, "lists of ids, or lists of lists of ids, at least one")
    return tuple(_word(name, word) for word in value)


def _word(name: str, word: Any) -> tuple[int, ...] | Words:
    if isinstance(word, Sequence) and len(word) and isinstance(word[0], (list, tuple)):
        found = sequences(name, word) or ()
        for one in found:
            if any(one == other[: len(one)] for other in found if other is not one):
                raise wrong(name, word, "sequences none of which begins another one")
        return found
    (single,) = sequences(name, [word]) or ()
    return single


def refuse_beside_beams(options: Any) -> None:
    """Raise GenerationError for options that a search of beams cannot obey."""
    beams, groups = options.num_beams, options.num_beam_groups
    if groups > 1 and beams % groups:
        raise wrong("num_beam_groups", groups, f"a divisor of num_beams, {beams}")
    if options.force_words_ids is not None and beams == 1:
        raise GenerationError(
            "force_words_ids is given without beams, expected num_beams of at least 2",
            hint="add num_beams=4",
        )
    if options.num_return_sequences > beams:
        expected = f"at most num_beams, {beams}"
        raise wrong("num_return_sequences", options.num_return_sequences, expected)
    if options.guides:
        raise _apart("guidance_scale", options.guidance_scale, f"num_beams {beams}")
    if groups > 1 and options.diversity_penalty == 0:
        raise wrong("diversity_penalty", 0.0, "a number above 0: without it, all groups are alike")
    if groups == 1 and options.diversity_penalty != 0:
        raise wrong("num_beam_groups", 1, "at least 2 with a diversity_penalty")
    if groups > 1 and options.do_sample:
        raise _apart("do_sample", True, f"num_beam_groups {groups}")
    if options.force_words_ids is not None and options.do_sample:
        raise _apart("do_sample", True, "force_words_ids")
    if options.force_words_ids is not None and groups > 1:
        raise _apart("num_beam_groups", groups, "force_words_ids")


def _apart(name: str, value: Any, other: str) -> GenerationError:
    return GenerationError(
        f"{name} is {value} with {other}, expected one of the two options",
        hint=f"leave out {name}",
    )
