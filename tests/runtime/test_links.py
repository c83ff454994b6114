"""Artifacts whose files are links, as in the Hub's cache: each is opened as if it had the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import ArtifactError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.runtime.links import followed
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.runtime.weights import mapped_weights
from bitnet_onnx.verification.taps import TappedSession

IDS = [5, 9, 2, 61, 33, 8, 8, 70]
DATA = "model.onnx_data"


def of_the_hub(name: str) -> str | None:
    return f"blobs/{len(name):02d}{name[::-1]}"


def same_names(name: str) -> str | None:
    return f"elsewhere/{name}"


def each_in_its_own(name: str) -> str | None:
    return f"{name}.d/blob"


def weights_elsewhere(name: str) -> str | None:
    return "other disk/weights" if name == DATA else None


def graph_elsewhere(name: str) -> str | None:
    return f"elsewhere/{name}" if name == "model.onnx" else None


def linked(artifact: Path, root: Path, place: Callable[[str], str | None]) -> Path:
    """Copy an artifact; a file with a place lies there, and a link leads to it."""
    (folder := root / "linked").mkdir(parents=True)
    for path in artifact.iterdir():
        real = root / (place(path.name) or f"linked/{path.name}")
        real.parent.mkdir(exist_ok=True)
        shutil.copy(path, real)
        if real.parent != folder:
            (folder / path.name).symlink_to(Path("..") / real.relative_to(root))
    return folder


@pytest.fixture(
    params=[of_the_hub, same_names, each_in_its_own, weights_elsewhere, graph_elsewhere]
)
def layout(request: pytest.FixtureRequest, demo_artifact: Path, tmp_path: Path) -> Path:
    return linked(demo_artifact, tmp_path, request.param)


def test_all_graphs_of_an_artifact_find_their_weights(demo_artifact: Path, layout: Path) -> None:
    with Session(demo_artifact, threads=1) as session, Session(layout, threads=1) as other:
        np.testing.assert_array_equal(other.prefill(IDS), session.prefill(IDS))
        np.testing.assert_array_equal(
            other.early_exit(2).prefill(IDS), session.early_exit(2).prefill(IDS)
        )
        tapped = TappedSession(Artifact.open(layout), threads=1)
        session.reset()
        np.testing.assert_array_equal(tapped.prefill(IDS), session.prefill(IDS))


def test_a_folder_that_is_a_link_needs_nothing(demo_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(demo_artifact)
    graph = (demo_artifact / "model.onnx").read_bytes()
    assert followed(graph, tmp_path / "link") is None
    with Session(tmp_path / "link", threads=1) as session:
        assert session.prefill(IDS).size


def test_weights_are_mapped_where_the_links_lead(demo_artifact: Path, tmp_path: Path) -> None:
    folder = linked(demo_artifact, tmp_path, weights_elsewhere)
    graph = (folder / "model.onnx").read_bytes()
    expected = {table.name: array for table, array in mapped_weights(graph, demo_artifact)}
    found = followed(graph, folder)
    assert found is not None
    assert found[1] == tmp_path / "other disk"
    arrays = {table.name: array for table, array in mapped_weights(*found)}
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in expected.items())


def test_a_stock_graph_finds_its_weights(demo_checkpoint: Path, tmp_path: Path) -> None:
    stock = export(demo_checkpoint, tmp_path / "stock", target="stock")
    layout = linked(stock, tmp_path / "copy", of_the_hub)
    with Session(stock, threads=1) as session, Session(layout, threads=1) as other:
        np.testing.assert_array_equal(other.prefill(IDS), session.prefill(IDS))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_graph_is_an_error_of_the_artifact(
    demo_artifact: Path, tmp_path: Path, share: float
) -> None:
    folder = linked(demo_artifact, tmp_path, weights_elsewhere)
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[: int(graph.stat().st_size * share)])
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["model.onnx"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError):
        Session(folder, threads=1)
