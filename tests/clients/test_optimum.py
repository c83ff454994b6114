"""optimum-onnx, an ONNX Runtime behind transformers' ``generate``, opens the folder as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from tests.support import clients
from tests.support.networks import NETWORKS
from tests.support.text.fakes import backend_json

PINS = ("optimum-onnx==0.1.0", "optimum==2.1.0", "transformers==4.57.6")
PROMPTS = [[7], [40, 41, 42], [91, 5, 17, 20, 33, 8, 90]]
STEPS = 24
IDS = f"""
import json, sys
from pathlib import Path
import onnxruntime, torch
from optimum.onnxruntime import ORTModelForCausalLM
answers = []
for folder in sys.argv[1:]:
    options = onnxruntime.SessionOptions()
    for library in Path(folder).glob("*bitnet_onnx_ops.*"):
        options.register_custom_ops_library(str(library.resolve()))
    model = ORTModelForCausalLM.from_pretrained(folder, session_options=options)
    answers.append([])
    for prompt in {PROMPTS}:
        # Two rows of one length: what a row gets does not depend on its neighbour.
        ids = torch.tensor([prompt, [5] * len(prompt)])
        row = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens={STEPS})[0]
        answers[-1].append(row[len(prompt):].tolist())
print(json.dumps(answers))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    return clients.python_with("optimum", *PINS)


@pytest.mark.parametrize("target", ["demo_artifact", "stock_artifact"])
def test_the_bundled_model(
    target: str,
    request: pytest.FixtureRequest,
    python: Path,
    cases: clients.Cases,
    tmp_path: Path,
) -> None:
    clients.prepare(tmp_path, request.getfixturevalue(target), cases)
    lines = clients.documented("optimum-onnx") + clients.PYTHON
    found = clients.answers(clients.run(python, "-c", lines, cwd=tmp_path))
    assert found == [ids for _, ids in cases]


def test_other_networks(python: Path, tmp_path: Path) -> None:
    folders = []
    for name, make in NETWORKS.items():
        source = make(tmp_path / f"{name}-checkpoint")
        (source / "tokenizer.json").write_text(backend_json())
        (source / "tokenizer_config.json").write_text("{}")
        kv_cache = "float16" if name == "bitnet" else "float32"
        folders.append(export(source, tmp_path / name, kv_cache=kv_cache))
    found = json.loads(clients.run(python, "-c", IDS, *folders).splitlines()[-1])
    for folder, answers in zip(folders, found, strict=True):
        # A row that is done is padded while the other one runs.
        expected = clients.ids_of(folder, PROMPTS, STEPS)
        cut = [row[: len(ids)] for row, ids in zip(answers, expected, strict=True)]
        assert cut == expected, folder.name
