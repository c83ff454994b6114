"""Rows of several users in one session: each comes, goes, moves and is stepped alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.cache.growing import Cache
from bitnet_onnx.runtime.cache.layout import CacheLayout
from bitnet_onnx.runtime.cache.moves import copy_row, part_of, settle, widened
from bitnet_onnx.runtime.session import Session

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8, 19, 63, 44]


@pytest.fixture
def session(pair: tuple[Path, Path]) -> Session:
    return Session(pair[1], threads=1)


def alone(session: Session, ids: list[int]) -> np.ndarray:
    session.reset()
    return session.prefill(ids)


@pytest.mark.parametrize("rows", [range(1), range(2), range(1, 3), range(2, 3)])
def test_some_neighbours_take_a_step(session: Session, rows: range) -> None:
    prompts = [IDS[: 3 + 4 * row] for row in range(3)]
    expected = [alone(session, prompts[row] + [row + 5]) for row in rows]
    lease = session.claim()
    lease.reset(3)
    lease.prefill_rows(prompts)
    for _ in range(2):  # the second time with buffers that are bound already
        logits = lease.decode([row + 5 for row in rows], rows)
        assert np.array_equal(logits, expected)
        for row in range(3):
            assert lease.ids(row) == prompts[row] + [row + 5] * (row in rows)
            lease.truncate(len(prompts[row]), row)
    with pytest.raises(GenerationError, match="decode got 3 ids, expected one for each of"):
        lease.decode([1, 2, 3], rows[:1] if len(rows) > 1 else range(2))


def test_ids_are_appended_without_logits(session: Session) -> None:
    expected = alone(session, IDS)
    lease = session.claim()
    lease.reset(2)
    lease.append(IDS[:6], 1)
    lease.append(IDS[6:-1], 1)
    assert lease.lengths == (0, len(IDS) - 1)
    assert np.array_equal(lease.prefill(IDS[-1:], 1), expected)
    with pytest.raises(GenerationError, match="the list of ids is empty"):
        lease.append([], 0)


@pytest.mark.parametrize("source", [0, 2])
def test_a_row_begins_as_another_one(session: Session, source: int) -> None:
    expected = alone(session, [*IDS[:5], 9])
    lease = session.claim()
    lease.reset(3)
    lease.prefill(IDS, source)
    lease.copy(source, 1, 5)
    assert lease.ids(1) == IDS[:5]
    assert np.array_equal(lease.prefill([9], 1), expected)
    assert lease.ids(source) == IDS
    part = lease.part(source, 2, 5)
    lease.fill(IDS[:2], lambda buffers: None, 1)  # what was there stays
    assert {buffer.shape[1] for buffer in part.values()} == {3}
    lease.truncate(0, 0)
    kept = {name: np.concatenate([lease.part(1, 0, 2)[name], part[name]], 1) for name in part}

    def write(buffers: object) -> None:
        for name, buffer in kept.items():
            buffers[name][:] = buffer  # type: ignore[index]

    lease.fill(IDS[:5], write, 0)
    assert np.array_equal(lease.prefill([9], 0), expected)


LAYOUT = CacheLayout(3, 2, 4, "int8", 20)


def filled() -> Cache:
    cache = Cache(LAYOUT, 3)
    cache.reserve(4)
    for value, buffer in enumerate(cache.buffers.values()):
        buffer[:] = value + 1
    cache.extend({0: np.arange(3), 2: np.arange(4) + 7})
    return cache


def test_a_cache_grows_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "BLOCK", 4)
    cache = filled()
    before = [part_of(cache, row, 0, length) for row, length in enumerate(cache.lengths)]
    assert not widened(cache, 0)
    for layer in range(3):
        assert cache.capacity == 4
        assert widened(cache, 1)
        for other in range(3):
            sizes = {b.shape[2] for n, b in cache.buffers.items() if n.startswith(f"{other}.")}
            assert sizes == {8 if other <= layer else 4}
    assert cache.capacity == 8
    assert not widened(cache, 4)
    for row, length in enumerate(cache.lengths):
        for name, buffer in part_of(cache, row, 0, length).items():
            assert np.array_equal(buffer, before[row][name])
    cache.append(np.array([1, 2, 3]))
    assert cache.ids(2) == [7, 8, 9, 10, 3]
    while widened(cache, 20):
        pass
    assert cache.capacity == LAYOUT.context_length


@pytest.mark.parametrize("positions", [3, 6, 9, 999])
def test_room_for_all_rows_is_written(monkeypatch: pytest.MonkeyPatch, positions: int) -> None:
    monkeypatch.setattr(growing, "BLOCK", 4)
    zeros = CacheLayout.zeros
    monkeypatch.setattr(CacheLayout, "zeros", lambda *args: zeros(*args) + 9)
    cache = filled()
    before = [part_of(cache, row, 0, length) for row, length in enumerate(cache.lengths)]
    settle(cache, positions)
    written = min(positions, LAYOUT.context_length)
    assert cache.capacity >= written
    for buffer in cache.buffers.values():
        assert (buffer[:, :, 4:written] == 0).all()
        assert (buffer[:, :, max(written, 4) :] == 9).all()
    for row, length in enumerate(cache.lengths):
        for name, buffer in part_of(cache, row, 0, length).items():
            assert np.array_equal(buffer, before[row][name])


def test_a_cache_that_is_half_grown_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "BLOCK", 4)
    for positions in (4, 5, 9, 20):
        cache = filled()
        cache.widen()
        cache.reserve(positions)
        copy_row(cache, 2, 1, 4)
        assert cache.ids(1) == cache.ids(2) == [7, 8, 9, 10]
        assert cache.capacity >= positions
        cache.reorder([1, 0])
        assert cache.ids(0) == [7, 8, 9, 10]


def test_steps_go_on_while_a_cache_grows(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "BLOCK", 16)
    expected = alone(session, [*IDS[:13], 4, 5])
    lease = session.claim()
    lease.reset(2)
    lease.prefill(IDS[:13], 0)
    assert lease.widen(8)
    lease.decode([4], range(1))
    assert np.array_equal(lease.decode([5], range(1))[0], expected)
