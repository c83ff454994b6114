"""The mixture of experts starts from the bundled model, is trained and is written.

One layer of each is enough here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tokenizers import Tokenizer

from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import absmean_ternary
from tests.support.paths import DEMO
from training import train
from training.batches import make_batch
from training.loss import answer_loss, imitation_loss
from training.optimizer import split_parameters
from training.recipe_experts import EXPERTS, RECIPE
from training.train import Run
from training.upcycle import upcycle

ONE = replace(EXPERTS, num_hidden_layers=1)
SHORT = replace(
    RECIPE, model=ONE, rows=2, length=64, imitate=1, teach=2, rates=((-1, 0.0), (0, 1.0), (9, 1.0))
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let this process train by itself."""
    meeting = tmp_path_factory.mktemp("meeting") / "file"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def teacher() -> BitNetForCausalLM:
    model = train.bundled()
    model.model.layers = model.model.layers[:1]
    return model


@pytest.fixture(scope="module")
def start(teacher: BitNetForCausalLM) -> BitNetForCausalLM:
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    torch.manual_seed(0)
    model = BitNetForCausalLM(ONE).train()
    upcycle(model, teacher, make_batch(tokenizer, SHORT, 0, 0))
    return model


def layers(model: BitNetForCausalLM) -> Iterator[Any]:
    yield from model.model.layers


@torch.no_grad()
def test_attention_starts_with_the_codes_of_the_bundled_model(
    start: BitNetForCausalLM, teacher: BitNetForCausalLM
) -> None:
    for layer, taught in zip(layers(start), layers(teacher), strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            codes, scale = absmean_ternary(getattr(layer.self_attn, name).weight)
            known = getattr(taught.self_attn, name)
            assert codes.equal(known.weight.float())
            assert scale.allclose(known.weight_scale, rtol=1e-5)


@torch.no_grad()
def test_every_inner_feature_is_in_as_many_experts(
    start: BitNetForCausalLM, teacher: BitNetForCausalLM
) -> None:
    """Of four experts, each with half of the features, two have it."""
    for layer, taught in zip(layers(start), layers(teacher), strict=True):
        gates = torch.cat([part[:256] for part in layer.block_sparse_moe.input_linear.weight])
        known = taught.mlp.gate_proj.weight.float()
        same = gates.sign() @ known.T == known.abs().sum(dim=1)
        same &= (gates.sign().abs().sum(dim=1, keepdim=True)) == known.abs().sum(dim=1)
        assert same.sum(dim=0).tolist() == [2] * 512


def test_every_weight_is_trained(start: BitNetForCausalLM, teacher: BitNetForCausalLM) -> None:
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    batch = make_batch(tokenizer, SHORT, 1, 0)
    matrices = [*split_parameters(start).attention, *split_parameters(start).feed_forward]
    trained = [*matrices, *split_parameters(start).small, start.model.embed_tokens.weight]
    assert {id(p) for p in trained} == {id(p) for p in start.parameters()}
    imitation = imitation_loss(start, batch, teacher)
    assert 0 < imitation.item() < 0.5  # it knows most already
    imitation.backward()
    assert all(p.grad is not None and p.grad.any() for p in matrices)
    answer_loss(start, batch, teacher).backward()
    assert all(p.grad is not None and p.grad.any() for p in trained)


def test_a_run_is_resumed_and_written(
    alone: None, teacher: BitNetForCausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "bundled", lambda: teacher)
    shutil.copy(DEMO / "tokenizer.json", tmp_path)
    run = Run.start(tmp_path, SHORT)
    run.train_step()
    run.save()
    first = [run.train_step() for _ in range(2)]
    again = Run.start(tmp_path, SHORT)
    assert again.step == 1
    assert [again.train_step() for _ in range(2)] == first
    again.publish(tmp_path / "out")
    checkpoint = open_checkpoint(tmp_path / "out")
    assert checkpoint.config == replace(ONE, quantization="offline")
    read = BitNetForCausalLM.from_checkpoint(checkpoint)
    for layer, trained in zip(layers(read), layers(again.model), strict=True):
        for name in ("input_linear", "output_linear"):
            codes, _ = getattr(trained.block_sparse_moe, name).ternary(3)
            assert getattr(layer.block_sparse_moe, name).weight[3].float().equal(codes)
