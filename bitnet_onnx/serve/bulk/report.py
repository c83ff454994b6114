"""How far a run is: lines, errors, tokens a second, and how long the rest may take.

Knows counts and a clock; does not know where a report is shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

__all__ = ["Report"]

SPAN = 60.0  # seconds of which the speed is told: later lines may be longer


class Report:
    """Counts answers and says now and then how many there are."""

    def __init__(
        self,
        say: Callable[[str], None],
        every: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """every: seconds between two reports."""
        self._say, self._every, self._clock = say, every, clock
        self.total = self.done = self.errors = self._new = self._tokens = 0
        self._start = self._said = clock()
        self._past: deque[tuple[float, int, int]] = deque()

    def begin(self, total: int, done: int, errors: int) -> None:
        """total: lines. done: those that a former run answered, with how many errors."""
        self.total, self.done, self.errors = total, done, errors
        self._start = self._said = self._clock()
        self._past.append((self._start, 0, 0))
        if done:
            self._say(f"{done:,} of {total:,} lines are answered already")

    def add(self, answer: dict[str, Any], is_error: bool) -> None:
        """Count an answer."""
        self.done += 1
        self._new += 1
        self.errors += is_error
        self._tokens += tokens_of(answer)
        now = self._clock()
        if now - self._said >= self._every:
            self._said = now
            self._past.append((now, self._new, self._tokens))
            while len(self._past) > 2 and now - self._past[0][0] > SPAN:
                self._past.popleft()
            self._say(self._line(*self._past[0]))

    def _line(self, since: float, lines: int, tokens: int) -> str:
        seconds = max(self._clock() - since, 1e-9)
        rate = (self._new - lines) / seconds
        left = time_of((self.total - self.done) / rate) if rate else "unknown"
        return (
            f"{self.done:,} of {self.total:,} lines, {self._errors()}, "
            f"{(self._tokens - tokens) / seconds:,.0f} tokens/s, {left} left"
        )

    def _errors(self) -> str:
        return "1 error" if self.errors == 1 else f"{self.errors:,} errors"

    def end(self) -> None:
        """Say what was done."""
        seconds = max(self._clock() - self._start, 1e-9)
        self._say(
            f"{self.done:,} of {self.total:,} lines, {self._errors()}; {self._new:,} lines in"
            f" {time_of(seconds)}, {self._tokens / seconds:,.0f} tokens/s"
        )


def tokens_of(answer: dict[str, Any]) -> int:
    """Return how many tokens an answer has, or of how many vectors were made."""
    usage = ((answer["response"] or {}).get("body") or {}).get("usage") or {}
    for name in ("completion_tokens", "output_tokens", "prompt_tokens"):
        if name in usage:
            return int(usage[name])
    return 0


def time_of(seconds: float) -> str:
    """Return a time in words."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
