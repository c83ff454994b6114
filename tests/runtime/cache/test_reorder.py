"""Rows that began as copies of one row are reordered in place: only their ends are copied."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.cache.growing import Cache
from bitnet_onnx.runtime.cache.layout import CacheLayout
from tests.support.sessions import interrupted

LAYOUT = CacheLayout(1, 2, 2, "int8", context_length=60, model="a")


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "BLOCK", 8)
        yield


def feed(cache: Cache, seed: int) -> None:
    """Compute one position of every row, another one in each."""
    cache.reserve(max(cache.lengths) + 1)
    for row, length in enumerate(cache.lengths):
        for number, buffer in enumerate(cache.buffers.values()):
            buffer[row, :, length] = (seed * 31 + row * 7 + number) % 120
    cache.append(np.arange(cache.rows) + 10 * seed)


def begun(prompt: int, rows: int) -> Cache:
    cache = Cache(LAYOUT)
    for seed in range(prompt):
        feed(cache, seed)
    cache.fork(rows)
    return cache


def contents(cache: Cache, row: int) -> list[Any]:
    length = cache.lengths[row]
    return [cache.ids(row), *(b[row, :, :length].tolist() for b in cache.buffers.values())]


STEPS: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("reorder"), st.lists(st.integers(0, 2), min_size=3, max_size=3)),
    st.tuples(st.just("feed"), st.just([])),
    st.tuples(st.just("truncate"), st.tuples(st.integers(0, 2), st.integers(0, 12))),
    st.tuples(st.just("put"), st.tuples(st.integers(0, 2), st.integers(0, 2))),
)


@given(st.lists(STEPS, max_size=14))
def test_every_history_gives_the_rows_that_whole_copies_give(steps: list[tuple[str, list[int]]]
                                                            ) -> None:  # fmt: skip
    cache = begun(9, 3)
    for seed, (name, values) in enumerate(steps):
        before = [contents(cache, row) for row in range(3)]
        if name == "reorder":
            cache.reorder(values)
            assert [contents(cache, row) for row in range(3)] == [before[row] for row in values]
        elif name == "feed":
            feed(cache, 10 + seed)
            assert [c[0][:-1] for c in map(contents, [cache] * 3, range(3))] == [
                c[0] for c in before
            ]
        elif name == "truncate":
            row, length = values
            cache.truncate(min(length, cache.lengths[row]), row)
        else:
            source, row = values
            cache.put(cache.take(source), row)
            assert contents(cache, row) == before[source]


def test_beams_move_in_place_and_copy_their_ends() -> None:
    cache = begun(20, 4)
    for seed in range(3):
        feed(cache, 30 + seed)
    place, buffers = cache.place, dict(cache.buffers)
    before = [contents(cache, row) for row in range(4)]
    marked = next(iter(cache.buffers.values()))
    marked[3, :, :20] += 1  # a mark: these positions are not copied
    cache.reorder([1, 0, 0, 2])
    assert [contents(cache, row) for row in range(3)] == [before[row] for row in (1, 0, 0)]
    assert cache.place is place
    assert all(cache.buffers[name] is buffer for name, buffer in buffers.items())
    moved = contents(cache, 3)
    assert moved[0] == before[2][0]
    assert moved[1] != before[2][1]
    marked[3, :, :20] -= 1
    assert contents(cache, 3) == before[2]


def test_rows_without_a_common_beginning_are_copied_as_wholes() -> None:
    cache = Cache(LAYOUT, 2)
    for seed in range(6):
        feed(cache, seed)
    before, place = [contents(cache, row) for row in range(2)], cache.place
    cache.reorder([1, 0])
    assert [contents(cache, row) for row in range(2)] == before[::-1]
    assert cache.place is not place


def test_a_move_is_whole_or_absent() -> None:
    def made() -> Cache:
        cache = begun(12, 3)
        for seed in range(2):
            feed(cache, 20 + seed)
        cache.truncate(13, 1)
        return cache

    cache = made()
    before = [contents(cache, row) for row in range(3)]
    after, seen = [before[row] for row in (2, 0, 1)], set()
    for place in count():
        cache = made()
        cut = interrupted(lambda cache=cache: cache.reorder([2, 0, 1]), place, "line")  # type: ignore[misc]
        found = [contents(cache, row) for row in range(3)]
        assert found in (before, after), place
        seen.add(found == after)
        if not cut:
            break
    assert seen == {True, False}
