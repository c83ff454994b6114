"""Damaged safetensors: each field of the header, the index and the scales; then random damages.

A damaged checkpoint is read completely, or refused in one sentence that names the file. It never
crashes or hangs, and takes at most twice the memory of its size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, mutate
from tests.support.paths import ROOT

Q = "model.layers.0.self_attn.q_proj"
UP, GATE = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
INDEX = "model.safetensors.index.json"
BITLINEAR = {"quant_method": "bitnet", "linear_class": "bitlinear"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoints.make(tmp_path / "c", **mutate.SMALL)


def refused(folder: Path, file: str = "model.safetensors") -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read_all(open_checkpoint(folder))
    message = str(caught.value)
    assert str(folder / file) in message
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------ the header


def split(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join(path: Path, header: dict[str, Any] | bytes, data: bytes, length: int = -1) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length < 0 else length
    path.write_bytes(length.to_bytes(8, "little") + text + data)


BEGIN, END, SIZE = "BEGIN", "END", "SIZE"  # stand for the tensor's offsets and the data's size
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "past the end": ({"data_offsets": [BEGIN, 1 << 40]}, "offset"),
    "at the end": ({"data_offsets": [SIZE, SIZE]}, "offset"),
    "swapped": ({"data_offsets": [END, BEGIN]}, f"offset for tensor `{Q}.weight`"),
    "too short": ({"data_offsets": [BEGIN, BEGIN]}, "offset"),
    "negative": ({"data_offsets": [-1, END]}, "-1"),
    "a fraction": ({"data_offsets": [0.5, END]}, "0.5"),
    "three offsets": ({"data_offsets": [BEGIN, END, END]}, "length 3"),
    "no offsets": ({"data_offsets": None}, "null"),
    "beyond 64 bits": ({"data_offsets": [BEGIN, 1 << 64]}, "1.8446744073709552e+19"),
    "huge count": ({"shape": [1 << 40, 1 << 10]}, "shape"),
    "count overflows": ({"shape": [1 << 63, 2]}, "overflow"),
    "both overflow": ({"shape": [(1 << 64) - 1, (1 << 64) - 1]}, "overflow"),
    "negative count": ({"shape": [-4, 16]}, "-4"),
    "shape is a text": ({"shape": "16"}, 'string "16"'),
    "other shape": ({"shape": [16, 4]}, rf"{Q}.weight has the shape [16, 4], expected [4, 16]"),
    "many axes": ({"shape": [4, 16] + [1] * 1000}, f"{Q}.weight has the shape"),
    "dtype unknown": ({"dtype": "U4"}, "variant `U4`"),
    "dtype in small letters": ({"dtype": "u8"}, "variant `u8`"),
    "dtype a number": ({"dtype": 3}, "integer `3`"),
    "dtype I8": ({"dtype": "I8"}, f"{Q}.weight is I8, expected uint8"),
    "dtype BOOL": ({"dtype": "BOOL"}, f"{Q}.weight is BOOL"),
    "dtype F8": ({"dtype": "F8_E4M3"}, f"{Q}.weight is F8_E4M3"),
    "dtype too wide": ({"dtype": "F64"}, "shape, data type, or offset"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_header_field_out_of_range_is_refused(folder: Path, case: str) -> None:
    changes, words = FIELDS[case]
    path = folder / "model.safetensors"
    header, data = split(path)
    begin, end = header[f"{Q}.weight"]["data_offsets"]
    places = {BEGIN: begin, END: end, SIZE: len(data)}
    for name, value in changes.items():
        if name == "data_offsets" and value is not None:
            value = [places.get(offset, offset) for offset in value]
        header[f"{Q}.weight"][name] = value
    join(path, header, data)
    assert words in refused(folder)


def test_overlapping_tensors_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    header[UP]["data_offsets"] = header[GATE]["data_offsets"]
    join(path, header, data)
    assert "invalid offset for tensor" in refused(folder)


@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets"])
def test_a_missing_header_field_is_refused(folder: Path, field: str) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    del header[f"{Q}.weight"][field]
    join(path, header, data)
    assert f"missing field `{field}`" in refused(folder)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 100_000_001, 1 << 40, 1 << 63, (1 << 64) - 1])
def test_a_header_length_out_of_range_is_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    join(path, *split(path), length)
    assert "is not a readable safetensors file" in refused(folder)


def test_bytes_outside_all_tensors_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    join(path, header, data + b"\0")
    assert "file not fully covered" in refused(folder)
    begin, end = header[f"{Q}.weight"]["data_offsets"]
    join(path, header, data[:begin] + b"\0" + data[begin:])
    assert "file not fully covered" in refused(folder)
    del header[f"{Q}.weight"]
    join(path, header, data)
    assert "invalid offset" in refused(folder)
    assert end > begin


def test_a_name_given_twice_in_a_header_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    again = {f"{Q}.weight": {**header[f"{Q}.weight"], "shape": [16, 4]}}
    join(path, (json.dumps(header)[:-1] + "," + json.dumps(again)[1:]).encode(), data)
    assert f"{Q}.weight has the shape [16, 4]" in refused(folder)


def test_control_characters_in_a_name_are_escaped(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    header["a\n\x1b[2Jb"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    join(path, header, data)
    assert r"'a\n\x1b[2Jb' is not a tensor of this network" in refused(folder)


def test_many_unknown_names_are_reported_in_one_sentence(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = split(path)
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    join(path, header | {f"x{i}": empty for i in range(50_000)}, data)
    assert "'x0' is not a tensor of this network (50000 such in all)" in refused(folder)


# ------------------------------------------------------------------------------------ the scales

SMALLEST_SUBNORMAL, TINY, MOST = 1e-45, 1.17549435e-38, 3.4028235e38
SCALES: dict[str, tuple[float, bool, str | None]] = {  # stored value, whether it divides, words
    "nan": (float("nan"), False, "holds a NaN or an infinity"),
    "infinite": (float("inf"), True, "holds a NaN or an infinity"),
    "zero": (0.0, False, "is 0.0, expected above 0"),
    "minus zero": (-0.0, True, "is -0.0, expected above 0"),
    "negative": (-0.5, False, "is -0.5, expected above 0"),
    "negative subnormal": (-SMALLEST_SUBNORMAL, True, "expected above 0"),
    "subnormal times": (SMALLEST_SUBNORMAL, False, "makes the multiplier 1.401298464324817e-45"),
    "largest subnormal times": (TINY * (1 - 2**-22), False, "makes the multiplier 1.175"),
    "smallest normal times": (TINY, False, None),
    "subnormal divides": (SMALLEST_SUBNORMAL, True, "makes the multiplier inf"),
    "largest float divides": (MOST, True, "makes the multiplier 2.93"),
    "largest float times": (MOST, False, None),
    "large divides": (8e37, True, None),
}


@pytest.mark.parametrize("case", SCALES)
def test_a_scale_must_give_a_finite_normal_multiplier(tmp_path: Path, case: str) -> None:
    stored, divides, words = SCALES[case]
    sizes = mutate.SMALL | ({"quantization_config": BITLINEAR} if divides else {})
    folder = tmp_path / "c"
    fields = checkpoints.config_fields(**mutate.SMALL)
    made = checkpoints.tensors(fields)
    made[f"{Q}.weight_scale"] = torch.tensor([stored])
    checkpoints.write(folder, checkpoints.config_fields(**sizes), made)
    checkpoint = open_checkpoint(folder)
    if words is None:
        checkpoint.allow_degenerate = True  # no trained network has such a scale
        multiplier = checkpoint.ternary(Q)[1]
        assert multiplier.isfinite().all()
        assert multiplier >= TINY
        return
    for read in (checkpoint.ternary, checkpoint.scale):
        with pytest.raises(CheckpointError) as caught:
            read(Q)
        message = str(caught.value)
        assert message.startswith(f"{folder / 'model.safetensors'}: {Q}.weight_scale ")
        assert words in message


def test_masters_whose_mean_overflows_are_refused(tmp_path: Path) -> None:
    fields = checkpoints.config_fields(packed=False, **mutate.SMALL)
    made = {name: tensor.float() for name, tensor in checkpoints.tensors(fields).items()}
    made[f"{Q}.weight"].fill_(3e38)
    path = checkpoints.write(tmp_path / "c", fields, made)
    checkpoint = open_checkpoint(path, allow_degenerate=True)
    for read in (checkpoint.ternary, checkpoint.scale):
        with pytest.raises(CheckpointError, match=rf"{Q}\.weight makes the multiplier inf"):
            read(Q)


# ------------------------------------------------------------------------------------- the shards


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return checkpoints.make(tmp_path / "c", shards=2, **mutate.SMALL)


def shard(number: int) -> str:
    return f"model-{number:05d}-of-00002.safetensors"


def change_index(folder: Path, **where: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= where
    (folder / INDEX).write_text(json.dumps(index))


def move(folder: Path, name: str, keep: bool) -> tuple[str, str]:
    """Copy or move a tensor to the other shard; return its old and its new shard."""
    parts: dict[str, dict[str, Tensor]] = {shard(i): load_file(folder / shard(i)) for i in (1, 2)}
    source, target = (shard(1), shard(2)) if name in parts[shard(1)] else (shard(2), shard(1))
    tensor = parts[source][name] if keep else parts[source].pop(name)
    parts[target][name] = tensor.clone()
    for file, part in parts.items():
        save_file(part, folder / file)
    return source, target


def test_a_tensor_in_two_shards_is_refused(sharded: Path) -> None:
    move(sharded, f"{Q}.weight", keep=True)
    assert f"holds the tensor '{Q}.weight', and so does {shard(1)}" in refused(sharded, shard(2))


def test_a_tensor_that_is_not_where_the_index_says_is_refused(sharded: Path) -> None:
    source, _ = move(sharded, f"{Q}.weight", keep=False)
    assert f"says that {source} holds the tensor '{Q}.weight'" in refused(sharded, INDEX)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("model-00003-of-00002.safetensors", "does not exist"),
        ("config.json", "is not a readable safetensors file"),
        (INDEX, "is not a readable safetensors file"),
        (".", "expected a plain name"),
        ("c/x.safetensors", "expected a plain name"),
    ],
)
def test_an_index_that_names_a_missing_or_foreign_file_is_refused(
    sharded: Path, file: str, words: str
) -> None:
    change_index(sharded, **{f"{Q}.weight": file})
    message = refused(sharded, INDEX if "plain" in words else file)
    assert file in message
    assert words in message


def test_an_index_may_name_a_tensor_that_the_network_does_not_need(sharded: Path) -> None:
    change_index(sharded, extra=shard(1))
    open_checkpoint(sharded)


# ------------------------------------------------------------------------------------ all of them


def run(*arguments: str | Path | int) -> str:
    """Run a Python program in another process, with this checkout's package and test helpers."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_random_damages_are_read_or_refused(tmp_path: Path) -> None:
    """The memory is limited; a checkpoint with a changed weight may be readable."""
    done = json.loads(run("-m", "tests.support.mutate", tmp_path, checkpoints.DAMAGES, 0))
    assert done["wrong"] == []
    assert done["read"] + done["refused"] == checkpoints.DAMAGES
    assert done["read"] > checkpoints.DAMAGES / 10
    assert done["refused"] > checkpoints.DAMAGES / 2


READ_LARGE = """
import sys
from pathlib import Path
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, mutate
checkpoints.read_all(open_checkpoint(Path(sys.argv[1])))  # makes torch load its parts
large = Path(sys.argv[2])
checkpoint = open_checkpoint(large)  # maps the file: address space without memory of its own
mutate.limit_memory((large / "model.safetensors").stat().st_size)
checkpoints.read_all(checkpoint)
"""


@pytest.mark.parametrize("packed", [True, False])
def test_reading_takes_at_most_twice_the_memory_of_the_file(
    folder: Path, tmp_path: Path, packed: bool
) -> None:
    """The mapped file itself counts once."""
    sizes: dict[str, Any] = {
        "hidden": 384,
        "heads": 6,
        "kv_heads": 2,
        "inner": 1024,
        "layers": 8,
        "vocab": 4096,
    }
    large = checkpoints.make(tmp_path / "large", packed=packed, **sizes)
    run("-c", READ_LARGE, folder, large)
