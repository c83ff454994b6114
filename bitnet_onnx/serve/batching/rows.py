"""The rows of a session that requests get: what they hold, and what others may begin with.

Knows the session's lease, its cache, and beginnings that were computed; does not know which
requests run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...runtime.session import Session
from .prefix_files import load_prefixes, save_prefixes
from .prefixes import Prefixes, shared

__all__ = ["Rows"]

AHEAD = 256  # positions of room that are left when a cache begins to grow, layer by layer


class Rows:
    """A number of rows; the session belongs to them until ``close``."""

    def __init__(
        self, session: Session, count: int, prefix_bytes: int, prefix_folder: Path | None
    ) -> None:
        self._session, self.count, self._folder = session, count, prefix_folder
        self._layers = session.artifact.num_hidden_layers
        self._prefixes = (
            Prefixes(prefix_bytes) if session.exact_in_groups and prefix_bytes else None
        )
        self.claim()
        try:
            if self._folder is not None and self._prefixes is not None:
                self._loaded = load_prefixes(self._folder, self.lease, self._prefixes)
        except BaseException:
            self.lease.release()
            raise

    def claim(self) -> None:
        """Take the session over, with empty rows."""
        self.lease = self._session.claim()
        self.lease.reset(self.count)
        with suppress(MemoryError):  # whoever needs the room ends then
            self.lease.settle(AHEAD)

    @property
    def prefix_bytes(self) -> int:
        """What kept beginnings take."""
        return self._prefixes.bytes if self._prefixes is not None else 0

    def begin(self, prompt: Sequence[int], row: int, others: Sequence[Sequence[int]]) -> int:
        """Fill an empty row with the longest known beginning of a prompt; return its length.

        It is shorter than the prompt, whose last id must be computed: it gives the logits. others:
        the ids of the first rows, which may hold fewer.
        """
        if self._prefixes is None:
            return 0
        lease, wanted = self.lease, np.array(prompt[:-1], np.int64)
        found = self._prefixes.find(wanted)
        held = (ids[:length] for ids, length in zip(others, lease.lengths, strict=False))
        common = [shared(wanted, np.array(ids, np.int64)) for ids in held]
        length = max([found.length, *common])
        if length > found.length:
            lease.copy(common.index(length), row, length)
        elif length:
            lease.fill(wanted[:length], found.write, row)
        return length

    def empty(self, ids: Sequence[int], row: int) -> None:
        """Empty a row, whose text has these ids, and keep what it holds for others."""
        if self._prefixes is not None:
            held = ids[: self.lease.lengths[row]]
            with suppress(MemoryError):  # others compute it again
                self._prefixes.keep(held, lambda begin, end: self.lease.part(row, begin, end))
        self.lease.truncate(0, row)

    def move(self, source: int, target: int) -> None:
        """Give an empty row what another one holds, which is empty then."""
        if source != target:
            self.lease.copy(source, target, self.lease.lengths[source])
            self.lease.truncate(0, source)

    def widen(self) -> int | None:
        """Let the cache grow a bit, if it soon must.

        Return so few positions that all layers have grown before a row needs the room, where each
        step computes no more of them; None where there is room.
        """
        with suppress(MemoryError):  # whoever needs the room ends then
            if self.lease.widen(AHEAD):
                return max(AHEAD // self._layers, 1)
        return None

    def close(self) -> None:
        """Leave the session to others; write what is kept into its folder."""
        try:
            if self._folder is not None and self._prefixes is not None:
                save_prefixes(self._folder, self.lease, self._prefixes, self._loaded)
        finally:
            self.lease.release()
