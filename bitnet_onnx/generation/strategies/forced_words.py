"""Which of the forced words a sequence holds, and which tokens lead on to them.

The rules are those of transformers' PhrasalConstraint, DisjunctiveConstraint and
ConstraintListState. Knows ids; does not know scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

__all__ = ["Progress", "Word", "words_of"]


@dataclass(frozen=True)
class Word:
    """Sequences of ids, one of which an answer holds; none of them begins another one."""

    choices: tuple[tuple[int, ...], ...]
    phrase: bool
    """Whether it was given as one sequence, not as a list of choices."""

    @property
    def longest(self) -> int:
        return max(map(len, self.choices))

    def following(self, begun: Sequence[int]) -> list[int]:
        """Return the ids that may follow a beginning; none after a whole choice."""
        at = len(begun)
        fits = [c for c in self.choices if len(c) > at and c[:at] == tuple(begun)]
        return list(dict.fromkeys(choice[at] for choice in fits))


def words_of(given: Sequence[Sequence[int] | Sequence[Sequence[int]]]) -> list[Word]:
    """Return the words of the option force_words_ids."""
    words = list[Word]()
    for word in given:
        if isinstance(word[0], int):
            words.append(Word((tuple(word),), True))  # type: ignore[arg-type]
        else:
            words.append(Word(tuple(map(tuple, word)), False))  # type: ignore[arg-type]
    return words


@dataclass
class Progress:
    """How far one sequence is: it is in the middle of one word at most."""

    pending: list[Word]
    completed: int = 0
    current: Word | None = None
    begun: list[int] = field(default_factory=list)
    done: bool = False

    @classmethod
    def of(cls, words: list[Word], ids: Sequence[int]) -> Progress:
        """Return the progress of a whole sequence, whose prompt counts."""
        progress = cls(list(words))
        for token in ids:
            progress.add(token)
            if progress.done:
                break
        return progress

    def advancing(self) -> list[int]:
        """Return the ids that lead on; one may be there more than once."""
        if self.current is not None:
            return self.current.following(self.begun)
        return [token for word in self.pending for token in word.following([])]

    def with_token(self, token: int) -> Progress:
        """Return the progress of a sequence that is one id longer.

        The beginning of a list of choices is shared by all continuations, each of which makes it
        longer: so it is in transformers, and so are the ranks that follow from it.
        """
        shares = self.current is not None and not self.current.phrase
        begun = self.begun if shares else list(self.begun)
        longer = replace(self, pending=list(self.pending), begun=begun)
        longer.add(token)
        return longer

    def rank(self, longest: int) -> int:
        """Return how much is fulfilled; longest: ids of the longest of all words."""
        bank = self.completed * longest
        if self.current is not None:
            bank += longest - (self.current.longest - len(self.begun))
        return bank

    def add(self, token: int) -> None:
        """Take the next id, which makes progress in one word at most."""
        if self.done:
            return
        word = self.current
        if word is None:
            word = next((w for w in self.pending if token in w.following([])), None)
            if word is None:
                return
            self.pending.remove(word)
            self.begun = []
        elif token not in word.following(self.begun):
            self.pending.append(word)
            self.current, self.begun = None, []
            return
        self.begun.append(token)
        self.current = word
        if not word.following(self.begun):
            self.completed += 1
            self.current, self.begun = None, []
            self.done = not self.pending
