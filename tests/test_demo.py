"""The bundled model answers held-out questions, with the same ids in every way of running it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch

from bitnet_onnx import native
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.paths import ROOT
from tests.support.questions import COMPARED, LIMIT, answers, compared, prompts, questions
from training.data import KINDS, Example, is_held_out, training

ANSWER = """
import json, sys
from tests.support.questions import answers, compared
from bitnet_onnx.runtime.session import Session
print(json.dumps(answers(Session(sys.argv[1]), sys.argv[1], compared())))
"""


@pytest.fixture(scope="module")
def onnx_ids(demo_artifact: Path) -> list[list[int]]:
    return answers(Session(demo_artifact), demo_artifact, compared())


def test_the_model_answers_held_out_questions(demo_artifact: Path) -> None:
    """There are at least 1,000 questions; 95 % of all and 85 % of each kind are answered right."""
    records = questions()
    assert len(records) >= 1000
    tokenizer = Tokenizer.from_folder(demo_artifact)
    found = answers(Session(demo_artifact), demo_artifact, records)
    asked, right = Counter[str](), Counter[str]()
    for record, ids in zip(records, found, strict=True):
        asked[record["kind"]] += 1
        right[record["kind"]] += tokenizer.decode(ids).strip() == record["answer"]
    shares = {kind: right[kind] / asked[kind] for kind in asked}
    print({kind: f"{right[kind]}/{asked[kind]}" for kind in asked})
    assert right.total() >= 0.95 * asked.total(), shares
    assert all(share >= 0.85 for share in shares.values()), shares
    assert set(shares) == set(KINDS)


def test_questions_never_occur_in_training() -> None:
    asked = {record["question"] for record in questions()}
    seen: list[Example] = list(islice(training("test"), 20_000))
    assert not any(is_held_out(example) for example in seen)
    assert not asked & {example.question for example in seen}


def test_torch_gives_the_same_ids(
    demo_checkpoint: Path, demo_artifact: Path, onnx_ids: list[list[int]]
) -> None:
    """The reference model runs the naive loop without a cache."""
    checkpoint = open_checkpoint(demo_checkpoint)
    model = BitNetForCausalLM.from_checkpoint(checkpoint)
    tokenizer = Tokenizer.from_folder(demo_artifact)
    assert len(onnx_ids) >= 0.9 * COMPARED
    for prompt, ids in zip(prompts(tokenizer, compared()), onnx_ids, strict=True):
        sequence = model.generate(torch.tensor([prompt]), LIMIT, tokenizer.eos_token_ids)
        assert sequence[0, len(prompt) :].tolist() == ids, tokenizer.decode(prompt)


def test_stock_operators_give_the_same_ids(demo_artifact: Path, onnx_ids: list[list[int]]) -> None:
    session = Session(demo_artifact, custom_ops=False)
    assert answers(session, demo_artifact, compared()) == onnx_ids


@pytest.mark.parametrize(("kind", "least"), [("int8", 0.97), ("int4", 0.95)])
def test_a_cache_of_integers_answers_about_as_many_questions_correctly(
    kind: str, least: float, demo_checkpoint: Path, onnx_ids: list[list[int]], tmp_path: Path
) -> None:
    """Some ids differ, but the answers are about as often right; the library changes no id."""
    folder = export(demo_checkpoint, tmp_path / "a", kv_cache=kind)
    records, tokenizer = compared(), Tokenizer.from_folder(folder)
    found = answers(Session(folder), folder, records)
    same = sum(mine == theirs for mine, theirs in zip(found, onnx_ids, strict=True))
    right = [
        sum(tokenizer.decode(ids).strip() == record["answer"] for ids, record in pairs)
        for pairs in (zip(side, records, strict=True) for side in (found, onnx_ids))
    ]
    print(f"{same} of {len(records)} the same, {right} right")
    assert same >= least * len(records)
    assert right[0] >= 0.95 * len(records)
    assert right[0] >= right[1] - 3
    few = records[::10]
    assert answers(Session(folder, custom_ops=False), folder, few) == answers(
        Session(folder), folder, few
    )


@pytest.mark.parametrize("kernel", native.kernels())
def test_every_kernel_gives_the_same_ids(
    kernel: str, demo_artifact: Path, onnx_ids: list[list[int]]
) -> None:
    environment = os.environ | {
        "BITNET_ONNX_KERNEL": kernel,
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(demo_artifact)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == onnx_ids
