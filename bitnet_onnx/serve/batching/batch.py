"""The requests of a batch, which join and leave it between steps.

Rows that run are the first ones, side by side, so a step feeds exactly them. Behind them are the
prompts that are computed: one at a time, part by part between the steps; where no answer runs,
short ones share calls, and the first ids of those that are computed wait for the others. Where a
row leaves, the last one that runs takes its place. Knows the rows; does not know queues or threads.

A row's numbers do not depend on other rows, drafts, the parts of its prompt, or who computed its
beginning, so its ids are those of ``generate`` alone. Where the session's numbers depend on how
many positions a call has, each call is one that ``generate`` makes: a step for each row, whole
chunks of prompts, no drafts, no beginnings of others; this is slower, and the ids are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import BitNetError, SessionError
from ...generation.strategies.drafts import Drafts
from ...runtime.session import Session
from ...runtime.steps import CHUNK
from .active import Active, as_error
from .drafting import Checked, Drafting, keep
from .filling import Filling
from .pace import Pace
from .rows import Rows
from .stats import Stats

__all__ = ["Batch", "Ended"]

# Positions of other prompts that a first id waits for at most, where no answer runs. Prompts that
# come together are computed at full speed so, and not in small parts beside the first answers.
TOGETHER = 2048
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
        self._clock, self._ended, self._exact = clock, ended, session.exact_in_groups
        self._chunk, self._pace = chunk, Pace(chunk)
        self._drafting = Drafting(session.context_length)
        self._running: list[Active] = []  # by their rows
        # The logits of those whose first ids are not chosen yet: of all that run, or of none.
        self._first = dict[Active, np.ndarray]()
        self._others = 0  # positions of other prompts for which those wait
        self._sent = 0.0  # when running rows got their last tokens
        self._room = chunk  # positions that a growing cache has room for
        self._rows = Rows(session, rows, prefix_bytes, prefix_folder)
        self._filling = Filling(self._rows)
        self.stats = Stats(prefix_bytes=self._rows.prefix_bytes)

    @property
    def size(self) -> int:
        """The number of requests in rows."""
        return len(self._running) + len(self._filling)

    @property
    def filling(self) -> bool:
        """Whether a prompt is being computed."""
        return bool(self._filling)

    @property
    def _stepping(self) -> int:
        """The number of rows that wait for the next step."""
        return len(self._running) - len(self._first)

    @property
    def _share(self) -> int:
        """The positions of a call, where no answer waits for it but first ids may."""
        return min(self._chunk, TOGETHER - self._others)

    def takes(self, active: Active) -> bool:
        """Return whether a request can begin now, which needs a row.

        Beside others that are being computed it needs a place in their call, too, and a prompt that
        begins in another way.
        """
        if self.size == self._rows.count:
            return False
        if not self._filling:
            return True
        if not self._exact or self._stepping:
            return False
        left = self._filling.left + len(active.row.prompt)
        return left <= self._share and not self._filling.is_alike(active)

    def positions(self) -> int:
        """Return how many positions of prompts may be computed now, before the next step."""
        if not self._exact:
            return 0 if self._pace.fed else CHUNK
        left = self._filling.left
        if self._first:
            return self._share if left <= TOGETHER - self._others else 0
        passed = self._clock() - self._sent
        found = self._pace.positions(self._stepping, passed, left or self._chunk)
        return min(found, self._room - self._pace.fed)

    def tidy(self) -> None:
        """Move rows together, and let the cache grow a bit, while answers run."""
        self._filling.move_to(len(self._running))  # not once they are full, and longer
        room = self._rows.widen() if self._running else None
        self._room = self._chunk if room is None else room

    def begin(self, active: Active) -> None:
        """Give a request the row behind the others, with what is known of its prompt."""
        prompt, others = active.row.prompt, [each.ids for each in self._running]
        row = self._filling.add(active, len(self._running))
        active.start(self._clock())
        self._drafting.begin()
        self.stats.prompt_tokens += len(prompt)
        try:
            cached = self._rows.begin(prompt, row, others)
        except MemoryError as error:
            self._leave_filling(active, "error", as_error(error))
            return
        active.row.result.cached_tokens = cached
        self.stats.cached_tokens += cached

    def feed(self, most: int) -> None:
        """Compute at most so many positions of the prompt, or all of several prompts."""
        start = self._clock()
        for active in self._filling:
            if reason := active.due(start):
                self._leave_filling(active, reason)
        if not self._filling:
            return
        parts = self._filling.parts(most)
        fed = sum(map(len, parts))
        last = fed == self._filling.left
        try:
            # Where the session's numbers depend on it, all calls compute logits, as generate's do.
            logits = self._filling.append(parts, last or not self._exact)
        except SessionError:
            raise
        except Exception as error:  # MemoryError, where the cache grows
            longest = max(self._filling, key=lambda each: len(each.row.prompt))
            self._leave_filling(longest, "error", as_error(error))
            return
        running = self._stepping
        self.stats.prefill_seconds += self._clock() - start
        self._others += fed if self._first else 0
        if last and logits is not None:
            self._join(logits)
        self._pace.computed(running, fed, self._clock() - start, last)

    def _join(self, logits: np.ndarray) -> None:
        """Let those run whose prompts are computed; beside running answers at once."""
        at_once = self._stepping or not self._exact
        self._filling.move_to(len(self._running))
        joining = self._filling.clear()
        self._running += joining
        self._first.update(zip(joining, logits, strict=True))
        if at_once:
            self._choose_first()

    def _choose_first(self) -> None:
        """Choose the first ids of those whose prompts are computed."""
        if not self._first:
            return
        first, now, are_alone = self._first, self._clock(), not self._stepping
        self._first, self._others = {}, 0
        leaving = list[int]()
        for row, active in enumerate(self._running):
            if active not in first:
                continue
            active.row.result.prefill_seconds = now - active.begun
            reason, error = self._chosen(active, first[active], now)
            if reason:
                self._ended(active, reason, error)
                leaving.append(row)
        for row in reversed(leaving):
            self._leave(row)
        if are_alone:
            self._sent = self._clock()

    def step(self) -> None:
        """Compute an id for each running row, and more where it goes on as was drafted."""
        self._choose_first()
        if not (rows := range(len(self._running))):
            self._pace.stepped(0, 0.0)
            return
        lease, start = self._rows.lease, self._clock()
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
            keep(self._rows.lease, row, active, drafts, place)
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
        self._rows.empty(self._running[row].ids, row)
        self.stats.prefix_bytes = self._rows.prefix_bytes
        last = self._running.pop()
        self._rows.move(len(self._running), row)
        if row < len(self._running):
            self._running[row] = last

    def _leave_filling(self, active: Active, reason: str, error: BitNetError | None = None) -> None:
        """End a request whose prompt is being computed; the last one takes its row."""
        self._ended(active, reason, error)
        self._filling.remove(active)
        self.stats.prefix_bytes = self._rows.prefix_bytes

    def fail(self, error: BitNetError) -> None:
        """End all requests with an error, and start over with empty rows."""
        ended = [*self._running, *self._filling.clear()]
        self._running, self._first, self._others = [], {}, 0
        for active in ended:
            self._ended(active, "error", error)
        self._rows.claim()

    def close(self) -> None:
        """Leave the session to others; write what is kept into its folder."""
        self._rows.close()
