"""An artifact in ONNX Runtime: token ids in, logits out; owns the KV cache and the ids in it.

Knows who is using it; what a step does is in ``steps.py``. Knows no text and no loop.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from ..artifact import Artifact
from ..errors import SessionError
from .cache.growing import CachedRow
from .open import open_runtime
from .steps import CHUNK, Ids, Steps

__all__ = ["Lease", "Session"]


class Session:
    """One or more rows (sequences) that are fed step by step.

    ``lengths[row]`` positions of a row are in the cache, those of ``ids(row)``. ``prefill`` fills
    one row, so that a row's numbers do not depend on its neighbours; ``decode`` feeds one id to
    each row. An error leaves the session as it was before the step.

    A session has one user at a time: the thread that uses it, or a stream (``claim``). Whoever
    resets or claims it takes it over, and the user before gets a SessionError from there on, never
    another text's numbers. Sessions of one artifact share its mapped weights, so that one session
    for each user costs little more than its cache.
    """

    def __init__(
        self,
        artifact: Artifact | str | Path,
        *,
        threads: int = 0,
        custom_ops: bool = True,
        profile: str | None = None,
        model: bytes | None = None,
    ) -> None:
        """Open an artifact folder.

        threads: 0 for one per core. custom_ops: False runs the function bodies of stock operators.
        profile: the prefix of a file for ONNX Runtime's profile. model: a changed copy of the
        artifact's graph to run in its place, on the same weights.

        Raises ArtifactError, LibraryError or GenerationError.
        """
        self.artifact = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
        self.vocab_size = self.artifact.vocab_size
        """Token ids are below it."""
        self.context_length = self.artifact.context_length
        """Positions that a row can hold."""
        runtime = open_runtime(self.artifact, threads, custom_ops, profile, model)
        self._steps = Steps(self.artifact, runtime)
        self._lock = threading.Lock()
        self._user: threading.Thread | Lease | None = None

    def reset(self, batch_size: int = 1) -> None:
        """Forget everything and make room for ``batch_size`` rows; take the session over."""
        with self._locked():
            self._steps.reset(batch_size)
            self._user = threading.current_thread()

    def claim(self) -> Lease:
        """Take the session over with what it holds, for a user that any thread may advance."""
        with self._locked():
            self._user = lease = Lease(self)
        return lease

    def close(self) -> None:
        """Give back the cache and ONNX Runtime's session; every later step raises SessionError."""
        if self._steps.runtime is not None:
            with self._locked():
                self._steps.reset(1)
                self._steps.runtime = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def batch_size(self) -> int:
        """Rows."""
        return self._steps.cache.rows

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions in the cache, of each row."""
        return self._steps.cache.lengths

    def ids(self, row: int = 0) -> list[int]:
        """The ids in the cache of a row."""
        return self._steps.cache.ids(row)

    @property
    def position_bytes(self) -> int:
        """What the cache takes for one position of a row, in one layer."""
        return self._steps.cache.position_bytes

    def prefill(self, ids: Ids, row: int = 0) -> np.ndarray:
        """Append ids to a row; returns the logits [V] after the last of them."""
        with self._used_by(threading.current_thread()) as steps:
            return steps.prefill(ids, row)

    def score(self, ids: Ids, row: int = 0) -> Iterator[np.ndarray]:
        """Append ids to a row; yields the logits [S, V] after each of them, S at most 256.

        The chunks follow each other in order. Nothing is computed before the first is asked for.
        """
        with self._used_by(threading.current_thread()) as steps:
            checked = steps.checked(ids, row)
            self._user = lease = Lease(self)
        try:
            for start in range(0, len(checked), CHUNK):
                with self._used_by(lease) as steps:
                    logits = steps.score(checked[start : start + CHUNK], row)
                yield logits
        finally:
            lease.release()

    def decode(self, ids: Ids) -> np.ndarray:
        """Append one id to every row; returns logits [batch, V], overwritten by the next call."""
        with self._used_by(threading.current_thread()) as steps:
            return steps.decode(ids)

    def truncate(self, length: int, row: int = 0) -> None:
        """Keep only the first ``length`` positions of a row."""
        with self._used_by(threading.current_thread()) as steps:
            steps.cache.truncate(length, row)

    def reorder(self, order: Sequence[int]) -> None:
        """Let row i be what row ``order[i]`` was; there are then ``len(order)`` rows."""
        with self._used_by(threading.current_thread()) as steps:
            steps.cache.reorder(order)

    def fork(self, count: int, row: int = 0) -> None:
        """Let there be ``count`` rows, each a copy of ``row``."""
        with self._used_by(threading.current_thread()) as steps:
            steps.cache.fork(count, row)

    def take(self, row: int = 0) -> CachedRow:
        """A copy of what the cache holds of a row, which ``put`` puts back, here or elsewhere."""
        with self._used_by(threading.current_thread()) as steps:
            return steps.cache.take(row)

    def put(self, kept: CachedRow, row: int = 0) -> None:
        """Let a row be one that was taken from a session of the same artifact."""
        with self._used_by(threading.current_thread()) as steps:
            steps.cache.put(kept, row)

    def end_profiling(self) -> str:
        """The file with the profile of all steps so far; only where ``profile`` was given."""
        with self._locked():
            return str(self._steps.runtime.end_profiling())

    @contextmanager
    def _used_by(self, user: threading.Thread | Lease) -> Iterator[Steps]:
        """The session's steps, while nobody else can call any; for ``Lease``.

        ``user`` must be the session's user. A thread becomes it where there was none yet, and where
        it is a lease of its own: it goes on by itself, and that lease is over.
        """
        with self._locked():
            if self._user is not user:
                own = isinstance(self._user, Lease) and self._user.thread is user
                if isinstance(user, Lease) or not (self._user is None or own):
                    raise SessionError(
                        "another stream or another thread uses the session by now",
                        hint="open one Session for each user, or reset() this one to take it over",
                    )
                self._user = user
            yield self._steps

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """No two calls at a time: a step holds addresses of buffers that others would replace."""
        if not self._lock.acquire(blocking=False):
            raise SessionError(
                "the session is computing for another thread",
                hint="open one Session for each user; they share the mapped weights",
            )
        try:
            if self._steps.runtime is None:
                raise SessionError("the session is closed, expected an open one")
            yield
        finally:
            self._lock.release()

    def _leave(self, user: Lease) -> None:
        """Let the thread of ``user`` be the session's user after it; for ``Lease``."""
        if self._user is user:
            self._user = user.thread


