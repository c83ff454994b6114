"""The steps of a network over its cache: check ids, bind buffers, count positions.

Knows ONNX Runtime's IOBinding and the graph's inputs; does not know the session's user. A position
counts once it is computed: an error or an interrupt leaves the cache as it was before the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..errors import GenerationError, SessionError
from .cache.growing import Cache
from .cache.kinds import caches_of
from .calls import Call, calls_for
from .integers import Ids, integer, token_ids
from .open import first_line

__all__ = ["CHUNK", "Ids", "Steps"]

CHUNK = 256  # positions of a prompt in one step; it bounds the memory of activations and logits


@dataclass(frozen=True)
class _Bound:
    """The buffers of decode steps of some rows, bound once; ``place`` is that of the cache's."""

    place: object
    ids: np.ndarray
    logits: np.ndarray
    binding: Any


class Steps:
    """One or more rows that are fed step by step; ``runtime`` is ONNX Runtime's session."""

    def __init__(
        self,
        artifact: Artifact,
        runtime: Any,
        library: bool,
        caches: Callable[[int], Cache] | None = None,
    ) -> None:
        """library: the operators of the custom-op library compute the linears and attention.

        caches: what makes a cache for a number of rows; None makes growing ones.
        """
        self.runtime = runtime
        # ONNX Runtime's own products round by how many rows they have.
        self.exact_in_groups = library and "float32" not in (artifact.head, artifact.linears)
        self.vocab_size, self.context_length = artifact.vocab_size, artifact.context_length
        self._caches = caches or caches_of(artifact)
        self._last = np.ones(1, dtype=np.int64)  # logits_to_keep
        self._all = np.zeros(1, dtype=np.int64)
        self._mask = _ones(CHUNK)
        self._bound: dict[range, _Bound] = {}
        self.cache = self.empty(1)

    def empty(self, batch_size: int) -> Cache:
        """Return a cache of this many empty rows."""
        if (rows := integer("batch_size", batch_size)) < 1:
            raise GenerationError(f"batch_size is {rows}, expected 1 or more")
        return self._caches(rows)

    def reset(self, batch_size: int) -> None:
        """Start over with this many empty rows."""
        self.cache = self.empty(batch_size)

    def leave_logits(self) -> None:
        """Make sure that no later step writes into the logits that ``decode`` returned."""
        self._bound = {}

    def close(self) -> None:
        """Free the cache, the bindings, which keep ONNX Runtime's session, and the session."""
        self._bound, self.cache, self.runtime = {}, self.empty(1), None

    def prefill(self, ids: Ids, row: int) -> np.ndarray:
        """Append ids to a row and return the logits [V] after the last id."""
        return self._read_row(self.checked(ids, row), index(row))

    def _read_row(self, new: np.ndarray, row: int) -> np.ndarray:
        cache, part = self.cache, self.cache.piece(len(new), row, CHUNK)
        for start in range(0, len(new), part):
            piece = new[start : start + part]
            cache.make_room(len(piece), row)
            found: np.ndarray = self._read([piece], row)[0]
        return found

    def prefill_rows(self, prompts: Sequence[Ids]) -> np.ndarray:
        """Append ids to every row and return the logits [batch, V] after the last id of each."""
        if not isinstance(prompts, (list, tuple)) and getattr(prompts, "ndim", 0) != 2:
            raise GenerationError(f"the prompts are {prompts!r}, expected a list of lists of ids")
        if len(prompts) != self.cache.rows:
            raise GenerationError(
                f"prefill_rows got {len(prompts)} prompts, expected one for each of "
                f"{self.cache.rows} rows"
            )
        new = [self.checked(ids, row) for row, ids in enumerate(prompts)]
        if max(map(int.__add__, map(len, new), self.cache.lengths)) > self.context_length:
            return np.stack([self._read_row(ids, row) for row, ids in enumerate(new)])
        return self._read(new, 0)

    def append(self, ids: Ids, row: int) -> None:
        """Append ids to a row of a growing cache; their logits are not computed."""
        self._read([self.checked(ids, row)], index(row), wanted=False)

    def _read(self, prompts: list[np.ndarray], first: int, wanted: bool = True) -> np.ndarray:
        """Append checked ids to the rows from ``first`` on; return the logits after each list.

        wanted: whether somebody reads the logits.
        """
        cache = self.cache
        counts, lengths = list(map(len, prompts)), cache.lengths[first : first + len(prompts)]
        rooms = [self.context_length - length for length in lengths]
        calls = calls_for(counts, rooms, CHUNK, self.exact_in_groups)
        logits = np.empty((len(prompts), 1, self.vocab_size), dtype=np.float32)
        cache.reserve(max(max(_filled(call, lengths, counts)) for call in calls))
        for call in calls:
            rows = slice(call.first, call.end)
            ids = np.stack([_part(call, new) for new in prompts[rows]])
            filled = _filled(call, lengths, counts)
            place = slice(first + call.first, first + call.end)
            last = wanted and call.last == 0
            self._feed(ids, place, filled, *self._kept(call, logits[rows], last))
        # Once: an error in a later call counts none of them.
        cache.extend({first + row: new for row, new in enumerate(prompts)})
        return logits[:, 0]

    def _kept(self, call: Call, logits: np.ndarray, last: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return a call's logits_to_keep and where its logits go; only the last call has some."""
        if last or not self.exact_in_groups:
            return self._last, logits
        return np.array([-call.width]), logits[:, :0]

    def score(self, chunk: np.ndarray, row: int) -> np.ndarray:
        """Append checked ids to a row in one step and return the logits [S, V] after each id."""
        row = index(row)  # of any kind of integer: ``checked`` has seen it
        self.cache.make_room(len(chunk), row)
        past = self.cache.lengths[row]
        self.cache.reserve(past + len(chunk))
        logits = np.empty((1, len(chunk), self.vocab_size), dtype=np.float32)
        self._feed(chunk[None], slice(row, row + 1), [past + len(chunk)], self._all, logits)
        self.cache.extend({row: chunk})
        found: np.ndarray = logits[0]
        return found

    def decode(self, ids: Ids, rows: range | None = None) -> np.ndarray:
        """Append one id to every row; return logits [batch, V], valid until the next call.

        rows: neighbours that get an id each; None is all rows.
        """
        cache = self.cache
        rows = range(cache.rows) if rows is None else rows
        new = token_ids(ids, self.vocab_size)
        if len(new) != len(rows):
            raise GenerationError(
                f"decode got {len(new)} ids, expected one for each of {len(rows)} rows"
            )
        for row in rows:
            cache.make_room(1, row)
        filled = [cache.lengths[row] + 1 for row in rows]
        cache.reserve(max(filled))
        bound = self._bound.get(rows)
        if bound is None or bound.place is not cache.place:
            bound = self._bound[rows] = self._bind_step(rows)
        bound.ids[:, 0] = new
        _mask, address = self._mask_of(filled)
        _bind_at(bound.binding, "attention_mask", (len(rows), max(filled)), address)
        self.run(bound.binding)
        cache.append(bound.ids[:, 0], rows)
        return bound.logits[:, 0]

    def checked(self, ids: Ids, row: int) -> np.ndarray:
        """Return the ids as int64 [S]; raise GenerationError where the row cannot take them."""
        if not 0 <= integer("row", row) < self.cache.rows:
            raise GenerationError(f"row is {row}, expected 0 to {self.cache.rows - 1}")
        new = token_ids(ids, self.vocab_size)
        if not new:
            raise GenerationError("the list of ids is empty, expected at least one id")
        self.cache.check_room(len(new), row)
        return np.array(new, dtype=np.int64)

    def run(self, binding: Any) -> None:
        """Call ONNX Runtime once; raise SessionError where it fails."""
        try:
            self.runtime.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime raises its own types, not exported by name
            raise SessionError(f"ONNX Runtime failed in a step: {first_line(error)}") from error

    def _feed(
        self,
        ids: np.ndarray,
        rows: slice,
        filled: Sequence[int],
        keep: np.ndarray,
        logits: np.ndarray,
    ) -> None:
        """Compute ids [rows, S], the last of so many positions of each row; count none.

        The rows have room. keep: logits_to_keep, as many as ``logits`` [rows, kept, V] holds.
        """
        binding = self._bind_cache(rows)
        _mask, address = self._mask_of(filled)
        _bind(binding.bind_input, "logits_to_keep", keep)
        _bind(binding.bind_input, "input_ids", ids)
        _bind_at(binding, "attention_mask", (len(ids), max(filled)), address)
        _bind(binding.bind_output, "logits", logits)
        self.run(binding)

    def _mask_of(self, filled: Sequence[int]) -> tuple[np.ndarray, int]:
        """Return the mask of rows with so many positions, to be kept alive, and its address."""
        if len(filled) == 1:
            return self._full_row(filled[0])
        mask = (np.arange(max(filled)) < np.array(filled)[:, None]).astype(np.int64)
        return mask, mask.ctypes.data

    def _full_row(self, positions: int) -> tuple[np.ndarray, int]:
        """Return the mask of a full row, at least as long, and its address."""
        if positions > len(self._mask[0]):
            self._mask = _ones(min(2 * positions, self.context_length))
        return self._mask

    def _bind_step(self, rows: range) -> _Bound:
        """Bind the buffers that are the same in every decode step of these rows."""
        cache = self.cache
        # Those of buffers that have moved since are of no use.
        self._bound = {r: b for r, b in self._bound.items() if b.place is cache.place}
        ids = np.zeros((len(rows), 1), dtype=np.int64)
        logits = np.empty((len(rows), 1, self.vocab_size), dtype=np.float32)
        binding = self._bind_cache(slice(rows.start, rows.stop))
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


def _part(call: Call, new: np.ndarray) -> np.ndarray:
    """Return the ids of a call for a row; others after them are computed, and never counted."""
    part = new[max(len(new) - call.begin, 0) : len(new) - call.last]
    return np.pad(part, (0, call.width - len(part)))


def _filled(call: Call, lengths: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Return the positions of a call's rows after it, with those that are not counted."""
    return [
        lengths[row] + max(counts[row] - call.begin, 0) + call.width
        for row in range(call.first, call.end)
    ]


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
