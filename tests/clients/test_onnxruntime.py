"""ONNX Runtime, NumPy and the folder are enough: thirty lines choose the ids of our own loop."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from tests.support import checkpoints, clients
from tests.support.text.fakes import backend_json

PROMPTS = [[7], [40, 41, 42], [299, 5, 17, 120, 33, 8, 90]]
IDS = f"\nprint(json.dumps([generate(prompt, 24) for prompt in {PROMPTS}]))"


@pytest.mark.parametrize("target", ["demo_artifact", "stock_artifact", "split_artifact"])
def test_the_bundled_model(
    target: str, request: pytest.FixtureRequest, cases: clients.Cases, tmp_path: Path
) -> None:
    clients.prepare(tmp_path, request.getfixturevalue(target), cases)
    lines = clients.documented("onnxruntime") + clients.PYTHON
    said = clients.run(Path(sys.executable), "-c", lines, cwd=tmp_path)
    assert clients.answers(said) == [ids for _, ids in cases]


@pytest.mark.parametrize("kv_cache", ["float16", "int8"])
def test_other_caches(kv_cache: str, tmp_path: Path) -> None:
    source = checkpoints.make(tmp_path / "c", vocab=300, eos_token_id=1, seed=5)
    (source / "tokenizer.json").write_text(backend_json())
    (source / "tokenizer_config.json").write_text("{}")
    folder = export(source, tmp_path / "artifact", kv_cache=kv_cache)
    lines = clients.documented("onnxruntime") + IDS
    said = clients.run(Path(sys.executable), "-c", lines, cwd=tmp_path)
    assert json.loads(said.splitlines()[-1]) == clients.ids_of(folder, PROMPTS, 24)
