"""A row in a file comes back as it was, in a session of its model alone, or is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bitnet_onnx.errors import BitNetError, ConfigError, GenerationError
from bitnet_onnx.runtime.cache import saved
from bitnet_onnx.runtime.cache.growing import Cache
from bitnet_onnx.runtime.cache.layout import CacheLayout
from bitnet_onnx.runtime.cache.saved import load_row, save_row
from bitnet_onnx.runtime.session import Session
from tests.support.sessions import interrupted

LAYOUT = CacheLayout(2, 3, 4, "int8", context_length=40, model="a" * 64)
SMALL = CacheLayout(1, 1, 2, "float16", context_length=40, model="a" * 8)


def filled(lengths: list[int], layout: CacheLayout = LAYOUT) -> Cache:
    """Fill rows with random numbers, also behind their ends."""
    random, cache = np.random.default_rng(sum(lengths)), Cache(layout, len(lengths))
    cache.reserve(max(lengths))
    for buffer in cache.buffers.values():
        buffer[:] = random.integers(-100, 100, buffer.shape)
    for row, length in enumerate(lengths):
        cache.extend({row: random.integers(0, 1000, length)})
    return cache


def contents(cache: Cache, row: int = 0) -> list[object]:
    length = cache.lengths[row]
    return [cache.ids(row), *(b[row, :, :length].tolist() for b in cache.buffers.values())]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int4"])
def test_a_row_comes_back_into_any_row(dtype: str, tmp_path: Path) -> None:
    layout, file = replace(LAYOUT, dtype=dtype), tmp_path / "row"
    cache, other = filled([7, 11], layout), filled([3, 13, 1], layout)
    untouched = [contents(other, 0), contents(other, 2)]
    for row, length in ((1, 11), (0, 7)):  # the second one replaces the file
        save_row(cache, file, row)
        load_row(other, file, 1)
        assert contents(other, 1) == contents(cache, row)
        assert other.lengths == (3, length, 1)
    assert [contents(other, 0), contents(other, 2)] == untouched
    assert os.listdir(tmp_path) == ["row"]


def test_an_empty_row_and_a_full_context_come_back(tmp_path: Path) -> None:
    for length in (0, 1, 40):
        save_row(filled([length]), tmp_path / "row")
        other = filled([5])
        load_row(other, tmp_path / "row")
        assert contents(other) == contents(filled([length]))


def test_other_programs_can_read_the_file(tmp_path: Path) -> None:
    cache = filled([7])
    save_row(cache, tmp_path / "row")
    tensors = load_file(tmp_path / "row")
    assert tensors.pop("ids").tolist() == cache.ids()
    assert set(tensors) == set(cache.buffers)
    for name, buffer in cache.buffers.items():
        np.testing.assert_array_equal(tensors[name], buffer[0, :, :7])
        assert tensors[name].dtype == buffer.dtype


def refused(cache: Cache, path: Path) -> str:
    """Return why a file is refused; the cache stays as it was."""
    before = contents(cache)
    with pytest.raises(GenerationError) as error:
        load_row(cache, path)
    assert contents(cache) == before
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "other",
    [{"model": "b" * 64}, {"num_layers": 1}, {"head_dim": 8}, {"dtype": "float16"}],
    ids=str,
)
def test_the_row_of_another_layout_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    save_row(filled([7]), tmp_path / "row")
    reason = "of another model" if "model" in other else "is damaged: its header"
    assert reason in refused(filled([5], replace(LAYOUT, **other)), tmp_path / "row")


def test_a_longer_row_than_the_context_is_refused(tmp_path: Path) -> None:
    save_row(filled([30]), tmp_path / "row")
    cache = filled([5], replace(LAYOUT, context_length=29))
    assert "holds 30 positions, expected at most the context of 29" in refused(
        cache, tmp_path / "row"
    )


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    file, cache = tmp_path / "row", filled([5], SMALL)
    save_row(filled([3], SMALL), file)
    good = file.read_bytes()
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert refused(cache, file)
    file.write_bytes(good)
    load_row(cache, file)


def test_every_other_length_is_refused(tmp_path: Path) -> None:
    file, cache = tmp_path / "row", filled([5], SMALL)
    save_row(filled([3], SMALL), file)
    good = file.read_bytes()
    for length in range(len(good)):
        file.write_bytes(good[:length])
        refused(cache, file)
    begins = 8 + int.from_bytes(good[:8], "little")
    for length in (begins, len(good) - 1):
        file.write_bytes(good[:length])
        assert f"has {length} bytes, expected {len(good)}" in refused(cache, file)
    for more in (b"\0", good):
        file.write_bytes(good + more)
        assert "it is truncated or was changed" in refused(cache, file)


def headed(text: bytes, rest: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + rest


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file, cache = tmp_path / "row", filled([5])
    about = {"format": saved.FORMAT, "model": LAYOUT.model}
    for content in (
        b"",
        b"{}",
        b"\xff" * 100,
        headed(b"{}"),
        headed(b"[" * 100_000),
        headed(b"\xff\xfe"),
        headed(b'{"__metadata__": 1}'),
        headed(b'{"__metadata__": {"format": "pt"}}', b"0" * 50),
    ):
        file.write_bytes(content)
        assert refused(cache, file) == f"{file} is not a prompt cache, expected {saved.FORMAT!r}"
    headers: list[dict[str, Any]] = [
        {},
        {"ids": 1},
        {"ids": {"shape": []}},
        {"ids": {"shape": [True]}},
        {"ids": {"shape": [-1]}},
        {"ids": {"shape": [1 << 70]}},
    ]
    for entries in headers:
        for crc in (None, "x", "-1", "0" * 8):
            text = json.dumps({"__metadata__": {**about, "crc32": crc}, **entries})
            file.write_bytes(headed(text.encode(), b"0" * 99))
            assert "is damaged: its header" in refused(cache, file)
    for positions in (-1, 1 << 70):  # headers as they would be written
        file.write_bytes(headed(saved._header(LAYOUT, positions, 0)))
        assert refused(cache, file)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    cache = filled([5])
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("none", "cannot be read: No such file"),
        ("pipe", "is not a file"),
        ("", "is not a file"),
        ("\0", "cannot be read: embedded null"),
    ):
        assert reason in refused(cache, tmp_path / name)


@pytest.mark.parametrize("path", [None, 3, ["a"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    for call in (save_row, load_row):
        with pytest.raises(GenerationError, match=r"prompt cache is .*, expected a path"):
            call(filled([5]), path)


def test_a_name_that_no_file_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made: embedded null byte"):
        save_row(filled([5]), tmp_path / "\0")


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = tmp_path / "row", filled([3])
    save_row(cache, file)
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="exists and is not empty"):
        save_row(cache, tmp_path)

    def full(part: np.ndarray) -> bytes:
        if part.dtype == np.int8:
            raise OSError(28, "No space left on device")
        return part.tobytes()

    monkeypatch.setattr(saved, "_checked", lambda parts: 0)
    monkeypatch.setattr(saved, "_bytes", full)
    with pytest.raises(BitNetError, match="failed: No space left"):
        save_row(filled([9]), file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["row"]


def test_an_interrupt_leaves_the_row_as_it_was(tmp_path: Path) -> None:
    file, layout = tmp_path / "row", replace(LAYOUT, num_layers=1, num_key_value_heads=1)
    save_row(filled([4], layout), file)
    cache, place = filled([6], layout), 0
    before, after = contents(cache), contents(filled([4], layout))
    while interrupted(partial(load_row, cache, file), place, "line"):
        assert contents(cache) in (before, after)
        cache, place = filled([6], layout), place + 1
    assert contents(cache) == after
    assert place > 50


@pytest.mark.parametrize("save", ["save", "truncated"])
def test_a_second_session_goes_on_from_the_file(
    save: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The logits are those of a session that computed the ids, to the bit."""
    ids = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50]
    with Session(pair[1], threads=1) as session, Session(pair[1], threads=1) as other:
        session.prefill(ids)
        expected: list[Callable[[Session], np.ndarray]] = [
            lambda s: s.prefill([31, 8]),
            lambda s: s.decode([7]).copy(),
        ]
        session.save(tmp_path / "row")
        other.load(str(tmp_path / "row"))
        assert (other.ids(), other.lengths) == (ids, (10,))
        for s in (session, other):
            if save == "truncated":
                s.truncate(4)
        for step in expected:
            np.testing.assert_array_equal(step(session), step(other))
