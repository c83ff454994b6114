"""The steps of a network over its cache: check ids, bind buffers, count positions.

Knows ONNX Runtime's IOBinding and the graph's inputs; does not know the session's user. A position
counts once it is computed: an error or an interrupt leaves the cache as it was before the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifact import Artifact
from ..errors import GenerationError, SessionError
from .cache.growing import Cache, CacheLayout
from .open import first_line

__all__ = ["CHUNK", "Ids", "Steps"]

Ids = Sequence[int] | npt.NDArray[np.integer[Any]]
CHUNK = 256  # positions of a prompt in one step; it bounds the memory of activations and logits


class Steps:
    """One or more rows that are fed step by step; ``runtime`` is ONNX Runtime's session."""

    def __init__(self, artifact: Artifact, runtime: Any) -> None:
        self.runtime = runtime
        self.vocab_size, self.context_length = artifact.vocab_size, artifact.context_length
        self._layout = CacheLayout.of(artifact)
        self._last = np.ones(1, dtype=np.int64)  # logits_to_keep
        self._all = np.zeros(1, dtype=np.int64)
        self._ones = np.ones((1, self.context_length), dtype=np.int64)
        self._ones_address = self._ones.ctypes.data  # looked up once: a look-up takes 30 us
        self.reset(1)

    def reset(self, batch_size: int) -> None:
        """Start over with this many empty rows."""
        if batch_size < 1:
            raise GenerationError(f"batch_size is {batch_size}, expected 1 or more")
        self.cache = Cache(self._layout, batch_size)
        self._bound = 0  # the cache's ``moves`` when the decode step was bound

    def prefill(self, ids: Ids, row: int) -> np.ndarray:
        """Append ids to a row, chunk by chunk, and return the logits [V] after the last id."""
        checked = self.checked(ids, row)
        self.cache.reserve(self.cache.lengths[row] + len(checked))
        for start in range(0, len(checked), CHUNK):
            logits = self._feed(checked[start : start + CHUNK], row, self._last)
        return logits.reshape(-1)

    def score(self, chunk: np.ndarray, row: int) -> np.ndarray:
        """Append checked ids to a row in one step and return the logits [S, V] after each id."""
        return self._feed(chunk, row, self._all)

    def decode(self, ids: Ids) -> np.ndarray:
        """Append one id to every row; return logits [batch, V], valid until the next call."""
        cache = self.cache
        if len(ids) != cache.rows:
            raise GenerationError(
                f"decode got {len(ids)} ids, expected one for each of {cache.rows} rows"
            )
        for row, token in enumerate(ids):
            self._check_id(token)
            self._check_room(1, row)
        longest = max(cache.lengths) + 1
        cache.reserve(longest)
        if self._bound != cache.moves:
            self._bind_step()
        self._ids[:, 0] = ids
        if cache.rows == 1:
            address = self._ones_address
        else:
            filled = np.arange(longest) <= np.asarray(cache.lengths)[:, None]
            mask = filled.astype(np.int64)
            address = mask.ctypes.data
        shape = (cache.rows, longest)
        self._step.bind_input("attention_mask", "cpu", 0, np.int64, shape, address)
        self.run(self._step)
        cache.append(self._ids[:, 0])
        return self._logits[:, 0]

    def checked(self, ids: Ids, row: int) -> np.ndarray:
        """Return the ids as int64 [S]; raise GenerationError where the row cannot take them."""
        if not 0 <= row < self.cache.rows:
            raise GenerationError(f"row is {row}, expected 0 to {self.cache.rows - 1}")
        if len(ids) == 0:
            raise GenerationError("the list of ids is empty, expected at least one id")
        for token in ids:
            self._check_id(token)
        self._check_room(len(ids), row)
        return np.asarray(ids, dtype=np.int64)

    def run(self, binding: Any) -> None:
        """Call ONNX Runtime once; raise SessionError where it fails."""
        try:
            self.runtime.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise SessionError(f"ONNX Runtime failed in a step: {first_line(error)}") from error

    def _feed(self, ids: np.ndarray, row: int, keep: np.ndarray) -> np.ndarray:
        total = self.cache.lengths[row] + len(ids)
        self.cache.reserve(total)
        width = 1 if keep is self._last else len(ids)
        logits = np.empty((width, self.vocab_size), dtype=np.float32)
        binding = self._bind_cache(slice(row, row + 1))
        _bind(binding.bind_input, "logits_to_keep", keep)
        _bind(binding.bind_input, "input_ids", ids[None])
        _bind(binding.bind_input, "attention_mask", self._ones[:, :total])
        _bind(binding.bind_output, "logits", logits[None])
        self.run(binding)
        self.cache.append(ids, row)
        return logits

    def _check_id(self, token: Any) -> None:
        try:
            known = 0 <= index(token) < self.vocab_size
            if isinstance(token, bool):
                raise TypeError
        except TypeError:
            raise GenerationError(f"a token id is {token!r}, expected an integer") from None
        if not known:
            raise GenerationError(
                f"token id {token} is outside the vocabulary, expected 0 to {self.vocab_size - 1}"
            )

    def _check_room(self, count: int, row: int) -> None:
        held = self.cache.lengths[row]
        if held + count > self.context_length:
            raise GenerationError(
                f"row {row} would hold {held + count} positions, expected at most the context of "
                f"{self.context_length}"
            )

    def _bind_step(self) -> None:
        """Bind the buffers that are the same in every decode step."""
        rows = self.cache.rows
        self._ids = np.zeros((rows, 1), dtype=np.int64)
        self._logits = np.empty((rows, 1, self.vocab_size), dtype=np.float32)
        self._step = self._bind_cache(slice(0, rows))
        _bind(self._step.bind_input, "input_ids", self._ids)
        _bind(self._step.bind_input, "logits_to_keep", self._last)
        _bind(self._step.bind_output, "logits", self._logits)
        self._bound = self.cache.moves

    def _bind_cache(self, rows: slice) -> Any:
        """Bind past and present to the same buffers, so that a step copies nothing."""
        binding = self.runtime.io_binding()
        for name, buffer in self.cache.buffers.items():
            _bind(binding.bind_input, f"past_key_values.{name}", buffer[rows])
            _bind(binding.bind_output, f"present.{name}", buffer[rows])
        return binding


def _bind(bind: Any, name: str, array: np.ndarray) -> None:
    """Bind a buffer without a copy; it must be contiguous and stay alive."""
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
