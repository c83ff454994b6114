"""How the vectors of a text's tokens become one: pooling.

Knows the names of modes; knows no tensors and no file.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import CheckpointError

__all__ = ["POOLINGS", "Pooling"]

POOLINGS = ("last", "mean")


class Pooling(NamedTuple):
    """What follows the last layer of a network that embeds texts."""

    mode: str
    """``last``: the vector of the last token; ``mean``: the mean of all."""
    normalize: bool = True
    """Whether vectors get the length 1."""
    longest: int | None = None
    """The most tokens of a text that the checkpoint allows; None: it does not say."""
    note: str | None = None
    """What is assumed where the files say nothing, or asked for in place of what they say."""
    refusal: str | None = None
    """Why ``mode``, which the files say, cannot be computed."""

    def instead(self, asked: str) -> Pooling:
        """Return the pooling that is asked for; where the files say another, the note does, too."""
        assert asked in POOLINGS
        said = self.note is None and self.mode != asked
        note = f"the checkpoint says the pooling {self.mode}, and {asked} is asked for"
        return self._replace(mode=asked, note=note if said else None, refusal=None)

    def computable(self) -> Pooling:
        """Return itself; raise CheckpointError where it cannot be computed."""
        if self.refusal is not None:
            raise CheckpointError(
                self.refusal, hint=f"export it with --pooling {' or '.join(POOLINGS)}"
            )
        return self
