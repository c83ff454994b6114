"""A manifest that describes another graph is refused, before buffers are made of its sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from bitnet_onnx.artifact import Artifact, write_manifest
from bitnet_onnx.errors import ArtifactError, GenerationError, SessionError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.runtime.session import Session
from tests.support import checkpoints


def changed(folder: Path, target: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Copy an artifact whose graph is another one, with a manifest of right hashes."""
    target.mkdir()
    for path in folder.iterdir():
        if path.name != "manifest.json":
            (target / path.name).write_bytes(path.read_bytes())
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model)
    onnx.save(model, target / "model.onnx")
    fields = {**Artifact.open(folder).manifest}
    del fields["files"], fields["format_version"]
    write_manifest(target, fields)
    return target


def lying(folder: Path, copy: Path, **fields: Any) -> Path:
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | fields))
    return copy


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("num_hidden_layers", value) for value in (1, 3, 2**31 - 1)],
        *[("num_key_value_heads", value) for value in (3, 5, 2**31 - 1)],
        *[("head_dim", value) for value in (1, 33, 2**31 - 1)],
        *[("vocab_size", value) for value in (1, 95, 97, 2**31 - 1)],
        *[("kv_cache", value) for value in ("float16", "int8", "int4")],
        *[("context_length", value) for value in (1, 63, 65, 2**31 - 1)],
        *[("head", value) for value in ("float32", "int6", "int4")],
        *[("head", value) for value in ("two-step", "two-step-int6", "two-step-int4")],
        ("target", "stock"),
    ],
)
def test_a_size_that_is_not_the_graphs_is_named(
    pair: tuple[Path, Path], tmp_path: Path, field: str, value: Any
) -> None:
    assert Artifact.open(pair[1]).manifest[field] != value
    folder = lying(pair[1], tmp_path / "a", **{field: value})
    with pytest.raises(
        ArtifactError, match=rf"manifest\.json: {field} is {value!r}, but"
    ) as caught:
        Session(folder, threads=1)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("target", "head", "lies"),
    [
        ("native", "two-step-int4", {"head": "bf16"}),
        ("native", "two-step-int6", {"head": "two-step-int4"}),
        ("native", "float32", {"head": "bf16"}),
        ("native", "int6", {"head": "int4"}),
        ("stock", "bf16", {"head": "float32"}),
        ("stock", "int8", {"head": "bf16"}),
        ("stock", "float32", {"context_length": 65}),
        ("stock", "int8", {"target": "native"}),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_an_option_that_is_not_the_graphs_is_named(
    tmp_path: Path, target: str, head: str, lies: dict[str, Any], tied: bool
) -> None:
    checkpoint = checkpoints.make(tmp_path / "c", layers=1, tied=tied)
    made = export(checkpoint, tmp_path / "a", target=target, head=head)
    Session(made, threads=1).close()
    (name,) = lies
    for custom_ops in (True, False):
        folder = lying(made, tmp_path / str(custom_ops), **lies)
        with pytest.raises(ArtifactError, match=rf"{name} is .*, but model\.onnx has "):
            Session(folder, threads=1, custom_ops=custom_ops)


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("past_key_values.1.value", "past_key_values.1.values"),
        ("present.0.key", "now.0.key"),
        ("input_ids", "ids"),
        ("logits", "scores"),
    ],
)
def test_a_graph_with_other_names_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, old: str, new: str
) -> None:
    folder = changed(pair[1], tmp_path / "a", lambda model: _rename(model, old, new))
    with pytest.raises(ArtifactError, match=rf"model\.onnx (lacks {old}|needs {new}), expected"):
        Session(folder, threads=1)


def test_a_binding_that_onnx_runtime_refuses_is_a_session_error(pair: tuple[Path, Path]) -> None:
    session = Session(pair[1], threads=1)
    session.prefill([5])
    session._steps._last = session._steps._last.astype(complex)
    session.reset()
    for step in (lambda: session.prefill([5]), lambda: session.decode([5])):
        with pytest.raises(SessionError, match="refused to bind logits_to_keep: "):
            step()


@pytest.mark.parametrize("artifact", [None, 5, b"folder", ["folder"]])
def test_what_is_no_path_is_refused(artifact: Any) -> None:
    with pytest.raises((ArtifactError, GenerationError), match="expected the path"):
        Session(artifact)
