"""Weights that only a damaged file has are refused by tensor and rows; published ones pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.weights.checkpoint.base import Checkpoint
from bitnet_onnx.weights.degenerate import few_magnitudes, of_linear, of_norm, of_table
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.synthesize import synthesize
from tests.support import checkpoints, gguf_files

SIZES: dict[str, Any] = {"hidden": 64, "inner": 192, "layers": 1, "vocab": 512}
UP = "model.layers.0.mlp.up_proj"
Q = "model.layers.0.self_attn.q_proj"
NORM, TABLE = "model.norm.weight", "model.embed_tokens.weight"
FORMS = ("packed", "codes as floats", "masters", "gguf")


Change = Callable[[dict[str, Tensor]], None]


def rows(name: str, start: int, end: int, value: float) -> Change:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name][start:end] = value

    return change


def each(name: str, places: tuple[slice, ...], value: float) -> Change:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name][places] = value

    return change


def repeated(name: str, step: int) -> Change:
    """Put the first row in each ``step``-th place."""

    def change(tensors: dict[str, Tensor]) -> None:
        tensors[name][::step] = tensors[name][0].clone()

    return change


# What is done to the masters, and the sentence.
DAMAGE: dict[str, tuple[Change, str]] = {
    "a linear of zeros": (rows(f"{UP}.weight", 0, 192, 0), f"{UP}.weight holds only zeros"),
    "rows of zeros": (
        rows(f"{UP}.weight", 100, 192, 0),
        f"{UP}.weight holds only zeros in the rows 100 to 191",
    ),
    "more rows of zeros than a head": (
        rows(f"{Q}.weight", 20, 50, 0),
        f"{Q}.weight holds only zeros in the rows 20 to 49",
    ),
    "a linear of one code": (
        rows(f"{UP}.weight", 0, 192, -0.1),
        f"{UP}.weight holds only one value each in the rows 0 to 191",
    ),
    "rows of one code": (
        rows(f"{UP}.weight", 10, 20, 0.1),
        f"{UP}.weight holds only one value each in the rows 10 to 19",
    ),
    "every second row of zeros": (
        each(f"{UP}.weight", (slice(None, None, 2),), 0),
        f"{UP}.weight holds only zeros in 96 of 192 rows, the first of which is 0",
    ),
    "a quarter of the columns zeros": (
        each(f"{UP}.weight", (slice(None), slice(48, None)), 0),
        f"{UP}.weight holds only zeros in the columns 48 to 63",
    ),
    "every second column of zeros": (
        each(f"{UP}.weight", (slice(None), slice(1, None, 2)), 0),
        f"{UP}.weight holds only zeros in 32 of 64 columns, the first of which is 1",
    ),
    "columns of one code": (
        each(f"{UP}.weight", (slice(None), slice(None, None, 8)), 0.1),
        f"{UP}.weight holds only one value each in 8 of 64 columns, the first of which is 0",
    ),
    "one row again and again": (
        repeated(f"{Q}.weight", 1),
        f"{Q}.weight holds the same numbers in the rows 0 to 63",
    ),
    "every second row the same": (
        repeated(f"{Q}.weight", 2),
        f"{Q}.weight holds the same numbers in 32 of 64 rows, the first of which is 0",
    ),
    "a norm of zeros": (rows(NORM, 0, 64, 0), f"{NORM} holds zeros in the numbers 0 to 63"),
    "a norm with zeros at its end": (
        rows(NORM, 30, 64, 0),
        f"{NORM} holds zeros in the numbers 30 to 63",
    ),
    "a norm with many zeros": (
        each(NORM, (slice(None, None, 3),), 0),
        f"{NORM} holds zeros in 22 of 64 numbers",
    ),
    "a norm of large numbers": (rows(NORM, 0, 64, 1e30), f"{NORM} holds 1e\\+30 at most"),
    "a norm of small numbers": (rows(NORM, 0, 64, 1e-30), f"{NORM} holds 9.98e-31 at most"),
    "a table of zeros": (rows(TABLE, 0, 512, 0), f"{TABLE} holds the same numbers in the rows 0"),
    "a table with every second row the same": (
        repeated(TABLE, 2),
        f"{TABLE} holds the same numbers in 256 of 512 rows",
    ),
    "a table with columns of zeros": (
        each(TABLE, (slice(None), slice(32, None)), 0),
        f"{TABLE} holds only one value each in the columns 32 to 63",
    ),
    "a table with zeros at its end": (
        rows(TABLE, 300, 512, 0),
        f"{TABLE} holds the same numbers in the rows 300 to 511",
    ),
    "a table of equal rows": (
        rows(TABLE, 5, 400, 0.25),
        f"{TABLE} holds the same numbers in the rows 5 to 399",
    ),
}


def make(folder: Path, form: str, change: Change) -> Path:
    """Write a checkpoint of changed masters in one of the forms."""
    fields = checkpoints.config_fields(packed=form != "masters", **SIZES)
    tensors = checkpoints.masters(fields, seed=0)
    change(tensors)
    folder.mkdir(exist_ok=True)
    if form == "gguf":
        return gguf_files.write(folder / "m.gguf", fields, tensors)
    if form != "masters":
        for name in checkpoints.linears(fields):
            master = tensors[name]
            tensors[name], tensors[f"{name}_scale"] = checkpoints.publish(master)
            if form == "codes as floats":
                mean = master.float().abs().mean().clamp(min=1e-5)
                tensors[name] = (master.float() / mean).round().clamp(-1, 1).bfloat16()
    return checkpoints.write(folder, fields, tensors)


def everything(checkpoint: Checkpoint) -> None:
    checkpoints.read_all(checkpoint)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_only_a_damaged_file_has_is_refused(tmp_path: Path, form: str, damage: str) -> None:
    change, message = DAMAGE[damage]
    path = make(tmp_path / "c", form, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        everything(open_checkpoint(path))
    assert str(path) in str(caught.value)
    assert "--allow-degenerate" in (caught.value.hint or "")
    everything(open_checkpoint(path, allow_degenerate=True))


# The last tensor differs: safetensors puts uint8 tensors last, these GGUF files the table, of which
# a few rows of zeros would be the padding of a vocabulary.
@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
@pytest.mark.parametrize("form", FORMS)
def test_zeros_at_the_end_of_a_file_of_full_length_are_refused(
    tmp_path: Path, form: str, share: float
) -> None:
    path = make(tmp_path / "c", form, lambda _: None)
    file = path if form == "gguf" else path / "model.safetensors"
    content = file.read_bytes()
    size = int(len(content) * share)
    file.write_bytes(content[:-size] + bytes(size))
    with pytest.raises(CheckpointError, match=r"which no trained network has|expected .* above 0"):
        everything(open_checkpoint(path))


def test_the_commands_refuse_and_allow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "c", "packed", DAMAGE["rows of zeros"][0])
    command = ["export", str(path), "-o", str(tmp_path / "a")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "up_proj.weight holds only zeros in the rows 100 to 191" in said
    assert "hint: download the file again" in said
    assert not (tmp_path / "a").exists()
    assert main([*command, "--allow-degenerate"]) == 0
    check = ["verify", str(path), str(tmp_path / "a"), "--prompt-ids", "1,2",
             "--max-new-tokens", "2"]  # fmt: skip
    assert main(check) == 2
    assert "holds only zeros" in capsys.readouterr().err
    assert main([*check, "--allow-degenerate"]) == 0


def random_codes(rows: int, features: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(-1, 2, (rows, features), generator=random, dtype=torch.int8)


def test_what_published_checkpoints_hold_passes() -> None:
    codes = random_codes(1024, 256)
    codes[::7] = 0  # dead neurons
    codes[100:228] = 0  # a pruned head
    assert of_linear(codes, head_dim=128) is None
    assert "rows 100 to 227" in (of_linear(codes, head_dim=0) or "")
    table = torch.randn(131072, 4)
    table[:2024] = 0.5  # the reserved tokens of Falcon3
    table[-434:] = 0  # the padding of a TriLM
    assert of_table(table) is None
    table[1000:5100] = 1.0
    assert "rows 1000 to 5099" in (of_table(table) or "")
    keys = random_codes(128, 256).repeat(8, 1)  # copied to eight times as many heads
    assert of_linear(keys, head_dim=128) is None
    assert "holds 1e+07 at most" in (of_table(torch.full((1, 4), 1e7)) or "")
    small = torch.randn(832, 4)
    small[-127:] = 0.5  # padded to a multiple of 128
    assert of_table(small) is None
    small[-64:] = 0
    assert of_table(small) is None
    small[-66:] = 0
    assert "rows 766 to 831" in (of_table(small) or "")
    norm = torch.ones(64)
    norm[:16] = 0
    assert of_norm(norm) is None
    assert of_norm(torch.ones(64)) is None


def test_masters_that_are_quantized_already_are_known() -> None:
    codes = random_codes(64, 256).float()
    scales = torch.rand(4, 1).repeat_interleave(16, 0)
    assert few_magnitudes(codes * 0.03)
    assert few_magnitudes((codes * scales).half())
    assert few_magnitudes(codes * torch.cat([torch.full((256 // 4,), s) for s in (1, 2, 3, 5)]))
    assert not few_magnitudes(torch.randn(64, 256).bfloat16() * 0.02)


def test_a_damaged_tail_is_found_in_shards(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", "masters", lambda _: None)
    tensors = load_file(folder / "model.safetensors")
    tensors[f"{UP}.weight"][64:] = 0
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="rows 64 to 191"):
        open_checkpoint(folder).tensor(f"{UP}.weight")


@pytest.mark.parametrize("value", [1e30, 1e-30])
def test_a_scale_that_no_training_gives_is_refused(tmp_path: Path, value: float) -> None:
    folder = make(tmp_path / "c", "packed", lambda _: None)
    tensors = load_file(folder / "model.safetensors")
    tensors[f"{UP}.weight_scale"][:] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"the scale of {UP} holds 1e.*30 at most"):
        open_checkpoint(folder).ternary(UP)


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
def test_a_synthesized_checkpoint_passes(tmp_path: Path, zeros: float) -> None:
    path = synthesize("100m", tmp_path / "c", layers=1, ffn_zeros=zeros)
    everything(open_checkpoint(path))
