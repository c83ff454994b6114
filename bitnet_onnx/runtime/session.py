"""A session: token ids in, logits out; it owns the KV cache and the ids in the cache.

Knows its user; ``steps.py`` computes the steps. Does not know text or the loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import native
from ..artifact import TASK, Artifact
from ..errors import SessionError
from .cache.growing import CachedRow
from .cache.kinds import CACHES, cache_kind, caches_of
from .cache.saved import load_row, save_row
from .cut import first_layers
from .forked import check_process, remember
from .groups import Groups
from .hidden import Layers
from .integers import Ids
from .lease import Lease
from .open import open_head, open_runtime
from .owned import SESSION_UNCOPIED, Owned
from .steps import CHUNK, Steps
from .users import Calls, User, Users

__all__ = ["Lease", "Session"]

T = TypeVar("T")
ENDLESS = (1 << 31) - 1  # ids that a row of a sink cache can be fed


class Session(Owned):
    """One or more rows (sequences) that are fed step by step.

    The cache holds ``lengths[row]`` positions of a row, one for each id of ``ids(row)``.
    ``prefill`` feeds one row; ``prefill_rows`` feeds all, and short prompts share the reading of
    the weights; ``decode`` feeds one id to each row. A row's numbers do not depend on other rows.
    An error leaves the session as it was before the step.

    A session has one user at a time: a thread, or a stream (``claim``). A user that resets or
    claims the session takes it over. The previous user then gets a SessionError, never the numbers
    of another text. Sessions of one artifact share its mapped weights, so one session for each user
    costs little more than its cache.

    A session belongs to the process that opened it: it cannot be pickled or copied, and a child
    process gets a SessionError, since ONNX Runtime's threads do not survive a fork.
    """

    uncopied = (
        SESSION_UNCOPIED,
        "open a Session of the same artifact there; they share the mapped weights",
    )

    _packs = True

    def __init__(
        self,
        artifact: Artifact | str | Path,
        *,
        threads: int = 0,
        custom_ops: bool = True,
        profile: str | None = None,
        model: bytes | None = None,
        counters: native.Counters | None = None,
        cache: str = CACHES[0],
        sinks: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Open an artifact folder.

        threads: 0 for one per core. custom_ops: False runs the function bodies of stock operators.
        profile: the prefix of ONNX Runtime's profile file. model: a changed copy of the artifact's
        graph, serialized; the session runs it in its place, on the same weights. counters: what the
        operators of this session count into.

        cache: "dynamic" grows with the longest row; "static" has all its room at the start;
        "offloaded" and "offloaded_static" are these two in temporary files in ``cache_dir`` (the
        system's folder for such files unless given); "sliding_window" frees what a layer's window
        has passed; "sink" never ends: where the context is full, the oldest positions behind the
        first ``sinks`` (4 unless given) are dropped, and the others move to their place.

        Raises ArtifactError, LibraryError or GenerationError.
        """
        opened = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        self.artifact = opened.of_task(TASK)
        self.vocab_size = self.artifact.vocab_size
        """Token ids are below it."""
        self.cache_implementation = cache_kind("cache", cache)
        """The kind of the cache, named as in generation's options."""
        self.context_length = self.artifact.context_length if cache != "sink" else ENDLESS
        """Ids that a row can be fed."""
        runtime = open_runtime(
            self.artifact, threads, custom_ops, profile, model, counters, self._packs
        )
        library = custom_ops and self.artifact.target == "native"
        caches = caches_of(self.artifact, cache, sinks, folder=cache_dir, library=library)
        self.layers = Layers.of(self.artifact)
        """The layers whose hidden states it gives; None where the artifact has none."""
        head = partial(open_head, self.artifact, threads, custom_ops)
        self._steps = Steps(self.artifact, runtime, library, caches, head)
        self._model = model
        self._options: Any = {"threads": threads, "custom_ops": custom_ops}
        self._exits, self._groups = dict[int, Session](), Groups()
        self._process = remember(self)
        self._calls, self._users = Calls(), Users()

    def reset(self, batch_size: int = 1) -> None:
        """Take the session over, with ``batch_size`` empty rows."""

        def start(steps: Steps) -> None:
            cache = steps.empty(batch_size)
            self._give_to(None)  # first: the user before must not find an empty cache
            steps.cache = cache

        self._alone(start)

    def claim(self) -> Lease:
        """Take the session over as it is; any thread may use the returned lease."""
        lease = Lease(self._call)
        self._alone(lambda steps: self._give_to(lease))
        return lease

    def close(self) -> None:
        """Free the cache and ONNX Runtime's session; every later step raises SessionError.

        In a forked child it does nothing: the session is its parent's.
        """
        if self._steps.runtime is not None and self._process == os.getpid():
            for session in self._exits.values():
                session.close()
            self._alone(Steps.close)

    def early_exit(self, layers: int) -> Session:
        """Return a session of the network's first layers, whose output the head reads.

        It has a cache of its own and shares the mapped weights. It is opened once for a number of
        layers, and closed with this session.
        """
        if layers not in self._exits:
            first, model = first_layers(self.artifact, self._model, layers)
            self._exits[layers] = _Part(first, model=model, **self._options)
        return self._exits[layers]

    @property
    def exact_in_groups(self) -> bool:
        """Whether logits are the same bits for any number of positions in a call.

        In a sink cache a call decides when positions move.
        """
        return self._steps.exact_in_groups and self.context_length != ENDLESS

    def exact_for(self, positions: int) -> bool:
        """Whether logits are the same bits for up to so many positions in a call.

        Where ONNX Runtime's own float32 products decide it, they are tried once, which takes as
        long as a prompt of positions^2 / 2 ids.
        """
        if self.exact_in_groups:
            return True
        tried = self._steps.library and self.context_length != ENDLESS
        return tried and self._alone(lambda steps: self._groups.alike(steps, positions))

    @property
    def batch_size(self) -> int:
        """The number of rows."""
        return self._steps.cache.rows

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of cached positions of each row, with those that a sink cache dropped."""
        return self._steps.cache.fed

    def ids(self, row: int = 0) -> list[int]:
        """Return the ids of a row that the cache holds."""
        return self._steps.cache.ids(row)

    @property
    def position_bytes(self) -> int:
        """Bytes that the cache takes for one position of a row in one layer."""
        return self._steps.cache.position_bytes

    def prefill(self, ids: Ids, row: int = 0) -> np.ndarray:
        """Append ids to a row and return the logits [V] after the last id."""
        return self._call(None, lambda steps: steps.prefill(ids, row))

    def prefill_rows(self, prompts: Sequence[Ids]) -> np.ndarray:
        """Append ids to every row; return the logits [batch, V] after the last id of each.

        They are those of ``prefill`` for each row. It is quickest where rows of similar length are
        neighbours, the longest first.
        """
        return self._call(None, lambda steps: steps.prefill_rows(prompts))

    def score(self, ids: Ids, row: int = 0) -> Iterator[np.ndarray]:
        """Append ids to a row and yield the logits after each id, in chunks [S, V], S at most 256.

        A chunk is computed when it is asked for.
        """
        lease = Lease(self._call)

        def begin(steps: Steps) -> np.ndarray:
            checked = steps.checked(ids, row)
            self._give_to(lease)
            return checked

        checked = self._call(None, begin)
        try:
            for start in range(0, len(checked), CHUNK):
                chunk = checked[start : start + CHUNK]
                yield self._call(lease, partial(Steps.score, chunk=chunk, row=row))
        finally:
            lease.release()

    def decode(self, ids: Ids) -> np.ndarray:
        """Append one id to every row; return logits [batch, V], valid until the next call."""
        return self._call(None, lambda steps: steps.decode(ids))

    @property
    def hidden_states(self) -> np.ndarray:
        """The hidden states of the last step, valid until the next call.

        They are float32 [layers + 1, rows, positions, hidden size]: the input of each layer and
        that of the head, as transformers gives them, at the positions whose logits the step
        computed. Raises GenerationError where the artifact was exported without them.
        """
        return self._call(None, lambda steps: steps.states.of_step())

    def early_logits(self, layers: Sequence[int]) -> np.ndarray:
        """Return the head's logits [layers, rows, V] of the last step's last hidden states."""
        return self._call(None, lambda steps: steps.states.early_logits(layers))

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep only the first ``length`` positions of a row."""
        self._call(None, lambda steps: steps.cache.truncate(length, row))

    def reorder(self, order: Ids) -> None:
        """Replace the rows: row i becomes a copy of the former row ``order[i]``."""
        self._call(None, lambda steps: steps.cache.reorder(order))

    def fork(self, count: int, row: int = 0) -> None:
        """Replace all rows by ``count`` copies of ``row``."""
        self._call(None, lambda steps: steps.cache.fork(count, row))

    def take(self, row: int = 0) -> CachedRow:
        """Return a copy of a cached row; ``put`` puts it back, here or in another session."""
        return self._call(None, lambda steps: steps.cache.take(row))

    def put(self, kept: CachedRow, row: int = 0) -> None:
        """Replace a row by one that was taken from a session of the same artifact."""
        self._call(None, lambda steps: steps.cache.put(kept, row))

    def save(self, path: str | Path, row: int = 0) -> None:
        """Write a row into a file, in the place of one that exists; ``load`` reads it."""
        self._call(None, lambda steps: save_row(steps.cache, path, row))

    def load(self, path: str | Path, row: int = 0) -> None:
        """Replace a row by one that ``save`` wrote in a session of the same artifact."""
        self._call(None, lambda steps: load_row(steps.cache, path, row))

    def end_profiling(self) -> str:
        """Return the path of the profile of all steps so far; needs the argument ``profile``."""
        return self._alone(lambda steps: str(steps.runtime.end_profiling()))

    def _call(self, user: User | None, step: Callable[[Steps], T]) -> T:
        """Run a step for its user, where None is this thread, and refuse any other."""

        def run(steps: Steps) -> T:
            if self._users.changes(user):
                self._give_to(user)
            return step(steps)

        return self._alone(run)

    def _give_to(self, user: User | None) -> None:
        self._steps.leave_logits()  # first: the user before may still be reading them
        self._users.give_to(user)

    def _alone(self, step: Callable[[Steps], T]) -> T:
        """Run a step while no other one runs."""

        def run() -> T:
            if self._steps.runtime is None:
                raise SessionError("the session is closed, expected an open one")
            return step(self._steps)

        check_process(self._process)
        return self._calls.alone(run)


class _Part(Session):
    """A session of some layers of another one."""

    _packs = False  # a copy of float32 weights would be a second one
