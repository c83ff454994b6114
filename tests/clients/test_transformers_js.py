"""transformers.js under Node opens a stock folder as it is, with one data file or several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from tests.support import clients
from tests.support.networks import NETWORKS
from tests.support.paths import ROOT

SOURCES = ROOT / "tests" / "clients" / "transformers_js"
PROMPTS = [[7], [40, 41, 42], [91, 5, 17, 20, 33, 8, 90]]
STEPS = 24
IDS = f"""
import {{ AutoModelForCausalLM, Tensor, env }} from "@huggingface/transformers";
env.localModelPath = "./";
env.allowRemoteModels = false;
const model = await AutoModelForCausalLM.from_pretrained("artifact", {{ subfolder: "" }});
const answers = [];
for (const prompt of {PROMPTS}) {{
  const input_ids = new Tensor("int64", prompt.map(BigInt), [1, prompt.length]);
  const ids = await model.generate({{ input_ids, max_new_tokens: {STEPS} }});
  answers.push(ids.tolist()[0].slice(prompt.length).map(Number));
}}
console.log(JSON.stringify(answers));
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node() -> tuple[Path, Path]:
    return clients.node_with(SOURCES)


@pytest.fixture
def folder(node: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder in which Node finds the packages."""
    (tmp_path / "node_modules").symlink_to(node[1] / "node_modules")
    return tmp_path


@pytest.mark.parametrize("target", ["stock_artifact", "split_artifact"])
def test_the_bundled_model(
    target: str,
    request: pytest.FixtureRequest,
    node: tuple[Path, Path],
    folder: Path,
    cases: clients.Cases,
) -> None:
    artifact = request.getfixturevalue(target)
    assert len(list(artifact.glob("model.onnx_data*"))) == (1 if target == "stock_artifact" else 3)
    found = clients.answers("transformers.js", node[0], artifact, folder, cases)
    assert found == [ids for _, ids in cases]


def test_wide_heads_and_a_float16_cache(node: tuple[Path, Path], folder: Path) -> None:
    source = NETWORKS["wide-heads"](folder / "checkpoint")
    artifact = export(source, folder / "artifact", target="stock", kv_cache="float16")
    (folder / "ids.mjs").write_text(IDS)
    found = json.loads(clients.run(node[0], "ids.mjs", cwd=folder).splitlines()[-1])
    assert found == clients.ids_of(artifact, PROMPTS, STEPS)
