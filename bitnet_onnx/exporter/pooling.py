"""The export options of a network that embeds texts: its pooling, its context, what it has not.

Knows an open checkpoint and the options; knows no graph.
"""

from __future__ import annotations

from dataclasses import replace

from ..artifact import EMBEDDING, OUTPUTS
from ..errors import ConfigError
from ..network.pooling import POOLINGS, Pooling
from ..weights.checkpoint.base import Checkpoint
from .options import Options

__all__ = ["chosen_pooling", "embedding_options", "notes"]

TABLES = ("bf16", "int8", "float32")  # how the embedding is stored


def chosen_pooling(checkpoint: Checkpoint, asked: str | None) -> Pooling | None:
    """Return the pooling that is asked for, or the checkpoint's; None for a network with a head.

    Raises ConfigError for an unknown one, and for one that the network has not.
    """
    if asked not in (None, *POOLINGS):
        raise ConfigError(f"pooling is {asked!r}, expected one of: {', '.join(POOLINGS)}")
    if checkpoint.config.record.task != EMBEDDING:
        if asked is not None:
            raise ConfigError(
                f"pooling is {asked!r}, but {checkpoint.path} has a head, expected a network that "
                "embeds texts",
                hint="leave --pooling out",
            )
        return None
    found = checkpoint.pooling
    return found.computable() if asked is None else found.instead(asked)


def embedding_options(checkpoint: Checkpoint, options: Options, pooling: Pooling) -> Options:
    """Return the options with a context that all layers see; raise ConfigError for others."""
    if options.head not in TABLES:
        raise ConfigError(
            f"head is {options.head!r}, but a network that embeds texts has no head, expected one "
            f"of: {', '.join(TABLES)}, the form of its embedding",
        )
    if options.kv_cache != "float32":
        raise ConfigError(
            f"kv_cache is {options.kv_cache!r}, but a network that embeds texts has no cache",
            hint="leave --kv-cache out",
        )
    if options.outputs != OUTPUTS[0]:
        raise ConfigError(
            f"outputs is {options.outputs!r}, but a network that embeds texts gives vectors",
            hint="leave --outputs out",
        )
    window, asked = _window(checkpoint), options.context_length
    if asked is not None and window is not None and asked > window:
        raise ConfigError(
            f"context_length is {asked}, expected at most sliding_window {window}: texts beyond "
            "the window of sliding layers are not supported"
        )
    limits = (checkpoint.config.max_position_embeddings, window, pooling.longest)
    context = min(limit for limit in limits if limit is not None)
    return replace(options, context_length=context if asked is None else asked)


def notes(checkpoint: Checkpoint, asked: str | None) -> list[str]:
    """Return what an export assumes or limits where the files and the user say nothing."""
    pooling, window = chosen_pooling(checkpoint, asked), _window(checkpoint)
    if pooling is None:
        return []
    found = [pooling.note] if pooling.note is not None else []
    if window is not None and window < checkpoint.config.max_position_embeddings:
        found.append(
            f"texts may have {window} tokens, the sliding_window, and not max_position_embeddings "
            f"{checkpoint.config.max_position_embeddings}"
        )
    return found


def _window(checkpoint: Checkpoint) -> int | None:
    gemma = checkpoint.config.gemma
    return None if gemma is None else gemma.window
