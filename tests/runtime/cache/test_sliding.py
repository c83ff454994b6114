"""A sliding cache frees what windows have passed, and makes the numbers of the dynamic cache."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.runtime.cache import growing, sliding
from bitnet_onnx.runtime.session import Session
from tests.support import maple

WINDOW = 6  # of two of three layers
PROMPT = [1 + 5 * i % 90 for i in range(300)]

pytestmark = pytest.mark.skipif(sliding.FREEING is None, reason="the system frees no single pages")


@pytest.fixture(scope="session", params=["float16", "int8"])
def windowed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maple.windowed(tmp_path_factory, request.param)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free positions as soon as the windows have passed them, and grow in small blocks."""
    monkeypatch.setattr(sliding, "KEPT", 2)
    monkeypatch.setattr(sliding, "EACH", 1)
    monkeypatch.setattr(growing, "BLOCK", 128)


def numbers(session: Session) -> list[np.ndarray]:
    found = [session.prefill(PROMPT).copy()]
    found += [session.decode([token]).copy() for token in PROMPT[:9]]
    session.fork(3)
    found.append(session.decode([6, 7, 8]).copy())
    session.reorder([2, 0, 0])
    found.append(session.decode([9, 9, 10]).copy())
    session.reorder([1, 0])
    found.append(session.decode([11, 12]).copy())
    session.truncate(session.lengths[0] - 2)
    found.append(session.prefill([4, 4]).copy())
    session.truncate(session.lengths[0], 1)
    session.reset(3)
    found.append(session.prefill_rows([PROMPT, PROMPT[:200], PROMPT[:5]]).copy())
    found += [session.decode([1, 2, 3]).copy() for _ in range(90)]
    found.append(np.concatenate(list(session.score(PROMPT[:80], 1))))
    return found


def test_the_numbers_are_those_of_the_dynamic_cache(windowed: Path) -> None:
    with Session(windowed, threads=1) as session:
        expected = numbers(session)
    with Session(windowed, threads=1, cache="sliding_window") as session:
        for ours, theirs in zip(numbers(session), expected, strict=True):
            assert ours.tobytes() == theirs.tobytes()
        assert min(session._steps.cache._state.freed) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux gives zeros for a freed page")
def test_the_pages_of_windowed_layers_are_free(windowed: Path) -> None:
    with Session(windowed, threads=1, cache="sliding_window") as session:
        session.prefill(PROMPT)
        session.decode([5])
        buffers = session._steps.cache.buffers
        for name, buffer in buffers.items():
            heads = buffer[0].reshape(*buffer.shape[1:3], -1)
            kept = [bool(heads[:, at].any()) for at in range(301)]
            page = mmap.PAGESIZE // heads[0, 0].nbytes
            if name.startswith("2."):  # the full layer
                assert all(kept)
            else:
                assert all(kept[301 - WINDOW - 2 :])
                assert sum(kept) <= WINDOW + 2 + 2 * page


def test_a_row_that_is_cut_before_a_window_becomes_empty_and_is_computed_anew(
    windowed: Path,
) -> None:
    with Session(windowed, threads=1, cache="sliding_window") as session:
        expected = session.prefill(PROMPT).copy()
        session.decode([5])
        freed = session._steps.cache._state.freed[0]
        session.truncate(freed + WINDOW - 1)
        assert session.lengths == (freed + WINDOW - 1,)
        session.truncate(freed + WINDOW - 2)
        assert session.lengths == (0,)
        assert session.prefill(PROMPT).tobytes() == expected.tobytes()


def test_a_row_with_freed_positions_is_not_kept_elsewhere(windowed: Path, tmp_path: Path) -> None:
    with Session(windowed, threads=1, cache="sliding_window") as session:
        session.prefill(PROMPT[:5])
        whole = session.take()
        session.prefill(PROMPT[5:])
        session.decode([5])
        for keep in (session.take, lambda: session.save(tmp_path / "row")):
            with pytest.raises(GenerationError, match=r"row 0 has freed .* of a sliding cache"):
                keep()
        session.put(whole)
        assert session.ids() == PROMPT[:5]
        found = session.prefill(PROMPT[5:]).copy()
    with Session(windowed, threads=1) as session:
        assert session.prefill(PROMPT).tobytes() == found.tobytes()


def test_where_it_saves_nothing_it_is_refused_with_the_reason(
    windowed: Path, demo_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GenerationError, match="'sliding_window', but no layer of the network has"):
        Session(demo_artifact, threads=1, cache="sliding_window")
    with pytest.raises(GenerationError, match="but ONNX Runtime's own operators read all"):
        Session(windowed, threads=1, custom_ops=False, cache="sliding_window")
    monkeypatch.setattr("bitnet_onnx.runtime.cache.kinds.FREEING", None)
    with pytest.raises(GenerationError, match="but this system does not take back"):
        Session(windowed, threads=1, cache="sliding_window")
