"""``pytorch_model.bin`` is read as tensors only: the same weights, and no code of a file runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints

SMALL: dict[str, Any] = {"hidden": 32, "heads": 2, "kv_heads": 1, "inner": 48, "layers": 1}
BIN = "pytorch_model.bin"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_pickled_weights_are_the_same_network(
    tmp_path: Path, zipped: bool, shards: int, packed: bool
) -> None:
    sizes = {**SMALL, "shards": shards, "packed": packed}
    safe = open_checkpoint(checkpoints.make(tmp_path / "s", **sizes))
    folder = checkpoints.make(tmp_path / "b", **sizes)
    checkpoints.pickle_weights(folder, _use_new_zipfile_serialization=zipped)
    found = open_checkpoint(folder)
    assert all(path.suffix == ".bin" for path in found.files()[1:])
    for name in found.parts.linears:
        for tensor, expected in zip(found.ternary(name), safe.ternary(name), strict=True):
            assert torch.equal(tensor, expected)
    for name in (*found.parts.norms, *found.parts.tables):
        assert torch.equal(found.tensor(name), safe.tensor(name))


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    (folder / BIN).write_bytes(b"?")
    assert [path.name for path in open_checkpoint(folder).files()][1:] == ["model.safetensors"]


def test_a_transposed_tensor_is_read_in_its_order(tmp_path: Path) -> None:
    folder = checkpoints.make(tmp_path / "c", packed=False, **SMALL)
    name = "model.layers.0.self_attn.o_proj.weight"
    expected = open_checkpoint(folder).tensor(name)
    checkpoints.pickle_weights(folder)
    tensors = torch.load(folder / BIN, weights_only=True)
    tensors[name] = tensors[name].T.contiguous().T
    torch.save(tensors, folder / BIN)
    assert torch.equal(open_checkpoint(folder).tensor(name), expected)


class Runs:
    """An object whose unpickling runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def damaged(kind: str, folder: Path) -> None:
    path = folder / BIN
    content = path.read_bytes()
    match kind:
        case "code":
            torch.save({"x": Runs(folder / "ran")}, path)
        case "code in a plain pickle":
            path.write_bytes(pickle.dumps({"x": Runs(folder / "ran")}))
        case "a list":
            torch.save([torch.ones(1)], path)
        case "a number":
            torch.save({"x": 3}, path)
        case "a sparse tensor":
            torch.save({"x": torch.ones(2, 2).to_sparse()}, path)
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(bytes(range(256)) * 8)
        case "only a zip":
            path.write_bytes(b"PK\x03\x04" + bytes(100))


@pytest.mark.parametrize(
    "kind",
    ["code", "code in a plain pickle", "a list", "a number", "a sparse tensor", "cut", "empty",
     "garbage", "only a zip"],
)  # fmt: skip
def test_another_pickle_is_refused_in_one_sentence(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoints.make(tmp_path / "c", **SMALL)
    checkpoints.pickle_weights(folder)
    damaged(kind, folder)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin") as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "ran").exists()
    assert main(["export", str(folder), "-o", str(tmp_path / "a")]) == 2
    assert "Traceback" not in capsys.readouterr().err
