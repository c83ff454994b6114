"""onnxruntime-genai runs the artifact folder as it is and chooses the same ids.

In another process: it brings an ONNX Runtime of its own, which must not meet ours.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support import checkpoints, clients
from tests.support.genai import greedy
from tests.support.text.fakes import backend_json

TESTED = "0.18.0"
TOKENIZER = """
import json, sys
import onnxruntime_genai as genai
tokenizer = genai.Tokenizer(genai.Model(sys.argv[1]))
print(tokenizer.encode("hello").tolist())
tokenizer.update_options(add_special_tokens=True)
print(tokenizer.encode("hello").tolist())
try:
    tokenizer.apply_chat_template('[{"role": "user", "content": "hello"}]')
except Exception as error:  # its own kind
    print(str(error).splitlines()[0])
"""

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime_genai") is None, reason="onnxruntime-genai is not installed"
)


@pytest.mark.parametrize(
    ("head", "hidden", "kv_cache"),
    [
        ("bf16", 64, "float32"),
        ("int8", 64, "float32"),
        ("float32", 80, "float32"),
        ("bf16", 64, "float16"),
    ],
)
def test_a_random_model(tmp_path: Path, head: str, hidden: int, kv_cache: str) -> None:
    """Hidden 80 makes heads of 20 elements, which are padded in the cache."""
    source = checkpoints.make(tmp_path / "c", hidden=hidden, vocab=300, eos_token_id=[1, 2], seed=5)
    (source / "tokenizer.json").write_text(backend_json())
    (source / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end_of_text|>"})
    )
    folder = export(source, tmp_path / "a", head=head, kv_cache=kv_cache)
    prompts = [[7], [40, 41, 42], [299, 5, 17, 120, 33, 8, 90]]
    found = greedy(folder, prompts, 24)
    assert found == clients.ids_of(folder, prompts, 24)
    assert max(map(len, found)) == 24


LONG = """
import json, sys
import numpy as np
import onnxruntime_genai as genai
folder, prompts, steps, chunk = sys.argv[1], *map(json.loads, sys.argv[2:])
model = genai.Model(folder)
params = genai.GeneratorParams(model)
params.set_search_options(max_length=len(prompts[0]) + steps, batch_size=len(prompts), **chunk)
generator = genai.Generator(model, params)
generator.append_tokens(np.array(prompts, np.int32))
shape = list(generator.get_output("logits").shape)
while not generator.is_done():
    generator.generate_next_token()
rows = [generator.get_sequence(row)[len(prompts[0]):].tolist() for row in range(len(prompts))]
print(json.dumps([shape, rows]))
"""


@pytest.mark.parametrize("target", ["native", "stock"])
def test_long_prompts_cost_the_logits_of_one_position(tmp_path: Path, target: str) -> None:
    """It feeds one prompt in chunks of the size in its config, and several ones whole."""
    source = checkpoints.make(tmp_path / "c", vocab=300, context=700, eos_token_id=None, seed=5)
    (source / "tokenizer.json").write_text(backend_json())
    (source / "tokenizer_config.json").write_text("{}")
    folder = export(source, tmp_path / "a", target=target)
    config = json.loads((folder / "genai_config.json").read_text())
    assert config["model"]["decoder"]["filename"] == "model_last.onnx"
    assert config["search"]["chunk_size"] == 256
    prompts = [[(3 * i * i + row) % 300 for i in range(600)] for row in range(3)]
    expected = clients.ids_of(folder, prompts, 16)
    for rows, chunk in ((slice(0, 1), {}), (slice(0, 3), {"chunk_size": 0})):
        fed = [json.dumps(value) for value in (prompts[rows], 16, chunk)]
        said = clients.run(Path(sys.executable), "-c", LONG, folder, *fed)
        shape, found = json.loads(said)
        assert shape[1:] == [1, 300]
        assert found == expected[rows]


@pytest.mark.parametrize("target", ["demo_artifact", "stock_artifact"])
def test_the_bundled_model(
    target: str, request: pytest.FixtureRequest, cases: clients.Cases, tmp_path: Path
) -> None:
    """Its answers to held-out questions; genai leaves the eos that ended them out."""
    clients.prepare(tmp_path, request.getfixturevalue(target), cases)
    lines = clients.documented("onnxruntime-genai") + clients.PYTHON
    said = clients.run(Path(sys.executable), "-c", lines, cwd=tmp_path)
    assert clients.answers(said) == [ids[:-1] for _, ids in cases]


def test_what_its_tokenizer_does_not_do_by_itself(demo_artifact: Path) -> None:
    """docs/clients.md says so of the version that it names, and what to do about it."""
    if version("onnxruntime-genai") != TESTED:
        pytest.skip(f"docs/clients.md speaks of onnxruntime-genai {TESTED}")
    plain, with_bos, refused = clients.run(
        Path(sys.executable), "-c", TOKENIZER, demo_artifact
    ).splitlines()
    ids = Tokenizer.from_folder(demo_artifact).encode("hello")
    assert json.loads(with_bos) == ids
    assert json.loads(plain) == ids[1:]
    assert "not callable" in refused
