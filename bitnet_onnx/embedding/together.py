"""Texts of several requests, embedded in one call: a short text alone leaves most of a CPU idle.

A text's vector does not depend on the texts beside it. Knows threads; does not know requests.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from .model import EmbeddingModel

__all__ = ["Together"]


@dataclass
class _Call:
    """A thread's call, and what came of it."""

    texts: list[Any]
    prompt: str | None
    dimensions: int | None
    found: np.ndarray | Exception | None = None


def _options(call: _Call) -> str:
    """Return what calls that are computed as one have in common."""
    return repr((call.prompt, call.dimensions))


class Together:
    """A model whose calls are shared: what arrives while one runs is the next one."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model
        self._running, self._adding = threading.Lock(), threading.Lock()
        self._waiting: list[_Call] = []

    def embed(self, texts: list[Any], prompt: str | None, dimensions: int | None) -> np.ndarray:
        """Return the vectors of texts, as ``EmbeddingModel.embed``; raise as it does."""
        call = _Call(texts, prompt, dimensions)
        with self._adding:
            self._waiting.append(call)
        with self._running:
            if call.found is None:  # nobody before took it along
                with self._adding:
                    calls, self._waiting = self._waiting, []
                calls.sort(key=_options)
                for _, alike in groupby(calls, key=_options):
                    self._compute(list(alike))
        assert call.found is not None
        if isinstance(call.found, Exception):
            raise call.found
        return call.found

    def _compute(self, calls: Sequence[_Call]) -> None:
        """Compute calls with the same options; where they fail, each of several by itself."""
        first = calls[0]
        texts = [text for call in calls for text in call.texts]
        try:
            vectors = self._model.embed(texts, first.prompt, first.dimensions)
        except Exception as error:  # of one of them, whose own error names it, or of the memory
            if len(calls) == 1:
                first.found = error
                return
            for call in calls:
                self._compute([call])
            return
        start = 0
        for call in calls:
            call.found = vectors[start : start + len(call.texts)]
            start += len(call.texts)

    def close(self) -> None:
        """Free ONNX Runtime's session after the running call."""
        with self._running:
            self._model.close()
