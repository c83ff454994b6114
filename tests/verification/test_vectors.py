"""The vectors of an artifact that embeds texts against torch, and what a difference shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import bitnet_onnx
from bitnet_onnx.errors import ArtifactError, ConfigError
from bitnet_onnx.verification.embedding import verify_embedding
from tests.support.embedding import networks as oracle

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3, mean": ("qwen3", {"pooling": "mean"}),
    "gemma3, stock": ("gemma3_text", {"target": "stock"}),
    "qwen3, int8 table": ("qwen3", {"head": "int8"}),
    "qwen3, float": ("float", {"linears": "int8"}),
}


def made(folder: Path, kind: str) -> Path:
    if kind == "float":
        return oracle.save_body(folder, *oracle.plain_body("qwen3"), quantization_config=None)
    return oracle.save_body(folder, *oracle.random_body(kind))


@pytest.mark.parametrize("case", CASES)
def test_artifact_and_torch_agree(tmp_path: Path, case: str) -> None:
    kind, options = CASES[case]
    folder = made(tmp_path / "c", kind)
    artifact = bitnet_onnx.export(folder, tmp_path / "a", **options)
    results = verify_embedding(folder, artifact)
    assert [len(result.text) for result in results] == [1, 7, 32]
    for result in results:
        assert result.agrees, result
        assert result.cosine_as_is > 1 - 1e-6
        assert result.first_difference is None


def test_a_changed_weight_is_found_where_it_acts(tmp_path: Path) -> None:
    folder = made(tmp_path / "c", "qwen3")
    artifact = bitnet_onnx.export(folder, tmp_path / "a")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["layers.1.mlp.up_proj.norm.weight"][5] *= 2
    save_file(tensors, file)
    results = verify_embedding(folder, artifact)
    assert not any(result.agrees for result in results)
    assert {result.first_difference for result in results} == {"model.layers.1.mlp.up_proj"}
    other = made(tmp_path / "d", "gemma3_text")
    with pytest.raises(ConfigError, match="num_hidden_layers is 2 in the artifact, expected 3"):
        verify_embedding(other, artifact)
    with pytest.raises(ArtifactError, match="is for embedding, expected an artifact for text-gen"):
        bitnet_onnx.verify(folder, artifact)
