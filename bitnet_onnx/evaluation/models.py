"""Open what is evaluated: an artifact, or a checkpoint that the torch reference computes.

Knows which of the two a path is; does not know measures.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifact import MANIFEST, TASK, Artifact
from ..generation.config import GenerationConfig
from ..generation.model import Model, load
from .scorers import Scorer, SessionScorer

if TYPE_CHECKING:
    from ..weights.checkpoint.base import Checkpoint

__all__ = ["is_artifact", "open_model", "open_scorer"]

PLAIN = GenerationConfig()


def is_artifact(path: str) -> bool:
    return (Path(path) / MANIFEST).exists()


def open_model(
    path: str | Path, threads: int = 0, config: GenerationConfig | None = PLAIN
) -> Model:
    """Open an artifact for text-generation; raise ArtifactError and others as ``load`` does.

    config: None for what generation_config.json asks for, which is not read otherwise.
    """
    model = load(Artifact.open(path).of_task(TASK), threads=threads, generation_config=config)
    assert isinstance(model, Model)
    return model


def open_scorer(
    path: str, stack: ExitStack, threads: int, opened: Callable[[str], Checkpoint]
) -> Scorer:
    """Open an artifact, which the stack closes, or else a checkpoint by ``opened``."""
    if is_artifact(path):
        model = stack.enter_context(open_model(path, threads))
        return SessionScorer(model.session, model.tokenizer)
    from .reference import TorchScorer, use_threads

    use_threads(threads)
    return TorchScorer(opened(path))
