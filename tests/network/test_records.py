"""Each network has one record and one file, and only the records compare its name."""

from __future__ import annotations

import ast

import pytest

from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.network.records import RECORDS
from tests.support.checkpoints import config_fields
from tests.support.paths import PACKAGE

NAMES = {name for record in RECORDS.values() for name in (record.name, record.model_type)}


def compared(source: str) -> list[str]:
    """Return the lines where a source compares, looks up or matches a network's name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            asked = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        texts = [inner for part in asked for inner in ast.walk(part)]
        found += [
            f"line {text.lineno}: {text.value!r}"
            for text in texts
            if isinstance(text, ast.Constant) and text.value in NAMES
        ]
    return found


def test_only_the_records_compare_names_of_networks() -> None:
    sources = [path for path in PACKAGE.rglob("*.py") if path.name != "records.py"]
    assert len(sources) > 50
    found = {path.name: compared(path.read_text("utf-8")) for path in sources}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "x == 'llama'",
        "'qwen3' != x",
        "x in ('minicpm', 'y')",
        "{'bitnet_2023': 1}",
        "table['qwen3']",
        "match x:\n    case 'llama': pass",
    ],
)
def test_a_comparison_with_a_network_name_is_found(source: str) -> None:
    assert compared(source)
    assert not compared("known('llama')")


@pytest.mark.parametrize("name", RECORDS)
def test_each_network_has_a_file_and_a_config(name: str) -> None:
    record = RECORDS[name]
    assert (PACKAGE / "model" / "networks" / f"{name}.py").is_file()
    fields = config_fields(
        hidden=256, inner=256, model_type=record.model_type, hidden_act=record.hidden_act,
        architectures=[record.architecture],
    )  # fmt: skip
    if record.weights != "ternary":
        del fields["quantization_config"]
    config = BitNetConfig.from_dict(fields)
    assert config.record is record
    assert BitNetConfig.from_dict(config.to_dict()) == config
    assert parts_of(config) is parts_of(BitNetConfig.from_dict(config.to_dict()))


def test_every_network_file_has_a_record() -> None:
    files = {path.stem for path in (PACKAGE / "model" / "networks").glob("*.py")} - {"__init__"}
    assert files == set(RECORDS)
