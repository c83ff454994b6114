"""Long caches lie in huge pages as far as they fill them, and hold what they held."""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.runtime.cache import pages
from bitnet_onnx.runtime.cache.growing import BLOCK, Cache
from bitnet_onnx.runtime.cache.layout import LONG, CacheLayout
from bitnet_onnx.runtime.cache.pages import HUGE

LAYOUT = CacheLayout(1, 4, 128, "float16", 4 * LONG)
BUFFER = 4 * 128 * 2 * LONG  # bytes of the keys of so many positions; from 4 MB on NumPy asks
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"),
    reason="huge pages are asked for on Linux alone",
)


def asked_for() -> list[tuple[int, int]]:
    """The parts of this process's memory for which huge pages are asked."""
    found, part = [], (0, 0)
    with open("/proc/self/smaps", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if "-" in words[0]:
                begin, end = (int(word, 16) for word in words[0].split("-"))
                part = (begin, end)
            elif words[0] == "VmFlags:" and "hg" in words:
                found.append(part)
    return found


def total() -> int:
    """Bytes of them. NumPy asks for some, too, and the allocator hands freed ones on."""
    return sum(end - begin for begin, end in asked_for())


def overlap(buffer: np.ndarray) -> int:
    """Bytes of a buffer for which huge pages are asked."""
    begin = buffer.ctypes.data
    end = begin + buffer.nbytes
    return sum(max(0, min(end, b) - max(begin, a)) for a, b in asked_for())


@linux
@pytest.mark.parametrize("size", [HUGE - 4, HUGE, HUGE + 4, 2 * HUGE, 3 * HUGE - 4])
def test_whole_huge_pages_are_asked_for_and_no_byte_beyond_them(size: int) -> None:
    before = total()
    buffer = pages.zeros((size // 4,), "float32")
    assert (buffer.shape, buffer.dtype.name) == ((size // 4,), "float32")
    assert not buffer.any()
    buffer[:] = 1
    assert buffer.all()
    if size >= HUGE:
        assert buffer.ctypes.data % HUGE == 0
        assert overlap(buffer) == size // HUGE * HUGE
    assert total() - before == size // HUGE * HUGE


@linux
@pytest.mark.parametrize(
    ("static", "positions", "expected"),
    [
        (False, LONG, BUFFER),
        (False, LONG - BLOCK, 0),  # a short one would take much before it is filled
        (True, LONG, 0),  # as would a whole context
    ],
)
def test_caches_that_are_about_full_ask_for_them(
    static: bool, positions: int, expected: int
) -> None:
    cache, before = Cache(LAYOUT), total()
    cache.keeps_room = static
    cache.reserve(positions)
    assert total() - before == expected * len(cache.buffers)
    if expected:
        assert {overlap(buffer) for buffer in cache.buffers.values()} == {expected}


def test_growing_keeps_what_a_cache_holds() -> None:
    cache, random = Cache(LAYOUT), np.random.default_rng(0)
    held: dict[str, list[np.ndarray]] = {name: [] for name in cache.buffers}
    for _ in range(5):
        count = LONG // 2 - 3
        start = cache.lengths[0]
        cache.reserve(start + count)
        for name, buffer in cache.buffers.items():
            new = random.standard_normal((4, count, 128)).astype(np.float16)
            buffer[0, :, start : start + count] = new
            held[name].append(new)
        cache.extend({0: np.arange(count)})
    for name, buffer in cache.buffers.items():
        length = cache.lengths[0]
        np.testing.assert_array_equal(buffer[0, :, :length], np.concatenate(held[name], axis=1))
        assert not buffer[0, :, length:].any()
        assert buffer.flags.c_contiguous
        assert buffer.flags.writeable


def test_a_system_without_huge_pages_gives_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(mmap.mmap):
        def madvise(self, *_: Any) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Refusing)
    buffer = pages.zeros((HUGE,), "float32")
    assert buffer.shape == (HUGE,)
    assert not buffer.any()


def test_without_memory_the_error_is_that_of_numpy() -> None:
    with pytest.raises(MemoryError):
        pages.zeros((1 << 60,), "float32")
