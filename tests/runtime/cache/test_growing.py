"""The cache alone: rows grow, are truncated, copied, reordered, taken out and put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.cache.growing import Cache
from bitnet_onnx.runtime.cache.layout import CacheLayout

LAYOUT = CacheLayout(2, 3, 4, "int8", context_length=40, model="a")


def filled(lengths: list[int], layout: CacheLayout = LAYOUT) -> Cache:
    """Fill each position with a value of its row, position and buffer."""
    cache = Cache(layout, len(lengths))
    cache.reserve(max(lengths))
    for number, buffer in enumerate(cache.buffers.values()):
        for row, length in enumerate(lengths):
            for position in range(length):
                buffer[row, :, position] = (number * 31 + row * 7 + position) % 120
    for row, length in enumerate(lengths):
        if length:
            cache.extend({row: np.arange(length) + 100 * row})
    return cache


def contents(cache: Cache, row: int) -> list[object]:
    length = cache.lengths[row]
    return [cache.ids(row), *(b[row, :, :length].tolist() for b in cache.buffers.values())]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int4"])
def test_the_buffers_are_those_of_the_graph(dtype: str) -> None:
    cache, scaled = Cache(replace(LAYOUT, dtype=dtype), rows=2), dtype in ("int8", "int4")
    width, kind = (17, "uint8") if dtype == "int4" else (4, dtype)
    cache.reserve(1)
    assert cache.capacity == 40  # a block is larger than this context
    kinds = ["key", "value", *(["key_scale", "value_scale"] if scaled else [])]
    assert list(cache.buffers) == [f"{layer}.{kind}" for layer in range(2) for kind in kinds]
    for name, buffer in cache.buffers.items():
        scales = name.endswith("scale")
        assert buffer.shape == ((2, 3, 40) if scales else (2, 3, 40, width))
        assert buffer.dtype == ("float32" if scales else kind)
        assert buffer.flags.c_contiguous
    per_position = 2 * 3 * (width * np.dtype(kind).itemsize + (4 if scaled else 0))
    assert cache.position_bytes == per_position


def test_growing_keeps_the_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "BLOCK", 4)
    cache = filled([5, 0, 7])
    before, place = [contents(cache, row) for row in range(3)], cache.place
    cache.reserve(8)
    assert cache.capacity == 8
    assert cache.place is place
    cache.reserve(9)
    assert cache.capacity == 12
    assert cache.place is not place
    assert [contents(cache, row) for row in range(3)] == before
    cache.reserve(39)
    assert cache.capacity == 40
    with pytest.raises(
        GenerationError, match="hold 41 positions, expected at most the context of 40"
    ):
        cache.reserve(41)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=6),
)
def test_reorder_copies_the_chosen_rows(lengths: list[int], order: list[int]) -> None:
    cache, order = filled(lengths), [row % len(lengths) for row in order]
    before = [contents(cache, row) for row in range(len(lengths))]
    cache.reorder(order)
    assert cache.rows == len(order)
    assert [contents(cache, row) for row in range(cache.rows)] == [before[row] for row in order]


def test_forked_rows_change_independently() -> None:
    cache = filled([3, 5])
    before = contents(cache, 1)
    cache.fork(3, row=1)
    cache.truncate(2, row=0)
    cache.append(np.array([9, 9, 9]))
    assert cache.lengths == (3, 6, 6)
    cache.truncate(5, row=2)
    assert contents(cache, 2) == before


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_a_taken_row_can_be_put_into_any_row_or_cache(first: int, second: int, other: int) -> None:
    cache, elsewhere = filled([first, second]), filled([other])
    before = contents(cache, 1)
    kept = cache.take(1)
    cache.truncate(0, row=1)
    elsewhere.put(kept)
    cache.put(kept, row=0)
    assert contents(elsewhere, 0) == contents(cache, 0) == before
    assert cache.lengths == (second, 0)


def test_a_row_of_another_model_is_refused() -> None:
    kept = filled([3]).take()
    for other in (replace(LAYOUT, model="b"), replace(LAYOUT, head_dim=8)):
        with pytest.raises(GenerationError, match="row comes from a session of another artifact"):
            Cache(other).put(kept)


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_that_does_not_exist_is_refused(row: int) -> None:
    cache = filled([3, 4])
    before = [contents(cache, other) for other in range(2)]
    for call in (
        lambda: cache.truncate(0, row),
        lambda: cache.take(row),
        lambda: cache.put(cache.take(0), row),
        lambda: cache.fork(2, row),
        lambda: cache.reorder([0, row]),
        lambda: cache.ids(row),
    ):
        with pytest.raises(GenerationError, match=f"row is {row}, expected 0 to 1"):
            call()
    with pytest.raises(GenerationError, match="reorder got no rows"):
        cache.reorder([])
    assert [contents(cache, other) for other in range(2)] == before
