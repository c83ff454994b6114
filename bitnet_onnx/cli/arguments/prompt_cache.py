"""``--prompt-cache FILE``: the keys and values of a prompt, kept from one start to the next.

Knows the session and the file's name; ``runtime/cache/saved.py`` knows its bytes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import GenerationError

if TYPE_CHECKING:
    from ...generation.config import GenerationConfig
    from ...runtime.session import Session

__all__ = ["PromptCache", "add_prompt_cache", "check_alone"]


def add_prompt_cache(parser: argparse.ArgumentParser, kept: str) -> None:
    parser.add_argument(
        "--prompt-cache",
        type=Path,
        metavar="FILE",
        help=f"keep the keys and values of {kept} in a file: what the next start shares with them "
        "is not computed again; a file of another model is refused",
    )


def check_alone(path: Path | None, prompts: int, config: GenerationConfig) -> None:
    """Refuse a prompt cache where more than one row is computed."""
    from ...runtime.cache.kinds import PASSING

    if path is None:
        return
    reason = None
    if prompts > 1:
        reason = f"{prompts} prompts"
    elif config.num_return_sequences > 1:
        reason = f"{config.num_return_sequences} answers for a prompt"
    elif config.num_beams > 1:
        reason = f"{config.num_beams} beams"
    elif config.guides:
        reason = "--guidance-scale, which computes two prompts"
    elif config.contrasts:
        reason = "penalty_alpha, which needs the hidden states of the whole prompt"
    elif config.cache_implementation in PASSING:
        raise GenerationError(
            f"--prompt-cache is given with the cache {config.cache_implementation!r}, which does "
            "not hold a long prompt to its end, expected another cache"
        )
    if reason is not None:
        raise GenerationError(
            f"--prompt-cache is given with {reason}, expected one prompt and one answer"
        )


class PromptCache:
    """A session whose cache begins as a file's; ``path`` is None where no file was asked for."""

    def __init__(self, session: Session, path: Path | None) -> None:
        """Raises GenerationError where the file does not belong to the session's model."""
        self._session, self._path = session, path
        if path is not None and os.path.lexists(path):
            session.load(path)
        self._held = session.ids()

    def keep(self, tokens: int | None = None) -> None:
        """Write the first tokens of the session's row, or all, unless the file holds them."""
        if self._path is None:
            return
        ids = self._session.ids()[:tokens]
        if ids and self._held[: len(ids)] != ids:
            self._session.truncate(len(ids))
            self._session.save(self._path)
            self._held = ids
