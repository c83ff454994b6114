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
from ..errors import GenerationError
from .binding import bind, bind_at, run_bound
from .cache.growing import Cache
from .cache.kinds import caches_of
from .calls import Call, calls_for, filled_by, part_of_call
from .hidden import HiddenStates
from .integers import Ids, integer, token_ids

__all__ = ["CHUNK", "Ids", "Steps"]

CHUNK = 256  # positions of a prompt in one step; it bounds the memory of activations and logits


@dataclass(frozen=True)
class _Bound:
    """The buffers of decode steps of some rows, bound once; ``place`` is that of the cache's."""

    place: object
    ids: np.ndarray
    logits: np.ndarray
    states: np.ndarray
    binding: Any


class Steps:
    """One or more rows that are fed step by step; ``runtime`` is ONNX Runtime's session."""

    def __init__(
        self,
        artifact: Artifact,
        runtime: Any,
        library: bool,
        caches: Callable[[int], Cache] | None = None,
        open_head: Callable[[], Any] | None = None,
    ) -> None:
        """library: the operators of the custom-op library compute the linears and attention.

        caches: what makes a cache for a number of rows; None makes growing ones. open_head: opens
        the head by itself.
        """
        self.runtime = runtime
        # ONNX Runtime's own products round by how many rows they have.
        self.library = library
        self.exact_in_groups = library and "float32" not in (artifact.head, artifact.linears)
        self.vocab_size, self.context_length = artifact.vocab_size, artifact.context_length
        self._caches = caches or caches_of(artifact)
        self._last = np.ones(1, dtype=np.int64)  # logits_to_keep
        self._all = np.zeros(1, dtype=np.int64)
        self._mask = _ones(CHUNK)
        self._bound: dict[range, _Bound] = {}
        self.states = HiddenStates(artifact, runtime, open_head)
        self.cache = self._caches(1)

    def empty(self, batch_size: int) -> Cache:
        """Return a cache of this many empty rows."""
        if (rows := integer("batch_size", batch_size)) < 1:
            raise GenerationError(f"batch_size is {rows}, expected 1 or more")
        if self.cache.keeps_room and self.cache.rows == rows:
            return self.cache.emptied()
        return self._caches(rows)

    def reset(self, batch_size: int) -> None:
        """Start over with this many empty rows."""
        self.cache = self.empty(batch_size)

    def leave_logits(self) -> None:
        """Make sure that no later step writes into the logits that ``decode`` returned.

        The hidden states of the last step are gone.
        """
        self._bound, self.states.last = {}, None

    def close(self) -> None:
        """Free the cache, the bindings, which keep ONNX Runtime's session, and the session."""
        self.leave_logits()
        # Empty, without the room that a static cache takes at the start.
        self.cache, self.runtime, self.states.head = Cache(self.cache.layout), None, None

    def prefill(self, ids: Ids, row: int) -> np.ndarray:
        """Append ids to a row and return the logits [V] after the last id."""
        return self._read_row(self.checked(ids, row), index(row))

    def _read_row(self, new: np.ndarray, row: int) -> np.ndarray:
        cache, part = self.cache, self.cache.piece(len(new), row, CHUNK) or len(new)
        for start in range(0, len(new), part):
            piece = new[start : start + part]
            cache.make_room(len(piece), row)
            found: np.ndarray = self._read([piece], row)[0]
        return found

    def prefill_rows(self, prompts: Sequence[Ids], first: int | None = None) -> np.ndarray:
        """Append ids to all rows, or to those from ``first`` on; return the logits [batch, V]."""
        if not isinstance(prompts, (list, tuple)) and getattr(prompts, "ndim", 0) != 2:
            raise GenerationError(f"the prompts are {prompts!r}, expected a list of lists of ids")
        count, rows = len(prompts), self.cache.rows
        if count != rows and (first is None or not count):
            raise GenerationError(
                f"prefill_rows got {count} prompts, expected one for each of {rows} rows"
            )
        new = {row: self.checked(ids, row) for row, ids in enumerate(prompts, first or 0)}
        if any(self.cache.piece(len(ids), row, CHUNK) for row, ids in new.items()):
            logits, states = list[np.ndarray](), list[np.ndarray]()
            for row, ids in new.items():
                logits.append(self._read_row(ids, row))
                states.append(self.states.kept)
            self.states.last = np.concatenate(states, axis=1)
            return np.stack(logits)
        return self._read(list(new.values()), first or 0)

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
        states = self.states.room(len(prompts), 1)
        cache.reserve(max(max(filled_by(call, lengths, counts)) for call in calls))
        for call in calls:
            rows = slice(call.first, call.end)
            ids = np.stack([part_of_call(call, new) for new in prompts[rows]])
            filled = filled_by(call, lengths, counts)
            place = slice(first + call.first, first + call.end)
            keep, part = self._kept(call, wanted and call.last == 0)
            self._feed(ids, place, filled, keep, logits[rows, part], states[:, rows, part])
        # Once: an error in a later call counts none of them.
        cache.extend({first + row: new for row, new in enumerate(prompts)})
        self.states.last = states
        return logits[:, 0]

    def _kept(self, call: Call, last: bool) -> tuple[np.ndarray, slice]:
        """Return a call's logits_to_keep and how many there are; only the last call has some."""
        if last or not self.exact_in_groups:
            return self._last, slice(1)
        return np.array([-call.width]), slice(0)

    def prefill_states(self, ids: Ids, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Append ids; return the logits [V] after the last, and the head's input [S, H] after each.

        An error leaves the ids that were computed before it.
        """
        new = self.checked(ids, row)
        part = min(CHUNK, self.cache.piece(len(new), index(row), CHUNK) or CHUNK)
        inputs = list[np.ndarray]()
        for start in range(0, len(new), part):
            logits = self.score(new[start : start + part], row)
            inputs.append(self.states.of_step()[-1, 0].copy())
        return logits[-1], np.concatenate(inputs)

    def score(self, chunk: np.ndarray, row: int) -> np.ndarray:
        """Append checked ids to a row in one step and return the logits [S, V] after each id."""
        self.cache.make_room(len(chunk), index(row))
        return np.squeeze(self.score_rows([chunk], index(row)), 0)

    def score_rows(self, new: Sequence[np.ndarray], first: int) -> np.ndarray:
        """Append checked ids to neighbours in one step; return logits [rows, S, V].

        All have room for S, the most ids of one; those of a row with fewer end with no meaning.
        """
        cache, width = self.cache, max(map(len, new))
        rows = slice(first, first + len(new))
        cache.reserve(max(filled := [length + width for length in cache.lengths[rows]]))
        ids = np.stack([np.pad(each, (0, width - len(each))) for each in new])
        logits = np.empty((len(new), width, self.vocab_size), dtype=np.float32)
        states = self.states.room(len(new), width)
        self._feed(ids, rows, filled, self._all, logits, states)
        cache.extend({first + row: each for row, each in enumerate(new)})
        self.states.last = states
        return logits

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
        bind_at(bound.binding, "attention_mask", (len(rows), max(filled)), address)
        self.run(bound.binding)
        cache.append(bound.ids[:, 0], rows)
        self.states.last = bound.states
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
        run_bound(self.runtime, binding)

    def _feed(
        self,
        ids: np.ndarray,
        rows: slice,
        filled: Sequence[int],
        keep: np.ndarray,
        logits: np.ndarray,
        states: np.ndarray,
    ) -> None:
        """Compute ids [rows, S], the last of so many positions of each row; count none.

        The rows have room. keep: logits_to_keep, as many as ``logits`` [rows, kept, V] holds, and
        ``states``.
        """
        binding = self._bind_cache(rows)
        _mask, address = self._mask_of(filled)
        bind(binding.bind_input, "logits_to_keep", keep)
        bind(binding.bind_input, "input_ids", ids)
        bind_at(binding, "attention_mask", (len(ids), max(filled)), address)
        self._bind_results(binding, logits, states)
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
        states = self.states.room(len(rows), 1)
        binding = self._bind_cache(slice(rows.start, rows.stop))
        bind(binding.bind_input, "input_ids", ids)
        bind(binding.bind_input, "logits_to_keep", self._last)
        self._bind_results(binding, logits, states)
        return _Bound(cache.place, ids, logits, states, binding)

    def _bind_results(self, binding: Any, logits: np.ndarray, states: np.ndarray) -> None:
        bind(binding.bind_output, "logits", logits)
        for name, state in zip(self.states.names, states, strict=True):
            bind(binding.bind_output, name, state)

    def _bind_cache(self, rows: slice) -> Any:
        """Bind past and present to the same buffers, so that a step copies nothing."""
        binding = self.runtime.io_binding()
        for name, buffer in self.cache.buffers.items():
            bind(binding.bind_input, f"past_key_values.{name}", buffer[rows])
            bind(binding.bind_output, f"present.{name}", buffer[rows])
        return binding


def _ones(positions: int) -> tuple[np.ndarray, int]:
    ones = np.ones(positions, dtype=np.int64)
    return ones, ones.ctypes.data  # looked up once: a look-up takes 30 us
