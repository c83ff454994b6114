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
