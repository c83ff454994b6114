"""transformers.js opens a stock folder as it is, with one data file or several."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from tests.support import clients
from tests.support.networks import NETWORKS
from tests.support.paths import ROOT

PLAYWRIGHT = ROOT / "mobile_demo" / "web"
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
    """A folder in which Node and the browser find the packages."""
    (tmp_path / "node_modules").symlink_to(node[1] / "node_modules")
    return tmp_path


@pytest.mark.parametrize(("target", "files"), [("stock_artifact", 1), ("split_artifact", 3)])
def test_the_bundled_model_under_node(
    target: str,
    files: int,
    request: pytest.FixtureRequest,
    node: tuple[Path, Path],
    folder: Path,
    cases: clients.Cases,
) -> None:
    artifact = request.getfixturevalue(target)
    assert len(list(artifact.glob("model.onnx_data*"))) == files
    clients.prepare(folder, artifact, cases)
    (folder / "ask.mjs").write_text(clients.documented("transformers.js") + clients.NODE)
    found = clients.answers(clients.run(node[0], "ask.mjs", cwd=folder))
    assert found == [ids for _, ids in cases]


def test_the_bundled_model_in_chromium(
    split_artifact: Path, node: tuple[Path, Path], folder: Path, cases: clients.Cases
) -> None:
    browser = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if browser is None:
        pytest.skip("Chromium is missing: apt-get install chromium (or set CHROMIUM)")
    if not (PLAYWRIGHT / "node_modules").is_dir():
        pytest.skip("the page's packages are missing: make web")
    clients.prepare(folder, split_artifact, cases)
    imports, _, lines = clients.documented("transformers.js").partition("\n")
    before = clients.documented("transformers.js in a browser")
    (folder / "page.mjs").write_text(f"{imports}\n{before}{lines}{clients.BROWSER}")
    script = ROOT / "tests" / "clients" / "browser.mjs"
    found = clients.answers(clients.run(node[0], script, PLAYWRIGHT, browser, cwd=folder))
    assert found == [ids for _, ids in cases]


def test_wide_heads_and_a_float16_cache(node: tuple[Path, Path], folder: Path) -> None:
    source = NETWORKS["wide-heads"](folder / "checkpoint")
    artifact = export(source, folder / "artifact", target="stock", kv_cache="float16")
    (folder / "ids.mjs").write_text(IDS)
    found = json.loads(clients.run(node[0], "ids.mjs", cwd=folder).splitlines()[-1])
    assert found == clients.ids_of(artifact, PROMPTS, STEPS)
