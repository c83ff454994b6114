"""A GGUF model in parts is that of one file; parts that do not fit together are refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.weights.gguf.container import GgufFile
from bitnet_onnx.weights.gguf.parts import part_names
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import gguf_files
from tests.support.gguf_files import SMALL

U16, I32 = gguf.GGUFValueType.UINT16, gguf.GGUFValueType.INT32


def name(number: int, count: int = 3) -> str:
    return f"m-{number:05}-of-{count:05}.gguf"


def write_part(path: Path, whole: GgufFile, tensors: list[str], split: dict[str, int]) -> None:
    """Write as llama-gguf-split does: all metadata in the first part, and ``split.*`` in each."""
    writer = gguf.GGUFWriter(path, "bitnet-b1.58")
    if split["no"]:
        writer.kv_data[0].clear()
    for key, value in whole.fields.items() if not split["no"] else ():
        if key != "general.architecture":
            gguf_files.add(writer, key, value)
    for key, value in split.items():
        kind = I32 if key == "tensors.count" else U16
        writer.add_key_value(f"split.{key}", value, kind)
    for tensor in tensors:
        info = whole.tensors[tensor]
        writer.add_tensor_info(
            tensor,
            info.shape,
            np.dtype(np.int8),
            info.size,
            raw_dtype=info.type,  # type: ignore[arg-type]  # a type that its list may lack
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        info = whole.tensors[tensor]
        writer.write_tensor_data(np.frombuffer(info.reader.data, np.int8, info.size, info.start))
    writer.close()


def make(folder: Path, changes: dict[int, dict[str, int]] | None = None, **options: Any) -> Path:
    """Write a model as ``whole.gguf`` and in three parts, the first of them without tensors."""
    folder.mkdir()
    path, *_ = gguf_files.make(folder.with_name("whole.gguf"), **{**SMALL, **options})
    whole = GgufFile(path)
    names = list(whole.tensors)
    for number, tensors in enumerate(([], names[:4], names[4:])):
        split = {"no": number, "count": 3, "tensors.count": len(names)}
        split |= (changes or {}).get(number, {})
        write_part(folder / name(number + 1), whole, tensors, split)
    return folder


@pytest.mark.parametrize("opened", [1, 2, 3, None])
def test_any_part_opens_the_whole(tmp_path: Path, opened: int | None) -> None:
    folder = make(tmp_path / "parts")
    found = open_checkpoint(folder if opened is None else folder / name(opened))
    whole = open_checkpoint(tmp_path / "whole.gguf")
    assert found.config == whole.config
    assert [path.name for path in found.files()] == [name(i) for i in (1, 2, 3)]
    assert found.path == folder / name(1)
    for linear in parts_of(whole.config).linears:
        for ours, theirs in zip(found.ternary(linear), whole.ternary(linear), strict=True):
            assert torch.equal(ours, theirs)
    for tensor in (*parts_of(whole.config).norms, *parts_of(whole.config).tables):
        assert torch.equal(found.tensor(tensor), whole.tensor(tensor))


def removed(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / name(number)).unlink()


def doubled(folder: Path) -> None:
    shutil.copy(folder / name(2), folder / name(3))


def swapped(folder: Path) -> None:
    (folder / name(2)).rename(folder / "x")
    (folder / name(3)).rename(folder / name(2))
    (folder / "x").rename(folder / name(3))


def renamed(folder: Path) -> None:
    for number in (1, 2, 3):
        shutil.copy(folder / name(number), folder / name(number, 4))
    shutil.copy(folder / name(3), folder / name(4, 4))


def damaged(folder: Path) -> None:
    content = (folder / name(3)).read_bytes()
    (folder / name(3)).write_bytes(content[: len(content) // 2])


WRONG: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda f: removed(f, 2), name(1), rf"lacks 1 of the 3 .*: {name(2)}"),
    "two missing": (
        lambda f: removed(f, 2, 3), name(1),
        rf"lacks 2 of the 3 parts of the model: {name(2)}, {name(3)}",
    ),
    "doubled": (doubled, name(1), rf"{name(3)}: split\.no is 1, but the file's name says 2"),
    "swapped": (swapped, name(3), rf"{name(2)}: split\.no is 2, but the file's name says 1"),
    "other count": (renamed, name(1, 4), r"split\.count is 3, but the file's name says 4"),
    "no such part": (
        lambda f: shutil.copy(f / name(3), f / name(4)), name(4), "is not among the 3 parts",
    ),
    "part 0": (lambda f: shutil.copy(f / name(1), f / name(0)), name(0), "is not among the 3"),
    "of 0": (lambda f: shutil.copy(f / name(1), f / name(1, 0)), name(1, 0), "is part of 0"),
    "alone": (
        lambda f: shutil.copy(f / name(1), f / "alone.gguf"), "alone.gguf",
        r"split\.count is 3, but the file's name says 1",
    ),
    "damaged": (damaged, name(1), rf"{name(3)}: \S+ lies at bytes"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_parts_that_do_not_fit_are_refused_by_name(tmp_path: Path, case: str) -> None:
    change, opened, message = WRONG[case]
    folder = make(tmp_path / "parts")
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder / opened)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({2: {"tensors.count": 99}}, r"split\.tensors\.count is not as in m-00001-of-00003"),
        ({i: {"tensors.count": 99} for i in range(3)}, r"split\.tensors\.count is 99, but"),
        ({1: {"count": 2}}, r"split\.count is 2, but the file's name says 3"),
        ({1: {"other": 2}}, r"split\.other is not as in m-00001-of-00003"),
    ],
)
def test_parts_that_disagree_are_refused_by_their_field(
    tmp_path: Path, changes: dict[int, dict[str, int]], message: str
) -> None:
    folder = make(tmp_path / "parts", changes)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "parts")
    whole = GgufFile(tmp_path / "whole.gguf")
    names = list(whole.tensors)
    split = {"no": 2, "count": 3, "tensors.count": len(names)}
    write_part(folder / name(3), whole, names[3:], split)
    with pytest.raises(CheckpointError, match=rf"{name(3)}: \S+ is in {name(2)} too"):
        open_checkpoint(folder)


def test_a_folder_of_two_models_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "parts")
    shutil.copy(tmp_path / "whole.gguf", folder / "whole.gguf")
    with pytest.raises(CheckpointError, match=r"holds 4 \.gguf files"):
        open_checkpoint(folder)
    for number in (2, 3):
        (folder / name(number)).unlink()
    with pytest.raises(CheckpointError, match=r"holds 2 \.gguf files"):
        open_checkpoint(folder)


@pytest.mark.parametrize("end", [".GGUF", ".Gguf"])
def test_a_name_in_capitals_opens(tmp_path: Path, end: str) -> None:
    path, *_ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    (tmp_path / "a").mkdir()
    renamed = path.rename(tmp_path / "a" / f"M{end}")
    assert open_checkpoint(renamed).files() == open_checkpoint(tmp_path / "a").files() == [renamed]


def test_one_part_of_one_is_a_whole(tmp_path: Path) -> None:
    path, *_ = gguf_files.make(tmp_path / name(1, 1), **SMALL)
    assert open_checkpoint(path).files() == [path]
    assert part_names("m-00002-of-00002.GGUF")[0] == "m-00001-of-00002.GGUF"
    assert part_names("m-2-of-2.gguf") == ["m-2-of-2.gguf"]
