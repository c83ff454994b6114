"""Which options act only beside another one, and what they need: one table for all of them.

Knows names and values; does not know who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .options import ASSISTED, BEAMS, LOOKBEHIND, LOOKUP, SAMPLING, Options

__all__ = ["Need", "unmet"]

Met = Callable[[Options, Mapping[str, Any], bool], bool]


class Need(NamedTuple):
    """What some options need in order to act."""

    options: tuple[str, ...]
    acts: str
    """When they act: the words after "acts only"."""
    needed: str
    """The option that makes them act."""
    value: str
    """A value of it, as it is written in Python."""
    met: Met
    """Whether they act, for the options, the ones given by name, and whether a model assists."""
    of_call: bool = False
    """Whether only a whole call shows it, with its assistant."""


def _looks_up(options: Options, given: Mapping[str, Any], assisted: bool) -> bool:
    return bool(options.prompt_lookup_num_tokens)


def _samples(options: Options, given: Mapping[str, Any], assisted: bool) -> bool:
    # Greedy decoding is what an option of sampling tends to, as the temperature goes to 0.
    return options.do_sample or "do_sample" in given or options.temperature == 0


def _drafted(options: Options, given: Mapping[str, Any], assisted: bool) -> bool:
    return assisted or options.assistant_early_exit is not None


SAMPLED = ("when sampling", "do_sample", "True")
DRAFTS = "on drafts"
LOOKED_UP = "prompt_lookup_num_tokens"
NEEDS = (
    Need(BEAMS, "in a search of beams", "num_beams", "4",
         lambda options, given, _: options.num_beams > 1 or "num_beams" in given),
    Need(tuple(name for name in SAMPLING if name != "top_k"), *SAMPLED, _samples),
    Need(("top_k",), *SAMPLED, lambda *call: bool(call[0].penalty_alpha) or _samples(*call)),
    Need(LOOKUP, DRAFTS, LOOKED_UP, "10", _looks_up, of_call=True),
    Need(LOOKBEHIND, DRAFTS, "assistant_model", "load(...)",
         lambda _, given, assisted: assisted, of_call=True),
    Need(ASSISTED, DRAFTS, "assistant_model", "load(...)", _drafted, of_call=True),
    Need(("num_assistant_tokens_schedule",), DRAFTS, LOOKED_UP, "10",
         lambda *call: _drafted(*call) or _looks_up(*call), of_call=True),
)  # fmt: skip


def unmet(
    options: Options, given: Mapping[str, Any], assisted: bool | None = None
) -> tuple[str, Need] | None:
    """Return the first of the options given by name that has no effect, and what it needs.

    ``options`` are all, with the given ones. assisted: whether a model assists; None where the call
    is not known yet, so that what depends on it is not judged.
    """
    for need in NEEDS:
        if (need.of_call and assisted is None) or need.met(options, given, bool(assisted)):
            continue
        for name, value in given.items():
            if name in need.options and value is not None:
                return name, need
    return None
