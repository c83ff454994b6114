"""How many drafts are checked at a time: a fixed number, transformers' heuristic, or what pays.

Knows what became of drafts and how long calls took; does not know ids or sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from .costs import Costs
from .drafts import Outcome

__all__ = ["Constant", "Economy", "Heuristic", "Luck"]


class Constant:
    """As many as there are."""

    def most(self, kinds: Sequence[int]) -> int:
        return len(kinds)

    def learn(self, outcome: Outcome) -> None:
        """Do nothing."""


class Heuristic:
    """2 more after all drafts were accepted, else 1 fewer, and at least 1."""

    def __init__(self, count: int) -> None:
        self.count = count

    def most(self, kinds: Sequence[int]) -> int:
        return min(self.count, len(kinds))

    def learn(self, outcome: Outcome) -> None:
        if outcome.drafted:
            all_of_them = outcome.accepted == outcome.drafted
            self.count = self.count + 2 if all_of_them else max(1, self.count - 1)


LOSS = 0.01  # of all time that may be lost with drafts that were not accepted
FREE = 1.0  # steps that may be lost before anything was gained
CREDIT = 8.0  # steps of former gains that may be lost again
FORGET = 0.95  # weight of what is known of a kind, from draft to draft
HOPE = 0.8  # the chance of a draft of a kind of which nothing is known, counted as one draft
WEIGHT = 4.0  # drafts that a given hope counts as
Luck = dict[int, tuple[float, float]]  # drafts accepted and refused, by kind
PRUDENCE = 1.25  # times that more positions are taken to cost where chances are hopes
ANEW = 0.3  # weight of what other texts have shown of a kind that has a hope
UNLIKELY = 0.02  # drafts that pay nothing


class Economy:
    """As many drafts as give the most ids a second, and none where they lose.

    The unit is the step: the time of a call without drafts. Where drafts were refused for long,
    a few are tried again, but only as far as a hundredth of all time pays for it.
    """

    def __init__(self, hopes: Mapping[int, float] | None = None, luck: Luck | None = None) -> None:
        """hopes: the chances of a draft by its kind, after those before it were accepted.

        luck: what came of drafts, where another one learns it, too.
        """
        self._hopes = hopes or {}
        self._costs = Costs()
        self._drafting = 0.0  # steps for each draft
        self._luck = {} if luck is None else luck
        self._spent = self._lost = 0.0  # steps

    def begin(self) -> None:
        """Begin another text, which may repeat more or less than those before."""
        for kind in self._luck.keys() & self._hopes.keys():
            accepted, refused = self._luck[kind]
            self._luck[kind] = accepted * ANEW, refused * ANEW

    def most(self, kinds: Sequence[int]) -> int:
        return self.most_of([kinds])

    def most_of(self, rows: Sequence[Sequence[int]], bound: float = inf) -> int:
        """Return how many drafts to check of each of several rows that share a call.

        rows: the kinds of each row's drafts; a row that has fewer costs as much. bound: the most
        steps that the call may take.
        """
        if self._costs.step is None or not any(rows):
            return 0
        # A wider call than any before may cost more than expected: it is twice as wide at most.
        widest = min(max(map(len, rows)), 2 * self._costs.widest - 1)
        chances, count = [1.0] * len(rows), 0
        ids = best = float(len(rows))
        prudence = PRUDENCE if self._hopes else 1.0
        for drafts in range(1, widest + 1):
            for row, kinds in enumerate(rows):
                chances[row] *= self._chance(kinds[drafts - 1]) if drafts <= len(kinds) else 0.0
            if max(chances) < UNLIKELY:
                break
            ids += sum(chances)
            if (speed := ids / (1 + prudence * (self._cost(drafts) - 1))) > best:
                best, count = speed, drafts
        affordable = min(LOSS * self._spent + FREE - self._lost, bound - 1)
        while count and self._cost(count, at_worst=True) - 1 > affordable:
            count -= 1
        if not count:  # one day it may be worth another try
            for kind in {kinds[0] for kinds in rows if kinds} & self._luck.keys():
                accepted, refused = self._luck[kind]
                self._luck[kind] = accepted * FORGET**0.2, refused * FORGET**0.2
        return count

    def learn(self, outcome: Outcome) -> None:
        self.learn_of([outcome])

    def learn_of(self, outcomes: Sequence[Outcome]) -> None:
        """Take what became of the drafts of rows that shared a call."""
        for outcome in outcomes:
            for place, kind in enumerate(outcome.kinds[: outcome.right + outcome.missed]):
                accepted, refused = (FORGET * part for part in self._luck.get(kind, (0.0, 0.0)))
                came = place < outcome.right
                self._luck[kind] = accepted + came, refused + (not came)
        drafted, seconds = max(each.drafted for each in outcomes), outcomes[0].seconds
        spent = self._costs.learn(drafted + 1, seconds)
        step = self._costs.step
        if step is None or step <= 0:
            return
        drafting = outcomes[0].drafting / step
        if drafted:
            each_draft = drafting / drafted
            self._drafting = _nearer(self._drafting or each_draft, each_draft)
            gained = sum(each.accepted for each in outcomes) / len(outcomes)
            self._lost = max(self._lost + spent + drafting - gained - 1, -CREDIT)
        self._spent += spent + drafting

    def _chance(self, kind: int) -> float:
        accepted, refused = self._luck.get(kind, (0.0, 0.0))
        hope = self._hopes.get(kind)
        if hope is None:
            return (accepted + HOPE) / (accepted + refused + 1)
        return (accepted + WEIGHT * hope) / (accepted + refused + WEIGHT)

    def _cost(self, count: int, at_worst: bool = False) -> float:
        """Return the steps that drafts and their check cost."""
        return self._costs.of(count + 1, at_worst) + count * self._drafting


def _nearer(old: float, new: float) -> float:
    """Follow measured times: quickly downwards, since an interruption only makes them longer."""
    return old + (0.5 if new < old else 0.1) * (new - old)