class Lease:
    """The steps of a session for one user, such as a stream, which any thread may advance.

    Once somebody else has taken the session over, each step raises SessionError. Its batch_size,
    lengths, ids, reset, prefill, decode and truncate are those of the Session.
    """

    def __init__(self, session: Session) -> None:
        self.thread = threading.current_thread()
        self._session = session

    @property
    def batch_size(self) -> int:
        return self._session.batch_size

    @property
    def lengths(self) -> tuple[int, ...]:
        return self._session.lengths

    def ids(self, row: int = 0) -> list[int]:
        return self._session.ids(row)

    def reset(self, batch_size: int = 1) -> None:
        with self._session._used_by(self) as steps:
            steps.reset(batch_size)

    def prefill(self, ids: Ids, row: int = 0) -> np.ndarray:
        with self._session._used_by(self) as steps:
            return steps.prefill(ids, row)

    def decode(self, ids: Ids) -> np.ndarray:
        with self._session._used_by(self) as steps:
            return steps.decode(ids)

    def truncate(self, length: int, row: int = 0) -> None:
        with self._session._used_by(self) as steps:
            steps.cache.truncate(length, row)

    def release(self) -> None:
        """End the lease: the session belongs to the thread that claimed it, with what it holds."""
        self._session._leave(self)
