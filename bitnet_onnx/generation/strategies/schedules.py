"""How many drafts are checked at a time: a fixed number, transformers' heuristic, or what pays.

Knows what became of drafts and how long calls took; does not know ids or sessions.
"""

from __future__ import annotations

from .drafts import Outcome

__all__ = ["Constant", "Economy", "Heuristic"]


class Constant:
    """As many as there are."""

    def most(self, kind: int, available: int) -> int:
        return available

    def learn(self, outcome: Outcome) -> None:
        """Do nothing."""


class Heuristic:
    """2 more after all drafts were accepted, else 1 fewer, and at least 1."""

    def __init__(self, count: int) -> None:
        self.count = count

    def most(self, kind: int, available: int) -> int:
        return min(self.count, available)

    def learn(self, outcome: Outcome) -> None:
        if outcome.drafted:
            all_of_them = outcome.accepted == outcome.drafted
            self.count = self.count + 2 if all_of_them else max(1, self.count - 1)


LOSS = 0.01  # of all time that may be lost with drafts that were not accepted
FREE = 1.0  # steps that may be lost before anything was gained
CREDIT = 8.0  # steps of former gains that may be lost again
FORGET = 0.9  # weight of what is known of a kind, from check to check
HOPE = 0.8  # the chance of a draft of which nothing is known, counted as one draft
WIDTH = 0.2  # steps that one more position of a call costs, where nothing was measured


class Economy:
    """As many drafts as give the most ids a second, and none where they lose.

    The unit is the step: the time of a call without drafts. Where drafts were refused for long,
    a few are tried again, but only as far as a hundredth of all time pays for it.
    """

    def __init__(self) -> None:
        self._step: float | None = None  # seconds
        self._costs: dict[int, float] = {1: 1.0}  # steps, by the positions of a call
        self._drafting = 0.0  # steps for each draft
        self._luck: dict[int, tuple[float, float]] = {}  # drafts accepted and refused, by kind
        self._spent = self._lost = 0.0  # steps

    def most(self, kind: int, available: int) -> int:
        if self._step is None:
            return 0
        accepted, refused = self._luck.get(kind, (0.0, 0.0))
        chance = (accepted + HOPE) / (accepted + refused + 1)
        # A wider call than any before may cost more than expected: it is twice as wide at most.
        widest = min(available, 2 * max(self._costs) - 1)
        count = max(range(widest + 1), key=lambda n: self._speed(n, chance))
        affordable = LOSS * self._spent + FREE - self._lost
        while count and self._cost(count) - 1 > affordable:
            count -= 1
        if not count:  # one day it may be worth another try
            self._luck[kind] = accepted * FORGET**0.2, refused * FORGET**0.2
        return count

    def learn(self, outcome: Outcome) -> None:
        drafted, seconds = outcome.drafted, outcome.seconds
        if not drafted:
            self._step = seconds if self._step is None else _nearer(self._step, seconds)
        if self._step is None or self._step <= 0:
            return
        if drafted:
            cost, drafting = seconds / self._step, outcome.drafting / self._step / drafted
            self._costs[drafted + 1] = _nearer(self._costs.get(drafted + 1, cost), cost)
            self._drafting = _nearer(self._drafting or drafting, drafting)
            accepted, refused = (FORGET * part for part in self._luck.get(outcome.kind, (0.0, 0.0)))
            luck = accepted + outcome.accepted, refused + (outcome.accepted < drafted)
            self._luck[outcome.kind] = luck
        spent = (seconds + outcome.drafting) / self._step
        self._spent += spent
        if drafted:
            self._lost = max(self._lost + spent - outcome.accepted - 1, -CREDIT)

    def _speed(self, count: int, chance: float) -> float:
        """Return ids for each step of time: the chance falls with each draft."""
        return (1 - chance ** (count + 1)) / (1 - chance) / self._cost(count)

    def _cost(self, count: int) -> float:
        """Return the steps that drafts and their check cost, between measured numbers of them."""
        positions = count + 1
        below = max(n for n in self._costs if n <= positions)
        above = min((n for n in self._costs if n >= positions), default=None)
        if above is None:
            slope = (self._costs[below] - 1) / (below - 1) if below > 1 else WIDTH
            call = self._costs[below] + max(slope, 0.0) * (positions - below)
        else:
            share = (positions - below) / (above - below) if above > below else 0.0
            call = self._costs[below] + share * (self._costs[above] - self._costs[below])
        # A measured call that is wider bounds it: an interruption makes single ones longer.
        wider = (cost for n, cost in self._costs.items() if n > positions)
        return min([call, *wider]) + count * self._drafting


def _nearer(old: float, new: float) -> float:
    """Follow measured times: quickly downwards, since an interruption only makes them longer."""
    return old + (0.5 if new < old else 0.1) * (new - old)
