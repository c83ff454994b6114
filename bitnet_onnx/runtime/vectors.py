"""A session that embeds: token ids of texts in, one vector for each out. It keeps nothing.

Knows ONNX Runtime and which texts share a call; does not know text.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import EMBEDDING, Artifact
from ..errors import GenerationError, SessionError
from .integers import Ids, integer, token_ids
from .open import VECTORS, first_line, open_runtime
from .owned import SESSION_UNCOPIED, Owned

__all__ = ["BATCH", "VectorSession"]

BATCH = 32  # texts of a call, unless the caller names another number
MOST_POSITIONS = 4096  # of a call of several texts; it bounds the memory of activations


class VectorSession(Owned):
    """An artifact that embeds. A text's vector does not depend on the texts that share its call.

    Threads may share it. A child process gets a SessionError, since ONNX Runtime's threads do not
    survive a fork.
    """

    uncopied = (SESSION_UNCOPIED, "open the artifact there, too; both share the mapped weights")

    def __init__(
        self, artifact: Artifact | str | Path, *, threads: int = 0, custom_ops: bool = True
    ) -> None:
        """Open an artifact folder; arguments and errors are those of ``Session``."""
        opened = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        self.artifact = opened.of_task(EMBEDDING)
        self.context_length = self.artifact.context_length
        """Tokens that a text can have."""
        self._runtime: Any = open_runtime(self.artifact, threads, custom_ops, None, None, None)
        outputs = {port.name: port.shape for port in self._runtime.get_outputs()}
        self.size: int = outputs[VECTORS][1]
        """Numbers of a vector."""
        # ONNX Runtime's own products and sums round by how many positions they have.
        self._exact = custom_ops and self.artifact.target == "native"
        self._process = os.getpid()

    def embed(self, texts: Sequence[Ids], batch_size: int = BATCH) -> np.ndarray:
        """Return the vectors [n, size] of n texts, as token ids."""
        vectors = np.empty((len(texts), self.size), dtype=np.float32)
        for rows, call in self.calls(texts, batch_size):
            vectors[rows] = self._run(call)
        return vectors

    def calls(
        self, texts: Sequence[Ids], batch_size: int = BATCH
    ) -> list[tuple[list[int], list[list[int]]]]:
        """Return the calls that compute these texts: the numbers of the texts, and their ids.

        Raises GenerationError for a text that cannot be computed.
        """
        if (most := integer("batch_size", batch_size)) < 1:
            raise GenerationError(f"batch_size is {most}, expected 1 or more")
        checked = [self._checked(number, ids) for number, ids in enumerate(texts)]
        calls = self._calls([len(ids) for ids in checked], most)
        return [(rows, [checked[row] for row in rows]) for rows in calls]

    def close(self) -> None:
        """Free ONNX Runtime's session; every later call raises SessionError."""
        if self._process == os.getpid():
            self._runtime = None

    def _checked(self, number: int, ids: Ids) -> list[int]:
        found = token_ids(ids, self.artifact.vocab_size)
        if not found:
            raise GenerationError(f"text {number} has no tokens, expected at least one")
        if len(found) > self.context_length:
            raise GenerationError(
                f"text {number} has {len(found)} tokens, expected at most the context of "
                f"{self.context_length}",
                hint="split it, and embed the parts",
            )
        return found

    def _calls(self, lengths: list[int], most: int) -> Iterator[list[int]]:
        """Yield the texts of each call: of similar lengths, since the shorter ones are padded."""
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        while order:
            width = lengths[order[0]]
            count = max(1, min(most, MOST_POSITIONS // width))
            rows = order[:count]
            if not self._exact:
                rows = [row for row in rows if lengths[row] == width]
            yield rows
            order = order[len(rows) :]

    def _run(self, texts: list[list[int]]) -> np.ndarray:
        if self._process != os.getpid():
            raise SessionError(
                "the session was opened before this process was forked from another one",
                hint="open the artifact in the child; they share the mapped weights",
            )
        if (runtime := self._runtime) is None:
            raise SessionError("the session is closed, expected an open one")
        ids = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        try:
            found: np.ndarray
            (found,) = runtime.run([VECTORS], {"input_ids": ids, "attention_mask": mask})
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise SessionError(f"ONNX Runtime failed: {first_line(error)}") from error
        return found
