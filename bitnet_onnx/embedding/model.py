"""A loaded model that embeds: an artifact with its session, tokenizer and prompts.

Knows texts; the session knows ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import GenerationError
from ..network.prompts import Prompts
from ..places import Place
from ..runtime.integers import Ids, integer, integers
from ..runtime.owned import MODEL_UNCOPIED, Owned
from ..runtime.vectors import BATCH, VectorSession
from ..text.tokenizer import Tokenizer

__all__ = ["EmbeddingModel", "open_sessions"]

SMALLEST = 1e-12  # a shorter vector is not divided by its length
OF_MODEL = """
generate generate_batch stream chat score encode session generation_config
""".split()  # what a ``Model`` has


class _NotGeneratingError(GenerationError, AttributeError):
    """What ``hasattr`` takes for a missing attribute."""


class EmbeddingModel(Owned):
    """Turns texts into vectors; ``load`` makes it of an artifact whose task is embedding.

    A text is a string, or the token ids that the tokenizer would give. Threads may share it.
    """

    uncopied = MODEL_UNCOPIED

    def __init__(self, session: VectorSession) -> None:
        self._session = session
        self.prompts = Prompts.of_folder(session.artifact.folder)
        """What the artifact puts before texts, by name."""

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The artifact's tokenizer."""
        return Tokenizer.from_folder(self._session.artifact.folder)

    @property
    def size(self) -> int:
        """Numbers of a vector."""
        return self._session.size

    def embed(
        self,
        texts: str | Sequence[str | Ids],
        prompt_name: str | None = None,
        dimensions: int | None = None,
        batch_size: int = BATCH,
        place: Place | None = None,
    ) -> np.ndarray:
        """Return the vectors of texts, float32 [n, size], or [n, dimensions].

        prompt_name: which of ``prompts`` goes before each text; None: the artifact's default, if it
        has one. dimensions: keep so many numbers of each vector, and give it the length 1 again.
        batch_size: the most texts that are computed together, which changes no bit. place: what
        computes, whose model is what ``open_sessions`` gives; None: this process.
        Raises GenerationError, TokenizerError or SessionError.
        """
        if isinstance(texts, str):
            texts = [texts]
        if not isinstance(texts, (list, tuple)):
            raise GenerationError(f"the texts are {texts!r:.80}, expected a list of texts")
        count = self._dimensions(dimensions)
        before = self.prompts.before(prompt_name)
        ids = [self._ids(text, before, prompt_name) for text in texts]
        vectors = self._vectors(ids, batch_size, place)
        if count == self.size:
            return vectors
        vectors = np.ascontiguousarray(vectors[:, :count])
        return unit(vectors) if self._session.artifact.manifest["normalize"] else vectors

    def _vectors(self, ids: list[Any], batch_size: int, place: Place | None) -> np.ndarray:
        if place is None:
            return self._session.embed(ids, batch_size)
        vectors = np.empty((len(ids), self.size), dtype=np.float32)
        calls = self._session.calls(ids, batch_size)
        for number, found in place.each(_embedded, [texts for _, texts in calls]):
            vectors[calls[number][0]] = found
        return vectors

    def ids(self, text: str, prompt_name: str | None = None) -> list[int]:
        """Return the ids of a text after its prompt, with what the tokenizer adds around them."""
        return self._ids(text, self.prompts.before(prompt_name), prompt_name)

    def close(self) -> None:
        """Free ONNX Runtime's session."""
        self._session.close()

    def __getattr__(self, name: str) -> NoReturn:
        if name in OF_MODEL:
            raise _NotGeneratingError(
                f"{self._session.artifact.folder} embeds texts, expected one that generates them "
                f"for {name}",
                hint="use embed(texts)",
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _dimensions(self, asked: int | None) -> int:
        count = self.size if asked is None else integer("dimensions", asked)
        if not 1 <= count <= self.size:
            raise GenerationError(f"dimensions is {count}, expected 1 to {self.size}")
        return count

    def _ids(self, text: Any, before: str, prompt_name: str | None) -> list[int]:
        if isinstance(text, str):
            return self.tokenizer.encode_whole(before + text)
        if prompt_name is not None:
            raise GenerationError(
                f"prompt_name is {prompt_name!r} with token ids, expected it with texts"
            )
        return integers("token id", text)


def open_sessions(folders: list[Path], threads: int) -> VectorSession:
    """Open the one artifact, as a node of a cluster does."""
    (folder,) = folders
    return VectorSession(folder, threads=threads)


def _embedded(session: VectorSession, texts: list[list[int]]) -> np.ndarray:
    return session.embed(texts, len(texts))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Give vectors [n, d] the length 1; their squares are added in float64, in order."""
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.cumsum(wide * wide, axis=1)[:, -1:])
    found: np.ndarray = (wide / np.maximum(lengths, SMALLEST)).astype(np.float32)
    return found
