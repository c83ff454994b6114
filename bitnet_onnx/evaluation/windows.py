"""The windows of a long text, as transformers' guide to perplexity cuts them.

Knows counts of tokens; does not know tokens or models.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import GenerationError
from ..runtime.integers import integer

__all__ = ["STRIDE", "Window", "sizes", "windows"]

STRIDE = 512  # the guide's
SHORTEST = 2  # tokens of a window: one is predicted from one


class Window(NamedTuple):
    """The tokens from ``begin`` to ``end``, of which ``new`` are in no window before."""

    begin: int
    end: int
    new: int

    @property
    def first(self) -> int:
        """The place in the window of the first token that is predicted."""
        return max(self.end - self.begin - self.new, 1)

    @property
    def predicted(self) -> int:
        return self.end - self.begin - self.first

    @property
    def weight(self) -> int:
        """What the window's mean loss counts in the guide's mean.

        The guide takes off one label of each window, also where the shift of labels loses none.
        """
        return self.new - 1


def sizes(context: int, max_length: int | None, stride: int | None) -> tuple[int, int]:
    """Return max_length and stride, with their defaults: the context, and 512 where that fits."""
    length = context if max_length is None else integer("max_length", max_length)
    if not SHORTEST <= length <= context:
        raise GenerationError(
            f"max_length is {length}, expected {SHORTEST} to the context of {context}"
        )
    step = min(STRIDE, length) if stride is None else integer("stride", stride)
    if not 1 <= step <= length:
        raise GenerationError(
            f"stride is {step}, expected 1 to max_length, which is {length}",
            hint="a longer one would leave out tokens between two windows",
        )
    return length, step


def windows(total: int, max_length: int, stride: int) -> list[Window]:
    """Return the windows of ``total`` tokens, those that predict none left out."""
    if total < SHORTEST:
        tokens = "1 token" if total == 1 else f"{total} tokens"
        raise GenerationError(f"the text has {tokens}, expected {SHORTEST} or more")
    found, before = [], 0
    for begin in range(0, total, stride):
        end = min(begin + max_length, total)
        found.append(Window(begin, end, end - before))
        before = end
        if end == total:
            break
    return [window for window in found if window.predicted]
