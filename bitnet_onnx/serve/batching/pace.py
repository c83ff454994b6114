"""How many ids of a prompt are computed between two steps, so that running answers do not wait.

Between two tokens of an answer lie copies of rows that come and leave, parts of prompts, and a
step, together less than ``LIMIT`` usual steps, also where they take as much longer than usual as
the slowest of the last steps did. A part gets the seconds that are left of that, by the slowest of
the last parts. No plan helps where the machine stands still for four steps, so the very slowest
steps count no more than others. Knows measured seconds; does not know sessions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

__all__ = ["Pace"]

LIMIT = 3.8  # usual steps between two tokens; four are promised
# What is planned on a machine without noise, and on one with more than can be helped.
MOST, LEAST = 2.75, 2.5
OUTLIERS = 2  # of the last steps: so many of the slowest are left out
FIRST = 3  # positions between two steps, before anything was measured: a step or more on Zen 4
# A call costs as much as so many more positions of one: at least, at most, as measured.
FIXED = 1, 16
PATIENCE = 4  # steps in a row without a position, while a prompt waits
Part = tuple[int, float]


class Pace:
    """The size of the parts of prompts, from what the last parts and steps took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._steps = deque[tuple[int, float]](maxlen=5)  # rows and seconds
        # Positions and seconds of parts, and of those that end a prompt, with the head and more.
        self._parts, self._ends = deque[Part](maxlen=2), deque[Part](maxlen=2)
        self._noise = deque[float](maxlen=256)  # steps by the usual ones of their rows
        self._asked, self._waited = False, 0
        self.fed = 0
        """Positions of prompts since the last step."""

    def positions(self, running: int, passed: float, left: int) -> int:
        """Return how many positions of a prompt may be computed now, maybe none.

        running: rows that wait for the next step. passed: seconds since they got their last
        tokens. left: positions of the prompt.
        """
        if not running:
            return 0 if self.fed else self._most
        self._asked = True
        found = self._affordable(running, passed, left)
        if found < 1 and not self.fed and self._waited >= PATIENCE:
            found = 1
        return min(max(found, 0), self._most)

    def _affordable(self, running: int, passed: float, left: int) -> int:
        # More rows take longer, and at most as much longer as they are more.
        least = [seconds * min(running / rows, 1) for rows, seconds in self._steps]
        most = [seconds * max(running / rows, 1) for rows, seconds in self._steps]
        step = median(most) if most else 0.0
        parts = self._parts or self._ends
        if not (step and parts):
            return FIRST - self.fed
        noise = sorted([1.0] * (OUTLIERS + 1) + [*self._noise])[-OUTLIERS - 1]
        planned = min(max(LIMIT / noise, LEAST), MOST)
        budget = planned * median(least) - step - passed
        smallest = int(budget >= step)  # a part of one position is a step of one row
        found = max(_within(budget, parts), smallest)
        if found >= left and self._ends and max(_within(budget, self._ends), smallest) < left:
            return left - 1
        return found

    def stepped(self, rows: int, seconds: float) -> None:
        """Take what a step of so many rows took, up to the last one's token; maybe of none."""
        if rows and seconds:
            usual = [before for same, before in self._steps if same == rows]
            if len(usual) == self._steps.maxlen:
                self._noise.append(seconds / median(usual))
            self._steps.append((rows, seconds))
        self._waited = self._waited + 1 if self._asked and not self.fed else 0
        self._asked, self.fed = False, 0

    def computed(self, running: int, positions: int, seconds: float, ended: bool) -> None:
        """Take what a part of a prompt took; ended: it was the last one."""
        self.fed += positions
        if running and seconds:  # the others are far larger than parts between steps
            (self._ends if ended else self._parts).append((positions, seconds))


def _within(budget: float, parts: Iterable[Part]) -> int:
    """Return how many positions take at most so many seconds, by the dearest of some parts."""
    ratios = [(budget / seconds, positions) for positions, seconds in parts]
    return min(
        int(ratio * (positions + fixed) - fixed) for ratio, positions in ratios for fixed in FIXED
    )
