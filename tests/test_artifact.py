"""The manifest: every changed, missing or added field, and every damaged file, is noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx import artifact as artifact_module
from bitnet_onnx.artifact import Artifact, write_manifest
from bitnet_onnx.errors import ArtifactError

FIELDS = {
    "operator_domain_version": 1,
    "task": "text-generation",
    "network": "bitnet",
    "target": "native",
    "head": "bf16",
    "kv_cache": "float32",
    "context_length": 64,
    "vocab_size": 96,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "source": {"name": "tiny", "files": {}},
    "tools": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "model.onnx_data").write_bytes(bytes(5000))
    (folder / "config.json").write_bytes(b"{}")
    write_manifest(folder, FIELDS)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_written_artifact_reads_back(folder: Path) -> None:
    artifact = Artifact.open(folder)
    assert artifact.model_path == folder / "model.onnx"
    assert artifact.data_size == 5000
    assert (artifact.context_length, artifact.head, artifact.head_dim) == (64, "bf16", 16)
    assert set(artifact.manifest["files"]) == {"model.onnx", "model.onnx_data", "config.json"}
    artifact.check_hashes()


def test_an_artifact_of_version_1_is_read(folder: Path) -> None:
    """bitnet_onnx 0.1.0 wrote version 1; a test of ``runtime`` generates from such a folder."""
    (folder / "model.onnx_data").rename(folder / "model.onnx.data")
    (folder / "manifest.json").unlink()
    write_manifest(folder, FIELDS)
    edit(folder, lambda manifest: manifest.update(format_version=1))
    with pytest.raises(ArtifactError, match="network is unknown"):
        Artifact.open(folder)
    edit(folder, lambda manifest: (manifest.pop("network"), manifest.pop("task")))
    artifact = Artifact.open(folder)
    assert artifact.data_size == 5000
    assert artifact.config_path == folder / "config.json"
    assert artifact.manifest["task"] == "text-generation"


@pytest.mark.parametrize("field", [*FIELDS, "format_version", "files"])
def test_a_missing_field_is_named(folder: Path, field: str) -> None:
    edit(folder, lambda manifest: manifest.pop(field))
    with pytest.raises(ArtifactError, match=rf"manifest\.json.*\b{field}\b"):
        Artifact.open(folder)


def test_an_unknown_field_is_named(folder: Path) -> None:
    edit(folder, lambda manifest: manifest.update(compression="zip"))
    with pytest.raises(ArtifactError, match="compression is unknown"):
        Artifact.open(folder)


FILES: list[Any] = [None, [], {}, {"model.onnx": {"size": 5, "sha256": ""}}]
VERSIONS: list[Any] = [2, "1", None, {}]
WRONG: list[tuple[str, Any]] = [
    *[("format_version", v) for v in (3, 0, "1", None, [1], 1.5, True)],
    *[("operator_domain_version", v) for v in VERSIONS],
    *[("target", v) for v in ("web", 1, ["native"])],
    *[("head", v) for v in ("int3", None, {"type": "bf16"})],
    *[("context_length", v) for v in (0, -1, 64.0, "64", True, 1 << 31, None)],
    ("vocab_size", 0),
    ("num_hidden_layers", [2]),
    ("num_key_value_heads", "1"),
    ("head_dim", 16.5),
    *[("files", v) for v in FILES],
    *[("source", v) for v in (None, "tiny")],
    ("tools", []),
    ("task", "embedding"),
    ("network", 3),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_value_is_named(folder: Path, field: str, value: Any) -> None:
    edit(folder, lambda manifest: manifest.update({field: value}))
    with pytest.raises(ArtifactError, match=rf"manifest\.json.*\b{field}\b"):
        Artifact.open(folder)


ENTRY = {"size": 2, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("../outside", ENTRY),
        ("/etc/passwd", ENTRY),
        ("sub/file", ENTRY),
        ("..", ENTRY),
        (".", ENTRY),
        ("", ENTRY),
        ("a\0b", ENTRY),
        ("sub\\file", ENTRY),
        ("C:file", ENTRY),
        ("file:stream", ENTRY),
        ("config.json", None),
        ("config.json", 2),
        ("config.json", {"size": 2}),
        ("config.json", {**ENTRY, "mode": 7}),
        ("config.json", {**ENTRY, "size": "2"}),
        ("config.json", {**ENTRY, "size": True}),
        ("config.json", {**ENTRY, "sha256": 5}),
    ],
)
def test_a_wrong_file_entry_is_refused(folder: Path, name: str, entry: Any) -> None:
    edit(folder, lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(ArtifactError):
        Artifact.open(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b"null", b"1", b"[" * 100_000, b"1" * 5000]
)
def test_a_damaged_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        Artifact.open(folder)


def test_a_missing_folder_manifest_or_file_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="is not an artifact folder") as caught:
        Artifact.open(folder / "nowhere")
    assert caught.value.hint
    (folder / "config.json").unlink()
    with pytest.raises(ArtifactError, match=r"config\.json does not exist"):
        Artifact.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist") as caught:
        Artifact.open(folder)
    assert caught.value.hint


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_refused(folder: Path, make: Callable[[Path], None]) -> None:
    """A pipe would be read for ever."""
    make(folder / "odd")
    entry = {"size": (folder / "odd").stat().st_size, "sha256": "0" * 64}
    edit(folder, lambda manifest: manifest["files"].update(odd=entry))
    with pytest.raises(ArtifactError, match="odd is not a file but is in the manifest"):
        Artifact.open(folder)


def test_a_truncated_data_file_is_refused(folder: Path) -> None:
    os.truncate(folder / "model.onnx_data", 4999)
    with pytest.raises(ArtifactError, match=r"model\.onnx_data has 4999 bytes, expected 5000 as"):
        Artifact.open(folder)


def test_a_corrupt_small_file_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"grapg")
    with pytest.raises(ArtifactError, match=r"model\.onnx is corrupt"):
        Artifact.open(folder)


def test_check_hashes_finds_a_flipped_byte_in_a_large_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``open`` does not hash large files: that would double the load time."""
    monkeypatch.setattr(artifact_module, "HASHED_AT_OPEN", 1000)
    with (folder / "model.onnx_data").open("r+b") as file:
        file.seek(2500)
        file.write(b"\x01")
    artifact = Artifact.open(folder)
    with pytest.raises(ArtifactError, match=r"model\.onnx_data is corrupt"):
        artifact.check_hashes()


def test_the_fingerprint_is_that_of_graph_and_weights(folder: Path) -> None:
    """Cached rows of folders with one fingerprint are exchanged."""

    def again() -> str:
        (folder / "manifest.json").unlink(missing_ok=True)
        write_manifest(folder, FIELDS)
        return Artifact.open(folder).fingerprint

    first = again()
    (folder / "config.json").write_bytes(b"{ }")
    assert again() == first
    seen = {first}
    for name, content in (
        ("model.onnx", b"grapg"),
        ("model.onnx_data", bytes(4999) + b"1"),
        ("model.onnx_data_1", b"more"),
    ):
        (folder / name).write_bytes(content)
        seen.add(again())
    assert len(seen) == 4
