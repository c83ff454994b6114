"""A trained mixture of ternary experts answers held-out questions with one set of ids everywhere.

The checkpoint is beside this file and is no part of the wheel: ``training/README.md`` says how it
was made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
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
from tests.support.questions import LIMIT, answers, compared, prompts, questions
from training.data import KINDS

CHECKPOINT = Path(__file__).parent / "experts"
FEW = compared()[::11]  # 28; the kinds take turns, so each is among them
ANSWER = """
import json, sys
from tests.support.questions import answers, compared
from bitnet_onnx.runtime.session import Session
print(json.dumps(answers(Session(sys.argv[1]), sys.argv[1], compared()[::11])))
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(CHECKPOINT, tmp_path_factory.mktemp("experts") / "a")


@pytest.fixture(scope="module")
def found(artifact: Path) -> list[list[int]]:
    return answers(Session(artifact), artifact, FEW)


def test_held_out_questions_are_answered_as_by_the_dense_model(artifact: Path) -> None:
    """At least 95 % of all and 85 % of each kind: the bars of the bundled model."""
    records, tokenizer = questions(), Tokenizer.from_folder(artifact)
    asked = Counter(record["kind"] for record in records)
    right = Counter[str]()
    given = answers(Session(artifact), artifact, records)
    for record, ids in zip(records, given, strict=True):
        right[record["kind"]] += tokenizer.decode(ids).strip() == record["answer"]
    shares = {kind: right[kind] / asked[kind] for kind in KINDS}
    print(right.total() / asked.total(), shares)
    assert right.total() >= 0.95 * asked.total(), shares
    assert all(share >= 0.85 for share in shares.values()), shares


def test_it_is_a_packed_mixture_whose_experts_are_all_used(found: list[list[int]]) -> None:
    checkpoint = open_checkpoint(CHECKPOINT)
    mixture = checkpoint.config.mixture
    assert checkpoint.packed
    assert mixture is not None
    assert mixture.num_local_experts > mixture.num_experts_per_tok > 1
    model = BitNetForCausalLM.from_checkpoint(checkpoint)
    tokenizer = Tokenizer.from_folder(CHECKPOINT)
    ids = [id for prompt in prompts(tokenizer, FEW) for id in prompt]
    logits = model(torch.tensor([ids[:150]]), output_router_logits=True).router_logits
    assert logits is not None
    for layer in logits:
        chosen = layer.topk(mixture.num_experts_per_tok).indices.flatten()
        assert chosen.bincount(minlength=mixture.num_local_experts).min() >= 5


def test_torch_gives_the_same_ids(found: list[list[int]]) -> None:
    """The reference model runs the naive loop without a cache, for one question of each kind."""
    model = BitNetForCausalLM.from_checkpoint(open_checkpoint(CHECKPOINT))
    tokenizer = Tokenizer.from_folder(CHECKPOINT)
    assert {record["kind"] for record in FEW[::5]} == set(KINDS)
    for prompt, ids in zip(prompts(tokenizer, FEW[::5]), found[::5], strict=True):
        sequence = model.generate(torch.tensor([prompt]), LIMIT, tokenizer.eos_token_ids)
        assert sequence[0, len(prompt) :].tolist() == ids, tokenizer.decode(prompt)


def test_without_the_library_the_ids_are_the_same(artifact: Path, found: list[list[int]]) -> None:
    assert answers(Session(artifact, custom_ops=False), artifact, FEW) == found


def test_the_stock_target_gives_the_same_ids(tmp_path: Path, found: list[list[int]]) -> None:
    stock = export(CHECKPOINT, tmp_path / "stock", target="stock")
    assert answers(Session(stock), stock, FEW) == found


@pytest.mark.parametrize("kernel", native.kernels())
def test_every_kernel_gives_the_same_ids(
    kernel: str, artifact: Path, found: list[list[int]]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ANSWER, str(artifact)],
        env=os.environ | {"BITNET_ONNX_KERNEL": kernel, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == found
