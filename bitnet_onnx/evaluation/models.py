"""Open what is evaluated: an artifact, or a checkpoint that the torch reference computes.

Knows which of the two a path is; does not know measures.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ..artifact import MANIFEST, TASK, Artifact
from ..generation.model import Model, load
from .scorers import Scorer, SessionScorer

__all__ = ["is_artifact", "open_model", "open_scorer"]


def is_artifact(path: str) -> bool:
    return (Path(path) / MANIFEST).exists()


def open_model(path: str | Path, threads: int = 0) -> Model:
    """Open an artifact for text-generation; raise ArtifactError and others as ``load`` does."""
    model = load(Artifact.open(path).of_task(TASK), threads=threads)
    assert isinstance(model, Model)
    return model


def open_scorer(
    path: str, stack: ExitStack, threads: int = 0, on_note: Callable[[str], object] | None = None
) -> Scorer:
    """Open an artifact, which the stack closes, or else a checkpoint; raise as these do.

    on_note sees the assumptions about a checkpoint.
    """
    if is_artifact(path):
        model = stack.enter_context(open_model(path, threads))
        return SessionScorer(model.session, model.tokenizer)
    from ..weights.open import open_checkpoint
    from .reference import TorchScorer, use_threads

    use_threads(threads)
    checkpoint = open_checkpoint(path)
    for note in checkpoint.notes if on_note is not None else ():
        on_note(note)
    return TorchScorer(checkpoint)
