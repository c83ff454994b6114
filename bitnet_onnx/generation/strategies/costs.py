"""What a call costs by its positions, as far as measured calls tell.

The machine may interrupt any call, which only makes it longer: no single long call is believed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

__all__ = ["Costs"]

WIDTH = 0.2  # steps that one more position of a call costs, where nothing was measured
DOUBT = 1.5  # times that a call may cost what was expected before it counts as interrupted
STEPS = 5  # calls of one position that are remembered
KEPT = 3  # and of each other width
FADE = 0.9  # weight of a single call that cost more than expected, from call to call
OLD = 64  # calls after which the longest of several calls of an unused width is forgotten


@dataclass
class _Width:
    """The last calls of so many positions, in steps."""

    costs: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    call: int = 0
    """The number of the last one."""


class Costs:
    """The unit is the step: the time of a call of one position."""

    def __init__(self) -> None:
        self._steps = deque[float](maxlen=STEPS)  # seconds of the last calls of one position
        self._calls = 0
        self._widths = dict[int, _Width]()
        self._known = dict[bool, dict[int, float]]()  # since the last call

    @property
    def step(self) -> float | None:
        """Seconds."""
        return _middle(self._steps) if self._steps else None

    @property
    def widest(self) -> int:
        """The most positions of a call so far."""
        return max(self._widths, default=1)

    def learn(self, positions: int, seconds: float) -> float:
        """Take what a call took; return the steps to count for it.

        A call that took far longer than expected was interrupted or shows a cost that the next
        call of its width will show again: the first one counts as ``DOUBT`` times what was
        expected.
        """
        if not self._steps or positions == 1 or seconds < _middle(self._steps):
            # A wider call that took less shows that the calls of one position were interrupted.
            self._steps.append(seconds)
        step = _middle(self._steps)
        if step <= 0:
            return 0.0
        self._calls += 1
        self._known = {}
        cost = min(seconds / step, positions)  # one by one, they cost no more
        if positions == 1:
            return cost
        expected = self.of(positions)
        width = self._widths.setdefault(positions, _Width())
        width.costs.append(max(cost, 1.0))  # less shows how long a step was, not how short this is
        width.call = self._calls
        self._known = {}
        return min(cost, DOUBT * expected)

    def of(self, positions: int, at_worst: bool = False) -> float:
        """Return the steps that a call of so many positions is expected to cost.

        at_worst: a single call that cost more than expected was not interrupted.
        """
        if at_worst not in self._known:
            self._known[at_worst] = self._taken(at_worst)
        known = self._known[at_worst]
        if positions in known:
            return known[positions]
        below = max(n for n in known if n < positions)
        wider = [n for n in known if n > positions]
        if not wider:
            return _beyond(known, positions)
        share = (positions - below) / (wider[0] - below)
        return known[below] + share * (known[wider[0]] - known[below])

    def _taken(self, at_worst: bool) -> dict[int, float]:
        """Return what each width is taken to cost, the narrowest first; a wider one bounds it."""
        known = {1: 1.0}
        for positions, width in sorted(self._widths.items()):
            costs, age = sorted(width.costs), self._calls - width.call
            # The machine may have been slow then: one by one, the longest calls are forgotten.
            costs = costs[: max(1, len(costs) - age // OLD)]
            cost = _middle(costs)
            expected = _beyond(known, positions)
            if len(costs) == 1 and cost > expected and not at_worst:
                cost = expected + (cost - expected) * FADE ** (1 + age)
            known[positions] = cost
        least = inf
        for positions in reversed(known):
            least = known[positions] = min(least, known[positions])
        return known


def _beyond(known: dict[int, float], positions: int) -> float:
    """Return the cost of a width on the line from one position through the widest known one."""
    widest = max(known)
    slope = (known[widest] - 1) / (widest - 1) if widest > 1 else WIDTH
    return known[widest] + max(slope, 0.0) * (positions - widest)


def _middle(values: Iterable[float]) -> float:
    """Return the median, the lower one of two."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
