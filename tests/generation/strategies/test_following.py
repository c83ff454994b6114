"""Drafts follow the source that a text repeats, past its changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bitnet_onnx.generation.processors.past import Past
from bitnet_onnx.generation.strategies.drafts import Drafts, Schedule, compared
from bitnet_onnx.generation.strategies.following import AHEAD, HOPES, Following
from bitnet_onnx.generation.strategies.schedules import Constant, Economy

# Steps that a call takes by its positions: BitNet b1.58 2B-4T, 2 threads.
POSITIONS, STEPS = (1, 4, 8, 16), (1.0, 1.44, 2.0, 3.9)


class Text:
    """A text that grows, and what is drafted at each place."""

    def __init__(self, prompt: Sequence[int], eos: tuple[int, ...] = ()) -> None:
        self.past, self.lookup = Past(prompt), Following(eos)
        self.lookup.start(self.past)

    def drafts(self, most: int = 8, schedule: Schedule | None = None) -> Drafts:
        return self.lookup.propose(self.past, most, schedule or Constant())

    def add(self, *ids: int) -> list[int]:
        """Append ids one by one; return what is drafted after them."""
        found = list[int]()
        for token in ids:
            self.past.add([token])
            found = list(self.drafts().ids)
        return found


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5], []),
        ([5, 6, 7], []),
        ([5, 5], [5] * 8),
        ([1, 2, 3, 9, 1, 2], [3, 9, 1, 2, 3, 9, 1, 2]),
        ([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], [4, 9, 1, 2, 4, 9, 1, 2]),  # the last one
        ([8, 2, 4, 1, 2, 3, 6, 8, 2], [4, 1, 2, 3, 6, 8, 2, 4]),  # the longer one, however early
    ],
)
def test_what_came_after_the_last_ids_comes_again(ids: list[int], expected: list[int]) -> None:
    assert list(Text(ids).drafts().ids) == expected


@pytest.mark.parametrize("most", [0, -1, 1, 2, 3])
def test_drafts_are_as_many_as_may_be_and_what_follows_is_foreseen(most: int) -> None:
    found = Text([1, 2, 3, 4, 5, 6, 1]).drafts(most)
    assert list(found.ids) == [2, 3, 4, 5, 6, 1][: max(most, 0)]
    foreseen = [2, 3, 4, 5, 6, 1] * 3 if most > 0 else []  # it may go round
    assert [*found.ids, *found.further] == foreseen[:AHEAD]
    assert len(found.kinds) == len(found.ids) + len(found.further)


def test_nothing_ends_before_the_check_does() -> None:
    assert list(Text([1, 2, 3, 9, 5, 1], eos=(9,)).drafts().ids) == [2, 3]
    assert list(Text([1, 9, 5, 1], eos=(9,)).drafts().ids) == []


SOURCE = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 14, 23, 24, 25, 14, 26, 27]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ([11, 12, 13], [14, 15, 16]),
        ([11, 12, 13, 50], [15, 16, 17]),  # another id: the source goes on behind it
        ([11, 12, 13, 50, 15], [16, 17, 18]),
        ([11, 12, 13, 15], [16, 17, 18]),  # an id was left out
        ([11, 12, 13, 50, 14], [15, 16, 17]),  # one came in between
        ([11, 12, 13, 50, 51], []),  # nothing is known any more
        ([11, 12, 13, 50, 51, 52, 17], [18, 19, 20]),
    ],
)
def test_a_text_is_followed_past_a_change(text: list[int], expected: list[int]) -> None:
    assert Text([*SOURCE, 99]).add(*text)[:3] == expected


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ([50], [50, 23, 24, 25, 50, 26, 27, 99]),
        ([50, 51], [50, 51, 23, 24, 25, 50, 51, 26]),
        ([14], [14, 23, 24, 25, 14, 26, 27, 99]),  # nothing was replaced
    ],
)
def test_what_was_replaced_once_is_replaced_again(new: list[int], expected: list[int]) -> None:
    text = Text([*SOURCE, 99])
    found = text.add(11, 12, 13, *new, 15, 16, 17, 18, 19, 20, 21, 22)
    assert found == expected


def test_the_last_replacement_counts() -> None:
    text = Text([*SOURCE, 99])
    text.add(11, 12, 13, 50, 15, 16, 17, 18, 19, 20, 21, 22)
    assert text.add(60, 23, 24, 25)[0] == 60


def test_several_ids_that_are_replaced_are_replaced_where_all_of_them_stand() -> None:
    source = [11, 12, 1, 2, 13, 14, 15, 1, 3, 16, 17, 18, 1, 2, 19, 20]
    text = Text([*source, 99])
    assert text.add(11, 12, 50, 13, 14, 15)[:3] == [1, 3, 16]
    assert text.add(1, 3, 16, 17, 18)[:3] == [50, 19, 20]


@pytest.mark.parametrize("width", [2, 3, 5, 16])
def test_what_is_drafted_does_not_depend_on_how_many_are_checked(width: int) -> None:
    chosen = [11, 12, 13, 50, 15, 16, 17, 18, 19, 20, 21, 22, 50, 23, 24, 25]
    text, place = Text([*SOURCE, 99]), 0
    while place < len(chosen):
        found = text.drafts(min(width - 1, len(chosen) - place - 1))
        place += compared(found, chosen[place:], 0.0).accepted + 1
        text.past.add(chosen[len(text.past) - len(SOURCE) - 1 : place])
    assert list(text.drafts().ids) == [50, 26, 27, 99, 11, 12, 13, 50]


def sped(prompt: list[int], text: list[int], economy: Economy) -> float:
    """Return how many times faster than plain steps a text comes."""
    written, spent, place = Text(prompt), 0.0, 0
    while place < len(text):
        found = written.drafts(min(15, len(text) - place - 1), economy)
        pairs = zip(found.ids, text[place:], strict=False)
        right = next((i for i, (a, b) in enumerate(pairs) if a != b), len(found.ids))
        chosen = text[place : place + right + 1]
        seconds = float(np.interp(len(found.ids) + 1, POSITIONS, STEPS))
        economy.learn(compared(found, chosen, seconds))
        written.past.add(chosen)
        spent, place = spent + seconds, place + len(chosen)
    return len(text) / spent


def words(generator: np.random.Generator, count: int) -> list[int]:
    """Return ids of which few are frequent, as in texts."""
    return (generator.zipf(1.3, count) % 20_000).tolist()


def edited(generator: np.random.Generator, source: list[int], each: int) -> list[int]:
    """Rename two ids, and change, leave out or add one of so many others."""
    common = [token for token in dict.fromkeys(source) if 3 <= source.count(token) <= 8][:2]
    found = list[int]()
    for token in source:
        if generator.random() < 1 / each:
            found += [[], [30_000 + token], [token, 40_000 + token]][generator.integers(3)]
        else:
            found.append(50_000 + token if token in common else token)
    return found


@pytest.mark.parametrize(("each", "least"), [(100, 3.0), (30, 2.2), (12, 1.7)])
def test_an_edit_of_a_text_comes_faster(each: int, least: float) -> None:
    generator, found = np.random.default_rng(each), []
    for _ in range(5):
        source = words(generator, 300)
        found.append(sped(source, edited(generator, source, each), Economy(HOPES)))
    assert np.mean(found) >= least


def test_a_text_that_is_new_loses_three_percent_at_most() -> None:
    generator, economy = np.random.default_rng(1), Economy(HOPES)
    for _ in range(5):  # with what was learned of the former ones, too
        prompt, text = words(generator, 300), words(generator, 300)
        assert sped(prompt, text, Economy(HOPES)) >= 0.97
        assert sped(prompt, text, economy) >= 0.97
