"""The options of a search of beams: their values, and what cannot be combined with them.

Knows values; does not know the search.
"""

from __future__ import annotations

from typing import Any

from ..errors import GenerationError
from .checks import wrong

__all__ = ["early_stopping", "refuse_beside_beams"]


def early_stopping(name: str, value: Any) -> bool | str:
    if not isinstance(value, bool) and value != "never":
        raise wrong(name, value, 'True, False or "never"')
    return bool(value) if isinstance(value, bool) else "never"


def refuse_beside_beams(options: Any) -> None:
    """Raise GenerationError for options that a search of several beams cannot obey."""
    if options.num_return_sequences > options.num_beams:
        raise wrong(
            "num_return_sequences",
            options.num_return_sequences,
            f"at most num_beams, {options.num_beams}",
        )
    if options.guidance_scale is not None and options.guidance_scale != 1:
        raise GenerationError(
            f"guidance_scale is {options.guidance_scale} with {options.num_beams} beams, expected"
            " one of the two options",
            hint="leave out num_beams or guidance_scale",
        )
