"""onnxruntime-genai runs the artifact folder as it is and chooses the same ids.

In another process: it brings an ONNX Runtime of its own, which must not meet ours.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from bitnet_onnx.exporter.export import export
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support import checkpoints
from tests.support.genai import greedy
from tests.support.paths import DEMO
from tests.support.text_fakes import backend_json

QUESTIONS = 60  # ten of each kind

pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime_genai") is None, reason="onnxruntime-genai is not installed"
)


def ours(folder: Path, prompts: list[list[int]], steps: int) -> list[list[int]]:
    """As genai: each prompt alone, until an eos, which is part of the answer."""
    config = json.loads((folder / "genai_config.json").read_text())["model"]
    session = Session(folder, threads=1)
    return [
        generate(
            session,
            [prompt],
            GenerationConfig(max_new_tokens=steps, eos_token_id=config["eos_token_id"]),
        )[0].ids
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
