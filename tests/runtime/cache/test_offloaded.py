"""A cache in files makes the numbers of the one in memory, and leaves no file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitnet_onnx.errors import GenerationError
from bitnet_onnx.runtime.cache import growing
from bitnet_onnx.runtime.session import Session

PROMPT = [3 + 7 * i % 90 for i in range(30)]
CACHES = ("static", "offloaded", "offloaded_static")


def numbers(session: Session) -> list[np.ndarray]:
    """Return logits of steps of every kind, over rows that grow, are cut, copied and reordered."""
    found = [session.prefill(PROMPT).copy(), session.decode([5]).copy()]
    session.fork(3)
    found.append(session.decode([6, 7, 8]).copy())
    session.reorder([2, 0, 0])
    found.append(session.decode([9, 9, 10]).copy())
    session.truncate(20, 1)
    found.append(session.prefill(PROMPT[20:], 1).copy())
    session.reset(2)
    found.append(session.prefill_rows([PROMPT, PROMPT[:11]]).copy())
    found.append(session.decode([1, 2]).copy())
    return found


def files() -> set[str]:
    """Return the files that this process maps or has open, by name."""
    maps = Path("/proc/self/maps").read_text("utf-8").split()
    return {name for name in maps if "bitnet-onnx-" in name or "/#" in name}


def test_the_numbers_are_those_of_the_dynamic_cache(
    demo_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BLOCK", 16)
    with Session(demo_artifact, threads=1) as session:
        expected = numbers(session)
    for cache in CACHES:
        options: dict[str, Any] = {"cache_dir": tmp_path} if cache != "static" else {}
        with Session(demo_artifact, threads=1, cache=cache, **options) as session:
            for ours, theirs in zip(numbers(session), expected, strict=True):
                assert ours.tobytes() == theirs.tobytes()
            assert session.cache_implementation == cache
            assert (session._steps.cache.capacity == 512) is cache.endswith("static")
        assert session._steps.cache.capacity == 0
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_the_file_lies_where_it_is_asked_for_and_ends_with_the_session(
    demo_artifact: Path, tmp_path: Path
) -> None:
    with Session(demo_artifact, threads=1, cache="offloaded", cache_dir=str(tmp_path)) as session:
        session.prefill(PROMPT)
        assert any(name.startswith(str(tmp_path)) for name in files())
        kept = session.take()
        assert kept.ids.tolist() == PROMPT
    assert not any(name.startswith(str(tmp_path)) for name in files())


def test_a_static_cache_keeps_its_room_when_it_begins_anew(
    demo_artifact: Path, tmp_path: Path
) -> None:
    with Session(demo_artifact, threads=1) as session:
        expected = session.prefill(PROMPT).copy()
    for cache in ("static", "offloaded_static"):
        with Session(demo_artifact, threads=1, cache=cache) as session:
            session.prefill(PROMPT[::-1])
            place = session._steps.cache.place
            session.reset()
            assert session.lengths == (0,)
            assert session._steps.cache.place is place
            assert session.prefill(PROMPT).tobytes() == expected.tobytes()
            session.reset(2)
            assert session._steps.cache.capacity == 512
            assert session._steps.cache.place is not place


def test_a_disk_without_room_is_an_error_and_the_cache_stays(
    demo_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "BLOCK", 16)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Session(demo_artifact, threads=1, cache="offloaded", cache_dir=tmp_path) as session:
        session.prefill(PROMPT[:10])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full, raising=False)
            with pytest.raises(GenerationError, match=r"bytes in .*: No space left") as caught:
                session.prefill(PROMPT[10:])
        assert "--cache-dir" in str(caught.value.hint)
        assert session.ids() == PROMPT[:10]
        again = session.prefill(PROMPT[10:])
    with Session(demo_artifact, threads=1) as session:
        assert again.tobytes() == session.prefill(PROMPT).tobytes()


def test_room_is_taken_by_writing_where_the_system_has_no_call_for_it(
    demo_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with Session(demo_artifact, threads=1, cache="offloaded", cache_dir=tmp_path) as session:
        found = session.prefill(PROMPT)
    with Session(demo_artifact, threads=1) as session:
        assert found.tobytes() == session.prefill(PROMPT).tobytes()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"cache": "offloaded", "cache_dir": "/no/such"},
            "/no/such, which cannot be made",
        ),
        ({"cache": "offloaded", "cache_dir": "\0"}, "which cannot be made: embedded null byte"),
        ({"cache": "offloaded", "cache_dir": 3}, "cache_dir is 3, expected a path"),
        ({"cache_dir": "x"}, "cache_dir is 'x' for a dynamic cache, expected an offloaded cache"),
        ({"cache": "paged"}, "cache is 'paged', expected one of"),
        ({"cache": ["static"]}, r"cache is \['static'\], expected one of"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], reason: str, demo_artifact: Path
) -> None:
    with (
        pytest.raises(GenerationError, match=reason),
        Session(demo_artifact, threads=1, **options) as session,
    ):
        session.prefill(PROMPT)
