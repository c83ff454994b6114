"""The options of strategies that read hidden states: contrastive search and DoLa.

Knows values; does not know the strategies.
"""

from __future__ import annotations

from typing import Any

from ..errors import GenerationError
from .checks import ids_of, wrong

__all__ = ["dola_layers", "refuse_beside_layers"]

PARTS = ("low", "high")


def dola_layers(name: str, value: Any) -> str | tuple[int, ...] | None:
    """Return a part of the layers, or the numbers of some."""
    if value is None or (isinstance(value, str) and value in PARTS):
        return value
    if not isinstance(value, (list, tuple)) or not value:
        raise wrong(name, value, '"low", "high" or a list of layers, at least one')
    return ids_of(name, value)


def refuse_beside_layers(options: Any) -> None:
    """Raise GenerationError for options that cannot be obeyed with these strategies."""
    alpha = f"penalty_alpha {options.penalty_alpha}"
    if options.dola_layers is not None:
        if options.num_beams > 1:
            raise _apart("dola_layers", options.dola_layers, f"num_beams {options.num_beams}")
        if options.contrasts:
            raise _apart("dola_layers", options.dola_layers, alpha)
        alpha = f"dola_layers {options.dola_layers!r}"
    if not options.reads_layers:  # penalty_alpha does not act
        return
    for name in ("prompt_lookup_num_tokens", "assistant_early_exit"):
        if drafts := getattr(options, name):
            raise _apart(name, drafts, alpha)
    if options.contrasts and options.guides:
        raise _apart("guidance_scale", options.guidance_scale, alpha)


def _apart(name: str, value: Any, other: str) -> GenerationError:
    return GenerationError(
        f"{name} is {value!r} with {other}, expected one of the two options",
        hint=f"leave out {name}",
    )
