"""The rows of a session that several requests share: they join and leave between steps.

Rows that run are the first ones, side by side, so a step feeds exactly them. One more row at a time
is filled with a prompt, part by part between the steps. Where a row leaves, the last one that runs
takes its place. Knows the session and its cache; does not know queues or threads.

A row's numbers do not depend on other rows, drafts, the parts of its prompt, or who computed its
beginning, so its ids are those of ``generate`` alone. Where the session's numbers depend on how
many positions a call has, each call is one that ``generate`` makes: a step for each row, whole
chunks of prompts, no drafts, no beginnings of others; this is slower, and the ids are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import BitNetError, SessionError
from ..generation.strategies.drafts import Drafts
from ..runtime.session import Session
from ..runtime.steps import CHUNK
from .active import Active, as_error
from .drafting import Checked, Drafting, keep
from .pace import Pace
from .prefix_files import load_prefixes, save_prefixes
from .prefixes import Prefixes, shared
from .stats import Stats

__all__ = ["Batch", "Ended"]

AHEAD = 256  # positions of room that are left when a cache begins to grow, layer by layer
Ended = Callable[[Active, str, BitNetError | None], None]


class Batch:
    """The requests that are computed; who calls ``feed`` and ``step`` decides the order.

    An error of one request ends that request. A SessionError is raised: ``fail`` ends all.
    """

    def __init__(
        self,
        session: Session,
        rows: int,
        chunk: int,
        prefix_bytes: int,
        prefix_folder: Path | None,
        clock: Callable[[], float],
        ended: Ended,
    ) -> None:
        """ended: is told of each request that ends, and why."""
        self._session, self._rows, self._clock, self._ended = session, rows, clock, ended
        self._exact, self._layers = session.exact_in_groups, session.artifact.num_hidden_layers
        self._chunk, self._pace = chunk, Pace(chunk)
        self._drafting = Drafting(session.context_length)
        self._prefixes = Prefixes(prefix_bytes) if self._exact and prefix_bytes else None
        self._running: list[Active] = []  # by their rows
        self._filling: Active | None = None
        self._place = 0  # the row that is filled; no running one
        self._begun = self._sent = 0.0  # when it began, and when running rows got their tokens
        self._room = chunk  # positions that a growing cache has room for
        self.stats = Stats()
        self._folder = prefix_folder
        self._claim()
        try:
            if self._folder is not None and self._prefixes is not None:
                self._loaded = load_prefixes(self._folder, self._lease, self._prefixes)
                self.stats.prefix_bytes = self._prefixes.bytes
        except BaseException:
            self._lease.release()
            raise

    def _claim(self) -> None:
        self._lease = self._session.claim()
        self._lease.reset(self._rows)

    @property
    def size(self) -> int:
        """The number of requests in rows."""
        return len(self._running) + self.filling

    @property
    def filling(self) -> bool:
        """Whether a prompt is being computed."""
        return self._filling is not None

    @property
    def full(self) -> bool:
        """Whether no request can begin."""
        return self.filling or len(self._running) == self._rows

    def positions(self) -> int:
        """Return how many positions of prompts may be computed now, before the next step."""
        if not self._exact:
            return 0 if self._pace.fed else CHUNK
        left = self._chunk
        if self._filling is not None:
            left = len(self._filling.row.prompt) - self._lease.lengths[self._place]
        found = self._pace.positions(len(self._running), self._clock() - self._sent, left)
        return min(found, self._room - self._pace.fed)

    def tidy(self) -> None:
        """Move rows together, and let the cache grow a bit, while answers run."""
        if not self._running:
            self._room = self._chunk
            return
        if self._filling is not None:  # where rows have left; not once it is full, and longer
            self._move(self._place, len(self._running))
            self._place = len(self._running)
        widened = False
        with suppress(MemoryError):  # whoever needs the room ends then
            widened = self._lease.widen(AHEAD)
        # So few that all layers have grown before the room is needed.
        self._room = max(AHEAD // self._layers, 1) if widened else self._chunk

    def begin(self, active: Active) -> None:
        """Give a request the row behind the running ones, with what is known of its prompt."""
        prompt = active.row.prompt
        self._filling, self._place, self._begun = active, len(self._running), self._clock()
        active.start()
        self._drafting.begin()
        self.stats.prompt_tokens += len(prompt)
        try:
            cached = self._reused(np.array(prompt[:-1], np.int64))
        except MemoryError as error:
            self._leave_filling("error", as_error(error))
            return
        active.row.result.cached_tokens = cached
        self.stats.cached_tokens += cached

    def _reused(self, wanted: np.ndarray) -> int:
        """Fill the row with the longest beginning that is known; return its length.

        wanted: the prompt without its last id, which must be computed: it gives the logits.
        """
        if self._prefixes is None:
            return 0
        lease, found = self._lease, self._prefixes.find(wanted)
        rows = (other.ids[:held] for other, held in zip(self._running, lease.lengths, strict=False))
        common = [shared(wanted, np.array(ids, np.int64)) for ids in rows]
        length = max([found.length, *common])
        if length > found.length:
            lease.copy(common.index(length), self._place, length)
        elif length:
            lease.fill(wanted[:length], found.write, self._place)
        return length

    def feed(self, most: int) -> None:
        """Compute at most so many positions of the prompt."""
        active, start = self._filling, self._clock()
        assert active is not None, "a prompt was begun"
        if reason := active.due(start):
            self._leave_filling(reason)
            return
        held = self._lease.lengths[self._place]
        part = active.row.prompt[held : held + most]
        last = held + len(part) == len(active.row.prompt)
        try:
            logits = self._fed(part, last)
        except SessionError:
            raise
        except Exception as error:  # MemoryError, where the cache grows
            self._leave_filling("error", as_error(error))
            return
        now, running = self._clock(), len(self._running)
        self.stats.prefill_seconds += now - start
        if logits is not None:
            active.row.result.prefill_seconds = now - self._begun
            self._join(active, logits, now)
        self._pace.computed(running, len(part), self._clock() - start, last)

    def _fed(self, part: list[int], last: bool) -> np.ndarray | None:
        """Append a part of the prompt; return the logits after the last one."""
        if self._exact and not last:
            self._lease.append(part, self._place)
            return None
        logits = self._lease.prefill(part, self._place)
        return logits if last else None

    def _join(self, active: Active, logits: np.ndarray, now: float) -> None:
        """Choose the first id of a filled row, which runs from now on."""
        reason, error = self._chosen(active, logits, now)
        if reason:
            self._leave_filling(reason, error)
            return
        self._move(self._place, len(self._running))
        if not self._running:
            self._sent = self._clock()
        self._running.append(active)
        self._filling = None

    def step(self) -> None:
        """Compute an id for each running row, and more where it goes on as was drafted."""
        if not (rows := range(len(self._running))):
            self._pace.stepped(0, 0.0)
            return
        lease, start = self._lease, self._clock()
        try:
            # While a prompt is computed, running answers wait for its parts, and for nothing else.
            may_draft = self._exact and not self.filling
            drafts, logits = self._drafting.step(lease, self._running, self._exact, may_draft)
        except MemoryError as error:  # the cache grows for the longest row
            longest = max(rows, key=lease.lengths.__getitem__)
            self._ended(self._running[longest], "error", as_error(error))
            self._leave(longest)
            return
        now = self._clock()
        self.stats.stepped(len(rows), now - start)
        leaving, checked = list[int](), list[Checked]()
        for row, active in enumerate(self._running):
            active.row.result.decode_seconds += now - start
            before = len(active.row.result.ids)
            reason, failed = self._checked(row, drafts[row], logits[row], now)
            checked.append(Checked(drafts[row], active.row.result.ids[before:]))
            if reason:
                self._ended(active, reason, failed)
                leaving.append(row)
        self._drafting.learn(checked, now - start)
        self._sent = self._clock()
        is_usual = not any(each.ids for each in drafts)
        self._pace.stepped(len(rows) if is_usual else 0, self._sent - start)
        for row in reversed(leaving):
            self._leave(row)

    def _checked(
        self, row: int, drafts: Drafts, logits: np.ndarray, now: float
    ) -> tuple[str | None, BitNetError | None]:
        """Choose a row's ids, as far as they are its drafts, and the next; return why it ends."""
        active = self._running[row]
        for place in range(len(drafts.ids) + 1):
            reason, error = self._chosen(active, logits[place], now)
            if reason or [active.row.result.ids[-1]] != [*drafts.ids[place : place + 1]]:
                break
        if drafts.ids:
            keep(self._lease, row, active, drafts, place)
            self.stats.checked(len(drafts.ids), place)
        return reason, error

    def _chosen(
        self, active: Active, logits: np.ndarray, now: float
    ) -> tuple[str | None, BitNetError | None]:
        """Choose a request's next id; return why it ends, if it does."""
        if active.cancelled.is_set():
            return "cancelled", None
        try:
            reason = active.take(logits, now)
        except Exception as error:  # of a caller's function, or of the options
            return "error", as_error(error)
        self.stats.new_tokens += 1
        return reason, None

    def _leave(self, row: int) -> None:
        """Free the row of a request that has ended; the last row takes its place."""
        last = len(self._running) - 1
        self._empty(self._running[row], row)
        self._move(last, row)
        self._running[row] = self._running[last]
        self._running.pop()

    def _leave_filling(self, reason: str, error: BitNetError | None = None) -> None:
        active = self._filling
        assert active is not None, "a prompt was begun"
        self._ended(active, reason, error)
        self._empty(active, self._place)
        self._filling = None

    def _empty(self, active: Active, row: int) -> None:
        """Empty a row, and keep what it holds for others."""
        lease = self._lease
        if self._prefixes is not None:
            ids = active.ids[: lease.lengths[row]]
            with suppress(MemoryError):  # others compute it again
                self._prefixes.keep(ids, lambda begin, end: lease.part(row, begin, end))
            self.stats.prefix_bytes = self._prefixes.bytes
        lease.truncate(0, row)

    def _move(self, source: int, target: int) -> None:
        """Give an empty row what another one holds, which is empty then."""
        if source != target:
            self._lease.copy(source, target, self._lease.lengths[source])
            self._lease.truncate(0, source)

    def fail(self, error: BitNetError) -> None:
        """End all requests with an error, and start over with empty rows."""
        ended = [*self._running, *([self._filling] if self._filling else [])]
        self._running, self._filling = [], None
        for active in ended:
            self._ended(active, "error", error)
        self._claim()

    def close(self) -> None:
        """Leave the session to others; write what is kept into its folder."""
        try:
            if self._folder is not None and self._prefixes is not None:
                save_prefixes(self._folder, self._lease, self._prefixes, self._loaded)
        finally:
            self._lease.release()
