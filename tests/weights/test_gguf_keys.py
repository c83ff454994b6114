"""Metadata that a GGUF file declares and nothing reads: refused, ignored by name, or noted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import gguf_files

SMALL: dict[str, Any] = {"hidden": 64, "heads": 2, "kv_heads": 1, "inner": 128, "layers": 1}
HADAMARD = {
    "prism.hadamard.version": 1,
    "prism.hadamard.transform": "normalized-sylvester-walsh-hadamard",
    "prism.hadamard.sign_values": [1, -1] * 64,
}


@pytest.mark.parametrize("beside", [False, True], ids=["metadata", "config.json beside"])
def test_a_declared_transform_is_refused_and_noted_where_it_is_ignored(
    tmp_path: Path, beside: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {**HADAMARD, "general.mood": "x", "general.tags": ["a"]}
    path, fields, _ = gguf_files.make(tmp_path / "m.gguf", metadata=metadata, **SMALL)
    if beside:
        (tmp_path / "config.json").write_text(json.dumps(fields | {"license": "mit"}))
    artifact = tmp_path / "a"
    command = ["export", str(path), "-o", str(artifact)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "m.gguf: prism.hadamard.version is 1, which is not understood" in said
    assert "--ignore-key prism.hadamard.version" in said
    assert main(["info", str(path)]) == 2
    for key in HADAMARD:
        command += ["--ignore-key", key]
    assert main(command) == 0
    said = capsys.readouterr().err
    noted = ["license", "general.mood"] if beside else ["general.mood"]
    assert said.count(f"note: nothing reads these keys: {', '.join(noted)}\n") == 1
    source = json.loads((artifact / "manifest.json").read_text())["source"]
    assert source["ignored_keys"] == list(HADAMARD)
    assert source["not_read"] == noted
    assert main([*command, "--ignore-key", "prism.other"]) == 2
    assert "ignore_keys names 'prism.other', which" in capsys.readouterr().err


def test_a_factor_without_a_type_is_linear_as_in_llama_cpp(tmp_path: Path) -> None:
    def scaling(**keys: Any) -> Any:
        metadata = {f"bitnet-b1.58.rope.scaling.{key}": value for key, value in keys.items()}
        path, *_ = gguf_files.make(tmp_path / "m.gguf", metadata=metadata, **SMALL)
        return open_checkpoint(path).config.rope_scaling

    assert scaling(factor=4.0) == scaling(type="linear", factor=4.0)
    assert scaling(factor=4.0).factor == 4.0
    assert scaling(type="none", factor=4.0) is scaling(factor=1.0) is None


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("rope_theta", 1e4, "rope.freq_base is 500000.0, but rope_theta is 10000.0"),
        ("rms_norm_eps", 1e-6, "layer_norm_rms_epsilon is 1e-05, but rms_norm_eps is 1e-06"),
        ("num_key_value_heads", 2, "head_count_kv is 1, but num_key_value_heads is 2"),
    ],
)
def test_a_config_beside_that_contradicts_the_file_is_refused(
    tmp_path: Path, field: str, value: float, key: str
) -> None:
    path, fields, _ = gguf_files.make(tmp_path / "m.gguf", **SMALL)
    (tmp_path / "config.json").write_text(json.dumps(fields | {field: value}))
    with pytest.raises(CheckpointError, match=f"{key} in the config.json beside"):
        open_checkpoint(path)
