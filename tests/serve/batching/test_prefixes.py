"""Kept beginnings: the longest one is found, with the right positions, within the memory."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bitnet_onnx.serve.batching.prefixes import Prefixes, shared

WIDTH = 3


def numbers(ids: list[int]) -> dict[str, np.ndarray]:
    """Return buffers in which each position depends on all ids up to it, as keys and values do."""
    past = np.array([hash(tuple(ids[: end + 1])) % 1000 for end in range(len(ids))], np.float32)
    keys = np.broadcast_to(past[None, :, None], (2, len(ids), WIDTH)).copy()
    return {"0.key": keys, "0.key_scale": keys[..., 0] + 1}


def keep(prefixes: Prefixes, ids: list[int]) -> list[tuple[int, int]]:
    """Keep ids; return what was asked for."""
    asked = []

    def part(begin: int, end: int) -> dict[str, np.ndarray]:
        asked.append((begin, end))
        return {name: array[:, begin:end].copy() for name, array in numbers(ids).items()}

    prefixes.keep(ids, part)
    return asked


def found(prefixes: Prefixes, ids: list[int]) -> int:
    """Return the length of what is found, whose positions are those of the ids."""
    kept = prefixes.find(np.array(ids, np.int64))
    expected = numbers(ids[: kept.length])
    buffers = {name: np.zeros_like(array) for name, array in expected.items()}
    kept.write(buffers)
    for name, array in expected.items():
        assert np.array_equal(buffers[name], array)
    return kept.length


def bytes_of(positions: int) -> int:
    return positions * (8 + 2 * (WIDTH + 1) * 4)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 3], 1), ([1, 2], [1, 2, 3], 2), ([4], [5], 0)],
)
def test_shared_counts_the_ids_in_common(first: list[int], second: list[int], common: int) -> None:
    assert shared(np.array(first), np.array(second)) == common


def test_what_texts_share_is_kept_once() -> None:
    prefixes = Prefixes(1 << 20)
    assert keep(prefixes, [1, 2, 3, 4, 5]) == [(0, 5)]
    assert keep(prefixes, [1, 2, 3, 8, 9]) == [(3, 5)]  # in the middle of a node
    assert keep(prefixes, [1, 2, 3]) == []
    assert keep(prefixes, [1, 2, 3, 4, 5, 6]) == [(5, 6)]
    assert keep(prefixes, [7]) == [(0, 1)]
    assert keep(prefixes, []) == []
    assert prefixes.bytes == bytes_of(9)
    texts = {(1, 2, 3, 4, 5, 6, 7): 6, (1, 2, 3, 8): 4, (1, 9): 1, (7, 7): 1, (2,): 0, (): 0}
    for ids, length in texts.items():
        assert found(prefixes, list(ids)) == length


def test_the_leaf_that_was_not_used_for_longest_goes() -> None:
    prefixes = Prefixes(bytes_of(8))
    for ids in ([1, 2, 3, 4], [1, 2, 5, 6], [9, 9]):
        keep(prefixes, ids)
    assert found(prefixes, [1, 2, 3, 4]) == 4
    keep(prefixes, [8, 8])
    assert [found(prefixes, ids) for ids in ([1, 2, 5, 6], [9, 9], [8, 8], [1, 2, 3, 4])] == [
        2, 2, 2, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("known", [0, 2, 7, 8])
def test_of_a_text_that_is_larger_than_all_there_is_the_beginning_is_kept(known: int) -> None:
    prefixes = Prefixes(bytes_of(8))
    keep(prefixes, [1, 2])
    text = list(range(20, 29))
    keep(prefixes, text[:known])
    keep(prefixes, text)
    assert found(prefixes, text) == 8
    assert prefixes.bytes == bytes_of(8)


def test_texts_that_are_written_whole_take_as_much_as_the_memory_may_have() -> None:
    prefixes = Prefixes(bytes_of(12))
    for last in range(4):
        keep(prefixes, [1, 2, 3, 4, last])
    assert prefixes.bytes == bytes_of(8)
    assert [ids.tolist() for ids, _ in prefixes.texts()] == [[1, 2, 3, 4, 2], [1, 2, 3, 4, 3]]
    keep(prefixes, [7, 7])
    found(prefixes, [1, 2, 3, 4, 1])
    assert [ids.tolist() for ids, _ in prefixes.texts()] == [
        [1, 2, 3, 4, 3], [7, 7], [1, 2, 3, 4, 1],
    ]  # fmt: skip


def test_nothing_is_kept_without_room() -> None:
    prefixes = Prefixes(0)
    assert keep(prefixes, [1, 2]) == []
    assert (found(prefixes, [1, 2]), prefixes.bytes) == (0, 0)


def test_an_error_in_a_copy_changes_nothing() -> None:
    prefixes = Prefixes(1 << 20)
    keep(prefixes, [1, 2, 3, 4])

    def fail(begin: int, end: int) -> dict[str, np.ndarray]:
        raise MemoryError

    with pytest.raises(MemoryError):
        prefixes.keep([1, 2, 9], fail)
    assert prefixes.bytes == bytes_of(4)
    assert found(prefixes, [1, 2, 3, 4]) == 4
    assert found(prefixes, [1, 2, 9]) == 2


@pytest.mark.parametrize("limit", [30, 200, 5000])
def test_random_texts(limit: int) -> None:
    """With all room the longest beginning is found; with less, a beginning, within the limit."""
    dice = random.Random(limit)
    prefixes, texts = Prefixes(bytes_of(limit)), list[list[int]]()
    for _ in range(150):
        base = dice.choice(texts)[: dice.randint(0, 12)] if texts and dice.random() < 0.7 else []
        texts.append(base + [dice.randrange(4) for _ in range(dice.randint(1, 6))])
        keep(prefixes, texts[-1])
        assert prefixes.bytes <= bytes_of(limit)
        wanted = [*dice.choice(texts), dice.randrange(4)]
        longest = max(shared(np.array(wanted), np.array(text)) for text in texts)
        length = found(prefixes, wanted)
        assert length == longest if limit == 5000 else length <= longest
