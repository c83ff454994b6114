"""The exported folder: the graph, the stored bits, the manifest; and the refusals of export."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import BitNetError, CheckpointError, ConfigError
from bitnet_onnx.exporter import export as export_module
from bitnet_onnx.exporter.export import export
from bitnet_onnx.weights.checkpoint import folder as folder_module
from bitnet_onnx.weights.checkpoint.base import quantize
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import int8_rows, pack
from tests.support import checkpoints
from tests.support.artifacts import initializers

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return checkpoints.exported(tmp_path_factory, **checkpoints.TIED)


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return checkpoints.exported(tmp_path_factory, **checkpoints.UNTIED)


Pair = tuple[Path, Path]  # a checkpoint and its artifact


def dims(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


# --------------------------------------------------------------------------------------- graph


def test_the_graph_holds_exactly_the_operators_of_the_network(tied: Pair) -> None:
    _, folder = tied
    onnx.checker.check_model(str(folder / "model.onnx"))
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    assert {o.domain: o.version for o in model.opset_import} == {"": 23, "bitnet": 1}
    counts = Counter(node.op_type for node in model.graph.node)
    assert (counts["GroupQueryAttentionQKV"], counts["Split"]) == (2, 0)
    # after the last attention, what o and the residual sum read
    assert counts["Slice"] == 2
    # two layers, each with q, k and v in one node, and o; the first q, k and v follow no sum
    assert (counts["TernaryMatMul"], counts["TernaryNormMatMul"]) == (1, 3)
    assert counts["TernaryFeedForward"] == 2
    assert counts["Bf16MatMul"] == 1
    assert (counts["RMSNorm"], counts["AddRMSNorm"], counts["Add"]) == (1, 3, 1)
    assert not counts["Transpose"]  # it would fold a tied head into a second table
    used = {node.op_type for node in model.graph.node if node.domain == "bitnet"}
    assert used <= {function.name for function in model.functions}


def test_inputs_and_outputs_have_symbolic_dimensions(tied: Pair) -> None:
    graph = onnx.load(tied[1] / "model.onnx", load_external_data=False).graph
    found = {value.name: dims(value) for value in (*graph.input, *graph.output)}
    assert found.pop("input_ids") == ["batch_size", "sequence_length"]
    assert found.pop("attention_mask") == ["batch_size", "total_sequence_length"]
    assert found.pop("logits_to_keep") == [1]
    batch, kept, vocabulary = found.pop("logits")
    assert (batch, vocabulary) == ("batch_size", 96)
    assert isinstance(kept, str)
    for i in range(2):
        for kind in ("key", "value"):
            assert found.pop(f"past_key_values.{i}.{kind}") == [
                "batch_size", 2, "past_sequence_length", 16
            ]  # fmt: skip
            batch, heads, total, width = found.pop(f"present.{i}.{kind}")
            assert (batch, heads, width) == ("batch_size", 2, 16)
            assert isinstance(total, str)
    assert not found


def test_the_artifact_holds_no_metadata_and_no_path_of_this_machine(
    tied: Pair, untied: Pair
) -> None:
    for source, folder in (tied, untied):
        content = (folder / "model.onnx").read_bytes()
        package = Path(export_module.__file__).parent
        for path in (source, folder.parent, package, Path(torch.__file__).parent, Path.home()):
            assert str(path).encode() not in content
        assert b".py" not in content
        assert b"Traceback" not in content
        model = onnx.load_from_string(content)
        assert not model.metadata_props
        for node in model.graph.node:
            assert not node.metadata_props
            assert not node.doc_string
        for path in folder.glob("*.json"):
            assert str(folder.parent) not in path.read_text()


# ------------------------------------------------------------------------------------- weights


def test_the_stored_bits_are_those_of_the_checkpoint(tied: Pair) -> None:
    source, stored = open_checkpoint(tied[0]), initializers(tied[1])
    table = numpy_helper.to_array(stored[EMBEDDING])
    assert table.dtype == ml_dtypes.bfloat16
    expected = source.tensor(EMBEDDING).view(torch.uint16).numpy()
    np.testing.assert_array_equal(table.view(np.uint16), expected)
    assert HEAD not in stored
    assert sum(tensor.dims == [96, 64] for tensor in stored.values()) == 1
    name = "model.layers.1.self_attn.o_proj"
    codes, scale = source.ternary(name)
    np.testing.assert_array_equal(numpy_helper.to_array(stored[f"{name}.weight"]), pack(codes))
    np.testing.assert_array_equal(numpy_helper.to_array(stored[f"{name}.weight_scale"]), scale)
    norm = "model.layers.0.self_attn.attn_sub_norm.weight"
    np.testing.assert_array_equal(numpy_helper.to_array(stored[norm]), source.tensor(norm).float())


def test_an_untied_int8_head_is_stored_beside_the_embedding(untied: Pair) -> None:
    source, stored = open_checkpoint(untied[0]), initializers(untied[1])
    codes, scale = int8_rows(source.tensor(HEAD))
    np.testing.assert_array_equal(numpy_helper.to_array(stored[HEAD]), codes)
    np.testing.assert_array_equal(numpy_helper.to_array(stored[f"{HEAD}_scale"]), scale)
    table = numpy_helper.to_array(stored[EMBEDDING])
    expected = source.tensor(EMBEDDING).view(torch.uint16).numpy()
    np.testing.assert_array_equal(table.view(np.uint16), expected)
    assert stored["cos_cache"].dims == [40, 8]


@pytest.mark.parametrize("grouped", [False, True])
def test_each_master_is_quantized_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    if grouped:
        section = {"quant_method": "bitnet", "group_size": 128, "quantization_mode": "online"}
        checkpoints.make_grouped(tmp_path / "c")
        config = tmp_path / "c" / "config.json"
        config.write_text(
            json.dumps(json.loads(config.read_text()) | {"quantization_config": section})
        )
    else:
        checkpoints.make(tmp_path / "c", packed=False)
    calls: list[object] = []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return quantize(*arguments)

    monkeypatch.setattr(folder_module, "quantize", counted)
    source = open_checkpoint(tmp_path / "c", allow_degenerate=grouped)
    export(source, tmp_path / "a")
    assert len(calls) == len(source.parts.linears)


# -------------------------------------------------------------------------------------- folder


def test_the_manifest_describes_the_folder(tied: Pair, untied: Pair) -> None:
    artifact = Artifact.open(tied[1])
    artifact.check_hashes()
    manifest = artifact.manifest
    names = {path.name for path in tied[1].iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == names
    assert names >= {
        "model.onnx",
        "model.onnx_data",
        "model_last.onnx",
        "chat.json",
        "config.json",
        "checkpoint_config.json",
        "generation_config.json",
        "genai_config.json",
        "tokenizer.json",
    }
    weights = tied[0] / "model.safetensors"
    assert manifest["source"]["name"] == "checkpoint"
    found = manifest["source"]["files"]["model.safetensors"]
    assert found == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (manifest["head"], manifest["context_length"]) == ("bf16", 64)
    other = Artifact.open(untied[1]).manifest
    assert (other["head"], other["context_length"]) == ("int8", 40)
    assert len(other["source"]["files"]) == 3
    genai = json.loads((untied[1] / "genai_config.json").read_text())
    assert genai["model"]["context_length"] == 40


def test_two_exports_write_the_same_bytes(tied: Pair, tmp_path: Path) -> None:
    again = export(tied[0], tmp_path / "again")
    for name in ("model.onnx", "model.onnx_data", "model_last.onnx", "manifest.json"):
        assert (again / name).read_bytes() == (tied[1] / name).read_bytes(), name


# --------------------------------------------------------------------------------------- refuse


def nothing_left(folder: Path) -> bool:
    return sorted(path.name for path in folder.iterdir()) == ["c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"head": "int5"},
            "head is 'int5', expected one of: bf16, int8, int6, int4, float32, two-s",
        ),
        ({"head": "two-step-int5"}, "head is 'two-step-int5', expected one of: bf16, int8"),
        ({"context_length": 65}, "context_length is 65, expected 1 to 64"),
        ({"context_length": -1}, "context_length is -1"),
        ({"context_length": 0}, "context_length is 0"),
    ],
)
def test_a_wrong_option_is_refused_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    checkpoints.make(tmp_path / "c")
    with pytest.raises(ConfigError, match=message):
        export(tmp_path / "c", tmp_path / "out", **options)
    assert nothing_left(tmp_path)


def test_a_checkpoint_without_eos_exports(tmp_path: Path) -> None:
    checkpoints.make(tmp_path / "c", eos_token_id=None, bos_token_id=None, layers=1)
    folder = export(tmp_path / "c", tmp_path / "out")
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == []


def test_an_existing_output_folder_is_refused_and_unchanged(tied: Pair) -> None:
    before = {path: path.stat().st_mtime_ns for path in tied[1].iterdir()}
    with pytest.raises(ConfigError, match="exists and is not empty"):
        export(*tied)
    assert {path: path.stat().st_mtime_ns for path in tied[1].iterdir()} == before


@pytest.mark.parametrize("where", ["trace", "save", "save_last", "describe"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(28))])
def test_an_error_during_an_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    checkpoints.make(tmp_path / "c", layers=1)
    for skipped in {"trace", "attach_functions", "save", "save_last"} - {
        where
    }:  # each takes seconds
        monkeypatch.setattr(export_module, skipped, lambda *_: None)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(export_module, where, fail)
    expected = BitNetError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        export(tmp_path / "c", tmp_path / "out", passes=())
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert nothing_left(tmp_path)


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoints.make(tmp_path / "c", layers=1)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with pytest.raises(BitNetError, match="No space left on device") as caught:
            export(tmp_path / "c", disk / "out")
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_table_that_does_not_fit_bfloat16_is_refused(tmp_path: Path) -> None:
    fields = checkpoints.config_fields(layers=1)
    made = checkpoints.tensors(fields)
    made[EMBEDDING] = made[EMBEDDING].float()
    checkpoints.write(tmp_path / "c", fields, made)
    export(tmp_path / "c", tmp_path / "exact")  # float32 with values that fit bfloat16
    made[EMBEDDING][3, 5] = 1.0 + 2.0**-20
    checkpoints.write(tmp_path / "c", fields, made)
    with pytest.raises(CheckpointError, match=f"{EMBEDDING} is float32 and does not fit bfloat16"):
        export(tmp_path / "c", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"c", "exact"}
    wide = export(tmp_path / "c", tmp_path / "wide", head="float32")
    found = numpy_helper.to_array(initializers(wide)[EMBEDDING])
    np.testing.assert_array_equal(found, made[EMBEDDING])


def test_a_damaged_weight_found_while_writing_leaves_nothing(tmp_path: Path) -> None:
    fields = checkpoints.config_fields(layers=1)
    made = checkpoints.tensors(fields)
    made["model.layers.0.mlp.up_proj.weight"][3, 3] = 0xFF
    checkpoints.write(tmp_path / "c", fields, made)
    with pytest.raises(CheckpointError, match=r"up_proj\.weight holds the code 3"):
        export(tmp_path / "c", tmp_path / "out")
    assert nothing_left(tmp_path)
