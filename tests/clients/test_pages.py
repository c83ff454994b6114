"""docs/artifact.md says what the code does, and docs/clients.md shows lines that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest

from bitnet_onnx import artifact, native
from bitnet_onnx.exporter.export import export
from bitnet_onnx.weights.checkpoint.files import TEXT_FILES
from tests.support import checkpoints, clients
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "artifact.md").read_text("utf-8")
WRITTEN = {artifact.MANIFEST, artifact.MODEL, artifact.LAST, artifact.WEIGHTS,
           f"{artifact.WEIGHTS}_1", artifact.CONFIG, artifact.CHECKPOINT_CONFIG,
           artifact.CHAT, artifact.HEAD, "genai_config.json"}  # fmt: skip
LIBRARY = "libbitnet_onnx_ops.so"
TESTED = {"onnxruntime", "optimum-onnx", "transformers.js", "transformers.js in a browser",
          "onnxruntime-genai"}  # fmt: skip


def table(first: str) -> dict[str, list[str]]:
    """The rows of the table whose first column has this name, by their first cell."""
    (rows,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows.splitlines()]
    return {name.strip(" `"): rest for name, *rest in cells}


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_field_of_the_manifest() -> None:
    fields = table("field")
    assert set(fields) == artifact._FIELDS
    for name, values in artifact._KNOWN.items():
        kind, cell = fields[name]
        assert kind == {bool: "boolean", int: "integer", str: "string"}[type(values[0])]
        written = {str(value).lower() if kind == "boolean" else str(value) for value in values}
        assert written <= set(quoted(cell)), name
        assert {text for text in quoted(cell) if text != "bitnet"} <= written, name
    assert all(fields[name][0] == "integer" for name in artifact._SIZES)
    assert set(artifact._ENTRY) <= set(quoted(fields["files"][1]))
    assert f"# The artifact folder, version {artifact.FORMAT_VERSION}" in PAGE


def test_every_file(demo_artifact: Path, split_artifact: Path) -> None:
    listed = table("file")
    assert set(listed) == WRITTEN | set(TEXT_FILES) | {LIBRARY}
    assert set(native._NAMES.values()) <= set(quoted(listed[LIBRARY][1]))
    for folder in (demo_artifact, split_artifact):
        names = {path.name for path in folder.iterdir()}
        always = {name for name, (where, _) in listed.items() if where == "every artifact"}
        assert always <= names
        numbered = {re.sub(r"_data_\d+$", "_data_1", name) for name in names}
        assert numbered - {native.FILE_NAME} <= set(listed)
        assert (native.FILE_NAME in names) == (folder == demo_artifact)


@pytest.mark.parametrize(("target", "kv_cache"), [("native", "int8"), ("stock", "float16")])
def test_every_input_and_output(tmp_path: Path, target: str, kv_cache: str) -> None:
    source = checkpoints.make(tmp_path / "c", layers=1)
    folder = export(source, tmp_path / "a", target=target, kv_cache=kv_cache)
    manifest = artifact.Artifact.open(folder).manifest
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    for kind, values in (("input", graph.input), ("output", graph.output)):
        rows = {name: row for names, row in table(kind).items() for name in quoted(f"`{names}`")}
        expected = {name for name in rows if kv_cache == "int8" or not name.endswith("_scale")}
        shapes = {value.name.replace(".0.", ".L."): shape(value) for value in values}
        assert set(shapes) == expected
        for name, found in shapes.items():
            (cell,) = quoted(rows[name][1])
            dims = cell.strip("[]").split(", ")
            assert found == [str(manifest.get(dim, dim)) for dim in dims], name


def shape(value: onnx.ValueInfoProto) -> list[str]:
    return [dim.dim_param or str(dim.dim_value) for dim in value.type.tensor_type.shape.dim]


def test_every_example_is_tested() -> None:
    marked = re.findall(r"<!-- test: (.+) -->", clients.PAGE.read_text("utf-8"))
    assert sorted(marked) == sorted(TESTED)
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f'documented("{name}")' in tests for name in TESTED)
