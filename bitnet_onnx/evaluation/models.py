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
from .scorers import ModelScorer, Scorer

if TYPE_CHECKING:
    from ..weights.checkpoint.base import Checkpoint

__all__ = ["PLAIN", "is_artifact", "open_artifacts", "open_model", "open_scorer"]

PLAIN = GenerationConfig()
"""What is used where generation_config.json is not read."""


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
        return ModelScorer(stack.enter_context(open_model(path, threads)))
    from .reference import TorchScorer, use_threads

    use_threads(threads)
    return TorchScorer(opened(path))


def open_artifacts(
    folders: list[Path], threads: int, config: GenerationConfig | None = PLAIN
) -> list[ModelScorer]:
    """Open artifacts, as a node of a cluster does; arguments are those of ``open_model``."""
    return [ModelScorer(open_model(folder, threads, config)) for folder in folders]
