"""onnxruntime-genai runs the artifact folder as it is and chooses the same ids.

In another process: it brings an ONNX Runtime of its own, which must not meet ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import checkpoints
import pytest
from text_fakes import backend_json

from bitnet_onnx.export import export
from bitnet_onnx.generate import generate
from bitnet_onnx.session import Session
from bitnet_onnx.tokenizer import Tokenizer

QUESTIONS = 60  # ten of each kind
DEMO = Path(__file__).resolve().parent.parent / "bitnet_onnx" / "demo"

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime_genai") is None, reason="onnxruntime-genai is not installed"
)

GREEDY = """
import json, sys
import onnxruntime_genai as genai
model = genai.Model(sys.argv[1])
answers = []
for prompt in json.loads(sys.argv[2]):
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + int(sys.argv[3]), do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    answers.append([int(token) for token in generator.get_sequence(0)[len(prompt):]])
print(json.dumps(answers))
"""


def greedy(folder: Path, prompts: list[list[int]], steps: int) -> list[list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(folder), json.dumps(prompts), str(steps)],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


def ours(folder: Path, prompts: list[list[int]], steps: int) -> list[list[int]]:
    """As genai: each prompt alone, until an eos, which is part of the answer."""
    config = json.loads((folder / "genai_config.json").read_text())["model"]
    session = Session(folder, threads=1)
    return [
        generate(session, [prompt], max_new_tokens=steps, eos_token_id=config["eos_token_id"])[
            0
        ].ids
        for prompt in prompts
    ]


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
    assert found == ours(folder, prompts, 24)
    assert max(map(len, found)) == 24


@pytest.mark.slow
@pytest.mark.skipif(not (DEMO / "config.json").exists(), reason="no bundled model in this checkout")
def test_the_bundled_model(request: pytest.FixtureRequest) -> None:
    """Its answers to held-out questions; genai leaves the eos that ended them out."""
    folder = request.getfixturevalue("demo_artifact")
    tokenizer = Tokenizer.from_folder(folder)
    records = (DEMO / "questions.jsonl").read_text("utf-8").splitlines()[:QUESTIONS]
    prompts = [
        tokenizer.encode_chat([{"role": "user", "content": json.loads(record)["question"]}])
        for record in records
    ]
    expected = ours(folder, prompts, 40)
    assert all(ids[-1] in tokenizer.eos_token_ids for ids in expected)
    assert greedy(folder, prompts, 40) == [ids[:-1] for ids in expected]
