"""The steps of a network over its cache: check ids, bind buffers, count positions.

Knows ONNX Runtime's IOBinding and the graph's inputs; does not know the session's user. A position
counts once it is computed: an error or an interrupt leaves the cache as it was before the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..errors import GenerationError, SessionError
from .cache.growing import Cache, CacheLayout
from .integers import Ids, integer, token_ids
from .open import first_line

__all__ = ["CHUNK", "Ids", "Steps"]

CHUNK = 256  # positions of a prompt in one step; it bounds the memory of activations and logits


@dataclass(frozen=True)
class _Bound:
    """The buffers of decode steps, bound once; ``place`` is that of the cache's buffers."""

    place: object
    ids: np.ndarray
    logits: np.ndarray
    binding: Any


class Steps:
    """One or more rows that are fed step by step; ``runtime`` is ONNX Runtime's session."""

    def __init__(self, artifact: Artifact, runtime: Any) -> None:
        self.runtime = runtime
        self.vocab_size, self.context_length = artifact.vocab_size, artifact.context_length
        self._layout = CacheLayout.of(artifact)
        self._last = np.ones(1, dtype=np.int64)  # logits_to_keep
        self._all = np.zeros(1, dtype=np.int64)
        self._mask = _ones(CHUNK)
        self._bound: _Bound | None = None
        self.cache = self.empty(1)

    def empty(self, batch_size: int) -> Cache:
        """Return a cache of this many empty rows."""
        if (rows := integer("batch_size", batch_size)) < 1:
            raise GenerationError(f"batch_size is {rows}, expected 1 or more")
        return Cache(self._layout, rows)

    def reset(self, batch_size: int) -> None:
        """Start over with this many empty rows."""
        self.cache = self.empty(batch_size)

    def leave_logits(self) -> None:
        """Make sure that no later step writes into the logits that ``decode`` returned."""
        self._bound = None

    def close(self) -> None:
        """Free the cache, the bindings, which keep ONNX Runtime's session, and the session."""
        self._bound, self.cache, self.runtime = None, self.empty(1), None

    def prefill(self, ids: Ids, row: int) -> np.ndarray:
        """Append ids to a row, chunk by chunk, and return the logits [V] after the last id."""
        new = self.checked(ids, row)
        past = self.cache.lengths[row]
        self.cache.reserve(past + len(new))
        for start in range(0, len(new), CHUNK):
            logits = self._feed(new[start : start + CHUNK], row, past + start, self._last)
        self.cache.append(new, row)  # once: an error in a later chunk counts none of them
        return logits.reshape(-1)

    def score(self, chunk: np.ndarray, row: int) -> np.ndarray:
        """Append checked ids to a row in one step and return the logits [S, V] after each id."""
        past = self.cache.lengths[row]
        self.cache.reserve(past + len(chunk))
        logits = self._feed(chunk, row, past, self._all)
        self.cache.append(chunk, row)
        return logits

    def decode(self, ids: Ids) -> np.ndarray:
        """Append one id to every row; return logits [batch, V], valid until the next call."""
        cache = self.cache
        new = token_ids(ids, self.vocab_size)
        if len(new) != cache.rows:
            raise GenerationError(
                f"decode got {len(new)} ids, expected one for each of {cache.rows} rows"
            )
        for row in range(cache.rows):
            self._check_room(1, row)
        longest = max(cache.lengths) + 1
        cache.reserve(longest)
        bound = self._bound
        if bound is None or bound.place is not cache.place:
            bound = self._bound = self._bind_step()
        bound.ids[:, 0] = new
        if cache.rows == 1:
            address = self._full_row(longest)[1]
        else:
            filled = np.arange(longest) <= np.asarray(cache.lengths)[:, None]
            mask = filled.astype(np.int64)
            address = mask.ctypes.data
        _bind_at(bound.binding, "attention_mask", (cache.rows, longest), address)
        self.run(bound.binding)
        cache.append(bound.ids[:, 0])
        return bound.logits[:, 0]

    def checked(self, ids: Ids, row: int) -> np.ndarray:
        """Return the ids as int64 [S]; raise GenerationError where the row cannot take them."""
        if not 0 <= integer("row", row) < self.cache.rows:
            raise GenerationError(f"row is {row}, expected 0 to {self.cache.rows - 1}")
        new = token_ids(ids, self.vocab_size)
        if not new:
            raise GenerationError("the list of ids is empty, expected at least one id")
        self._check_room(len(new), row)
        return np.array(new, dtype=np.int64)

    def run(self, binding: Any) -> None:
        """Call ONNX Runtime once; raise SessionError where it fails."""
        try:
            self.runtime.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise SessionError(f"ONNX Runtime failed in a step: {first_line(error)}") from error

    def _feed(self, ids: np.ndarray, row: int, past: int, keep: np.ndarray) -> np.ndarray:
        """Compute ids after the first ``past`` positions of a row, which has room; count none."""
        total = past + len(ids)
        width = 1 if keep is self._last else len(ids)
        logits = np.empty((1, width, self.vocab_size), dtype=np.float32)
        binding = self._bind_cache(slice(row, row + 1))
        _bind(binding.bind_input, "logits_to_keep", keep)
        _bind(binding.bind_input, "input_ids", ids[None])
        _bind_at(binding, "attention_mask", (1, total), self._full_row(total)[1])
        _bind(binding.bind_output, "logits", logits)
        self.run(binding)
        found: np.ndarray = logits[0]
        return found

    def _full_row(self, positions: int) -> tuple[np.ndarray, int]:
        """Return the mask of a full row, at least as long, and its address."""
        if positions > len(self._mask[0]):
            self._mask = _ones(min(2 * positions, self.context_length))
        return self._mask

    def _check_room(self, count: int, row: int) -> None:
        held = self.cache.lengths[row]
        if held + count > self.context_length:
            raise GenerationError(
                f"row {row} would hold {held + count} positions, expected at most the context of "
                f"{self.context_length}"
            )

    def _bind_step(self) -> _Bound:
        """Bind the buffers that are the same in every decode step."""
        cache = self.cache
        ids = np.zeros((cache.rows, 1), dtype=np.int64)
        logits = np.empty((cache.rows, 1, self.vocab_size), dtype=np.float32)
        binding = self._bind_cache(slice(0, cache.rows))
        _bind(binding.bind_input, "input_ids", ids)
        _bind(binding.bind_input, "logits_to_keep", self._last)
        _bind(binding.bind_output, "logits", logits)
        return _Bound(cache.place, ids, logits, binding)

    def _bind_cache(self, rows: slice) -> Any:
        """Bind past and present to the same buffers, so that a step copies nothing."""
        binding = self.runtime.io_binding()
        for name, buffer in self.cache.buffers.items():
            _bind(binding.bind_input, f"past_key_values.{name}", buffer[rows])
            _bind(binding.bind_output, f"present.{name}", buffer[rows])
        return binding


def _ones(positions: int) -> tuple[np.ndarray, int]:
    ones = np.ones(positions, dtype=np.int64)
    return ones, ones.ctypes.data  # looked up once: a look-up takes 30 us


def _bind(bind: Any, name: str, array: np.ndarray) -> None:
    """Bind a buffer without a copy; it must be contiguous and stay alive."""
    _call(bind, name, array.dtype.type, array.shape, array.ctypes.data)


def _bind_at(binding: Any, name: str, shape: tuple[int, ...], address: int) -> None:
    """Bind an input of int64 at an address."""
    _call(binding.bind_input, name, np.int64, shape, address)


def _call(bind: Any, name: str, dtype: Any, shape: tuple[int, ...], address: int) -> None:
    try:
        bind(name, "cpu", 0, dtype, shape, address)
    except Exception as error:  # as in ``run``
        raise SessionError(f"ONNX Runtime refused to bind {name}: {first_line(error)}") from error
