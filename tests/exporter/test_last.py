"""The second graph of an artifact: the logits of the last position, from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bitnet_onnx.artifact import LAST, MODEL, Artifact
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.trace import KEEP
from tests.support import checkpoints

EXPORTS: dict[str, dict[str, Any]] = {
    "native": {},
    "int8 head": {"head": "int8"},
    "float16 cache": {"kv_cache": "float16"},
    "stock": {"target": "stock"},
}
CACHES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
IDS = np.array([[17, 3, 88, 40, 5], [61, 29, 94, 2, 50]])


@pytest.fixture(scope="module", params=EXPORTS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("last")
    checkpoints.make(path / "c")
    return export(path / "c", path / "a", **EXPORTS[request.param])


def run(folder: Path, graph: str, ids: np.ndarray, past: list[np.ndarray] | None = None,
        **more: np.ndarray) -> list[np.ndarray]:  # fmt: skip
    """Return the logits and the caches after ids, in a client that knows the graph alone."""
    options = ort.SessionOptions()
    for library in folder.glob("*bitnet_onnx_ops.*"):
        options.register_custom_ops_library(str(library))
    session = ort.InferenceSession(folder / graph, options, providers=["CPUExecutionProvider"])
    caches = [port for port in session.get_inputs() if port.name.startswith("past")]
    if past is None:
        empty = [(len(ids), port.shape[1], 0, port.shape[3]) for port in caches]
        past = [np.zeros(shape, CACHES[caches[0].type]) for shape in empty]
    mask = np.ones((len(ids), past[0].shape[2] + ids.shape[1]), np.int64)
    named = {port.name: array for port, array in zip(caches, past, strict=True)}
    found: list[np.ndarray] = session.run(
        None, {"input_ids": ids, "attention_mask": mask, **named, **more}
    )
    return found


def same(folder: Path, found: np.ndarray, expected: np.ndarray) -> bool:
    """Check for the same bits, in a stock graph for float32 sums in another order."""
    if Artifact.open(folder).target == "native":
        return np.array_equal(found, expected)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_its_logits_are_the_last_of_the_other_graph(folder: Path) -> None:
    every, *kept = run(folder, MODEL, IDS)
    last, *present = run(folder, LAST, IDS)
    assert last.shape == (2, 1, 96)
    assert same(folder, last, every[:, -1:])
    assert all(map(np.array_equal, present, kept))
    row = [cache[:1] for cache in kept]  # alone: stock attention refuses a second chunk of two
    every, last = (run(folder, graph, IDS[:1, :2], row)[0] for graph in (MODEL, LAST))
    assert same(folder, last, every[:, -1:])


@pytest.mark.parametrize("count", [1, 2, 5, 0, -2, -5])
def test_logits_to_keep_counts_from_either_end(folder: Path, count: int) -> None:
    """As docs/artifact.md says; the library alone computes none where nobody reads them."""
    if count == -IDS.shape[1] and Artifact.open(folder).target == "stock":
        return
    every, *kept = run(folder, MODEL, IDS)
    some, *present = run(folder, MODEL, IDS, logits_to_keep=np.array([count]))
    assert some.shape[1] == len(range(5)[-count:])
    assert same(folder, some, every[:, -count:])
    assert all(map(np.array_equal, present, kept))


def test_only_what_is_kept_differs(folder: Path) -> None:
    model, last = (onnx.load(folder / name, load_external_data=False) for name in (MODEL, LAST))
    for graph in (model.graph, last.graph):
        for value in [value for value in graph.input if value.name == KEEP]:
            graph.input.remove(value)
        (default,) = (tensor for tensor in graph.initializer if tensor.name == KEEP)
        graph.initializer.remove(default)
        (logits,) = (value for value in graph.output if value.name == "logits")
        logits.type.tensor_type.shape.dim[1].Clear()
    assert model == last
    assert set(Artifact.open(folder).manifest["files"]) > {MODEL, LAST}


def test_it_takes_little_room(folder: Path) -> None:
    """It holds no weights: those of both are in one file."""
    assert (folder / LAST).stat().st_size <= (folder / MODEL).stat().st_size
    graph = onnx.load(folder / LAST, load_external_data=False).graph
    places = {e.value for t in graph.initializer for e in t.external_data if e.key == "location"}
    assert places == {"model.onnx_data"}
